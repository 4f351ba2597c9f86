//! What a server says reaches the person whole: detail, hint, table and constraint, and no line of its source; the class
//! of an error and its advice name the cause.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_cluster::ServerOptions;
use milestream_oracle::{Operation, Row};
use milestream_tests::{At, Table, World, inserts, texts, updates};
use milestream_worker::observer::{Step, Verdict};
use milestream_worker::sync::Until;
use milestream_worker::{Class, Endpoint, Error, Holding};

/// A secondary that is caught up, and an increment that is due.
async fn increment_due() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    world.sync(&world.job("Edge", Holding::LiveOnly)).await.unwrap();
    world.commit(updates("people", 0..5, "changed")).await;
    world
}

#[tokio::test]
async fn a_broken_constraint_is_named_with_the_key_the_table_and_no_line_of_the_servers_source() {
    let world = increment_due().await;
    let unique = "create unique index only_name on edge_store1_people_merge (name)";
    world.execute("secondary", unique).await;
    let error = world.sync(&world.job("Edge", Holding::LiveOnly)).await.unwrap_err();
    assert_eq!(error.class(), Class::Blocked);
    let told = error.to_string();
    assert!(told.contains("Key (name)=(changed) already exists."), "{told}");
    let named = "[table public.edge_store1_people_merge, constraint only_name, SQLSTATE 23505]";
    assert!(told.ends_with(named), "{told}");
    assert!(!told.contains("at line"), "{told}");
    assert!(error.advice().contains("let the constraint be deferred"), "{}", error.advice());
}

#[tokio::test]
async fn an_internal_error_of_the_server_is_no_bug_of_the_worker() {
    let world = increment_due().await;
    let failing = "create function fail() returns trigger language plpgsql as $$ begin \
                   raise exception 'cache lookup failed' using errcode = 'XX000', detail = 'of a type', \
                   hint = 'Ask its owner.'; end $$; \
                   create trigger fails before update on edge_store1_people_merge for each row execute function fail()";
    world.execute("secondary", failing).await;
    let error = world.sync(&world.job("Edge", Holding::LiveOnly)).await.unwrap_err();
    assert_eq!((error.class(), error.exit_code()), (Class::Blocked, 1), "{error}");
    let told = error.to_string();
    assert!(told.contains("cache lookup failed: of a type (hint: Ask its owner.)"), "{told}");
    assert!(told.contains("PL/pgSQL function fail() line 1 at RAISE"), "{told}");
    assert!(error.advice().contains("the server itself failed"), "{}", error.advice());
}

#[tokio::test]
async fn a_value_that_an_index_cannot_hold_is_a_matter_of_its_limit() {
    let mut world = World::new(vec![Table::new("notes", &[("id", "integer")], &[("note", "text")])]).await;
    let note = |id: &str, note: &str| {
        ("notes", Operation::Insert(Row { key: texts(&[Some(id)]), columns: texts(&[Some(note)]) }))
    };
    world.commit(vec![note("1", "short")]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.execute("secondary", "create index notes on edge_store1_notes_merge (note)").await;
    // Letters that nothing compresses.
    let long =
        world.value("primary", "select string_agg(md5(i::text), '') from generate_series(1, 500) i").await;
    world.commit(vec![note("2", &long.unwrap())]).await;
    let error = world.sync(&job).await.unwrap_err();
    assert_eq!((error.class(), error.exit_code()), (Class::Blocked, 1), "{error}");
    assert!(error.advice().contains("beyond a limit"), "{}", error.advice());
    world.execute("secondary", "drop index notes").await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_read_that_a_hot_standby_cancels_is_told_with_the_settings_that_help() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..200)).await;
    let at_once = ServerOptions::named("standby")
        .with_setting("max_standby_streaming_delay", "0")
        .with_setting("hot_standby_feedback", "off");
    let standby = world.server.standby(at_once).await.unwrap();
    let world = world.with_tuning(|tuning| tuning.retry_tries = 2);
    let mut job = world.job("Edge", Holding::LiveOnly);
    let endpoint = Endpoint { port: standby.port(), ..world.endpoint("primary Hub", "primary") };
    job.upstreams[0].endpoint = Arc::new(endpoint);
    let table = world.primary_table("people");
    let options = world.connect_options("primary");
    // The read has its snapshot; what it would read is removed behind it.
    let removing = At::every(Step::ChunkOpened, move || {
        let (options, table) = (options.clone(), table.clone());
        async move {
            milestream_tests::execute(&options, format!("update {table} set name = name")).await;
            milestream_tests::execute(&options, format!("vacuum {table}")).await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            Verdict::GoOn
        }
    });
    let error = world.sync_with(&job, Until::CaughtUp, Arc::new(removing)).await.unwrap_err();
    let Error::BudgetSpent { last, .. } = &error else { panic!("{error}") };
    assert!(last.to_string().contains("SQLSTATE 40001"), "{last}");
    for helps in ["hot_standby_feedback = on", "max_standby_streaming_delay", "it goes on where it stood"] {
        assert!(error.advice().contains(helps), "{}", error.advice());
    }
}
