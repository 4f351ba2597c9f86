//! `batch_counter` and `batch_metrics`, laid out and used as DataSurface does.

use super::{ControlTables, layout};
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, literal};
use milestream_core::milestone::{LocalBatch, PrimaryBatch};

/// `batch_metrics.state` is a varchar(2048).
const STATE_CHARS_MAX: usize = 2048;

/// The time zone in which batches of ours have their times, which the column cannot say and their state does.
const TIME_ZONE: &str = "UTC";
/// SQL for the time at which it is asked.
const NOW: &str = "clock_timestamp() at time zone 'UTC'";

/// The id the stream's next batch has: the counter's successor, or the counter's own batch when that one was
/// never committed and is run again under its id.
pub(crate) async fn next_local(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
) -> Result<LocalBatch> {
    // `plan` asks before the control tables are made.
    if !is_there(session, &tables.batch_counter).await? {
        return Ok(LocalBatch(1));
    }
    let question = format!(
        "select \"currentBatch\"::text, (select batch_status::text from {} where key = $1 and batch_id = \"currentBatch\") \
         from {} where key = $1",
        tables.batch_metrics, tables.batch_counter
    );
    let row = session.row("reading the batch counter", sqlx::query(assembled(question)).bind(stream)).await?;
    let Some(row) = row else { return Ok(LocalBatch(1)) };
    let current: Option<&str> = row.field(0)?;
    let current = current.map_or(Ok(0), |current| layout::batch_id(&tables.batch_counter, current))?;
    let status: Option<String> = row.field(1)?;
    let run_again = current > 0 && status.as_deref() != Some("committed");
    Ok(LocalBatch(if run_again { current } else { current + 1 }))
}

async fn is_there(session: &mut Session, table: &str) -> Result<bool> {
    let question = sqlx::query("select to_regclass($1) is not null").bind(table);
    let row = session.row("looking for the table of batches", question).await?;
    row.map_or(Ok(false), |row| row.field(0))
}

/// The oldest of the stream's newest `count` batches, by whatever ids they have; `None` when there is none of them.
pub(crate) async fn oldest_of_newest(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    count: u32,
) -> Result<Option<LocalBatch>> {
    let question = format!(
        "select min(batch_id)::text from (select batch_id from {} where key = $1 order by batch_id desc limit $2) newest",
        tables.batch_metrics
    );
    let query = sqlx::query(assembled(question)).bind(stream).bind(i64::from(count));
    let row = session.row("looking which batches are kept", query).await?;
    let oldest: Option<String> = row.map_or(Ok(None), |row| row.field(0))?;
    oldest.map(|oldest| layout::batch_id(&tables.batch_metrics, &oldest).map(LocalBatch)).transpose()
}

/// The newest batch of a stream, whatever became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewestBatch {
    pub(crate) batch: LocalBatch,
    pub(crate) status: String,
    pub(crate) inserted: Option<i64>,
    pub(crate) updated: Option<i64>,
    pub(crate) deleted: Option<i64>,
}

/// Reads the newest batch; a platform that never ran has none, and no table of them.
pub(crate) async fn newest(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
) -> Result<Option<NewestBatch>> {
    if !is_there(session, &tables.batch_metrics).await? {
        return Ok(None);
    }
    let question = format!(
        "select m.batch_id::text, coalesce(m.batch_status::text, ''), (o.fields ->> 'records_inserted')::numeric::int8, \
         (o.fields ->> 'records_updated')::numeric::int8, (o.fields ->> 'records_deleted')::numeric::int8 \
         from {} where m.key = $1 order by m.batch_id desc limit 1",
        layout::rows(&tables.batch_metrics)
    );
    let row = session.row("reading the newest batch", sqlx::query(assembled(question)).bind(stream)).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(NewestBatch {
        batch: LocalBatch(layout::batch_id(&tables.batch_metrics, row.field(0)?)?),
        status: row.field(1)?,
        inserted: row.field(2)?,
        updated: row.field(3)?,
        deleted: row.field(4)?,
    }))
}

/// Counts of a batch, as `batch_metrics` records them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) total: u64,
}

/// Starts a batch: counter and metrics, replacing what an earlier try of the same id left.
///
/// The state is written as a literal without a type, here and below: the column may be text or JSON.
pub(crate) async fn start(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
    state: &str,
) -> Result<()> {
    let count = format!(
        "insert into {} (key, \"currentBatch\") values ($1, $2) on conflict (key) do update set \"currentBatch\" = $2",
        tables.batch_counter
    );
    session
        .run("setting the batch counter", sqlx::query(assembled(count)).bind(stream).bind(batch.0))
        .await?;
    let insert = format!(
        "insert into {} (key, batch_id, batch_start_time, batch_status, state) values ($1, $2, {NOW}, 'started', {state}) \
         on conflict (key, batch_id) do update set batch_start_time = {NOW}, batch_end_time = null, \
         batch_status = 'started', state = {state}, records_inserted = null, records_updated = null, \
         records_deleted = null, total_records = null where {}.batch_status <> 'committed'",
        tables.batch_metrics,
        tables.batch_metrics,
        state = literal(state)
    );
    let query = sqlx::query(assembled(insert)).bind(stream).bind(batch.0);
    match session.run("starting the batch", query).await? {
        0 => Err(Error::invariant(
            format!("{} of stream {stream:?}", tables.batch_metrics),
            format!("batch {batch} is committed already"),
        )),
        _ => Ok(()),
    }
}

/// Makes room for the batch of a seed: a stream without a watermark holds nothing, whatever its batches were.
pub(crate) async fn take_over(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
) -> Result<()> {
    let delete = format!("delete from {} where key = $1 and batch_id = $2", tables.batch_metrics);
    let query = sqlx::query(assembled(delete)).bind(stream).bind(batch.0);
    session.run("making room for a seed's batch", query).await.map(|_| ())
}

/// Forgets the batches behind a seed's, part of the transaction that commits it: a mirror that is seeded again as of an
/// earlier batch, after its primary was restored, will meet their ids again.
pub(crate) async fn forget_later(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
) -> Result<()> {
    let delete = format!("delete from {} where key = $1 and batch_id > $2", tables.batch_metrics);
    let query = sqlx::query(assembled(delete)).bind(stream).bind(batch.0);
    session.run("forgetting batches that the primary took back", query).await.map(|_| ())
}

/// Forgets a batch that was started and will not be finished under this id.
pub(crate) async fn forget(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
) -> Result<()> {
    let delete = format!(
        "delete from {} where key = $1 and batch_id = $2 and batch_status <> 'committed'",
        tables.batch_metrics
    );
    let query = sqlx::query(assembled(delete)).bind(stream).bind(batch.0);
    session.run("forgetting a batch", query).await.map(|_| ())
}

/// Moves a batch from `started` to `ingested`; nothing when it is there already.
pub(crate) async fn ingested(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
    state: &str,
) -> Result<()> {
    let update = format!(
        "update {} set batch_status = 'ingested', state = {} where key = $1 and batch_id = $2 \
         and batch_status in ('started', 'ingested')",
        tables.batch_metrics,
        literal(state)
    );
    let query = sqlx::query(assembled(update)).bind(stream).bind(batch.0);
    expect_one(session.run("marking the batch ingested", query).await?, tables, stream, batch, "started")
}

/// Commits an ingested batch with its counts.
///
/// # Errors
/// `Invariant` when it is not in the status that must precede.
pub(crate) async fn commit(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
    counts: Counts,
    state: &str,
) -> Result<()> {
    let update = format!(
        "update {} set batch_status = 'committed', batch_end_time = {NOW}, \
         records_inserted = $3, records_updated = $4, records_deleted = $5, total_records = $6, state = {} \
         where key = $1 and batch_id = $2 and batch_status = 'ingested'",
        tables.batch_metrics,
        literal(state)
    );
    let narrow = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    let query = sqlx::query(assembled(update))
        .bind(stream)
        .bind(batch.0)
        .bind(narrow(counts.inserted))
        .bind(narrow(counts.updated))
        .bind(narrow(counts.deleted))
        .bind(narrow(counts.total));
    expect_one(session.run("committing the batch", query).await?, tables, stream, batch, "ingested")
}

fn expect_one(
    rows: u64,
    tables: &ControlTables,
    stream: &str,
    batch: LocalBatch,
    expected: &str,
) -> Result<()> {
    if rows == 1 {
        return Ok(());
    }
    let at = format!("{} of stream {stream:?}", tables.batch_metrics);
    Err(Error::invariant(at, format!("batch {batch} is not {expected}")))
}

/// The `state` JSON of a batch, as DataSurface's tools read it.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct BatchState {
    pub(crate) all_datasets: Vec<String>,
    pub(crate) current_dataset_index: usize,
    pub(crate) current_offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema_versions: Option<serde_json::Map<String, serde_json::Value>>,
    pub(crate) job_state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_synced_primary_batch: Option<PrimaryBatch>,
    pub(crate) is_seed_phase: bool,
    pub(crate) seed_offset: u64,
    pub(crate) seed_chunk_size: u64,
    pub(crate) time_zone: TimeZone,
}

/// Names the zone of a batch's times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeZone;

impl serde::Serialize for TimeZone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(TIME_ZONE)
    }
}

/// DataSurface's own part of the state.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct JobState {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is_seed_batch: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_batch_id: Option<PrimaryBatch>,
}

impl BatchState {
    /// JSON that fits the column: where it would not, the schema versions are left out, then the list of datasets.
    pub(crate) fn to_column(&self) -> Result<String> {
        let mut state = self.clone();
        for shorten in [drop_nothing, drop_schema_versions, drop_datasets] {
            shorten(&mut state);
            let text = serde_json::to_string(&state)
                .map_err(|error| Error::invariant("the state of a batch", error.to_string()))?;
            if text.chars().count() <= STATE_CHARS_MAX {
                return Ok(text);
            }
        }
        Err(Error::invariant("the state of a batch", "it is longer than 2048 characters without its lists"))
    }
}

fn drop_nothing(_: &mut BatchState) {}

fn drop_schema_versions(state: &mut BatchState) {
    state.schema_versions = None;
}

fn drop_datasets(state: &mut BatchState) {
    state.all_datasets.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_state_loses_its_schema_versions_first() {
        let versions = (0..40).map(|at| (format!("dataset_{at}"), "0".repeat(32).into())).collect();
        let state = BatchState {
            all_datasets: (0..40).map(|at| format!("dataset_{at}")).collect(),
            schema_versions: Some(versions),
            ..BatchState::default()
        };
        let text = state.to_column().unwrap();
        assert!(
            text.len() <= STATE_CHARS_MAX && !text.contains("schema_versions") && text.contains("dataset_39")
        );
    }
}
