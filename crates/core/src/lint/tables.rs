//! Names that would meet in one database: tables of platforms, and keys of streams.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::model::{Consistency, DataContainer, Dataset, Datastore, Found, Platform};
use crate::names::{merge_table, platform_table, staging_table, stream_key};

use super::problem::{Place, Report};

/// Tables that a platform has once.
const CONTROL_TABLES: [&str; 7] = [
    "batch_counter",
    "batch_metrics",
    "airflow_dsg",
    "sync_stream",
    "sync_chunk",
    "sync_history",
    "sync_migration",
];

pub(super) fn check(report: &mut Report<'_>) {
    table_names(report);
    stream_keys(report);
}

/// Whose table it would be.
#[derive(Clone)]
struct Owner {
    place: Place,
    who: String,
}

/// Any platform may ingest any store, so every one is put together with every one.
fn table_names(report: &mut Report<'_>) {
    let finds = report.model.finds();
    let mut tables: HashMap<(String, String), Owner> = HashMap::new();
    let mut reported: HashSet<(Place, Place)> = HashSet::new();
    let mut seen = HashSet::new();
    for platform in finds.platforms.iter().filter(|platform| seen.insert(platform.object.name.as_str())) {
        let Some(database) = database_of(report, &platform.object) else { continue };
        for (table, owner) in tables_of(&finds.datastores, platform) {
            let first = match tables.entry((database.clone(), table)) {
                Entry::Vacant(free) => {
                    free.insert(owner);
                    continue;
                }
                Entry::Occupied(taken) => taken,
            };
            if first.get().place == owner.place
                || !reported.insert((first.get().place.clone(), owner.place.clone()))
            {
                continue;
            }
            report.error(
                &owner.place,
                format!(
                    "{} and {} would share the table {:?} of {database}",
                    owner.who,
                    first.get().who,
                    first.key().1
                ),
                "rename one, or give their platforms databases of their own",
            );
        }
    }
}

/// The database of the platform's tables, if it is one that Milestream opens.
fn database_of(report: &Report<'_>, platform: &Platform) -> Option<String> {
    let psp = report.model.psp_of(&platform.name)?;
    let database = psp.merge_store.as_ref().and_then(DataContainer::postgres)?;
    let host_port = &database.host_port;
    Some(format!("{}:{}/{}", host_port.host_name.to_lowercase(), host_port.port, database.database_name))
}

/// The tables of a platform, the control tables first. A clash of tables of one platform is the datasets' fault, and
/// any other one is the platforms'.
fn tables_of(stores: &[Found<Datastore>], platform: &Found<Platform>) -> Vec<(String, Owner)> {
    let name = &platform.object.name;
    let own = Owner { place: Place::of(platform), who: format!("data platform {name:?}") };
    let mut tables: Vec<(String, Owner)> =
        CONTROL_TABLES.iter().map(|suffix| (platform_table(name, suffix), own.clone())).collect();
    let mut seen = HashSet::new();
    for store in stores.iter().filter(|store| seen.insert(store.object.name.as_str())) {
        let mut datasets = HashSet::new();
        for dataset in store.object.datasets.iter().filter(|dataset| datasets.insert(dataset.name.as_str())) {
            let owner = Owner {
                place: place_of(store, dataset),
                who: format!("dataset {:?} of datastore {:?}", dataset.name, store.object.name),
            };
            tables.push((merge_table(name, &store.object.name, &dataset.name), owner.clone()));
            tables.push((staging_table(name, &store.object.name, &dataset.name), owner));
        }
    }
    tables
}

fn place_of(store: &Found<Datastore>, dataset: &Dataset) -> Place {
    Place::of(store).keys(["datasets", &dataset.key])
}

/// Streams are found in the control tables by their keys.
fn stream_keys(report: &mut Report<'_>) {
    let mut keys: HashMap<String, (Place, String)> = HashMap::new();
    let mut stores = HashSet::new();
    for store in &report.model.finds().datastores {
        if !stores.insert(&store.object.name) {
            continue;
        }
        for (key, place, who) in streams(store) {
            match keys.entry(key) {
                Entry::Vacant(free) => {
                    free.insert((place, who));
                }
                Entry::Occupied(first) if first.get().0 != place => report.error(
                    &place,
                    format!("{who} and {} would share the stream key {:?}", first.get().1, first.key()),
                    "rename one",
                ),
                Entry::Occupied(_) => {}
            }
        }
    }
}

fn streams(store: &Found<Datastore>) -> Vec<(String, Place, String)> {
    let name = &store.object.name;
    match store.object.command.as_ref().and_then(|command| command.consistency) {
        Some(Consistency::SingleDataset) => {
            let stream = |dataset: &Dataset| {
                let who = format!("dataset {:?} of datastore {name:?}", dataset.name);
                (stream_key(name, Some(&dataset.name)), place_of(store, dataset), who)
            };
            store.object.datasets.iter().map(stream).collect()
        }
        _ => vec![(stream_key(name, None), Place::of(store), format!("datastore {name:?}"))],
    }
}
