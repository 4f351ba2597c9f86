//! What was counted of the primary in the snapshots that an increment's chunks were read in; kept with the chunks, so
//! that a worker that takes the plan up has it too.

use std::collections::BTreeMap;

use super::ControlTables;
use super::chunks::ChunkScope;
use crate::error::Result;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::assembled;

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
    row.map(|row| Ok(Counted { versions: row.field(0)?, swept: row.field(1)? })).transpose()
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
    row.map_or(Ok((0, 0)), |row| Ok((row.field(0)?, row.field(1)?)))
}

/// What the ledger found of each dataset: versions opened and closed.
pub(crate) async fn by_dataset(
    session: &mut Session,
    tables: &ControlTables,
    scope: &ChunkScope,
) -> Result<BTreeMap<String, (i64, i64)>> {
    let question = format!(
        "select dataset, min(found_opened), min(found_closed) from {} \
         where stream_key = $1 and generation = $2 and found_opened is not null group by dataset",
        tables.sync_chunk
    );
    let query = sqlx::query(assembled(question)).bind(&scope.stream).bind(scope.generation);
    let rows = session.rows("reading the ledger", query).await?;
    rows.iter().map(|row| Ok((row.field(0)?, (row.field(1)?, row.field(2)?)))).collect()
}
