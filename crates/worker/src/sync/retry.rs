//! The retry budget: so many tries within so much time, renewed by progress.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::job::Tuning;
use super::peers::Inquiry;
use crate::error::{Error, Result};
use crate::postgres::Endpoint;

/// What is left of the patience with transient errors.
pub(crate) struct Budget {
    tries_max: usize,
    window: Duration,
    pauses: Pauses,
    /// Whether a sync that is given up goes on where it stood.
    resumes: bool,
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
        Budget {
            tries_max: tuning.retry_tries,
            window: tuning.retry_window,
            pauses: Pauses::between(tuning.retry_pause_min, tuning.retry_pause_max),
            resumes: true,
            began: None,
            failed: None,
            tries: 0,
            last: String::new(),
            durable: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            inquiry: None,
        }
    }

    /// The budget of what begins again with each try.
    pub(crate) fn of_snapshots(tuning: &Tuning) -> Budget {
        Budget { resumes: false, ..Budget::new(tuning) }
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
        self.pauses.shorten();
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
        let pause = self.pauses.next();
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
                resumes: self.resumes,
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

/// Pauses that double up to a bound. Each is drawn from the upper half of what it may be, and never longer: workers that
/// a server lost together must not come back together.
struct Pauses {
    min: Duration,
    max: Duration,
    longest: Duration,
}

impl Pauses {
    fn between(min: Duration, max: Duration) -> Pauses {
        Pauses { min, max, longest: min.min(max) }
    }

    fn shorten(&mut self) {
        self.longest = self.min.min(self.max);
    }

    fn next(&mut self) -> Duration {
        let pause = self.longest.mul_f64(0.5 + chance() / 2.0);
        self.longest = self.longest.saturating_mul(2).min(self.max);
        pause
    }
}

/// A number from 0 to 1 that another process does not draw too: hash tables get their keys from the system.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
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

    fn pauses() -> Vec<Duration> {
        let tuning =
            Tuning { retry_tries: 100, retry_window: Duration::from_secs(1 << 20), ..Tuning::default() };
        let mut budget = Budget::new(&tuning);
        (0..24).map(|_| budget.spend(stopped()).unwrap()).collect()
    }

    #[test]
    fn pauses_grow_to_their_cap_and_never_pass_it() {
        let Tuning { retry_pause_min, retry_pause_max, .. } = Tuning::default();
        let pauses = pauses();
        assert!(pauses[0] <= retry_pause_min, "{:?}", pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= retry_pause_max), "{pauses:?}");
        assert!(pauses[12..].iter().all(|pause| *pause >= retry_pause_max / 2), "{pauses:?}");
    }

    #[test]
    fn no_two_workers_pause_alike() {
        assert_ne!(pauses(), pauses());
    }

    #[test]
    fn a_least_pause_above_the_longest_gives_way_to_it() {
        let mut pauses = Pauses::between(Duration::from_secs(9), Duration::from_secs(2));
        assert!((0..9).all(|_| pauses.next() <= Duration::from_secs(2)));
    }
}
