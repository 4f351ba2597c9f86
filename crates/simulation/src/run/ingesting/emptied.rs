//! A merge table of the primary that a hand emptied: the next ingestion must halt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use milestream_worker::Class;
use milestream_worker::ingest::{self, IngestJob};
use milestream_worker::observer::Unobserved;
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::primary::PrimaryState;
use super::super::record::Recorder;
use crate::outcome::{Property, Sometimes};
use crate::plan::Writer;

/// What a merge table held that a hand emptied.
const KEPT: &str = "kept_by_hand";

/// Empties a merge table as a hand does, and leaves the batches that filled it; nothing where it has no live row. The
/// primary commits its next batch, where it has one for that stream; then the rows are back.
pub(crate) async fn empty(
    primary: &mut PrimaryState,
    dataset: usize,
    recorder: &Recorder,
) -> Result<(), Failure> {
    truncate(primary, dataset).await?;
    primary.commit(&[], recorder).await?;
    match primary.emptied.take() {
        Some((_, merge)) => put_back(primary, &merge).await,
        None => Ok(()),
    }
}

async fn truncate(primary: &mut PrimaryState, dataset: usize) -> Result<(), Failure> {
    let all: Vec<_> = primary.streams.iter().enumerate().collect();
    let tables =
        all.iter().flat_map(|(at, stream)| stream.tables.iter().map(move |table| (*at, *stream, table)));
    let tables: Vec<_> = tables.collect();
    let (at, stream, table) = tables[dataset % tables.len()];
    let merge = table.merge_table(&primary.plan.name, &stream.stream.store);
    let has_rows = !stream.oracle.table(table.name()).live_at(stream.oracle.newest_batch()).is_empty();
    if primary.plan.writer == Writer::Worker && primary.emptied.is_none() && has_rows {
        primary.place.execute(&format!("create table {KEPT} as table {merge}; truncate {merge}")).await?;
        // Another file, with other blocks.
        primary.disturbances.fetch_add(1, Ordering::SeqCst);
        primary.emptied = Some((at, merge));
    }
    Ok(())
}

/// Where a hand emptied a table of the stream, its ingestion must halt; then the rows are brought back. Whether all is as it
/// must be.
pub(super) async fn see_halted(
    primary: &mut PrimaryState,
    at: usize,
    job: &Arc<IngestJob>,
    recorder: &Recorder,
) -> Result<bool, Failure> {
    let Some((_, merge)) = primary.emptied.take_if(|(emptied, _)| *emptied == at) else { return Ok(true) };
    let what = match ingest::run(Arc::clone(job), Arc::new(Unobserved), CancellationToken::new()).await {
        Err(error) if error.class() == Class::Blocked => {
            recorder.saw(Sometimes::FoundAnEmptiedPrimary);
            put_back(primary, &merge).await?;
            return Ok(true);
        }
        Err(error) => format!("an ingestion into a table that a hand had emptied failed: {error}"),
        Ok(ingested) => {
            format!("batch {} opened every record of {merge} anew, which a hand had emptied", ingested.batch)
        }
    };
    recorder.violated(Property::Ingestion, format!("{}: {what}", primary.plan.name));
    Ok(false)
}

async fn put_back(primary: &PrimaryState, merge: &str) -> Result<(), Failure> {
    let restored = format!("truncate {merge}; insert into {merge} select * from {KEPT}; drop table {KEPT}");
    primary.place.execute(&restored).await
}
