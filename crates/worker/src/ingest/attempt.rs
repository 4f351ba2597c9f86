//! One attempt at a batch: lease, snapshot, staging, merge, commit.

use milestream_core::milestone::{LocalBatch, PrimaryBatch};

use super::job::{IngestJob, IngestOutcome};
use super::{books, merging, staging, survey};
use crate::error::Result;
use crate::observer::{Happening, NoticeKind, Step};
use crate::pair::Pair;
use crate::panics::caught;
use crate::postgres::Session;
use crate::schema;
use crate::statements::landing;
use crate::sync::ground::Ground;
use crate::sync::leading::Leadership;
use crate::sync::planning::compare_encodings;
use crate::tables::batches::{self, BatchState, Counts};
use crate::tables::lease::Lease;
use crate::tables::{chunks, layout, streams};

/// A batch that is being ingested.
pub(crate) struct Batch {
    pub(crate) id: LocalBatch,
    /// One a dataset, in the stream's order.
    pub(crate) pairs: Vec<Pair>,
    pub(crate) lease: Lease,
}

/// Brings one batch to its commit. `sent` is what an attempt before this one asked the store to commit, in case the
/// answer was lost; `led` is left with the lease of this one.
pub(crate) async fn attempt(
    ground: &Ground<IngestJob>,
    sent: &mut Option<IngestOutcome>,
    led: &mut Option<Lease>,
) -> Result<IngestOutcome> {
    let mut leadership = Leadership::begin(ground).await?;
    let lease = led.insert(leadership.lease.clone()).clone();
    let leading = lead(ground, lease, &mut leadership.session, sent);
    let ended = tokio::select! {
        ended = caught("an ingestion", Box::pin(leading)) => ended,
        Ok(lost) = &mut leadership.lost => Err(lost),
    };
    leadership.end(ground, ended).await
}

async fn lead(
    ground: &Ground<IngestJob>,
    lease: Lease,
    store: &mut Session,
    sent: &mut Option<IngestOutcome>,
) -> Result<IngestOutcome> {
    ground.reach(Step::Leased, Happening::Reached).await?;
    streams::go_on(store, &ground.tables, &ground.stream, lease.token()).await?;
    layout::require_writable(store, &ground.tables).await?;
    let id = batches::next_local(store, &ground.tables, &ground.stream).await?;
    if let Some(outcome) = sent.take_if(|outcome| outcome.batch < id) {
        return Ok(outcome);
    }
    let mut source = ground.reader(&ground.job.source, "ingest").await?;
    compare_encodings(&source, store)?;
    ground.wait_for_leave(&mut source).await?;
    let survey = survey::open(ground, &mut source, store).await?;
    books::check(ground, &survey.pairs, id, store).await?;
    let batch = Batch { id, pairs: survey.pairs, lease };
    start(ground, &batch, store).await?;
    let happening = Happening::Plan {
        from: None,
        to: primary_batch(id),
        local: id,
        generation: 1,
        chunks: batch.pairs.len() as u64,
        chunks_done: 0,
        rows_estimated: survey.rows_estimated,
        rows_done: 0,
    };
    ground.reach(Step::Planned, happening).await?;
    let rows = staging::copy_all(ground, &batch, &mut source, store).await?;
    source.commit("ending a read").await?;
    source.close().await;
    ground.check_stop()?;
    mark_ingested(ground, &batch, store).await?;
    commit(ground, &batch, rows, store, sent).await
}

/// To those who pull from this platform its own batches are the primary's.
fn primary_batch(batch: LocalBatch) -> PrimaryBatch {
    PrimaryBatch(batch.0)
}

/// Counter, metrics and staging tables in one fenced transaction.
async fn start(ground: &Ground<IngestJob>, batch: &Batch, store: &mut Session) -> Result<()> {
    store.begin().await?;
    leave_primary(ground, batch, store).await?;
    for pair in &batch.pairs {
        staging::prepare(ground, batch, pair, store).await?;
    }
    let state = state(ground)?;
    batches::start(store, &ground.tables, &ground.stream, batch.id, &state).await?;
    batch.lease.fence(store).await?;
    store.commit("starting the batch").await
}

/// A platform that followed a primary so far gives its watermark up, with whatever sync was in flight: should it
/// ever follow one again it is seeded anew instead of going on from rows that it no longer holds.
async fn leave_primary(ground: &Ground<IngestJob>, batch: &Batch, store: &mut Session) -> Result<()> {
    let Some(former) = streams::become_primary(store, &ground.tables, &ground.stream).await? else {
        return Ok(());
    };
    chunks::clear(store, &ground.tables, &ground.stream).await?;
    for pair in &batch.pairs {
        store.execute("dropping landing tables", landing::drop_landing(pair)).await?;
    }
    let text = format!("{} followed primary {former} and now ingests the source itself", ground.job.platform);
    ground.notice(NoticeKind::Warning, text);
    Ok(())
}

async fn mark_ingested(ground: &Ground<IngestJob>, batch: &Batch, store: &mut Session) -> Result<()> {
    store.begin().await?;
    batches::ingested(store, &ground.tables, &ground.stream, batch.id, &state(ground)?).await?;
    batch.lease.fence(store).await?;
    store.commit("marking the batch ingested").await
}

/// All datasets and the batch's counts in one transaction: readers see the batch before or this one.
async fn commit(
    ground: &Ground<IngestJob>,
    batch: &Batch,
    rows: u64,
    store: &mut Session,
    sent: &mut Option<IngestOutcome>,
) -> Result<IngestOutcome> {
    store.begin().await?;
    ground.reach(Step::Merging, Happening::Reached).await?;
    let counts = Counts { total: rows, ..merging::merge(ground, batch, store).await? };
    batches::commit(store, &ground.tables, &ground.stream, batch.id, counts, &state(ground)?).await?;
    let Counts { inserted, updated, deleted, total } = counts;
    let happening = Happening::Commit { watermark: primary_batch(batch.id), inserted, updated, deleted };
    ground.reach(Step::BeforeCommit, happening.clone()).await?;
    batch.lease.fence(store).await?;
    let outcome = IngestOutcome { batch: batch.id, inserted, updated, deleted, total };
    *sent = Some(outcome);
    store.commit("committing the batch").await?;
    ground.reach(Step::AfterCommit, happening).await?;
    Ok(outcome)
}

/// The batch's state for DataSurface's tools. An ingestion has no seed and no remote batch.
fn state(ground: &Ground<IngestJob>) -> Result<String> {
    let stream = &ground.job.stream;
    let state = BatchState {
        all_datasets: stream.datasets.iter().map(|dataset| dataset.name.clone()).collect(),
        schema_versions: Some(schema::versions(&stream.datasets)),
        ..BatchState::default()
    };
    state.to_column()
}
