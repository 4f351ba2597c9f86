//! Sessions of one attempt, kept for whoever needs one next.
//!
//! A connection costs the server a process and the worker some round trips; copying, sweeping, counting and building
//! indexes come one after the other and need no sessions of their own.

use std::sync::{Mutex, PoisonError};

use super::ground::Ground;
use super::job::Upstream;
use crate::error::Result;
use crate::postgres::Session;
use crate::tables::lease::Lease;

/// Sessions that nobody uses at the moment. One that met an error is dropped by its user and never comes here.
#[derive(Default)]
pub(crate) struct Sessions {
    readers: Mutex<Vec<Session>>,
    writers: Mutex<Vec<Session>>,
}

impl Sessions {
    /// A session on the primary, outside of any transaction.
    pub(crate) async fn reader(&self, ground: &Ground, upstream: &Upstream, name: &str) -> Result<Session> {
        match take(&self.readers) {
            Some(session) => Ok(session),
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
