//! `sync --join`: other processes help to copy a sync, and whatever becomes of them, no row is lost or doubled.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_tests::{At, Table, Tape, World, control, inserts, texts, updates};
use milestream_worker::observer::{NoticeKind, Observer, Observers, Step, Unobserved, Verdict};
use milestream_worker::sync::{self, Help, IncrementStrategy, Job, Outcome, Until};
use milestream_worker::{Error, Holding};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A primary with two hundred people over many blocks, and a secondary that reads them in many chunks.
async fn drill() -> (World, Job) {
    let world = World::new(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.parallelism = 1;
    });
    world.commit(inserts("people", 0..200)).await;
    world.execute("primary", format!("vacuum analyze {}", world.primary_table("people"))).await;
    let job = world.job("Edge", Holding::LiveOnly);
    (world, job)
}

/// Where somebody waits until a test lets them go on.
#[derive(Clone, Default)]
struct Barrier {
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Barrier {
    fn at(&self, step: Step, nth: usize) -> Arc<At> {
        self.before(step, nth, Verdict::GoOn)
    }

    fn before(&self, step: Step, nth: usize, verdict: Verdict) -> Arc<At> {
        let barrier = self.clone();
        Arc::new(At::nth(step, nth, move || {
            let (Barrier { arrived, go_on }, verdict) = (barrier.clone(), verdict.clone());
            async move {
                arrived.notify_one();
                go_on.notified().await;
                verdict
            }
        }))
    }

    async fn arrived(&self) {
        tokio::time::timeout(Duration::from_secs(20), self.arrived.notified())
            .await
            .expect("somebody at the barrier");
    }
}

fn lead(job: &Job, observer: Arc<dyn Observer>) -> JoinHandle<Result<Outcome, Error>> {
    tokio::spawn(sync::run(Arc::new(job.clone()), Until::CaughtUp, observer, CancellationToken::new()))
}

/// Helps until nobody has led for a moment.
fn help(job: &Job, observer: Arc<dyn Observer>) -> JoinHandle<Result<Help, Error>> {
    let mut job = job.clone();
    job.tuning.lease = Duration::from_secs(1);
    tokio::spawn(sync::help(Arc::new(job), observer, CancellationToken::new()))
}

/// Waits until the helper has copied all that the leader has not.
async fn until_one_chunk_is_left(world: &World, job: &Job) {
    let left = format!(
        "select count(*) from {} where status <> 'done' and status <> 'waiting'",
        control(job, "sync_chunk")
    );
    let began = Instant::now();
    while world.number(left.clone()).await > 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "the helper copies nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_helper_copies_what_the_leader_leaves_to_it() {
    let (world, job) = drill().await;
    let (leader, barrier, _stop) = stoppable(&job).await;
    let tape = Arc::new(Tape::default());
    let helper = help(&job, tape.clone());
    until_one_chunk_is_left(&world, &job).await;
    assert_eq!(world.watermark(&job).await, None, "a helper lands and commits nothing");
    barrier.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
    let helped = helper.await.unwrap().unwrap();
    let copied = u64::try_from(tape.count(Step::ChunkCommitted)).unwrap();
    assert!(helped.chunks > 5 && helped.chunks == copied && helped.rows > 50, "{helped:?}");
    assert_eq!(helped.why, "nobody has led the stream for 1s");
    let counts = world.history(&job, "chunks = copies, rows_staged").await;
    assert_eq!(counts, [texts(&[Some("t"), Some("200")])], "each chunk was copied once");
}

#[tokio::test]
async fn a_helper_shares_in_an_increment_that_is_read_by_blocks() {
    let (mut world, mut job) = drill().await;
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..200, "changed")).await;
    job.tuning.increment_strategy = IncrementStrategy::Blocks;
    let (leader, barrier, _stop) = stoppable(&job).await;
    let helper = help(&job, Arc::new(Unobserved));
    until_one_chunk_is_left(&world, &job).await;
    barrier.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 2).await;
    assert!(helper.await.unwrap().unwrap().chunks > 5);
}

#[tokio::test]
async fn where_nobody_leads_there_is_nothing_to_help_with() {
    let (world, job) = drill().await;
    let helped = help(&job, Arc::new(Unobserved)).await.unwrap().unwrap();
    assert_eq!((helped.chunks, helped.rows), (0, 0));
    assert_eq!(world.watermark(&job).await, None);
    let tables = "select count(*) from pg_class where relname like 'edge%'";
    assert_eq!(world.number(tables).await, 0, "a helper makes no tables");
}

#[tokio::test]
async fn what_a_helper_leaves_behind_is_copied_by_the_leader() {
    let (world, job) = drill().await;
    let barrier = Barrier::default();
    let tape = Arc::new(Tape::default());
    let observers = Observers::default().and(barrier.at(Step::ChunkCommitting, 2)).and(tape.clone());
    let leader = lead(&job, Arc::new(observers));
    barrier.arrived().await;
    let helper = help(&job, Arc::new(At::stop(Step::ChunkCommitting, 3)));
    assert!(matches!(helper.await.unwrap(), Err(Error::Abandoned { .. })));
    barrier.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
    let notices = tape.notices(NoticeKind::Helped);
    assert!(notices.iter().any(|text| text.contains("1 of its chunks are copied here")), "{notices:?}");
    let counts = world.history(&job, "copies - chunks").await;
    assert_eq!(counts, [texts(&[Some("1")])], "the one chunk was copied again, and no other");
}

#[tokio::test]
async fn a_helper_that_stands_still_is_not_waited_for_for_ever() {
    let (world, mut job) = drill().await;
    job.tuning.silence_timeout = Duration::from_secs(1);
    let (leads, helps) = (Barrier::default(), Barrier::default());
    let leader = lead(&job, leads.at(Step::ChunkCommitting, 2));
    leads.arrived().await;
    let helper = help(&job, helps.at(Step::ChunkCommitting, 3));
    helps.arrived().await;
    leads.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
    helps.go_on.notify_one();
    let helped = helper.await.unwrap().unwrap();
    assert_eq!(helped.chunks, 2, "its third could not be committed any more");
    world.assert_holds(&job, 1).await;
}

/// A seed whose leader is gone, and a helper that is in the middle of a chunk. The lease is over.
async fn leaderless(world: &World, job: &Job) -> (JoinHandle<Result<Help, Error>>, Barrier) {
    // Runs out by itself once its leader is gone.
    let job =
        Job { tuning: sync::Tuning { lease: Duration::from_secs(1), ..job.tuning.clone() }, ..job.clone() };
    let (leads, helps) = (Barrier::default(), Barrier::default());
    let leader = lead(&job, leads.before(Step::ChunkCommitting, 2, Verdict::StopHere));
    leads.arrived().await;
    let helper = help(&job, helps.at(Step::MidChunk, 3));
    helps.arrived().await;
    leads.go_on.notify_one();
    assert!(matches!(leader.await.unwrap(), Err(Error::Abandoned { .. })));
    world.expire_lease(&job).await;
    (helper, helps)
}

#[tokio::test]
async fn a_takeover_ends_the_helpers_of_the_leader_before() {
    let (world, job) = drill().await;
    let (helper, helps) = leaderless(&world, &job).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    helps.go_on.notify_one();
    let helped = helper.await.unwrap().unwrap();
    assert_eq!(helped.chunks, 2, "its third could not be committed any more");
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_helper_that_outlives_a_takeover_is_fenced_off() {
    let (world, job) = drill().await;
    let (helper, helps) = leaderless(&world, &job).await;
    // As if its sessions could not be ended: then the token alone must hold.
    let forget = format!("update {} set lease_backends = '[]'", control(&job, "sync_stream"));
    world.execute("secondary", forget).await;
    let leads = Barrier::default();
    let leader = lead(&job, leads.at(Step::Sweeping, 1));
    leads.arrived().await;
    helps.go_on.notify_one();
    tokio::time::sleep(Duration::from_millis(500)).await;
    leads.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
    assert!(helper.await.unwrap().is_ok());
    let counts = world.history(&job, "copies - chunks").await;
    assert_eq!(counts, [texts(&[Some("2")])], "what the leader and its helper had in hand was copied again");
}

#[tokio::test]
async fn a_seed_that_is_planned_anew_does_not_wait_for_its_helpers() {
    let (world, job) = drill().await;
    let (leads, helps) = (Barrier::default(), Barrier::default());
    let tape = Arc::new(Tape::default());
    let observers = Observers::default().and(leads.at(Step::ChunkCommitted, 2)).and(tape.clone());
    let leader = lead(&job, Arc::new(observers));
    leads.arrived().await;
    let helper = help(&job, helps.at(Step::ChunkCommitting, 3));
    helps.arrived().await;
    world.execute("primary", format!("vacuum full {}", world.primary_table("people"))).await;
    let began = Instant::now();
    leads.go_on.notify_one();
    leader.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "not the lock's timeout: {:?}", began.elapsed());
    assert_eq!(tape.notices(NoticeKind::Replanned).len(), 1);
    world.assert_holds(&job, 1).await;
    helps.go_on.notify_one();
    helper.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_helper_that_is_asked_to_stop_finishes_its_chunk() {
    let (world, job) = drill().await;
    let (leads, helps) = (Barrier::default(), Barrier::default());
    let leader = lead(&job, leads.at(Step::ChunkCommitting, 2));
    leads.arrived().await;
    let stop = CancellationToken::new();
    let helper = tokio::spawn(sync::help(Arc::new(job.clone()), helps.at(Step::MidChunk, 3), stop.clone()));
    helps.arrived().await;
    stop.cancel();
    helps.go_on.notify_one();
    assert!(matches!(helper.await.unwrap(), Err(Error::Stopped)));
    let done = format!("select count(*) from {} where status = 'done'", control(&job, "sync_chunk"));
    assert_eq!(world.number(done).await, 1 + 3);
    leads.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
}

/// A leader at its second chunk, who can be asked to stop.
async fn stoppable(job: &Job) -> (JoinHandle<Result<Outcome, Error>>, Barrier, CancellationToken) {
    let (leads, stop) = (Barrier::default(), CancellationToken::new());
    let observer = leads.at(Step::ChunkCommitting, 2);
    let leader = tokio::spawn(sync::run(Arc::new(job.clone()), Until::CaughtUp, observer, stop.clone()));
    leads.arrived().await;
    (leader, leads, stop)
}

#[tokio::test]
async fn once_the_leader_has_let_go_a_helper_claims_nothing_more() {
    let (world, job) = drill().await;
    let (leader, leads, stop) = stoppable(&job).await;
    let helps = Barrier::default();
    let helper = help(&job, helps.at(Step::MidChunk, 3));
    helps.arrived().await;
    stop.cancel();
    leads.go_on.notify_one();
    assert!(matches!(leader.await.unwrap(), Err(Error::Stopped)));
    helps.go_on.notify_one();
    assert_eq!(helper.await.unwrap().unwrap().chunks, 3, "what it had in hand, and no more");
    let done = format!("select count(*) from {} where status = 'done'", control(&job, "sync_chunk"));
    assert_eq!(world.number(done).await, 2 + 3);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_helper_waits_for_another_leader_however_long_its_copy_took() {
    let (world, job) = drill().await;
    let (leader, leads, stop) = stoppable(&job).await;
    let helps = Barrier::default();
    let helper = help(&job, helps.at(Step::MidChunk, 1));
    helps.arrived().await;
    // Longer than the helper waits for a leader.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stop.cancel();
    leads.go_on.notify_one();
    assert!(matches!(leader.await.unwrap(), Err(Error::Stopped)));
    helps.go_on.notify_one();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (leader, leads, _stop) = stoppable(&job).await;
    until_one_chunk_is_left(&world, &job).await;
    leads.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
    assert!(helper.await.unwrap().unwrap().chunks > 5);
}

#[tokio::test]
async fn a_stream_that_begins_anew_does_not_take_the_work_of_a_former_helper() {
    let (mut world, job) = drill().await;
    let (leader, leads, stop) = stoppable(&job).await;
    let helps = Barrier::default();
    let helper = help(&job, helps.at(Step::ChunkOpened, 3));
    helps.arrived().await;
    stop.cancel();
    leads.go_on.notify_one();
    assert!(matches!(leader.await.unwrap(), Err(Error::Stopped)));
    // As somebody does who wants the stream to be seeded again, while the helper still has a chunk of the old plan in hand.
    world.execute("secondary", format!("delete from {}", control(&job, "sync_stream"))).await;
    world.commit(updates("people", 0..200, "changed")).await;
    let (leader, leads, _stop) = stoppable(&job).await;
    helps.go_on.notify_one();
    tokio::time::sleep(Duration::from_millis(500)).await;
    leads.go_on.notify_one();
    leader.await.unwrap().unwrap();
    world.assert_holds(&job, 2).await;
    assert!(helper.await.unwrap().is_ok(), "told that it was overtaken, it helps the new leader");
}
