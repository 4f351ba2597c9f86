//! Cuts a seed into chunks: by blocks where the relation has any, else by keys.

use milestream_core::chunk::{self, ChunkBounds, ChunkSize};
use milestream_core::milestone::PrimaryBatch;

use super::drafting::{estimate, rounded};
use super::job::{Job, SeedStrategy};
use crate::error::{Error, Result};
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::catalog::{self, Leaf, RelationKind, Table};
use crate::postgres::fields::Fields;
use crate::postgres::read::{PlannedLeaf, Relation};
use crate::statements::seed;

/// Keys sampled for each chunk of the keys strategy: boundaries within a few percent of even.
const SAMPLE_KEYS_PER_CHUNK: u64 = 30;
/// Keys sampled at least: a small share of the pages of a small table may well be none of them.
const SAMPLE_KEYS_MIN: u64 = 5_000;

/// The chunks of a dataset's seed as of `x`; notes the files of the leaves in `relation`.
///
/// # Errors
/// `Unlockable` when blocks are asked for and there are none; `MissingRight` on a leaf; `Schema` for a NULL key.
pub(super) async fn chunks(
    job: &Job,
    primary: &mut Session,
    pair: &Pair,
    table: &Table,
    x: PrimaryBatch,
    relation: &mut Relation,
) -> Result<Vec<ChunkBounds>> {
    let size = ChunkSize { rows_target: job.tuning.seed_chunk_rows, ..ChunkSize::default() };
    match leaves(job, primary, table).await? {
        Some(leaves) => Ok(by_blocks(leaves, size, relation)),
        None => by_keys(job, primary, pair, table, x, size).await,
    }
}

/// The leaves to be read by blocks; `None` where keys are the way.
async fn leaves(job: &Job, primary: &mut Session, table: &Table) -> Result<Option<Vec<Leaf>>> {
    if table.kind == RelationKind::Other {
        return Err(Error::MissingTable { endpoint: primary.endpoint.to_string(), table: table.qualified() });
    }
    let lockable = table.kind.is_lockable();
    match job.tuning.seed_strategy {
        SeedStrategy::Keys => Ok(None),
        SeedStrategy::Auto if !lockable => Ok(None),
        SeedStrategy::Auto => match catalog::leaves(primary, table).await {
            // A partition on another server has no blocks here.
            Err(Error::Unlockable { .. }) => Ok(None),
            leaves => leaves.map(Some),
        },
        SeedStrategy::Blocks if lockable => catalog::leaves(primary, table).await.map(Some),
        SeedStrategy::Blocks => Err(Error::Unlockable {
            endpoint: primary.endpoint.to_string(),
            table: table.qualified(),
            kind: table.kind.name().into(),
            reason: "it has no blocks and cannot be locked; with `seed_strategy = \"keys\"` it can be read, but a \
                     rewrite below it goes unseen"
                .into(),
        }),
    }
}

/// Cuts all leaves and sweeps them in the end; notes their files in `relation`.
pub(super) fn by_blocks(leaves: Vec<Leaf>, size: ChunkSize, relation: &mut Relation) -> Vec<ChunkBounds> {
    let planned = |leaf: &Leaf| PlannedLeaf { table: leaf.table.clone(), filenode: leaf.filenode.clone() };
    relation.leaves = leaves.iter().map(planned).collect();
    let leaves: Vec<_> = leaves
        .into_iter()
        .map(|leaf| chunk::Leaf {
            table: leaf.table,
            oid: leaf.oid,
            blocks: leaf.blocks,
            rows_estimated: leaf.rows_estimated.map(rounded),
        })
        .collect();
    let blocks = chunk::plan_blocks(&leaves, size).into_iter().map(ChunkBounds::Blocks);
    blocks.chain([ChunkBounds::Sweep]).collect()
}

async fn by_keys(
    job: &Job,
    primary: &mut Session,
    pair: &Pair,
    table: &Table,
    x: PrimaryBatch,
    size: ChunkSize,
) -> Result<Vec<ChunkBounds>> {
    let estimated = estimate(table);
    let wanted = estimated
        .div_ceil(size.rows_target.max(1))
        .saturating_mul(SAMPLE_KEYS_PER_CHUNK)
        .max(SAMPLE_KEYS_MIN);
    let statement = seed::sample(pair, x, wanted, estimated, table.kind.is_lockable());
    let rows = primary.ask("sampling keys", statement).await?;
    let mut sample = Vec::with_capacity(rows.len());
    for row in &rows {
        let key: Vec<Option<String>> = (0..pair.key.len()).map(|at| row.field(at)).collect::<Result<_>>()?;
        let key: Option<Vec<_>> = key.into_iter().collect();
        sample.push(key.ok_or_else(|| Error::Schema {
            stream: job.stream_key(),
            differences: format!("  {}: a row of the primary has a NULL in its key", pair.dataset),
        })?);
    }
    Ok(chunk::plan_keys(&sample, estimated, size).into_iter().map(ChunkBounds::Keys).collect())
}
