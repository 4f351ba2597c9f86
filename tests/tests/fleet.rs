//! Many streams at once: how they share servers.

use std::time::Duration;

use milestream_cluster::ServerOptions;
use milestream_core::stream::Stream;
use milestream_tests::{Configuration, Ended, Process, Setting, Table, World, inserts};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const STREAMS: usize = 200;

/// Two hundred streams on a server with room for twenty sessions.
async fn crowd() -> (World, Configuration) {
    let server = ServerOptions::named("crowded").with_setting("max_connections", "20");
    fleet(server, STREAMS, "").await
}

/// A world whose store has many datasets, each a stream of its own with one batch.
async fn fleet(server: ServerOptions, streams: usize, settings: &str) -> (World, Configuration) {
    let mut world = World::of(Setting { server, ..Setting::default() }, vec![Table::people()]).await;
    world.commit(inserts("people", 0..3)).await;
    let copies = format!(
        "do $$ begin for n in 1..{streams} loop \
           execute format('create table hub_store1_people%s_merge (like hub_store1_people_merge including all)', n); \
           execute format('insert into hub_store1_people%s_merge select * from hub_store1_people_merge', n); \
           insert into hub_batch_metrics select 'Store1#people' || n, batch_id, batch_start_time, batch_end_time, \
             batch_status, records_inserted, records_updated, records_deleted, total_records, null \
             from hub_batch_metrics where key = 'Store1'; \
           commit; end loop; end $$"
    );
    world.execute("primary", copies).await;
    let of_people = world.stream().datasets.remove(0);
    let stream = |n: usize| {
        let name = format!("people{n}");
        let dataset = milestream_core::stream::Dataset { name: name.clone(), ..of_people.clone() };
        Stream { store: "Store1".into(), dataset: Some(name), datasets: vec![dataset] }
    };
    let configuration = Configuration::of_streams(&world, (1..=streams).map(stream).collect(), settings);
    (world, configuration)
}

/// Runs a command beside whoever counts its sessions; the most that there were at a time.
async fn counted(world: &World, configuration: &Configuration, arguments: &[&str]) -> (Ended, i64) {
    let process = Process::start(BINARY, configuration.path(), arguments);
    let ended = tokio::task::spawn_blocking(|| process.end());
    let mut most = 0;
    while !ended.is_finished() {
        let question = "select count(*) from pg_stat_activity where application_name like 'milestream%'";
        most = most.max(world.number(question).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (ended.await.expect("an end"), most)
}

/// Every stream of both secondaries is known, over a handful of sessions.
async fn known_over_few_sessions(arguments: &[&str], tell: &str) {
    let (world, configuration) = crowd().await;
    let (ended, most) = counted(&world, &configuration, arguments).await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let streams: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let streams = streams.as_array().expect("a list");
    assert_eq!(streams.len(), 2 * STREAMS);
    assert!(
        streams.iter().all(|stream| stream.pointer(tell).is_some_and(|fact| *fact == 1)),
        "{}",
        ended.stdout
    );
    assert!(most <= 4, "{most} sessions at a time");
}

const SECONDARIES: [&str; 6] = ["--output", "json", "--platform", "Edge", "--platform", "Archive"];

#[tokio::test]
async fn status_of_hundreds_of_streams_takes_a_session_a_database() {
    known_over_few_sessions(&[&["status"], &SECONDARIES[..]].concat(), "/lag/batches").await;
}

#[tokio::test]
async fn plans_of_hundreds_of_streams_take_a_session_a_database() {
    known_over_few_sessions(&[&["plan"], &SECONDARIES[..]].concat(), "/to").await;
}

#[tokio::test]
async fn what_is_known_of_a_server_is_asked_once() {
    let (_world, configuration) = crowd().await;
    // Nobody answers there, and nobody refuses: an address that is kept for documents.
    let away = ["--endpoints", "MergeDB_Hub=192.0.2.1:5432", "--connect-timeout", "2s"];
    let began = std::time::Instant::now();
    let ended =
        Process::run(BINARY, configuration.path(), &[&["status"], &SECONDARIES[..], &away[..]].concat());
    assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Streams of a server that is away, and behind them two whose server answers.
const AWAY: usize = 8;
const BUDGET: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_that_is_away_costs_one_retry_budget_and_nobody_elses_time() {
    let away = |n| {
        format!(
            "[platform.Edge.stream.\"Store1#people{n}\"]\nendpoints = {{ MergeDB_Hub = \"127.0.0.1:1\" }}\n"
        )
    };
    let settings = format!(
        "retry_window = \"{}s\"\nretry_tries = 1000\nretry_pause_min = \"200ms\"\nretry_pause_max = \"400ms\"\n{}",
        BUDGET.as_secs(),
        (1..=AWAY).map(away).collect::<String>()
    );
    let (world, configuration) = fleet(ServerOptions::named("away"), AWAY + 2, &settings).await;
    let began = std::time::Instant::now();
    let arguments = ["sync", "--platform", "Edge", "--all", "--max-streams", "2"];
    let ended = Process::run(BINARY, configuration.path(), &arguments);
    let took = began.elapsed();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(took < BUDGET * 3, "{AWAY} streams took {took:?}");
    assert_eq!(world.number("select count(*) from edge_sync_history").await, 2, "{ended:?}");
    let at =
        |what: &str| ended.stderr.find(what).unwrap_or_else(|| panic!("no {what:?} in {}", ended.stderr));
    let given_up = at("error: Edge Store1#people");
    for n in [AWAY + 1, AWAY + 2] {
        assert!(at(&format!("Edge Store1#people{n}: at batch 1")) < given_up, "{}", ended.stderr);
    }
    let told = ended.stderr.matches("did not answer another stream of this run").count();
    assert_eq!(told, AWAY - 1, "one found out, the others were told: {}", ended.stderr);
}

#[tokio::test]
async fn a_primary_whose_source_is_away_does_not_hold_its_secondaries_up() {
    let settings =
        "retry_window = \"4s\"\nretry_tries = 1000\nretry_pause_min = \"200ms\"\nretry_pause_max = \"400ms\"";
    // Nobody listens where the configuration says that the source is.
    let (world, configuration) = fleet(ServerOptions::named("sourceless"), 2, settings).await;
    let ended = Process::run(BINARY, configuration.path(), &["sync", "--all"]);
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    let at =
        |what: &str| ended.stderr.find(what).unwrap_or_else(|| panic!("no {what:?} in {}", ended.stderr));
    assert!(at("Edge Store1#people1: at batch 1") < at("error: Hub Store1#people"), "{}", ended.stderr);
    assert_eq!(world.number("select count(*) from edge_sync_history").await, 2);
}
