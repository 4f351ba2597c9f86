//! Kindness to the primary: a bound on the rate, and pauses while it has enough to do.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_oracle::Operation;
use milestream_tests::{Table, Tape, World, control, inserts, person, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step};
use milestream_worker::sync::{self, Job, Outcome, SeedStrategy, Until};
use milestream_worker::{Error, Holding};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Inserts of people with long names.
fn large(ids: std::ops::Range<i32>, bytes: usize) -> Vec<(&'static str, Operation)> {
    let name = |id: i32| format!("{id} {}", "x".repeat(bytes));
    ids.map(|id| ("people", Operation::Insert(person(id, &name(id), None)))).collect()
}

/// People whose names have no bound.
fn verbose() -> Table {
    Table::new("people", &[("id", "integer")], &[("name", "text"), ("town", "varchar(40)")])
}

/// A primary of one batch of people.
async fn primary(people: i32) -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..people)).await;
    world
}

/// A sync that runs beside the test.
struct Running {
    tape: Arc<Tape>,
    stop: CancellationToken,
    task: JoinHandle<Result<Outcome, Error>>,
}

impl Running {
    fn start(job: &Job) -> Running {
        let (tape, stop) = (Arc::new(Tape::default()), CancellationToken::new());
        let (job, observer, token) = (Arc::new(job.clone()), tape.clone(), stop.clone());
        let task = tokio::spawn(sync::run(job, Until::CaughtUp, observer, token));
        Running { tape, stop, task }
    }

    /// Waits until it has told of a pause; what it told.
    async fn paused(&self) -> String {
        for _ in 0..100 {
            if let Some(told) = self.tape.notices(NoticeKind::Paused).pop() {
                return told;
            }
            assert!(!self.task.is_finished(), "it ended without a pause");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it never paused");
    }

    /// How it ends, which it must do within `limit`.
    async fn ended(self, limit: Duration) -> (Result<Outcome, Error>, Arc<Tape>) {
        let ended = tokio::time::timeout(limit, self.task).await.expect("an end in time").unwrap();
        (ended, self.tape)
    }
}

/// Sessions of others that work on the primary.
struct Busy(usize);

impl Busy {
    async fn begin(world: &World, sessions: usize) -> Busy {
        for _ in 0..sessions {
            let mut session = world.connect("primary").await;
            tokio::spawn(async move {
                // Ended by the test, or with the server.
                let _ = sqlx::raw_sql("select pg_sleep(600)").execute(&mut session).await;
            });
        }
        let busy = Busy(sessions);
        for _ in 0..100 {
            if busy.count(world).await == sessions {
                return busy;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("they never began");
    }

    async fn count(&self, world: &World) -> usize {
        let question =
            "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'";
        world.value("primary", question).await.unwrap().parse().unwrap()
    }

    async fn end(self, world: &World) {
        let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where query = 'select pg_sleep(600)'";
        assert_eq!(world.ask("primary", end).await.len(), self.0);
    }
}

#[tokio::test]
async fn a_seed_takes_as_long_as_its_rate_says() {
    let mut world = World::new(vec![verbose()]).await;
    world.commit(large(0..120, 100_000)).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.max_rate = Some(4.0);
    job.tuning.parallelism = 3;
    job.tuning.seed_strategy = SeedStrategy::Keys;
    job.tuning.seed_chunk_rows = 10;
    world.execute("primary", format!("analyze {}", world.primary_table("people"))).await;
    let tape = Arc::new(Tape::default());
    let began = Instant::now();
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    let took = began.elapsed();
    assert!(tape.count(Step::ChunkCommitted) > 3, "all workers have something to do");
    assert!(took >= Duration::from_secs(3), "12 MB at 4 MB/s in {took:?}");
    assert!(took < Duration::from_secs(20), "the rate is used: {took:?}");
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_statement_that_is_made_to_wait_does_not_run_out_of_time_by_it() {
    let mut world = World::new(vec![verbose()]).await;
    world.commit(large(0..100, 1000)).await;
    // More than all buffers on the way take, so that the primary does wait.
    let table = world.primary_table("people");
    let long = format!(
        "alter table {table} rename to base; create view {table} as select id, repeat(name, 1000) as name, town,          ds_surf_all_hash, ds_surf_key_hash, ds_surf_batch_in, ds_surf_batch_out from base"
    );
    world.execute("primary", long).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.max_rate = Some(20.0);
    job.tuning.parallelism = 1;
    job.tuning.seed_chunk_rows = 1000;
    job.tuning.statement_timeout = Duration::from_secs(3);
    let tape = Arc::new(Tape::default());
    let began = Instant::now();
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(5), "100 MB at 20 MB/s in {:?}", began.elapsed());
    assert_eq!(tape.notices(NoticeKind::Retry), Vec::<String>::new());
    assert_eq!(tape.rows(Step::ChunkCommitted), [100]);
}

#[tokio::test]
async fn an_increment_takes_as_long_as_its_rate_says() {
    let mut world = World::new(vec![verbose()]).await;
    world.commit(inserts("people", 0..10)).await;
    let mut job = world.job("Edge", Holding::Mirror);
    world.sync(&job).await.unwrap();
    world.commit(large(100..120, 50_000)).await;
    job.tuning.max_rate = Some(0.5);
    let began = Instant::now();
    world.sync(&job).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "1 MB at 0.5 MB/s in {:?}", began.elapsed());
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn whoever_is_asked_to_stop_finishes_its_chunk_without_waiting_for_the_rate() {
    let mut world = World::new(vec![verbose()]).await;
    world.commit(large(0..40, 50_000)).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    // The whole of it would take 200 seconds, a chunk 100.
    job.tuning.max_rate = Some(0.01);
    job.tuning.parallelism = 1;
    job.tuning.seed_strategy = SeedStrategy::Keys;
    job.tuning.seed_chunk_rows = 20;
    world.execute("primary", format!("analyze {}", world.primary_table("people"))).await;
    let running = Running::start(&job);
    while running.tape.count(Step::ChunkOpened) == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running.tape.count(Step::ChunkCommitted), 0, "it waits for the rate");
    running.stop.cancel();
    let (ended, tape) = running.ended(Duration::from_secs(5)).await;
    assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
    assert_eq!((tape.count(Step::ChunkOpened), tape.count(Step::ChunkCommitted)), (1, 1));
    job.tuning.max_rate = None;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_slowed_read_whose_primary_is_slow_itself_is_still_ended_in_time() {
    let mut world = World::new(vec![verbose()]).await;
    world.commit(large(0..60, 100_000)).await;
    let table = world.primary_table("people");
    let base = format!("alter table {table} rename to base; create view {table} as table base");
    world.execute("primary", base).await;
    let slow =
        format!("create or replace view {table} as select * from base where pg_sleep(0.1) is not null");
    let script = world.script(Step::Planned, [slow]);
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.max_rate = Some(1000.0);
    job.tuning.seed_chunk_rows = 1000;
    job.tuning.statement_timeout = Duration::from_secs(2);
    job.tuning.retry_tries = 1;
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(script).and(tape.clone());
    let error = world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap_err();
    let Error::BudgetSpent { last, .. } = &error else { panic!("{error}") };
    assert!(last.to_string().contains("canceling statement"), "{last}");
    assert_eq!(tape.count(Step::ChunkCommitted), 0, "it ended in the copy");
    assert!(last.advice().contains("statement_timeout"), "{}", last.advice());
}

#[tokio::test]
async fn a_copy_pauses_while_too_many_sessions_are_active_and_goes_on_when_they_end() {
    let mut world = primary(300).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.pause_active_sessions = Some(1);
    let busy = Busy::begin(&world, 2).await;
    let running = Running::start(&job);
    let told = running.paused().await;
    assert!(told.contains("2 active sessions") && told.contains("primary Hub"), "{told}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(running.tape.count(Step::ChunkOpened), 0, "nothing is read meanwhile");
    assert_eq!(world.value("secondary", "select count(*) from pg_stat_activity where application_name like 'milestream %' and xact_start is not null").await.unwrap(), "0", "and no transaction is open");
    busy.end(&world).await;
    let (ended, tape) = running.ended(Duration::from_secs(20)).await;
    assert_eq!(ended.unwrap().syncs, 1);
    assert_eq!(tape.notices(NoticeKind::Paused).len(), 1);
    assert_eq!(tape.notices(NoticeKind::GoesOn).len(), 1);
    assert_eq!(tape.notices(NoticeKind::Warning), Vec::<String>::new());
    world.assert_holds(&job, 1).await;

    // Milestream's own sessions and as many others as are allowed are no reason.
    let busy = Busy::begin(&world, 1).await;
    world.commit(updates("people", 0..50, "changed")).await;
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    assert_eq!(tape.notices(NoticeKind::Paused), Vec::<String>::new());
    world.assert_holds(&job, 2).await;
    busy.end(&world).await;
}

#[tokio::test]
async fn a_stop_ends_a_pause_at_once() {
    let world = primary(300).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.pause_active_sessions = Some(0);
    job.tuning.parallelism = 3;
    let busy = Busy::begin(&world, 1).await;
    let running = Running::start(&job);
    running.paused().await;
    running.stop.cancel();
    let (ended, _) = running.ended(Duration::from_millis(900)).await;
    assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
    busy.end(&world).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn the_loss_of_the_lease_ends_a_pause() {
    let world = primary(100).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.pause_active_sessions = Some(0);
    job.tuning.lease = Duration::from_secs(2);
    let busy = Busy::begin(&world, 1).await;
    let running = Running::start(&job);
    running.paused().await;
    // Longer than the lease stands by itself: the heartbeat goes on in a pause.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!running.task.is_finished());
    let overtake = format!("update {} set lease_token = lease_token + 1", control(&job, "sync_stream"));
    world.execute("secondary", overtake).await;
    let (ended, _) = running.ended(Duration::from_secs(4)).await;
    assert!(matches!(ended, Err(Error::Fenced { .. })), "{ended:?}");
    busy.end(&world).await;
}

#[tokio::test]
async fn a_primary_without_replicas_has_none_that_lag() {
    let world = primary(100).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.tuning.pause_replication_lag = Some(0);
    let (ended, tape) = Running::start(&job).ended(Duration::from_secs(20)).await;
    ended.unwrap();
    assert_eq!(tape.notices(NoticeKind::Paused), Vec::<String>::new());
    assert_eq!(tape.notices(NoticeKind::Warning), Vec::<String>::new());
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_copy_pauses_while_a_replica_is_far_behind() {
    let world = primary(100).await;
    // A stand-in for the server's own view, which the role of the copy finds first.
    let stand_in = "create schema stage; create role copier login superuser; \
                    alter role copier set search_path = stage, pg_catalog, public; \
                    create table stage.pg_stat_replication (replay_lsn pg_lsn); \
                    insert into stage.pg_stat_replication values (null), (pg_current_wal_lsn()), ('0/0')";
    world.execute("primary", stand_in).await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    let mut endpoint = world.endpoint("primary Hub", "primary");
    endpoint.user = "copier".into();
    job.upstreams[0].endpoint = Arc::new(endpoint);
    job.tuning.pause_replication_lag = Some(1 << 20);
    let running = Running::start(&job);
    let told = running.paused().await;
    assert!(told.contains("behind"), "{told}");
    assert_eq!(running.tape.count(Step::ChunkOpened), 0);
    world.execute("primary", "update stage.pg_stat_replication set replay_lsn = pg_current_wal_lsn()").await;
    let (ended, tape) = running.ended(Duration::from_secs(20)).await;
    ended.unwrap();
    assert_eq!(tape.notices(NoticeKind::GoesOn).len(), 1);
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn who_may_not_see_the_load_is_told_once_and_goes_on() {
    let mut world = primary(300).await;
    world
        .execute(
            "primary",
            "create role \"Reader 1\" login; grant select on all tables in schema public to \"Reader 1\"",
        )
        .await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    let mut endpoint = world.endpoint("primary Hub", "primary");
    endpoint.user = "Reader 1".into();
    job.upstreams[0].endpoint = Arc::new(endpoint);
    job.tuning.pause_active_sessions = Some(0);
    job.tuning.pause_replication_lag = Some(0);
    let busy = Busy::begin(&world, 1).await;
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    let warnings = tape.notices(NoticeKind::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(tape.notices(NoticeKind::Paused).is_empty());
    world.assert_holds(&job, 1).await;

    // What it is told to grant is enough.
    let grant = warnings[0].split_once("run: ").expect("a statement").1;
    assert_eq!(grant, "GRANT pg_read_all_stats TO \"Reader 1\";");
    world.execute("primary", grant).await;
    world.commit(updates("people", 0..5, "changed")).await;
    let running = Running::start(&job);
    running.paused().await;
    busy.end(&world).await;
    let (ended, tape) = running.ended(Duration::from_secs(20)).await;
    ended.unwrap();
    assert_eq!(tape.notices(NoticeKind::Warning), Vec::<String>::new());
    world.assert_holds(&job, 2).await;
}
