//! The real binary, stopped at exact steps: killed there, overtaken there, told to end there.

use std::time::Duration;

use milestream_tests::{Configuration, Ended, Process, Setting, Table, World, inserts, updates};
use milestream_worker::Holding;
use milestream_worker::sync::Job;
use rustix::process::Signal;

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const SETTINGS: &str = "parallelism = 1\nseed_chunk_rows = 100\nseed_chunk_time = \"1ms\"\nlease = \"1s\"\nretry_pause_min = \"20ms\"";
const SYNC: [&str; 6] = ["sync", "--platform", "Edge", "--store", "Store1", "--until-caught-up"];

struct Drill {
    world: World,
    configuration: Configuration,
    job: Job,
}

impl Drill {
    /// A primary with a thousand people over many blocks.
    async fn new() -> Drill {
        let mut world = World::of(Setting::default(), vec![Table::people().sparse()]).await;
        world.commit(inserts("people", 0..1000)).await;
        let configuration = Configuration::of(&world, SETTINGS);
        let job = world.job("Edge", Holding::LiveOnly);
        Drill { world, configuration, job }
    }

    fn start(&self, stop_at: &str) -> Process {
        let mut arguments = SYNC.to_vec();
        arguments.extend(["--stop-at", stop_at]);
        Process::start(BINARY, self.configuration.path(), &arguments)
    }

    fn sync(&self) -> Ended {
        Process::run(BINARY, self.configuration.path(), &SYNC)
    }

    /// Syncs as soon as the dead worker's lease has ended.
    async fn sync_after_expiry(&self) -> Ended {
        for _ in 0..50 {
            let ended = self.sync();
            if ended.status.code() != Some(3) {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the lease never ended");
    }

    /// Chunks that are done, each with the moment at which it was.
    async fn done_chunks(&self) -> Vec<Vec<Option<String>>> {
        let question = "select chunk::text, finished_at::text, copies::text from edge_sync_chunk \
                        where status = 'done' order by chunk";
        self.world.ask("secondary", question).await
    }

    /// Kills a seed at a step, lets the primary go on, and resumes.
    async fn survives_a_kill(mut self, step: &str) {
        let mut worker = self.start(step);
        let said = worker.stopped();
        let (name, occurrence) = step.split_once(':').unwrap_or((step, "1"));
        assert!(said.starts_with(&format!("stopped at {name} (occurrence {occurrence})")), "{said}");
        let flight = self.world.flight(&self.job).await;
        worker.kill();
        let done = self.done_chunks().await;
        self.world.commit(updates("people", 100..200, "after the kill")).await;

        // The resumed worker is looked at just before its commit, while its chunk rows are still there.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        if step == "after-commit" {
            assert_eq!(flight, None, "the seed is over");
        } else {
            let mut resumed = self.start("before-commit");
            resumed.stopped();
            assert_eq!(self.world.flight(&self.job).await, flight, "the same X and Y");
            let again = self.done_chunks().await;
            let copied_again = done.iter().filter(|chunk| !again.contains(chunk)).count();
            assert_eq!(copied_again, 0, "chunks copied again; {done:?} then {again:?}");
            resumed.signal(Signal::CONT);
            let ended = resumed.end();
            assert!(ended.status.success(), "{ended:?}");
        }
        let ended = self.sync_after_expiry().await;
        assert!(ended.status.success(), "{ended:?}");
        self.world.assert_holds(&self.job, 2).await;
    }
}

#[tokio::test]
async fn a_kill_right_after_the_plan_loses_nothing() {
    Drill::new().await.survives_a_kill("planned").await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_chunk_loses_nothing() {
    Drill::new().await.survives_a_kill("mid-chunk:3").await;
}

#[tokio::test]
async fn a_kill_before_a_chunks_commit_loses_nothing() {
    Drill::new().await.survives_a_kill("chunk-committing:3").await;
}

#[tokio::test]
async fn a_kill_between_chunks_copies_no_chunk_again() {
    Drill::new().await.survives_a_kill("chunk-committed:3").await;
}

#[tokio::test]
async fn a_kill_before_the_sweep_loses_nothing() {
    Drill::new().await.survives_a_kill("sweeping").await;
}

#[tokio::test]
async fn a_kill_while_landing_loses_nothing() {
    Drill::new().await.survives_a_kill("index-built:2").await;
}

#[tokio::test]
async fn a_kill_when_all_has_landed_loses_nothing() {
    Drill::new().await.survives_a_kill("landed").await;
}

#[tokio::test]
async fn a_kill_before_the_commit_loses_nothing() {
    Drill::new().await.survives_a_kill("before-commit").await;
}

#[tokio::test]
async fn a_kill_after_the_commit_applies_nothing_twice() {
    Drill::new().await.survives_a_kill("after-commit").await;
}

#[tokio::test]
async fn a_worker_stopped_past_its_lease_is_overtaken_and_commits_nothing() {
    let mut drill = Drill::new().await;
    let mut first = drill.start("chunk-committing:3");
    first.stopped();
    let second = drill.sync_after_expiry().await;
    assert!(second.status.success(), "{second:?}");
    drill.world.assert_holds(&drill.job, 1).await;
    drill.world.commit(updates("people", 0..10, "later")).await;
    let before = drill.world.number("select count(*) from edge_sync_history").await;
    // A third worker holds the stream while the first wakes up.
    let mut third = drill.start("leased");
    third.stopped();
    first.signal(Signal::CONT);
    let overtaken = first.end();
    assert_eq!(overtaken.status.code(), Some(3), "{overtaken:?}");
    assert_eq!(drill.world.number("select count(*) from edge_sync_history").await, before);
    drill.world.assert_holds(&drill.job, 1).await;
    third.signal(Signal::CONT);
    let ended = third.end();
    assert!(ended.status.success(), "{ended:?}");
    drill.world.assert_holds(&drill.job, 2).await;
}

#[tokio::test]
async fn a_second_worker_is_told_who_has_the_stream() {
    let drill = Drill::new().await;
    let mut first = drill.start("chunk-opened");
    first.stopped();
    let second = drill.sync();
    assert_eq!(second.status.code(), Some(3), "{second:?}");
    assert!(second.stderr.contains("is busy: held by"), "{second:?}");
    first.signal(Signal::CONT);
    let ended = first.end();
    assert!(ended.status.success(), "{ended:?}");
    drill.world.assert_holds(&drill.job, 1).await;
}

#[tokio::test]
async fn a_worker_told_to_end_finishes_its_chunk_and_gives_the_lease_back() {
    let drill = Drill::new().await;
    let mut worker = drill.start("chunk-opened:2");
    worker.stopped();
    worker.signal(Signal::TERM);
    worker.signal(Signal::CONT);
    let ended = worker.end();
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    assert!(drill.done_chunks().await.len() >= 2, "the chunk in flight was finished");
    // At once: nobody has to wait for the lease.
    let next = drill.sync();
    assert!(next.status.success(), "{next:?}");
    drill.world.assert_holds(&drill.job, 1).await;
}

#[tokio::test]
async fn the_result_code_is_the_last_line() {
    let drill = Drill::new().await;
    let mut arguments = SYNC.to_vec();
    arguments.push("--result-code");
    let done = Process::run(BINARY, drill.configuration.path(), &arguments);
    assert_eq!(done.stdout.lines().last(), Some("DATASURFACE_RESULT_CODE=0"), "{done:?}");
    let wrong = Process::run(
        BINARY,
        drill.configuration.path(),
        &["sync", "--platform", "Nowhere", "--store", "Store1", "--result-code"],
    );
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert_eq!(wrong.stdout.lines().last(), Some("DATASURFACE_RESULT_CODE=-1"), "{wrong:?}");
}

/// Slowed down, so that a seed takes a second and helpers find something to do.
async fn slow_drill() -> Drill {
    let drill = Drill::new().await;
    let configuration = Configuration::of(&drill.world, &format!("{SETTINGS}\nmax_rate = 0.1"));
    Drill { configuration, ..drill }
}

const JOIN: [&str; 6] = ["sync", "--platform", "Edge", "--store", "Store1", "--join"];

#[tokio::test]
async fn a_process_that_joins_copies_chunks_of_the_one_that_leads() {
    let drill = slow_drill().await;
    let leader = Process::start(BINARY, drill.configuration.path(), &SYNC);
    let helped = Process::run(BINARY, drill.configuration.path(), &JOIN);
    assert!(helped.status.success(), "{helped:?}");
    assert!(helped.stdout.contains("helped with "), "{helped:?}");
    assert!(!helped.stdout.contains("helped with 0 chunks"), "{helped:?}");
    let ended = leader.end();
    assert!(ended.status.success(), "{ended:?}");
    drill.world.assert_holds(&drill.job, 1).await;
}

#[tokio::test]
async fn a_helper_that_is_killed_leaves_nothing_but_a_chunk_to_copy_again() {
    let drill = slow_drill().await;
    let leader = Process::start(BINARY, drill.configuration.path(), &SYNC);
    let mut arguments = JOIN.to_vec();
    arguments.extend(["--stop-at", "chunk-committing:2"]);
    let mut helper = Process::start(BINARY, drill.configuration.path(), &arguments);
    helper.stopped();
    helper.kill();
    let ended = leader.end();
    assert!(ended.status.success(), "{ended:?}");
    drill.world.assert_holds(&drill.job, 1).await;
    let again = drill.world.history(&drill.job, "copies - chunks").await;
    assert_eq!(again, [[Some("1".to_owned())]]);
}

/// Holds a table of a database, and tells a worker that waits for it to end: it does, and lets go of its stream.
async fn ends_though_it_waits(drill: &Drill, database: &str, table: &str) {
    let mut holder = drill.world.connect(database).await;
    let lock = format!("begin; lock table {table} in access exclusive mode");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut holder).await.expect("the lock");
    let worker = Process::start(BINARY, drill.configuration.path(), &SYNC);
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                   and application_name like 'milestream%'";
    let mut looks = 0;
    while drill.world.value("postgres", waiting).await.as_deref() == Some("0") {
        looks += 1;
        assert!(looks < 200, "the worker never waited for {table}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = std::time::Instant::now();
    worker.signal(Signal::TERM);
    let ended = worker.end();
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    assert!(told.elapsed() < Duration::from_secs(3), "{table}: {:?}", told.elapsed());
    let owner = drill.world.stream_state(&drill.job, "lease_owner").await;
    assert_eq!(owner, None, "{table}: the lease is given back");
}

#[tokio::test]
async fn a_worker_told_to_end_while_it_waits_for_a_lock_ends_within_three_seconds() {
    let mut drill = Drill::new().await;
    let primarys = drill.world.primary_table("people");
    ends_though_it_waits(&drill, "primary", &primarys).await;
    let done = drill.sync();
    assert!(done.status.success(), "{done:?}");
    let batch = drill.world.commit(updates("people", 0..10, "changed")).await;
    ends_though_it_waits(&drill, "secondary", "edge_store1_people_merge").await;
    let done = drill.sync();
    assert!(done.status.success(), "{done:?}");
    drill.world.assert_holds(&drill.job, batch).await;
}
