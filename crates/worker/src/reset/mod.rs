//! A way back: the open batch of a stream is thrown away, and the stream is seeded again if that is asked for.
//!
//! What would be done is found out first, as a list of statements; a dry run shows it, and the real one finds it out
//! again under the lease and runs it in one fenced transaction. A batch that was committed is never undone.

mod find;
mod found;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use found::{OpenBatch, Reset, Statement};

use crate::error::{Error, Result};
use crate::ingest::{self, IngestJob};
use crate::observer::Observer;
use crate::postgres::Session;
use crate::sync::Job;
use crate::sync::ground::{Charge, Ground};
use crate::sync::helpers;
use crate::sync::leading::Leadership;
use crate::sync::peers::Peer;
use crate::tables::lease::Lease;
use crate::tables::migrations;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Whether the stream is seeded again by its next sync.
    pub reseed: bool,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
}

/// Resets a stream that follows a primary.
///
/// # Errors
/// `Busy` when another worker leads the stream; those of the secondary.
pub async fn of_secondary(job: Arc<Job>, order: Order, observer: Arc<dyn Observer>) -> Result<Reset> {
    job.check_names()?;
    carry_out(&Ground::of(job, observer, CancellationToken::new(), Peer::alone()), order).await
}

/// Resets a stream that is read from its source.
///
/// # Errors
/// As [`of_secondary`], and `Setup` when it is to be seeded again: it has no seed.
pub async fn of_primary(job: Arc<IngestJob>, order: Order, observer: Arc<dyn Observer>) -> Result<Reset> {
    if order.reseed {
        return Err(Error::setup(
            format!(
                "{} reads {} from its source, and has no seed to begin again",
                job.platform,
                job.stream_key()
            ),
            "sync it: every batch compares the whole source with the merge tables",
        ));
    }
    carry_out(&ingest::ground(job, observer, CancellationToken::new(), Peer::alone()), order).await
}

async fn carry_out<J: Charge>(ground: &Ground<J>, order: Order) -> Result<Reset> {
    let name = ground.session_name("reset");
    let job = &ground.job;
    let mut session = Session::connect_reader(job.store(), &name, job.tuning().reading_patience()).await?;
    let mut found = find::find(ground, order, &mut session).await?;
    // A stream that somebody leads is told of at once, and one that needs nothing is left alone.
    found.require_free(&ground.stream)?;
    if order.dry_run {
        found.count(&mut session).await?;
    }
    session.close().await;
    if order.dry_run || found.is_nothing() {
        if order.reseed && !order.dry_run {
            begin_anew(ground).await?;
        }
        return Ok(found.into_reset());
    }
    let mut leadership = Leadership::begin(ground).await?;
    let done = tokio::select! {
        done = run(ground, order, &leadership.lease, &mut leadership.session) => done,
        Ok(lost) = &mut leadership.lost => Err(lost),
    };
    leadership.end(ground, done).await
}

/// A stream that holds nothing is seeded as it is. Whoever asks for that has seen that there are tables of a former name,
/// and wants a platform beside them.
async fn begin_anew<J: Charge>(ground: &Ground<J>) -> Result<()> {
    let job = &ground.job;
    let patience = job.tuning().writing_patience();
    let mut session = Session::connect(job.store(), &ground.session_name("reset"), patience).await?;
    migrations::migrate(&mut session, &ground.tables).await?;
    session.close().await;
    Ok(())
}

/// Throws the open batch away under a lease that the caller holds.
///
/// # Errors
/// Those of the store; `Fenced`.
pub(crate) async fn throw_away<J: Charge>(
    ground: &Ground<J>,
    lease: &Lease,
    session: &mut Session,
) -> Result<()> {
    run(ground, Order::default(), lease, session).await.map(|_| ())
}

/// Finds out again what there is to do, now that nobody else does anything, and does it in one transaction.
async fn run<J: Charge>(
    ground: &Ground<J>,
    order: Order,
    lease: &Lease,
    session: &mut Session,
) -> Result<Reset> {
    let mut found = find::find(ground, order, session).await?;
    if let Some(generation) = found.generation() {
        helpers::dismiss_all(ground, generation, lease, session).await?;
    }
    session.begin().await?;
    found.run(session).await?;
    lease.fence(session).await?;
    session.commit("committing the reset").await?;
    Ok(found.into_reset())
}
