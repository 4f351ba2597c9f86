//! Names with quotes, spaces, capitals, other scripts and more bytes than Postgres keeps.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::{Arc, Mutex};

use milestream_oracle::{Operation, Row};
use milestream_tests::{At, Setting, Table, World, inserts, texts};
use milestream_worker::observer::{Observer, Step, Verdict};
use milestream_worker::sync::{SeedStrategy, Until, VerifySeed};
use milestream_worker::{Error, Holding};
use sqlx::{Connection, PgConnection};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// Seeds, follows and verifies tables under these names.
async fn carried(platform: &str, setting: Setting, tables: Vec<Table>) {
    let names: Vec<_> = tables.iter().map(|table| table.name().to_owned()).collect();
    let world = World::of(setting, tables).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 2;
        tuning.verify_seed = VerifySeed::Content;
    });
    let row = |key: &str, value: &str| Row { key: texts(&[Some(key)]), columns: texts(&[Some(value), None]) };
    let insert = |name| (0..5).map(move |at| (name, Operation::Insert(row(&format!("k'{at}"), "old"))));
    world.commit(names.iter().flat_map(|name| insert(name.as_str())).collect()).await;
    world.execute("primary", "analyze").await;
    let mut jobs = BOTH.map(|holding| world.job(&format!("{platform}{holding:?}"), holding));
    jobs[1].tuning.seed_strategy = SeedStrategy::Keys;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 1).await;
    }
    let change = |name| {
        [
            (name, Operation::Update(row("k'1", "new"))),
            (name, Operation::Delete(texts(&[Some("k'2")]))),
            (name, Operation::Insert(row("K\"9", "new"))),
        ]
    };
    world.commit(names.iter().flat_map(|name| change(name.as_str())).collect()).await;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 2).await;
    }
}

fn table(name: &str, key: &str, columns: [&str; 2]) -> Table {
    Table::new(name, &[(key, "text")], &columns.map(|column| (column, "text")))
}

#[tokio::test]
async fn names_with_quotes_spaces_capitals_and_other_scripts() {
    let setting = Setting {
        primary: "Hub of \"North\" O'Hara".into(),
        store: "Läger 'Süd' %s".into(),
        ..Setting::default()
    };
    let tables = vec![
        table("My \"Data\"", "the \"Key\"", ["select", "with space, and comma"]),
        table("Größe$", "ключ", ["名前", "back\\slash{}"]),
        table("d", "d", ["v", "t"]),
        // Names that our own statements use.
        table("still", "after", ["still", "before"]),
        table("touched", "key", ["columns", "versions"]),
        table("k", "opened", ["kept", "fault"]),
    ];
    carried("Edge \"South\" O'Neill", setting, tables).await;
}

#[tokio::test]
async fn names_longer_than_postgres_keeps() {
    let long = "a_rather_long_name_that_goes_on_and_on_until_it_is_longer_than_63_characters";
    let tables = vec![
        table(&format!("{long}_1"), &format!("key_{long}"), [&format!("one_{long}"), &format!("two_{long}")]),
        table(&format!("{long}_2"), "key", ["one", "two"]),
    ];
    let setting = Setting { store: format!("store_{long}"), ..Setting::default() };
    carried("Edge", setting, tables).await;
}

#[tokio::test]
async fn platforms_with_names_longer_than_postgres_keeps() {
    let long = "platform_with_a_rather_long_name_that_goes_on_and_on_until_it_ends";
    let setting = Setting { primary: format!("Hub_{long}"), ..Setting::default() };
    carried(&format!("Edge_{long}"), setting, vec![table("people", "id", ["one", "two"])]).await;
}

#[tokio::test]
async fn names_with_more_bytes_than_characters() {
    let (name, long) = ("ü".repeat(18), "ü".repeat(45));
    let tables = vec![table(&name, &format!("k{long}"), [&format!("a{long}"), &format!("b{long}")])];
    carried("Edge", Setting::default(), tables).await;
}

#[tokio::test]
async fn two_tables_that_would_have_one_name_are_refused() {
    // 45 characters, which DataSurface does not cut, and 90 bytes, which Postgres does.
    let (dataset, platform) = ("ü".repeat(45), "é".repeat(32));
    let world = World::new(vec![table(&dataset, "id", ["one", "two"])]).await;
    for (job, told) in [
        (world.job("Edge", Holding::LiveOnly), "the merge table of dataset"),
        (world.job(&platform, Holding::Mirror), "a control table and a control table"),
    ] {
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{error}");
        assert!(error.to_string().contains(told) && error.advice().contains("63 bytes"), "{error}");
    }
    let created =
        "select count(*) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace";
    assert_eq!(world.number(created).await, 0);
}

#[tokio::test]
async fn a_session_is_named_for_stream_and_chunk_however_long_the_names_are() {
    let store = "Réservations_de_toutes_les_compagnies_aériennes_du_monde_entier_depuis_1913";
    let setting = Setting { store: store.into(), ..Setting::default() };
    let mut world = World::of(setting, vec![Table::people()]).await;
    world.commit(inserts("people", 0..300)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (names, options) = (seen.clone(), world.connect_options("primary"));
    let look: Arc<dyn Observer> = Arc::new(At::every(Step::ChunkOpened, move || {
        let (names, options) = (names.clone(), options.clone());
        async move {
            let mut session = PgConnection::connect_with(&options).await.unwrap();
            let question = "select application_name from pg_stat_activity \
                            where application_name like 'milestream %' and application_name like '% chunk %'";
            let rows: Vec<String> = sqlx::query_scalar(question).fetch_all(&mut session).await.unwrap();
            names.lock().unwrap().extend(rows);
            Verdict::GoOn
        }
    }));
    world.sync_with(&job, Until::OneSync, look).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    for name in seen.iter() {
        assert!(name.starts_with("milestream Edge R") && name.len() <= 63, "{name}");
        let chunk = name.rsplit_once(" chunk ").expect("a chunk").1;
        assert!(chunk.parse::<i32>().is_ok(), "{name}");
    }
}
