//! Drafts a sync whose range is chosen: its chunks, and what must hold whenever the primary is read.

use milestream_core::chunk::ChunkBounds;
use milestream_core::milestone::{BatchRange, LocalBatch, PrimaryBatch};

use super::course::Course;
use super::incrementing::Increment;
use super::job::{IncrementStrategy, Job, Upstream};
use super::planning::{Draft, Former};
use super::seeding;
use super::target::Target;
use crate::error::Result;
use crate::pair::{Holding, Pair};
use crate::postgres::Session;
use crate::postgres::catalog::{Column, Table};
use crate::postgres::fields::Fields;
use crate::postgres::read::{self, Expectation, PlannedColumn, Relation};
use crate::tables::batches;
use crate::tables::chunks::PlannedChunk;
use crate::tables::primary_batches::{CommittedBatch, Reached};
use crate::tables::streams::Flight;

/// Cuts the sync into chunks. Reads both sides, writes nothing.
#[expect(clippy::too_many_arguments, reason = "what was found out on the way to a draft")]
pub(super) async fn draft(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    reached: Reached,
    metrics_table: String,
    course: Course<'_>,
    pairs: Vec<Pair>,
    tables: &[Table],
    former: Option<Former<'_>>,
) -> Result<Box<Draft>> {
    let Course { target, left, apart, notes, .. } = course;
    let is_seed = target.from.is_none();
    let mut planned = Vec::new();
    let mut relations = Vec::new();
    for (pair, table) in pairs.iter().zip(tables) {
        let mut relation = relation(pair, table);
        let bounds = match target.from {
            None => seeding::chunks(job, primary, pair, table, target.to, &mut relation).await?,
            Some(from) => {
                let increment = Increment {
                    range: BatchRange::new(from, target.to),
                    rows_recorded: target.rows_recorded,
                    strategy: match former {
                        Some(former) if former.was_disturbed => IncrementStrategy::Keys,
                        _ => job.tuning.increment_strategy,
                    },
                };
                increment.chunks(job, primary, pair, table, &mut relation).await?
            }
        };
        let dataset = &pair.dataset;
        planned.extend(bounds.into_iter().map(|bounds| PlannedChunk { dataset: dataset.clone(), bounds }));
        relations.push(relation);
    }
    planned.sort_by_key(|chunk| place(&chunk.bounds));
    let (rows_estimated, bytes_estimated) = estimates(&target, tables);
    // Files are compared with what is there now: a standby that has not come as far may still have others.
    let is_by_blocks = relations.iter().any(|relation| !relation.leaves.is_empty());
    let position = if is_by_blocks { read::position(primary).await? } else { reached.position };
    let flight = Flight {
        from: target.from,
        to: target.to,
        local: local_batch(job, secondary, target.to).await?,
        primary: upstream.platform.clone(),
        expectation: Expectation {
            system: reached.system,
            metrics_table,
            stream_key: job.stream_key(),
            batches: target.batches.iter().map(CommittedBatch::identity).collect(),
            relations,
            position,
        },
        recorded: target.recorded,
        rows_estimated,
        started_us: match former {
            Some(former) => former.flight.started_us,
            None => now_us(secondary).await?,
        },
        retries: former.map_or(0, |former| former.flight.retries),
        plans: former.map_or(0, |former| former.flight.plans) + 1,
        shapes: pairs.iter().map(|pair| (pair.dataset.clone(), pair.shape())).collect(),
        tables: None,
        history: target.history,
        beside: target.beside,
        apart,
        left,
    };
    let missing_indexes = tables.iter().flat_map(|table| missing_indexes(table, is_seed)).collect();
    Ok(Box::new(Draft {
        flight,
        pairs,
        chunks: planned,
        remaining: target.remaining,
        bytes_estimated,
        notes,
        missing_indexes,
        newly_lacking: Vec::new(),
    }))
}

/// Sweeps come last: they are opened when everything else is durable. A stream in the order of keys is cut as it is
/// received, in steps of as many chunks as there are datasets (`chunks::follow`), and so comes behind all blocks.
fn place(bounds: &ChunkBounds) -> u8 {
    match bounds {
        ChunkBounds::Blocks(_) | ChunkBounds::Keys(_) => 0,
        ChunkBounds::Delta(_) => 1,
        ChunkBounds::Sweep => 2,
    }
}

/// The relation of a dataset's reads, without files to compare.
pub(crate) fn relation(pair: &Pair, table: &Table) -> Relation {
    let carried = pair.column_names().filter_map(|name| table.column(name));
    let planned = |column: &Column| PlannedColumn {
        name: column.name.clone(),
        identity: format!("{}:{}", column.attnum, column.type_id),
    };
    Relation {
        dataset: pair.dataset.clone(),
        table: pair.primary_table.clone(),
        lockable: table.kind.is_lockable(),
        leaves: Vec::new(),
        columns: carried.map(planned).collect(),
    }
}

/// A mirror's batch *is* the primary's; others have ids of their own.
async fn local_batch(job: &Job, secondary: &mut Session, to: PrimaryBatch) -> Result<LocalBatch> {
    match job.holding {
        Holding::Mirror => Ok(LocalBatch::of_mirror(to)),
        Holding::LiveOnly => batches::next_local(secondary, &job.tables(), &job.stream_key()).await,
    }
}

async fn now_us(session: &mut Session) -> Result<i64> {
    let question = "select (extract(epoch from clock_timestamp()) * 1000000)::int8";
    let row = session.row("asking for the time", sqlx::query(question)).await?;
    row.map_or(Ok(0), |row| row.field(0))
}

/// Rows and bytes that the sync is expected to move.
fn estimates(target: &Target, tables: &[Table]) -> (u64, u64) {
    let rows: u64 = tables.iter().map(estimate).sum();
    let bytes: u64 = tables.iter().map(|table| u64::try_from(table.bytes).unwrap_or(0)).sum();
    match target.from {
        None => (rows, bytes),
        Some(_) => (target.rows_recorded, bytes / rows.max(1) * target.rows_recorded),
    }
}

/// Rows by statistics, or by size where there are none yet.
pub(crate) fn estimate(table: &Table) -> u64 {
    const BYTES_PER_ROW_GUESSED: u64 = 100;
    match table.rows_estimated {
        Some(rows) => rounded(rows),
        None => u64::try_from(table.bytes).unwrap_or(0) / BYTES_PER_ROW_GUESSED,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a non-negative estimate")]
pub(super) fn rounded(rows: f64) -> u64 {
    rows.max(0.0) as u64
}

/// Indexes that increments need so that their cost follows the change.
fn missing_indexes(table: &Table, is_seed: bool) -> Vec<String> {
    use crate::pair::{BATCH_IN, BATCH_OUT};
    let wanted: &[&str] = if is_seed { &[BATCH_OUT] } else { &[BATCH_IN, BATCH_OUT] };
    wanted
        .iter()
        .filter(|column| table.index_on(&[column]).is_none())
        .map(|column| format!("create index on {} ({column});", table.qualified()))
        .collect()
}
