//! What all acts share: servers, binary, tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::arguments::{Arguments, Storage};
use super::children::Finished;
use super::ground::{Ground, SETTINGS};
use super::history::People;
use super::report::Report;
use super::worker::{Binary, HISTORY_TABLE, MERGE_TABLE, Secondary};

/// The stage of a run.
pub(crate) struct Stage {
    pub(crate) arguments: Arguments,
    pub(crate) ground: Ground,
    pub(crate) binary: Binary,
    tables: Mutex<BTreeMap<u64, Arc<People>>>,
}

impl Stage {
    /// Starts the servers and says on what the run takes place.
    pub(crate) async fn set(arguments: Arguments, report: &mut Report) -> Stage {
        let binary = Binary::find(arguments.milestream.as_deref());
        let ground = Ground::start(arguments.storage()).await;
        describe(&arguments, &ground, report).await;
        Stage { arguments, ground, binary, tables: Mutex::default() }
    }

    /// The table of so many keys; it is built when it is first asked for.
    pub(crate) async fn table(&self, keys: u64) -> Arc<People> {
        let mut tables = self.tables.lock().await;
        if let Some(table) = tables.get(&keys) {
            return Arc::clone(table);
        }
        let began = Instant::now();
        let table = Arc::new(People::build(&self.ground.primary, &keys.to_string(), keys, 0).await);
        println!("  (a table of {keys} keys was built in {:.1} s)", began.elapsed().as_secs_f64());
        tables.insert(keys, Arc::clone(&table));
        table
    }

    /// The table that the marks speak of.
    pub(crate) async fn headline(&self) -> Arc<People> {
        self.table(self.arguments.keys()).await
    }

    /// A tenth of it.
    pub(crate) async fn small(&self) -> Arc<People> {
        self.table(self.arguments.keys() / 10).await
    }

    pub(crate) fn live(&self, people: &People) -> Secondary {
        Secondary::live(&self.binary, &self.ground, people)
    }

    /// A first seed into an empty target, and that it holds what it should.
    ///
    /// # Errors
    /// What the worker said, or what is missing.
    pub(crate) async fn seed(
        &self,
        secondary: &Secondary,
        people: &People,
        flags: &[&str],
    ) -> Result<Finished, String> {
        self.ground.clear_target().await;
        let finished = secondary.sync(flags).await.map_err(|error| format!("the seed: {error}"))?;
        self.expect_rows(MERGE_TABLE, "true", people.keys).await?;
        Ok(finished)
    }

    /// A seed that nobody measures. The first copy into a new server makes its WAL files and touches its memory for the
    /// first time; whoever comes first would pay for all.
    ///
    /// # Errors
    /// Those of a seed.
    pub(crate) async fn warm_up(&self, people: &People) -> Result<(), String> {
        self.seed(&self.live(people), people, &[]).await.map(|_| ())
    }

    /// # Errors
    /// When a table of the target does not hold as many rows as it should.
    pub(crate) async fn expect_rows(
        &self,
        table: &str,
        condition: &str,
        expected: u64,
    ) -> Result<(), String> {
        let question = format!("select count(*) from {table} where {condition}");
        let found = self.ground.ask_target(&question).await;
        if u64::try_from(found) == Ok(expected) {
            return Ok(());
        }
        Err(format!("{table} has {found} rows where {condition}, not {expected}"))
    }

    /// A number of the worker's newest row of history.
    pub(crate) async fn told(&self, column: &str) -> i64 {
        let question =
            format!("select {column}::int8 from {HISTORY_TABLE} order by committed_at desc limit 1");
        self.ground.ask_target(&question).await
    }

    /// Every round's number.
    pub(crate) fn rounds(&self) -> std::ops::Range<u32> {
        0..self.arguments.rounds
    }
}

async fn describe(arguments: &Arguments, ground: &Ground, report: &mut Report) {
    let storage = match arguments.storage() {
        Storage::Memory => "data in memory where it has room, fsync off",
        Storage::Disk => "data on disk, fsync off",
        Storage::Durable => "data on disk, fsync on",
    };
    let settings: Vec<_> = SETTINGS.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let build =
        if cfg!(debug_assertions) { "a debug build: its ratios mean nothing" } else { "release build" };
    report.fact(format!("Machine: {}", machine()));
    report.fact(format!(
        "Servers: two of {} on it, {storage}; {}",
        ground.version().await,
        settings.join(", ")
    ));
    report.fact(format!("Worker: {} {}, this comparison a {build}", env!("CARGO_PKG_VERSION"), "milestream"));
    report.fact(format!("Keys: {}; rounds: {}", arguments.keys(), arguments.rounds));
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([' ', '\t', ':']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory_kib: u64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    format!("{cores} cores ({}), {} GB of memory", field("/proc/cpuinfo", "model name"), memory_kib >> 20)
}
