//! Who reads a source, who pulls from whom, and why some cannot.

use milestream_core::model::{CommandKind, MilestoneStrategy};
use milestream_core::resolve::{Overrides, Role, resolve};
use serde_json::{Value, json};

use crate::shop::{ANNEX, EDGE, HUB, HUB_PSP, ORDERS, Shop, pretty, shop};

/// Role and candidates of a platform for Orders.
fn route(shop: &Shop, platform: &str) -> String {
    let effective = shop.resolve(platform, "Orders").unwrap();
    format!("{} {}", effective.role.name(), effective.candidates().join(" ")).trim().to_owned()
}

fn why(shop: &Shop, platform: &str) -> String {
    shop.resolve(platform, "Orders").unwrap().why
}

fn refusal(shop: &Shop, platform: &str) -> String {
    shop.resolve(platform, "Orders").unwrap_err().to_string()
}

#[test]
fn a_platform_anywhere_in_the_list_reads_the_source_and_any_other_pulls_from_those_in_it() {
    let shop = shop().primaries(&["Hub", "Annex"]);
    assert_eq!(route(&shop, "Hub"), "primary");
    assert_eq!(route(&shop, "Annex"), "primary");
    assert_eq!(route(&shop, "Edge"), "secondary Hub Annex");
}

#[test]
fn a_store_without_primaries_is_read_by_everyone() {
    let shop = shop().pips(json!([{"storeName": "Staff", "dataPlatforms": ["Hub"]}]));
    assert_eq!(["Hub", "Annex", "Edge"].map(|platform| route(&shop, platform)), ["primary"; 3]);
}

#[test]
fn a_primary_gets_the_stores_own_command_as_it_is() {
    let shop = shop();
    let effective = shop.resolve("Hub", "Orders").unwrap();
    assert_eq!(effective.command.to_json().to_string(), shop.get(&format!("{ORDERS}/cmd")).to_string());
    let Role::Primary { container, credential, table_for_dataset } = &effective.role else { panic!() };
    assert_eq!(container.as_ref().unwrap().name(), Some("OrdersDB"));
    assert_eq!(credential.as_ref().unwrap().name, "orders");
    assert!(table_for_dataset.is_empty());
}

#[test]
fn a_secondary_gets_a_merge_ingestion_over_the_first_primarys_merge_store() {
    let shop = shop()
        .primaries(&["Annex", "Hub"])
        .set(&format!("{ORDERS}/cmd/tableForDataset"), json!({"orders": "only the source has that one"}));
    let effective = shop.resolve("Edge", "Orders").unwrap();
    insta::assert_snapshot!(pretty(&effective.command));
    let Role::Secondary { candidates, credential } = &effective.role else { panic!() };
    assert_eq!(credential.name, "edge");
    let stores: Vec<_> = candidates.iter().map(|candidate| candidate.merge_store.name().unwrap()).collect();
    assert_eq!(stores, ["MergeDB_Annex", "MergeDB_Hub"]);
}

#[test]
fn another_credential_can_be_named_for_what_is_read() {
    let shop = shop().primaries(&["Hub"]);
    let overrides = Overrides { from: None, credential: Some("reader".into()) };
    let secondary = resolve(&shop.model(), "Edge", "Orders", &overrides).unwrap();
    assert_eq!(secondary.command.to_json()["credential"]["name"], "reader");
    let primary = resolve(&shop.model(), "Hub", "Orders", &overrides).unwrap();
    assert_eq!(primary.command.to_json()["credential"]["name"], "reader");
    let Role::Primary { credential, .. } = primary.role else { panic!() };
    assert_eq!(credential.unwrap().name, "reader");
}

#[test]
fn a_live_only_primary_is_a_candidate_that_says_so() {
    let shop = shop().primaries(&["Edge"]);
    let Role::Secondary { candidates, .. } = shop.resolve("Hub", "Orders").unwrap().role else { panic!() };
    assert_eq!(candidates[0].milestone_strategy, MilestoneStrategy::LiveOnly);
}

#[test]
fn a_primary_on_another_database_is_a_candidate_whose_container_says_so() {
    let store = json!({"_type": "SQLServerDatabase", "name": "MS", "databaseName": "d", "future": [1.10]});
    let shop = shop().primaries(&["Hub"]).set(&format!("{HUB_PSP}/mergeStore"), store.clone());
    let effective = shop.resolve("Edge", "Orders").unwrap();
    assert_eq!(effective.command.to_json()["dataContainer"].to_string(), store.to_string());
}

#[test]
fn a_primary_that_cannot_be_pulled_from_is_passed_over() {
    let shop = shop().primaries(&["Hub", "Annex"]).without(&format!("{HUB_PSP}/mergeStore"));
    assert_eq!(route(&shop, "Edge"), "secondary Annex");
    insta::assert_snapshot!(why(&shop, "Edge"));
}

#[test]
fn a_forensic_secondary_can_be_pulled_from_when_it_is_named() {
    let shop = shop().primaries(&["Hub"]);
    let effective = shop.resolve_from(&["Annex"]).unwrap();
    let Role::Secondary { candidates, .. } = &effective.role else { panic!() };
    assert!(candidates[0].is_secondary);
    insta::assert_snapshot!(effective.why);
}

#[test]
fn a_store_without_primaries_can_be_pulled_from_a_platform_that_is_named() {
    let Role::Secondary { candidates, .. } = shop().resolve_from(&["Hub", "Annex"]).unwrap().role else {
        panic!()
    };
    let names: Vec<_> =
        candidates.iter().map(|candidate| (candidate.platform.as_str(), candidate.is_secondary)).collect();
    assert_eq!(names, [("Hub", false), ("Annex", false)]);
}

#[test]
fn a_store_whose_own_command_is_a_merge_ingestion_is_pulled_by_everyone() {
    let key = |name: &str| json!({"_type": "DataPlatformKey", "name": name});
    let shop = shop()
        .set(&format!("{ORDERS}/cmd/_type"), json!("SQLMergeIngestion"))
        .set(&format!("{ORDERS}/cmd/dataPlatform"), key("Hub"))
        .set(&format!("{ORDERS}/cmd/candidates"), json!([key("Hub"), key("Annex")]));
    let effective = shop.resolve("Edge", "Orders").unwrap();
    let expected = CommandKind::SqlMerge {
        platform: Some("Hub".into()),
        candidates: vec!["Hub".into(), "Annex".into()],
    };
    assert_eq!(effective.command.kind, expected);
    insta::assert_snapshot!(effective.why);
}

#[test]
fn an_effective_command_without_its_platform_is_routed_by_the_list_of_primaries() {
    let merge = shop().set(&format!("{ORDERS}/cmd/_type"), json!("SQLMergeIngestion"));
    let refused = refusal(&merge, "Edge");
    assert!(
        refused
            .ends_with("the platforms of the store's SQLMergeIngestion: there are none; name at least one")
    );
    let effective = merge.primaries(&["Hub"]).resolve("Edge", "Orders").unwrap();
    assert_eq!(effective.candidates(), ["Hub"]);
}

#[test]
fn reasons_are_given_in_a_sentence() {
    let shop = shop().primaries(&["Hub", "Annex"]);
    let reasons = [why(&shop, "Annex"), why(&shop, "Edge"), shop.resolve("Edge", "Staff").unwrap().why];
    insta::assert_snapshot!(reasons.join("\n"));
}

#[test]
fn names_that_are_not_in_the_model_are_answered_with_near_ones() {
    let shop = shop().primaries(&["Hub"]);
    let refusals = [
        shop.resolve("Egde", "Orders").unwrap_err().to_string(),
        shop.resolve("zzz", "Orders").unwrap_err().to_string(),
        shop.resolve("Edge", "order").unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
}

#[test]
fn a_platform_without_an_upstream_is_told_what_is_wrong_with_each() {
    let incomplete = shop()
        .primaries(&["Hub", "Annex"])
        .without(&format!("{HUB_PSP}/mergeStore"))
        .set(&format!("{ANNEX}/pspName"), json!("Anex_DP"));
    let live = shop().primaries(&["Hub"]).set(&format!("{ANNEX}/milestoneStrategy"), json!("live_only"));
    let refusals = [
        refusal(&incomplete, "Edge"),
        refusal(&shop().primaries(&["Hub", "Anex"]), "Edge"),
        refusal(&shop().primaries(&[]), "Edge"),
        live.resolve_from(&["Annex", "Edge", "Hubb"]).unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(refusals.join("\n\n"));
}

#[test]
fn contradictions_are_refused_and_not_guessed_at() {
    let twice = |platform: &str| {
        let mut other = shop().get(HUB);
        other["milestoneStrategy"] = json!("live_only");
        other["name"] = json!(platform);
        shop().primaries(&["Hub"]).push(&format!("{HUB_PSP}/dataPlatforms"), other)
    };
    let entry = |platform: &str| json!({"storeName": "Orders", "dataPlatforms": [platform]});
    let mut store: Value = shop().get(ORDERS);
    store["cmd"] = json!(null);
    let refusals = [
        refusal(&twice("Hub"), "Hub"),
        refusal(&twice("Hub"), "Edge"),
        refusal(&shop().pips(json!([entry("Hub"), entry("Annex")])), "Edge"),
        refusal(&shop().push("/datastores", store), "Edge"),
    ];
    insta::assert_snapshot!(refusals.join("\n\n"));
}

#[test]
fn what_a_route_needs_and_does_not_have_is_named() {
    let listed = Overrides { from: Some(vec!["Annex".into()]), credential: None };
    let refusals = [
        refusal(&shop().without(&format!("{ORDERS}/cmd")), "Hub"),
        refusal(
            &shop().primaries(&["Hub"]).without("/platformServicesProviders/2/mergeRW_Credential"),
            "Edge",
        ),
        refusal(&shop().primaries(&["Hub"]).set(&format!("{EDGE}/pspName"), json!("Egde_DP")), "Edge"),
        resolve(&shop().primaries(&["Hub"]).model(), "Hub", "Orders", &listed).unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
}
