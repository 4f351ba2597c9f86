//! Datastores and their ingestion commands.

use crate::model::{CommandKind, DataContainer, Datastore, IngestionCommand};
use crate::near::advice;

use super::problem::{Place, Report};
use super::{secrets, shapes};

pub(super) fn check(report: &mut Report<'_>) {
    for found in &report.model.finds().datastores {
        let (store, place) = (&found.object, Place::of(found));
        match &store.command {
            None => report.error(
                &place,
                format!("datastore {:?} has no cmd, so no platform can ingest it", store.name),
                "add one, such as an SQLSnapshotIngestion",
            ),
            Some(own) => command(report, &place.key("cmd"), store, own),
        }
        shapes::check(report, &place, store);
    }
}

fn command(report: &mut Report<'_>, place: &Place, store: &Datastore, command: &IngestionCommand) {
    if command.consistency.is_none() {
        report.error(
            place,
            format!("datastore {:?} does not say whether its datasets share their batches", store.name),
            "set singleOrMultiDatasetIngestion to 0 (each has its own) or 1 (they share them)",
        );
    }
    match &command.kind {
        CommandKind::Other(type_name) => {
            report.warning(
                place,
                format!("datastore {:?} is ingested by {type_name}, which Milestream does not run", store.name),
                "let DataSurface run its primary ingestion platforms; Milestream runs the platforms that pull from them",
            );
            return;
        }
        CommandKind::SqlSnapshot => source(report, place, store, command),
        CommandKind::SqlMerge { platform, candidates } => {
            if let Some(platform) = platform {
                upstream(report, &place.key("dataPlatform"), platform);
            }
            for (index, candidate) in candidates.iter().enumerate() {
                upstream(report, &place.key("candidates").index(index), candidate);
            }
            if platform.is_none() && candidates.is_empty() {
                nowhere(report, place, store);
            }
        }
    }
    if let Some(credential) = &command.credential {
        secrets::check(report, &place.key("credential"), credential);
    }
    tables(report, &place.key("tableForDataset"), store, command);
}

fn source(report: &mut Report<'_>, place: &Place, store: &Datastore, command: &IngestionCommand) {
    match &command.container {
        None => report.error(
            place,
            format!("the cmd of datastore {:?} has no dataContainer to read", store.name),
            "add the PostgresDatabase that holds its tables",
        ),
        Some(DataContainer::Other(other)) => report.warning(
            &place.key("dataContainer"),
            format!("the source of datastore {:?} is of type {}, which Milestream does not open", store.name, other.type_name),
            "let DataSurface run its primary ingestion platforms; Milestream runs the platforms that pull from them",
        ),
        Some(DataContainer::Postgres(_)) => {}
    }
    if command.credential.is_none() {
        report.error(
            place,
            format!("the cmd of datastore {:?} has no credential to read its source with", store.name),
            "add a Credential of type USER_PASSWORD",
        );
    }
}

/// DataSurface writes an effective command without its platform; the list of primaries says then whom to pull from.
fn nowhere(report: &mut Report<'_>, place: &Place, store: &Datastore) {
    if report.model.pips().of(&store.name).is_none() {
        report.error(
            place,
            format!(
                "the SQLMergeIngestion of datastore {:?} has no dataPlatform, and the store no primary ingestion platforms: \
                 there is nobody to pull from",
                store.name
            ),
            "name the primary in dataPlatform, or list the store in primary_ingestion_platforms.json",
        );
    }
}

fn upstream(report: &mut Report<'_>, place: &Place, platform: &str) {
    if report.model.platform(platform).is_none() {
        let remedy = advice(platform, report.model.platforms().map(|known| known.name.as_str()));
        report.error(place, format!("data platform {platform:?} is not in the model"), remedy);
    }
}

fn tables(report: &mut Report<'_>, place: &Place, store: &Datastore, command: &IngestionCommand) {
    for (dataset, table) in &command.table_for_dataset {
        if store.dataset(dataset).is_none() {
            let remedy = advice(dataset, store.datasets.iter().map(|known| known.name.as_str()));
            report.error(
                &place.key(dataset),
                format!(
                    "a table is named for dataset {dataset:?}, which datastore {:?} does not have",
                    store.name
                ),
                remedy,
            );
        }
        super::names::usable(report, &place.key(dataset), "table", table);
    }
}
