//! Streams of stores, and why some have none.

use milestream_core::stream::{Stream, StreamError, streams_of};
use serde_json::json;

use crate::shop::{ORDERS, ORDERS_SCHEMA, Shop, shop};

fn streams(shop: &Shop) -> Result<Vec<Stream>, StreamError> {
    streams_of(shop.model().datastore("Orders").unwrap())
}

fn refusal(shop: &Shop) -> String {
    streams(shop).unwrap_err().to_string()
}

fn two_datasets(consistency: u8) -> Shop {
    let mut more = shop().get(&format!("{ORDERS}/datasets/orders"));
    more["name"] = json!("lines");
    shop()
        .set(&format!("{ORDERS}/datasets/lines"), more)
        .set(&format!("{ORDERS}/cmd/singleOrMultiDatasetIngestion"), json!(consistency))
}

#[test]
fn datasets_that_move_together_are_one_stream() {
    let streams = streams(&two_datasets(1)).unwrap();
    assert_eq!(streams.len(), 1);
    assert_eq!((streams[0].key().as_str(), streams[0].dataset.as_ref()), ("Orders", None));
    let names: Vec<_> = streams[0].datasets.iter().map(|dataset| dataset.name.as_str()).collect();
    assert_eq!(names, ["orders", "lines"]);
}

#[test]
fn datasets_that_move_on_their_own_are_a_stream_each() {
    let streams = streams(&two_datasets(0)).unwrap();
    let keys: Vec<_> = streams.iter().map(Stream::key).collect();
    assert_eq!(keys, ["Orders#orders", "Orders#lines"]);
    assert!(streams.iter().all(|stream| stream.datasets.len() == 1));
}

#[test]
fn a_key_is_what_the_schema_names_in_its_order() {
    let shop =
        shop().set(&format!("{ORDERS_SCHEMA}/primaryKeyColumns"), json!({"colNames": ["total", "id"]}));
    assert_eq!(streams(&shop).unwrap()[0].datasets[0].key, ["total", "id"]);
}

#[test]
fn a_schema_without_a_key_takes_the_columns_that_say_they_are_part_of_it() {
    let shop = shop().set(&format!("{ORDERS_SCHEMA}/primaryKeyColumns"), json!(null));
    assert_eq!(streams(&shop).unwrap()[0].datasets[0].key, ["id"]);
}

#[test]
fn a_store_that_cannot_be_moved_is_refused_with_the_reason() {
    let column = |name: &str| json!({"name": name, "type": {"type": "Date"}});
    let refusals = [
        refusal(&shop().without(&format!("{ORDERS}/cmd"))),
        refusal(&shop().set(&format!("{ORDERS}/cmd/singleOrMultiDatasetIngestion"), json!(null))),
        refusal(&shop().set(&format!("{ORDERS}/datasets"), json!({}))),
        refusal(&shop().without(ORDERS_SCHEMA)),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/_type"), json!("AvroSchema"))),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/primaryKeyColumns"), json!({"colNames": []}))),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/primaryKeyColumns"), json!({"colNames": ["idd"]}))),
        refusal(
            &shop().set(&format!("{ORDERS_SCHEMA}/primaryKeyColumns"), json!({"colNames": ["id", "id"]})),
        ),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/columns/id/nullable"), json!(true))),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/columns/ID"), column("id"))),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/columns/ctid"), column("ctid"))),
        refusal(&shop().set(&format!("{ORDERS_SCHEMA}/columns/held"), column("ds_surf_held"))),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
}
