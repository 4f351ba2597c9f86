//! Chunks of a plan that several processes copy: who holds one, and how it comes back from who is gone.

use super::ControlTables;
use super::chunks::ChunkScope;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::session::Backend;
use crate::postgres::sql::assembled;

/// A chunk that is being copied, and what is seen of the session that copies it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) chunk: i32,
    pub(crate) backend: Option<Backend>,
    /// Whether that session is no more, so that it cannot commit.
    pub(crate) is_gone: bool,
    /// What its copy has written so far; `None` where it has not begun.
    pub(crate) bytes_copied: Option<i64>,
}

/// What is left of a plan, sweeps that are not opened yet apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Left {
    /// Whether there is a chunk to claim.
    pub(crate) is_any_pending: bool,
    pub(crate) held: Vec<Held>,
}

/// SQL for whether the session that claimed chunk `c` is gone. Helpers have the leader's role: of others the start is hidden.
const IS_GONE: &str = "not exists (select 1 from pg_stat_activity a where a.pid = (c.backend ->> 'pid')::int \
     and a.backend_start::text = c.backend ->> 'started')";

/// The chunks that are pending or being copied, as one snapshot has them: a claim turns the first into the second.
pub(crate) async fn left(session: &mut Session, tables: &ControlTables, scope: &ChunkScope) -> Result<Left> {
    let question = format!(
        "select c.chunk, c.backend::text, {IS_GONE}, p.bytes_processed, pending.is_any \
         from (select exists (select 1 from {chunk} where stream_key = $1 and generation = $2 and status = 'pending') \
            as is_any) pending \
         left join {chunk} c on c.stream_key = $1 and c.generation = $2 and c.status = 'copying' \
         left join pg_stat_progress_copy p on p.pid = (c.backend ->> 'pid')::int order by c.chunk",
        chunk = tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(&scope.stream).bind(scope.generation);
    let rows = session.rows("looking what helpers copy", query).await?;
    let backend = |text: &str| {
        serde_json::from_str(text).map_err(|error| {
            Error::invariant(&tables.sync_chunk, format!("backend {text:?} cannot be read: {error}"))
        })
    };
    let is_any_pending = rows.first().map_or(Ok(false), |row| row.field(4))?;
    let mut left = Left { is_any_pending, held: Vec::new() };
    for row in &rows {
        let Some(chunk) = row.field(0)? else { continue };
        left.held.push(Held {
            chunk,
            backend: row.field::<Option<&str>>(1)?.map(backend).transpose()?,
            is_gone: row.field(2)?,
            bytes_copied: row.field(3)?,
        });
    }
    Ok(left)
}

/// Gives chunks back whose session is gone; how many these were. Part of a transaction that ends with the fence.
pub(crate) async fn give_back(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    chunks: &[i32],
) -> Result<u64> {
    let update = format!(
        "update {} c set status = 'pending', worker = null, backend = null where c.stream_key = $1 and c.generation = $2 \
         and c.chunk = any($3) and c.status = 'copying' and {IS_GONE}",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(update)).bind(&scope.stream).bind(scope.generation).bind(chunks);
    session.run("giving back a helper's chunks", query).await
}

/// Whether there is a chunk to claim for a helper.
pub(crate) async fn is_any_to_help_with(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    generation: i32,
) -> Result<bool> {
    let question = format!(
        "select exists (select 1 from {} where stream_key = $1 and generation = $2 and status = 'pending' \
         and bounds <> '\"sweep\"'::jsonb)",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(stream).bind(generation);
    let row = session.row("looking for a chunk to claim", query).await?;
    row.map_or(Ok(false), |row| row.field(0))
}

/// Lets nobody claim a chunk of a plan that another one is to take the place of; [`super::chunks::reset_claims`] is the way back.
pub(crate) async fn withdraw(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
) -> Result<()> {
    let update = format!(
        "update {} set status = 'withdrawn' where stream_key = $1 and generation = $2 and status = 'pending'",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(update)).bind(&scope.stream).bind(scope.generation);
    session.run("withdrawing a plan", query).await.map(|_| ())
}
