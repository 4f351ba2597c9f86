//! `{platform}_sync_history`: one row a committed sync.

use super::ControlTables;
use super::batches::Counts;
use super::chunks::Progress;
use super::streams::Flight;
use crate::error::Result;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::assembled;

/// Milliseconds that the parts of a sync took; of a resumed sync, those of its last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timings {
    pub(crate) copy_ms: u64,
    pub(crate) landing_ms: u64,
    pub(crate) merge_ms: u64,
    pub(crate) commit_ms: u64,
}

/// Records a sync; part of its committing transaction.
#[expect(clippy::too_many_arguments, reason = "one row, written in one place")]
pub(crate) async fn record(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    flight: &Flight,
    counts: Counts,
    progress: Progress,
    timings: Timings,
    worker: &str,
) -> Result<()> {
    let insert = format!(
        "insert into {} (stream_key, local_batch, kind, primary_platform, from_batch, to_batch, rows_inserted, \
         rows_updated, rows_deleted, rows_staged, bytes, chunks, copies, generations, copy_ms, landing_ms, merge_ms, commit_ms, \
         retries, worker, started_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
         $18, $19, $20, 'epoch'::timestamptz + $21 * interval '1 microsecond')",
        tables.sync_history
    );
    let long = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let int = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    let query = sqlx::query(assembled(insert))
        .bind(stream)
        .bind(flight.local.0)
        .bind(flight.phase())
        .bind(&flight.primary)
        .bind(flight.from.map(|from| from.0))
        .bind(flight.to.0)
        .bind(long(counts.inserted))
        .bind(long(counts.updated))
        .bind(long(counts.deleted))
        .bind(long(counts.total))
        .bind(long(progress.bytes))
        .bind(int(progress.chunks))
        .bind(int(progress.copies))
        .bind(flight.plans)
        .bind(long(timings.copy_ms))
        .bind(long(timings.landing_ms))
        .bind(long(timings.merge_ms))
        .bind(long(timings.commit_ms))
        .bind(flight.retries)
        .bind(worker)
        .bind(flight.started_us);
    session.run("recording the sync", query).await.map(|_| ())
}

/// The newest sync of a stream, as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LastSync {
    pub(crate) kind: String,
    pub(crate) committed_at: String,
    pub(crate) rows_staged: i64,
    pub(crate) millis: i64,
    pub(crate) inserted: i64,
    pub(crate) updated: i64,
    pub(crate) deleted: i64,
    /// Seconds since the commit, by the database's clock.
    pub(crate) age_seconds: f64,
}

/// Reads the newest sync.
pub(crate) async fn last(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
) -> Result<Option<LastSync>> {
    let question = format!(
        "select kind, date_trunc('second', committed_at)::text, rows_staged, copy_ms + landing_ms + merge_ms + commit_ms, \
         rows_inserted, rows_updated, rows_deleted, extract(epoch from clock_timestamp() - committed_at)::float8 \
         from {} where stream_key = $1 order by committed_at desc limit 1",
        tables.sync_history
    );
    let row = session.row("reading the history", sqlx::query(assembled(question)).bind(stream)).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(LastSync {
        kind: row.field(0)?,
        committed_at: row.field(1)?,
        rows_staged: row.field(2)?,
        millis: row.field(3)?,
        inserted: row.field(4)?,
        updated: row.field(5)?,
        deleted: row.field(6)?,
        age_seconds: row.field(7)?,
    }))
}
