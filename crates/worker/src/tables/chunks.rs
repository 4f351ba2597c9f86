//! `{platform}_sync_chunk`: the chunks of the sync in flight, from their plan to their last row.

use milestream_core::chunk::ChunkBounds;

use super::ControlTables;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::copy::Piped;
use crate::postgres::fields::Fields;
use crate::postgres::read::Position;
use crate::postgres::sql::assembled;

/// Chunk rows stored by one statement.
const INSERT_ROWS: usize = 5_000;

/// A chunk to be stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedChunk {
    pub(crate) dataset: String,
    pub(crate) bounds: ChunkBounds,
}

/// A chunk that a worker has claimed, and those that are copied together with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claimed {
    /// The first ordinal.
    pub(crate) chunk: i32,
    /// How many chunks these are; their ordinals follow one another.
    pub(crate) count: u32,
    pub(crate) dataset: String,
    /// What they cover together.
    pub(crate) bounds: ChunkBounds,
    /// How far the server had come that they are read from, once the read is open.
    pub(crate) position: Option<Position>,
}

/// Which chunks a worker would copy, and how many together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appetite {
    pub(crate) wanted: u32,
    /// Workers of this process, with whom the chunks left have to be shared.
    pub(crate) workers: usize,
    /// Whether it takes sweeps too: silent for long, they are nothing for a helper, whose silence is its end.
    pub(crate) sweeps: bool,
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
            bounds.push(json("bounds of a chunk", &chunk.bounds)?);
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
        "update {} set status = 'pending', worker = null, backend = null \
         where stream_key = $1 and generation = $2 and status in ('copying', 'withdrawn')",
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

/// Claims the first chunk that nobody has and those behind it that can be copied together with it, and commits the claim
/// before any work: one round trip. `None` when there is none left to claim, which does not mean that all are done.
///
/// Near the end fewer are taken than are wanted, so that no worker is left with much while others have nothing.
///
/// The claim holds the lease's row `for share`, so that an overtaken worker claims nothing, nor a helper whose leader has
/// let go.
pub(crate) async fn claim(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    appetite: Appetite,
) -> Result<Option<Claimed>> {
    let pending = format!(
        "from {chunk} c where c.stream_key = $1 and c.generation = $2 and c.status = 'pending'",
        chunk = tables.sync_chunk
    );
    // Ordinals of a leaf's blocks follow one another, so the rows that follow the first without a gap adjoin it.
    let claim = format!(
        "with held as (select 1 from {stream} where stream_key = $1 and lease_token = $3 and lease_owner is not null for share), \
         first as (select c.chunk, c.dataset, c.bounds -> 'blocks' ->> 'leaf' as leaf {pending} \
            and ($8 or c.bounds <> '\"sweep\"'::jsonb) \
            and exists (select 1 from held) order by c.chunk limit 1 for update skip locked), \
         share as (select case when $6 = 1 then 1 else greatest(($6 + 3) / 4, least($6, \
            (select count(*) from (select 1 {pending} limit {COUNTED_MAX}) p) / (2 * $7))) end as chunks), \
         free as (select c.chunk from first f, {chunk} c where c.stream_key = $1 and c.generation = $2 \
            and c.chunk > f.chunk and c.chunk < f.chunk + (select chunks from share) and c.status = 'pending' \
            and c.dataset = f.dataset and c.bounds -> 'blocks' ->> 'leaf' = f.leaf \
            order by c.chunk for update of c skip locked), \
         taken as (select chunk from first union all \
            select chunk from (select chunk, row_number() over (order by chunk) as place from free) n \
            where chunk = (select chunk from first) + place) \
         update {chunk} c set status = 'copying', worker = $4, backend = $5::jsonb, copies = copies + 1, \
            started_at = clock_timestamp() \
         from taken where c.stream_key = $1 and c.generation = $2 and c.chunk = taken.chunk \
         returning c.chunk, c.dataset, c.bounds::text",
        stream = tables.sync_stream,
        chunk = tables.sync_chunk
    );
    let query = sqlx::query(assembled(claim))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(scope.token)
        .bind(&scope.worker)
        .bind(json("a backend", &session.backend)?)
        .bind(i32::try_from(appetite.wanted.max(1)).unwrap_or(i32::MAX))
        .bind(i32::try_from(appetite.workers.max(1)).unwrap_or(i32::MAX))
        .bind(appetite.sweeps);
    let mut chunks = Vec::new();
    for row in session.rows("claiming a chunk", query).await? {
        let text: &str = row.field(2)?;
        let bounds: ChunkBounds = serde_json::from_str(text).map_err(|error| {
            Error::invariant(&tables.sync_chunk, format!("bounds {text:?} cannot be read: {error}"))
        })?;
        chunks.push(Claimed {
            chunk: row.field(0)?,
            count: 1,
            dataset: row.field(1)?,
            bounds,
            position: None,
        });
    }
    chunks.sort_by_key(|claimed| claimed.chunk);
    let mut chunks = chunks.into_iter();
    let Some(first) = chunks.next() else { return Ok(None) };
    chunks.try_fold(first, |claimed, next| claimed.and(&next, tables)).map(Some)
}

/// Chunks that are counted to share them out; beyond that there are enough for all.
const COUNTED_MAX: u32 = 10_000;

impl Claimed {
    /// # Errors
    /// `Invariant` when the next chunk does not begin where this one ends: something would be copied twice or not at all.
    fn and(self, next: &Claimed, tables: &ControlTables) -> Result<Claimed> {
        let joined = match (&self.bounds, &next.bounds) {
            (ChunkBounds::Blocks(range), ChunkBounds::Blocks(following)) => range.joined(following),
            _ => None,
        };
        let Some(joined) = joined else {
            let what = format!(
                "chunk {} does not begin where those before it end: {:?}, {:?}",
                next.chunk, self.bounds, next.bounds
            );
            return Err(Error::invariant(&tables.sync_chunk, what));
        };
        Ok(Claimed { count: self.count + next.count, bounds: ChunkBounds::Blocks(joined), ..self })
    }
}

/// Marks a chunk done; part of the transaction that holds its rows. Of several that were copied together the first has
/// all the rows.
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
    // A delta's chunk ends where it was cut; what was planned stays as it was planned.
    let bounds = match &claimed.bounds {
        ChunkBounds::Delta(_) => Some(json("bounds of a chunk", &claimed.bounds)?),
        ChunkBounds::Blocks(_) | ChunkBounds::Keys(_) | ChunkBounds::Sweep => None,
    };
    let update = format!(
        "update {} set status = 'done', bounds = coalesce($6::jsonb, bounds), \
         rows = case when chunk = $3 then $4 else 0 end, bytes = case when chunk = $3 then $5 else 0 end, \
         finished_at = clock_timestamp(), position = $8::pg_lsn \
         where stream_key = $1 and generation = $2 and chunk >= $3 and chunk < $3 + $7 and status = 'copying'",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(update))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(claimed.chunk)
        .bind(i64::try_from(piped.rows).unwrap_or(i64::MAX))
        .bind(i64::try_from(piped.bytes).unwrap_or(i64::MAX))
        .bind(bounds)
        .bind(i32::try_from(claimed.count).unwrap_or(i32::MAX))
        .bind(claimed.position.as_ref().map(|position| position.0.as_str()));
    let marked = session.run("marking a chunk done", query).await?;
    if marked == u64::from(claimed.count) {
        return Ok(());
    }
    let what = format!(
        "{marked} of {} chunks from {} on of stream {:?} are being copied",
        claimed.count, claimed.chunk, scope.stream
    );
    Err(Error::invariant(&tables.sync_chunk, what))
}

/// The farthest that a server had come from which chunks of a dataset were read; `None` where none of them knows. What one
/// of them saw closed, the sweep must see closed too.
pub(crate) async fn farthest(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
    dataset: &str,
) -> Result<Option<Position>> {
    let question = format!(
        "select max(position)::text from {} where stream_key = $1 and generation = $2 and dataset = $3 \
         and status = 'done'",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(&scope.stream).bind(scope.generation).bind(dataset);
    let row = session.row("looking how far chunks had come", query).await?;
    Ok(row.map_or(Ok(None), |row| row.field::<Option<String>>(0))?.map(Position))
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
        "insert into {chunk} (stream_key, generation, chunk, dataset, bounds, status, worker, backend, copies, started_at) \
         select $1, $2, $6 + count(distinct dataset)::int, $3, $4::jsonb, 'copying', $5, $7::jsonb, 1, clock_timestamp() \
         from {chunk} where stream_key = $1 and generation = $2 returning chunk",
        chunk = tables.sync_chunk
    );
    let query = sqlx::query(assembled(insert))
        .bind(&scope.stream)
        .bind(scope.generation)
        .bind(&cut.dataset)
        .bind(json("bounds of a chunk", &bounds)?)
        .bind(&scope.worker)
        .bind(cut.chunk)
        .bind(json("a backend", &session.backend)?);
    let row = session.row("adding the next chunk", query).await?;
    let row = row.ok_or_else(|| Error::invariant(&tables.sync_chunk, "an insert returned no row"))?;
    Ok(Claimed { chunk: row.field(0)?, count: 1, dataset: cut.dataset.clone(), bounds, position: None })
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
    let count = |at: usize| row.field::<i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Progress { chunks: count(0)?, done: count(1)?, rows: count(2)?, bytes: count(3)?, copies: count(4)? })
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
    let count = |at: usize| row.field::<i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Recent { chunks: count(0)?, rows: count(1)?, seconds: row.field(2)? })
}

fn json(what: &str, value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invariant(what, error.to_string()))
}
