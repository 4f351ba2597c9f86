//! The others who copy the same rows, each as someone who knows it well would use it.

mod dump;
mod hand;
mod logical;
mod pgcopydb;
mod sling;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use milestream_cluster::Server;

pub(crate) use hand::Hand;

use super::children::Finished;
use super::copy::Copy;
use super::ground::Ground;
use super::history::People;

/// A way to copy the rows that are live.
pub(crate) enum Rival {
    /// COPY into COPY, typed by hand.
    Hand(Hand),
    /// `pg_dump | psql`.
    Dump,
    /// pgcopydb.
    Pgcopydb,
    /// The initial copy of a subscription.
    Logical,
    /// Sling.
    Sling(std::path::PathBuf),
}

impl Rival {
    /// All of them, or why one is not there.
    pub(crate) fn all(sling: Option<&Path>) -> Vec<Result<Rival, String>> {
        let installed = |program: &str, rival| match find(program) {
            Some(_) => Ok(rival),
            None => Err(format!("{program} is not installed")),
        };
        vec![
            installed("psql", Rival::Hand(Hand::ONE)),
            installed("psql", Rival::Hand(Hand::TWO)),
            installed("pg_dump", Rival::Dump),
            installed("pgcopydb", Rival::Pgcopydb),
            Ok(Rival::Logical),
            sling::find(sling).map(Rival::Sling),
        ]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Rival::Hand(hand) => hand.name(),
            Rival::Dump => "pg_dump | psql",
            Rival::Pgcopydb => "pgcopydb",
            Rival::Logical => "logical replication, initial copy",
            Rival::Sling(_) => "sling",
        }
    }

    /// Whether it can only copy a whole table, so that it needs one that holds the live rows.
    pub(crate) fn needs_plain_table(&self) -> bool {
        matches!(self, Rival::Dump | Rival::Pgcopydb)
    }

    /// Copies the live rows into the empty target, with keys, indexes and statistics.
    ///
    /// # Errors
    /// What it said when it failed.
    pub(crate) async fn copy(&self, ground: &Ground, people: &People) -> Result<Finished, String> {
        let began = Instant::now();
        let processes = match self {
            Rival::Hand(hand) => hand.copy(ground, people, &Copy::live(people)).await?,
            Rival::Dump => dump::copy(ground, people).await?,
            Rival::Pgcopydb => pgcopydb::copy(ground, people).await?,
            Rival::Logical => logical::copy(ground, people).await?,
            Rival::Sling(program) => sling::copy(program, ground, people).await?,
        };
        let took = began.elapsed();
        logical::forget(ground, self).await;
        Ok(together(&processes, took))
    }

    /// The table that it made.
    pub(crate) fn table(&self) -> &'static str {
        match self {
            Rival::Logical => super::history::TABLE,
            _ => "people_live",
        }
    }
}

/// A table of the primary that holds the live rows alone, for those who can only copy whole tables. Making it is not
/// in their time.
pub(crate) async fn make_plain_table(ground: &Ground, people: &People) {
    let copy = Copy::live(people);
    let insert = format!("insert into {} ({}) {}", copy.table, copy.columns, copy.select(None));
    let statements = [&[copy.create(), insert][..], &copy.indexes].concat();
    people.execute(&ground.primary, &statements.join(";")).await;
    people.execute(&ground.primary, &format!("vacuum analyze {}", copy.table)).await;
}

/// Forgets it.
pub(crate) async fn drop_plain_table(ground: &Ground, people: &People) {
    people.execute(&ground.primary, "drop table if exists people_live").await;
}

/// Time from the first to the last, CPU and memory of all.
pub(crate) fn together(processes: &[Finished], took: std::time::Duration) -> Finished {
    Finished {
        took,
        cpu: processes.iter().map(|process| process.cpu).sum(),
        peak_kib: processes.iter().map(|process| process.peak_kib).sum(),
    }
}

/// A program in PATH.
fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// `psql` on a database, with one statement or with standard input.
fn psql(server: &Server, database: &str, statement: Option<&str>) -> Command {
    let mut command = Command::new("psql");
    command.args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", &server.url(database)]);
    if let Some(statement) = statement {
        command.args(["-c", statement]);
    }
    command
}

/// Statements one after another, then statistics.
async fn finish_table(ground: &Ground, copy: &Copy) {
    for index in &copy.indexes {
        ground.on_target(index).await;
    }
    ground.on_target(&format!("vacuum analyze {}", copy.table)).await;
}
