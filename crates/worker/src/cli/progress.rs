//! Shows syncs while they run: bars on a terminal, else a line every few seconds in the log.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::pace::Pace;
use crate::observer::{Answer, Event, Notice, NoticeKind, Observer, Verdict};

/// Time between two lines of one stream in a log.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// A bar's full length.
const BAR_LENGTH: u64 = 1000;

/// The screen that all streams share; absent when stderr is no terminal.
#[derive(Clone, Default)]
pub(super) struct Screen(Option<MultiProgress>);

impl Screen {
    /// A screen on stderr, where that is a terminal.
    pub(super) fn of_stderr() -> Screen {
        Screen(std::io::stderr().is_terminal().then(MultiProgress::new))
    }

    /// Writes to stderr without tearing the bars.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// Follows one stream; an [`Observer`] that lets everything pass.
pub(super) struct Progress {
    label: String,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    shown: Instant,
}

impl Progress {
    /// Follows a stream on the screen.
    pub(super) fn on(screen: &Screen, label: String, pace: Pace) -> Arc<Progress> {
        let bar = screen.0.as_ref().map(|bars| {
            let bar = ProgressBar::new(BAR_LENGTH).with_prefix(label.clone());
            // The template is fixed, and a bar without a style shows the same figures.
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {msg}") {
                bar.set_style(style);
            }
            bars.add(bar)
        });
        Arc::new(Progress { label, bar, state: Mutex::new(State { pace, shown: Instant::now() }) })
    }

    /// Shows the figures of this moment; called from time to time, since events may be far apart.
    pub(super) fn tick(&self) {
        self.show(None);
    }

    /// Takes the bar away; what became of the stream is told on stdout.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&self, event: Option<&Event>) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = event.is_some_and(|event| state.pace.take(event, now));
        if state.pace.doing.is_empty() {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(super::figures::rounded(state.pace.fraction() * 1000.0));
                bar.set_message(state.pace.line(now));
            }
            None if changed || now - state.shown >= LINE_EVERY => {
                state.shown = now;
                tracing::info!("{}: {}", self.label, state.pace.line(now));
            }
            None => {}
        }
    }
}

impl Observer for Progress {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        tracing::debug!(step = %event.step, happening = ?event.happening, "{}", self.label);
        self.show(Some(event));
        Box::pin(std::future::ready(Verdict::GoOn))
    }

    fn notice(&self, notice: &Notice) {
        match notice.kind {
            NoticeKind::Resumed
            | NoticeKind::Helped
            | NoticeKind::TookOver
            | NoticeKind::Paused
            | NoticeKind::GoesOn => {
                tracing::info!("{}: {}", self.label, notice.text);
            }
            NoticeKind::Retry | NoticeKind::Replanned | NoticeKind::Warning => {
                tracing::warn!("{}: {}", self.label, notice.text);
            }
        }
    }
}
