//! Batch after batch: what the merge tables hold is what the source held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_core::model::ColumnType;
use milestream_tests::Tape;
use milestream_worker::ingest::{self, Scd};
use milestream_worker::observer::{NoticeKind, Step, Unobserved};
use tokio_util::sync::CancellationToken;

use crate::mill::{Mill, PEOPLE, dataset, people, unknown, varchar};

const TOURS: &str = "create table tours (land varchar(10), \"No\" integer, length interval, price numeric, \
     primary key (land, \"No\"));";

/// Each a moment in the source's life; a batch follows each.
const MOMENTS: [&str; 9] = [
    "insert into people select i, 'name ' || i, case when i % 3 = 0 then null else 'Ghent' end from generate_series(1, 500) i; \
     insert into tours values ('be', 1, '1 mon', 1.0), ('be', 11, '1 day', 2), ('b', 11, '0', null)",
    "update people set name = 'changed' where id % 10 = 0; delete from people where id between 100 and 120; \
     insert into people values (1000, 'new', null)",
    "select 1",
    "update people set town = '' where id = 3; update people set town = null where id = 1",
    "update tours set length = '30 days' where \"No\" = 1; update tours set price = 2.00 where price = 2",
    "update people set id = 5000 where id = 5; update tours set land = 'nl' where land = 'b'",
    "insert into people values (110, 'back', 'Ghent'); delete from people where id = 1000",
    "delete from people; delete from tours where \"No\" = 11",
    "insert into people values (110, 'back', 'Ghent')",
];

async fn follows(strategy: Scd) {
    let tours = dataset(
        "tours",
        2,
        &[
            ("land", varchar(10)),
            ("No", ColumnType::Integer),
            ("length", ColumnType::Interval),
            ("price", unknown()),
        ],
    );
    let mut mill = Mill::new(strategy, vec![people(), tours], &format!("{PEOPLE}{TOURS}")).await;
    for (batch, moment) in (1..).zip(MOMENTS) {
        mill.execute("source", moment).await;
        assert_eq!(mill.ingest().await.batch.0, batch);
    }
    let state =
        mill.value("store", "select state from hub_batch_metrics where batch_id = 9").await.expect("a state");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["all_datasets"], serde_json::json!(["people", "tours"]));
    assert_eq!(state["job_state"], serde_json::json!({}));
    assert_eq!(state.get("last_synced_primary_batch"), None);
}

#[tokio::test]
async fn a_forensic_platform_keeps_every_version_of_every_dataset() {
    follows(Scd::Forensic).await;
}

#[tokio::test]
async fn a_live_only_platform_keeps_what_the_source_holds() {
    follows(Scd::LiveOnly).await;
}

#[tokio::test]
async fn an_empty_source_is_a_batch_of_nothing() {
    for strategy in [Scd::Forensic, Scd::LiveOnly] {
        let mut mill = Mill::new(strategy, vec![people()], PEOPLE).await;
        let outcome = mill.ingest().await;
        assert_eq!((outcome.inserted, outcome.total), (0, 0));
        mill.execute("source", "insert into people values (1, 'a', 'b')").await;
        assert_eq!(mill.ingest().await.inserted, 1);
    }
}

#[tokio::test]
async fn every_common_type_is_carried_and_compared_byte_for_byte() {
    let kinds = [
        ("n", "numeric"),
        ("t", "timestamptz"),
        ("i", "interval"),
        ("u", "uuid"),
        ("jb", "jsonb"),
        ("j", "json"),
        ("b", "bytea"),
        ("e", "mood"),
        ("bits", "bit(3)"),
        ("a", "text[]"),
        ("d", "double precision"),
        ("c", "char(4)"),
        ("ea", "mood[]"),
    ];
    let names: Vec<_> =
        [("id", unknown())].into_iter().chain(kinds.map(|(name, _)| (name, unknown()))).collect();
    let columns = kinds.map(|(name, kind)| format!("{name} {kind}")).join(", ");
    let mood = "create type mood as enum ('sad', 'happy');";
    let source = format!("{mood} create table kinds (id integer primary key, {columns});");
    let mut mill = Mill::new(Scd::Forensic, vec![dataset("kinds", 1, &names)], &source).await;
    mill.execute("store", mood).await;
    mill.execute(
        "source",
        "insert into kinds values \
         (1, 1.0, '2013-01-01 00:00+02', '1 mon', '00000000-0000-0000-0000-000000000001', '{\"a\":1}', '{ \"a\": 1}', \
          '\\x00ff', 'sad', '101', '{a,NULL,\"b c\"}', '-0.0', 'ab', '{happy}'), \
         (2, 'NaN', 'infinity', '30 days', null, null, null, '', 'happy', null, '{}', 'NaN', '', null); \
         insert into kinds (id, j) values (3, to_json(repeat('x', 1000000)))",
    )
    .await;
    assert_eq!(mill.ingest().await.inserted, 3);
    mill.execute(
        "source",
        "update kinds set n = 1.00, i = '30 days', d = 0.0, j = '{\"a\": 1}' where id = 1",
    )
    .await;
    assert_eq!(mill.ingest().await.updated, 1);
    mill.execute("source", "update kinds set n = n").await;
    assert_eq!(mill.ingest().await.updated, 0);
}

#[tokio::test]
async fn tables_are_found_by_schema_and_names_are_kept_as_they_are() {
    let odd = dataset("Odd \"One", 1, &[("Key Of", ColumnType::Integer), ("Größe", unknown())]);
    let source = "create schema far; create table far.\"Odd\" (\"Key Of\" integer primary key, \"Größe\" text); \
         insert into far.\"Odd\" values (1, 'a')";
    let mut mill = Mill::new(Scd::LiveOnly, vec![odd], source).await;
    mill.job.source_tables.insert("Odd \"One".into(), "far.Odd".into());
    let outcome = mill.run(Arc::new(Unobserved)).await.unwrap();
    assert_eq!(outcome.inserted, 1);
    let question = "select \"Key Of\"::text, \"Größe\" from \"hub_store1_odd \"\"one_merge\"";
    assert_eq!(mill.ask("store", question).await, [[Some("1".to_owned()), Some("a".to_owned())]]);
}

#[tokio::test]
async fn a_view_is_read_with_a_warning() {
    let source = format!(
        "{PEOPLE} alter table people rename to hidden; create view people as select * from hidden; \
         insert into hidden values (1, 'a', null)"
    );
    let mut mill = Mill::new(Scd::Forensic, vec![people()], &source).await;
    let tape = Arc::new(Tape::default());
    let outcome = mill.run(tape.clone()).await.unwrap();
    mill.judge(outcome).await;
    let warnings = tape.notices(NoticeKind::Warning);
    assert!(
        warnings.len() == 1 && warnings[0].contains("\"public\".\"people\"") && warnings[0].contains("view"),
        "{warnings:?}"
    );
}

/// Waits until somebody waits for a lock on the source's table.
async fn until_waited_for(mill: &Mill, table: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let question =
        format!("select pid::text from pg_locks where not granted and relation = '{table}'::regclass");
    while mill.value("source", &question).await.is_none() {
        assert!(Instant::now() < deadline, "nobody ever waited for {table}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A snapshot taken before the wait would find the old file gone and read no rows at all. The tables are first
/// looked up without a lock, so people is rewritten only after that: while the look at towns has to wait.
#[tokio::test]
async fn a_source_that_is_being_rewritten_is_waited_for_and_read_whole() {
    let towns = dataset("towns", 1, &[("id", ColumnType::Integer)]);
    let source = format!("{PEOPLE} create table towns (id integer primary key);");
    let mut mill = Mill::new(Scd::Forensic, vec![people(), towns], &source).await;
    mill.execute("source", "insert into people values (1, 'old', null)").await;
    mill.ingest().await;
    let (mut holding, mut rewriting) = (mill.connect("source").await, mill.connect("source").await);
    sqlx::raw_sql("begin; lock table towns").execute(&mut holding).await.unwrap();
    let job = Arc::new(mill.job.clone());
    let ingesting = tokio::spawn(ingest::run(job, Arc::new(Unobserved), CancellationToken::new()));
    until_waited_for(&mill, "towns").await;
    let rewrite = "begin; truncate people; insert into people values (1, 'new', null), (2, 'new', null)";
    sqlx::raw_sql(rewrite).execute(&mut rewriting).await.unwrap();
    sqlx::raw_sql("commit").execute(&mut holding).await.unwrap();
    until_waited_for(&mill, "people").await;
    sqlx::raw_sql("commit").execute(&mut rewriting).await.unwrap();
    let outcome = ingesting.await.unwrap().unwrap();
    mill.judge(outcome).await;
    assert_eq!((outcome.inserted, outcome.updated, outcome.deleted), (2, 1, 0));
}

#[tokio::test]
async fn steps_are_reported_in_order_for_each_dataset() {
    let towns = dataset("towns", 1, &[("id", ColumnType::Integer)]);
    let source = format!("{PEOPLE} create table towns (id integer primary key);");
    let mill = Mill::new(Scd::LiveOnly, vec![people(), towns], &source).await;
    let tape = Arc::new(Tape::default());
    mill.run(tape.clone()).await.unwrap();
    for step in [Step::ChunkOpened, Step::MidChunk, Step::ChunkCommitting, Step::ChunkCommitted] {
        assert_eq!(tape.chunks(step), [0, 1], "{step}");
    }
    for step in [Step::Leased, Step::Planned, Step::Merging, Step::BeforeCommit, Step::AfterCommit] {
        assert_eq!(tape.count(step), 1, "{step}");
    }
}
