//! What a person sees while histories are played.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::campaign::Item;
use crate::coverage::Tally;
use crate::outcome::Outcome;

/// Between two lines of a log.
const LINES: Duration = Duration::from_secs(10);

/// A live line on a terminal, a line every few seconds elsewhere.
pub(super) struct Screen {
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
}

impl Screen {
    pub(super) fn new(histories: Option<u64>) -> Screen {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = histories.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = ProgressStyle::with_template("{spinner} {pos}/{len} histories  {msg}  {elapsed}");
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Screen { bar, began: Instant::now(), said: Instant::now() }
    }

    /// A history is over.
    pub(super) fn show(&mut self, tally: &Tally, item: &Item, outcome: &Outcome) {
        if let Some(violation) = &outcome.violation {
            self.say(&format!("FAILED {}: {violation}", item.name));
        }
        let rate = f64::from(u32::try_from(tally.histories).unwrap_or(u32::MAX))
            / self.began.elapsed().as_secs_f64().max(0.001);
        let line = format!(
            "{} syncs, {} faults, {} felt, {} failed, {rate:.1}/s",
            tally.syncs,
            tally.fired(),
            tally.felt(),
            tally.failures
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(tally.histories);
                bar.set_message(line);
            }
            None if self.said.elapsed() > LINES => {
                self.said = Instant::now();
                eprintln!("{} histories, {line}", tally.histories);
            }
            None => {}
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The log of worker and simulation, as `RUST_LOG` asks for it; warnings of the worker are what is provoked.
pub(super) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
