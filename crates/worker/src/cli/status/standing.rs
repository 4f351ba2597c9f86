//! Where a stream stands: the facts that `status` shows, as text or as JSON.

use std::collections::{BTreeMap, BTreeSet};

use milestream_core::milestone::{LocalBatch, PrimaryBatch};
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::gravity::gravest;

/// One stream of one platform.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct StreamStatus {
    /// The platform, as in the model.
    pub(super) platform: String,
    /// Key of the stream.
    pub(super) stream: String,
    /// Where it stands, by its role.
    #[serde(flatten)]
    pub(super) standing: Standing,
}

/// Where a stream stands, by its role.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum Standing {
    Secondary(Box<Secondary>),
    Primary(Box<Primary>),
    /// Its own store could not be asked.
    Unknown(Failure),
}

/// What [`crate::Error::exit_code`] says of a stream that waits for a person.
const HALTED: u8 = 1;

impl StreamStatus {
    /// What the stream adds to the exit code: whether a person has to act, or a server could not be reached.
    pub(super) fn exit_code(&self) -> u8 {
        match &self.standing {
            Standing::Unknown(failure) => failure.exit_code,
            Standing::Primary(primary) => primary.halted.as_ref().map_or(0, |_| HALTED),
            Standing::Secondary(secondary) => {
                let lag = match &secondary.lag {
                    Lag::Unknown(failure) => failure.exit_code,
                    Lag::Behind { .. } | Lag::Below { .. } => 0,
                };
                gravest([secondary.halted.as_ref().map_or(0, |_| HALTED), lag])
            }
        }
    }
}

/// A stream that follows a primary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Secondary {
    pub(super) phase: Phase,
    /// The primary it follows, or would follow.
    pub(super) primary: Option<String>,
    /// The primary batch whose state it holds.
    pub(super) watermark: Option<PrimaryBatch>,
    /// The batch whose state readers still see while the stream is seeded again.
    pub(super) readers_batch: Option<PrimaryBatch>,
    /// Datasets that left the model, whose tables stay as of a batch.
    pub(super) datasets_left: BTreeMap<String, PrimaryBatch>,
    /// Datasets of the model that the stream does not hold yet.
    pub(super) datasets_new: BTreeSet<String>,
    pub(super) lag: Lag,
    pub(super) in_flight: Option<InFlight>,
    pub(super) last_sync: Option<LastSync>,
    pub(super) lease: Option<Lease>,
    /// Why it halted, and what to do.
    pub(super) halted: Option<String>,
    /// Why the last sync gave up, where the next goes on by itself.
    pub(super) waiting: Option<String>,
    /// Columns of the primary that the model lacks, so that they are not carried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) lacking: Vec<String>,
}

/// What a stream is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Never synced.
    New,
    /// A seed is in flight.
    Seed,
    /// An increment is in flight.
    Increment,
    /// Nothing is in flight.
    Idle,
    /// It waits for a person.
    Halted,
    /// The last sync gave up on what heals by itself; the next goes on.
    Waiting,
}

/// How far behind its primary it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Lag {
    /// Committed batches of the primary that it lacks, and seconds since the first of them was committed, where that is
    /// known.
    Behind { batches: usize, seconds: Option<f64> },
    /// The primary is a standby that has not come as far as the watermark yet.
    Below { standby_before: PrimaryBatch },
    /// The primary could not be asked, or is not the one that the watermark belongs to.
    Unknown(Failure),
}

/// A sync that is under way, or waits to be taken up again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct InFlight {
    pub(super) from: Option<PrimaryBatch>,
    pub(super) to: PrimaryBatch,
    pub(super) chunks: u64,
    pub(super) chunks_done: u64,
    pub(super) rows_done: u64,
    pub(super) rows_estimated: u64,
    pub(super) bytes_done: u64,
    /// Of the last minute; `None` when no chunk was finished in it, or nobody is at work.
    pub(super) rows_per_second: Option<f64>,
    pub(super) eta_seconds: Option<f64>,
    pub(super) retries: i32,
}

/// The newest sync that was committed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LastSync {
    pub(super) kind: String,
    pub(super) committed_at: String,
    pub(super) age_seconds: f64,
    pub(super) rows_staged: u64,
    pub(super) rows_inserted: u64,
    pub(super) rows_updated: u64,
    pub(super) rows_deleted: u64,
    pub(super) milliseconds: u64,
    pub(super) rows_per_second: Option<f64>,
}

/// Who works on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Lease {
    pub(super) owner: String,
    pub(super) until: String,
}

/// A stream that reads its source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Primary {
    pub(super) last_batch: Option<LastBatch>,
    pub(super) lease: Option<Lease>,
    pub(super) halted: Option<String>,
    pub(super) waiting: Option<String>,
}

/// The newest batch of a primary, whatever became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LastBatch {
    pub(super) batch: LocalBatch,
    pub(super) status: String,
    /// Since it ended, or since it began where it has not ended; `None` where that is not known.
    pub(super) age_seconds: Option<f64>,
    pub(super) rows_inserted: Option<u64>,
    pub(super) rows_updated: Option<u64>,
    pub(super) rows_deleted: Option<u64>,
}
