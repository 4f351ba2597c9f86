//! Other workers on the same stream: one that comes too early, and one that takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use milestream_worker::observer::{
    Answer, Event as Step, Notice, NoticeKind, Observer, Step as At, Unobserved,
};
use milestream_worker::sync::{self, Until};
use milestream_worker::{Class, Error};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::inject::Injection;
use super::watcher::{Watcher, Watching};
use crate::fault::Fault;
use crate::outcome::{Property, Sometimes};

/// How long a lease may take to run out; longer than any that the simulation gives.
const LEASE_MAX: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(50);
/// How long a worker that took over halts at a chunk, so that the one it overtook goes on meanwhile.
const HALT: Duration = Duration::from_millis(150);

/// A second worker begins while the first is at work: it must be told that the stream is busy.
pub(super) async fn second_worker(step: &Step, watcher: &Watcher) -> Result<Option<Injection>, Failure> {
    let job = watcher.secondary.follower(&step.stream).job(|_| {});
    let ended =
        sync::run(Arc::new(job), Until::OneSync, Arc::new(Unobserved), CancellationToken::new()).await;
    match ended {
        Err(Error::Busy { .. }) => {}
        other => {
            let what =
                format!("a second worker at {} was not told that the stream is busy: {other:?}", step.step);
            watcher.recorder.violated(Property::Definite, what);
        }
    }
    Ok(Some(Injection::felt_at_once()))
}

/// The worker is paused at this step for longer than its lease; another takes over and brings everything to its end;
/// then the first goes on; `halfway` as soon as the other has copied something.
pub(super) async fn takeover(
    step: &Step,
    watcher: &Watcher,
    fault: Fault,
) -> Result<Option<Injection>, Failure> {
    let rival = Arc::new(Rival {
        watching: Watching(Arc::new(watcher.twin())),
        took_over: CancellationToken::new(),
        halts: AtomicBool::new(fault.halfway),
        ends_none: fault.unended,
    });
    let (stream, at) = (step.stream.clone(), step.step);
    let (playing, ended) = (Arc::clone(&rival), CancellationToken::new());
    let done = ended.clone();
    let task = watcher.spawn(async move {
        let took_over = playing.take_over(&stream, at).await;
        done.cancel();
        took_over
    });
    if fault.halfway {
        tokio::select! {
            () = rival.took_over.cancelled() => return Ok(Some(Injection::felt_at_once())),
            () = ended.cancelled() => {}
        }
    }
    let took_over = task.await.map_err(|panic| Failure::Set { what: format!("a rival: {panic}") })??;
    Ok(took_over.then(Injection::felt_at_once))
}

/// A worker that takes over.
struct Rival {
    watching: Watching,
    took_over: CancellationToken,
    /// Whether it halts at its first chunk.
    halts: AtomicBool,
    /// Whether it cannot end the sessions of the one it overtakes.
    ends_none: bool,
}

impl Rival {
    /// Waits for the lease to end, and brings everything to its end; false when it never came to that.
    async fn take_over(self: Arc<Self>, stream: &str, at: At) -> Result<bool, Failure> {
        let (watcher, secondary) = (&self.watching.0, &self.watching.0.secondary);
        let mut asker = secondary.place.own_asker().await?;
        asker.execute("set lock_timeout = '50ms'").await?;
        let deadline = Instant::now() + LEASE_MAX;
        while Instant::now() < deadline {
            // The first may be in the middle of a transaction that holds the row; then its lease ends in its own time.
            let expired = secondary.expire_lease(stream, &mut asker).await;
            if self.ends_none {
                let forgotten = secondary.forget_backends(stream, &mut asker).await;
                tracing::debug!(?forgotten, "the sessions of the one that is overtaken");
            }
            let job = Arc::new(secondary.follower(stream).job(|_| {}));
            let observer: Arc<dyn Observer> = Arc::clone(&self) as Arc<dyn Observer>;
            let ended = Box::pin(sync::run(job, Until::CaughtUp, observer, CancellationToken::new())).await;
            watcher.settle().await;
            if let Some(failure) = watcher.failure() {
                return Err(failure);
            }
            let error = match ended {
                Ok(_) => {
                    asker.close().await;
                    watcher.recorder.saw(Sometimes::FencedOff);
                    return Ok(true);
                }
                Err(error) => error,
            };
            match error.class() {
                Class::Busy => {
                    tracing::debug!(?expired, "the lease still stands");
                    tokio::time::sleep(PAUSE).await;
                }
                // What the primary is like is for the first worker's own end to tell.
                Class::Blocked | Class::Stopped => {
                    asker.close().await;
                    return Ok(self.took_over.is_cancelled());
                }
                Class::Transient | Class::Replan | Class::Bug => {
                    let what = format!("a worker that took over at {at} ended with: {error}");
                    watcher.recorder.violated(Property::Definite, what);
                    return Ok(false);
                }
            }
        }
        let what = format!("the lease of a worker paused at {at} never ended");
        watcher.recorder.violated(Property::Convergence, what);
        Ok(false)
    }
}

impl Observer for Rival {
    fn at<'a>(&'a self, event: &'a Step) -> Answer<'a> {
        Box::pin(async move {
            let verdict = self.watching.at(event).await;
            if matches!(event.step, At::ChunkOpened | At::MidChunk)
                && self.halts.swap(false, Ordering::SeqCst)
            {
                self.took_over.cancel();
                tokio::time::sleep(HALT).await;
            }
            verdict
        })
    }

    fn notice(&self, notice: &Notice) {
        self.watching.notice(notice);
        if notice.kind == NoticeKind::TookOver && !self.halts.load(Ordering::SeqCst) {
            self.took_over.cancel();
        }
    }
}
