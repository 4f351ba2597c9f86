//! Documents in every wrapping and notation, and what is said of those that are no model.

use milestream_core::model::{
    CommandKind, Credential, DataContainer, HostPort, IngestionCommand, MilestoneStrategy, Model,
    PostgresDatabase,
};
use serde_json::{Value, json};

use crate::shop::{HUB_PSP, ORDERS, ORDERS_SCHEMA, pretty, shop};

fn read(text: &str) -> Model {
    Model::from_documents([("x.json", text)]).unwrap()
}

fn refusal(documents: &[(&str, &str)]) -> String {
    Model::from_documents(documents.iter().copied()).unwrap_err().to_string()
}

fn orders_command(model: &Model) -> &IngestionCommand {
    model.datastore("Orders").unwrap().command.as_ref().unwrap()
}

#[test]
fn objects_of_a_model_are_found_at_any_depth_and_in_any_wrapper() {
    let platform =
        json!({"_type": "YellowDataPlatform", "name": "P", "pspName": "X", "milestoneStrategy": "live_only"});
    let wrapped = json!({"_type": "Repository", "zones": {"EU": [{"stuff": [1, {"it": platform}]}]}});
    assert_eq!(
        read(&wrapped.to_string()).platform("P").unwrap().milestone_strategy,
        MilestoneStrategy::LiveOnly
    );
    assert_eq!(read(&json!([platform]).to_string()).platforms().count(), 1);
    assert_eq!(read(&platform.to_string()).platforms().count(), 1);
}

#[test]
fn a_document_of_an_unknown_type_is_kept_and_contradicts_nothing() {
    let model =
        read(r#"{"_type": "TerraformModule", "size": 1.50, "b": null, "a": [100000000000000000001]}"#);
    assert_eq!(model.platforms().count() + model.datastores().count() + model.psps().count(), 0);
    assert_eq!(
        model.documents()[0].json().to_string(),
        r#"{"_type":"TerraformModule","size":1.50,"b":null,"a":[100000000000000000001]}"#
    );
}

#[test]
fn the_same_definition_in_two_documents_is_one_platform() {
    let platform = shop().get(crate::shop::HUB).to_string();
    let model =
        Model::from_documents([("a.json", platform.as_str()), ("b.json", platform.as_str())]).unwrap();
    assert_eq!(model.platforms().count(), 1);
}

#[test]
fn truths_may_be_numbers_or_words() {
    for (notation, nullable) in
        [(json!(0), false), (json!(1), true), (json!(false), false), (json!(true), true)]
    {
        let shop = shop().set(&format!("{ORDERS_SCHEMA}/columns/total/nullable"), notation.clone());
        let model = shop.model();
        let store = model.datastore("Orders").unwrap();
        let milestream_core::model::Schema::Table { columns, .. } = &store.datasets[0].schema else {
            panic!()
        };
        assert_eq!(columns[1].nullable, nullable);
        let written = model.documents()[0].json().pointer(&format!("{ORDERS_SCHEMA}/columns/total/nullable"));
        assert_eq!(written, Some(&notation));
    }
}

#[test]
fn a_mark_at_the_beginning_of_a_text_is_no_mistake() {
    assert_eq!(read("\u{feff}[]").pips().entries().count(), 0);
}

#[test]
fn containers_of_other_databases_are_kept_and_told_apart() {
    for type_name in ["SQLServerDatabase", "OracleDatabase", "DB2Database", "SnowFlakeDatabase", "Abacus"] {
        // No host and port: a container of another database may be of any shape.
        let container =
            json!({"_type": type_name, "name": "Elsewhere", "account": "xy12345", "port": "text"});
        let model = shop().set(&format!("{HUB_PSP}/mergeStore"), container.clone()).model();
        let found = model.psp_of("Hub").unwrap().merge_store.as_ref().unwrap();
        assert!(matches!(found, DataContainer::Other(_)) && found.postgres().is_none());
        assert_eq!(
            (found.type_name(), found.name(), found.to_json()),
            (type_name, Some("Elsewhere"), container)
        );
    }
}

#[test]
fn a_merge_ingestion_keeps_the_platform_that_it_refers_to() {
    let mut command = shop().get(&format!("{ORDERS}/cmd"));
    command["_type"] = json!("SQLMergeIngestion");
    command["dataPlatform"] = json!({"_type": "DataPlatformKey", "name": "Hub", "note": "kept"});
    command["candidates"] =
        json!([{"_type": "DataPlatformKey", "name": "Hub"}, {"_type": "DataPlatformKey", "name": "Annex"}]);
    let model = shop().set(&format!("{ORDERS}/cmd"), command.clone()).model();
    let read = orders_command(&model);
    let expected = CommandKind::SqlMerge {
        platform: Some("Hub".into()),
        candidates: vec!["Hub".into(), "Annex".into()],
    };
    assert_eq!(read.kind, expected);
    assert_eq!(read.to_json().to_string(), command.to_string());
}

#[test]
fn an_effective_command_as_datasurface_writes_it_names_no_platform() {
    let mut command = shop().get(&format!("{ORDERS}/cmd"));
    command["_type"] = json!("SQLMergeIngestion");
    let model = shop().primaries(&["Hub"]).set(&format!("{ORDERS}/cmd"), command.clone()).model();
    let read = orders_command(&model);
    assert_eq!(read.kind, CommandKind::SqlMerge { platform: None, candidates: Vec::new() });
    assert_eq!(read.to_json(), command);
}

#[test]
fn the_command_that_a_secondary_is_given_reads_back_as_it_was_made() {
    let shop = shop().primaries(&["Hub", "Annex"]);
    let effective = shop.resolve("Edge", "Orders").unwrap();
    let written = serde_json::to_value(&effective.command).unwrap();
    let again = shop.set(&format!("{ORDERS}/cmd"), written.clone()).model();
    let read = orders_command(&again);
    assert_eq!(read.kind, effective.command.kind);
    assert_eq!(
        (&read.container, &read.consistency),
        (&effective.command.container, &effective.command.consistency)
    );
    assert_eq!(read.credential.as_ref().unwrap().name, "edge");
    assert_eq!(read.to_json(), written);
}

#[test]
fn a_command_that_milestream_does_not_run_is_kept_whole() {
    let command =
        json!({"_type": "KafkaIngestion", "singleOrMultiDatasetIngestion": 0, "credential": "of any shape"});
    let model = shop().set(&format!("{ORDERS}/cmd"), command.clone()).model();
    let read = orders_command(&model);
    assert_eq!((&read.kind, read.to_json()), (&CommandKind::Other("KafkaIngestion".into()), command));
}

#[test]
fn tables_of_the_source_may_have_names_of_their_own() {
    let model =
        shop().set(&format!("{ORDERS}/cmd/tableForDataset"), json!({"orders": "ORDER_HEADER"})).model();
    let command = orders_command(&model);
    assert_eq!((command.table_of("orders"), command.table_of("lines")), ("ORDER_HEADER", "lines"));
}

#[test]
fn databases_and_credentials_that_are_made_here_are_written_as_datasurface_writes_them() {
    let host_port = HostPort { host_name: "db".into(), port: 5433 };
    insta::assert_snapshot!(pretty(&PostgresDatabase::new("MergeDB", host_port, "merge")));
    insta::assert_snapshot!(pretty(&Credential::user_password("hub")));
}

#[test]
fn a_database_that_was_moved_keeps_what_else_was_written_of_it() {
    let shop = shop().set(&format!("{HUB_PSP}/mergeStore/poolSize"), json!(5));
    let model = shop.model();
    let mut database = model.psp_of("Hub").unwrap().merge_store.as_ref().unwrap().postgres().unwrap().clone();
    assert_eq!(database.to_json(), shop.get(&format!("{HUB_PSP}/mergeStore")));
    database.host_port = HostPort { host_name: "127.0.0.1".into(), port: 6543 };
    let mut moved = shop.get(&format!("{HUB_PSP}/mergeStore"));
    moved["hostPort"] = json!({"_type": "HostPortPair", "hostName": "127.0.0.1", "port": 6543});
    assert_eq!(database.to_json(), moved);
}

#[test]
fn every_mistake_of_every_document_is_told_with_its_place() {
    let store = json!({
        "_type": "Datastore",
        "name": 7,
        "datasets": {
            "a b": {"name": "a b", "originalSchema": {"columns": {
                "x": {"name": "x", "type": "Date"},
                "y": {"type": {"type": "VarChar", "maxSize": "20"}, "nullable": "no"},
                "z": 1
            }, "primaryKeyColumns": {"colNames": "x"}}},
            "c": []
        },
        "cmd": {
            "_type": "SQLMergeIngestion",
            "singleOrMultiDatasetIngestion": 2,
            "dataContainer": {"_type": "PostgresDatabase", "name": "D", "databaseName": "d",
                "hostPort": {"hostName": "h", "port": 70000}},
            "credential": {"name": "c"},
            "tableForDataset": {"c": null}
        }
    });
    let psp = json!({"_type": "YellowPlatformServiceProvider", "mergeStore": {"_type": "PostgresDatabase"},
        "dataPlatforms": [{"_type": "YellowDataPlatform", "name": "P", "milestoneStrategy": "batch"}]});
    let pips = json!([{"storeName": "S", "dataPlatforms": ["P", 1]}, {"storeName": "T"}, 3]);
    let text = |json: &Value| serde_json::to_string_pretty(json).unwrap();
    let documents = [
        ("datastore.json", text(&store)),
        ("broken.json", "{\n \"a\": [1, 2\n}".to_owned()),
        ("psp.json", text(&psp)),
        ("twice.json", "{\n  \"datasets\": {\"a\": {},\n   \"a\": {}}}".to_owned()),
        ("empty.json", String::new()),
        ("pips.json", text(&pips)),
    ];
    let documents: Vec<_> = documents.iter().map(|(name, text)| (*name, text.as_str())).collect();
    insta::assert_snapshot!(refusal(&documents));
}

#[test]
fn what_is_nested_too_deeply_is_refused_and_not_followed() {
    let deep = "[".repeat(10_000);
    let shown = refusal(&[("deep.json", deep.as_str())]);
    assert!(shown.contains("recursion limit"), "{shown}");
}
