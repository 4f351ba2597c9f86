//! Platforms and their providers.

use crate::model::DataContainer;
use crate::near::advice;

use super::problem::{Place, Report};
use super::secrets;

pub(super) fn check(report: &mut Report<'_>) {
    platforms(report);
    providers(report);
}

fn platforms(report: &mut Report<'_>) {
    let finds = report.model.finds();
    for found in &finds.platforms {
        let (platform, place) = (&found.object, Place::of(found));
        let known = || report.model.psps().map(|psp| psp.name.as_str());
        if !known().any(|name| name == platform.psp_name) {
            let remedy = advice(&platform.psp_name, known());
            report.error(
                &place.key("pspName"),
                format!(
                    "data platform {:?} belongs to the provider {:?}, which is not in the model",
                    platform.name, platform.psp_name
                ),
                remedy,
            );
        }
        let around = finds.psps.iter().find(|psp| place.is_within(&Place::of(psp)));
        if let Some(psp) = around.filter(|psp| psp.object.name != platform.psp_name) {
            report.warning(
                &place.key("pspName"),
                format!(
                    "data platform {:?} is listed by the provider {:?}, but says that it belongs to {:?}",
                    platform.name, psp.object.name, platform.psp_name
                ),
                "make the two agree; Milestream goes by pspName",
            );
        }
    }
}

fn providers(report: &mut Report<'_>) {
    for found in &report.model.finds().psps {
        let (psp, place) = (&found.object, Place::of(found));
        match &psp.merge_store {
            None => report.error(
                &place,
                format!("provider {:?} has no mergeStore, so its platforms have nowhere to keep data", psp.name),
                "add a PostgresDatabase as mergeStore",
            ),
            Some(DataContainer::Other(other)) => report.warning(
                &place.key("mergeStore"),
                format!("the mergeStore of provider {:?} is of type {}, which Milestream does not open", psp.name, other.type_name),
                "its platforms can be run by DataSurface; Milestream runs platforms on a PostgresDatabase, and pulls from \
                 no other",
            ),
            Some(DataContainer::Postgres(_)) => {}
        }
        match &psp.merge_credential {
            None => report.error(
                &place,
                format!("provider {:?} has no mergeRW_Credential to open its mergeStore with", psp.name),
                "add a Credential of type USER_PASSWORD",
            ),
            Some(credential) => secrets::check(report, &place.key("mergeRW_Credential"), credential),
        }
    }
}
