//! The life of one server, from start to nothing left.

use std::time::Duration;

use crate::support::{ask, backend, connect, data_directory, execute, processes_in, server, start};
use milestream_cluster::{Error, ServerOptions};
use sqlx::{ConnectOptions, Connection, Executor};

#[tokio::test]
async fn a_started_server_answers_and_a_stopped_one_refuses() {
    let server = server("start-stop").await;
    assert_eq!(ask(&server, "postgres", "1 + 1").await, "2");
    assert!(server.is_running().await.unwrap());
    server.stop().await.unwrap();
    assert!(!server.is_running().await.unwrap());
    assert!(server.connect_options("postgres").connect().await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_port_and_data() {
    let server = server("restart").await;
    let port = server.port();
    execute(&server, "postgres", "create table kept (v int); insert into kept values (7)").await;
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(ask(&server, "postgres", "select v from kept").await, "7");
    server.stop_immediate().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(ask(&server, "postgres", "select v from kept").await, "7");
}

#[tokio::test]
async fn every_commit_acknowledged_before_a_kill_is_there_after_the_restart() {
    let server = server("kill").await;
    execute(&server, "postgres", "create table acknowledged (v int)").await;
    for round in 1..=5 {
        let mut connection = connect(&server, "postgres").await;
        connection.execute("insert into acknowledged select generate_series(1, 1000)").await.unwrap();
        server.kill().await.unwrap();
        assert!(!server.is_running().await.unwrap());
        assert!(connection.execute("select 1").await.is_err(), "its backend is dead too");
        server.restart().await.unwrap();
        let rows = ask(&server, "postgres", "select count(*) from acknowledged").await;
        assert_eq!(rows, (1000 * round).to_string());
    }
}

#[tokio::test]
async fn a_kill_ends_sessions_that_are_busy_and_would_not_notice_the_end_of_their_server() {
    let server = server("kill-busy").await;
    let data = data_directory(&server).await;
    let mut busy = connect(&server, "postgres").await;
    let counting = tokio::spawn(async move {
        busy.execute("select count(*) from generate_series(1, 100000000000)").await.map(|_| ())
    });
    let active = "select count(*) from pg_stat_activity where query like '%generate\\_series(1%' and state = 'active' \
                  and pid <> pg_backend_pid()";
    while ask(&server, "postgres", active).await == "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill().await.unwrap();
    assert_eq!(processes_in(&data), Vec::<String>::new());
    assert!(counting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_pause_makes_clients_wait_and_resume_frees_them() {
    let server = server("pause").await;
    let mut connection = connect(&server, "postgres").await;
    server.pause().await.unwrap();
    assert!(server.is_running().await.unwrap());
    let waiting = tokio::spawn(async move { connection.execute("select 1").await.map(|_| ()) });
    let newcomer = server.connect_options("postgres");
    let newcomer = tokio::spawn(async move { newcomer.connect().await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "an open session waits");
    assert!(!newcomer.is_finished(), "a new connection waits");
    server.resume().await.unwrap();
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, waiting).await.unwrap().unwrap().unwrap();
    tokio::time::timeout(patience, newcomer).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_paused_server_can_be_killed_and_stopped_and_restarted() {
    let server = server("paused").await;
    let _session = connect(&server, "postgres").await;
    server.pause().await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    server.pause().await.unwrap();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    server.pause().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(ask(&server, "postgres", "1").await, "1");
}

#[tokio::test]
async fn what_needs_a_running_server_says_so_when_it_is_down() {
    let server = server("down").await;
    server.stop().await.unwrap();
    let error = server.pause().await.unwrap_err();
    assert!(matches!(error, Error::NotRunning { wanted: "paused", .. }), "{error}");
    assert!(matches!(server.resume().await.unwrap_err(), Error::NotRunning { .. }));
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_directory() {
    for end in ["running", "stopped", "killed", "paused"] {
        let server = server("drop").await;
        let data = data_directory(&server).await;
        let _session = connect(&server, "postgres").await;
        let home = data.parent().unwrap().to_owned();
        let segment = segment_of(&data);
        assert!(!processes_in(&data).is_empty(), "the check sees a running server");
        assert!(segments().is_none_or(|all| all.contains(&segment)), "and its shared memory");
        match end {
            "stopped" => server.stop().await.unwrap(),
            "killed" => server.kill().await.unwrap(),
            "paused" => server.pause().await.unwrap(),
            _ => {}
        }
        drop(server);
        assert_eq!(processes_in(&home), Vec::<String>::new(), "{end}");
        assert!(!home.exists(), "{end}");
        assert!(segments().is_none_or(|all| !all.contains(&segment)), "{end}");
    }
}

/// The System V segment of a server, as its pid file names it.
fn segment_of(data: &std::path::Path) -> String {
    let pid_file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    pid_file.lines().nth(6).unwrap().split_whitespace().last().unwrap().to_owned()
}

/// The segments there are, where the kernel lists them.
fn segments() -> Option<Vec<String>> {
    let listing = std::fs::read_to_string("/proc/sysvipc/shm").ok()?;
    Some(listing.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect())
}

#[tokio::test]
async fn a_panic_leaves_no_process_and_no_directory() {
    let server = server("panic").await;
    let home = data_directory(&server).await.parent().unwrap().to_owned();
    let panicking = tokio::spawn(async move {
        let _server = server;
        panic!("as a failing test does");
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(processes_in(&home), Vec::<String>::new());
    assert!(!home.exists());
}

#[tokio::test]
async fn a_failed_start_reports_the_servers_own_log_and_leaves_nothing() {
    let backend = backend().await;
    let options = ServerOptions::named("broken").with_setting("shared_buffers", "a lot");
    let error = milestream_cluster::Server::start(&backend, options).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Start { .. }), "{text}");
    assert!(
        text.contains("broken") && text.contains("invalid value for parameter \"shared_buffers\""),
        "{text}"
    );
}

#[tokio::test]
async fn several_servers_start_at_once_on_ports_of_their_own() {
    let backend = backend().await;
    let (a, b, c) = tokio::join!(
        start(&backend, ServerOptions::named("a")),
        start(&backend, ServerOptions::named("b")),
        start(&backend, ServerOptions::named("c")),
    );
    execute(&a, "postgres", "create table only_in_a ()").await;
    for server in [&b, &c] {
        assert_eq!(ask(server, "postgres", "select to_regclass('only_in_a') is null").await, "true");
    }
    assert!(a.port() != b.port() && b.port() != c.port() && a.port() != c.port());
}

#[tokio::test]
async fn settings_are_the_callers_over_the_defaults() {
    let backend = backend().await;
    let server = start(&backend, ServerOptions::default().with_setting("work_mem", "123kB")).await;
    for (setting, value) in [
        ("work_mem", "123kB"),
        ("fsync", "off"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("wal_segment_size", "1MB"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
    ] {
        assert_eq!(
            ask(&server, "postgres", &format!("current_setting('{setting}')")).await,
            value,
            "{setting}"
        );
    }
    let durable = start(&backend, ServerOptions { durable: true, ..ServerOptions::default() }).await;
    assert_eq!(ask(&durable, "postgres", "current_setting('fsync')").await, "on");
    assert!(!data_directory(&durable).await.starts_with("/dev/shm"));
}

#[tokio::test]
async fn a_connection_outlives_the_thread_and_runtime_that_started_its_server() {
    let server = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server("thread"))
    });
    let server = server.join().unwrap();
    // A parent-death signal bound to the wrong thread would have arrived by now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let connection = connect(&server, "postgres").await;
    connection.close().await.unwrap();
}
