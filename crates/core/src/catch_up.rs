//! How far the next increment goes: the choice of Y.

use std::collections::BTreeMap;

use crate::milestone::{BatchRange, PrimaryBatch};

/// A batch that the primary's batch_metrics calls committed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CommittedBatch {
    /// Its id.
    pub batch: PrimaryBatch,
    /// Versions it opened and closed, over all datasets of the stream; `None` when the metrics do not say.
    pub rows_recorded: Option<u64>,
}

impl CommittedBatch {
    /// A batch with the three counts of its row in batch_metrics. One that is null or negative leaves the sum
    /// unknown: a part of it would pass for the whole.
    pub fn from_metrics(batch: PrimaryBatch, counts: [Option<i32>; 3]) -> CommittedBatch {
        let rows_recorded = counts.into_iter().map(|count| u64::try_from(count?).ok()).sum();
        CommittedBatch { batch, rows_recorded }
    }
}

/// How much lies in a range of batches.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Committed batches.
    pub batches: usize,
    /// The rows that their metrics record.
    pub rows_recorded: u64,
    /// Batches among them whose rows are unknown, so that `rows_recorded` is too low.
    pub batches_uncounted: usize,
}

/// The next increment, and what is left after it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CatchUp {
    /// (X, Y].
    pub range: BatchRange,
    /// What the increment moves.
    pub step: Backlog,
    /// What stays behind it, for `status`.
    pub remaining: Backlog,
}

/// Chooses Y: the furthest committed batch such that the rows recorded over (watermark, Y] stay within
/// `rows_max`, and at least the first new one, however large it is: a batch cannot be divided. `None` when
/// nothing is new.
///
/// `committed` comes in any order; batches up to the watermark are passed over.
///
/// A batch whose rows are unknown counts as `rows_max`. It may be of any size, so it must not ride along with
/// others, and stepping over it alone is the smallest step there is. Ids are serial, so a hole before a batch
/// is a row missing from the metrics: what it moved comes with that batch, whose rows therefore count as
/// unknown as well. A primary that records nothing is followed batch by batch.
pub fn choose(
    watermark: PrimaryBatch,
    committed: impl IntoIterator<Item = CommittedBatch>,
    rows_max: u64,
) -> Option<CatchUp> {
    let batches = batches_after(watermark, committed);
    let taken = batches.len().min(batches_within(&batches, rows_max).max(1));
    let (step, remaining) = batches.split_at(taken);
    let range = BatchRange::new(watermark, step.last()?.batch);
    Some(CatchUp { range, step: backlog(step), remaining: backlog(remaining) })
}

/// The new batches in order, those after a hole with their rows unknown.
fn batches_after(
    watermark: PrimaryBatch,
    committed: impl IntoIterator<Item = CommittedBatch>,
) -> Vec<CommittedBatch> {
    let by_id: BTreeMap<_, _> = committed
        .into_iter()
        .filter(|committed| committed.batch > watermark)
        .map(|committed| (committed.batch, committed.rows_recorded))
        .collect();
    let before = std::iter::once(&watermark).chain(by_id.keys());
    before
        .zip(&by_id)
        .map(|(before, (&batch, &rows_recorded))| {
            let follows = before.0.checked_add(1) == Some(batch.0);
            CommittedBatch { batch, rows_recorded: rows_recorded.filter(|_| follows) }
        })
        .collect()
}

/// How many batches from the first on stay within `rows_max` together.
fn batches_within(batches: &[CommittedBatch], rows_max: u64) -> usize {
    // An uncounted batch never counts as nothing, not even under a bound of 0.
    let uncounted = rows_max.max(1);
    let sums = batches.iter().scan(0_u64, |sum, batch| {
        *sum = sum.saturating_add(batch.rows_recorded.unwrap_or(uncounted));
        Some(*sum)
    });
    sums.take_while(|&sum| sum <= rows_max).count()
}

fn backlog(batches: &[CommittedBatch]) -> Backlog {
    let rows_recorded = batches.iter().filter_map(|batch| batch.rows_recorded).fold(0, u64::saturating_add);
    let batches_uncounted = batches.iter().filter(|batch| batch.rows_recorded.is_none()).count();
    Backlog { batches: batches.len(), rows_recorded, batches_uncounted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATERMARK: PrimaryBatch = PrimaryBatch(4);

    /// Batches from 5 on, with the rows given.
    fn committed(rows: &[Option<u64>]) -> Vec<CommittedBatch> {
        let batch = |(batch, &rows_recorded)| CommittedBatch { batch: PrimaryBatch(batch), rows_recorded };
        (5..).zip(rows).map(batch).collect()
    }

    fn through(rows: &[Option<u64>], rows_max: u64) -> Option<i32> {
        choose(WATERMARK, committed(rows), rows_max).map(|chosen| chosen.range.through().0)
    }

    #[test]
    fn nothing_new_is_no_catch_up() {
        assert_eq!(through(&[], 100), None);
        let old = [3, 4].map(|batch| CommittedBatch { batch: PrimaryBatch(batch), rows_recorded: Some(1) });
        assert_eq!(choose(WATERMARK, old, 100), None);
    }

    #[test]
    fn the_bound_itself_is_within_the_bound() {
        let rows = [Some(40), Some(60), Some(1), Some(1)];
        assert_eq!([99, 100, 101, 102, 1000].map(|max| through(&rows, max)), [5, 6, 7, 8, 8].map(Some));
    }

    #[test]
    fn a_first_batch_beyond_the_bound_is_taken_alone() {
        assert_eq!(through(&[Some(101), Some(0), Some(1)], 100), Some(5));
        assert_eq!(through(&[Some(u64::MAX), Some(u64::MAX)], 100), Some(5));
        assert_eq!(through(&[Some(1), Some(1)], 0), Some(5));
    }

    #[test]
    fn empty_batches_cost_nothing() {
        assert_eq!(through(&[Some(0), Some(100), Some(0), Some(0), Some(1)], 100), Some(8));
    }

    #[test]
    fn an_uncounted_batch_rides_with_none_that_moves_rows() {
        assert_eq!(through(&[Some(1), None, Some(1)], 100), Some(5), "not after a counted one");
        assert_eq!(through(&[None, Some(1)], 100), Some(5), "nor before one");
        assert_eq!(through(&[None, None, None], 100), Some(5), "nor with its like");
        assert_eq!(through(&[None, None], 0), Some(5));
    }

    #[test]
    fn the_batch_after_a_hole_counts_as_unknown() {
        let with_hole =
            [5, 7, 8].map(|batch| CommittedBatch { batch: PrimaryBatch(batch), rows_recorded: Some(1) });
        let chosen = choose(WATERMARK, with_hole, 100).unwrap();
        assert_eq!(chosen.range.through(), PrimaryBatch(5));
        assert_eq!(chosen.remaining, Backlog { batches: 2, rows_recorded: 1, batches_uncounted: 1 });
        let hole_first = choose(WATERMARK, with_hole.into_iter().skip(1), 100).unwrap();
        assert_eq!(hole_first.range.through(), PrimaryBatch(7));
    }

    #[test]
    fn status_learns_what_is_moved_and_what_remains() {
        let mut batches = committed(&[Some(10), Some(20), Some(80), None, Some(7)]);
        batches.reverse();
        let chosen = choose(WATERMARK, batches, 50).unwrap();
        assert_eq!(chosen.range, BatchRange::new(WATERMARK, PrimaryBatch(6)));
        assert_eq!(chosen.step, Backlog { batches: 2, rows_recorded: 30, batches_uncounted: 0 });
        assert_eq!(chosen.remaining, Backlog { batches: 3, rows_recorded: 87, batches_uncounted: 1 });
    }

    #[test]
    fn counts_of_the_metrics_are_summed_only_when_all_are_there() {
        let rows = |counts| CommittedBatch::from_metrics(PrimaryBatch(1), counts).rows_recorded;
        assert_eq!(rows([Some(1), Some(2), Some(3)]), Some(6));
        assert_eq!(rows([Some(i32::MAX); 3]), Some(6_442_450_941));
        assert_eq!(rows([Some(1), None, Some(3)]), None);
        assert_eq!(rows([Some(1), Some(-2), Some(3)]), None);
    }
}
