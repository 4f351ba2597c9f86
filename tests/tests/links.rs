//! Links that fail without a word, and servers that take their time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::Duration;

use milestream_simulation::proxy::Proxy;
use milestream_tests::{At, Table, Tape, World, control, inserts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step, Verdict};
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Endpoint, Holding};

/// Far more than a sync of these tables takes, far less than any default bound.
const LIMIT: Duration = Duration::from_secs(20);

async fn primary() -> World {
    let world = World::new(vec![Table::people().sparse()]).await.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.silence_timeout = Duration::from_millis(300);
    });
    let mut world = world;
    world.commit(inserts("people", 0..30)).await;
    world
}

async fn through(endpoint: &Endpoint) -> (Proxy, Arc<Endpoint>) {
    let proxy = Proxy::start(endpoint.host.clone(), endpoint.port).await.unwrap();
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: proxy.port(), ..endpoint.clone() };
    (proxy, Arc::new(endpoint))
}

/// Freezes the proxy at a step of a sync, and sees the sync to its end all the same.
async fn survives(world: &World, job: &Job, proxy: &Proxy, step: Step, place: &str) {
    let frozen = proxy.clone();
    let freeze = Arc::new(At::nth(step, 1, move || {
        frozen.freeze();
        async { Verdict::GoOn }
    }));
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(freeze.clone()).and(tape.clone());
    let synced = tokio::time::timeout(LIMIT, world.sync_with(job, Until::CaughtUp, Arc::new(observer))).await;
    let synced = synced.unwrap_or_else(|_| panic!("{place} at {step}: it still waits after {LIMIT:?}"));
    synced.unwrap_or_else(|error| panic!("{place} at {step}: {error}"));
    assert!(freeze.fired(), "{place}: {step} is no place of this sync");
    assert!(!tape.notices(NoticeKind::Retry).is_empty(), "{place} at {step}: nothing was noticed");
    proxy.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lives_and_passes_nothing_on_is_given_up() {
    let steps = [Step::MidChunk, Step::ChunkCommitting, Step::IndexBuilt, Step::Merging, Step::BeforeCommit];
    for step in steps {
        let world = primary().await;
        let mut job = world.job("Edge", Holding::LiveOnly);
        let (proxy, endpoint) = through(&job.secondary).await;
        job.secondary = endpoint;
        survives(&world, &job, &proxy, step, "the secondary").await;
        world.assert_holds(&job, 1).await;
    }
    let world = primary().await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    let (proxy, endpoint) = through(&job.upstreams[0].endpoint).await;
    job.upstreams[0].endpoint = endpoint;
    survives(&world, &job, &proxy, Step::ChunkOpened, "the primary").await;
    world.assert_holds(&job, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_at_work_is_waited_for() {
    let mut world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..10, "changed")).await;
    let (options, metrics) = (world.connect_options("secondary"), control(&job, "batch_metrics"));
    // Several times as long as an answer may be silent before somebody looks.
    let hold = format!("begin; lock table {metrics} in access exclusive mode; select pg_sleep(1.5); commit");
    let lock = Arc::new(At::nth(Step::Merging, 1, move || {
        let (options, hold) = (options.clone(), hold.clone());
        async move {
            tokio::spawn(async move { milestream_tests::execute(&options, hold).await });
            tokio::time::sleep(Duration::from_millis(200)).await;
            Verdict::GoOn
        }
    }));
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(lock).and(tape.clone());
    world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap();
    assert_eq!(tape.notices(NoticeKind::Retry), Vec::<String>::new());
    world.assert_holds(&job, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_while_there_was_nothing_to_do_leaves_no_lease_behind() {
    let world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let options = world.connect_options("secondary");
    let end = Arc::new(At::nth(Step::Idle, 1, move || {
        let options = options.clone();
        async move {
            let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'milestream Edge%'";
            milestream_tests::execute(&options, end.to_owned()).await;
            Verdict::GoOn
        }
    }));
    world.sync_with(&job, Until::CaughtUp, end.clone()).await.unwrap();
    assert!(end.fired());
    assert_eq!(world.stream_state(&job, "lease_owner").await, None, "the lease was given back");
}
