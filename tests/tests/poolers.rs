//! PgBouncer before the primary: in session mode the worker sets by itself what the pooler drops; other modes are found
//! and refused, and nobody else gets the worker's settings.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use milestream_tests::{Table, World, inserts, updates};
use milestream_worker::sync::Job;
use milestream_worker::{Class, Error, Holding};
use sqlx::{Connection, PgConnection, Row};
use tokio::process::{Child, Command};

/// Lets the pooler take start-up options, and drop them.
const DROPS_OPTIONS: &str = "ignore_startup_parameters = extra_float_digits,options\n";

fn pgbouncer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("pgbouncer")).find(|it| it.exists());
    if found.is_none() {
        eprintln!("SKIPPED: there is no pgbouncer in PATH");
    }
    found
}

struct Pooler {
    process: Child,
    port: u16,
    _place: tempfile::TempDir,
}

impl Pooler {
    async fn before(world: &World, binary: PathBuf, mode: &str, settings: &str) -> Pooler {
        let place = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users = place.path().join("users.txt");
        std::fs::write(&users, format!("\"{}\" \"\"\n", world.server.superuser())).unwrap();
        let configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             pool_mode = {mode}\nauth_type = trust\nauth_file = {}\nunix_socket_dir =\n{settings}",
            world.server.port(),
            users.display()
        );
        let file = place.path().join("pgbouncer.ini");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(binary);
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root, as the server does.
            std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            command.args(["-u", "nobody"]);
        }
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().unwrap();
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Pooler { process, port, _place: place };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the pooler never listened");
    }

    /// The job whose primary is reached through the pooler.
    fn job(&self, world: &World) -> Job {
        let mut job = world.job("Edge", Holding::LiveOnly);
        let mut endpoint = world.endpoint("primary Hub", "primary");
        endpoint.port = self.port;
        job.upstreams[0].endpoint = Arc::new(endpoint);
        job
    }
}

async fn primary() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..300)).await;
    world
}

#[tokio::test]
async fn a_pooler_that_keeps_sessions_is_used_whether_it_drops_or_refuses_options() {
    let Some(binary) = pgbouncer() else { return };
    for settings in [DROPS_OPTIONS, "", "ignore_startup_parameters = options\ndefault_pool_size = 2\n"] {
        let mut world = primary().await;
        let mut pooler = Pooler::before(&world, binary.clone(), "session", settings).await;
        let mut job = pooler.job(&world);
        job.tuning.parallelism = 1;
        world.sync(&job).await.unwrap_or_else(|error| panic!("{settings}: {error}"));
        let batch = world.commit(updates("people", 0..9, "changed")).await;
        world.sync(&job).await.unwrap_or_else(|error| panic!("{settings}: {error}"));
        world.assert_holds(&job, batch).await;
        pooler.process.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_pooler_that_lends_servers_is_refused_by_name_and_keeps_no_settings_of_ours() {
    let Some(binary) = pgbouncer() else { return };
    for mode in ["transaction", "statement"] {
        for settings in [DROPS_OPTIONS, ""] {
            let world = primary().await;
            let mut pooler = Pooler::before(&world, binary.clone(), mode, settings).await;
            let job = pooler.job(&world);
            let error = world.sync(&job).await.unwrap_err();
            assert!(matches!(error, Error::Pooler { .. }), "{mode} {settings}: {error}");
            assert_eq!(error.class(), Class::Blocked);
            assert!(error.to_string().contains("transaction or statement mode"), "{mode}: {error}");
            assert!(error.advice().contains("session mode"), "{}", error.advice());
            if settings == DROPS_OPTIONS {
                let options = world.connect_options("primary").port(pooler.port);
                let mut other = PgConnection::connect_with(&options).await.unwrap();
                let marked = "select coalesce(current_setting('milestream.session', true), '') = ''";
                let row = sqlx::raw_sql(marked).fetch_one(&mut other).await.unwrap();
                assert!(
                    row.get::<bool, _>(0),
                    "a setting of the worker's is left on a server of the pooler's"
                );
            }
            pooler.process.kill().await.unwrap();
        }
    }
}
