//! Types of extensions and schemas: the same wherever they live, written as the secondary names them.

use milestream_tests::World;
use milestream_worker::Holding;

use super::redefined::{BOTH, insert, update, world};

const COLUMNS: [(&str, &str); 5] =
    [("h", "ext.hstore"), ("l", "ext.ltree"), ("c", "ext.cube"), ("m", "ext.mood"), ("ms", "ext.mood[]")];
const FIRST: [&str; 5] = ["\"a\"=>\"1\", \"b\"=>NULL", "x.y.z", "(1, 2)", "a", "{a,b}"];
const THEN: [&str; 5] = ["\"c\"=>\"2\"", "x", "(1)", "b", "{}"];

fn types(schema: &str, labels: &str) -> String {
    let extensions =
        ["hstore", "ltree", "cube"].map(|name| format!("create extension {name} schema {schema};"));
    format!(
        "create schema if not exists {schema}; {} create type {schema}.mood as enum ({labels});",
        extensions.concat()
    )
}

/// A world whose secondary has the types where `statements` put them.
async fn with_types_elsewhere(statements: &str) -> World {
    let world = world(&types("ext", "'a', 'b'"), &COLUMNS).await;
    world.execute("secondary", format!("drop schema ext cascade; {statements}")).await;
    world
}

/// A seed and an increment, for both holdings.
async fn arrives(mut world: World) {
    world.commit(vec![insert(1, &FIRST), insert(2, &THEN)]).await;
    let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 1).await;
    }
    world.commit(vec![update(1, &THEN), insert(3, &FIRST)]).await;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 2).await;
    }
}

#[tokio::test]
async fn types_in_another_schema_are_the_same_types() {
    arrives(with_types_elsewhere(&types("public", "'a', 'b'")).await).await;
}

#[tokio::test]
async fn labels_in_another_order_are_the_same_labels() {
    arrives(with_types_elsewhere(&types("ext", "'b', 'a'")).await).await;
}

#[tokio::test]
async fn a_search_path_that_knows_the_types_changes_nothing() {
    let path = "alter database secondary set search_path = public, ext";
    arrives(with_types_elsewhere(&format!("{} {path}", types("ext", "'a', 'b'"))).await).await;
}

#[tokio::test]
async fn names_that_a_database_quotes_are_the_same_names() {
    let quoted = "alter database secondary set quote_all_identifiers = on";
    arrives(with_types_elsewhere(&format!("{} {quoted}", types("ext", "'a', 'b'"))).await).await;
}

#[tokio::test]
async fn a_table_made_by_hand_with_types_of_another_schema_is_filled() {
    let table = "create table edgeliveonly_store1_t_merge (id integer primary key, h hstore, l ltree, c cube, m mood, \
                 ms mood[], ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
                 ds_surf_batch_id integer not null)";
    arrives(with_types_elsewhere(&format!("{} {table}", types("public", "'b', 'a'"))).await).await;
}

#[tokio::test]
async fn another_version_of_an_extension_is_carried_as_text() {
    let older = "create schema ext; create extension hstore schema ext version '1.4'; create extension ltree schema ext; \
                 create extension cube schema ext; create type ext.mood as enum ('a', 'b')";
    let world = with_types_elsewhere(older).await;
    arrives(world).await;
}

#[tokio::test]
async fn keys_of_an_enum_with_labels_in_another_order_are_compared_alike() {
    use milestream_oracle::{Operation, Row};
    use milestream_tests::{Setting, Table, texts};
    let setting = Setting { types: "create type mood as enum ('a', 'b', 'c')".into(), ..Setting::default() };
    let mut world = World::of(setting, vec![Table::new("t", &[("k", "mood")], &[("note", "text")])]).await;
    world.execute("secondary", "drop type mood; create type mood as enum ('c', 'a', 'b')").await;
    let row = |key: &str| Row { key: texts(&[Some(key)]), columns: texts(&[Some("x")]) };
    world.commit(["a", "b", "c"].map(|key| ("t", Operation::Insert(row(key)))).to_vec()).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    let equal = milestream_worker::comparison::compare_rows(&std::sync::Arc::new(job)).await.unwrap();
    assert_eq!(equal.rows, 3);
}
