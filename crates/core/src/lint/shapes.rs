//! Datasets and their keys.

use std::collections::HashMap;

use crate::model::{Column, Dataset, Datastore, Schema};
use crate::near::{advice, quoted};

use super::columns;
use super::names::usable;
use super::problem::{Place, Report};

pub(super) fn check(report: &mut Report<'_>, store_place: &Place, store: &Datastore) {
    if store.datasets.is_empty() {
        report.error(
            store_place,
            format!("datastore {:?} has no datasets", store.name),
            "add one, or leave the store out",
        );
    }
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for dataset in &store.datasets {
        let place = store_place.keys(["datasets", &dataset.key]);
        usable(report, &place.key("name"), "dataset", &dataset.name);
        if let Some(first) = seen.insert(&dataset.name, &dataset.key) {
            report.error(
                &place.key("name"),
                format!(
                    "datastore {:?} has two datasets named {:?}, here and under {first:?}",
                    store.name, dataset.name
                ),
                "rename one",
            );
        } else if dataset.name != dataset.key {
            report.error(
                &place.key("name"),
                format!("the dataset under {:?} calls itself {:?}", dataset.key, dataset.name),
                "make the two agree; Milestream goes by the dataset's own name",
            );
        }
        shape(report, &place, dataset);
    }
}

fn shape(report: &mut Report<'_>, place: &Place, dataset: &Dataset) {
    let name = &dataset.name;
    let remedy = "give it a DDLTable with columns as originalSchema";
    match &dataset.schema {
        Schema::Missing => report.error(place, format!("dataset {name:?} has no schema"), remedy),
        Schema::Other(type_name) => report.error(
            &place.key("originalSchema"),
            format!(
                "the schema of dataset {name:?} is of type {type_name}, of which Milestream cannot make a table"
            ),
            remedy,
        ),
        Schema::Table { columns, .. } if columns.is_empty() => {
            report.error(&place.key("originalSchema"), format!("dataset {name:?} has no columns"), remedy);
        }
        Schema::Table { columns, key } => {
            let place = place.key("originalSchema");
            columns::check(report, &place, columns);
            check_key(report, &place, dataset, columns, key.as_deref());
        }
    }
}

fn check_key(
    report: &mut Report<'_>,
    schema: &Place,
    dataset: &Dataset,
    columns: &[Column],
    named: Option<&[String]>,
) {
    let key = dataset.schema.key();
    if key.is_empty() {
        report.error(
            schema,
            format!("dataset {:?} has no key, so its records cannot be told apart", dataset.name),
            "name the columns that identify a record in primaryKeyColumns",
        );
    }
    let names = schema.keys(["primaryKeyColumns", "colNames"]);
    for (index, part) in key.iter().enumerate() {
        let place = if named.is_some() { names.index(index) } else { schema.clone() };
        if key[..index].contains(part) {
            report.error(&place, format!("the key names column {part:?} twice"), "name it once");
            continue;
        }
        match columns.iter().find(|column| column.name == *part) {
            None => {
                let remedy = advice(part, columns.iter().map(|column| column.name.as_str()));
                report.error(
                    &place,
                    format!("the key names column {part:?}, which dataset {:?} does not have", dataset.name),
                    remedy,
                );
            }
            Some(column) if column.nullable => report.error(
                &schema.keys(["columns", &column.key, "nullable"]),
                format!("key column {part:?} is nullable, and records without a key cannot be told apart"),
                "declare it not nullable, or choose another key",
            ),
            Some(_) => {}
        }
    }
    check_flags(report, schema, columns, &key);
}

/// Columns say once more whether they are part of the key.
fn check_flags(report: &mut Report<'_>, schema: &Place, columns: &[Column], key: &[String]) {
    let flagged: Vec<&str> =
        columns.iter().filter(|column| column.primary_key).map(|column| column.name.as_str()).collect();
    let stray: Vec<&str> = flagged.into_iter().filter(|name| !key.iter().any(|part| part == name)).collect();
    if !key.is_empty() && !stray.is_empty() {
        report.warning(
            schema,
            format!(
                "{} calls itself part of the key, and primaryKeyColumns does not name it",
                quoted(&stray, " and ")
            ),
            "make the two agree; Milestream goes by primaryKeyColumns",
        );
    }
}
