//! Seeds exactly as of X while the primary goes on, by both strategies, for both holdings.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::Duration;

use milestream_oracle::{Operation, Row};
use milestream_tests::{Dice, Table, Tape, World, deletes, inserts, texts, updates};
use milestream_worker::Holding;
use milestream_worker::observer::{NoticeKind, Observers, Step};
use milestream_worker::sync::{SeedStrategy, Until, VerifySeed};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A primary of three batches: rows, changed ones, gone ones.
async fn primary(tables: Vec<Table>) -> World {
    let mut world = World::new(tables).await;
    world.commit(inserts("people", 0..400)).await;
    world.commit(updates("people", 0..60, "changed")).await;
    world.commit(deletes("people", 40..80)).await;
    world
}

/// Batches that change, remove and add many rows, each followed by a VACUUM that lets their space be used again.
fn busy_batches(world: &mut World, ids: i32, count: usize, seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let mut statements = Vec::new();
    for _ in 0..count {
        let batch = dice.batch("people", world.live("people"), ids, 60);
        statements.push(world.statements(batch).1);
        // Without truncation: for that VACUUM would wait until nobody reads the table.
        statements.push(format!("vacuum (truncate off) {}", world.primary_table("people")));
    }
    statements
}

/// Seeds as of batch 3 while the primary commits between the chunks, then catches up.
async fn seeded_while_the_primary_goes_on(strategy: SeedStrategy, parallelism: usize) {
    let world = primary(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 40;
        tuning.seed_strategy = strategy;
        tuning.parallelism = parallelism;
    });
    world.execute("primary", format!("analyze {}", world.primary_table("people"))).await;
    for holding in BOTH {
        let newest = world.oracle.newest_batch();
        let busy = busy_batches(&mut world, 450, 6, 7);
        let script = world.script(Step::ChunkCommitted, busy);
        let tape = Arc::new(Tape::default());
        let job = world.job(&format!("Edge{holding:?}"), holding);
        let observer = Observers::default().and(script.clone()).and(tape.clone());
        world.sync_with(&job, Until::OneSync, Arc::new(observer)).await.unwrap();
        world.assert_holds(&job, newest).await;
        let rows = tape.rows(Step::ChunkCommitted);
        assert!(rows.len() >= 8, "many chunks: {rows:?}");
        assert_eq!(tape.notices(NoticeKind::Replanned), Vec::<String>::new());
        if strategy == SeedStrategy::Blocks {
            let (swept, chunks) = rows.split_last().unwrap();
            let landed =
                world.number(format!("select count(*) from {}", world.merge_table(&job, "people"))).await;
            let by_chunks: u64 = chunks.iter().sum();
            assert!(
                *swept > 0 && by_chunks < u64::try_from(landed).unwrap(),
                "the sweep brought what chunks lacked"
            );
        }
        script.finish().await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, world.oracle.newest_batch()).await;
    }
}

#[tokio::test]
async fn a_seed_by_blocks_is_as_of_its_batch_whatever_the_primary_commits_between_chunks() {
    seeded_while_the_primary_goes_on(SeedStrategy::Blocks, 1).await;
}

#[tokio::test]
async fn a_seed_by_blocks_over_three_connections_is_as_of_its_batch() {
    seeded_while_the_primary_goes_on(SeedStrategy::Blocks, 3).await;
}

#[tokio::test]
async fn a_seed_by_keys_is_as_of_its_batch_whatever_the_primary_commits_between_chunks() {
    seeded_while_the_primary_goes_on(SeedStrategy::Keys, 1).await;
}

#[tokio::test]
async fn a_seed_by_keys_over_two_connections_is_as_of_its_batch() {
    seeded_while_the_primary_goes_on(SeedStrategy::Keys, 2).await;
}

/// Small seeds of random tables, with random chunks, while random batches are committed at every step.
async fn random_seeds(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let mut world = World::new(vec![Table::people().sparse()]).await;
        for _ in 0..=dice.roll(3) {
            let batch = dice.batch("people", world.live("people"), 60, 80);
            world.commit(batch).await;
        }
        let (rows, parallelism) = (dice.pick(&[2, 8, 30]), 1 + dice.roll(3));
        let strategy = dice.pick(&[SeedStrategy::Blocks, SeedStrategy::Blocks, SeedStrategy::Keys]);
        let verify = dice.pick(&[VerifySeed::Count, VerifySeed::Content]);
        let mut world = world.with_tuning(|tuning| {
            tuning.seed_chunk_rows = rows;
            tuning.parallelism = parallelism;
            tuning.seed_strategy = strategy;
            tuning.verify_seed = verify;
        });
        for holding in BOTH {
            let newest = world.oracle.newest_batch();
            let busy = busy_batches(&mut world, 90, 4, seed);
            let step =
                dice.pick(&[Step::ChunkOpened, Step::MidChunk, Step::ChunkCommitted, Step::ChunkCommitting]);
            let script = world.script_from(&[step, Step::Sweeping, Step::Swept], 1 + dice.roll(3), busy);
            let job = world.job(&format!("Edge{holding:?}"), holding);
            let synced = world.sync_with(&job, Until::OneSync, script.clone()).await;
            synced.unwrap_or_else(|error| panic!("seed {seed}, {holding:?}: {error}"));
            eprintln!("seed {seed}: {holding:?} {strategy:?} in chunks of {rows} on {parallelism}");
            world.assert_holds(&job, newest).await;
            script.finish().await;
            world.sync(&job).await.unwrap();
            world.assert_holds(&job, world.oracle.newest_batch()).await;
        }
    }
}

#[tokio::test]
async fn random_seeds_are_exact_1_to_5() {
    random_seeds(1..6).await;
}

#[tokio::test]
async fn random_seeds_are_exact_6_to_10() {
    random_seeds(6..11).await;
}

#[tokio::test]
async fn the_first_seed_of_a_table_without_rows_and_of_a_table_without_columns_but_its_key() {
    let edges = Table::new("edges", &[("a", "integer"), ("b", "integer")], &[]);
    let mut world = World::new(vec![Table::people(), edges]).await;
    let edge = |a: &str, b: &str| Row { key: texts(&[Some(a), Some(b)]), columns: vec![] };
    world
        .commit(vec![
            ("edges", Operation::Insert(edge("1", "11"))),
            ("edges", Operation::Insert(edge("11", "1"))),
        ])
        .await;
    for holding in BOTH {
        let job = world.job(&format!("Edge{holding:?}"), holding);
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, world.oracle.newest_batch()).await;
    }
    world.commit(vec![("edges", Operation::Delete(texts(&[Some("1"), Some("11")])))]).await;
    world.commit(inserts("people", 0..3)).await;
    world
        .commit(vec![
            ("edges", Operation::Insert(edge("1", "11"))),
            ("edges", Operation::Delete(texts(&[Some("11"), Some("1")]))),
        ])
        .await;
    for holding in BOTH {
        let job = world.job(&format!("Edge{holding:?}"), holding);
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 4).await;
    }
}

#[tokio::test]
async fn datasets_of_a_stream_move_together() {
    let tables = ["people", "staff", "guests"].map(Table::named_people);
    let mut world = World::new(tables.to_vec()).await;
    world
        .commit(["people", "staff", "guests"].into_iter().flat_map(|table| inserts(table, 0..20)).collect())
        .await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    world.commit(inserts("staff", 20..25)).await;
    world.commit(deletes("guests", 0..5)).await;
    let outcome = world.sync(&job).await.unwrap();
    assert_eq!(outcome.syncs, 1, "two batches in one sync");
    world.assert_holds(&job, 3).await;
}

#[tokio::test]
async fn primary_and_secondary_may_share_a_database() {
    let setting = milestream_tests::Setting {
        secondary_database: "primary".into(),
        ..milestream_tests::Setting::default()
    };
    let mut world = World::of(setting, vec![Table::people()]).await;
    world.commit(inserts("people", 0..100)).await;
    for holding in BOTH {
        let job = world.job(&format!("Edge{holding:?}"), holding);
        world.sync(&job).await.unwrap();
        world.commit(updates("people", 0..7, "moved")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, world.oracle.newest_batch()).await;
    }
}

/// A primary table kept in several heaps is seeded leaf by leaf.
async fn seeded_from_several_heaps(storage: &str, heaps: &str) {
    let mut world = World::new(vec![Table::people().stored(storage)]).await;
    world.execute("primary", heaps.replace("{people}", &world.primary_table("people"))).await;
    let mut world = {
        world.commit(inserts("people", 0..300)).await;
        world.with_tuning(|tuning| tuning.seed_chunk_rows = 20)
    };
    for holding in BOTH {
        let newest = world.oracle.newest_batch();
        let busy = busy_batches(&mut world, 350, 3, 11);
        let script = world.script(Step::ChunkCommitted, busy);
        let job = world.job(&format!("Edge{holding:?}"), holding);
        world.sync_with(&job, Until::OneSync, script.clone()).await.unwrap();
        world.assert_holds(&job, newest).await;
        script.finish().await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, world.oracle.newest_batch()).await;
    }
}

#[tokio::test]
async fn a_partitioned_primary_table_is_seeded_leaf_by_leaf() {
    seeded_from_several_heaps(
        "partition by hash (id)",
        "create table p0 partition of {people} for values with (modulus 2, remainder 0) with (fillfactor = 10);
         create table p1 partition of {people} for values with (modulus 2, remainder 1);",
    )
    .await;
}

#[tokio::test]
async fn a_primary_table_with_children_by_inheritance_is_seeded_with_them() {
    seeded_from_several_heaps(
        "with (fillfactor = 10)",
        "create table child () inherits ({people});
         create function route() returns trigger language plpgsql as $$ begin
            if new.id % 3 = 0 then insert into child select new.*; return null; end if; return new; end $$;
         create trigger route before insert on {people} for each row execute function route();",
    )
    .await;
}

#[tokio::test]
async fn a_view_is_cut_into_chunks_by_what_the_planner_expects_of_it() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..600)).await;
    let table = world.primary_table("people");
    let view = format!(
        "alter table {table} rename to versions; analyze versions; create view {table} as table versions"
    );
    world.execute("primary", view).await;
    for holding in BOTH {
        let mut job = world.job(&format!("Edge{holding:?}"), holding);
        job.tuning.seed_chunk_rows = 100;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 1).await;
        let chunks = world.history(&job, "chunks").await;
        assert_eq!(chunks, [[Some("6".to_owned())]], "{holding:?}");
    }
}

#[tokio::test]
async fn a_view_that_talks_while_it_is_read_holds_nothing_up() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..600)).await;
    let table = world.primary_table("people");
    // Some megabytes of notices: more than sockets hold for a reader that does not take them.
    let view = format!(
        "alter table {table} rename to versions; \
         create function talk() returns boolean language plpgsql volatile as \
            $$ begin raise warning '%', repeat('talk ', 2000); return true; end $$; \
         create view {table} as select * from versions where talk()"
    );
    world.execute("primary", view).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.silence_timeout = Duration::from_secs(5);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}
