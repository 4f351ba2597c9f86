//! `{platform}_sync_chunk`: the chunks of the sync in flight.

use sqlx::Row;

use milestream_core::chunk::ChunkBounds;

use super::ControlTables;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::copy::Piped;
use crate::postgres::sql::assembled;

/// Chunk rows stored by one statement.
const INSERT_ROWS: usize = 5_000;

/// A chunk to be stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedChunk {
    pub(crate) dataset: String,
    pub(crate) bounds: ChunkBounds,
}

/// A chunk that a worker has claimed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claimed {
    pub(crate) chunk: i32,
    pub(crate) dataset: String,
    pub(crate) bounds: ChunkBounds,
}

/// Names the stream and plan that chunk rows belong to, and the token under which they change.
#[derive(Clone, Debug)]
pub(crate) struct ChunkScope {
    pub(crate) stream: String,
    pub(crate) generation: i32,
    pub(crate) token: i64,
    pub(crate) worker: String,
}

/// How far a plan has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) chunks: u64,
    pub(crate) done: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// How often chunks were claimed; more than `chunks` when some were copied again.
    pub(crate) copies: u64,
}

/// Stores a plan's chunks in place of all earlier ones of the stream.
pub(crate) async fn store(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    generation: i32,
    chunks: &[PlannedChunk],
) -> Result<()> {
    clear(session, tables, stream).await?;
    let mut ordinals = 0_i32..;
    for part in chunks.chunks(INSERT_ROWS) {
        let mut bounds = Vec::with_capacity(part.len());
        for chunk in part {
            bounds.push(json(&chunk.bounds)?);
        }
        let numbers: Vec<i32> = ordinals.by_ref().take(part.len()).collect();
        let datasets: Vec<&str> = part.iter().map(|chunk| chunk.dataset.as_str()).collect();
        let insert = format!(
            "insert into {} (stream_key, generation, chunk, dataset, bounds, status) \
             select $1, $2, c, d, b::jsonb, case when b = '\"sweep\"' then 'waiting' else 'pending' end from unnest($3::int[], $4::text[], $5::text[]) u(c, d, b)",
            tables.sync_chunk
        );
        let query = sqlx::query(assembled(insert))
            .bind(stream)
            .bind(generation)
            .bind(&numbers)
            .bind(&datasets)
            .bind(&bounds);
        session.run("storing the plan's chunks", query).await?;
    }
    Ok(())
}

/// Forgets all chunks of a stream.
pub(crate) async fn clear(session: &mut Session, tables: &ControlTables, stream: &str) -> Result<()> {
    let delete = format!("delete from {} where stream_key = $1", tables.sync_chunk);
    session.run("clearing chunk rows", sqlx::query(assembled(delete)).bind(stream)).await.map(|_| ())
}

/// Gives back what a former worker had claimed and not finished.
pub(crate) async fn reset_claims(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
) -> Result<()> {
    let update = format!(
        "update {} set status = 'pending', worker = null where stream_key = $1 and generation = $2 and status = 'copying'",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(update)).bind(&scope.stream).bind(scope.generation);
    session.run("giving back unfinished chunks", query).await.map(|_| ())
}

/// Opens the sweeps for claiming, if everything else is done: a sweep's snapshot must be later than that of every
/// chunk. Otherwise they stay closed, and the count after the sweep tells.
pub(crate) async fn open_sweeps(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
) -> Result<()> {
    let update = format!(
        "update {chunk} set status = 'pending' where stream_key = $1 and generation = $2 and status = 'waiting' \
         and not exists (select 1 from {chunk} where stream_key = $1 and generation = $2 \
            and status <> 'done' and bounds <> '\"sweep\"'::jsonb)",
        chunk = tables.sync_chunk
    );
    let query = sqlx::query(assembled(update)).bind(&scope.stream).bind(scope.generation);
    session.run("opening the sweeps", query).await.map(|_| ())
}

/// Claims the first chunk that nobody has, and commits the claim before any work: one round trip. `None` when
/// there is none left to claim, which does not mean that all are done.
///
/// The claim holds the lease's row `for share`, so that an overtaken worker claims nothing.
pub(crate) async fn claim(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
) -> Result<Option<Claimed>> {
    let claim = format!(
        "with held as (select 1 from {stream} where stream_key = $1 and lease_token = $3 for share), \
         next as (select chunk from {chunk} where stream_key = $1 and generation = $2 and status = 'pending' \
            and exists (select 1 from held) order by chunk limit 1 for update skip locked) \
         update {chunk} c set status = 'copying', worker = $4, copies = copies + 1, started_at = clock_timestamp() \
         from next where c.stream_key = $1 and c.generation = $2 and c.chunk = next.chunk \
         returning c.chunk, c.dataset, c.bounds::text",
        stream = tables.sync_stream,
        chunk = tables.sync_chunk
    );
    let query = sqlx::query(assembled(claim))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(scope.token)
        .bind(&scope.worker);
    let Some(row) = session.row("claiming a chunk", query).await? else { return Ok(None) };
    let bounds: &str = row.get(2);
    let bounds = serde_json::from_str(bounds).map_err(|error| {
        Error::invariant(&tables.sync_chunk, format!("bounds {bounds:?} cannot be read: {error}"))
    })?;
    Ok(Some(Claimed { chunk: row.get(0), dataset: row.get(1), bounds }))
}

/// Marks a chunk done; part of the transaction that holds its rows.
///
/// # Errors
/// `Invariant` when the chunk was not being copied.
pub(crate) async fn mark_done(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    claimed: &Claimed,
    piped: Piped,
) -> Result<()> {
    let update = format!(
        "update {} set status = 'done', bounds = $6::jsonb, rows = $4, bytes = $5, finished_at = clock_timestamp() \
         where stream_key = $1 and generation = $2 and chunk = $3 and status = 'copying'",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(update))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(claimed.chunk)
        .bind(i64::try_from(piped.rows).unwrap_or(i64::MAX))
        .bind(i64::try_from(piped.bytes).unwrap_or(i64::MAX))
        .bind(json(&claimed.bounds)?);
    match session.run("marking a chunk done", query).await? {
        1 => Ok(()),
        _ => Err(Error::invariant(
            &tables.sync_chunk,
            format!("chunk {} of stream {:?} is not being copied", claimed.chunk, scope.stream),
        )),
    }
}

/// Adds the chunk that follows one that was cut off the stream, already claimed; part of the same transaction.
///
/// Streams of several datasets are cut side by side, so each counts on in steps of as many as there are: the highest
/// ordinal and one would be the same for two of them.
pub(crate) async fn follow(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    cut: &Claimed,
    bounds: ChunkBounds,
) -> Result<Claimed> {
    let insert = format!(
        "insert into {chunk} (stream_key, generation, chunk, dataset, bounds, status, worker, copies, started_at) \
         select $1, $2, $6 + count(distinct dataset)::int, $3, $4::jsonb, 'copying', $5, 1, clock_timestamp() \
         from {chunk} where stream_key = $1 and generation = $2 returning chunk",
        chunk = tables.sync_chunk
    );
    let query = sqlx::query(assembled(insert))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(&cut.dataset)
        .bind(json(&bounds)?)
        .bind(&scope.worker)
        .bind(cut.chunk);
    let row = session.row("adding the next chunk", query).await?;
    let row = row.ok_or_else(|| Error::invariant(&tables.sync_chunk, "an insert returned no row"))?;
    Ok(Claimed { chunk: row.get(0), dataset: cut.dataset.clone(), bounds })
}

/// What the primary held in the snapshot that a chunk of an increment was read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Versions opened over (X, Y].
    pub(crate) opened: i64,
    /// Versions closed in it.
    pub(crate) closed: i64,
    /// Rows that must have landed, where the increment is read by blocks.
    pub(crate) rows_expected: Option<i64>,
}

/// Records what was found in the snapshot a chunk was read in.
pub(crate) async fn record_found(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    chunk: i32,
    found: Found,
) -> Result<()> {
    let update = format!(
        "update {} set found_opened = $4, found_closed = $5, rows_expected = $6 \
         where stream_key = $1 and generation = $2 and chunk = $3",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(update))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(chunk)
        .bind(found.opened)
        .bind(found.closed)
        .bind(found.rows_expected);
    session.run("recording the ledger", query).await.map(|_| ())
}

/// What an increment's sweep says of a dataset that is read by blocks and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Versions that must have landed.
    pub(crate) versions: i64,
    /// Rows of the sweep itself; a chunk may have brought any of them before.
    pub(crate) swept: i64,
}

/// What the sweep of a dataset counted; `None` where there was none, or nothing was to be counted.
pub(crate) async fn counted(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    dataset: &str,
) -> Result<Option<Counted>> {
    let question = format!(
        "select rows_expected, rows from {} \
         where stream_key = $1 and generation = $2 and dataset = $3 and rows_expected is not null",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(&scope.stream).bind(scope.generation).bind(dataset);
    let row = session.row("reading how many rows must have landed", query).await?;
    Ok(row.map(|row| Counted { versions: row.get(0), swept: row.get(1) }))
}

/// What the ledger found over all datasets: versions opened and closed, each dataset's lowest finding counting.
pub(crate) async fn ledger(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
) -> Result<(i64, i64)> {
    let question = format!(
        "select coalesce(sum(o), 0)::int8, coalesce(sum(c), 0)::int8 from (select min(found_opened) o, min(found_closed) c \
         from {} where stream_key = $1 and generation = $2 group by dataset) found",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(&scope.stream).bind(scope.generation);
    let row = session.row("adding up the ledger", query).await?;
    Ok(row.map_or((0, 0), |row| (row.get(0), row.get(1))))
}

/// How far the plan has come.
pub(crate) async fn progress(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    generation: i32,
) -> Result<Progress> {
    let question = format!(
        "select count(*), count(*) filter (where status = 'done'), coalesce(sum(rows), 0)::int8, \
         coalesce(sum(bytes), 0)::int8, coalesce(sum(copies), 0)::int8 \
         from {} where stream_key = $1 and generation = $2",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(stream).bind(generation);
    let row = session.row("counting chunks", query).await?;
    let Some(row) = row else { return Ok(Progress::default()) };
    let count = |at: usize| u64::try_from(row.get::<i64, _>(at)).unwrap_or(0);
    Ok(Progress { chunks: count(0), done: count(1), rows: count(2), bytes: count(3), copies: count(4) })
}

/// What was copied of a plan lately, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    pub(crate) chunks: u64,
    pub(crate) rows: u64,
    /// From the first start of these chunks until now, by the database's clock.
    pub(crate) seconds: f64,
}

/// The chunks finished within the last minute.
pub(crate) async fn recent(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    generation: i32,
) -> Result<Recent> {
    let question = format!(
        "select count(*), coalesce(sum(rows), 0)::int8, \
         coalesce(extract(epoch from clock_timestamp() - min(started_at)), 0)::float8 from {} \
         where stream_key = $1 and generation = $2 and status = 'done' \
         and finished_at > clock_timestamp() - interval '1 minute'",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(stream).bind(generation);
    let row = session.row("counting the chunks of the last minute", query).await?;
    let Some(row) = row else { return Ok(Recent::default()) };
    let count = |at: usize| u64::try_from(row.get::<i64, _>(at)).unwrap_or(0);
    Ok(Recent { chunks: count(0), rows: count(1), seconds: row.get(2) })
}

fn json(bounds: &ChunkBounds) -> Result<String> {
    serde_json::to_string(bounds).map_err(|error| Error::invariant("bounds of a chunk", error.to_string()))
}
