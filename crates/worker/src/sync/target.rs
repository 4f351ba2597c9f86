//! From where to where a sync goes.

use std::collections::BTreeSet;

use milestream_core::catch_up;
use milestream_core::milestone::PrimaryBatch;

use crate::tables::primary_batches::CommittedBatch;
use crate::tables::streams::BatchHistory;

/// From where to where a sync goes.
pub(super) struct Target {
    pub(super) from: Option<PrimaryBatch>,
    /// The watermark, where datasets that came are seeded as of it.
    pub(super) beside: Option<PrimaryBatch>,
    pub(super) to: PrimaryBatch,
    /// Batches whose identity must hold: X and Y.
    pub(super) batches: Vec<CommittedBatch>,
    pub(super) recorded: Option<(i64, i64)>,
    /// Datasets that the batches counted.
    pub(super) datasets: BTreeSet<String>,
    pub(super) rows_recorded: u64,
    /// The primary's batches through the last.
    pub(super) history: Option<BatchHistory>,
    pub(super) remaining: catch_up::Backlog,
}

impl Target {
    /// To the newest batch.
    pub(super) fn seed(newest: CommittedBatch) -> Target {
        Target {
            from: None,
            beside: None,
            to: newest.batch,
            batches: vec![newest],
            recorded: None,
            datasets: BTreeSet::new(),
            rows_recorded: 0,
            history: None,
            remaining: catch_up::Backlog::default(),
        }
    }

    /// To the watermark itself, for datasets that came since; `None` where the primary does not show its batch.
    pub(super) fn beside(watermark: PrimaryBatch, batches: &[CommittedBatch]) -> Option<Target> {
        let batch = batches.iter().find(|batch| batch.batch == watermark)?;
        Some(Target { beside: Some(watermark), ..Target::seed(batch.clone()) })
    }

    /// As far as `rows_max` recorded rows go; `None` where there is nothing newer than the watermark.
    pub(super) fn increment(
        watermark: PrimaryBatch,
        batches: Vec<CommittedBatch>,
        rows_max: u64,
    ) -> Option<Target> {
        let recorded = |batch: &CommittedBatch| batch.rows().and_then(|rows| u64::try_from(rows).ok());
        let candidates = batches
            .iter()
            .map(|batch| catch_up::CommittedBatch { batch: batch.batch, rows_recorded: recorded(batch) });
        let choice = catch_up::choose(watermark, candidates, rows_max)?;
        let to = choice.range.through();
        let within: Vec<_> =
            batches.iter().filter(|batch| batch.batch > watermark && batch.batch <= to).collect();
        // Silent metrics leave nothing to compare the ledger with.
        let sum = |count: fn(&CommittedBatch) -> Option<i64>| within.iter().map(|batch| count(batch)).sum();
        let opened: Option<i64> = sum(|batch| batch.opened);
        let closed: Option<i64> = sum(|batch| batch.closed);
        let datasets = within.iter().flat_map(|batch| batch.datasets.iter().cloned()).collect();
        let ends =
            batches.into_iter().filter(|batch| batch.batch == watermark || batch.batch == to).collect();
        Some(Target {
            from: Some(watermark),
            beside: None,
            to,
            recorded: opened.zip(closed),
            datasets,
            rows_recorded: choice.step.rows_recorded,
            history: None,
            batches: ends,
            remaining: choice.remaining,
        })
    }
}
