//! What cannot work is refused with an error that says what is wrong, where, and what to do; nothing is written.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_cluster::ServerOptions;
use milestream_oracle::{Operation, Row};
use milestream_tests::{Setting, Table, World, deletes, inserts, texts, updates};
use milestream_worker::sync::{Job, SeedStrategy};
use milestream_worker::{Class, Error, Holding};

async fn primary() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    world
}

/// The error of a sync, and that it wrote nothing.
async fn refused(world: &World, job: &Job) -> Error {
    let error = world.sync(job).await.unwrap_err();
    assert_eq!(world.watermark(job).await, None, "{error}");
    assert!(!error.advice().is_empty());
    error
}

/// What the person reads, without what differs from run to run.
fn told(world: &World, error: &Error) -> String {
    format!("{error}\n=> {}", error.advice()).replace(&world.server.port().to_string(), "PORT")
}

#[tokio::test]
async fn differences_between_model_primary_and_secondary_are_told_all_at_once() {
    let columns = [("name", "varchar(40)"), ("town", "varchar(40)"), ("age", "integer"), ("gone", "text")];
    let people = Table::new("people", &[("id", "integer")], &columns);
    let mut world = World::new(vec![people, Table::named_people("staff")]).await;
    world.commit(inserts("staff", 0..3)).await;
    let people = world.primary_table("people");
    world.execute("primary", format!("alter table {people} drop column gone")).await;
    let staff = world.primary_table("staff");
    let nullable = format!(
        "alter table {staff} drop constraint hub_store1_staff_merge_pkey; alter table {staff} alter column id drop not null"
    );
    world.execute("primary", nullable).await;
    let narrower = "create table edge_store1_people_merge (id bigint primary key, name varchar(20), age integer, gone text, \
         extra integer not null, ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null)";
    world.execute("secondary", narrower).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let error = refused(&world, &job).await;
    assert_eq!((error.class(), error.exit_code()), (Class::Blocked, 1));
    insta::assert_snapshot!(told(&world, &error));
    let exists = "select string_agg(relname, ',' order by relname) from pg_class where relname like 'edge_store1%' and relkind = 'r'";
    assert_eq!(world.value("secondary", exists).await.as_deref(), Some("edge_store1_people_merge"));
}

#[tokio::test]
async fn a_key_that_is_not_the_primarys_is_refused() {
    let mut world = primary().await;
    world.commit(updates("people", 0..2, "changed")).await;
    let table = world.primary_table("people");
    let other = format!(
        "alter table {table} drop constraint hub_store1_people_merge_pkey, alter column name set not null; \
         alter table {table} add primary key (id, name, ds_surf_batch_in)"
    );
    world.execute("primary", other).await;
    let error = refused(&world, &world.job("Edge", Holding::Mirror)).await;
    insta::assert_snapshot!(told(&world, &error));
}

#[tokio::test]
async fn a_column_that_vanishes_halts_the_stream_and_its_watermark_stays() {
    let mut world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit(deletes("people", 0..1)).await;
    world.execute("primary", format!("alter table {} drop column town", world.primary_table("people"))).await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error}");
    world.assert_holds(&job, 1).await;
    assert!(world.stream_state(&job, "halted_reason").await.unwrap().contains("lacks the column"));
}

#[tokio::test]
async fn a_missing_table_is_named_with_its_server() {
    let world = primary().await;
    world.execute("primary", format!("drop table {}", world.primary_table("people"))).await;
    let error = refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    insta::assert_snapshot!(told(&world, &error));
    world.execute("primary", "drop table hub_batch_metrics").await;
    let error = refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    assert!(
        matches!(&error, Error::MissingTable { table, .. } if table.contains("hub_batch_metrics")),
        "{error}"
    );
}

/// A job that reads the primary as a role with few rights.
async fn as_reader(world: &World) -> Job {
    world.execute("primary", "create role \"Reader 1\" login").await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    let mut endpoint = world.endpoint("primary Hub", "primary");
    endpoint.user = "Reader 1".into();
    job.upstreams[0].endpoint = Arc::new(endpoint);
    job
}

#[tokio::test]
async fn all_rights_that_are_missing_are_told_at_once_with_the_grant_that_helps() {
    let world = primary().await;
    let job = as_reader(&world).await;
    let error = refused(&world, &job).await;
    assert!(matches!(error, Error::MissingRight { .. }), "{error}");
    let advice = error.advice();
    let grant = advice.split_once("run: ").expect("a statement").1;
    let tables = "\"public\".\"hub_batch_metrics\", \"public\".\"hub_store1_people_merge\"";
    assert_eq!(grant, format!("GRANT SELECT ON {tables} TO \"Reader 1\";"));
    world.execute("primary", grant).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn to_select_is_all_that_a_reader_of_the_primary_needs() {
    let mut world = primary().await;
    let job = as_reader(&world).await;
    world.execute("primary", r#"grant select on all tables in schema public to "Reader 1""#).await;
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..5, "changed")).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_secondary_where_nothing_may_be_created_is_told() {
    let world = primary().await;
    world.execute("secondary", "create role writer login").await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    let mut endpoint = world.endpoint("secondary Edge", "secondary");
    endpoint.user = "writer".into();
    job.secondary = Arc::new(endpoint);
    let error = refused(&world, &job).await;
    assert_eq!(error.class(), Class::Blocked);
    assert!(error.to_string().contains("lacks CREATE on schema \"public\""), "{error}");
    world.execute("secondary", error.advice().split_once("run: ").expect("a statement").1).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_a_retry_and_never_shown() {
    let setting = Setting {
        server: ServerOptions { password: Some("right".into()), ..ServerOptions::named("guarded") },
        ..Setting::default()
    };
    let mut world = World::of(setting, vec![Table::people()]).await;
    world.commit(inserts("people", 0..3)).await;
    for side in ["primary Hub", "secondary Edge"] {
        let mut job = world.job("Edge", Holding::LiveOnly);
        let database = if side == "primary Hub" { "primary" } else { "secondary" };
        let mut endpoint = world.endpoint(side, database);
        endpoint.password = "secret guess".to_owned().into();
        match side {
            "primary Hub" => job.upstreams[0].endpoint = Arc::new(endpoint),
            _ => job.secondary = Arc::new(endpoint),
        }
        let error = refused(&world, &job).await;
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let shown = format!("{error} {error:?} {job:?}");
        assert!(shown.contains(side) && !shown.contains("secret guess"), "{shown}");
    }
    world.sync(&world.job("Edge", Holding::LiveOnly)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_tried_for_as_long_as_the_budget_lasts() {
    let world = primary().await.with_tuning(|tuning| tuning.retry_tries = 3);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let mut job = world.job("Edge", Holding::LiveOnly);
    let mut endpoint = world.endpoint("primary Hub", "primary");
    endpoint.port = port;
    job.upstreams[0].endpoint = Arc::new(endpoint);
    let error = refused(&world, &job).await;
    let Error::BudgetSpent { tries: 3, last, .. } = &error else { panic!("{error}") };
    assert!(matches!(**last, Error::Unreachable { .. }), "{last}");
    assert!(error.to_string().contains(&format!("primary Hub (127.0.0.1:{port}/primary)")), "{error}");
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test]
async fn databases_of_different_encodings_are_refused() {
    let world = primary().await;
    for (database, encoding) in [("latin", "LATIN1"), ("bytes", "SQL_ASCII")] {
        let create = format!("create database {database} encoding {encoding} locale 'C' template template0");
        world.execute("postgres", create).await;
        let mut job = world.job("Edge", Holding::LiveOnly);
        job.secondary = Arc::new(world.endpoint("secondary Edge", database));
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::Encodings { .. }), "{error}");
        assert!(error.to_string().contains("UTF8") && error.to_string().contains(encoding), "{error}");
    }
}

#[tokio::test]
async fn a_view_is_seeded_by_keys_and_refused_by_blocks() {
    for (holding, kind) in [(Holding::LiveOnly, "view"), (Holding::Mirror, "materialized view")] {
        let mut world = primary().await;
        world.commit(updates("people", 0..4, "changed")).await;
        let table = world.primary_table("people");
        let hide = format!("alter table {table} rename to base; create {kind} {table} as select * from base");
        world.execute("primary", hide).await;
        let mut job = world.job("Edge", holding);
        job.tuning.seed_strategy = SeedStrategy::Blocks;
        let error = refused(&world, &job).await;
        assert!(matches!(&error, Error::Unlockable { kind: named, .. } if named == kind), "{error}");
        job.tuning.seed_strategy = SeedStrategy::Auto;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
    }
}

#[tokio::test]
async fn a_null_in_the_key_of_a_view_is_refused() {
    let world = primary().await;
    let table = world.primary_table("people");
    let hide = format!(
        "alter table {table} rename to base; create view {table} as select nullif(id, 3) as id, name, town, \
         ds_surf_all_hash, ds_surf_key_hash, ds_surf_batch_in, ds_surf_batch_out from base"
    );
    world.execute("primary", hide).await;
    let error = refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    assert_eq!(error.class(), Class::Blocked);
    assert!(error.to_string().contains("people: a row of the primary has a NULL in its key"), "{error}");
}

#[tokio::test]
async fn a_type_that_the_secondary_lacks_is_named() {
    let setting = Setting { types: "create type mood as enum ('sad')".into(), ..Setting::default() };
    let table = Table::new("moods", &[("id", "integer")], &[("mood", "mood")]);
    let mut world = World::of(setting, vec![table]).await;
    let row = Row { key: texts(&[Some("1")]), columns: texts(&[Some("sad")]) };
    world.commit(vec![("moods", Operation::Insert(row))]).await;
    world.execute("secondary", "drop type mood").await;
    let error = refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    assert_eq!(error.class(), Class::Blocked);
    let told = "the secondary has no type like public.mood (enum of \"sad\")";
    assert!(error.to_string().contains(told), "{error}");
    assert!(
        error.to_string().contains("on the secondary: CREATE TYPE public.mood AS ENUM ('sad');"),
        "{error}"
    );
}

#[tokio::test]
async fn a_primary_that_is_no_candidate_any_more_is_not_exchanged_for_another() {
    let world = primary().await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    job.upstreams[0].platform = "Other".into();
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::Setup { .. }), "{error}");
    assert!(error.to_string().contains("follows primary \"Hub\""), "{error}");
    world.assert_holds(&job, 1).await;
}
