//! What a scheduler reads: result codes, and the arguments of the jobs that `sync` stands in for.

use milestream_tests::{Configuration, Ended, Process, Setting, Table, World, inserts, updates};
use rustix::process::Signal;

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const JOB: [&str; 6] = ["sync", "--platform-name", "Edge", "--store-name", "Store1", "--result-code"];
/// What DataSurface's DAG adds to them.
const OF_THE_DAG: [&str; 22] = [
    "--operation",
    "snapshot-merge",
    "--git-repo-path",
    "/cache/git-cache",
    "--git-repo-type",
    "github",
    "--git-repo-url",
    "https://git.example",
    "--git-repo-owner",
    "owner",
    "--git-repo-name",
    "model",
    "--git-repo-branch",
    "main",
    "--git-platform-repo-credential-name",
    "git",
    "--rte-name",
    "demo",
    "--max-cache-age-minutes",
    "5",
    "--git-release-selector-hex",
    "7b22",
];

struct Schedule {
    world: World,
    configuration: Configuration,
}

impl Schedule {
    /// A primary with one batch, and settings under which an increment takes one batch.
    async fn new() -> Schedule {
        let mut world = World::of(Setting::default(), vec![Table::people()]).await;
        world.commit(inserts("people", 0..300)).await;
        let configuration = Configuration::of(&world, "max_rows_per_sync = 1\nlease = \"2s\"");
        Schedule { world, configuration }
    }

    fn run(&self, more: &[&str]) -> Ended {
        let mut arguments = JOB.to_vec();
        arguments.extend(more);
        Process::run(BINARY, self.configuration.path(), &arguments)
    }
}

/// The result code, and that the exit code goes with it.
fn code(ended: &Ended) -> &str {
    let last = ended.stdout.lines().last().unwrap_or_default();
    let code = last.strip_prefix("DATASURFACE_RESULT_CODE=").unwrap_or_else(|| panic!("{ended:?}"));
    assert_eq!(ended.status.code(), Some(i32::from(code == "-1")), "{ended:?}");
    code
}

#[tokio::test]
async fn after_a_commit_the_code_is_0_at_the_newest_batch_and_1_below() {
    let mut schedule = Schedule::new().await;
    assert_eq!(code(&schedule.run(&[])), "0", "the seed is as of the newest batch");
    schedule.world.commit(updates("people", 0..10, "second")).await;
    schedule.world.commit(updates("people", 0..10, "third")).await;
    let codes: Vec<_> = (0..3).map(|_| code(&schedule.run(&[])).to_owned()).collect();
    assert_eq!(codes, ["1", "0", "0"]);
    assert_eq!(schedule.world.number("select count(*) from edge_sync_history").await, 3);
}

#[tokio::test]
async fn a_batch_that_came_during_the_sync_is_more_to_do() {
    let mut schedule = Schedule::new().await;
    let mut arguments = JOB.to_vec();
    arguments.extend(["--stop-at", "before-commit"]);
    let mut run = Process::start(BINARY, schedule.configuration.path(), &arguments);
    run.stopped();
    schedule.world.commit(updates("people", 0..10, "second")).await;
    run.signal(Signal::CONT);
    assert_eq!(code(&run.end()), "1");
}

#[tokio::test]
async fn a_primary_that_does_not_answer_after_the_commit_is_not_waited_for() {
    let schedule = Schedule::new().await;
    let mut arguments = JOB.to_vec();
    arguments.extend(["--connect-timeout", "2s", "--stop-at", "before-commit"]);
    let mut run = Process::start(BINARY, schedule.configuration.path(), &arguments);
    run.stopped();
    let mut holder = schedule.world.connect("primary").await;
    let hold = "begin; lock table hub_batch_metrics in access exclusive mode";
    sqlx::raw_sql(hold).execute(&mut holder).await.expect("a lock");
    run.signal(Signal::CONT);
    let began = std::time::Instant::now();
    assert_eq!(code(&run.end()), "1", "nobody knows whether there is more");
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(schedule.world.number("select count(*) from edge_sync_history").await, 1);
}

#[tokio::test]
async fn runs_that_overlap_are_no_failure() {
    let schedule = Schedule::new().await;
    let mut arguments = JOB.to_vec();
    arguments.extend(["--stop-at", "leased"]);
    let mut first = Process::start(BINARY, schedule.configuration.path(), &arguments);
    first.stopped();
    let second = schedule.run(&[]);
    assert_eq!(code(&second), "0");
    assert!(second.stderr.contains("is busy: held by"), "{second:?}");
    first.signal(Signal::CONT);
    assert_eq!(code(&first.end()), "0");
}

#[tokio::test]
async fn the_arguments_of_datasurfaces_dag_are_taken_and_named_as_ignored() {
    let schedule = Schedule::new().await;
    let ended = schedule.run(&OF_THE_DAG);
    assert_eq!(code(&ended), "0");
    assert!(ended.stderr.contains("ignored: --git-repo-path, --git-repo-type"), "{ended:?}");
    let unknown = schedule.run(&["--operation", "reset"]);
    assert_eq!(code(&unknown), "-1");
}
