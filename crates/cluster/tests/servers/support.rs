//! What the tests of servers share.

use std::path::{Path, PathBuf};

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// A server of whatever this machine has.
pub(crate) async fn server(name: &str) -> Server {
    start(&backend().await, ServerOptions::named(name)).await
}

pub(crate) async fn backend() -> Backend {
    Backend::find(&FindOptions::from_env()).await.unwrap()
}

pub(crate) async fn start(backend: &Backend, options: ServerOptions) -> Server {
    Server::start(backend, options).await.unwrap()
}

pub(crate) async fn connect(server: &Server, database: &str) -> PgConnection {
    server.connect_options(database).connect().await.unwrap()
}

pub(crate) async fn execute(server: &Server, database: &str, statements: &str) {
    let mut connection = connect(server, database).await;
    connection.execute(AssertSqlSafe(statements.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// One value, as text.
pub(crate) async fn ask(server: &Server, database: &str, question: &str) -> String {
    let mut connection = connect(server, database).await;
    let answer = sqlx::query_scalar(AssertSqlSafe(format!("select ({question})::text")));
    let answer: String = answer.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

/// The data directory of a local server, as the server itself says.
pub(crate) async fn data_directory(server: &Server) -> PathBuf {
    ask(server, "postgres", "current_setting('data_directory')").await.into()
}

/// Processes that were started on something in this directory, or work in it.
#[cfg(target_os = "linux")]
pub(crate) fn processes_in(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(command) = std::fs::read_to_string(entry.path().join("cmdline")) else { continue };
        let works_there =
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        if works_there || command.contains(directory.to_str().unwrap()) {
            found.push(format!("{} {}", entry.file_name().display(), command.replace('\0', " ")));
        }
    }
    found
}

/// Processes that were started on something in this directory: postmasters, but not their children.
#[cfg(not(target_os = "linux"))]
pub(crate) fn processes_in(directory: &Path) -> Vec<String> {
    let listing = std::process::Command::new("ps").args(["-A", "-o", "pid=,command="]).output().unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let there = |line: &&str| line.contains(directory.to_str().unwrap());
    listing.lines().filter(there).map(str::to_owned).collect()
}
