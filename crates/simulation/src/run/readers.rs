//! Readers that look at a secondary all the time while it syncs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::secondary::SecondaryState;

/// Between two looks: often enough to fall into a commit now and then, without taking the machine from the worker.
const PAUSE: Duration = Duration::from_millis(20);

/// A reader of all streams of a secondary.
pub(crate) struct Reader {
    done: CancellationToken,
    task: JoinHandle<()>,
}

impl Reader {
    pub(crate) fn start(secondary: Arc<SecondaryState>) -> Reader {
        let done = CancellationToken::new();
        let task = tokio::spawn(look(secondary, done.clone()));
        Reader { done, task }
    }

    /// Ends it. A look that hangs on a server that does not answer is given up.
    pub(crate) async fn stop(self) {
        self.done.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(Duration::from_secs(1), self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn look(secondary: Arc<SecondaryState>, done: CancellationToken) {
    'broken: while !done.is_cancelled() {
        // A server that is down is looked at again.
        if let Ok(mut asker) = secondary.place.asker().await {
            while !done.is_cancelled() {
                for follower in &secondary.followers {
                    if secondary.sample(&follower.key, &mut asker).await.is_err() {
                        continue 'broken;
                    }
                }
                pause(&done).await;
            }
            asker.close().await;
        }
        pause(&done).await;
    }
}

async fn pause(done: &CancellationToken) {
    let _ = tokio::time::timeout(PAUSE, done.cancelled()).await;
}
