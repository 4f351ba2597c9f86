//! Opens the source: tables found, locked, and compared with the merge tables, all before anything is written.

use std::collections::BTreeSet;

use milestream_core::names;
use milestream_core::stream::Dataset;

use super::fitting::{self, Difference, fit};
use super::job::IngestJob;
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::catalog::{self, RelationKind, Table};
use crate::postgres::sql::{ident, literal};
use crate::schema::missing_names;
use crate::sync::drafting::estimate;
use crate::sync::ground::Ground;

/// The source as it is read: fitted to the merge tables, in a transaction that stays open.
pub(crate) struct Survey {
    /// One a dataset, in the stream's order.
    pub(crate) pairs: Vec<Pair>,
    /// Rows that the source's statistics expect.
    pub(crate) rows_estimated: u64,
}

/// Begins the one transaction in which all datasets are read. Every table is locked first: a snapshot taken before
/// the wait for a lock would read a table that is being rewritten as empty. What the catalog says is read under
/// the locks, so that it is true of what is copied.
///
/// # Errors
/// `MissingTable`, `MissingRight`, and `Schema` with everything that does not fit.
pub(crate) async fn open(
    ground: &Ground<IngestJob>,
    source: &mut Session,
    store: &mut Session,
) -> Result<Survey> {
    let job = &ground.job;
    let located = locate_all(job, source).await?;
    for (dataset, table) in job.stream.datasets.iter().zip(&located) {
        warn_of_unlockable(ground, dataset, table);
    }
    source.ask("locking the source's tables", begin(ground, &located)).await?;
    let mut tables = Vec::with_capacity(located.len());
    for table in located {
        tables.push(describe(source, &table.qualified()).await?);
    }
    let (survey, differences) = compare(job, tables, store).await?;
    if differences.is_empty() {
        return Ok(survey);
    }
    Err(Error::Schema { stream: ground.stream.clone(), differences: fitting::table_of(&differences) })
}

/// In what the source and the merge tables differ, so that they cannot be fitted; asked without a lock.
pub(crate) async fn differences(
    job: &IngestJob,
    source: &mut Session,
    store: &mut Session,
) -> Result<Vec<Difference>> {
    let tables = locate_all(job, source).await?;
    compare(job, tables, store).await.map(|(_, differences)| differences)
}

async fn compare(
    job: &IngestJob,
    tables: Vec<Table>,
    store: &mut Session,
) -> Result<(Survey, Vec<Difference>)> {
    let mut survey = Survey { pairs: Vec::with_capacity(tables.len()), rows_estimated: 0 };
    let mut differences = Vec::new();
    for (dataset, table) in job.stream.datasets.iter().zip(tables) {
        let merge = names::merge_table(&job.platform, &job.stream.store, &dataset.name);
        let merge = catalog::find(store, &merge).await?;
        survey.rows_estimated += estimate(&table);
        let names: BTreeSet<_> = missing_names(dataset, &table, merge.as_ref()).collect();
        let types = catalog::find_types(store, names).await?;
        match fit(job, dataset, &table, merge, &types) {
            Ok(pair) => survey.pairs.push(pair),
            Err(found) => differences.extend(found),
        }
    }
    Ok((survey, differences))
}

async fn locate_all(job: &IngestJob, source: &mut Session) -> Result<Vec<Table>> {
    let mut located = Vec::with_capacity(job.stream.datasets.len());
    for dataset in &job.stream.datasets {
        located.push(locate(job, dataset, source).await?);
    }
    Ok(located)
}

/// Finds a dataset's table by its whole name, or else by what stands before and behind the first dot.
async fn locate(job: &IngestJob, dataset: &Dataset, source: &mut Session) -> Result<Table> {
    let name = job.source_table(dataset);
    let mut found = catalog::find(source, name).await?;
    if let (None, Some((schema, table))) = (&found, name.split_once('.')) {
        found = catalog::find_quoted(source, &format!("{}.{}", ident(schema), ident(table))).await?;
    }
    let missing = || Error::MissingTable { endpoint: source.endpoint.to_string(), table: name.to_owned() };
    found.filter(|table| table.kind != RelationKind::Other).ok_or_else(missing)
}

fn warn_of_unlockable(ground: &Ground<IngestJob>, dataset: &Dataset, table: &Table) {
    if !table.kind.is_lockable() {
        let text = format!(
            "{} of dataset {:?} is a {}, which cannot be locked: should a table below it be rewritten while the \
             snapshot is taken, its rows would seem gone for this batch",
            table.qualified(),
            dataset.name,
            table.kind.name()
        );
        ground.notice(NoticeKind::Warning, text);
    }
}

fn begin(ground: &Ground<IngestJob>, located: &[Table]) -> String {
    let lockable = located.iter().filter(|table| table.kind.is_lockable());
    let tables: Vec<_> = lockable.map(Table::qualified).collect();
    let lock = match tables.is_empty() {
        true => String::new(),
        false => format!(" lock table {} in access share mode;", tables.join(", ")),
    };
    let name = literal(&format!("milestream {} {} ingest", ground.job.platform, ground.stream));
    format!("begin isolation level repeatable read read only; set local application_name = {name};{lock}")
}

async fn describe(source: &mut Session, table: &str) -> Result<Table> {
    let found = catalog::find_quoted(source, table).await?;
    found
        .ok_or_else(|| Error::MissingTable { endpoint: source.endpoint.to_string(), table: table.to_owned() })
}
