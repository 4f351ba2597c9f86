//! Ingestion: the platform as a *primary*, which reads a stream's source and gives its records their milestones.
//!
//! A batch is one snapshot of the source: staged, compared with what the merge tables hold live, and committed with
//! its counts in the transaction that merges all datasets. Until then it has written nothing but staging rows, so a
//! batch that failed is run again under its own id.

mod attempt;
mod books;
mod fitting;
mod job;
mod merging;
mod staging;
mod survey;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub(crate) use fitting::Difference;
pub(crate) use survey::differences;

pub use job::{HashFormula, IngestJob, IngestOutcome, Scd};

use crate::error::Result;
use crate::observer::Observer;
use crate::sync::ground::Ground;
use crate::sync::kindness::Kindness;
use crate::sync::peers::Peer;
use crate::sync::recovery;
use crate::sync::retry::Budget;
use crate::sync::stopping::Waits;

/// Ingests one batch of a stream. Transient errors are retried within the budget; every attempt takes a snapshot of
/// its own and runs under the id of the one before.
///
/// `stop` asks for an end after the dataset that is being staged.
///
/// # Errors
/// Those of [`crate::Error`]; whatever it is, the merge tables hold exactly the batch committed last.
pub async fn run(
    job: Arc<IngestJob>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<IngestOutcome> {
    run_among(job, observer, stop, Peer::alone()).await
}

/// The same beside other streams of this process.
pub(crate) async fn run_among(
    job: Arc<IngestJob>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    peer: Peer,
) -> Result<IngestOutcome> {
    let ground = ground(job, observer, stop, peer);
    ground.wait_for_servers().await?;
    let _ended_waits = ground.end_waits();
    let mut budget = Budget::of_snapshots(&ground.job.tuning);
    let (mut sent, mut led) = (None, None);
    loop {
        // A snapshot cannot be taken up again, so nothing short of the commit is progress.
        let before = budget.progress();
        match attempt::attempt(&ground, &mut sent, &mut led).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => recovery::recover(&ground, &mut budget, before, led.as_ref(), error).await?,
        }
    }
}

/// What an ingestion of this job needs, as a worker of its own name.
pub(crate) fn ground(
    job: Arc<IngestJob>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    peer: Peer,
) -> Ground<IngestJob> {
    Ground {
        tables: Arc::new(job.tables()),
        stream: job.stream_key(),
        worker: crate::worker_name(),
        waits: Waits::default(),
        kindness: Kindness::of(&job.tuning, &stop),
        job,
        observer,
        stop,
        peer,
    }
}
