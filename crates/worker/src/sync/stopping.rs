//! A worker that is asked to stop waits for nobody's lock.
//!
//! It looks whether it is to stop between two statements, and one of them may wait for a lock for as long as
//! `lock_timeout` allows. So while it stops, statements of its own that wait for a lock are cancelled; those that work
//! come to their end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::Result;
use crate::postgres::session::{Backend, Patience};
use crate::postgres::{Endpoint, Session};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The sessions of a worker, for whoever has to end what they wait for.
#[derive(Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<Vec<Server>>>);

/// A server, and the sessions that the worker opened there. One that is closed stays: nothing of it is found.
struct Server {
    endpoint: Arc<Endpoint>,
    backends: Vec<Backend>,
}

impl Waits {
    /// Remembers a session.
    pub(crate) fn note(&self, session: &Session) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = servers.iter_mut().find(|server| Arc::ptr_eq(&server.endpoint, &session.endpoint));
        match known {
            Some(server) => server.backends.push(session.backend.clone()),
            None => servers.push(Server {
                endpoint: Arc::clone(&session.endpoint),
                backends: vec![session.backend.clone()],
            }),
        }
    }

    /// Ends, once it is asked to stop and until the handle is dropped, whatever waits for a lock.
    pub(crate) fn end_once(&self, stop: CancellationToken, patience: Patience) -> AbortOnDropHandle<()> {
        let waits = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            stop.cancelled().await;
            loop {
                for (endpoint, backends) in waits.of_each_server() {
                    if let Err(error) = cancel_waiting(&endpoint, &backends, patience).await {
                        tracing::debug!(%error, "what waits for a lock could not be cancelled");
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }))
    }

    fn of_each_server(&self) -> Vec<(Arc<Endpoint>, Vec<Backend>)> {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().map(|server| (Arc::clone(&server.endpoint), server.backends.clone())).collect()
    }
}

async fn cancel_waiting(endpoint: &Arc<Endpoint>, backends: &[Backend], patience: Patience) -> Result<()> {
    let mut session = Session::connect_reader(endpoint, "stop", patience).await?;
    let cancel = "select pg_cancel_backend(a.pid) from unnest($1::int[], $2::text[]) own(pid, started) \
                  join pg_stat_activity a on a.pid = own.pid and a.backend_start::text = own.started \
                  where a.wait_event_type = 'Lock'";
    let pids: Vec<_> = backends.iter().map(|backend| backend.pid).collect();
    let started: Vec<_> = backends.iter().map(|backend| backend.started.as_str()).collect();
    let query = sqlx::query(cancel).bind(pids).bind(started);
    session.rows("cancelling what waits for a lock", query).await?;
    session.close().await;
    Ok(())
}
