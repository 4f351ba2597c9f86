//! A sync that ended anywhere goes on where it stood: same X and Y, nothing copied twice, nothing applied twice.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{At, Table, Tape, World, deletes, inserts, texts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step};
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Error, Holding};

/// Steps at which a chunk is claimed and not done: it alone is copied again.
const WITHIN_A_CHUNK: [Step; 3] = [Step::ChunkOpened, Step::MidChunk, Step::ChunkCommitting];

/// Steps that come more than once in a sync of [`primary`].
const COMES_AGAIN: [Step; 6] = [
    Step::ChunkOpened,
    Step::MidChunk,
    Step::ChunkCommitting,
    Step::ChunkCommitted,
    Step::IndexBuilt,
    Step::Landed,
];

async fn primary() -> World {
    let world = World::new(vec![Table::people().sparse(), Table::named_people("staff")]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.parallelism = 1;
        tuning.max_delete_fraction = 1.0;
    });
    world.commit(inserts("people", 0..18)).await;
    world.commit(inserts("staff", 0..4)).await;
    world
}

/// Two batches for an increment that has closures, deletions and openings.
async fn go_on(world: &mut World) {
    let newest = world.oracle.newest_batch();
    world.commit(updates("people", 0..12, &format!("changed after {newest}"))).await;
    // Gone, and next time back again.
    let there = world.live("people").contains_key(&texts(&[Some("15")]));
    let mut moved = if there { deletes("people", 15..18) } else { inserts("people", 15..18) };
    moved.extend(updates("staff", 0..2, &format!("changed after {newest}")));
    world.commit(moved).await;
}

/// Stops a sync at a step, lets the primary go on, and syncs again.
async fn stopped_and_resumed(world: &mut World, job: &Job, step: Step, nth: usize) {
    let place = format!("{} at {step} {nth}", job.platform);
    let before = world.watermark(job).await;
    let target = world.oracle.newest_batch();
    let (stop, first) = (Arc::new(At::stop(step, nth)), Arc::new(Tape::default()));
    let observer = Observers::default().and(first.clone()).and(stop.clone());
    let ended = world.sync_with(job, Until::CaughtUp, Arc::new(observer)).await;
    if !stop.fired() {
        assert!(ended.is_ok(), "{place} is no place of this sync: {ended:?}");
        world.assert_holds(job, target).await;
        return;
    }
    assert!(
        matches!(&ended, Err(Error::Abandoned { step: at }) if *at == step.to_string()),
        "{place}: {ended:?}"
    );
    let flight = world.flight(job).await;
    if world.watermark(job).await == before {
        assert!(step == Step::Leased || flight == Some((before, target)), "{place}: {flight:?}");
    }
    go_on(world).await;
    world.expire_lease(job).await;
    let second = Arc::new(Tape::default());
    let resumed = world.sync_with(job, Until::OneSync, second.clone()).await;
    let resumed = resumed.unwrap_or_else(|error| panic!("{place}: {error}"));
    if let Some((_, to)) = flight {
        assert_eq!(resumed.watermark.map(|batch| batch.0), Some(to), "{place}: the same target");
        assert_eq!(second.notices(NoticeKind::Resumed).len(), 1, "{place}");
        let done = first.chunks(Step::ChunkCommitted);
        let again: Vec<_> =
            second.chunks(Step::ChunkOpened).into_iter().filter(|chunk| done.contains(chunk)).collect();
        assert!(again.is_empty(), "{place}: chunks {again:?} were done and copied again");
        world.assert_holds(job, to).await;
        let history = world.history(job, "copies - chunks, from_batch, to_batch").await;
        let [last] = history.iter().filter(|row| row[2] == Some(to.to_string())).collect::<Vec<_>>()[..]
        else {
            panic!("{place}: {to} was committed more than once: {history:?}")
        };
        let begun_twice = i32::from(WITHIN_A_CHUNK.contains(&step));
        // The chunk that follows in a delta's stream is claimed by the commit of the one before.
        let begun_twice = begun_twice + i32::from(step == Step::ChunkCommitted && before.is_some());
        let copied_again: i32 = last[0].as_deref().unwrap().parse().unwrap();
        assert!(copied_again <= begun_twice, "{place}: {copied_again} chunks copied again");
    }
    world.sync(job).await.unwrap_or_else(|error| panic!("{place}: {error}"));
    world.assert_holds(job, world.oracle.newest_batch()).await;
    let twice = "select count(*) from (select to_batch from {history} group by 1 having count(*) > 1) t";
    let twice = twice.replace("{history}", &milestream_tests::control(job, "sync_history"));
    assert_eq!(world.number(twice).await, 0, "{place}: a batch was applied twice");
}

async fn stopped_everywhere(holding: Holding, seed: bool, steps: &[Step]) {
    let mut world = primary().await;
    for step in steps {
        for nth in 1..=(if COMES_AGAIN.contains(step) { 2 } else { 1 }) {
            let job = world.job(&format!("Edge{}x{nth}", step.name().replace('-', "_")), holding);
            if !seed {
                world.sync(&job).await.unwrap();
                go_on(&mut world).await;
            }
            stopped_and_resumed(&mut world, &job, *step, nth).await;
        }
    }
}

const FIRST_STEPS: [Step; 7] = [
    Step::Leased,
    Step::Planned,
    Step::ChunkOpened,
    Step::MidChunk,
    Step::ChunkCommitting,
    Step::ChunkCommitted,
    Step::Sweeping,
];
const LAST_STEPS: [Step; 7] = [
    Step::Swept,
    Step::IndexBuilt,
    Step::Landed,
    Step::Merging,
    Step::BeforeCommit,
    Step::AfterCommit,
    Step::Idle,
];

#[test]
fn every_step_is_a_place_to_stop() {
    assert_eq!([FIRST_STEPS, LAST_STEPS].concat(), Step::ALL);
}

#[tokio::test]
async fn a_live_only_seed_stopped_while_it_copies_goes_on() {
    stopped_everywhere(Holding::LiveOnly, true, &FIRST_STEPS).await;
}

#[tokio::test]
async fn a_live_only_seed_stopped_while_it_lands_goes_on() {
    stopped_everywhere(Holding::LiveOnly, true, &LAST_STEPS).await;
}

#[tokio::test]
async fn a_mirrors_seed_stopped_while_it_copies_goes_on() {
    stopped_everywhere(Holding::Mirror, true, &FIRST_STEPS).await;
}

#[tokio::test]
async fn a_mirrors_seed_stopped_while_it_lands_goes_on() {
    stopped_everywhere(Holding::Mirror, true, &LAST_STEPS).await;
}

#[tokio::test]
async fn a_live_only_increment_stopped_while_it_copies_goes_on() {
    stopped_everywhere(Holding::LiveOnly, false, &FIRST_STEPS[..6]).await;
}

#[tokio::test]
async fn a_live_only_increment_stopped_while_it_merges_goes_on() {
    stopped_everywhere(Holding::LiveOnly, false, &LAST_STEPS[3..]).await;
}

#[tokio::test]
async fn a_mirrors_increment_stopped_while_it_copies_goes_on() {
    stopped_everywhere(Holding::Mirror, false, &FIRST_STEPS[..6]).await;
}

#[tokio::test]
async fn a_mirrors_increment_stopped_while_it_merges_goes_on() {
    stopped_everywhere(Holding::Mirror, false, &LAST_STEPS[3..]).await;
}

/// One run goes through a failure at every step by itself.
async fn failed_everywhere(holding: Holding) {
    let mut world = primary().await;
    for step in Step::ALL {
        let job = world.job(&format!("Edge{}", step.name().replace('-', "_")), holding);
        for phase in ["seed", "increment"] {
            let place = format!("{holding:?} {phase} at {step}");
            let (fail, tape) = (Arc::new(At::fail(step, 1)), Arc::new(Tape::default()));
            let observer = Observers::default().and(tape.clone()).and(fail.clone());
            let ended = world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await;
            ended.unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(tape.notices(NoticeKind::Retry).len(), usize::from(fail.fired()), "{place}");
            world.assert_holds(&job, world.oracle.newest_batch()).await;
            if phase == "seed" {
                go_on(&mut world).await;
            }
        }
        let batches = world.history(&job, "to_batch").await.concat();
        let mut distinct = batches.clone();
        distinct.dedup();
        assert_eq!((batches.len(), &batches), (2, &distinct), "{holding:?} at {step}: applied once each");
    }
}

#[tokio::test]
async fn a_failure_at_any_step_is_overcome_by_a_live_only_secondary() {
    failed_everywhere(Holding::LiveOnly).await;
}

#[tokio::test]
async fn a_failure_at_any_step_is_overcome_by_a_mirror() {
    failed_everywhere(Holding::Mirror).await;
}

#[tokio::test]
async fn failures_without_end_spend_the_retry_budget_and_the_next_run_goes_on() {
    let world = primary().await.with_tuning(|tuning| tuning.retry_tries = 3);
    let job = world.job("Edge", Holding::LiveOnly);
    let fail =
        At::every(Step::Landed, || async { milestream_worker::observer::Verdict::FailHere("always".into()) });
    let error = world.sync_with(&job, Until::CaughtUp, Arc::new(fail)).await.unwrap_err();
    assert!(matches!(error, Error::BudgetSpent { tries: 3, .. }), "{error}");
    let reason = world.stream_state(&job, "waiting_reason").await.unwrap();
    assert!(reason.contains("gave up after 3 tries"), "{reason}");
    assert_eq!(world.stream_state(&job, "halted_reason").await, None, "it waits for nobody");
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
    assert_eq!(world.stream_state(&job, "waiting_reason").await, None);
}

#[tokio::test]
async fn a_stop_that_is_asked_for_ends_after_the_chunks_in_flight_and_frees_the_lease() {
    let world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    let stop = tokio_util::sync::CancellationToken::new();
    let asked = stop.clone();
    let at = At::nth(Step::MidChunk, 2, move || {
        asked.cancel();
        async { milestream_worker::observer::Verdict::GoOn }
    });
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(tape.clone()).and(Arc::new(at));
    let ended =
        milestream_worker::sync::run(Arc::new(job.clone()), Until::CaughtUp, Arc::new(observer), stop).await;
    assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
    assert_eq!(tape.count(Step::ChunkCommitted), 2, "the chunk in flight was finished");
    assert_eq!(world.stream_state(&job, "lease_owner").await, None);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
    assert_eq!(world.history(&job, "copies - chunks").await.concat(), texts(&[Some("0")]));
}
