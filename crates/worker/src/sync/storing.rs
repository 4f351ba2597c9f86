//! Stores a plan before a row moves: its chunks, the tables it fills and the started batch, in one transaction.

use milestream_core::milestone::LocalBatch;

use super::copying::Plan;
use super::datasets;
use super::ground::Ground;
use super::planning::Draft;
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::pair::Pair;
use crate::postgres::fields::Fields;
use crate::postgres::sql::ident;
use crate::postgres::{Session, catalog};
use crate::schema;
use crate::shapes::LACKING;
use crate::staging::fits;
use crate::statements::{block_delta, landing, merge};
use crate::tables::batches::{self, BatchState, JobState};
use crate::tables::chunks;
use crate::tables::lease::Lease;
use crate::tables::streams::{self, Flight};

/// Stores a draft: plan, chunks, landing or staging tables and the started batch, in one fenced transaction. A plan
/// that is made anew may get another batch than the `former` one, which is then forgotten.
pub(crate) async fn store(
    ground: &Ground,
    lease: &Lease,
    secondary: &mut Session,
    draft: &Draft,
    generation: i32,
    former: Option<LocalBatch>,
) -> Result<()> {
    let flight = &draft.flight;
    let (tables, stream) = (&ground.tables, ground.stream.as_str());
    secondary.begin().await?;
    for pair in &draft.pairs {
        if flight.is_seed() {
            create_landing(pair, flight, secondary).await?;
        } else {
            prepare_staging(ground, pair, flight, secondary).await?;
        }
    }
    if let Some(former) = former.filter(|former| *former != flight.local) {
        batches::forget(secondary, tables, stream, former).await?;
        for pair in draft.pairs.iter().filter(|_| !flight.is_seed()) {
            let clear = merge::clear_staged(pair, former);
            secondary.execute("clearing what the former batch staged", clear).await?;
        }
    }
    if flight.is_seed_of_all() {
        // A mirror that is seeded again takes its batch over from its former life.
        batches::take_over(secondary, tables, stream, flight.local).await?;
    }
    if flight.has_batch(ground.job.holding) {
        batches::start(secondary, tables, stream, flight.local, &started_state(ground, flight)?).await?;
    }
    streams::store_flight(secondary, tables, stream, flight, generation).await?;
    chunks::store(secondary, tables, stream, generation, &draft.chunks).await?;
    lease.fence(secondary).await?;
    secondary.commit("committing the plan").await?;
    if !draft.newly_lacking.is_empty() {
        let columns = draft.newly_lacking.join(", ");
        let text = format!(
            "{LACKING}: {columns}. They are not carried; when they join the model, the stream has to be seeded again"
        );
        ground.notice(NoticeKind::Warning, text);
    }
    Ok(())
}

/// Forgets a sync that has nowhere to go to: its batch, its chunks, and what was staged for it.
pub(super) async fn drop_flight(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    let (tables, stream, local) = (&ground.tables, ground.stream.as_str(), plan.flight.local);
    secondary.begin().await?;
    batches::forget(secondary, tables, stream, local).await?;
    for pair in &plan.pairs {
        secondary.execute("clearing what was staged", merge::clear_staged(pair, local)).await?;
        secondary.execute("dropping the landing table", landing::drop_landing(pair)).await?;
    }
    chunks::clear(secondary, tables, stream).await?;
    streams::drop_flight(secondary, tables, stream).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("giving up a sync").await
}

async fn create_landing(pair: &Pair, flight: &Flight, secondary: &mut Session) -> Result<()> {
    for statement in landing::create(pair, flight.local) {
        secondary.execute("creating the landing table", statement).await?;
    }
    if pair.existing.is_none() {
        require_free_names(pair, secondary).await?;
    }
    Ok(())
}

/// The indexes of the table to be must not have names of another table's: `create index if not exists` would take
/// those for its own.
async fn require_free_names(pair: &Pair, secondary: &mut Session) -> Result<()> {
    for build in std::iter::once(landing::key_index(pair)).chain(landing::plain_indexes(pair)) {
        let question = sqlx::query(
            "select c.oid::regclass::text, coalesce((select x.indrelid::regclass::text from pg_index x \
             where x.indexrelid = c.oid), 'no table') from pg_class c where c.oid = to_regclass($1)",
        );
        let row = secondary.row("looking for a name", question.bind(ident(&build.name))).await?;
        if let Some(row) = row {
            let (name, table): (String, String) = (row.field(0)?, row.field(1)?);
            return Err(Error::setup(
                format!(
                    "{}: {name} (of {table}) has the name that an index of {} will have",
                    secondary.endpoint,
                    ident(&pair.names.merge)
                ),
                format!(
                    "rename it, for example: alter index {name} rename to {}",
                    ident(&format!("{}_old", build.name))
                ),
            ));
        }
    }
    Ok(())
}

/// A staging table of another shape, one that DataSurface made or that this platform ingested with, is made anew:
/// what it holds is scratch.
async fn prepare_staging(
    ground: &Ground,
    pair: &Pair,
    flight: &Flight,
    secondary: &mut Session,
) -> Result<()> {
    let landing = match flight.is_by_blocks(&pair.dataset) {
        true => block_delta::create(pair),
        // Left behind where blocks did not come out right.
        false => vec![landing::drop_landing(pair)],
    };
    for statement in landing {
        secondary.execute("preparing the landing table", statement).await?;
    }
    let existing = catalog::find(secondary, &pair.names.staging).await?;
    let (own, key) = (landing::staged_columns(pair), landing::staging_key(pair));
    if existing.as_ref().is_some_and(|table| fits(pair, table, &own, &key)) {
        let clear = merge::clear_staged(pair, flight.local);
        return secondary.execute("clearing the staging table", clear).await.map(|_| ());
    }
    if existing.is_some() {
        let text = format!("{} had another shape and is made anew", ident(&pair.names.staging));
        ground.notice(NoticeKind::Warning, text);
        let drop = format!("drop table {}", ident(&pair.names.staging));
        secondary.execute("dropping a staging table of another shape", drop).await?;
    }
    for statement in landing::create_staging(pair) {
        secondary.execute("creating the staging table", statement).await?;
    }
    Ok(())
}

/// The batch's state while it is in flight: the watermark is still the old one.
fn started_state(ground: &Ground, flight: &Flight) -> Result<String> {
    BatchState { last_synced_primary_batch: flight.watermark(), ..state(ground, flight, 0) }.to_column()
}

/// The batch's state with `rows` landed so far.
pub(crate) fn state(ground: &Ground, flight: &Flight, rows: u64) -> BatchState {
    let datasets = datasets::of_flight(&ground.job, flight);
    BatchState {
        all_datasets: datasets.iter().map(|dataset| dataset.name.clone()).collect(),
        current_dataset_index: 0,
        current_offset: 0,
        schema_versions: Some(schema::versions(datasets)),
        job_state: JobState {
            is_seed_batch: Some(flight.is_seed_of_all()),
            remote_batch_id: Some(flight.to),
        },
        last_synced_primary_batch: Some(flight.to),
        is_seed_phase: flight.is_seed_of_all(),
        seed_offset: if flight.is_seed() { rows } else { 0 },
        seed_chunk_size: ground.job.tuning.seed_chunk_rows,
        ..BatchState::default()
    }
}
