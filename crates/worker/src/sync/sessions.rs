//! Sessions of one attempt, kept for whoever needs one next.
//!
//! A connection costs the server a process and the worker some round trips; copying, sweeping, counting and building
//! indexes come one after the other and need no sessions of their own.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::AbortOnDropHandle;

use super::ground::Ground;
use super::job::Upstream;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::tables::lease::Lease;

/// Sessions that nobody uses at the moment. One that met an error is dropped by its user and never comes here.
#[derive(Default)]
pub(crate) struct Sessions {
    readers: Mutex<Vec<Session>>,
    writers: Mutex<Vec<Session>>,
    /// A session on the primary that is still being made.
    early: Mutex<Option<AbortOnDropHandle<Result<Session>>>>,
}

impl Sessions {
    /// No sessions yet; but where there is only one primary to choose, the connection to it is begun. It takes as long as
    /// everything that has to be asked of the secondary before. A worker that finds the stream busy has cost the primary a
    /// login for nothing; its connection is given up with these sessions.
    pub(crate) fn begun(ground: &Arc<Ground>) -> Sessions {
        let [only] = &ground.job.upstreams[..] else { return Sessions::default() };
        let (ground, endpoint) = (Arc::clone(ground), Arc::clone(&only.endpoint));
        let connecting = tokio::spawn(async move { ground.reader(&endpoint, "plan").await });
        Sessions { early: Mutex::new(Some(AbortOnDropHandle::new(connecting))), ..Sessions::default() }
    }

    /// A session on the primary, outside of any transaction.
    pub(crate) async fn reader(&self, ground: &Ground, upstream: &Upstream, name: &str) -> Result<Session> {
        if let Some(session) = take(&self.readers) {
            return Ok(session);
        }
        let early = self.early.lock().unwrap_or_else(PoisonError::into_inner).take();
        match early {
            Some(early) => {
                early.await.map_err(|panic| Error::invariant("a connection", panic.to_string()))?
            }
            None => ground.reader(&upstream.endpoint, name).await,
        }
    }

    /// A session on the secondary that a takeover can end, outside of any transaction.
    pub(crate) async fn writer(&self, ground: &Ground, lease: &Lease, name: &str) -> Result<Session> {
        match take(&self.writers) {
            Some(session) => Ok(session),
            None => ground.writer(lease, name).await,
        }
    }

    /// Keeps a session on the primary that is in no transaction.
    pub(crate) fn keep_reader(&self, session: Session) {
        keep(&self.readers, session);
    }

    /// Keeps a session on the secondary that is in no transaction.
    pub(crate) fn keep_writer(&self, session: Session) {
        keep(&self.writers, session);
    }

    /// Ends all of them in order.
    pub(crate) async fn close(&self) {
        while let Some(session) = take(&self.readers).or_else(|| take(&self.writers)) {
            session.close().await;
        }
    }
}

fn take(sessions: &Mutex<Vec<Session>>) -> Option<Session> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn keep(sessions: &Mutex<Vec<Session>>, session: Session) {
    sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
}
