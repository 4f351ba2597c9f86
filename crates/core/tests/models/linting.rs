//! What lint finds, all at once.

use milestream_core::lint::{LintContext, Severity, lint};
use milestream_core::model::Model;
use serde_json::{Value, json};

use crate::shop::{ANNEX, EDGE, HUB, HUB_PSP, ORDERS, ORDERS_SCHEMA, Shop, shop, shown};

#[test]
fn a_sound_model_has_no_problems() {
    assert_eq!(shop().primaries(&["Hub", "Annex"]).lint(), "");
}

#[test]
fn names_that_lead_nowhere_are_found() {
    let key = |name: &str| json!({"_type": "DataPlatformKey", "name": name});
    let shop = shop()
        .pips(json!([
            {"storeName": "Order", "dataPlatforms": ["Hubb", "Hub"]},
            {"storeName": "Staff", "dataPlatforms": []},
            {"storeName": "Orders", "dataPlatforms": ["Hub", "Hub", "Edge"]},
            {"storeName": "Orders", "dataPlatforms": ["Annex"]}
        ]))
        .set(&format!("{ANNEX}/pspName"), json!("Anex_DP"))
        .set(&format!("{ORDERS}/cmd/tableForDataset"), json!({"order": "ORDERS", "orders": ""}))
        .set("/datastores/1/cmd/_type", json!("SQLMergeIngestion"))
        .set("/datastores/1/cmd/dataPlatform", key("Hubb"))
        .set("/datastores/1/cmd/candidates", json!([key("Hubb"), key("Annex")]));
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn a_merge_ingestion_that_names_nobody_needs_primary_ingestion_platforms() {
    let merge = || shop().set(&format!("{ORDERS}/cmd/_type"), json!("SQLMergeIngestion"));
    insta::assert_snapshot!(merge().lint(), @r#"
    error: model.json:133:14: $.datastores[0].cmd: the SQLMergeIngestion of datastore "Orders" has no dataPlatform, and the store no primary ingestion platforms: there is nobody to pull from
      name the primary in dataPlatform, or list the store in primary_ingestion_platforms.json
    "#);
    assert_eq!(merge().primaries(&["Hub"]).lint(), "");
}

#[test]
fn a_geography_is_no_problem() {
    let place = json!({"type": "Geography", "srs": {"_type": "SpatialReferenceSystem", "srid": 4326, "name": "WGS84"}});
    let shop = shop().set(&format!("{ORDERS_SCHEMA}/columns/place"), json!({"name": "place", "type": place}));
    assert_eq!(shop.lint(), "");
}

#[test]
fn primaries_of_which_none_can_be_pulled_from_are_found() {
    let shop = shop()
        .primaries(&["Hub", "Annex"])
        .without(&format!("{HUB_PSP}/mergeStore"))
        .set(&format!("{ANNEX}/pspName"), json!("Elsewhere"));
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn shapes_that_make_no_table_are_found() {
    let column = |name: &str, column_type: Value| json!({"name": name, "type": column_type});
    let long = |end: &str| format!("{}{end}", "c".repeat(63));
    let shop = shop()
        .set(&format!("{ORDERS_SCHEMA}/primaryKeyColumns"), json!({"colNames": ["id", "idd", "id", "total"]}))
        .set(&format!("{ORDERS_SCHEMA}/columns/id/nullable"), json!(1))
        .set(&format!("{ORDERS_SCHEMA}/columns/extra"), json!({"name": "extra", "primaryKey": 1, "type": {"type": "Date"}}))
        .set(&format!("{ORDERS_SCHEMA}/columns/again"), column("id", json!({"type": "Date"})))
        .set(&format!("{ORDERS_SCHEMA}/columns/misfiled"), column("other", json!({"type": "Date"})))
        .set(&format!("{ORDERS_SCHEMA}/columns/{}", long("1")), column(&long("1"), json!({"type": "Date"})))
        .set(&format!("{ORDERS_SCHEMA}/columns/{}", long("2")), column(&long("2"), json!({"type": "Date"})))
        .set(&format!("{ORDERS_SCHEMA}/columns/ds_surf_iud"), column("ds_surf_iud", json!({"type": "Date"})))
        .set(&format!("{ORDERS_SCHEMA}/columns/tiny"), column("tiny", json!({"type": "TinyInt"})))
        .set(&format!("{ORDERS_SCHEMA}/columns/none"), column("none", json!({"type": "VarChar", "maxSize": 0})))
        .set(&format!("{ORDERS_SCHEMA}/columns/wide"), column("wide", json!({"type": "VarChar", "maxSize": 10_485_761})))
        .set(&format!("{ORDERS_SCHEMA}/columns/blob"), column("blob", json!({"type": "Variant", "maxSize": 1_000_000_000})))
        .set(&format!("{ORDERS_SCHEMA}/columns/digits"), column("digits", json!({"type": "Decimal", "maxSize": 2, "precision": 3})))
        .set(&format!("{ORDERS_SCHEMA}/columns/loose"), column("loose", json!({"type": "Decimal", "precision": 3})))
        .set(&format!("{ORDERS_SCHEMA}/columns/nul"), column("nu\u{0}l", json!({"type": "Date"})))
        .set(&format!("{ORDERS}/datasets/bare"), json!({"name": "bare"}))
        .set(&format!("{ORDERS}/datasets/avro"), json!({"name": "avro", "originalSchema": {"_type": "AvroSchema"}}))
        .set(&format!("{ORDERS}/datasets/empty"), json!({"name": "empty", "originalSchema": {"columns": {}}}))
        .set(&format!("{ORDERS}/datasets/twin"), json!({"name": "empty", "originalSchema": null}))
        .set(&format!("{ORDERS}/datasets/keyless"), json!({"name": "keyless", "originalSchema": {"columns": {"a": column("a", json!({"type": "Date"}))}}}))
        .set(&format!("{ORDERS}/datasets/misfiled"), json!({"name": "", "originalSchema": null}))
        .set("/datastores/1/datasets", json!({}));
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn columns_with_names_that_no_table_can_have_are_found() {
    let names =
        ["xmin", "tableoid", "ds_surf_held", "remote_ds_surf_batch_in", "DS_SURF_BATCH_IN", "CTID", "oid"];
    let column = |name: &str| json!({"name": name, "type": {"type": "Date"}});
    let with = |shop: Shop, name: &str| shop.set(&format!("{ORDERS_SCHEMA}/columns/{name}"), column(name));
    insta::assert_snapshot!(names.into_iter().fold(shop(), with).lint());
}

#[test]
fn datasets_that_differ_only_in_case_are_found() {
    let mut capitals = shop().get(&format!("{ORDERS}/datasets/orders"));
    capitals["name"] = json!("Orders");
    insta::assert_snapshot!(shop().set(&format!("{ORDERS}/datasets/Orders"), capitals).lint());
}

#[test]
fn commands_and_services_that_are_not_complete_are_found() {
    let shop = shop()
        .without(&format!("{ORDERS}/cmd/dataContainer"))
        .without(&format!("{ORDERS}/cmd/credential"))
        .without(&format!("{ORDERS}/cmd/singleOrMultiDatasetIngestion"))
        .without("/datastores/1/cmd")
        .without(&format!("{HUB_PSP}/mergeRW_Credential"))
        .set("/platformServicesProviders/1/mergeRW_Credential/credentialType", json!("API_TOKEN"))
        .without("/platformServicesProviders/2/mergeStore");
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn what_milestream_does_not_open_or_run_is_a_warning_that_says_what_works() {
    let shop = shop()
        .set(&format!("{ORDERS}/cmd/dataContainer"), json!({"_type": "OracleDatabase", "name": "Ora"}))
        .set("/datastores/1/cmd", json!({"_type": "KafkaIngestion", "singleOrMultiDatasetIngestion": 0}))
        .set("/platformServicesProviders/1/mergeStore", json!({"_type": "SnowFlakeDatabase"}));
    let problems = lint(&shop.model(), &LintContext::default());
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn credentials_without_a_value_are_found_by_their_names() {
    let has_credential: &dyn Fn(&str) -> bool = &|name| name != "edge" && name != "orders";
    let problems = lint(&shop().model(), &LintContext { has_credential: Some(has_credential) });
    let shown: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    insta::assert_snapshot!(shown);
}

#[test]
fn definitions_that_contradict_each_other_are_found_and_equal_ones_are_not() {
    let mut other = shop().get(EDGE);
    other["stagingBatchesToKeep"] = json!(6);
    let shop = shop()
        .push("/platformServicesProviders/2/dataPlatforms", shop().get(EDGE))
        .push("/platformServicesProviders/1/dataPlatforms", other)
        .push("/datastores", shop().get(ORDERS))
        .pips(json!([
            {"storeName": "Orders", "dataPlatforms": ["Hub"]},
            {"storeName": "Orders", "dataPlatforms": ["Hub"]}
        ]));
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn tables_that_would_meet_in_one_database_are_found() {
    let merge_store = shop().get(&format!("{HUB_PSP}/mergeStore"));
    let mut lines = shop().get(&format!("{ORDERS}/datasets/orders"));
    lines["name"] = json!("ORDERS");
    let mut capitals = shop().get(HUB);
    capitals["name"] = json!("HUB");
    let shop = shop()
        .set("/platformServicesProviders/1/mergeStore", merge_store)
        .set(&format!("{ANNEX}/name"), json!("Hub_Orders"))
        .set("/datastores/1/name", json!("Orders_Orders"))
        .set("/datastores/1/datasets", json!({"orders": shop().get(&format!("{ORDERS}/datasets/orders"))}))
        .set(&format!("{ORDERS}/datasets/ORDERS"), lines)
        .push(&format!("{HUB_PSP}/dataPlatforms"), capitals);
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn streams_that_would_share_a_key_are_found() {
    let shop = shop()
        .set(&format!("{ORDERS}/cmd/singleOrMultiDatasetIngestion"), json!(0))
        .set("/datastores/1/name", json!("Orders#orders"));
    insta::assert_snapshot!(shop.lint());
}

#[test]
fn a_directory_without_a_model_is_an_error() {
    let documents = [("terraform.json", r#"{"_type": "TerraformModule"}"#), ("list.json", "[1]")];
    insta::assert_snapshot!(shown(&Model::from_documents(documents).unwrap()));
    insta::assert_snapshot!(shown(&Model::default()));
}

#[test]
fn problems_are_written_for_programs_with_their_places() {
    let shop = shop().primaries(&["Hubb"]);
    let problems = lint(&shop.model(), &LintContext::default());
    insta::assert_snapshot!(serde_json::to_string_pretty(&problems).unwrap());
}
