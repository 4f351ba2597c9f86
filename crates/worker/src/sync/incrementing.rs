//! Cuts an increment: one stream in the order of its keys, or blocks where it is a large part of its table.

use milestream_core::chunk::{ChunkBounds, ChunkSize, DeltaRange};
use milestream_core::milestone::BatchRange;

use super::copying::counted;
use super::drafting::estimate;
use super::job::{IncrementStrategy, Job};
use super::seeding;
use crate::error::{Error, Result};
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::catalog::{self, Leaf, Table};
use crate::postgres::fields::Fields;
use crate::postgres::read::Relation;
use crate::statements::delta;

/// From this share of a table's versions on, an increment is read by blocks. Of tables in memory 30 % are still sooner read
/// in the order of their keys (9.6 s against 11.1 s of a million rows), since blocks land and are settled before they are
/// staged; what they save, the random order and the sort of half a table, was not measured on a disk.
const BLOCKS_FROM_SHARE: f64 = 0.5;
/// Fewer rows than that are sorted in no time.
const BLOCKS_FROM_ROWS: u64 = 10_000;

/// The increment that is planned.
pub(super) struct Increment {
    /// (X, Y].
    pub(super) range: BatchRange,
    /// Versions that the primary recorded over it, of all datasets.
    pub(super) rows_recorded: u64,
    pub(super) strategy: IncrementStrategy,
}

impl Increment {
    /// The chunks of a dataset; notes the files of the leaves in `relation` where these are read by blocks.
    pub(super) async fn chunks(
        &self,
        job: &Job,
        primary: &mut Session,
        pair: &Pair,
        table: &Table,
        relation: &mut Relation,
    ) -> Result<Vec<ChunkBounds>> {
        let leaves = if self.might_go_by_blocks(table) { leaves(primary, table).await? } else { Vec::new() };
        let in_order = vec![ChunkBounds::Delta(DeltaRange { after: None, through: None })];
        if leaves.is_empty() {
            return Ok(in_order);
        }
        let rows = self.rows(primary, pair).await?;
        if self.strategy == IncrementStrategy::Auto && !is_large(rows, table) {
            return Ok(in_order);
        }
        // A chunk aims at rows that it brings, and passes over the others.
        let rows_target = scaled(job.tuning.seed_chunk_rows, share(rows, estimate(table)));
        Ok(seeding::by_blocks(leaves, ChunkSize { rows_target, ..ChunkSize::default() }, relation))
    }

    /// What can be told without a question: metrics count all datasets together, and at least this one.
    fn might_go_by_blocks(&self, table: &Table) -> bool {
        let possible = table.kind.is_lockable();
        match self.strategy {
            IncrementStrategy::Keys => false,
            IncrementStrategy::Blocks => possible,
            IncrementStrategy::Auto => possible && is_large(self.rows_recorded, table),
        }
    }

    /// Versions of the dataset, counted over the indexes of its milestones.
    async fn rows(&self, primary: &mut Session, pair: &Pair) -> Result<u64> {
        let rows = primary.ask("counting an increment's rows", delta::ledger(pair, self.range)).await?;
        let row = rows.first().ok_or_else(|| Error::invariant(&pair.primary_table, "a count gave no row"))?;
        Ok(u64::try_from(counted(row.field(0)?)? + counted(row.field(1)?)?).unwrap_or(0))
    }
}

/// Whether so many versions are a large part of their table.
fn is_large(rows: u64, table: &Table) -> bool {
    rows >= BLOCKS_FROM_ROWS && share(rows, estimate(table)) >= BLOCKS_FROM_SHARE
}

/// The leaves to be read by blocks; none where there is only the order of the keys.
async fn leaves(primary: &mut Session, table: &Table) -> Result<Vec<Leaf>> {
    match catalog::leaves(primary, table).await {
        // A partition on another server has no blocks here; a right on the root is enough for the order of the keys.
        Err(Error::Unlockable { .. } | Error::MissingRight { .. }) => Ok(Vec::new()),
        leaves => leaves,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
fn share(rows: u64, of: u64) -> f64 {
    rows as f64 / of.max(1) as f64
}

/// Rows of the table among which there are `rows` of the increment.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a target needs no precision"
)]
fn scaled(rows: u64, share: f64) -> u64 {
    (rows as f64 / share.clamp(0.01, 1.0)) as u64
}
