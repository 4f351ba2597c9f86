//! Leading a stream: the lease is taken, kept by a heartbeat, and given back.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ground::{Charge, Ground};
use crate::error::{Class, Error, Result};
use crate::postgres::Session;
use crate::tables::lease::{Claim, Lease};
use crate::tables::migrations::{are_current, migrate};

/// A lease that is held and renewed, with the leader's own session.
pub(crate) struct Leadership {
    pub(crate) lease: Lease,
    pub(crate) session: Session,
    /// Says why, as soon as the lease is known to be lost.
    pub(crate) lost: oneshot::Receiver<Error>,
    done: CancellationToken,
    heart: JoinHandle<()>,
}

impl Leadership {
    /// Connects, brings the control tables up to date, takes the lease and starts its heartbeat.
    ///
    /// # Errors
    /// `Busy` when another worker has the stream.
    pub(crate) async fn begin<J: Charge>(ground: &Ground<J>) -> Result<Leadership> {
        let job = &ground.job;
        let name = ground.session_name("lead");
        let mut session = Session::connect(job.store(), &name, job.tuning().writing_patience()).await?;
        ground.peer.answered(job.store());
        ground.waits.note(&session);
        if !are_current(&mut session, &ground.tables).await? {
            job.require_no_former(&mut session).await?;
            migrate(&mut session, &ground.tables).await?;
        }
        let claim = Claim {
            stream: ground.stream.clone(),
            owner: ground.worker.clone(),
            duration: job.tuning().lease,
        };
        let lease = Lease::acquire(&mut session, &ground.tables, &claim, ground.observer.as_ref()).await?;
        lease.register(&mut session).await?;
        let done = CancellationToken::new();
        let (losing, lost) = oneshot::channel();
        let heart = {
            let (lease, endpoint) = (lease.clone(), Arc::clone(job.store()));
            let (patience, done) = (job.tuning().heartbeat_patience(), done.clone());
            tokio::spawn(async move { lease.keep(endpoint, patience, done, losing).await })
        };
        Ok(Leadership { lease, session, lost, done, heart })
    }

    /// Stops the heartbeat and gives the lease back, unless the observer wants the worker to look dead. `led` is
    /// how the leading went; what it is called in the end.
    ///
    /// # Errors
    /// Those of `led`. `Fenced` in place of a verdict on tables where another worker has the lease: an overtaken one finds
    /// them as that one left them.
    pub(crate) async fn end<J: Charge, T>(self, ground: &Ground<J>, led: Result<T>) -> Result<T> {
        let Leadership { lease, session, done, heart, .. } = self;
        done.cancel();
        if matches!(led, Err(Error::Abandoned { .. })) {
            return led;
        }
        // The heartbeat ends at its own pace; a lease that cannot be released ends by itself.
        let mut released = release(ground, &lease, Some(session).filter(|_| led.is_ok()), led.is_err()).await;
        if released.is_err() && led.is_ok() {
            // The session may have ended while there was nothing to do; whoever comes next need not wait for that.
            released = release(ground, &lease, None, false).await;
        }
        if let Err(error) = heart.await {
            tracing::debug!(%error, "the heartbeat ended badly");
        }
        match (led, released) {
            (Err(verdict), Err(fenced @ Error::Fenced { .. })) if is_of_tables(&verdict) => {
                tracing::debug!(%verdict, "an overtaken worker's");
                Err(fenced)
            }
            (led, released) => {
                if let Err(error) = released {
                    tracing::debug!(%error, "the lease could not be released");
                }
                led
            }
        }
    }
}

/// Whether an error is a verdict on what tables hold.
fn is_of_tables(error: &Error) -> bool {
    matches!(error.class(), Class::Blocked | Class::Replan | Class::Bug)
}

/// Releases the lease, on a new connection where there is none that is known to be in the middle of nothing.
async fn release<J: Charge>(
    ground: &Ground<J>,
    lease: &Lease,
    session: Option<Session>,
    failed: bool,
) -> Result<()> {
    let mut session = match session {
        Some(session) => session,
        None => {
            let job = &ground.job;
            Session::connect(job.store(), "release", job.tuning().heartbeat_patience()).await?
        }
    };
    lease.release(&mut session, failed).await?;
    session.close().await;
    Ok(())
}
