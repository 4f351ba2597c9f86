//! Whether every name means one thing, and a thing that Postgres can be told of.

use std::collections::HashMap;

use crate::model::{Found, Model};

use super::problem::{Place, Report};

pub(super) fn check(report: &mut Report<'_>) {
    let model = report.model;
    let finds = model.finds();
    for &document in &finds.strangers {
        report.warning(
            &Place::document(document),
            "the document holds nothing that Milestream knows: no Datastore, YellowPlatformServiceProvider or \
             YellowDataPlatform, and no PIP list",
            "check its `_type`, or move it out of the directory",
        );
    }
    if finds.datastores.is_empty() {
        report.error_of_all("the model has no datastore", "add a document of `_type` \"Datastore\"");
    }
    if finds.platforms.is_empty() {
        report.error_of_all(
            "the model has no data platform",
            "add a document of `_type` \"YellowPlatformServiceProvider\" with its dataPlatforms",
        );
    }
    each_once(report, model, "data platform", &finds.platforms, |platform| &platform.name);
    each_once(report, model, "provider", &finds.psps, |psp| &psp.name);
    each_once(report, model, "datastore", &finds.datastores, |store| &store.name);
}

/// The same definition may be in several documents, as DataSurface writes platforms alone and in their provider.
fn each_once<T>(
    report: &mut Report<'_>,
    model: &Model,
    what: &str,
    found: &[Found<T>],
    name_of: impl Fn(&T) -> &String,
) {
    let mut first_of: HashMap<&String, &Found<T>> = HashMap::new();
    for each in found {
        let name = name_of(&each.object);
        usable(report, &Place::of(each).key("name"), what, name);
        let first = *first_of.entry(name).or_insert(each);
        if !model.same(first, each) {
            report.error(
                &Place::of(each),
                format!("{what} {name:?} is defined differently in {}", model.place(first)),
                "keep one of the two definitions, or rename one",
            );
        }
    }
}

/// Names become parts of identifiers and keys.
pub(super) fn usable(report: &mut Report<'_>, place: &Place, what: &str, name: &str) {
    if name.is_empty() {
        report.error(place, format!("a {what} has an empty name"), "give it a name");
    }
    if name.contains('\0') {
        report.error(
            place,
            format!("the name of {what} {name:?} has a NUL character, which Postgres cannot store"),
            "rename it",
        );
    }
}
