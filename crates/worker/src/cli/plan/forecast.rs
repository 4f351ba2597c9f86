//! What the next run of a stream would do: the facts that `plan` shows, as text or as JSON.

use milestream_core::milestone::{LocalBatch, PrimaryBatch};
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::gravity::gravest;
use crate::ingest;
use crate::schema::Difference;

/// One stream of one platform.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct StreamPlan {
    /// The platform, as in the model.
    pub(super) platform: String,
    /// Key of the stream.
    pub(super) stream: String,
    /// Why it is halted, and what to do. The next run tries again, and may halt on what no plan can foresee.
    pub(super) halted: Option<String>,
    /// What would happen.
    #[serde(flatten)]
    pub(super) next: Next,
}

/// What the next run would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub(super) enum Next {
    /// Seed, or follow by an increment.
    Sync(Box<NextSync>),
    /// The primary has nothing that the secondary lacks.
    Nothing { primary: String, why: String, notes: Vec<String> },
    /// Read the source.
    Ingest { source: String, batch: LocalBatch, runs_again: bool },
    /// Halt before anything is written: the tables do not go together.
    Differences { primary: String, differences: Vec<Difference> },
    /// The same of a source and the tables that it is read into.
    SourceDifferences { source: String, differences: Vec<ingest::Difference> },
    /// Fail.
    Fail(Failure),
}

/// What [`crate::Error::exit_code`] says of a stream that waits for a person, or would.
const HALTED: u8 = 1;

impl StreamPlan {
    /// What the stream adds to the exit code: with what its sync would end, had it to end now, or ended last.
    pub(super) fn exit_code(&self) -> u8 {
        let next = match &self.next {
            Next::Sync(_) | Next::Nothing { .. } | Next::Ingest { .. } => 0,
            Next::Differences { .. } | Next::SourceDifferences { .. } => HALTED,
            Next::Fail(failure) => failure.exit_code,
        };
        gravest([next, self.halted.as_ref().map_or(0, |_| HALTED)])
    }
}

/// A sync.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NextSync {
    pub(super) primary: String,
    pub(super) phase: &'static str,
    /// X of an increment.
    pub(super) from: Option<PrimaryBatch>,
    /// X of a seed, Y of an increment.
    pub(super) to: PrimaryBatch,
    pub(super) local_batch: LocalBatch,
    /// Whether it is in flight already, and would be taken up.
    pub(super) resumes: bool,
    pub(super) chunks: u64,
    pub(super) chunks_done: u64,
    pub(super) rows_estimated: u64,
    pub(super) rows_done: u64,
    /// `None` for a sync in flight, whose estimate was not kept.
    pub(super) bytes_estimated: Option<u64>,
    /// Batches and rows that stay behind it, for further syncs.
    pub(super) batches_remaining: u64,
    pub(super) rows_remaining: u64,
    /// Statements that would create indexes on the primary which the reads need.
    pub(super) missing_indexes: Vec<String>,
    /// Triggers and rules of the secondary's tables, each with its table.
    pub(super) hooks: Vec<String>,
    /// Of a seed of datasets that came to a stream, which they are.
    pub(super) datasets: Vec<String>,
    /// What there is to say of datasets that are left out.
    pub(super) notes: Vec<String>,
    /// Columns of the primary that the model lacks, so that they are not carried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) lacking: Vec<String>,
}
