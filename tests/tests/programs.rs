//! What programs read of a run: its log, its facts and how it ends.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use milestream_tests::{Configuration, Ended, Process, Setting, Table, World, inserts, updates};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const SYNC: [&str; 5] = ["sync", "--platform", "Edge", "--store", "Store1"];

struct Read {
    world: World,
    configuration: Configuration,
}

impl Read {
    async fn new(settings: &str) -> Read {
        let mut world = World::of(Setting::default(), vec![Table::people()]).await;
        world.commit(inserts("people", 0..300)).await;
        let configuration = Configuration::of(&world, settings);
        Read { world, configuration }
    }

    fn run(&self, more: &[&str]) -> Ended {
        let mut arguments = SYNC.to_vec();
        arguments.extend(more);
        Process::run(BINARY, self.configuration.path(), &arguments)
    }
}

/// The lines of a log that is JSON to the last line.
fn log(ended: &Ended) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} in {ended:?}"));
    ended.stderr.lines().map(line).collect()
}

#[tokio::test]
async fn a_log_of_json_has_figures_as_fields() {
    let read = Read::new("").await;
    let ended = read.run(&["--log-format", "json"]);
    let lines = log(&ended);
    let commit = lines.iter().find(|line| line["inserted"] == 300).unwrap_or_else(|| panic!("{lines:?}"));
    let field = |name: &str| commit[name].clone();
    assert_eq!(
        ["platform", "stream", "phase", "batch", "rows", "updated", "deleted"].map(field),
        [json!("Edge"), json!("Store1"), json!("seed"), json!(1), json!(300), json!(0), json!(0)]
    );
    assert!(commit["milliseconds"].is_u64(), "{commit}");
}

#[tokio::test]
async fn an_error_is_a_line_of_the_json_log() {
    let read = Read::new("retry_tries = 2\nretry_pause_min = \"10ms\"").await;
    let away = ["--log-format", "json", "--endpoints", "MergeDB_Hub=127.0.0.1:1"];
    let lines = log(&read.run(&away));
    let retry = lines.iter().find(|line| line["notice"] == "Retry");
    assert!(retry.is_some_and(|line| line["level"] == "WARN" && line["stream"] == "Store1"), "{lines:?}");
    let error = lines.last().expect("a line");
    let field = |name: &str| error[name].clone();
    assert_eq!(
        ["level", "platform", "stream", "exit_code"].map(field),
        [json!("ERROR"), json!("Edge"), json!("Store1"), json!(4)]
    );
    assert!(error["advice"].as_str().is_some_and(|advice| advice.contains("check that the server runs")));
}

#[tokio::test]
async fn a_log_of_text_says_nothing_twice() {
    let read = Read::new("").await;
    let ended = read.run(&[]);
    assert!(ended.stderr.contains("Edge Store1: at batch 1: 300 inserted"), "{ended:?}");
    assert!(!ended.stderr.contains("platform=") && !ended.stderr.contains("batch="), "{ended:?}");
}

#[tokio::test]
async fn facts_in_json_have_rows_range_and_duration_of_each_sync() {
    let mut read = Read::new("max_rows_per_sync = 1").await;
    let seed: Value = serde_json::from_str(&read.run(&["--output", "json"]).stdout).expect("JSON");
    assert_eq!((&seed[0]["committed"][0]["from"], &seed[0]["committed"][0]["to"]), (&Value::Null, &json!(1)));
    read.world.commit(updates("people", 0..10, "second")).await;
    read.world.commit(updates("people", 0..20, "third")).await;
    let ended = read.run(&["--output", "json", "--until-caught-up"]);
    let facts: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let syncs = facts[0]["committed"].as_array().expect("a list");
    let figures =
        |sync: &Value| ["kind", "from", "to", "rows_updated", "rows_staged"].map(|name| sync[name].clone());
    assert_eq!(
        syncs.iter().map(figures).collect::<Vec<_>>(),
        [
            [json!("increment"), json!(1), json!(2), json!(10), json!(10)],
            [json!("increment"), json!(2), json!(3), json!(20), json!(20)],
        ]
    );
    assert!(syncs.iter().all(|sync| sync["milliseconds"].is_u64()) && facts[0]["milliseconds"].is_u64());
}

#[tokio::test]
async fn a_result_code_leaves_json_whole() {
    let read = Read::new("").await;
    let ended = read.run(&["--output", "json", "--result-code"]);
    serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(ended.stderr.lines().last(), Some("DATASURFACE_RESULT_CODE=0"), "{ended:?}");
    let ended = read.run(&["--output", "json", "--result-code", "--log-format", "json"]);
    serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(log(&ended).last().expect("a line")["message"], "DATASURFACE_RESULT_CODE=0");
}

/// A pipe among the model's documents: whoever reads the model waits there.
fn pipe(read: &Read) -> std::path::PathBuf {
    let path = read.configuration.path().join("zz.json");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    path
}

#[tokio::test]
async fn a_signal_before_anything_is_begun_stops_a_sync_as_later_ones_do() {
    let read = Read::new("").await;
    let pipe = pipe(&read);
    let process = Process::start(BINARY, read.configuration.path(), &SYNC);
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(pipe, r#"{"_type": "TerraformModule"}"#).expect("a reader");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
}

#[tokio::test]
async fn a_command_that_only_reads_is_ended_by_the_first_signal() {
    let read = Read::new("").await;
    let _pipe = pipe(&read);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let process = Process::start(BINARY, read.configuration.path(), &["status"]);
        tokio::time::sleep(Duration::from_millis(500)).await;
        process.signal(signal);
        let ended = process.end();
        assert_eq!((ended.status.code(), ended.status.signal()), (Some(code), None), "{ended:?}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_sync_at_once_and_the_next_goes_on() {
    // A megabyte in one chunk, at a rate at which it takes ten seconds.
    let settings = "max_rate = 0.1\nlease = \"1s\"\nparallelism = 1";
    let mut read = Read::new(settings).await;
    read.world.commit(inserts("people", 300..10_000)).await;
    let began = Instant::now();
    let process = Process::start(BINARY, read.configuration.path(), &SYNC);
    let landing = "select coalesce(min(pid), 0) from pg_stat_progress_copy where command = 'COPY FROM'";
    let backend = loop {
        match read.world.number(landing).await {
            0 => assert!(began.elapsed() < Duration::from_secs(30), "it never copied"),
            pid => break Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    // Who is asked to stop hurries: the chunk stays in flight, as its backend does not answer.
    kill_process(backend, Signal::STOP).expect("a backend");
    process.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.signal(Signal::TERM);
    let ended = process.end();
    kill_process(backend, Signal::CONT).expect("a backend");
    assert_eq!((ended.status.code(), ended.status.signal()), (Some(143), None), "{ended:?}");
    assert!(ended.stderr.contains("a second signal ends at once"), "{ended:?}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let next = read.run(&[]);
    assert!(next.status.success(), "{next:?}");
    let job = read.world.job("Edge", milestream_worker::Holding::LiveOnly);
    read.world.assert_holds(&job, 2).await;
}
