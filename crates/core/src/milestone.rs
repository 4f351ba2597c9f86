//! Batches, and what a version's two milestones say about it.
//!
//! A version of a record carries `batch_in`, the batch that opened it, and `batch_out`, the *last* batch in
//! which it was live: both ends are inclusive, and the batch that closed a version is `batch_out + 1`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The `batch_out` of a version that is still live. It is the largest `integer` of Postgres and never the id
/// of a batch.
pub const LIVE: i32 = 2_147_483_647;

/// The id of a batch of a primary's stream. It does not compare with the ids of another primary, nor with
/// local ones.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrimaryBatch(pub i32);

/// The id of a batch of a secondary's own stream.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LocalBatch(pub i32);

impl LocalBatch {
    /// The local batch of a mirror that takes over `through`. Only a mirror has the primary's ids, because
    /// the versions that it holds carry them; everywhere else the two kinds of ids have nothing to do with
    /// each other.
    pub fn of_mirror(through: PrimaryBatch) -> LocalBatch {
        LocalBatch(through.0)
    }
}

impl fmt::Display for PrimaryBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LocalBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The batches (X, Y] of an increment: after X, up to and including Y. It is never empty.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct BatchRange {
    after: PrimaryBatch,
    through: PrimaryBatch,
}

impl BatchRange {
    /// The batches after `after`, up to and including `through`.
    ///
    /// # Panics
    /// When `after < through < LIVE` does not hold: an increment moves forward, and LIVE is no batch.
    pub fn new(after: PrimaryBatch, through: PrimaryBatch) -> BatchRange {
        assert!(
            after < through && through.0 < LIVE,
            "({after}, {through}] is no range of batches: it must move forward and end before LIVE"
        );
        BatchRange { after, through }
    }

    /// X: the watermark that the range starts from, itself outside of the range.
    pub fn after(self) -> PrimaryBatch {
        self.after
    }

    /// Y: the last batch of the range, inside of it.
    pub fn through(self) -> PrimaryBatch {
        self.through
    }
}

impl fmt::Display for BatchRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}]", self.after, self.through)
    }
}

/// The batches in which a version was live, `batch_in..=batch_out`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Interval {
    batch_in: PrimaryBatch,
    batch_out: PrimaryBatch,
}

impl Interval {
    /// A version opened by `batch_in` whose last live batch is `batch_out`, or [`LIVE`].
    ///
    /// # Panics
    /// When `batch_in <= batch_out` and `batch_in < LIVE` do not both hold: no batch opens a version and
    /// closes it again.
    pub fn new(batch_in: PrimaryBatch, batch_out: PrimaryBatch) -> Interval {
        assert!(
            batch_in <= batch_out && batch_in.0 < LIVE,
            "{batch_in}..={batch_out} is no interval of a version: it would be live in no batch"
        );
        Interval { batch_in, batch_out }
    }

    /// A version opened by `batch_in` and not closed yet.
    pub fn live_from(batch_in: PrimaryBatch) -> Interval {
        Interval::new(batch_in, PrimaryBatch(LIVE))
    }

    /// The batch that opened the version.
    pub fn batch_in(self) -> PrimaryBatch {
        self.batch_in
    }

    /// The last batch in which the version was live, or [`LIVE`].
    pub fn batch_out(self) -> PrimaryBatch {
        self.batch_out
    }

    /// Whether the version was live at the end of `batch`.
    pub fn live_at(self, batch: PrimaryBatch) -> bool {
        self.batch_in <= batch && batch <= self.batch_out
    }

    /// Whether a batch of (X, Y] opened the version.
    pub fn opened(self, range: BatchRange) -> bool {
        range.after < self.batch_in && self.batch_in <= range.through
    }

    /// Whether a batch of (X, Y] closed the version. The closing batch is `batch_out + 1`, so `batch_out`
    /// runs from X to Y - 1. A version that the range itself opened counts too.
    pub fn closed(self, range: BatchRange) -> bool {
        self.batch_in <= range.through && range.after <= self.batch_out && self.batch_out < range.through
    }

    /// The interval as it stood when `batch` was the newest: a close that came later is taken back. It says
    /// nothing about versions that `batch` had not opened yet; callers leave those out first.
    pub fn as_of(self, batch: PrimaryBatch) -> Interval {
        if self.batch_out >= batch { Interval::live_from(self.batch_in) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: i32 = 10;
    const Y: i32 = 20;

    fn range() -> BatchRange {
        BatchRange::new(PrimaryBatch(X), PrimaryBatch(Y))
    }

    fn interval(batch_in: i32, batch_out: i32) -> Interval {
        Interval::new(PrimaryBatch(batch_in), PrimaryBatch(batch_out))
    }

    #[test]
    fn a_version_is_live_from_the_batch_that_opened_it_through_its_batch_out() {
        let live_at = |batch| interval(10, 12).live_at(PrimaryBatch(batch));
        assert_eq!([9, 10, 11, 12, 13].map(live_at), [false, true, true, true, false]);
        assert!(interval(7, 7).live_at(PrimaryBatch(7)), "a version may be live in a single batch");
        assert!(interval(1, LIVE).live_at(PrimaryBatch(LIVE - 1)));
    }

    #[test]
    fn opened_starts_one_after_x_and_includes_y() {
        let opened = |batch_in| interval(batch_in, LIVE).opened(range());
        assert_eq!([X - 1, X, X + 1, Y - 1, Y, Y + 1].map(opened), [false, false, true, true, true, false]);
    }

    #[test]
    fn closed_includes_a_batch_out_of_x_and_ends_before_y() {
        let closed = |batch_out| interval(1, batch_out).closed(range());
        assert_eq!(
            [X - 1, X, X + 1, Y - 1, Y, Y + 1, LIVE].map(closed),
            [false, true, true, true, false, false, false]
        );
    }

    #[test]
    fn closed_counts_versions_that_the_range_opened_itself() {
        assert!(interval(X + 1, X + 1).closed(range()));
        assert!(interval(Y - 1, Y - 1).closed(range()));
        assert!(!interval(Y, Y).closed(range()), "it is batch Y + 1 that closed this one");
        assert!(!interval(Y + 1, Y + 1).closed(range()));
    }

    #[test]
    fn as_of_takes_back_only_closes_that_came_later() {
        let batch_out = |batch_out| interval(1, batch_out).as_of(PrimaryBatch(Y)).batch_out().0;
        assert_eq!([Y - 1, Y, Y + 1, LIVE].map(batch_out), [Y - 1, LIVE, LIVE, LIVE]);
        assert_eq!(interval(5, 9).as_of(PrimaryBatch(Y)).batch_in(), PrimaryBatch(5));
    }

    #[test]
    fn live_is_the_value_that_the_merge_tables_hold() {
        assert_eq!(LIVE, i32::MAX);
        assert_eq!(Interval::live_from(PrimaryBatch(3)), interval(3, LIVE));
    }

    #[test]
    #[should_panic(expected = "4..=3 is no interval of a version")]
    fn an_interval_that_ends_before_it_begins_is_refused() {
        interval(4, 3);
    }

    #[test]
    #[should_panic(expected = "(20, 20] is no range of batches")]
    fn an_empty_range_is_refused() {
        BatchRange::new(PrimaryBatch(Y), PrimaryBatch(Y));
    }

    #[test]
    #[should_panic(expected = "(20, 2147483647] is no range of batches")]
    fn a_range_up_to_live_is_refused() {
        BatchRange::new(PrimaryBatch(Y), PrimaryBatch(LIVE));
    }

    #[test]
    fn batches_are_plain_numbers_in_text_and_in_json() {
        assert_eq!(serde_json::to_string(&(PrimaryBatch(7), LocalBatch(3))).unwrap(), "[7,3]");
        assert_eq!(serde_json::from_str::<PrimaryBatch>("7").unwrap(), PrimaryBatch(7));
        assert_eq!(format!("{:>4}|{}|{}", PrimaryBatch(7), LocalBatch(3), range()), "   7|3|(10, 20]");
        assert_eq!(LocalBatch::of_mirror(PrimaryBatch(12)), LocalBatch(12));
    }
}
