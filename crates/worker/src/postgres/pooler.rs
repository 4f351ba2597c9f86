//! A pooler between the worker and the server: one that keeps a session for its client does, one that lends a server for
//! each transaction does not.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};

use super::dial::{Call, Dialed};
use super::settings::Settings;
use crate::error::{Error, Result};

/// Bound on the wait for a second session: a pooler that has no other to give keeps the first for us.
const SECOND_SESSION: Duration = Duration::from_secs(2);

/// Sets what the pooler dropped, once it is known to keep the session: another user of the server must not get our settings.
///
/// # Errors
/// `Pooler` when a session of its is lent to others between two transactions; those of the server.
pub(super) async fn settle(call: Call<'_>, settings: &Settings, session: &mut PgConnection) -> Result<()> {
    let failed = |error| Error::statement(&call.endpoint, "asking a pooler for its mode", error);
    let lent = |seen: &str| {
        let seen = format!("{seen}: it is in transaction or statement mode");
        Error::Pooler { endpoint: call.endpoint.to_string(), seen }
    };
    let before = backend(session).await.map_err(failed)?;
    // While this one has a transaction open, its server is lent to nobody else.
    let second = tokio::time::timeout(SECOND_SESSION, open_transaction(call)).await;
    let after = backend(session).await.map_err(failed)?;
    match second {
        Ok(Ok((connection, other))) => {
            // Nothing depends on how it ends.
            let _ = tokio::time::timeout(SECOND_SESSION, connection.close()).await;
            if other == before {
                return Err(lent("two connections were given one server"));
            }
        }
        Ok(Err(Error::Statement { .. })) => return Err(lent("it refused a transaction")),
        Ok(Err(error)) => return Err(error),
        Err(_) => {}
    }
    if before != after {
        return Err(lent("two transactions were given two servers"));
    }
    sqlx::raw_sql(super::sql::assembled(settings.set())).execute(session).await.map_err(failed)?;
    Ok(())
}

/// The process of the server that answers.
async fn backend(session: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(session).await?.try_get(0)
}

async fn open_transaction(call: Call<'_>) -> Result<(PgConnection, i32)> {
    let Dialed { mut connection, .. } = Call { settings: None, ..call }.dial().await?;
    let failed = |error| Error::statement(&call.endpoint, "asking a pooler for its mode", error);
    sqlx::raw_sql("begin").execute(&mut connection).await.map_err(failed)?;
    let backend = backend(&mut connection).await.map_err(failed)?;
    Ok((connection, backend))
}
