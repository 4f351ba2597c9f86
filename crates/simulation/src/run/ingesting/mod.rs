//! A primary that the real worker writes, from a source that changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use milestream_oracle::Operation;
use milestream_worker::Class;
use milestream_worker::ingest::{self, HashFormula, IngestJob, Scd};
use milestream_worker::observer::Unobserved;
use tokio_util::sync::CancellationToken;

use super::asker::quoted;
use super::primary::{PrimaryState, StreamState, physical};
use super::record::Recorder;
use super::stage::Place;
use super::{Failure, MOVER, tuning};
use crate::forensic::{Table, ident};
use crate::outcome::{Property, Sometimes};
use crate::plan::{Cell, Writer};

/// Creates the source's empty tables, one a dataset, under the dataset's name.
pub(crate) async fn create_source(source: &Place, streams: &[StreamState]) -> Result<(), Failure> {
    let mut statements = String::new();
    for table in streams.iter().flat_map(|stream| &stream.tables) {
        let columns = table.key().iter().chain(table.columns());
        let columns: Vec<_> = columns.map(|(name, kind)| format!("{} {kind}", physical(name))).collect();
        let key: Vec<_> = table.key().iter().map(|(name, _)| physical(name)).collect();
        let name = ident(&milestream_core::names::physical_column(table.name()));
        statements.push_str(&format!(
            "create table {name} ({}, primary key ({})); grant select on {name} to {MOVER};\n",
            columns.join(", "),
            key.join(", ")
        ));
    }
    source.execute(&statements).await
}

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
    primary.commit(recorder).await?;
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
        primary.emptied = Some((at, merge));
    }
    Ok(())
}

/// Changes the source, and has the worker ingest it; the batch.
pub(crate) async fn ingest(
    primary: &mut PrimaryState,
    at: usize,
    operations: &[(String, Operation)],
    recorder: &Recorder,
) -> Result<i32, Failure> {
    let stream = &primary.streams[at];
    let mut statements = "begin;\n".to_owned();
    for table in &stream.tables {
        for (_, operation) in operations.iter().filter(|(name, _)| name == table.name()) {
            statements.push_str(&change(table, operation));
        }
    }
    statements.push_str("commit;");
    let source = primary.source.as_ref();
    let source = source
        .ok_or_else(|| Failure::Set { what: "a primary that the worker writes has no source".into() })?;
    source.execute(&statements).await?;
    let job = IngestJob {
        platform: primary.plan.name.clone(),
        strategy: Scd::Forensic,
        stream: stream.stream.clone(),
        source: source.endpoint("source"),
        source_tables: BTreeMap::new(),
        store: primary.place.endpoint("primary"),
        hash: HashFormula::DataSurface,
        staging_batches_to_keep: Some(2),
        tuning: tuning(),
    };
    let job = Arc::new(job);
    if let Some((_, merge)) = primary.emptied.take_if(|(emptied, _)| *emptied == at)
        && !see_halted(primary, &merge, &job, recorder).await?
    {
        return primary.streams[at].take_in(operations);
    }
    let ingested = ingest::run(job, Arc::new(Unobserved), CancellationToken::new()).await;
    let ingested = ingested.map_err(|error| Failure::Ingestion(Box::new(error)))?;
    let batch = primary.streams[at].take_in(operations)?;
    if ingested.batch.0 != batch {
        let what = format!("the worker ingested batch {}, the model has batch {batch}", ingested.batch);
        return Err(Failure::Set { what });
    }
    Ok(batch)
}

/// An ingestion into a table that a hand emptied must halt; then its rows are brought back. Whether it did.
async fn see_halted(
    primary: &PrimaryState,
    merge: &str,
    job: &Arc<IngestJob>,
    recorder: &Recorder,
) -> Result<bool, Failure> {
    match ingest::run(Arc::clone(job), Arc::new(Unobserved), CancellationToken::new()).await {
        Err(error) if error.class() == Class::Blocked => {
            recorder.saw(Sometimes::FoundAnEmptiedPrimary);
            put_back(primary, merge).await?;
            Ok(true)
        }
        Err(error) => Err(Failure::Ingestion(Box::new(error))),
        Ok(ingested) => {
            let what = format!(
                "{}: batch {} opened every record of {merge} anew, which a hand had emptied",
                primary.plan.name, ingested.batch
            );
            recorder.violated(Property::Exactness, what);
            Ok(false)
        }
    }
}

async fn put_back(primary: &PrimaryState, merge: &str) -> Result<(), Failure> {
    let restored = format!("truncate {merge}; insert into {merge} select * from {KEPT}; drop table {KEPT}");
    primary.place.execute(&restored).await
}

fn change(table: &Table, operation: &Operation) -> String {
    let name = ident(&milestream_core::names::physical_column(table.name()));
    let cell = |cell: &Cell| cell.as_ref().map_or("null".to_owned(), |text| quoted(text));
    let same = |key: &[Cell]| {
        let parts = table
            .key()
            .iter()
            .zip(key)
            .map(|((name, _), value)| format!("{} = {}", physical(name), cell(value)));
        parts.collect::<Vec<_>>().join(" and ")
    };
    match operation {
        Operation::Insert(row) => {
            let cells: Vec<_> = row.key.iter().chain(&row.columns).map(cell).collect();
            format!("insert into {name} values ({});\n", cells.join(", "))
        }
        Operation::Update(row) if row.columns.is_empty() => String::new(),
        Operation::Update(row) => {
            let set = table.columns().iter().zip(&row.columns);
            let set: Vec<_> =
                set.map(|((name, _), value)| format!("{} = {}", physical(name), cell(value))).collect();
            format!("update {name} set {} where {};\n", set.join(", "), same(&row.key))
        }
        Operation::Delete(key) => format!("delete from {name} where {};\n", same(key)),
    }
}
