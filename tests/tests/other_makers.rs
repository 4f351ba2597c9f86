//! Tables that somebody else made: control tables and milestone columns of other types are read as they are, or refused
//! by name; none of them ends the process.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_tests::{At, Table, World, deletes, inserts, updates};
use milestream_worker::observer::Step;
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Class, Error, Holding};

const HOLDINGS: [(&str, Holding); 2] = [("Edge", Holding::LiveOnly), ("Archive", Holding::Mirror)];

async fn primary() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    world
}

/// Seeds and follows one batch, on a live-only secondary and on a mirror.
async fn follows(world: &mut World, what: &str, before: &str, after: &str) {
    for (platform, holding) in HOLDINGS {
        let job = world.job(platform, holding);
        world.execute("primary", before).await;
        world.sync(&job).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        world.execute("primary", after).await;
        let batch = world.commit(updates("people", 0..5, platform)).await;
        world.execute("primary", before).await;
        world.sync(&job).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        world.assert_holds(&job, batch).await;
        world.execute("primary", after).await;
    }
}

#[tokio::test]
async fn batches_of_a_primary_are_read_whatever_their_types_are() {
    for changes in [
        &[("batch_id", "bigint"), ("records_inserted", "bigint"), ("state", "json"), ("key", "text")][..],
        &[("batch_id", "smallint"), ("records_deleted", "smallint"), ("state", "jsonb"), ("key", "char(40)")],
        &[("batch_id", "numeric(9,0)"), ("records_updated", "numeric"), ("total_records", "text")],
        &[
            ("batch_start_time", "timestamptz"),
            ("batch_end_time", "timestamptz"),
            ("batch_status", "char(20)"),
        ],
    ] {
        let mut world = primary().await;
        let changed: Vec<_> = changes
            .iter()
            .map(|(column, sql_type)| {
                format!("alter column {column} type {sql_type} using {column}::{sql_type}")
            })
            .collect();
        let change = format!("alter table hub_batch_metrics {}", changed.join(", "));
        follows(&mut world, &change, &change, "").await;
    }
}

#[tokio::test]
async fn columns_that_only_inform_may_be_missing() {
    for column in ["records_inserted", "records_updated", "records_deleted", "total_records", "state"] {
        let mut world = primary().await;
        let sql_type = if column == "state" { "varchar(2048)" } else { "integer" };
        let drop = format!("alter table hub_batch_metrics drop column if exists {column}");
        let back = format!("alter table hub_batch_metrics add column {column} {sql_type}");
        follows(&mut world, column, &drop, &back).await;
    }
}

/// Types that no column of a table of batches should have, each with a value.
const ODD: [&str; 16] = [
    "true::boolean",
    "'x'::text",
    "'{}'::json",
    "'[1]'::jsonb",
    "gen_random_uuid()",
    "'\\x00ff'::bytea",
    "'2020-01-01'::date",
    "'12:00'::time",
    "1e300::double precision",
    "'NaN'::numeric",
    "3000000000::bigint",
    "1.5::numeric",
    "array[1, 2]",
    "'(1,2)'::point",
    "'1 mon'::interval",
    "'infinity'::timestamptz",
];

const COLUMNS: [&str; 10] = [
    "key",
    "batch_id",
    "batch_start_time",
    "batch_end_time",
    "batch_status",
    "records_inserted",
    "records_updated",
    "records_deleted",
    "total_records",
    "state",
];

/// Ends well or with an error that names something; `Panicked` and a bug are neither.
async fn ends_in_order(world: &World, job: &Job, what: &str) {
    if let Err(error) = world.sync(job).await {
        assert_ne!(error.class(), Class::Bug, "{what}: {error}");
        assert!(!error.advice().is_empty(), "{what}: {error}");
    }
}

#[tokio::test]
async fn no_column_of_a_primarys_batches_can_end_the_process() {
    let world = primary().await.with_tuning(|tuning| tuning.retry_tries = 1);
    let job = world.job("Edge", Holding::LiveOnly);
    world.execute("primary", "create table kept as table hub_batch_metrics").await;
    for column in COLUMNS {
        for value in ODD {
            let change = format!(
                "drop table hub_batch_metrics; create table hub_batch_metrics as table kept; \
                 alter table hub_batch_metrics drop column {column}; \
                 alter table hub_batch_metrics add column {column} {} default {value}",
                world.value("primary", format!("select pg_typeof({value})")).await.unwrap()
            );
            world.execute("primary", change).await;
            ends_in_order(&world, &job, &format!("{column} = {value}")).await;
        }
    }
}

#[tokio::test]
async fn no_column_of_a_secondarys_batches_can_end_the_process() {
    let world = primary().await.with_tuning(|tuning| tuning.retry_tries = 1);
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.execute("secondary", "create table kept as table edge_batch_metrics").await;
    world.execute("secondary", "create table kept_counter as table edge_batch_counter").await;
    let tables = COLUMNS.map(|column| ("edge_batch_metrics", "kept", column));
    let counters = ["key", "\"currentBatch\""].map(|column| ("edge_batch_counter", "kept_counter", column));
    for (table, kept, column) in tables.into_iter().chain(counters) {
        for value in ODD {
            let sql_type = world.value("primary", format!("select pg_typeof({value})")).await.unwrap();
            let change = format!(
                "drop table {table}; create table {table} as table {kept}; \
                 alter table {table} drop column {column}, add column {column} {sql_type} default {value}; \
                 update edge_sync_stream set last_synced_primary_batch = null, flight = null, primary_identity = null"
            );
            world.execute("secondary", change).await;
            ends_in_order(&world, &job, &format!("{table}.{column} = {value}")).await;
        }
    }
}

#[tokio::test]
async fn a_column_of_batches_that_cannot_be_read_is_named_with_what_it_must_be() {
    let world = primary().await;
    let change = "alter table hub_batch_metrics alter column batch_id type text, drop column batch_end_time";
    world.execute("primary", change).await;
    let error = world.sync(&world.job("Edge", Holding::LiveOnly)).await.unwrap_err();
    assert_eq!((error.class(), error.exit_code()), (Class::Blocked, 1));
    let told = error.to_string();
    assert!(
        told.contains("primary Hub")
            && told.ends_with(
                "\"hub_batch_metrics\": column batch_id is text, must be a whole number; column batch_end_time is missing"
            ),
        "{told}"
    );
}

#[tokio::test]
async fn batches_of_a_secondary_are_written_whatever_their_types_are() {
    for (platform, holding) in HOLDINGS {
        let mut world = primary().await;
        let name = platform.to_lowercase();
        let tables = format!(
            "create domain moment as timestamptz; \
             create table {name}_batch_counter (key text primary key, \"currentBatch\" bigint); \
             create table {name}_batch_metrics (key text, batch_id bigint, batch_start_time moment, \
                batch_end_time timestamptz, batch_status char(20), records_inserted bigint, records_updated numeric, \
                records_deleted bigint, total_records bigint, state jsonb, primary key (key, batch_id))"
        );
        world.execute("secondary", tables).await;
        let job = world.job(platform, holding);
        world.sync(&job).await.unwrap();
        let batch = world.commit(deletes("people", 0..3)).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, batch).await;
        let newest = format!(
            "select batch_status || records_deleted || (state ->> 'last_synced_primary_batch') \
             || (abs(extract(epoch from clock_timestamp() - batch_end_time)) < 600) \
             from {name}_batch_metrics order by batch_id desc limit 1"
        );
        assert_eq!(world.value("secondary", newest).await.as_deref(), Some("committed32true"));
    }
}

#[tokio::test]
async fn a_secondarys_batches_that_cannot_be_written_are_refused_before_a_row_moves() {
    let world = primary().await;
    let tables = "create table edge_batch_counter (key text primary key, \"currentBatch\" uuid); \
                  create table edge_batch_metrics (key text, batch_id integer, batch_status boolean)";
    world.execute("secondary", tables).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("column currentBatch is uuid, must be a whole number"), "{error}");
    assert_eq!(world.flight(&job).await, None);
    world.execute("secondary", "drop table edge_batch_counter").await;
    world
        .execute(
            "secondary",
            "drop table edge_sync_migration, edge_sync_stream, edge_sync_chunk, edge_sync_history",
        )
        .await;
    let error = world.sync(&job).await.unwrap_err().to_string();
    for named in ["batch_start_time is missing", "batch_status is boolean, must be text", "state is missing"]
    {
        assert!(error.contains(named), "{error}");
    }
}

#[tokio::test]
async fn milestones_and_hashes_of_other_types_are_refused_by_name() {
    for (column, sql_type, using) in [
        ("ds_surf_batch_in", "bigint", "ds_surf_batch_in"),
        ("ds_surf_batch_out", "bigint", "ds_surf_batch_out"),
        ("ds_surf_batch_in", "numeric", "ds_surf_batch_in"),
        ("ds_surf_batch_out", "smallint", "32767"),
        ("ds_surf_all_hash", "uuid", "ds_surf_all_hash::uuid"),
        ("ds_surf_key_hash", "bytea", "decode(ds_surf_key_hash, 'hex')"),
        ("ds_surf_key_hash", "varchar(64)", "ds_surf_key_hash || ds_surf_key_hash"),
    ] {
        let world = primary().await;
        let table = world.primary_table("people");
        let change = format!("alter table {table} alter column {column} type {sql_type} using {using}");
        world.execute("primary", change).await;
        for (platform, holding) in HOLDINGS {
            let error = world.sync(&world.job(platform, holding)).await.unwrap_err();
            assert!(matches!(error, Error::Schema { .. }), "{column} {sql_type}: {error}");
            let named = format!("people.{column}: is ");
            assert!(error.to_string().contains(&named), "{column} {sql_type}: {error}");
        }
    }
}

#[tokio::test]
async fn hashes_of_other_text_types_are_taken_over() {
    for sql_type in ["text", "char(32)", "varchar(20)"] {
        let mut world = primary().await;
        let table = world.primary_table("people");
        let change = format!(
            "alter table {table} alter column ds_surf_all_hash type {sql_type} using left(ds_surf_all_hash, 20), \
             alter column ds_surf_key_hash type {sql_type} using left(ds_surf_key_hash, 20)"
        );
        let back = format!(
            "alter table {table} alter column ds_surf_all_hash type varchar(32), \
             alter column ds_surf_key_hash type varchar(32)"
        );
        follows(&mut world, sql_type, &change, &back).await;
    }
}

#[tokio::test]
async fn a_panic_gives_the_lease_back_and_the_next_sync_goes_on_at_once() {
    let mut world = primary().await;
    for (platform, holding) in HOLDINGS {
        for step in [Step::Leased, Step::Planned, Step::MidChunk, Step::ChunkCommitted, Step::BeforeCommit] {
            world.commit(updates("people", 0..5, &format!("{platform} {step}"))).await;
            let job = world.job(platform, holding);
            let panics = At::nth(step, 1, || async { panic!("a defect") });
            let error = world.sync_with(&job, Until::CaughtUp, Arc::new(panics)).await.unwrap_err();
            assert_eq!((error.class(), error.exit_code()), (Class::Bug, 70), "{step}: {error}");
            assert!(error.to_string().contains("a defect"), "{step}: {error}");
            assert_eq!(world.stream_state(&job, "lease_owner").await, None, "{step}");
            let began = Instant::now();
            world.sync(&job).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(5), "{step}: {:?}", began.elapsed());
            world.assert_holds(&job, world.oracle.newest_batch()).await;
        }
    }
}
