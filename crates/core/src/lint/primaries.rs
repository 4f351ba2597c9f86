//! The PIP list: whether the stores and platforms that it names exist, and can be pulled from.

use std::collections::HashMap;

use crate::model::{Found, PipEntry};
use crate::near::advice;
use crate::resolve::judge_primaries;

use super::problem::{Place, Report};

pub(super) fn check(report: &mut Report<'_>) {
    let model = report.model;
    let mut first_of: HashMap<&str, &Found<PipEntry>> = HashMap::new();
    for found in &model.finds().pip_entries {
        let (entry, place) = (&found.object, Place::of(found));
        if model.datastore(&entry.store_name).is_none() {
            let remedy = advice(&entry.store_name, model.datastores().map(|store| store.name.as_str()));
            report.error(
                &place.key("storeName"),
                format!("datastore {:?} is not in the model", entry.store_name),
                remedy,
            );
        }
        platforms(report, &place.key("dataPlatforms"), entry);
        let first = *first_of.entry(&entry.store_name).or_insert(found);
        if std::ptr::eq(first, found) {
            continue;
        }
        let what = format!("datastore {:?} has another entry in {}", entry.store_name, model.place(first));
        if model.same(first, found) {
            report.warning(&place, what, "keep one of the two");
        } else {
            report.error(
                &place,
                what,
                "keep one of the two, with all of the store's primary ingestion platforms",
            );
        }
    }
}

fn platforms(report: &mut Report<'_>, place: &Place, entry: &PipEntry) {
    let model = report.model;
    let (store, names) = (&entry.store_name, &entry.data_platforms);
    if names.is_empty() {
        report.error(
            place,
            format!("datastore {store:?} has an entry without platforms, so none reads its source"),
            "name at least one platform, or remove the entry to let every platform read the source",
        );
    }
    for (index, name) in names.iter().enumerate() {
        let place = place.index(index);
        match model.platform(name) {
            None => {
                let remedy = advice(name, model.platforms().map(|known| known.name.as_str()));
                report.error(&place, format!("data platform {name:?} is not in the model"), remedy);
            }
            Some(_) if names[..index].contains(name) => {
                report.warning(&place, format!("data platform {name:?} is named twice"), "name it once");
            }
            Some(platform) if !platform.is_forensic() => report.warning(
                &place,
                format!("data platform {name:?} is live_only: it keeps no history that other platforms could follow by batches"),
                "name a batch_milestoned platform first if others are to pull from it",
            ),
            Some(_) => {}
        }
    }
    let (fitting, misfits) = judge_primaries(model, store, names);
    let known = misfits.iter().filter(|(name, _)| model.platform(name).is_some());
    let reasons: Vec<String> = known.map(|(name, misfit)| format!("{name:?}: {misfit}")).collect();
    if fitting == 0 && !reasons.is_empty() {
        report.error(
            place,
            format!(
                "no platform can pull datastore {store:?} from its primary ingestion platforms: {}",
                reasons.join("; ")
            ),
            "complete one of them, or name another",
        );
    }
}
