//! Waiting for an answer without waiting for ever.
//!
//! A link may be half open: our request or its answer is lost, and nothing says so. Keepalives notice a peer that is
//! gone; they do not notice a relay between us that lives and passes nothing on. So whoever has heard nothing for a
//! while asks the server, over a new connection, what the backend is doing. One that works is waited for, as long as
//! it may take; one that is idle, waits for its client or is gone will never answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection;

use super::Endpoint;
use super::dial::Call;
use super::fields::Fields;
use super::session::{Backend, Patience};
use crate::error::{Error, Result};

/// An answer may be on its way while the backend is looked at; it has this long to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(2);

/// What has to be known of a session to look after it.
#[derive(Clone, Copy)]
pub(crate) struct Vigil<'a> {
    pub(crate) endpoint: &'a Arc<Endpoint>,
    pub(crate) backend: &'a Backend,
    pub(crate) patience: Patience,
}

impl Vigil<'_> {
    /// Waits for an answer, at most `limit` where there is one.
    ///
    /// # Errors
    /// `Stalled` when the limit is over, or when the backend is not at work on an answer.
    pub(crate) async fn keep<T>(
        &self,
        doing: &str,
        limit: Option<Duration>,
        answer: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::pin!(answer);
        let began = Instant::now();
        loop {
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            let pause = left.map_or(self.patience.silence, |left| left.min(self.patience.silence));
            if let Ok(answer) = tokio::time::timeout(pause, &mut answer).await {
                return Ok(answer);
            }
            let is_over = limit.is_some_and(|limit| began.elapsed() >= limit);
            if !is_over && self.is_at_work().await {
                continue;
            }
            let arrival = if is_over { Duration::ZERO } else { ARRIVAL_MAX.min(self.patience.silence) };
            return match tokio::time::timeout(arrival, &mut answer).await {
                Ok(answer) => Ok(answer),
                Err(_) => Err(Error::stalled(self.endpoint, doing, began.elapsed())),
            };
        }
    }

    /// Whether the backend works on something. A server that answers and does not say is given the benefit of the
    /// doubt; one that does not answer is not.
    async fn is_at_work(&self) -> bool {
        let question = "select state = 'active' and coalesce(wait_event_type, '') <> 'Client' \
                        from pg_stat_activity where pid = $1 and backend_start::text = $2";
        let asked = tokio::time::timeout(self.patience.connect, self.ask(question)).await;
        match asked {
            Ok(Ok(is_at_work)) => is_at_work,
            Ok(Err(error)) if error.sqlstate().is_some() || matches!(error, Error::Refused { .. }) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Ends what the backend works on, over a new connection; whether the server was told.
    pub(crate) async fn cancel(&self) -> bool {
        let question = "select pg_cancel_backend(pid) \
                        from pg_stat_activity where pid = $1 and backend_start::text = $2";
        matches!(tokio::time::timeout(self.patience.connect, self.ask(question)).await, Ok(Ok(true)))
    }

    /// A yes or no about the backend; no when it is gone.
    async fn ask(&self, question: &'static str) -> Result<bool> {
        let failed = |error| Error::statement(self.endpoint, "asking after a session", error);
        let (endpoint, patience) = (self.endpoint, self.patience.connect);
        let call = Call { endpoint, name: "milestream vigil", settings: None, patience };
        let mut connection = call.dial().await?.connection;
        let asked = sqlx::query(question).bind(self.backend.pid).bind(&self.backend.started);
        let row = asked.persistent(false).fetch_optional(&mut connection).await.map_err(failed)?;
        let answer = row.map_or(Ok(None), |row| row.field::<Option<bool>>(0))?.unwrap_or(false);
        connection.close().await.map_err(failed)?;
        Ok(answer)
    }
}
