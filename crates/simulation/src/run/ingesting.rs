//! A primary that the real worker writes, from a source that changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use milestream_oracle::Operation;
use milestream_worker::ingest::{self, HashFormula, IngestJob, Scd};
use milestream_worker::observer::Unobserved;
use tokio_util::sync::CancellationToken;

use super::asker::quoted;
use super::primary::{PrimaryState, StreamState, physical};
use super::stage::Place;
use super::{Failure, MOVER, tuning};
use crate::forensic::{Table, ident};
use crate::plan::Cell;

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

/// Changes the source, and has the worker ingest it; the batch.
pub(crate) async fn ingest(
    primary: &mut PrimaryState,
    at: usize,
    operations: &[(String, Operation)],
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
    let ingested = ingest::run(Arc::new(job), Arc::new(Unobserved), CancellationToken::new()).await;
    let ingested = ingested.map_err(|error| Failure::Ingestion(Box::new(error)))?;
    let batch = primary.streams[at].take_in(operations)?;
    if ingested.batch.0 != batch {
        let what = format!("the worker ingested batch {}, the model has batch {batch}", ingested.batch);
        return Err(Failure::Set { what });
    }
    Ok(batch)
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
