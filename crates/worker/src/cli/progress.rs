//! Shows syncs while they run: bars on a terminal, else a line every few seconds in the log.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::pace::{Figures, Pace};
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
    platform: String,
    stream: String,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    shown: Instant,
}

impl Progress {
    /// Follows a stream on the screen.
    pub(super) fn on(screen: &Screen, platform: &str, stream: &str, pace: Pace) -> Arc<Progress> {
        let (platform, stream) = (platform.to_owned(), stream.to_owned());
        let bar = screen.0.as_ref().map(|bars| {
            let bar = ProgressBar::new(BAR_LENGTH).with_prefix(format!("{platform} {stream}"));
            // The template is fixed, and a bar without a style shows the same figures.
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {msg}") {
                bar.set_style(style);
            }
            bars.add(bar)
        });
        let state = Mutex::new(State { pace, shown: Instant::now() });
        Arc::new(Progress { platform, stream, bar, state })
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
                self.log(&state.pace, now);
            }
            None => {}
        }
    }

    fn log(&self, pace: &Pace, now: Instant) {
        let Progress { platform, stream, .. } = self;
        let Figures { phase, batch, rows, inserted, updated, deleted, milliseconds } = pace.figures(now);
        let line = pace.line(now);
        tracing::info!(
            platform,
            stream,
            phase,
            batch,
            rows,
            inserted,
            updated,
            deleted,
            milliseconds,
            "{platform} {stream}: {line}"
        );
    }
}

impl Observer for Progress {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        let Progress { platform, stream, .. } = self;
        tracing::debug!(platform, stream, step = %event.step, happening = ?event.happening, "{platform} {stream}");
        self.show(Some(event));
        Box::pin(std::future::ready(Verdict::GoOn))
    }

    fn notice(&self, notice: &Notice) {
        let Progress { platform, stream, .. } = self;
        let figures = self.state.lock().unwrap_or_else(PoisonError::into_inner).pace.figures(Instant::now());
        let Figures { phase, batch, .. } = figures;
        let (kind, text) = (format!("{:?}", notice.kind), &notice.text);
        match notice.kind {
            NoticeKind::Resumed
            | NoticeKind::Helped
            | NoticeKind::TookOver
            | NoticeKind::Paused
            | NoticeKind::GoesOn => {
                tracing::info!(platform, stream, phase, batch, notice = kind, "{platform} {stream}: {text}");
            }
            NoticeKind::Retry | NoticeKind::Replanned | NoticeKind::Warning => {
                tracing::warn!(platform, stream, phase, batch, notice = kind, "{platform} {stream}: {text}");
            }
        }
    }
}
