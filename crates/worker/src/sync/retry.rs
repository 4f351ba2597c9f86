//! The retry budget: so many tries within so much time, renewed by progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::job::Tuning;
use super::peers::Inquiry;
use crate::error::{Error, Result};
use crate::postgres::Endpoint;

/// What is left of the patience with transient errors.
pub(crate) struct Budget {
    tries_max: usize,
    window: Duration,
    pauses: ExponentialBuilder,
    backoff: ExponentialBackoff,
    began: Option<Instant>,
    /// When a try failed last.
    failed: Option<Instant>,
    tries: usize,
    last: String,
    /// Chunks and syncs made durable so far; grows while an attempt runs.
    durable: AtomicU64,
    /// Chunks of the sync in flight among them.
    chunks: AtomicU64,
    /// The server whose answer this stream waits for, also for others.
    inquiry: Option<Inquiry>,
}

impl Budget {
    pub(crate) fn new(tuning: &Tuning) -> Budget {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(tuning.retry_pause_min)
            .with_max_delay(tuning.retry_pause_max)
            .with_jitter()
            .without_max_times();
        Budget {
            tries_max: tuning.retry_tries,
            window: tuning.retry_window,
            backoff: pauses.build(),
            pauses,
            began: None,
            failed: None,
            tries: 0,
            last: String::new(),
            durable: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            inquiry: None,
        }
    }

    /// Records a committed sync.
    pub(crate) fn advance(&self) {
        self.durable.fetch_add(1, Ordering::Relaxed);
        self.chunks.store(0, Ordering::Relaxed);
    }

    /// Records how many chunks of the sync in flight are durable.
    pub(crate) fn reached(&self, chunks: u64) {
        let before = self.chunks.swap(chunks, Ordering::Relaxed);
        self.durable.fetch_add(chunks.saturating_sub(before), Ordering::Relaxed);
    }

    /// What became durable so far.
    pub(crate) fn progress(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }

    /// Progress was made: the budget is whole again.
    pub(crate) fn renew(&mut self) {
        self.began = None;
        self.tries = 0;
        self.backoff = self.pauses.build();
    }

    /// Spends one try on an error; the pause before the next.
    ///
    /// # Errors
    /// `BudgetSpent`, with the error inside.
    pub(crate) fn spend(&mut self, error: Error) -> Result<Duration> {
        // A try that worked for longer than the window before it failed is no sign that nothing works.
        if self.failed.is_some_and(|failed| failed.elapsed() > self.window) {
            self.renew();
        }
        self.failed = Some(Instant::now());
        let began = *self.began.get_or_insert_with(Instant::now);
        self.tries += 1;
        self.last = error.to_string();
        let pause = self.backoff.next().unwrap_or(self.window);
        if self.tries >= self.tries_max || began.elapsed() + pause > self.window {
            if let Some(inquiry) = self.inquiry.take() {
                inquiry.silent(match &error {
                    Error::Unreachable { source, .. } => source.to_string(),
                    other => other.to_string(),
                });
            }
            return Err(Error::BudgetSpent {
                tries: self.tries,
                spent_s: began.elapsed().as_secs(),
                last: Box::new(error),
            });
        }
        Ok(pause)
    }

    /// Whether it is this stream that finds out whether the endpoint's server comes back.
    pub(crate) fn inquires(&self, endpoint: &Endpoint) -> bool {
        self.inquiry.as_ref().is_some_and(|inquiry| inquiry.is_about(endpoint))
    }

    /// From here on the budget is spent on that question; on none where the error is another.
    pub(crate) fn turn_to(&mut self, inquiry: Option<Inquiry>) {
        self.inquiry = inquiry;
    }

    /// Tries made since the last progress, the one to come included.
    pub(crate) fn tries(&self) -> usize {
        self.tries + 1
    }

    /// The last error's text.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped() -> Error {
        Error::Injected { step: "here".into(), text: "there".into() }
    }

    #[test]
    fn a_budget_is_spent_after_its_tries_and_whole_again_after_progress() {
        let tuning = Tuning { retry_tries: 3, ..Tuning::default() };
        let mut budget = Budget::new(&tuning);
        assert!(budget.spend(stopped()).is_ok());
        assert!(budget.spend(stopped()).is_ok());
        budget.renew();
        assert!(budget.spend(stopped()).is_ok());
        assert!(budget.spend(stopped()).is_ok());
        let spent = budget.spend(stopped()).unwrap_err();
        assert!(matches!(spent, Error::BudgetSpent { tries: 3, .. }), "{spent}");
    }

    #[test]
    fn pauses_grow_to_their_cap() {
        let tuning =
            Tuning { retry_tries: 100, retry_window: Duration::from_secs(1 << 20), ..Tuning::default() };
        let mut budget = Budget::new(&tuning);
        let pauses: Vec<_> = (0..12).map(|_| budget.spend(stopped()).unwrap()).collect();
        assert!(pauses[0] < Duration::from_secs(2), "{:?}", pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= tuning.retry_pause_max * 2), "{pauses:?}");
    }
}
