//! One leader a stream: a second is told who is at work, and a leader that was overtaken writes nothing more.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use milestream_tests::{At, Table, Tape, World, control, inserts, updates};
use milestream_worker::observer::{Answer, Event, NoticeKind, Observer, Step, Verdict};
use milestream_worker::sync::{self, Job, Outcome, Until};
use milestream_worker::{Error, Holding};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

async fn primary() -> World {
    let world = World::new(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.parallelism = 1;
    });
    world.commit(inserts("people", 0..40)).await;
    world
}

#[tokio::test]
async fn of_two_workers_one_works_and_the_other_is_told_who_does() {
    let world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    let (parked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrived, released) = (Arc::clone(&parked), Arc::clone(&go_on));
    let at = At::nth(Step::ChunkCommitting, 2, move || {
        let (arrived, released) = (Arc::clone(&arrived), Arc::clone(&released));
        async move {
            arrived.notify_one();
            released.notified().await;
            Verdict::GoOn
        }
    });
    let first = sync::run(Arc::new(job.clone()), Until::CaughtUp, Arc::new(at), CancellationToken::new());
    let first = tokio::spawn(first);
    parked.notified().await;
    let second = world.sync(&job).await.unwrap_err();
    let owner = world.stream_state(&job, "lease_owner").await.unwrap();
    assert!(matches!(&second, Error::Busy { owner: named, .. } if *named == owner), "{second}");
    assert_eq!(second.exit_code(), 3);
    go_on.notify_one();
    first.await.unwrap().unwrap();
    world.assert_holds(&job, 1).await;
}

/// A worker that stops as a whole at a step, its heartbeat included, until it is told to go on.
struct Frozen {
    arrived: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
    thread: JoinHandle<Result<Outcome, Error>>,
}

struct Freeze {
    step: Step,
    nth: usize,
    seen: std::sync::Mutex<usize>,
    arrived: mpsc::Sender<()>,
    go_on: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Observer for Freeze {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        if event.step == self.step {
            let mut seen = self.seen.lock().unwrap();
            *seen += 1;
            if *seen == self.nth {
                self.arrived.send(()).unwrap();
                // Blocks the only thread of the worker's runtime on purpose.
                self.go_on.lock().unwrap().recv().unwrap();
            }
        }
        Box::pin(std::future::ready(Verdict::GoOn))
    }
}

impl Frozen {
    fn at(job: &Job, step: Step, nth: usize) -> Frozen {
        let (arrive, arrived) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let freeze = Freeze { step, nth, seen: 0.into(), arrived: arrive, go_on: told.into() };
        let job = Arc::new(job.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(sync::run(job, Until::OneSync, Arc::new(freeze), CancellationToken::new()))
        });
        Frozen { arrived, go_on, thread }
    }

    fn wait(&self) {
        self.arrived.recv_timeout(Duration::from_secs(20)).expect("a worker that comes to its step");
    }

    fn thaw(self) -> Result<Outcome, Error> {
        self.go_on.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// A frozen worker is taken over at a step and continues later: it writes nothing.
async fn overtaken_at(holding: Holding, step: Step, nth: usize, forget_backends: bool) {
    let mut world = primary().await;
    let job = world.job("Edge", holding);
    if matches!(step, Step::BeforeCommit | Step::Merging) {
        world.sync(&job).await.unwrap();
        world.commit(updates("people", 0..25, "changed")).await;
    }
    let mut frozen_job = job.clone();
    frozen_job.tuning.retry_tries = 1;
    // Where the fence alone must hold, the worker must take the lease for its own; else it runs out by itself, since a leader in
    // the middle of its commit holds the lock of the lease's row.
    if !forget_backends {
        frozen_job.tuning.lease = Duration::from_millis(500);
    }
    let frozen = Frozen::at(&frozen_job, step, nth);
    frozen.wait();
    let owner = world.stream_state(&job, "lease_owner").await.unwrap();
    if forget_backends {
        // As if its sessions could not be ended: then the fence alone must hold.
        let forget = format!("update {} set lease_backends = '[]'", control(&job, "sync_stream"));
        world.execute("secondary", forget).await;
        world.expire_lease(&job).await;
    } else {
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    let took_over = tape.notices(NoticeKind::TookOver);
    assert!(took_over.len() == 1 && took_over[0].contains(&owner), "{took_over:?}");
    let newest = world.oracle.newest_batch();
    world.assert_holds(&job, newest).await;
    let committed = world.history(&job, "*").await;
    world.commit(inserts("people", 200..210)).await;
    let ended = frozen.thaw();
    match &ended {
        Err(Error::Fenced { .. } | Error::Busy { .. }) => {}
        Err(Error::BudgetSpent { last, .. }) if !forget_backends => {
            let ended = matches!(**last, Error::Statement { .. } | Error::LeaseLapsed { .. });
            assert!(ended, "its sessions were ended, or it saw that its lease had: {last}");
        }
        other => panic!("at {step}: {other:?}"),
    }
    assert_eq!(world.history(&job, "*").await, committed, "the overtaken worker committed nothing");
    world.assert_holds(&job, newest).await;
    let left = format!("select count(*) from {}", control(&job, "sync_chunk"));
    assert_eq!(world.number(left).await, 0);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, newest + 1).await;
}

#[tokio::test]
async fn a_worker_frozen_before_the_commit_of_a_chunk_is_overtaken_and_writes_nothing() {
    overtaken_at(Holding::LiveOnly, Step::ChunkCommitting, 2, false).await;
}

#[tokio::test]
async fn the_fence_alone_keeps_an_overtaken_worker_from_committing_a_later_chunk() {
    overtaken_at(Holding::Mirror, Step::ChunkCommitted, 1, true).await;
}

#[tokio::test]
async fn an_overtaken_worker_that_finds_its_work_done_says_so_and_blames_no_table() {
    for holding in [Holding::Mirror, Holding::LiveOnly] {
        overtaken_at(holding, Step::Merging, 1, true).await;
    }
}

#[tokio::test]
async fn a_worker_frozen_before_the_commit_of_an_increment_is_overtaken_and_writes_nothing() {
    overtaken_at(Holding::LiveOnly, Step::BeforeCommit, 1, false).await;
    overtaken_at(Holding::Mirror, Step::BeforeCommit, 1, false).await;
}

#[tokio::test]
async fn a_worker_frozen_while_it_leads_is_overtaken_and_plans_nothing() {
    overtaken_at(Holding::LiveOnly, Step::Leased, 1, true).await;
}

#[tokio::test]
async fn an_overtaken_worker_leaves_the_halt_of_its_successor_alone() {
    let world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    // The primary is another one now, which halts whoever looks.
    world.execute("primary", "update hub_batch_metrics set total_records = 7").await;
    let options = world.connect_options("secondary");
    let overtaken = At::nth(Step::Leased, 1, move || {
        let options = options.clone();
        async move {
            let mut session = <sqlx::PgConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
            let take_over = "update edge_sync_stream set lease_token = lease_token + 1, lease_owner = 'another', \
                 lease_expires_at = clock_timestamp() + interval '1 hour', halted_reason = 'of its successor'";
            sqlx::raw_sql(take_over).execute(&mut session).await.unwrap();
            Verdict::GoOn
        }
    });
    let error = world.sync_with(&job, Until::CaughtUp, Arc::new(overtaken)).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(world.stream_state(&job, "halted_reason").await.as_deref(), Some("of its successor"));
    assert_eq!(world.stream_state(&job, "lease_owner").await.as_deref(), Some("another"));
}

#[tokio::test]
async fn the_lease_is_free_after_a_sync() {
    let world = primary().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let lease = ["lease_owner", "lease_expires_at"];
    for column in lease {
        assert_eq!(world.stream_state(&job, column).await, None, "{column}");
    }
    let token = async || -> i64 { world.stream_state(&job, "lease_token").await.unwrap().parse().unwrap() };
    let first = token().await;
    world.sync(&job).await.unwrap();
    assert_eq!(token().await, first + 1, "a token for each leader");
}

#[tokio::test]
async fn a_heartbeat_keeps_the_lease_of_a_worker_that_waits_longer_than_the_lease() {
    let world = primary().await.with_tuning(|tuning| tuning.lease = Duration::from_millis(1500));
    let job = world.job("Edge", Holding::LiveOnly);
    let at = At::nth(Step::ChunkOpened, 1, || async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        Verdict::GoOn
    });
    let (first, second) = tokio::join!(world.sync_with(&job, Until::CaughtUp, Arc::new(at)), async {
        tokio::time::sleep(Duration::from_millis(2200)).await;
        world.sync(&job).await
    });
    first.unwrap();
    assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}");
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn sessions_of_a_try_that_failed_are_gone_before_the_next_one_builds_indexes() {
    let tables = vec![Table::named_people("locked"), Table::named_people("open")];
    let mut world = World::new(tables).await.with_tuning(|tuning| tuning.parallelism = 4);
    world.commit(inserts("locked", 0..10)).await;
    world.commit(inserts("open", 0..10)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    // Three index builders wait for this lock; the fourth builds an index of the other table and fails there.
    let lock = r#"begin; lock table "edge_store1_locked_merge_landing" in row exclusive mode"#;
    let holder = Arc::new(tokio::sync::Mutex::new(None));
    let options = world.connect_options("secondary");
    let (held, for_lock) = (Arc::clone(&holder), options.clone());
    let at_swept = At::nth(Step::Swept, 1, move || {
        let (held, options) = (Arc::clone(&held), for_lock.clone());
        async move {
            let mut session = <sqlx::PgConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
            sqlx::raw_sql(lock).execute(&mut session).await.unwrap();
            *held.lock().await = Some(session);
            Verdict::GoOn
        }
    });
    let building =
        "select count(*) from pg_stat_activity where query like 'create%index%' and state = 'active'";
    let (held, left) = (Arc::clone(&holder), Arc::new(std::sync::Mutex::new(None)));
    let found = Arc::clone(&left);
    let let_go = At::nth(Step::Swept, 2, move || {
        let (held, found) = (Arc::clone(&held), Arc::clone(&found));
        async move {
            let mut session = held.lock().await.take().unwrap();
            let rows = sqlx::raw_sql(building).fetch_one(&mut session).await.unwrap();
            *found.lock().unwrap() = Some(sqlx::Row::get::<i64, _>(&rows, 0));
            Verdict::GoOn
        }
    });
    let observer = milestream_worker::observer::Observers::default()
        .and(Arc::new(at_swept))
        .and(Arc::new(let_go))
        .and(Arc::new(At::fail(Step::IndexBuilt, 1)));
    world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap();
    assert_eq!(*left.lock().unwrap(), Some(0), "index builds that nobody waits for");
    world.assert_holds(&job, 2).await;
}
