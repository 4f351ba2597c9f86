//! What one stream of one secondary is to do, and under which bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use milestream_core::stream::Stream;

use super::former;
use super::ground::Charge;
use crate::StreamName;
use crate::error::{Error, Result};
use crate::pair::{Holding, SecondaryNames};
use crate::postgres::session::Patience;
use crate::postgres::sql::ident;
use crate::postgres::{Endpoint, Session};
use crate::rights::Needs;
use crate::tables::ControlTables;

/// One stream of one secondary.
#[derive(Clone, Debug)]
pub struct Job {
    /// The secondary platform's name, as in the model.
    pub platform: String,
    /// What it keeps.
    pub holding: Holding,
    /// The stream, with its datasets.
    pub stream: Stream,
    /// The primaries it can be pulled from, in order of preference; never empty.
    pub upstreams: Vec<Upstream>,
    /// How one of them is chosen, as long as the stream has none.
    pub primary_choice: PrimaryChoice,
    /// The secondary's merge store.
    pub secondary: Arc<Endpoint>,
    /// Batches whose staged rows are kept; `None` keeps all.
    pub staging_batches_to_keep: Option<u32>,
    /// Names of all platforms of the model, as far as they are known: tables of another may be those of this one, before
    /// it was renamed.
    pub platforms: BTreeSet<String>,
    /// Bounds and policies.
    pub tuning: Tuning,
}

/// A primary to pull from.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The primary platform's name, as in the model.
    pub platform: String,
    /// Its merge store, opened with the secondary's credential.
    pub endpoint: Arc<Endpoint>,
}

/// How a stream without a primary gets one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum PrimaryChoice {
    /// The first candidate.
    #[default]
    First,
    /// Streams are spread over the candidates by their keys.
    Spread,
    /// The candidate whose newest committed batch is youngest; where its age is not known, the first that answers.
    LeastLag,
}

/// How a seed is cut into chunks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum SeedStrategy {
    /// Blocks where the relation is a table, keys where it is a view or foreign table.
    #[default]
    Auto,
    /// Ranges of heap blocks and a sweep.
    Blocks,
    /// Ranges of the key.
    Keys,
}

/// How an increment is read.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum IncrementStrategy {
    /// By blocks where it is a large part of a table, else by keys.
    #[default]
    Auto,
    /// Ranges of heap blocks and a sweep, where the relation has blocks.
    Blocks,
    /// One stream in the order of the keys, over the indexes of the milestones.
    Keys,
}

/// How a seed is checked before it lands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum VerifySeed {
    /// Rows landed are counted on both sides.
    #[default]
    Count,
    /// Digests of all rows are compared.
    Content,
    /// Not at all.
    Off,
}

/// Bounds and policies of a sync. The defaults are those of `milestream.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Streams of rows that are copied side by side.
    pub parallelism: usize,
    /// Rows a chunk aims at.
    pub seed_chunk_rows: u64,
    /// Time a copy aims at: as many chunks of blocks that follow one another are copied together as fit into it.
    pub seed_chunk_time: Duration,
    /// How a seed is cut into chunks.
    pub seed_strategy: SeedStrategy,
    /// How increments are read.
    pub increment_strategy: IncrementStrategy,
    /// How a seed is checked, and an increment that is read by blocks.
    pub verify_seed: VerifySeed,
    /// Recorded rows that one increment may span, as long as that is more than one batch.
    pub max_rows_per_sync: u64,
    /// Share of a table's rows that one sync may delete.
    pub max_delete_fraction: f64,
    /// Whether tables we create are unique on the key hash.
    pub interchange: bool,
    /// Tries after transient errors without progress in between.
    pub retry_tries: usize,
    /// Time within which the tries are made.
    pub retry_window: Duration,
    /// Pause before the first retry; it doubles up to `retry_pause_max`, with jitter.
    pub retry_pause_min: Duration,
    /// Longest pause before a retry.
    pub retry_pause_max: Duration,
    /// How long the lease stands without a heartbeat.
    pub lease: Duration,
    /// Bound on making a connection.
    pub connect_timeout: Duration,
    /// Bound on waiting for a lock.
    pub lock_timeout: Duration,
    /// Bound on a statement on the primary.
    pub statement_timeout: Duration,
    /// Bound on the silence of the primary in the middle of an answer.
    pub silence_timeout: Duration,
    /// `maintenance_work_mem` while indexes are built.
    pub maintenance_work_mem: String,
    /// Time zone in which the primary writes the times of its batches; `None` where nobody said.
    pub primary_timezone: Option<String>,
    /// Megabytes (10^6 bytes) a second that all copies of a sync together read; `None` for as fast as they can.
    pub max_rate: Option<f64>,
    /// Bytes that a replica of the database that is read may be behind before copies pause.
    pub pause_replication_lag: Option<u64>,
    /// Sessions, Milestream's own apart, that may be active in the server that is read before copies pause.
    pub pause_active_sessions: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            parallelism: 2,
            seed_chunk_rows: 100_000,
            seed_chunk_time: Duration::from_secs(2),
            seed_strategy: SeedStrategy::Auto,
            increment_strategy: IncrementStrategy::Auto,
            verify_seed: VerifySeed::Count,
            max_rows_per_sync: 5_000_000,
            max_delete_fraction: 0.5,
            interchange: false,
            retry_tries: 10,
            retry_window: Duration::from_secs(300),
            retry_pause_min: Duration::from_millis(500),
            retry_pause_max: Duration::from_secs(30),
            lease: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(3600),
            silence_timeout: Duration::from_secs(300),
            maintenance_work_mem: "256MB".into(),
            primary_timezone: None,
            max_rate: None,
            pause_replication_lag: None,
            pause_active_sessions: None,
        }
    }
}

impl Tuning {
    /// Patience with a database that is read: every wait is bounded.
    pub(crate) fn reading_patience(&self) -> Patience {
        Patience {
            connect: self.connect_timeout,
            lock: self.lock_timeout,
            statement: self.statement_timeout,
            silence: self.silence_timeout,
        }
    }

    /// Patience with one's own store: merges and index builds take what they take, the heartbeat watches the link.
    pub(crate) fn writing_patience(&self) -> Patience {
        Patience { statement: Duration::ZERO, ..self.reading_patience() }
    }

    /// Patience of the heartbeat: an answer that takes longer than a pulse is no answer.
    pub(crate) fn heartbeat_patience(&self) -> Patience {
        let pulse = self.lease / 3;
        Patience { connect: pulse, lock: pulse / 2, statement: pulse, silence: pulse }
    }
}

impl Charge for Job {
    fn platform(&self) -> &str {
        &self.platform
    }

    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn keeps(&self) -> Option<Holding> {
        Some(self.holding)
    }

    async fn require_no_former(&self, store: &mut Session) -> Result<()> {
        former::require_none(self, store).await
    }

    fn store(&self) -> &Arc<Endpoint> {
        &self.secondary
    }

    fn read(&self) -> Vec<&Arc<Endpoint>> {
        self.upstreams.iter().map(|upstream| &upstream.endpoint).collect()
    }

    fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Of several primaries the one that is followed, if the blame is on it: what is missing elsewhere holds nothing up.
    fn needs(&self, blamed: &str) -> Vec<Needs> {
        let is_followed =
            |upstream: &&Upstream| self.upstreams.len() == 1 || upstream.endpoint.to_string() == blamed;
        let primaries = self.upstreams.iter().filter(is_followed).map(|upstream| self.needs_of(upstream));
        primaries.chain([self.needs_of_store()]).collect()
    }
}

impl Job {
    /// Key of the stream on both sides.
    pub fn stream_key(&self) -> String {
        self.stream.key()
    }

    /// DataSurface cuts long names by characters, Postgres by bytes: in other scripts than Latin they may lose what tells
    /// them apart.
    ///
    /// # Errors
    /// `Setup` when two tables of the platform would have one name.
    pub(crate) fn check_names(&self) -> Result<()> {
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        let control = self.tables().names().map(|name| (name.to_owned(), "a control table".to_owned()));
        let of_datasets = self.stream.datasets.iter().flat_map(|dataset| {
            let names = SecondaryNames::of(&self.platform, &self.stream.store, &dataset.name);
            let purpose = |what: &str| format!("the {what} table of dataset {:?}", dataset.name);
            [(ident(&names.merge), purpose("merge")), (ident(&names.staging), purpose("staging"))]
        });
        for (name, purpose) in control.into_iter().chain(of_datasets) {
            if let Some(other) = taken.insert(name.clone(), purpose.clone()) {
                return Err(Error::setup(
                    format!(
                        "{other} and {purpose} of platform {:?} would both be called {name}",
                        self.platform
                    ),
                    "give the platform, the store or the dataset a shorter name: Postgres keeps 63 bytes",
                ));
            }
        }
        Ok(())
    }

    /// Those of `names` that are no datasets of the stream.
    pub(crate) fn datasets_unknown<'a>(&self, names: &'a BTreeSet<String>) -> Vec<&'a str> {
        let known = |name: &str| self.stream.datasets.iter().any(|dataset| dataset.name == name);
        names.iter().map(String::as_str).filter(|name| !known(name)).collect()
    }

    pub(crate) fn tables(&self) -> ControlTables {
        ControlTables::of(&self.platform)
    }

    /// Patience with the primary.
    pub(crate) fn primary_patience(&self) -> Patience {
        self.tuning.reading_patience()
    }

    /// The upstream of that name.
    ///
    /// # Errors
    /// `Setup` when the stream's primary is no candidate any more.
    pub(crate) fn upstream(&self, platform: &str) -> Result<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.platform == platform).ok_or_else(|| {
            let candidates: Vec<_> = self.upstreams.iter().map(|upstream| upstream.platform.as_str()).collect();
            Error::setup(
                format!(
                    "stream {:?} of {} follows primary {platform:?}, which is not among the candidates {candidates:?}",
                    self.stream_key(),
                    self.platform
                ),
                format!(
                    "put it back among the primary ingestion platforms; if {platform} was renamed, give its tables the new name, too, \
                     and the stream goes on by itself; to follow another primary, whose batches do not compare, run `{}`, then sync",
                    StreamName::of(&self.platform, &self.stream).command("reset --reseed")
                ),
            )
        })
    }
}
