//! Chunks sized by time: small chunks that follow one another are copied together, all or nothing.

use std::sync::Arc;
use std::time::Duration;

use milestream_tests::{At, Table, Tape, World, control, inserts, texts, updates};
use milestream_worker::Holding;
use milestream_worker::observer::{Observers, Step};
use milestream_worker::sync::{Job, Until};

/// A primary with four hundred people over many blocks, and the job of a secondary that copies as much as fits into a
/// time that is longer than the whole seed takes.
async fn drill(workers: usize) -> (World, Job) {
    let world = World::new(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.seed_chunk_time = Duration::from_secs(60);
        tuning.parallelism = workers;
    });
    world.commit(inserts("people", 0..400)).await;
    world.execute("primary", format!("vacuum analyze {}", world.primary_table("people"))).await;
    let job = world.job("Edge", Holding::LiveOnly);
    (world, job)
}

#[tokio::test]
async fn fast_chunks_are_copied_together_and_each_of_them_once() {
    let (world, job) = drill(1).await;
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    world.assert_holds(&job, 1).await;
    let together = tape.together(Step::ChunkCommitted);
    let chunks: u32 = together.iter().sum();
    assert!(chunks > 20, "the plan has many chunks: {together:?}");
    assert_eq!((together[0], together[1]), (1, 4), "the first shows how fast it goes");
    assert_eq!(together.last(), Some(&1), "the sweep stays alone");
    assert!(together.len() < 12, "{together:?}");
    let counts = world.history(&job, "chunks, copies, rows_staged").await;
    assert_eq!(counts, [texts(&[Some(&chunks.to_string()), Some(&chunks.to_string()), Some("400")])]);
}

#[tokio::test]
async fn with_hardly_any_time_each_chunk_is_copied_alone() {
    let (world, mut job) = drill(1).await;
    job.tuning.seed_chunk_time = Duration::from_millis(1);
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    let together = tape.together(Step::ChunkCommitted);
    assert!(together.len() > 20 && together.iter().all(|count| *count == 1), "{together:?}");
}

#[tokio::test]
async fn what_was_copied_together_is_there_as_a_whole_or_not_at_all() {
    for (step, nth) in [(Step::MidChunk, 3), (Step::ChunkCommitting, 3), (Step::ChunkCommitted, 3)] {
        let (mut world, job) = drill(1).await;
        let stopped = world.sync_with(&job, Until::CaughtUp, Arc::new(At::stop(step, nth))).await;
        assert!(stopped.is_err());
        let done = format!(
            "select count(*) filter (where status = 'done'), count(*) filter (where status = 'copying') from {}",
            control(&job, "sync_chunk")
        );
        let done = world.ask("secondary", done).await;
        let expected =
            if step == Step::ChunkCommitted { [Some("19"), Some("0")] } else { [Some("5"), Some("14")] };
        assert_eq!(
            done,
            [texts(&expected)],
            "stopped at {step}: 1, 4 and half of what is left were copied together"
        );
        world.commit(updates("people", 0..400, "changed meanwhile")).await;
        world.expire_lease(&job).await;
        let tape = Arc::new(Tape::default());
        world.sync_with(&job, Until::OneSync, tape.clone()).await.unwrap();
        world.assert_holds(&job, 1).await;
        let first = tape.chunks(Step::ChunkOpened)[0];
        assert_eq!(first, if step == Step::ChunkCommitted { 19 } else { 5 }, "none is copied again");
    }
}

#[tokio::test]
async fn several_workers_share_what_is_left_while_the_primary_goes_on() {
    let (mut world, job) = drill(3).await;
    let batches: Vec<_> = (0..6)
        .map(|round| world.statements(updates("people", round * 60..round * 60 + 90, "changed")).1)
        .collect();
    let script = world.script(Step::ChunkOpened, batches);
    let tape = Arc::new(Tape::default());
    let observers = Observers::default().and(script.clone()).and(tape.clone());
    world.sync_with(&job, Until::OneSync, Arc::new(observers)).await.unwrap();
    script.finish().await;
    world.assert_holds(&job, 1).await;
    let together = tape.together(Step::ChunkCommitted);
    assert!(together.iter().any(|count| *count > 1), "{together:?}");
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, world.oracle.newest_batch()).await;
}

#[tokio::test]
async fn an_increment_by_blocks_is_copied_so_as_well() {
    let (mut world, mut job) = drill(2).await;
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..400, "changed")).await;
    job.tuning.increment_strategy = milestream_worker::sync::IncrementStrategy::Blocks;
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    world.assert_holds(&job, 2).await;
    let together = tape.together(Step::ChunkCommitted);
    assert!(together.iter().any(|count| *count > 1), "{together:?}");
}
