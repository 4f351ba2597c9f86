//! Constraints that people put on a secondary's tables: deferrable ones are checked when all rows are written; another
//! one that rows break halts the stream with the statement that makes it deferrable.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use milestream_oracle::{Operation, Row};
use milestream_tests::{Table, World, inserts, texts, updates};
use milestream_worker::sync::Job;
use milestream_worker::{Class, Error, Holding};

const SEATS: &str = "public.edge_store1_seats_merge";
const ORDERS: &str = "public.edge_store1_orders_merge";

fn seat(id: &str, number: &str) -> (&'static str, Row) {
    ("seats", Row { key: texts(&[Some(id)]), columns: texts(&[Some(number)]) })
}

fn insert((table, row): (&'static str, Row)) -> (&'static str, Operation) {
    (table, Operation::Insert(row))
}

fn update((table, row): (&'static str, Row)) -> (&'static str, Operation) {
    (table, Operation::Update(row))
}

/// A secondary in which two seats are about to trade their numbers.
async fn swap_due() -> (World, Job) {
    let mut world =
        World::new(vec![Table::new("seats", &[("id", "integer")], &[("number", "integer")])]).await;
    world.commit(vec![insert(seat("1", "10")), insert(seat("2", "20"))]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit(vec![update(seat("1", "20")), update(seat("2", "10"))]).await;
    (world, job)
}

/// Syncs; the statement of the advice, which has been followed to a sync that is right.
async fn halted_and_mended(world: &World, job: &Job, batch: i32) -> String {
    let error = world.sync(job).await.unwrap_err();
    assert_eq!((error.class(), error.exit_code()), (Class::Blocked, 1), "{error}");
    world.assert_holds(job, batch - 1).await;
    let Error::Constraint { mend: Some(mend), .. } = &error else { panic!("{error:?}") };
    assert!(error.advice().contains(&format!("`{mend}`")), "{}", error.advice());
    world.execute("secondary", mend.as_str()).await;
    world.sync(job).await.unwrap();
    world.assert_holds(job, batch).await;
    mend.clone()
}

#[tokio::test]
async fn rows_trade_the_values_of_a_deferrable_unique_constraint() {
    let (world, job) = swap_due().await;
    let deferrable = format!("alter table {SEATS} add constraint one_each unique (number) deferrable");
    world.execute("secondary", deferrable).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_unique_index_that_a_trade_breaks_is_told_how_it_is_deferred() {
    let (world, job) = swap_due().await;
    world.execute("secondary", format!("create unique index \"One each\" on {SEATS} (number)")).await;
    let mend = halted_and_mended(&world, &job, 2).await;
    let constraint = format!(
        "drop index public.\"One each\"; alter table {SEATS} add constraint \"One each\" unique (number) deferrable"
    );
    assert_eq!(mend, constraint);
}

#[tokio::test]
async fn a_unique_constraint_that_a_trade_breaks_is_told_how_it_is_deferred() {
    let (world, job) = swap_due().await;
    world.execute("secondary", format!("alter table {SEATS} add constraint one_each unique (number)")).await;
    let mend = halted_and_mended(&world, &job, 2).await;
    let deferrable = "drop constraint one_each, add constraint one_each UNIQUE (number) deferrable";
    assert_eq!(mend, format!("alter table {SEATS} {deferrable}"));
}

#[tokio::test]
async fn an_index_that_no_constraint_can_have_is_named_without_a_statement() {
    let (world, job) = swap_due().await;
    world
        .execute("secondary", format!("create unique index partial on {SEATS} (number) where number > 0"))
        .await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(&error, Error::Constraint { mend: None, .. }), "{error:?}");
    assert!(error.to_string().contains("constraint partial"), "{error}");
    world.execute("secondary", "drop index partial").await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_value_that_two_rows_have_in_the_end_breaks_a_deferrable_constraint_too() {
    let (mut world, job) = swap_due().await;
    world.commit(vec![insert(seat("3", "10"))]).await;
    let deferrable = format!("alter table {SEATS} add constraint one_each unique (number) deferrable");
    world.execute("secondary", deferrable).await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(&error, Error::Constraint { mend: None, .. }), "{error:?}");
    assert!(error.to_string().contains("Key (number)=(10)"), "{error}");
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn rows_that_refer_to_another_dataset_come_and_go_with_it() {
    let orders = Table::new("orders", &[("id", "integer")], &[("person", "integer")]);
    let mut world = World::new(vec![orders, Table::people()]).await;
    let order =
        |id: &str, person: &str| ("orders", Row { key: texts(&[Some(id)]), columns: texts(&[Some(person)]) });
    let mut first = inserts("people", 0..3);
    first.push(insert(order("1", "0")));
    world.commit(first).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let refers = format!(
        "alter table {ORDERS} add constraint placed_by foreign key (person) references edge_store1_people_merge"
    );
    world.execute("secondary", refers).await;
    // The order is written before its person, who comes with another dataset.
    let mut second = inserts("people", 3..4);
    second.push(insert(order("2", "3")));
    world.commit(second).await;
    let mend = halted_and_mended(&world, &job, 2).await;
    assert_eq!(mend, format!("alter table {ORDERS} alter constraint placed_by deferrable"));
    let mut third = updates("people", 0..1, "changed");
    third.push(("people", Operation::Delete(texts(&[Some("3")]))));
    third.push(("orders", Operation::Delete(texts(&[Some("2")]))));
    world.commit(third).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 3).await;
}

#[tokio::test]
async fn a_version_that_a_hand_inserted_is_no_matter_of_the_tables_key() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..3)).await;
    let job = world.job("Edge", Holding::Mirror);
    world.sync(&job).await.unwrap();
    let beforehand = "insert into edge_store1_people_merge select (jsonb_populate_record(m, '{\"ds_surf_batch_in\": 2}')).* \
                      from edge_store1_people_merge m where id = 1";
    world.execute("secondary", beforehand).await;
    world.commit(updates("people", 0..3, "changed")).await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error:?}");
    assert!(error.to_string().contains("Key (id, ds_surf_batch_in)=(1, 2) already exists"), "{error}");
    assert!(error.advice().contains("something else wrote"), "{}", error.advice());
    assert_eq!(world.watermark(&job).await, Some(1));
}

#[tokio::test]
async fn an_index_that_says_more_than_a_constraint_can_is_named_without_a_statement() {
    let wordings = [
        "create unique index one_each on {} (number) nulls not distinct",
        "create unique index one_each on {} (number) include (id)",
        "create unique index one_each on {} (abs(number))",
    ];
    for wording in wordings {
        let (world, job) = swap_due().await;
        world.execute("secondary", wording.replace("{}", SEATS)).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(&error, Error::Constraint { mend: None, .. }), "{error:?}");
        assert!(error.advice().contains("drop the constraint"), "{}", error.advice());
    }
}

#[tokio::test]
async fn a_unique_constraint_that_others_refer_to_is_named_without_a_statement() {
    let (world, job) = swap_due().await;
    let referred = format!(
        "alter table {SEATS} add constraint one_each unique (number); \
         create table tickets (seat integer references {SEATS} (number) deferrable)"
    );
    world.execute("secondary", referred).await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(&error, Error::Constraint { mend: None, .. }), "{error:?}");
}

#[tokio::test]
async fn a_seed_into_empty_tables_builds_their_indexes_under_deferred_constraints() {
    let orders = Table::new("orders", &[("id", "integer")], &[("person", "integer")]);
    let mut world = World::new(vec![orders, Table::people()]).await;
    let mut first = inserts("people", 0..3);
    let order = Row { key: texts(&[Some("1")]), columns: texts(&[Some("0")]) };
    first.push(("orders", Operation::Insert(order)));
    world.commit(first).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let hashes = "ds_surf_batch_id integer not null, ds_surf_all_hash varchar(32) not null, \
                  ds_surf_key_hash varchar(32) not null";
    let beforehand = format!(
        "create table edge_store1_people_merge (id integer primary key, name varchar(40), town varchar(40), {hashes}); \
         create table {ORDERS} (id integer primary key, person integer \
           references edge_store1_people_merge deferrable, {hashes}); \
         create index on edge_store1_people_merge (name); create index on {ORDERS} (person)"
    );
    world.execute("secondary", beforehand).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_foreign_key_that_writes_by_itself_is_refused_with_the_statement_for_one_that_does_not() {
    for action in ["on delete cascade", "on delete set null", "on update cascade"] {
        let orders = Table::new("orders", &[("id", "integer")], &[("person", "integer")]);
        let mut world = World::new(vec![Table::people(), orders]).await;
        let order = Row { key: texts(&[Some("1")]), columns: texts(&[Some("0")]) };
        let mut first = inserts("people", 0..3);
        first.push(("orders", Operation::Insert(order)));
        world.commit(first).await;
        let job = world.job("Edge", Holding::LiveOnly);
        world.sync(&job).await.unwrap();
        let refers = format!(
            "alter table {ORDERS} add constraint placed_by foreign key (person) references edge_store1_people_merge {action}"
        );
        world.execute("secondary", refers).await;
        // The primary keeps the order of somebody who is gone.
        world.commit(vec![("people", Operation::Delete(texts(&[Some("0")])))]).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(&error, Error::Schema { .. }), "{error:?}");
        let mend = error
            .to_string()
            .lines()
            .find_map(|line| line.trim().strip_prefix("on the secondary: ").map(str::to_owned));
        world.execute("secondary", mend.unwrap()).await;
        // What is left of it is the primary's own doing, and is told as such.
        let broken = world.sync(&job).await.unwrap_err();
        assert!(matches!(&broken, Error::Constraint { mend: None, .. }), "{broken:?}");
        world.execute("secondary", format!("alter table {ORDERS} drop constraint placed_by")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
    }
}
