//! Tables that change between two syncs: an increment does not go on over old rows that hold other values, and what the advice
//! leads to is right data.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_core::model::ColumnType;
use milestream_core::stream::Column;
use milestream_tests::{Table, Tape, World, control, deletes, inserts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step, Unobserved};
use milestream_worker::reset::{self, Order};
use milestream_worker::sync::{Job, Until, VerifySeed};
use milestream_worker::{Class, Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A secondary that holds batch 1.
async fn synced(table: Table, holding: Holding) -> (World, Job) {
    let mut world = World::new(vec![table]).await;
    world.commit(inserts("people", 0..20)).await;
    let job = world.job("Edge", holding);
    world.sync(&job).await.unwrap();
    (world, job)
}

async fn alter(world: &World, job: &Job, primary: &str, secondary: &str) {
    let table = world.primary_table("people");
    world.execute("primary", primary.replace("people", &table)).await;
    let table = world.merge_table(job, "people");
    world.execute("secondary", secondary.replace("people", &table)).await;
}

fn with_column(job: &Job, name: &str) -> Job {
    let mut job = job.clone();
    let column_type = ColumnType::VarChar { max_size: None };
    job.stream.datasets[0].columns.push(Column { name: name.into(), column_type, nullable: true });
    job
}

/// The sync halts over the change, with this among its differences; nothing was written.
async fn halted(world: &World, job: &Job, difference: &str) -> Error {
    let before = world.watermark(job).await;
    let error = world.sync(job).await.unwrap_err();
    assert!(
        matches!(&error, Error::SchemaChanged { differences, .. } if differences.contains(difference)),
        "{error}"
    );
    assert_eq!((world.watermark(job).await, error.class()), (before, Class::Blocked));
    error
}

/// Seeds again as the advice says, and compares every row.
async fn seeded_again(world: &World, job: &Job, columns: &str, batch: i32) {
    let order = Order { reseed: true, dry_run: false };
    reset::of_secondary(Arc::new(job.clone()), order, Arc::new(Unobserved)).await.unwrap();
    world.sync(job).await.unwrap();
    let (table, ours) = (world.primary_table("people"), world.merge_table(job, "people"));
    let rows =
        |table: &str, condition: &str| format!("select {columns} from {table} where {condition} order by id");
    let live = format!("ds_surf_batch_in <= {batch} and ds_surf_batch_out >= {batch}");
    let of_ours = if job.holding == Holding::Mirror { live.as_str() } else { "true" };
    let expected = world.ask("primary", rows(&table, &live)).await;
    assert!(!expected.is_empty());
    assert_eq!(world.ask("secondary", rows(&ours, of_ours)).await, expected);
}

#[tokio::test]
async fn a_column_with_a_default_that_comes_to_all_three_halts_until_old_rows_are_brought() {
    for holding in BOTH {
        let (mut world, job) = synced(Table::people(), holding).await;
        alter(
            &world,
            &job,
            "alter table people add zip text default '9000'",
            "alter table people add zip text",
        )
        .await;
        let job = with_column(&job, "zip");
        halted(&world, &job, "people.zip: added to the primary and to the model").await;
        world.commit(updates("people", 0..3, "changed")).await;
        let error = halted(&world, &job, "people.zip: added to the primary and to the model").await;
        assert!(error.advice().contains("milestream reset --reseed"), "{}", error.advice());
        seeded_again(&world, &job, "id, name, town, zip", 2).await;
        world.commit(updates("people", 2..5, "changed again")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
    }
}

#[tokio::test]
async fn a_column_that_the_model_lacks_is_told_of_once_and_halts_when_it_joins() {
    for holding in BOTH {
        let (mut world, job) = synced(Table::people(), holding).await;
        world
            .execute(
                "primary",
                format!("alter table {} add email text default 'e'", world.primary_table("people")),
            )
            .await;
        for (batch, told) in [(2, 1), (3, 0)] {
            world.commit(updates("people", 0..batch, &format!("changed in {batch}"))).await;
            let tape = Arc::new(Tape::default());
            world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
            let notices = tape.notices(NoticeKind::Warning);
            assert_eq!(
                notices.iter().filter(|text| text.contains("people.email")).count(),
                told,
                "{notices:?}"
            );
            world.assert_holds(&job, batch).await;
        }
        let ours = format!("alter table {} add email text", world.merge_table(&job, "people"));
        world.execute("secondary", ours).await;
        let job = with_column(&job, "email");
        halted(&world, &job, "people.email: the primary had the column before the model had it").await;
        seeded_again(&world, &job, "id, name, email", 3).await;
    }
}

#[tokio::test]
async fn a_column_dropped_and_added_again_on_the_primary_halts() {
    for holding in BOTH {
        let (mut world, job) = synced(Table::people(), holding).await;
        let again = "alter table people drop town; alter table people add town varchar(40)";
        alter(&world, &job, again, "select 1").await;
        world.commit(updates("people", 0..3, "changed")).await;
        halted(&world, &job, "people.town: dropped and added again on the primary").await;
        seeded_again(&world, &job, "id, name, town", 2).await;
    }
}

#[tokio::test]
async fn a_column_dropped_and_added_again_on_the_secondary_halts() {
    let (mut world, job) = synced(Table::people(), Holding::LiveOnly).await;
    let again = "alter table people drop town; alter table people add town varchar(40)";
    alter(&world, &job, "select 1", again).await;
    world.commit(updates("people", 0..3, "changed")).await;
    halted(
        &world,
        &job,
        "the secondary's column, which was carried as \"town\", was dropped and added again",
    )
    .await;
    seeded_again(&world, &job, "id, name, town", 2).await;
}

#[tokio::test]
async fn a_name_that_passes_to_another_column_halts() {
    let (mut world, job) = synced(Table::people(), Holding::LiveOnly).await;
    let swapped = "alter table people rename name to other; alter table people rename town to name; \
                   alter table people rename other to town";
    alter(&world, &job, swapped, "select 1").await;
    world.commit(updates("people", 0..3, "changed")).await;
    halted(&world, &job, "the secondary's column was carried as").await;
}

#[tokio::test]
async fn types_that_were_widened_on_both_sides_are_no_halt_and_rewritten_values_are() {
    let table =
        Table::new("people", &[("id", "integer")], &[("name", "varchar(40)"), ("town", "varchar(40)")]);
    let (mut world, job) = synced(table, Holding::LiveOnly).await;
    let wider = "alter table people alter name type varchar(80), alter town type text, alter id type bigint";
    alter(&world, &job, wider, wider).await;
    world.commit(updates("people", 0..3, "changed")).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
    let cut = "alter table people alter name type varchar(20) using left(name, 3)";
    alter(&world, &job, cut, "select 1").await;
    world.commit(updates("people", 0..3, "new")).await;
    halted(&world, &job, "its type on the primary was character varying(80)").await;
}

#[tokio::test]
async fn a_stream_of_an_earlier_version_takes_the_tables_as_they_are() {
    let (mut world, job) = synced(Table::people(), Holding::LiveOnly).await;
    let forget = format!("update {} set shapes = null", control(&job, "sync_stream"));
    world.execute("secondary", forget).await;
    world.commit(updates("people", 0..3, "changed")).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
    assert!(world.stream_state(&job, "shapes::text").await.is_some());
}

/// A table of two partitions: ids below 10, and up to 100.
async fn partitioned(holding: Holding) -> (World, Job) {
    let mut world = World::new(vec![Table::people().stored("partition by range (id)")]).await;
    let table = world.primary_table("people");
    for (name, from, to) in [("low", 0, 10), ("high", 10, 100)] {
        let part = format!("create table {name} partition of {table} for values from ({from}) to ({to})");
        world.execute("primary", part).await;
    }
    world.commit(inserts("people", 0..20)).await;
    world.commit(deletes("people", 10..20)).await;
    let job = world.job("Edge", holding);
    world.sync(&job).await.unwrap();
    (world, job)
}

#[tokio::test]
async fn a_partition_detached_with_live_rows_halts_and_one_of_history_alone_does_not() {
    for (part, halts) in [("low", true), ("high", false)] {
        for holding in BOTH {
            let (mut world, job) = partitioned(holding).await;
            let table = world.primary_table("people");
            world.execute("primary", format!("alter table {table} detach partition {part}")).await;
            if halts {
                let newer = format!("create table newer partition of {table} for values from (0) to (10)");
                world.execute("primary", newer).await;
            }
            let ids = if halts { 100..100 } else { 0..2 };
            world.commit(updates("people", ids, "changed")).await;
            if halts {
                halted(&world, &job, "low was detached or dropped since batch 2: 0 rows are live").await;
            } else {
                world.sync(&job).await.unwrap();
                world.assert_holds(&job, 3).await;
            }
        }
    }
}

#[tokio::test]
async fn a_partition_attached_with_rows_halts_and_an_empty_one_does_not() {
    for holding in BOTH {
        let (mut world, job) = partitioned(holding).await;
        let table = world.primary_table("people");
        let empty = format!("create table empty partition of {table} for values from (100) to (200)");
        world.execute("primary", empty).await;
        world.commit(inserts("people", 100..105)).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
        let filled = format!(
            "create table filled (like {table} including all); \
             insert into filled select id + 200, name, town, '', '', 1, 2147483647 from {table} where id < 5; \
             alter table {table} attach partition filled for values from (200) to (300)"
        );
        world.execute("primary", filled).await;
        world.commit(updates("people", 0..3, "changed")).await;
        halted(&world, &job, "filled was attached with rows from before batch 3").await;
    }
}

#[tokio::test]
async fn a_column_dropped_and_added_again_between_two_chunks_of_a_seed_is_noticed() {
    let world = World::new(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.parallelism = 1;
        tuning.verify_seed = VerifySeed::Off;
    });
    world.commit(inserts("people", 0..40)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let table = world.primary_table("people");
    let again =
        format!("alter table {table} drop town; alter table {table} add town varchar(40) default 'new'");
    let script = world.script(Step::ChunkCommitted, [again]);
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(tape.clone()).and(script);
    world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap();
    let replanned = tape.notices(NoticeKind::Replanned);
    assert!(
        replanned.len() == 1 && replanned[0].contains("changed since the sync was planned"),
        "{replanned:?}"
    );
    let others = format!(
        "select count(*) from {} where town is distinct from 'new'",
        world.merge_table(&job, "people")
    );
    assert_eq!(world.number(others).await, 0);
}

#[tokio::test]
async fn a_batch_that_another_program_committed_halts_by_name_and_seeding_again_goes_on() {
    for holding in BOTH {
        let (mut world, job) = synced(Table::people(), holding).await;
        world.commit(deletes("people", 0..3)).await;
        let metrics = control(&job, "batch_metrics");
        let theirs = format!(
            "insert into {metrics} (key, batch_id, batch_start_time, batch_status) \
             select key, batch_id + 1, batch_start_time, 'committed' from {metrics}"
        );
        world.execute("secondary", theirs).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(
            matches!(&error, Error::TurnTaken { theirs, ours, .. } if theirs.0 == 2 && ours.0 == 1),
            "{error}"
        );
        assert_eq!((world.watermark(&job).await, error.class()), (Some(1), Class::Blocked));
        seeded_again(&world, &job, "id, name, town", 2).await;
        world.commit(updates("people", 5..8, "changed")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
    }
}
