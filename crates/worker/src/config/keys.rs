//! The keys as they are given: each declared once, for `milestream.toml`, flag and environment variable alike.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::containers::{ByContainer, HostPort};
use super::policy::{Kind, OnLoss, OnPrimaryDown, SchemaPolicy};
use super::size::Size;
use super::time_span::TimeSpan;
use crate::ingest::HashFormula;
use crate::postgres::TlsMode;
use crate::sync::{IncrementStrategy, PrimaryChoice, SeedStrategy, VerifySeed};

/// One layer of settings: what the file's tables, the environment or the flags say, and nothing where they are silent.
///
/// A field's name is the key in TOML; with hyphens it is the flag, with `MILESTREAM_` in front the variable. The
/// defaults are in [`super::Settings`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Settings (also in milestream.toml)")]
pub struct Keys {
    /// What a forensic secondary keeps: the primary's ids and whole history, or ids and history of its own.
    #[arg(long, env = "MILESTREAM_KIND", value_name = "KIND")]
    pub kind: Option<Kind>,
    /// Primaries to pull from, in order, instead of the store's primary ingestion platforms.
    #[arg(long, env = "MILESTREAM_FROM", value_name = "PLATFORM,…", value_delimiter = ',')]
    pub from: Option<Vec<String>>,
    /// Credential to read with: a secondary the primary, instead of with its own merge credential; a primary the source.
    #[arg(long, env = "MILESTREAM_CREDENTIAL", value_name = "NAME")]
    pub credential: Option<String>,
    /// How a stream that has no primary yet chooses among several; later it stays with the one it has.
    #[arg(long, env = "MILESTREAM_PRIMARY_CHOICE", value_name = "CHOICE")]
    pub primary_choice: Option<PrimaryChoice>,
    /// Time zone in which the primary writes the times of its batches, such as Europe/Brussels. Without it the age of a batch
    /// is known where the primary has track_commit_timestamp = on or its batches name their zone, as Milestream's do.
    #[arg(long, env = "MILESTREAM_PRIMARY_TIMEZONE", value_name = "ZONE")]
    pub primary_timezone: Option<String>,

    /// Chunks of a stream that are copied side by side, each over two connections.
    #[arg(long, env = "MILESTREAM_PARALLELISM", value_name = "N")]
    pub parallelism: Option<usize>,
    /// Rows that a chunk aims at.
    #[arg(long, env = "MILESTREAM_SEED_CHUNK_ROWS", value_name = "ROWS")]
    pub seed_chunk_rows: Option<u64>,
    /// Time that one copy aims at: chunks of blocks that follow one another are copied together as long as they take less.
    /// A kill costs so much at most of each copy; `1ms` keeps every chunk apart.
    #[arg(long, env = "MILESTREAM_SEED_CHUNK_TIME", value_name = "TIME")]
    pub seed_chunk_time: Option<TimeSpan>,
    /// How a seed is cut into chunks; `auto` takes blocks for tables and keys for views and foreign tables.
    #[arg(long, env = "MILESTREAM_SEED_STRATEGY", value_name = "STRATEGY")]
    pub seed_strategy: Option<SeedStrategy>,
    /// How an increment is read; `auto` takes blocks where it is a large part of its table, else the order of the keys.
    /// What has no blocks, or was disturbed while they were read, goes by keys in any case.
    #[arg(long, env = "MILESTREAM_INCREMENT_STRATEGY", value_name = "STRATEGY")]
    pub increment_strategy: Option<IncrementStrategy>,
    /// How a seed is checked before it becomes visible: rows counted and held against the primary's metrics, digests of
    /// their content as well, or not. An increment that is read by blocks is counted too, unless `off`.
    #[arg(long, env = "MILESTREAM_VERIFY_SEED", value_name = "CHECK")]
    pub verify_seed: Option<VerifySeed>,
    /// Rows recorded by the primary that one increment may span; a single batch is always taken whole.
    #[arg(long, env = "MILESTREAM_MAX_ROWS_PER_SYNC", value_name = "ROWS")]
    pub max_rows_per_sync: Option<u64>,
    /// Share of a table's rows, 0 to 1, that one sync may delete; a sync that would delete more halts.
    #[arg(long, env = "MILESTREAM_MAX_DELETE_FRACTION", value_name = "SHARE")]
    pub max_delete_fraction: Option<f64>,
    /// Whether live-only tables made by Milestream are unique on the key hash, as DataSurface's Python needs it; taking turns with it does not work yet.
    #[arg(long, env = "MILESTREAM_INTERCHANGE", value_name = "BOOL")]
    pub interchange: Option<bool>,
    /// Memory with which the secondary builds indexes.
    #[arg(long, env = "MILESTREAM_MAINTENANCE_WORK_MEM", value_name = "SIZE")]
    pub maintenance_work_mem: Option<String>,
    /// How an ingesting platform computes the hash columns: as DataSurface does, or without collisions.
    #[arg(long, env = "MILESTREAM_HASH", value_name = "FORMULA")]
    pub hash: Option<HashFormula>,

    /// Megabytes a second, decimals allowed, that all copies of a sync together read from the primary or source.
    #[arg(long, env = "MILESTREAM_MAX_RATE", value_name = "MB/S")]
    pub max_rate: Option<f64>,
    /// How far a replica of the database that is read may be behind in replaying; beyond that the copy pauses.
    #[arg(long, env = "MILESTREAM_PAUSE_REPLICATION_LAG", value_name = "SIZE")]
    pub pause_replication_lag: Option<Size>,
    /// How many sessions, Milestream's own apart, may be active in the server that is read; beyond that the copy pauses.
    #[arg(long, env = "MILESTREAM_PAUSE_ACTIVE_SESSIONS", value_name = "N")]
    pub pause_active_sessions: Option<u64>,

    /// Tries after transient errors without progress in between.
    #[arg(long, env = "MILESTREAM_RETRY_TRIES", value_name = "N")]
    pub retry_tries: Option<usize>,
    /// Time within which these tries are made.
    #[arg(long, env = "MILESTREAM_RETRY_WINDOW", value_name = "TIME")]
    pub retry_window: Option<TimeSpan>,
    /// Pause before the first retry; it doubles from try to try.
    #[arg(long, env = "MILESTREAM_RETRY_PAUSE_MIN", value_name = "TIME")]
    pub retry_pause_min: Option<TimeSpan>,
    /// Longest pause before a retry.
    #[arg(long, env = "MILESTREAM_RETRY_PAUSE_MAX", value_name = "TIME")]
    pub retry_pause_max: Option<TimeSpan>,
    /// How long a stream stays with a worker that gives no sign of life.
    #[arg(long, env = "MILESTREAM_LEASE", value_name = "TIME")]
    pub lease: Option<TimeSpan>,
    /// Bound on making a connection.
    #[arg(long, env = "MILESTREAM_CONNECT_TIMEOUT", value_name = "TIME")]
    pub connect_timeout: Option<TimeSpan>,
    /// Bound on waiting for a lock.
    #[arg(long, env = "MILESTREAM_LOCK_TIMEOUT", value_name = "TIME")]
    pub lock_timeout: Option<TimeSpan>,
    /// Bound on one statement on the primary.
    #[arg(long, env = "MILESTREAM_STATEMENT_TIMEOUT", value_name = "TIME")]
    pub statement_timeout: Option<TimeSpan>,
    /// Bound on the primary's silence in the middle of an answer.
    #[arg(long, env = "MILESTREAM_SILENCE_TIMEOUT", value_name = "TIME")]
    pub silence_timeout: Option<TimeSpan>,

    /// Where containers really are, by their names in the model, instead of where the model says.
    #[arg(long, env = "MILESTREAM_ENDPOINTS", value_name = "CONTAINER=HOST:PORT,…")]
    pub endpoints: Option<ByContainer<HostPort>>,
    /// How TLS is used; `auto` is verify-full for every host that is not loopback, and no TLS for loopback.
    #[arg(long, env = "MILESTREAM_TLS", value_name = "MODE")]
    pub tls: Option<TlsMode>,
    /// File with root certificates for verify-ca and verify-full, instead of the usual public ones.
    #[arg(long, env = "MILESTREAM_TLS_ROOT_CERT", value_name = "FILE")]
    pub tls_root_cert: Option<PathBuf>,
    /// `tls` for single containers.
    #[arg(long, env = "MILESTREAM_CONTAINER_TLS", value_name = "CONTAINER=MODE,…")]
    pub container_tls: Option<ByContainer<TlsMode>>,
    /// `tls_root_cert` for single containers.
    #[arg(long, env = "MILESTREAM_CONTAINER_TLS_ROOT_CERT", value_name = "CONTAINER=FILE,…")]
    pub container_tls_root_cert: Option<ByContainer<PathBuf>>,
    /// Directory with credentials, for those that are not in the environment.
    #[arg(long, env = "MILESTREAM_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,

    /// What is done when the primary was reset or restored.
    #[arg(long, env = "MILESTREAM_ON_RESET", value_name = "POLICY")]
    pub on_reset: Option<OnLoss>,
    /// What is done when the primary no longer has the history that an increment needs.
    #[arg(long, env = "MILESTREAM_ON_PRUNED", value_name = "POLICY")]
    pub on_pruned: Option<OnLoss>,
    /// What is done when the primary stays away.
    #[arg(long, env = "MILESTREAM_ON_PRIMARY_DOWN", value_name = "POLICY")]
    pub on_primary_down: Option<OnPrimaryDown>,
    /// Which differences between model, primary and secondary are brought to the secondary.
    #[arg(long, env = "MILESTREAM_SCHEMA_POLICY", value_name = "POLICY")]
    pub schema_policy: Option<SchemaPolicy>,
}

/// A layer with, for each key, the first of two layers that has it; a key that is left out does not compile.
macro_rules! first_of {
    ($above:ident, $below:ident; first $($key:ident)*; both $($map:ident)*) => {
        Keys {
            $($key: $above.$key.or($below.$key),)*
            $($map: both($above.$map, $below.$map),)*
        }
    };
}

impl Keys {
    /// This layer, and where it is silent the one below.
    #[must_use]
    pub fn over(self, below: Keys) -> Keys {
        first_of!(self, below;
            first kind from credential primary_choice parallelism seed_chunk_rows seed_chunk_time
                seed_strategy
                increment_strategy verify_seed
                max_rows_per_sync max_delete_fraction interchange maintenance_work_mem hash
                primary_timezone max_rate pause_replication_lag pause_active_sessions retry_tries
                retry_window retry_pause_min retry_pause_max lease connect_timeout lock_timeout
                statement_timeout silence_timeout tls tls_root_cert secrets_dir on_reset on_pruned
                on_primary_down schema_policy;
            both endpoints container_tls container_tls_root_cert)
    }

    /// Paths in a file are relative to the file's directory.
    pub(crate) fn relative_to(&mut self, directory: &Path) {
        let by_container = self.container_tls_root_cert.iter_mut().flat_map(ByContainer::values_mut);
        for path in self.secrets_dir.iter_mut().chain(&mut self.tls_root_cert).chain(by_container) {
            *path = directory.join(&*path);
        }
    }
}

/// Values by container add up over the layers.
fn both<T>(above: Option<ByContainer<T>>, below: Option<ByContainer<T>>) -> Option<ByContainer<T>> {
    match (above, below) {
        (Some(above), Some(below)) => Some(above.over(below)),
        (above, below) => above.or(below),
    }
}
