//! What a run of the comparison is asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Keys of the headline table, unless something else is asked for.
const KEYS: u64 = 1_000_000;
/// The same with `--full`.
const KEYS_FULL: u64 = 5_000_000;

/// Compares Milestream with other ways to copy a table, in pairs within one run, and holds it against its marks.
#[derive(Clone, Debug, Parser)]
#[command(name = "compare")]
pub struct Arguments {
    /// Measure 5 million keys, and 1 million against 10 million: some hours, and 40 GB of disk.
    #[arg(long)]
    pub full: bool,
    /// Keys of the table instead of 1 million; for trying the comparison out.
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
    /// Rounds of each comparison.
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Only these acts, in their usual order.
    #[arg(long, value_name = "ACT,…", value_delimiter = ',')]
    pub only: Vec<Act>,
    /// Where the servers keep their data.
    #[arg(long, value_name = "WHERE")]
    pub storage: Option<Storage>,
    /// The worker's binary; by default the `milestream` beside this program.
    #[arg(long, env = "MILESTREAM_BIN", value_name = "FILE")]
    pub milestream: Option<PathBuf>,
    /// Sling's binary; by default `sling` or `sling-linux-amd64` in PATH.
    #[arg(long, env = "SLING_BIN", value_name = "FILE")]
    pub sling: Option<PathBuf>,
    /// File for the tables of the run, in Markdown.
    #[arg(long, value_name = "FILE", default_value = "target/compare/marks.md")]
    pub markdown: PathBuf,
    /// Directory for the pictures.
    #[arg(long, value_name = "DIR", default_value = "target/compare")]
    pub plots: PathBuf,
}

/// A part of the comparison that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Act {
    /// First seed of a live-only secondary, against every rival.
    Seed,
    /// Seed of a forensic mirror, against two COPY pipes.
    Mirror,
    /// Time a row of a large table against a small one.
    Slope,
    /// What a chunk costs beside its rows.
    Chunks,
    /// Chunks that are copied again after a kill.
    Kill,
    /// Buffers of the primary and connections to it.
    Load,
    /// Peak memory.
    Memory,
    /// Pictures of how the cost of a seed grows.
    Pictures,
    /// A sync with nothing new.
    Idle,
    /// An increment against the seed, and on a large table against a small one.
    Increment,
    /// A seed and an increment over a link that is 50 ms long.
    Link,
    /// A large increment, by each way to read it.
    Strategies,
    /// Two processes on one seed.
    Join,
    /// A picture of how the cost of an increment grows.
    Changes,
}

/// Where the servers of a run keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    /// In memory where it has room, without fsync: the least noise.
    Memory,
    /// On disk, without fsync.
    Disk,
    /// On disk, with fsync.
    Durable,
}

impl Arguments {
    /// Keys of the headline table.
    pub fn keys(&self) -> u64 {
        self.rows.unwrap_or(if self.full { KEYS_FULL } else { KEYS })
    }

    /// Keys of the smaller and of the larger table whose time a row is compared.
    pub fn slope_keys(&self) -> (u64, u64) {
        if self.full { (self.keys() / 5, self.keys() * 2) } else { (self.keys() / 10, self.keys()) }
    }

    /// Whether an act is asked for.
    pub fn wants(&self, act: Act) -> bool {
        self.only.is_empty() || self.only.contains(&act)
    }

    /// What was asked for, or memory where the tables are small enough for it.
    pub fn storage(&self) -> Storage {
        let small = if self.full { Storage::Disk } else { Storage::Memory };
        self.storage.unwrap_or(small)
    }
}
