//! What a reset finds in the control tables, and the statements that change them. A person reads these before they are
//! run, so they carry their values with them.

use super::ControlTables;
use super::streams::Reseeding;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, literal};
use milestream_core::milestone::LocalBatch;

/// A stream's own batches, as far as a reset touches them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// The counter's batch.
    pub(crate) counter: Option<LocalBatch>,
    /// The newest batch that was committed.
    pub(crate) committed: Option<LocalBatch>,
    /// The batch behind it that was begun, and its status.
    pub(crate) open: Option<(LocalBatch, String)>,
}

/// Reads the books; a platform that never ran has none.
pub(crate) async fn books(session: &mut Session, tables: &ControlTables, stream: &str) -> Result<Books> {
    let there = sqlx::query("select to_regclass($1) is not null and to_regclass($2) is not null")
        .bind(&tables.batch_counter)
        .bind(&tables.batch_metrics);
    let there = session.row("looking for the table of batches", there).await?;
    if !there.map_or(Ok(false), |row| row.field(0))? {
        return Ok(Books::default());
    }
    let question = format!(
        "with committed as (select max(batch_id) as batch from {metrics} where key = $1 and batch_status = 'committed') \
         select (select \"currentBatch\"::int4 from {counter} where key = $1), c.batch::int4, o.batch_id::int4, \
            coalesce(o.batch_status, 'begun')::text \
         from committed c left join lateral (select batch_id, batch_status from {metrics} \
            where key = $1 and batch_status is distinct from 'committed' and batch_id > coalesce(c.batch, 0) \
            order by batch_id desc limit 1) o on true",
        metrics = tables.batch_metrics,
        counter = tables.batch_counter
    );
    let row =
        session.row("reading the stream's batches", sqlx::query(assembled(question)).bind(stream)).await?;
    let Some(row) = row else { return Ok(Books::default()) };
    let batch = |at: usize| Ok::<_, Error>(row.field::<Option<i32>>(at)?.map(LocalBatch));
    let status: String = row.field(3)?;
    Ok(Books { counter: batch(0)?, committed: batch(1)?, open: batch(2)?.map(|open| (open, status)) })
}

/// Rows that have landed of each dataset of a plan, as its chunks have them.
pub(crate) async fn landed(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    generation: i32,
) -> Result<Vec<(String, u64)>> {
    let question = format!(
        "select dataset, sum(rows)::int8 from {} where stream_key = $1 and generation = $2 group by dataset",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(stream).bind(generation);
    let rows = session.rows("adding up what has landed", query).await?;
    rows.iter().map(|row| Ok((row.field(0)?, u64::try_from(row.field::<i64>(1)?).unwrap_or(0)))).collect()
}

/// Forgets a batch that was not committed.
pub(crate) fn forget_batch(tables: &ControlTables, stream: &str, batch: LocalBatch) -> String {
    format!(
        "delete from {} where key = {} and batch_id = {batch} and batch_status is distinct from 'committed'",
        tables.batch_metrics,
        literal(stream)
    )
}

/// Steps the counter back to the newest batch that was committed; a stream without one has none.
pub(crate) fn step_back(tables: &ControlTables, stream: &str, committed: Option<LocalBatch>) -> String {
    let (counter, stream) = (&tables.batch_counter, literal(stream));
    match committed {
        Some(committed) => {
            format!("update {counter} set \"currentBatch\" = {committed} where key = {stream}")
        }
        None => format!("delete from {counter} where key = {stream}"),
    }
}

/// Forgets the chunks of the sync in flight.
pub(crate) fn forget_chunks(tables: &ControlTables, stream: &str) -> String {
    format!("delete from {} where stream_key = {}", tables.sync_chunk, literal(stream))
}

/// Ends the flight, and whatever halted it. A stream that holds nothing yet may choose its primary anew.
pub(crate) fn end_flight(tables: &ControlTables, stream: &str) -> String {
    format!(
        "update {} set phase = 'idle', flight = null, halted_reason = null, waiting_reason = null, \
         primary_platform = case when last_synced_primary_batch is not null then primary_platform end, \
         updated_at = now() where stream_key = {}",
        tables.sync_stream,
        literal(stream)
    )
}

/// Takes the watermark away, so that the next sync seeds; what readers see until then is noted.
pub(crate) fn seed_anew(tables: &ControlTables, stream: &str, reseeding: &Reseeding) -> Result<String> {
    let reseeding = serde_json::to_string(reseeding)
        .map_err(|error| Error::invariant("a seed that was asked for", error.to_string()))?;
    Ok(format!(
        "update {} set last_synced_primary_batch = null, primary_identity = null, primary_platform = null, \
         schema_versions = null, halted_reason = null, waiting_reason = null, reseeding = {}::jsonb, updated_at = now() where stream_key = {}",
        tables.sync_stream,
        literal(&reseeding),
        literal(stream)
    ))
}
