//! Whether an increment may begin at the watermark: in a turn of our own, on the primary it was taken from, over tables
//! whose old rows still hold what they held.

use milestream_core::milestone::PrimaryBatch;

use super::copying::counted;
use super::datasets::{self, Roster};
use super::job::{Job, Upstream};
use super::{drafting, planning};
use crate::error::{Error, Result};
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::catalog::Table;
use crate::postgres::fields::Fields;
use crate::postgres::read::{BatchIdentity, Expectation, metrics_table};
use crate::postgres::sql::ident;
use crate::shapes::{PartsMoved, Shapes};
use crate::statements::parts;
use crate::tables::primary_batches::{self, BatchesFrom, CommittedBatch, Reached};
use crate::tables::streams::{BatchHistory, Flight, StreamRow};

/// Both sides as a plan found them.
pub(super) struct Sides<'a> {
    pub(super) job: &'a Job,
    /// The primary's table of batches, quoted.
    pub(super) metrics: &'a str,
    pub(super) reached: &'a Reached,
    pub(super) pairs: &'a [Pair],
    /// The primary's tables, in the order of the pairs.
    pub(super) tables: &'a [Table],
}

/// # Errors
/// `TurnTaken` when another program has committed a batch of the stream since ours: the tables hold a later state than
/// the watermark says.
pub(super) fn require_own_turn(job: &Job, row: &StreamRow) -> Result<()> {
    let (Some(watermark), Some(ours), Some(theirs)) = (row.watermark, row.local, row.newest_committed) else {
        return Ok(());
    };
    if theirs <= ours {
        return Ok(());
    }
    Err(Error::TurnTaken { stream: job.stream_key(), theirs, ours, watermark })
}

/// The history through Y, of the one through X; `None` where that is not known.
pub(super) fn followed(row: &StreamRow, batches: &[BatchIdentity], y: PrimaryBatch) -> Option<BatchHistory> {
    let (history, watermark) = (row.identity.as_ref()?.history.clone()?, row.watermark?);
    Some(history.followed_by(batches.iter().filter(|batch| batch.batch > watermark && batch.batch <= y)))
}

/// A primary on another server, or in another database, is the same as long as its batches through the watermark are:
/// it was restored, upgraded or moved.
///
/// # Errors
/// `PrimaryReset` when they are not; `Lagging` where they cannot be told yet.
pub(super) async fn require_same_history(
    primary: &mut Session,
    metrics: &str,
    job: &Job,
    row: &StreamRow,
    reached: &Reached,
    batches: &[CommittedBatch],
) -> Result<()> {
    let Some(identity) = row.identity.as_ref().filter(|identity| identity.system != reached.system) else {
        return Ok(());
    };
    let (endpoint, watermark) = (primary.endpoint.to_string(), identity.batch.batch);
    if batches.first().is_none_or(|batch| batch.identity() != identity.batch) {
        return Err(Error::Lagging { endpoint, batch: watermark });
    }
    let Some(known) = &identity.history else { return Ok(()) };
    let stream = job.stream_key();
    let digest = primary_batches::digest_through(primary, metrics, &stream, known.begun_at).await?;
    let from = BatchesFrom::Batch(known.begun_at);
    let (_, since) = primary_batches::committed(primary, metrics, &stream, from).await?;
    let since: Vec<_> = since.iter().map(CommittedBatch::identity).collect();
    let within = since.iter().filter(|batch| batch.batch > known.begun_at && batch.batch <= watermark);
    let found = BatchHistory { begun_at: known.begun_at, digest };
    if found.followed_by(within) == *known {
        return Ok(());
    }
    let seen = format!(
        "it was database {}, now it is {}, whose batches before {watermark} are others",
        identity.system, reached.system
    );
    Err(Error::PrimaryReset { endpoint, watermark, seen })
}

/// Columns that the model lacks and that nobody was told of yet.
pub(super) fn newly_lacking(row: &StreamRow, found: &Shapes) -> Vec<String> {
    let told = row.shapes.as_ref().map(Shapes::lacking).unwrap_or_default();
    found.lacking().into_iter().filter(|column| !told.contains(column)).collect()
}

/// With no batch to sync nothing is asked of the catalogs; but a column that joined the model is no less missing.
///
/// # Errors
/// Those of pairing the tables up; `SchemaChanged`.
pub(super) async fn require_columns_of_model(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
    reached: Reached,
) -> Result<()> {
    if !row.shapes.as_ref().is_some_and(|shapes| shapes.lack_columns_of(&job.stream)) {
        return Ok(());
    }
    let held = datasets::named(job, &Roster::of(job, row).held);
    let (pairs, tables) = planning::pairs(job, upstream, primary, secondary, &held).await?;
    let metrics = metrics_table(&upstream.platform);
    let sides = Sides { job, metrics: &metrics, reached: &reached, pairs: &pairs, tables: &tables };
    require_shapes(&sides, primary, secondary, row, &Shapes::of(&pairs, &tables)).await
}

/// What changed about a table since a sync was planned and shows in its columns' numbers alone.
pub(super) fn moved_since(flight: &Flight, found: &Shapes) -> Option<Error> {
    let differences = flight.tables.as_ref()?.columns_moved(found, flight.from.unwrap_or(flight.to));
    let first = differences.first()?.trim();
    let (dataset, what) = first.split_once('.')?;
    Some(Error::SchemaMoved {
        dataset: dataset.to_owned(),
        planned: "as planned".into(),
        found: what.to_owned(),
    })
}

/// # Errors
/// `SchemaChanged` when the tables found are not those of the watermark, so that old rows hold other values, are gone, or
/// came without a batch.
pub(super) async fn require_shapes(
    sides: &Sides<'_>,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
    found: &Shapes,
) -> Result<()> {
    let Some(watermark) = row.watermark else { return Ok(()) };
    let stream = sides.job.stream_key();
    let Some(known) = &row.shapes else {
        tracing::debug!(stream, "an earlier version kept no shapes of the tables; those found now are taken");
        return Ok(());
    };
    let mut differences = known.columns_moved(found, watermark);
    for moved in known.parts_moved(found) {
        differences.extend(rows_moved(sides, primary, secondary, row, &moved).await?);
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::SchemaChanged { stream, watermark, differences: differences.join("\n") })
}

/// Whether rows of the watermark's state came or went with parts of a table. A new partition is everyday work, and so is one
/// of closed history that goes: only rows that are live at the watermark count, of a mirror all that a new part brings.
async fn rows_moved(
    sides: &Sides<'_>,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
    moved: &PartsMoved,
) -> Result<Vec<String>> {
    let both = sides.pairs.iter().zip(sides.tables).find(|(pair, _)| pair.dataset == moved.dataset);
    let (Some((pair, table)), Some(identity)) = (both, &row.identity) else { return Ok(Vec::new()) };
    let (dataset, x) = (&moved.dataset, identity.batch.batch);
    let expectation = Expectation {
        system: sides.reached.system.clone(),
        metrics_table: sides.metrics.to_owned(),
        stream_key: sides.job.stream_key(),
        batches: vec![identity.batch.clone()],
        relations: vec![drafting::relation(pair, table)],
        position: sides.reached.position.clone(),
    };
    let came = if moved.is_replaced { &[][..] } else { &moved.came[..] };
    let question = parts::question(pair, x, came);
    let answer = expectation.open_asking(primary, "plan", "counting rows of parts", &question).await?;
    primary.commit("ending a read").await?;
    let (live, filled): (String, String) = (answer.field(0)?, answer.field(1)?);
    let mut differences = Vec::new();
    if !filled.is_empty() {
        differences.push(format!("  {dataset}: {filled} was attached with rows from before batch {x}"));
    }
    if moved.went.is_empty() && !moved.is_replaced {
        return Ok(differences);
    }
    let held = secondary.ask("counting live rows", parts::held(pair)).await?;
    let held = held.first().map_or(Ok(0), |row| counted(row.field(0)?))?;
    let live = counted(&live)?;
    if held != live {
        let what = match moved.is_replaced {
            true => format!("{} is another table", ident(&table.name)),
            false => format!("{} was detached or dropped", moved.went.join(", ")),
        };
        differences.push(format!(
            "  {dataset}: {what} since batch {x}: {live} rows are live as of it on the primary, {held} on the secondary"
        ));
    }
    Ok(differences)
}
