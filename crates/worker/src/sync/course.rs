//! From where to where a sync goes, with which datasets, and what is counted apart.

use std::collections::BTreeSet;

use milestream_core::milestone::PrimaryBatch;
use milestream_core::stream::Dataset;

use super::datasets::{self, Apart, Roster};
use super::job::{Job, Upstream};
use super::target::Target;
use crate::error::Result;
use crate::postgres::Session;
use crate::postgres::read::Relation;
use crate::tables::primary_batches::CommittedBatch;
use crate::tables::streams::StreamRow;

/// From where to where a sync goes, and with which datasets.
pub(super) struct Course<'j> {
    pub(super) target: Target,
    pub(super) datasets: Vec<&'j Dataset>,
    /// Datasets of the watermark that the model has no more.
    pub(super) left: BTreeSet<String>,
    /// What the primary counted and the sync does not bring.
    pub(super) apart: Vec<Relation>,
    pub(super) notes: Vec<String>,
}

impl<'j> Course<'j> {
    /// Of a stream without a watermark: everything, to the newest batch.
    pub(super) fn seed(job: &'j Job, newest: CommittedBatch) -> Course<'j> {
        let datasets = job.stream.datasets.iter().collect();
        let (left, apart, notes) = (BTreeSet::new(), Vec::new(), Vec::new());
        Course { target: Target::seed(newest), datasets, left, apart, notes }
    }

    /// What follows a watermark: datasets that came are seeded as of it before the others go on, as far as `rows_max`
    /// recorded rows go; or why nothing does, and what there is to say of datasets that are left out.
    pub(super) async fn after(
        job: &'j Job,
        upstream: &Upstream,
        primary: &mut Session,
        row: &StreamRow,
        watermark: PrimaryBatch,
        batches: Vec<CommittedBatch>,
        rows_max: u64,
    ) -> Result<Result<Course<'j>, (String, Vec<String>)>> {
        let roster = Roster::of(job, row);
        let ready = datasets::on_primary(job, upstream, primary, &roster.came).await?;
        let waiting = roster.came.difference(&ready).cloned().collect();
        let notes = datasets::notes(job, upstream, watermark, &roster, &waiting);
        if !ready.is_empty()
            && let Some(target) = Target::beside(watermark, &batches)
        {
            // The others are told of when they are synced.
            let (left, apart, notes) = (BTreeSet::new(), Vec::new(), Vec::new());
            return Ok(Ok(Course { target, datasets: datasets::named(job, &ready), left, apart, notes }));
        }
        if roster.held.is_empty() {
            let why = format!("the model has none of the datasets that batch {watermark} stands for");
            return Ok(Err((why, notes)));
        }
        let is_behind = batches.is_empty();
        let Some(target) = Target::increment(watermark, batches, rows_max) else {
            let why = nothing_newer(primary, watermark, is_behind);
            return Ok(Err((why, notes)));
        };
        let datasets = datasets::named(job, &roster.held);
        let mut course = Course { target, datasets, left: roster.left, apart: Vec::new(), notes };
        course.set_apart(job, upstream, primary, row, &roster.held).await?;
        Ok(Ok(course))
    }

    /// The primary counts all of its datasets together, also those that this stream has not or not any more.
    async fn set_apart(
        &mut self,
        job: &Job,
        upstream: &Upstream,
        primary: &mut Session,
        row: &StreamRow,
        held: &BTreeSet<String>,
    ) -> Result<()> {
        let counted: BTreeSet<_> = self.target.datasets.difference(held).cloned().collect();
        let left = self.left.iter().chain(row.datasets_left.keys()).cloned().collect();
        let Apart { relations, missing } = datasets::apart(job, upstream, primary, &counted, &left).await?;
        self.apart = relations;
        if !missing.is_empty() {
            self.target.recorded = None;
            self.notes.push(format!(
                "{} also counted datasets whose tables cannot be read ({}): what is found is not compared with its metrics",
                upstream.platform,
                missing.join(", ")
            ));
        }
        Ok(())
    }
}

/// Why there is no increment. A primary without the watermark's batch is a standby: another would have been reset.
fn nothing_newer(primary: &Session, watermark: PrimaryBatch, is_behind: bool) -> String {
    if is_behind {
        return format!("{} is a standby that has not replayed batch {watermark} yet", primary.endpoint);
    }
    format!("batch {watermark} is the newest")
}
