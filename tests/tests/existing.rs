//! Merge tables that were there before Milestream: they keep identity, views and grants, whatever made them.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use milestream_oracle::{Operation, Row};
use milestream_tests::{Table, World, inserts, texts, updates};
use milestream_worker::sync::{Job, Tuning};
use milestream_worker::{Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// `create table` of a merge table as DataSurface writes it, `{key}` being the key and `{columns}` all columns.
fn datasurface(name: &str, key: &str, columns: &str, holding: Holding) -> String {
    match holding {
        Holding::LiveOnly => format!(
            "create table {name} ({columns}, ds_surf_batch_id integer not null, ds_surf_all_hash varchar(32) not null, \
                ds_surf_key_hash varchar(32) not null, primary key ({key}));
             create unique index {name}_key_hash_unique on {name} (ds_surf_key_hash);
             create index {name}_key_hash on {name} (ds_surf_key_hash);
             create index {name}_all_hash on {name} (ds_surf_all_hash);"
        ),
        Holding::Mirror => format!(
            "create table {name} ({columns}, ds_surf_batch_in integer not null, ds_surf_batch_out integer not null, \
                ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
                primary key ({key}, ds_surf_batch_in));
             create index {name}_batch_out on {name} (ds_surf_batch_out);
             create index {name}_key_hash on {name} (ds_surf_key_hash);"
        ),
    }
}

const PEOPLE: &str = "edge_store1_people_merge";

fn people(holding: Holding) -> String {
    datasurface(PEOPLE, "id", "id integer, name varchar(40), town varchar(40)", holding)
}

async fn primary() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..50)).await;
    world.commit(updates("people", 0..9, "changed")).await;
    world
}

/// What must survive: the table's OID, its indexes, a grant, and a view's answer.
async fn marks(world: &World) -> Vec<Vec<Option<String>>> {
    let question = format!(
        "select '{PEOPLE}'::regclass::oid::text, (select string_agg(indexdef, E'\\n' order by indexname) \
         from pg_indexes where tablename = '{PEOPLE}'), has_table_privilege('reader', '{PEOPLE}', 'select')::text"
    );
    world.ask("secondary", question).await
}

#[tokio::test]
async fn an_empty_table_is_filled_and_keeps_grants_views_identity_and_indexes() {
    for holding in BOTH {
        let mut world = primary().await;
        let furniture = format!(
            "{} create role reader; grant select on {PEOPLE} to reader; create view names as select name from {PEOPLE}",
            people(holding)
        );
        world.execute("secondary", furniture).await;
        let before = marks(&world).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        assert_eq!(marks(&world).await, before);
        let rows = if holding == Holding::LiveOnly { 50 } else { 59 };
        assert_eq!(world.number("select count(*) from names").await, rows);
        world.commit(updates("people", 40..45, "again")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
        assert_eq!(marks(&world).await, before);
    }
}

#[tokio::test]
async fn a_filled_table_is_brought_to_the_batch_by_difference() {
    for holding in BOTH {
        let world = primary().await;
        world.execute("secondary", format!("create role reader; {}", people(holding))).await;
        let milestones = if holding == Holding::LiveOnly { "7" } else { "1, 2147483647" };
        let others = format!(
            "insert into {PEOPLE} select id, 'name ' || id, case when id % 5 = 0 then 'elsewhere' else 'Ghent' end, {milestones}, \
             md5(id || 'name ' || id || 'Ghent'), md5(id::text) from generate_series(5, 60) id"
        );
        world.execute("secondary", others).await;
        let before = marks(&world).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        assert_eq!(marks(&world).await, before);
        if holding == Holding::LiveOnly {
            let untouched = format!("select count(*) from {PEOPLE} where ds_surf_batch_id = 7");
            assert_eq!(world.number(untouched).await, 33, "rows that were right already are left alone");
        }
    }
}

#[tokio::test]
async fn a_filled_table_that_would_lose_most_of_its_rows_is_left_as_it_is() {
    for holding in BOTH {
        let world = primary().await;
        world.execute("secondary", people(holding)).await;
        let milestones = if holding == Holding::LiveOnly { "7" } else { "1, 2147483647" };
        let others = format!(
            "insert into {PEOPLE} select id, 'x', 'y', {milestones}, 'z', id::text from generate_series(1000, 1010) id"
        );
        world.execute("secondary", others).await;
        let job = world.job("Edge", holding);
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::TooManyDeletes { deletes: 11, rows: 11, .. }), "{error}");
        assert_eq!(world.number(format!("select count(*) from {PEOPLE}")).await, 11);
        assert_eq!(world.watermark(&job).await, None);
    }
}

#[tokio::test]
async fn a_stream_whose_watermark_is_taken_away_is_seeded_again_into_its_own_table() {
    for holding in BOTH {
        let mut world = primary().await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.commit(updates("people", 20..25, "later")).await;
        world
            .execute(
                "secondary",
                "update edge_sync_stream set last_synced_primary_batch = null, primary_identity = null",
            )
            .await;
        world
            .execute(
                "secondary",
                format!("delete from {PEOPLE} where id < 3; update {PEOPLE} set town = 'x' where id = 9"),
            )
            .await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
    }
}

fn leg(a: &str, b: &str) -> Row {
    Row { key: texts(&[Some(a), Some(b)]), columns: texts(&[Some("x")]) }
}

async fn legs(first: &[(&str, &str)]) -> World {
    let legs = Table::new("legs", &[("a", "integer"), ("b", "integer")], &[("note", "text")]);
    let mut world = World::new(vec![legs]).await;
    world.commit(first.iter().map(|(a, b)| ("legs", Operation::Insert(leg(a, b)))).collect()).await;
    world
}

fn collide(error: &Error) -> bool {
    let keys = ["1, 11", "11, 1"];
    matches!(error, Error::HashCollision { first, second, .. }
        if first != second && keys.contains(&first.as_str()) && keys.contains(&second.as_str()))
}

#[tokio::test]
async fn a_table_that_is_unique_on_the_key_hash_refuses_two_keys_that_share_one() {
    for first in [&[("1", "11"), ("2", "2"), ("11", "1")][..], &[("1", "11"), ("2", "2")][..]] {
        let mut world = legs(first).await;
        let table = datasurface(
            "edge_store1_legs_merge",
            "a, b",
            "a integer, b integer, note text",
            Holding::LiveOnly,
        );
        world.execute("secondary", table).await;
        let job = world.job("Edge", Holding::LiveOnly);
        if first.len() == 2 {
            world.sync(&job).await.unwrap();
            world.assert_holds(&job, 1).await;
            world.commit(vec![("legs", Operation::Insert(leg("11", "1")))]).await;
        }
        let held = world.watermark(&job).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(collide(&error), "{error}");
        assert_eq!(world.watermark(&job).await, held);
        let rows = world.number("select count(*) from edge_store1_legs_merge").await;
        assert_eq!(rows, if held.is_some() { 2 } else { 0 });
        world.execute("secondary", "drop index edge_store1_legs_merge_key_hash_unique").await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, world.oracle.newest_batch()).await;
    }
}

#[tokio::test]
async fn a_hash_may_move_from_a_key_that_goes_to_a_key_that_comes() {
    let mut world = legs(&[("1", "11"), ("2", "2")]).await;
    let table =
        datasurface("edge_store1_legs_merge", "a, b", "a integer, b integer, note text", Holding::LiveOnly);
    world.execute("secondary", table).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let moved = vec![
        ("legs", Operation::Delete(texts(&[Some("1"), Some("11")]))),
        ("legs", Operation::Insert(leg("11", "1"))),
    ];
    world.commit(moved).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn for_interchange_the_hash_is_unique_and_collisions_are_refused() {
    let mut world = legs(&[("1", "11"), ("2", "2")]).await.with_tuning(|tuning| tuning.interchange = true);
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    world.commit(vec![("legs", Operation::Insert(leg("11", "1")))]).await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(collide(&error), "{error}");
    world.assert_holds(&job, 1).await;
    let late = world.job("Late", Holding::LiveOnly);
    let error = world.sync(&late).await.unwrap_err();
    assert!(collide(&error), "{error}");
    assert_eq!(world.watermark(&late).await, None);
}

#[tokio::test]
async fn a_mirrors_batch_counts_keys_and_not_versions() {
    let world = primary().await;
    let job = world.job("Edge", Holding::Mirror);
    // As of batch 2 the primary has fifty keys, nine of them in their second version. The table has one of them under
    // another name, and one that nobody else has.
    let hashes = "md5('x'), md5('x')";
    let row =
        |id: i32, name: &str, opened: i32| format!("({id}, '{name}', null, {opened}, 2147483647, {hashes})");
    let rows = [row(0, "other", 2), row(99, "gone", 1)].join(", ");
    world
        .execute("secondary", format!("{} insert into {PEOPLE} values {rows}", people(Holding::Mirror)))
        .await;
    let job = Job { tuning: Tuning { max_delete_fraction: 1.0, ..job.tuning.clone() }, ..job };
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
    let counts = "select concat_ws(' ', records_inserted, records_updated, records_deleted, total_records) from edge_batch_metrics";
    assert_eq!(world.value("secondary", counts).await.as_deref(), Some("49 1 1 59"));
}

#[tokio::test]
async fn a_mirrors_seed_into_an_empty_table_counts_as_one_into_none() {
    let mut counts = Vec::new();
    for is_there in [false, true] {
        let world = primary().await;
        if is_there {
            world.execute("secondary", people(Holding::Mirror)).await;
        }
        let job = world.job("Edge", Holding::Mirror);
        world.sync(&job).await.unwrap();
        let columns = "records_inserted, records_updated, records_deleted, total_records";
        counts.push(world.ask("secondary", format!("select {columns} from edge_batch_metrics")).await);
    }
    assert_eq!(counts[0], counts[1]);
}
