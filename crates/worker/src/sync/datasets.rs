//! Which datasets of a stream a sync is about: those that it holds go on by increments; one that came to the model is
//! seeded by itself as of the watermark; one that left it stays as it is.

use std::collections::BTreeSet;

use milestream_core::milestone::PrimaryBatch;
use milestream_core::names;
use milestream_core::stream::Dataset;

use super::job::{Job, Upstream};
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::catalog;
use crate::postgres::read::Relation;
use crate::postgres::sql::ident;
use crate::tables::streams::{Flight, StreamRow};

/// The datasets of a stream that has a watermark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    /// Of the model, and of the watermark: what an increment brings on.
    pub(crate) held: BTreeSet<String>,
    /// Of the model, and not of the watermark.
    pub(crate) came: BTreeSet<String>,
    /// Of the watermark, and not of the model any more.
    pub(crate) left: BTreeSet<String>,
}

impl Roster {
    /// Compares the model with the datasets that the stream had at its watermark. A watermark that does not say which
    /// these were is taken to stand for those of the model.
    pub(crate) fn of(job: &Job, row: &StreamRow) -> Roster {
        let model: BTreeSet<String> =
            job.stream.datasets.iter().map(|dataset| dataset.name.clone()).collect();
        let held: BTreeSet<String> =
            row.schema_versions.iter().flat_map(|held| held.keys().cloned()).collect();
        if held.is_empty() {
            return Roster { held: model, ..Roster::default() };
        }
        Roster {
            came: model.difference(&held).cloned().collect(),
            left: held.difference(&model).cloned().collect(),
            held: model.intersection(&held).cloned().collect(),
        }
    }
}

/// The datasets of the model that a plan is about, in the model's order.
pub(crate) fn of_flight<'j>(job: &'j Job, flight: &Flight) -> Vec<&'j Dataset> {
    job.stream.datasets.iter().filter(|dataset| flight.shapes.contains_key(&dataset.name)).collect()
}

/// The datasets of the model that have these names, in the model's order.
pub(crate) fn named<'j>(job: &'j Job, names: &BTreeSet<String>) -> Vec<&'j Dataset> {
    job.stream.datasets.iter().filter(|dataset| names.contains(&dataset.name)).collect()
}

/// Of these datasets, those whose table the primary has. The model may be ahead of it.
pub(super) async fn on_primary(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    datasets: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let found = tables(job, upstream, primary, datasets).await?;
    Ok(found.into_iter().filter(|(_, table)| table.is_some()).map(|(dataset, _)| dataset).collect())
}

/// What the primary's batches may have counted beside the datasets of an increment, so that the ledger counts it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Apart {
    /// Tables of the primary that are counted.
    pub(super) relations: Vec<Relation>,
    /// Datasets that were counted, and whose tables are not there or not to be read.
    pub(super) missing: Vec<String>,
}

/// Finds the tables of datasets that the increment does not bring: `counted` by the primary's batches, or `left`.
pub(super) async fn apart(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    counted: &BTreeSet<String>,
    left: &BTreeSet<String>,
) -> Result<Apart> {
    let mut apart = Apart::default();
    for dataset in counted.union(left) {
        let found = match tables(job, upstream, primary, &BTreeSet::from([dataset.clone()])).await {
            // What the stream does not bring it need not be allowed to read.
            Err(Error::MissingRight { .. }) => None,
            found => found?.into_iter().find_map(|(_, table)| table),
        };
        match found {
            Some((table, lockable)) => {
                let dataset = dataset.clone();
                let (leaves, columns) = (Vec::new(), Vec::new());
                apart.relations.push(Relation { dataset, table, lockable, leaves, columns });
            }
            None if counted.contains(dataset) => apart.missing.push(dataset.clone()),
            None => {}
        }
    }
    Ok(apart)
}

type Found = Option<(String, bool)>;

async fn tables(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    datasets: &BTreeSet<String>,
) -> Result<Vec<(String, Found)>> {
    if datasets.is_empty() {
        return Ok(Vec::new());
    }
    let name = |dataset: &String| ident(&names::merge_table(&upstream.platform, &job.stream.store, dataset));
    let names: Vec<String> = datasets.iter().map(name).collect();
    let found = catalog::find_all(primary, &names).await?;
    let found =
        found.into_iter().map(|table| table.map(|table| (table.qualified(), table.kind.is_lockable())));
    Ok(datasets.iter().cloned().zip(found).collect())
}

/// What there is to say of datasets that a sync leaves out.
pub(super) fn notes(
    job: &Job,
    upstream: &Upstream,
    watermark: PrimaryBatch,
    roster: &Roster,
    waiting: &BTreeSet<String>,
) -> Vec<String> {
    let merge = |dataset: &str| ident(&names::merge_table(&job.platform, &job.stream.store, dataset));
    let left = roster.left.iter().map(|dataset| {
        let table = merge(dataset);
        format!("dataset {dataset:?} is not in the model any more: {table} stays as it is, as of batch {watermark}")
    });
    let waiting = waiting.iter().map(|dataset| {
        let primary = &upstream.platform;
        format!("dataset {dataset:?} is new in the model, and {primary} has no table of it yet: it comes when there is one")
    });
    left.chain(waiting).collect()
}
