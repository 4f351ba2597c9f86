//! `plan` and `lint --connect` see what a sync would halt on, also where there is nothing to do.

use milestream_tests::System;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");

/// A system in which everything is synced.
async fn synced() -> System {
    let columns = [("id", json!({"type": "Integer"})), ("state", json!({"type": "VarChar", "maxSize": 20}))];
    let source = "create schema shop; create table shop.orders (id integer primary key, state varchar(20)); \
                  insert into shop.orders select id, 'new' from generate_series(1, 50) id";
    let system = System::new(BINARY, &columns, source).await;
    system.grant_all().await;
    system.synced("Hub");
    system.grant_all().await;
    system.synced("Edge");
    system
}

/// What `plan` says of a platform's stream, as JSON.
fn plan(system: &System, platform: &str) -> Value {
    let ended = system.run(&["plan", "--platform", platform, "--store", "Shop", "--output", "json"]);
    let plans: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    plans[0].clone()
}

/// What `plan` and `lint --connect` say, which must both name it.
fn foreseen(system: &System, platform: &str, what: &str) {
    let ended = system.of("plan", platform);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains(what), "plan: {what} is not in {told}");
    let ended = system.run(&["lint", "--connect"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.contains(what), "lint --connect: {what} is not in {ended:?}");
}

#[tokio::test]
async fn a_sound_system_has_nothing_to_complain_of() {
    let system = synced().await;
    assert_eq!(plan(&system, "Edge")["next"], "nothing");
    assert_eq!(plan(&system, "Hub")["next"], "ingest");
    assert_eq!(plan(&system, "Archive")["next"], "sync");
    let ended = system.run(&["lint", "--connect"]);
    assert!(ended.status.success() && ended.stdout.contains("no problem found"), "{ended:?}");
}

#[tokio::test]
async fn a_column_that_the_source_lost_is_no_batch_to_ingest() {
    let system = synced().await;
    system.execute("source", "alter table shop.orders drop column state").await;
    let plan = plan(&system, "Hub");
    assert_eq!(plan["next"], "source_differences", "{plan}");
    assert_eq!(plan["differences"][0]["column"], "state", "{plan}");
    foreseen(&system, "Hub", "the source lacks the column");
}

#[tokio::test]
async fn a_source_table_that_is_gone_is_named() {
    let system = synced().await;
    system.execute("source", "drop table shop.orders").await;
    foreseen(&system, "Hub", "has no table shop.orders");
}

#[tokio::test]
async fn a_key_of_the_source_that_may_be_null_is_named() {
    let system = synced().await;
    let loosen = "alter table shop.orders drop constraint orders_pkey; \
                  alter table shop.orders alter column id drop not null";
    system.execute("source", loosen).await;
    foreseen(&system, "Hub", "a key column is nullable in the source");
}

#[tokio::test]
async fn a_merge_table_that_the_secondary_lost_is_named_where_there_is_nothing_to_do() {
    let system = synced().await;
    system.execute("edge", "drop table edge_shop_orders_merge").await;
    let plan = plan(&system, "Edge");
    assert_eq!(plan["next"], "differences", "{plan}");
    assert_eq!(plan["differences"][0]["dataset"], "orders", "{plan}");
    foreseen(&system, "Edge", "\"edge_shop_orders_merge\" is gone, though the stream holds batch 1");
}

#[tokio::test]
async fn a_type_that_changed_is_named_where_there_is_nothing_to_do() {
    let system = synced().await;
    system.execute("edge", "alter table edge_shop_orders_merge alter column state type varchar(10)").await;
    let plan = plan(&system, "Edge");
    assert_eq!(plan["next"], "differences", "{plan}");
    assert_eq!(plan["differences"][0]["column"], "state", "{plan}");
}

#[tokio::test]
async fn a_column_that_the_primary_lost_is_named_where_there_is_nothing_to_do() {
    let system = synced().await;
    system.execute("hub", "alter table hub_shop_orders_merge drop column state").await;
    foreseen(&system, "Edge", "which lacks the column");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_where_there_is_nothing_to_do() {
    let system = synced().await;
    system.execute("hub", "revoke select on hub_shop_orders_merge from edge_role").await;
    foreseen(&system, "Edge", "lacks SELECT on \"public\".\"hub_shop_orders_merge\"");
    system.execute("hub", "grant select on hub_shop_orders_merge to edge_role").await;
    system.execute("edge", "alter table edge_shop_orders_merge owner to current_user").await;
    foreseen(
        &system,
        "Edge",
        "lacks SELECT, INSERT, UPDATE, DELETE on \"public\".\"edge_shop_orders_merge\"",
    );
}
