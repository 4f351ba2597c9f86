//! The sync of one stream: lease, plan, copy, land or merge, commit; and again, until there is nothing new.

mod attempt;
mod constraints;
pub(crate) mod copying;
mod course;
pub(crate) mod datasets;
mod doubles;
pub(crate) mod drafting;
pub(crate) mod former;
mod gathering;
pub(crate) mod ground;
pub(crate) mod helpers;
mod helping;
mod incrementing;
mod job;
pub(crate) mod kindness;
mod landing;
pub(crate) mod leading;
mod ledger;
pub(crate) mod limits;
mod merging;
pub(crate) mod peers;
pub(crate) mod planning;
pub(crate) mod proof;
pub(crate) mod recovery;
mod renaming;
mod replanning;
pub(crate) mod retry;
mod seeding;
pub(crate) mod sessions;
mod standing;
pub(crate) mod stopping;
pub(crate) mod storing;
mod sweeping;
mod target;
mod watermark;

use std::sync::Arc;

use milestream_core::milestone::PrimaryBatch;
use tokio_util::sync::CancellationToken;

pub(crate) use helping::help_among;
pub use helping::{Help, help};
pub use job::{IncrementStrategy, Job, PrimaryChoice, SeedStrategy, Tuning, Upstream, VerifySeed};

use crate::error::Result;
use crate::observer::Observer;
use ground::Ground;
use peers::Peer;
use retry::Budget;

/// When a run of syncs ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After one sync: the batch in flight, or the next one.
    OneSync,
    /// When the primary has nothing that the secondary lacks.
    CaughtUp,
}

/// What a run of syncs did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Syncs committed.
    pub syncs: u64,
    /// The watermark they left.
    pub watermark: Option<PrimaryBatch>,
    /// Whether the primary had nothing more when the run ended.
    pub caught_up: bool,
    /// Why there was nothing to do, where nothing was done.
    pub why: Option<String>,
    /// The syncs committed, in their order.
    pub committed: Vec<Committed>,
}

/// A sync that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Committed {
    /// `seed` or `increment`.
    pub kind: &'static str,
    /// X of an increment; `None` for a seed.
    pub from: Option<PrimaryBatch>,
    /// X of a seed, Y of an increment.
    pub to: PrimaryBatch,
    /// Rows that were brought.
    pub rows_staged: u64,
    /// Rows that are new.
    pub rows_inserted: u64,
    /// Rows that changed.
    pub rows_updated: u64,
    /// Rows that are gone.
    pub rows_deleted: u64,
    /// How long it took to copy, land, merge and commit; of a resumed sync, what this process did of it.
    pub milliseconds: u64,
}

/// Runs the syncs of one stream. Transient errors are retried within the budget; every attempt finds what the one
/// before left and goes on from there.
///
/// `stop` asks for an end after the chunks in flight.
///
/// # Errors
/// Those of [`crate::Error`]; whatever it is, the secondary holds exactly its last watermark.
pub async fn run(
    job: Arc<Job>,
    until: Until,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<Outcome> {
    run_among(job, until, observer, stop, Peer::alone()).await
}

/// The same beside other streams of this process.
pub(crate) async fn run_among(
    job: Arc<Job>,
    until: Until,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    peer: Peer,
) -> Result<Outcome> {
    job.check_names()?;
    let ground = Arc::new(Ground::of(job, observer, stop, peer));
    ground.wait_for_servers().await?;
    let _ended_waits = ground.end_waits();
    let mut budget = Budget::new(&ground.job.tuning);
    let mut outcome = Outcome::default();
    let mut led = None;
    loop {
        let before = budget.progress();
        let attempt = Box::pin(attempt::attempt(&ground, until, &mut outcome, &budget, &mut led));
        match attempt.await {
            Ok(()) => return Ok(outcome),
            Err(error) => recovery::recover(&ground, &mut budget, before, led.as_ref(), error).await?,
        }
    }
}
