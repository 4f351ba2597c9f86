//! A helper joins a sync: a worker that copies chunks of it, and perhaps freezes in the middle of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use milestream_worker::observer::{Answer, Event as Step, Happening, Notice, Observer, Step as At, Verdict};
use milestream_worker::{Class, Error, sync};
use tokio_util::sync::CancellationToken;

use super::watcher::{Watcher, Watching};
use crate::outcome::{Event, Property, Sometimes};

/// How long a frozen helper stands still: longer than the leader waits for one that says nothing.
const FROZEN: Duration = Duration::from_millis(1_500);

/// Lets a helper join; it ends with the leader's sync.
pub(super) fn join(step: &Step, watcher: &Watcher, freezes: bool) {
    let stop = watcher.until_settled();
    let helper = Helper {
        watching: Watching(Arc::new(watcher.twin())),
        freezes: AtomicBool::new(freezes),
        stop: stop.clone(),
    };
    let (stream, helper) = (step.stream.clone(), Arc::new(helper));
    watcher.recorder.happened(Event::Operator {
        secondary: watcher.secondary.plan.name.clone(),
        what: format!("a helper joins{}", if freezes { ", and freezes at its first chunk" } else { "" }),
    });
    watcher.spawn(async move { helper.help(&stream, stop).await });
}

struct Helper {
    watching: Watching,
    freezes: AtomicBool,
    stop: CancellationToken,
}

impl Helper {
    async fn help(self: Arc<Self>, stream: &str, stop: CancellationToken) {
        let watcher = &self.watching.0;
        let job = Arc::new(watcher.secondary.follower(stream).job(|_| {}));
        let observer: Arc<dyn Observer> = Arc::clone(&self) as Arc<dyn Observer>;
        let ended = sync::help(job, observer, stop).await;
        watcher.settle().await;
        match ended {
            Ok(help) if help.chunks > 0 => watcher.recorder.saw(Sometimes::Helped),
            Ok(_) | Err(Error::Stopped) => {}
            // What keeps a sync from going on keeps its helpers as well, and is the leader's to tell.
            Err(error) if error.class() != Class::Bug => {}
            Err(error) => watcher
                .recorder
                .violated(Property::Sound, format!("a helper of {stream:?} calls itself a bug: {error}")),
        }
    }
}

impl Observer for Helper {
    fn at<'a>(&'a self, event: &'a Step) -> Answer<'a> {
        Box::pin(async move {
            // A plan that a helper sees may have been brought home by the time that it says so: the leader tells of plans.
            let verdict = match &event.happening {
                Happening::Plan { generation, .. } => {
                    self.watching.0.works_at(&event.stream, *generation);
                    Verdict::GoOn
                }
                _ => self.watching.at(event).await,
            };
            if event.step == At::ChunkCommitted {
                self.watching.0.recorder.saw(Sometimes::Helped);
            }
            if matches!(event.step, At::ChunkOpened | At::MidChunk)
                && self.freezes.swap(false, Ordering::SeqCst)
            {
                tokio::select! {
                    () = tokio::time::sleep(FROZEN) => {}
                    () = self.stop.cancelled() => {}
                }
            }
            verdict
        })
    }

    fn notice(&self, notice: &Notice) {
        self.watching.notice(notice);
    }
}
