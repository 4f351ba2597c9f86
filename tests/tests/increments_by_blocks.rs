//! Increments that are a large part of their table: read by blocks and swept, while the primary goes on.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_oracle::Operation;
use milestream_tests::{At, Dice, Table, Tape, World, deletes, inserts, person, texts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step};
use milestream_worker::sync::{IncrementStrategy, Job, Until, VerifySeed};
use milestream_worker::{Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A primary of some eight blocks and both secondaries, seeded.
async fn seeded(table: Table) -> (World, Vec<Job>) {
    let mut world = World::new(vec![table]).await.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 40;
        tuning.parallelism = 1;
        tuning.increment_strategy = IncrementStrategy::Blocks;
        tuning.max_delete_fraction = 1.0;
    });
    world.commit(inserts("people", 0..400)).await;
    let jobs: Vec<_> = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding)).into();
    for job in &jobs {
        world.sync(job).await.unwrap();
    }
    world.execute("primary", format!("analyze {}", world.primary_table("people"))).await;
    (world, jobs)
}

/// Two batches with all that may happen to a key: changed once and twice, gone, gone and back, come and gone.
async fn large_change(world: &mut World) {
    let mut first = updates("people", 0..120, "changed");
    first.extend(deletes("people", 200..260));
    first.extend(inserts("people", 500..560));
    world.commit(first).await;
    let mut second = updates("people", 60..180, "changed again");
    second.extend((200..220).map(|id| ("people", Operation::Insert(person(id, "back", None)))));
    second.extend(deletes("people", 540..560));
    second.extend(deletes("people", 0..10));
    world.commit(second).await;
}

/// Random batches, each followed by a VACUUM that lets their space be used again.
fn busy_batches(world: &mut World, count: usize, seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let mut statements = Vec::new();
    for _ in 0..count {
        let batch = dice.batch("people", world.live("people"), 600, 60);
        statements.push(world.statements(batch).1);
        statements.push(format!("vacuum (truncate off) {}", world.primary_table("people")));
    }
    statements
}

#[tokio::test]
async fn it_is_as_of_its_batch_whatever_the_primary_commits_between_chunks() {
    for parallelism in [1, 3] {
        let (mut world, mut jobs) = seeded(Table::people().sparse()).await;
        for job in &mut jobs {
            job.tuning.parallelism = parallelism;
            large_change(&mut world).await;
            let newest = world.oracle.newest_batch();
            let busy = busy_batches(&mut world, 4, 7);
            let script = world.script(Step::ChunkCommitted, busy);
            let tape = Arc::new(Tape::default());
            let observer = Observers::default().and(script.clone()).and(tape.clone());
            world.sync_with(job, Until::OneSync, Arc::new(observer)).await.unwrap();
            world.assert_holds(job, newest).await;
            let rows = tape.rows(Step::ChunkCommitted);
            assert!(
                rows.len() > 5 && *rows.last().unwrap() > 0,
                "chunks, and a sweep that found rows: {rows:?}"
            );
            assert_eq!(tape.notices(NoticeKind::Replanned), Vec::<String>::new());
            script.finish().await;
            world.sync(job).await.unwrap();
            world.assert_holds(job, world.oracle.newest_batch()).await;
            // What the busy batches left is brought back, so that the next change can be made.
            let live: Vec<_> = world.live("people").keys().cloned().collect();
            world.commit(live.into_iter().map(|key| ("people", Operation::Delete(key))).collect()).await;
            world.commit(inserts("people", 0..400)).await;
        }
    }
}

#[tokio::test]
async fn random_ones_arrive() {
    for seed in 1..7 {
        let mut dice = Dice::new(seed);
        let (mut world, mut jobs) = seeded(Table::people().sparse()).await;
        for job in &mut jobs {
            job.tuning.seed_chunk_rows = dice.pick(&[2, 20, 100]);
            job.tuning.parallelism = 1 + dice.roll(3);
            for _ in 0..3 {
                let batch = dice.batch("people", world.live("people"), 600, 200);
                world.commit(batch).await;
            }
            let newest = world.oracle.newest_batch();
            let step = dice.pick(&[Step::ChunkOpened, Step::MidChunk, Step::ChunkCommitting, Step::Swept]);
            let busy = busy_batches(&mut world, 3, seed);
            let script = world.script_from(&[step, Step::Sweeping], 1 + dice.roll(3), busy);
            let synced = world.sync_with(job, Until::OneSync, script.clone()).await;
            synced.unwrap_or_else(|error| panic!("seed {seed}, {:?}: {error}", job.holding));
            world.assert_holds(job, newest).await;
            script.finish().await;
            world.sync(job).await.unwrap();
            world.assert_holds(job, world.oracle.newest_batch()).await;
        }
    }
}

#[tokio::test]
async fn the_books_count_what_was_staged_and_nothing_is_left_behind() {
    let (mut world, jobs) = seeded(Table::people().sparse()).await;
    large_change(&mut world).await;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 3).await;
        let platform = job.platform.to_lowercase();
        let total =
            format!("select total_records from {platform}_batch_metrics order by batch_id desc limit 1");
        let staged = format!("select count(*) from {platform}_store1_people_staging");
        assert_eq!(world.number(total).await, world.number(staged).await);
        let landing = format!("{platform}_store1_people_merge_landing");
        let left = format!("select count(*) from pg_class where relname = '{landing}'");
        assert_eq!(world.number(left).await, 0);
    }
    // 180 changed, 10 of them gone; 20 gone and back; 40 gone for good; 40 new.
    let counts = world.history(&jobs[0], "rows_inserted, rows_updated, rows_deleted").await;
    assert_eq!(counts.last().unwrap(), &texts(&[Some("40"), Some("190"), Some("50")]));
}

/// Syncs while statements run on the primary, one after each chunk from the second on; what was planned anew.
async fn followed_through(world: &World, job: &Job, statements: Vec<String>) -> Vec<String> {
    let script = world.script_from(&[Step::ChunkCommitted], 2, statements);
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(script.clone()).and(tape.clone());
    world.sync_with(job, Until::OneSync, Arc::new(observer)).await.unwrap();
    assert_eq!(script.left().await, 0, "all of it happened during the increment");
    tape.notices(NoticeKind::Replanned)
}

#[tokio::test]
async fn a_rewritten_table_is_read_in_the_order_of_its_keys_instead() {
    let (mut world, jobs) = seeded(Table::people()).await;
    large_change(&mut world).await;
    for job in &jobs {
        let rewrite = format!("vacuum full {}", world.primary_table("people"));
        let replanned = followed_through(&world, job, vec![rewrite]).await;
        assert!(replanned.len() == 1 && replanned[0].contains("was rewritten"), "{replanned:?}");
        assert!(replanned[0].contains("in the order of its keys instead"), "{replanned:?}");
        world.assert_holds(job, 3).await;
    }
}

/// New versions stand at the end of the table, and there is room in its first blocks, which are read by the time that
/// an update in place moves them there.
async fn moved_unseen(holding: Holding, verify: VerifySeed) -> (World, Job, Vec<String>) {
    let (mut world, jobs) = seeded(Table::people()).await;
    let mut job = jobs.into_iter().find(|job| job.holding == holding).unwrap();
    job.tuning.verify_seed = verify;
    large_change(&mut world).await;
    let table = world.primary_table("people");
    world.execute("primary", format!("vacuum (truncate off) {table}")).await;
    let live = "ds_surf_batch_in > 1 and ds_surf_batch_out = 2147483647";
    let move_up = format!("update {table} set town = town where {live}");
    let replanned = followed_through(&world, &job, vec![move_up]).await;
    (world, job, replanned)
}

#[tokio::test]
async fn open_versions_that_move_unseen_are_counted() {
    for holding in BOTH {
        // Where nobody counts what has landed, the growth of the table tells.
        for verify in [VerifySeed::Count, VerifySeed::Off] {
            let (world, job, replanned) = moved_unseen(holding, verify).await;
            assert!(replanned.len() == 1 && replanned[0].contains("in place"), "{replanned:?}");
            world.assert_holds(&job, 3).await;
        }
    }
}

#[tokio::test]
async fn one_that_ended_anywhere_goes_on_where_it_stood() {
    let steps = [
        (Step::Planned, 1),
        (Step::ChunkCommitted, 3),
        (Step::MidChunk, 4),
        (Step::Sweeping, 1),
        (Step::Swept, 1),
        (Step::Landed, 1),
        (Step::Merging, 1),
        (Step::BeforeCommit, 1),
    ];
    let (mut world, jobs) = seeded(Table::people().sparse()).await;
    for (step, nth) in steps {
        let changed = format!("changed before {step}");
        world.commit(updates("people", 0..100, &changed)).await;
        let target = world.oracle.newest_batch();
        for job in &jobs {
            let (stop, first) = (Arc::new(At::stop(step, nth)), Arc::new(Tape::default()));
            let observer = Observers::default().and(first.clone()).and(stop);
            let ended = world.sync_with(job, Until::OneSync, Arc::new(observer)).await;
            assert!(matches!(ended, Err(Error::Abandoned { .. })), "{step}: {ended:?}");
            world.expire_lease(job).await;
        }
        world.commit(updates("people", 50..150, &format!("changed after {step}"))).await;
        for job in &jobs {
            let second = Arc::new(Tape::default());
            world.sync_with(job, Until::OneSync, second.clone()).await.unwrap();
            world.assert_holds(job, target).await;
            assert_eq!(second.notices(NoticeKind::Resumed).len(), 1, "{step}");
            assert_eq!(second.notices(NoticeKind::Replanned), Vec::<String>::new(), "{step}");
            world.sync(job).await.unwrap();
            world.assert_holds(job, target + 1).await;
        }
    }
}

#[tokio::test]
async fn versions_that_landed_twice_with_other_contents_are_counted() {
    for holding in BOTH {
        let (mut world, jobs) = seeded(Table::people()).await;
        let job = jobs.into_iter().find(|job| job.holding == holding).unwrap();
        // One in four has moved to the end by now, and there is no room before it.
        world.commit(updates("people", 0..400, "changed")).await;
        let table = world.primary_table("people");
        let backfill = format!(
            "update {table} set town = 'filled in' where ds_surf_batch_in = 2 and id % 4 = 0 \
             and ctid < (select ctid from {table} where ds_surf_batch_in = 2 order by ctid offset 40 limit 1)"
        );
        let tape = Arc::new(Tape::default());
        let script = world.script_from(&[Step::ChunkCommitted], 9, vec![backfill]);
        let observer = Observers::default().and(script.clone()).and(tape.clone());
        world.sync_with(&job, Until::OneSync, Arc::new(observer)).await.unwrap();
        assert_eq!(script.left().await, 0);
        let replanned = tape.notices(NoticeKind::Replanned);
        assert!(replanned.len() == 1 && replanned[0].contains("landed twice"), "{replanned:?}");
    }
}

#[tokio::test]
async fn datasets_of_one_stream_are_read_each_in_its_own_way() {
    let mut world =
        World::new(vec![Table::named_people("a_staff"), Table::people()]).await.with_tuning(|tuning| {
            tuning.seed_chunk_rows = 1_000;
            tuning.max_delete_fraction = 1.0;
        });
    world.commit(inserts("people", 0..20_000)).await;
    world.commit(inserts("a_staff", 0..3_000)).await;
    let jobs: Vec<_> = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding)).into();
    for job in &jobs {
        world.sync(job).await.unwrap();
    }
    world.execute("primary", "analyze".to_owned()).await;
    let mut change = updates("a_staff", 0..2_500, "changed");
    change.extend(updates("people", 0..15_000, "changed"));
    world.commit(change).await;
    for job in &jobs {
        let tape = Arc::new(Tape::default());
        world.sync_with(job, Until::OneSync, tape.clone()).await.unwrap();
        world.assert_holds(job, 3).await;
        assert_eq!(tape.count(Step::Swept), 1, "people by blocks");
        let chunks = tape.chunks(Step::ChunkCommitted);
        assert!(chunks.len() > 10, "people in blocks and the staff in pieces: {chunks:?}");
        let mut told_apart = chunks.clone();
        told_apart.sort_unstable();
        told_apart.dedup();
        assert_eq!(told_apart.len(), chunks.len(), "{chunks:?}");
    }
}

/// Whether an increment was read by blocks: only then there is a sweep.
async fn is_swept(world: &World, job: &Job) -> bool {
    let tape = Arc::new(Tape::default());
    world.sync_with(job, Until::OneSync, tape.clone()).await.unwrap();
    world.assert_holds(job, world.oracle.newest_batch()).await;
    tape.count(Step::Swept) > 0
}

#[tokio::test]
async fn the_size_of_the_change_decides_between_blocks_and_keys() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..60_000)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.execute("primary", format!("analyze {}", world.primary_table("people"))).await;
    world.commit(updates("people", 0..2_000, "a few")).await;
    assert!(!is_swept(&world, &job).await, "4 000 of 62 000 versions");
    world.commit(updates("people", 0..15_000, "many")).await;
    assert!(is_swept(&world, &job).await, "30 000 of 77 000 versions");
    let mut by_keys = job.clone();
    by_keys.tuning.increment_strategy = IncrementStrategy::Keys;
    world.commit(updates("people", 0..15_000, "many again")).await;
    assert!(!is_swept(&world, &by_keys).await, "by keys where these are asked for");
}

#[tokio::test]
async fn history_that_was_pruned_is_missed_by_blocks_too() {
    let (mut world, jobs) = seeded(Table::people()).await;
    large_change(&mut world).await;
    let prune =
        format!("delete from {} where ds_surf_batch_out = 1 and id < 5", world.primary_table("people"));
    world.execute("primary", prune).await;
    for job in &jobs {
        let ended = world.sync(job).await;
        assert!(matches!(&ended, Err(Error::Pruned { what: "closed", .. })), "{ended:?}");
        world.assert_holds(job, 1).await;
    }
}
