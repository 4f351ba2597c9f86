//! Everything that can go wrong in the worker, with its class, its exit code and what to do about it.

use std::time::Duration;

use milestream_core::milestone::PrimaryBatch;

/// How a stream is seeded again, for advice.
const SEED_AGAIN: &str = "to seed the stream again, delete its row from the secondary's `{platform}_sync_stream` and sync: \
                          its tables stay and are brought to the primary's state by difference";

/// The worker's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("cannot reach {endpoint}, tried for {waited_ms} ms: {source}")]
    Unreachable {
        /// The database, as a person knows it.
        endpoint: String,
        /// How long it was tried.
        waited_ms: u128,
        /// What the driver said.
        source: Box<sqlx::Error>,
    },
    /// The server refused the credential.
    #[error("{endpoint} refused user {user:?}: {message}")]
    Refused {
        /// The database.
        endpoint: String,
        /// The role that tried to log in.
        user: String,
        /// The server's words.
        message: String,
    },
    /// The TLS handshake or the certificate check failed.
    #[error("no trusted TLS connection to {endpoint}: {message}")]
    Tls {
        /// The database.
        endpoint: String,
        /// What the TLS library said.
        message: String,
    },
    /// Something between us and the server drops session settings.
    #[error("a connection pooler stands before {endpoint} and does not keep a session: {seen}")]
    Pooler {
        /// The database.
        endpoint: String,
        /// How it showed.
        seen: String,
    },
    /// The server is too old.
    #[error("{endpoint} runs PostgreSQL {version}; Milestream needs 14 or newer")]
    TooOld {
        /// The database.
        endpoint: String,
        /// Its version.
        version: String,
    },
    /// Primary and secondary store text differently.
    #[error("{primary} is encoded in {primary_encoding}, {secondary} in {secondary_encoding}")]
    Encodings {
        /// The primary database.
        primary: String,
        /// Its encoding.
        primary_encoding: String,
        /// The secondary database.
        secondary: String,
        /// Its encoding.
        secondary_encoding: String,
    },
    /// A statement failed.
    #[error("{endpoint}: {doing}: {source}")]
    Statement {
        /// The database.
        endpoint: String,
        /// What was being done.
        doing: String,
        /// What the driver or the server said.
        source: Box<sqlx::Error>,
    },
    /// An answer did not come in time.
    #[error("{endpoint}: {doing}: no answer for {waited_ms} ms")]
    Stalled {
        /// The database.
        endpoint: String,
        /// What was being done.
        doing: String,
        /// How long was waited.
        waited_ms: u128,
    },
    /// A table that must be there is not.
    #[error("{endpoint} has no table {table} in its search path")]
    MissingTable {
        /// The database.
        endpoint: String,
        /// The table's name.
        table: String,
    },
    /// A right is missing.
    #[error("{endpoint}: user {user:?} may not {privilege} {table}")]
    MissingRight {
        /// The database.
        endpoint: String,
        /// The role.
        user: String,
        /// The right, as `GRANT` spells it.
        privilege: String,
        /// On what.
        table: String,
    },
    /// The relation cannot be read the way it was asked.
    #[error("{endpoint}: {table} is a {kind}: {reason}")]
    Unlockable {
        /// The database.
        endpoint: String,
        /// The relation.
        table: String,
        /// What it is.
        kind: String,
        /// Why that does not do.
        reason: String,
    },
    /// The model, the primary and the secondary do not agree on a table.
    #[error("schemas differ for stream {stream:?}; nothing was written\n{differences}")]
    Schema {
        /// The stream.
        stream: String,
        /// A table of the differences, one a line.
        differences: String,
    },
    /// Two records share a key hash in a table that must be unique on it.
    #[error("{table} is unique on ds_surf_key_hash, but two records share one: ({first}) and ({second})")]
    HashCollision {
        /// The secondary's table.
        table: String,
        /// One key.
        first: String,
        /// The other key.
        second: String,
    },
    /// A table of the primary was rewritten since the plan was made.
    #[error("{table} on {endpoint} was rewritten: file {planned} when planned, {found} now")]
    Rewritten {
        /// The primary database.
        endpoint: String,
        /// The table.
        table: String,
        /// Its file when the plan was made.
        planned: String,
        /// Its file now.
        found: String,
    },
    /// The rows landed are not the rows of the primary.
    #[error("{table}: {seen}")]
    Miscounted {
        /// The dataset's table.
        table: String,
        /// The numbers or digests that differ.
        seen: String,
    },
    /// A seed did not come out right, time after time.
    #[error(
        "the seed of stream {stream:?} was planned {plans} times and never came out right; at last: {last}"
    )]
    SeedUnstable {
        /// The stream.
        stream: String,
        /// How many plans were tried.
        plans: i32,
        /// What was seen last.
        last: Box<Error>,
    },
    /// The primary is not the one the watermark belongs to.
    #[error("{endpoint} was reset or restored since batch {watermark}: {seen}; nothing was written")]
    PrimaryReset {
        /// The primary database.
        endpoint: String,
        /// The batch that was compared.
        watermark: PrimaryBatch,
        /// What differs.
        seen: String,
    },
    /// The primary no longer has the history that an increment needs.
    #[error(
        "{endpoint} lost history over ({from}, {to}]: {found} versions found {what}, batch_metrics recorded {recorded}; nothing was written"
    )]
    Pruned {
        /// The primary database.
        endpoint: String,
        /// X.
        from: PrimaryBatch,
        /// Y.
        to: PrimaryBatch,
        /// `opened` or `closed`.
        what: &'static str,
        /// Versions found.
        found: i64,
        /// Versions recorded.
        recorded: i64,
    },
    /// The secondary does not hold what its watermark says.
    #[error("{table} does not hold the state of its watermark: {seen}; nothing was written")]
    Diverged {
        /// The secondary's table.
        table: String,
        /// What was missing.
        seen: String,
    },
    /// A sync would delete too much.
    #[error(
        "the sync to batch {to} would delete {deletes} of {rows} rows of {table}, more than max_delete_fraction = {fraction}; nothing was written"
    )]
    TooManyDeletes {
        /// The secondary's table.
        table: String,
        /// Y.
        to: PrimaryBatch,
        /// Rows that would go.
        deletes: i64,
        /// Rows that are there.
        rows: i64,
        /// The bound.
        fraction: f64,
    },
    /// Another worker holds the stream.
    #[error("stream {stream:?} is busy: held by {owner} until {until}")]
    Busy {
        /// The stream.
        stream: String,
        /// The worker that holds it.
        owner: String,
        /// When its lease ends unless it is renewed.
        until: String,
    },
    /// Another worker has taken the stream over.
    #[error("stream {stream:?} was taken over by another worker; this one has written nothing since")]
    Fenced {
        /// The stream.
        stream: String,
    },
    /// The lease could not be renewed in time.
    #[error(
        "the lease of stream {stream:?} could not be renewed for {unrenewed_ms} ms; what was in flight is looked up again"
    )]
    LeaseLapsed {
        /// The stream.
        stream: String,
        /// How long it could not be renewed.
        unrenewed_ms: u128,
    },
    /// A standby that is read has not come as far as the plan.
    #[error("{endpoint} is a standby that has not replayed batch {batch} yet")]
    Lagging {
        /// The primary database.
        endpoint: String,
        /// The batch that is missing.
        batch: PrimaryBatch,
    },
    /// Columns, types or keys changed while a sync was in flight.
    #[error(
        "the columns of {dataset} changed since the sync was planned: they were ({planned}), now they are ({found})"
    )]
    SchemaMoved {
        /// The dataset.
        dataset: String,
        /// Its columns when the plan was made.
        planned: String,
        /// Its columns now.
        found: String,
    },
    /// The worker was asked to stop.
    #[error("stopped as asked; the next sync goes on where this one stood")]
    Stopped,
    /// The observer asked for the sync to end here, as if the process had.
    #[error("abandoned at {step}, as the observer asked")]
    Abandoned {
        /// Where.
        step: String,
    },
    /// The observer asked for a failure here.
    #[error("failure injected at {step}: {text}")]
    Injected {
        /// Where.
        step: String,
        /// What was asked for.
        text: String,
    },
    /// The retry budget is spent.
    #[error("gave up after {tries} tries in {spent_s} s; at last: {last}")]
    BudgetSpent {
        /// Tries made.
        tries: usize,
        /// How long they took, in seconds.
        spent_s: u64,
        /// The last error.
        last: Box<Error>,
    },
    /// The configuration asks for what is not there or not possible.
    #[error("{what}")]
    Setup {
        /// What is wrong, and where.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A table holds what should be impossible.
    #[error("{at}: {what}")]
    Invariant {
        /// Where.
        at: String,
        /// What was found.
        what: String,
    },
}

/// What is done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Tried again after a pause, within the retry budget.
    Transient,
    /// The seed is planned anew, at most three times.
    Replan,
    /// Another worker is at it; nothing to do.
    Busy,
    /// A person has to act first.
    Blocked,
    /// The worker was told to stop.
    Stopped,
    /// A defect of Milestream or of the tables; nothing can be done but to report it.
    Bug,
}

impl Error {
    /// The class decides between retry, halt and report. Exhaustive on purpose: a new error must be classed.
    pub fn class(&self) -> Class {
        match self {
            Error::Unreachable { .. }
            | Error::Stalled { .. }
            | Error::LeaseLapsed { .. }
            | Error::Lagging { .. }
            | Error::Injected { .. } => Class::Transient,
            Error::Statement { source, .. } => class_of_driver_error(source),
            Error::Rewritten { .. } | Error::Miscounted { .. } | Error::SchemaMoved { .. } => Class::Replan,
            Error::Busy { .. } | Error::Fenced { .. } => Class::Busy,
            Error::Stopped | Error::Abandoned { .. } => Class::Stopped,
            Error::Refused { .. }
            | Error::Tls { .. }
            | Error::Pooler { .. }
            | Error::TooOld { .. }
            | Error::Encodings { .. }
            | Error::MissingTable { .. }
            | Error::MissingRight { .. }
            | Error::Unlockable { .. }
            | Error::Schema { .. }
            | Error::HashCollision { .. }
            | Error::SeedUnstable { .. }
            | Error::PrimaryReset { .. }
            | Error::Pruned { .. }
            | Error::Diverged { .. }
            | Error::TooManyDeletes { .. }
            | Error::BudgetSpent { .. }
            | Error::Setup { .. } => Class::Blocked,
            Error::Invariant { .. } => Class::Bug,
        }
    }

    /// The process's exit code: 1 a person must act, 2 the set-up is wrong, 3 busy, 4 tried long enough, 5 stopped as
    /// asked, 70 a bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Setup { .. } => 2,
            Error::BudgetSpent { .. } => 4,
            error => match error.class() {
                Class::Blocked | Class::Replan => 1,
                Class::Busy => 3,
                Class::Transient => 4,
                Class::Stopped => 5,
                Class::Bug => 70,
            },
        }
    }

    /// What to do next, in a sentence or two.
    pub fn advice(&self) -> String {
        match self {
            Error::Unreachable { .. } => {
                "check that the server runs and that host and port in the model (or `endpoints` in milestream.toml) are right; \
                 a sync in flight is kept and goes on when the server is back"
                    .into()
            }
            Error::Refused { .. } => {
                "check the database's name in the model, the credential's _USER and _PASSWORD variables (or the files in the secrets directory), and the server's pg_hba.conf".into()
            }
            Error::Tls { .. } => {
                "give the server's root certificate with `tls_root_cert`, or ask by name for less with `tls = \"require\"` or `\"disable\"`".into()
            }
            Error::Pooler { .. } => "connect to the server itself, or to a pool in session mode that passes start-up options on".into(),
            Error::TooOld { .. } => "upgrade the server".into(),
            Error::Encodings { .. } => "move one of the databases to the encoding of the other (UTF8 by preference)".into(),
            Error::Statement { source, .. } => advice_for_driver_error(source),
            Error::LeaseLapsed { .. } => "the link to the secondary or the server hangs; the sync goes on by itself".into(),
            Error::Lagging { .. } => "the sync goes on by itself when the standby has caught up".into(),
            Error::Stalled { .. } => "the link or the server hangs; the sync goes on by itself when it answers again".into(),
            Error::MissingTable { endpoint, .. } => format!(
                "check the names of platform, store and dataset in the model, the role's search_path on {endpoint}, and whether the primary has ingested the store yet"
            ),
            Error::MissingRight { user, privilege, table, .. } => {
                format!("as the owner, run: GRANT {privilege} ON {table} TO {};", crate::postgres::sql::ident(user))
            }
            Error::Unlockable { .. } => "pull from the table itself, or set `seed_strategy = \"keys\"` where it says that suffices".into(),
            Error::Schema { .. } => "bring model, primary and secondary to the same columns and types, then sync again".into(),
            Error::HashCollision { .. } => {
                "let Milestream create the table (it is then unique on the model's key), or drop the unique index on ds_surf_key_hash and `interchange`".into()
            }
            Error::Rewritten { .. } | Error::Miscounted { .. } | Error::SchemaMoved { .. } => {
                "the sync is planned anew by itself".into()
            }
            Error::SeedUnstable { .. } => {
                "find what rewrites the primary's table or updates its open versions in place (VACUUM FULL, TRUNCATE, a backfill), stop it, then sync again".into()
            }
            Error::PrimaryReset { .. } => {
                format!("find out why the primary's batches changed; if the primary is right, {SEED_AGAIN}")
            }
            Error::Pruned { .. } => format!("the missing versions cannot be pulled any more; {SEED_AGAIN}"),
            Error::Diverged { .. } => format!("something else wrote to the secondary's table; {SEED_AGAIN}"),
            Error::TooManyDeletes { .. } => {
                "check that the primary was not emptied by mistake; if the deletions are meant, sync once with --max-delete-fraction 1".into()
            }
            Error::Busy { .. } => "nothing to do: the other worker goes on; if it is dead its lease ends by itself".into(),
            Error::Fenced { .. } => "nothing to do: the other worker goes on".into(),
            Error::Stopped | Error::Abandoned { .. } => "run sync again to go on".into(),
            Error::Injected { .. } => "this failure was asked for".into(),
            Error::BudgetSpent { last, .. } => format!("{}; then sync again, it goes on where it stood", last.advice()),
            Error::Setup { remedy, .. } => remedy.clone(),
            Error::Invariant { .. } => "please report this with the log; the secondary still holds its last watermark".into(),
        }
    }

    /// A setup error with its remedy.
    pub fn setup(what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Setup { what: what.into(), remedy: remedy.into() }
    }

    pub(crate) fn statement(endpoint: &impl ToString, doing: &str, source: sqlx::Error) -> Error {
        Error::Statement { endpoint: endpoint.to_string(), doing: doing.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn invariant(at: impl Into<String>, what: impl Into<String>) -> Error {
        Error::Invariant { at: at.into(), what: what.into() }
    }

    pub(crate) fn stalled(endpoint: &impl ToString, doing: &str, waited: Duration) -> Error {
        Error::Stalled {
            endpoint: endpoint.to_string(),
            doing: doing.to_owned(),
            waited_ms: waited.as_millis(),
        }
    }

    /// The SQLSTATE, where a server sent one.
    pub(crate) fn sqlstate(&self) -> Option<String> {
        match self {
            Error::Statement { source, .. } | Error::Unreachable { source, .. } => sqlstate(source),
            _ => None,
        }
    }
}

pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Connections come back, locks are released, space is freed: these SQLSTATE classes are worth another try.
fn class_of_driver_error(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => Class::Transient,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // 08 connection, 40 rollback and deadlock, 53 resources (disk full, too many connections),
            // 57 operator intervention (terminated, shutdown, cancelled), 55P03 lock not available, 58 system error,
            // 42501 a right that may be granted again is no transient matter, so it is left out.
            Some(code)
                if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                    || code == "55P03" =>
            {
                Class::Transient
            }
            Some("XX000") => Class::Bug,
            _ => Class::Blocked,
        },
        _ => Class::Bug,
    }
}

fn advice_for_driver_error(error: &sqlx::Error) -> String {
    match sqlstate(error).as_deref() {
        Some("42501") => "grant the right that is missing, then sync again".into(),
        Some("53100") => "free space on the server; the sync goes on by itself".into(),
        Some("57014") => {
            "the statement was cancelled: raise `statement_timeout` if it ran into it; the sync goes on by itself".into()
        }
        Some("53300") => "raise max_connections, or lower `parallelism`".into(),
        Some("25006") => "the server is read-only: point the secondary at one that takes writes".into(),
        Some(_) => "the server's message says what it objects to; the sync in flight is kept".into(),
        None => "the connection broke; the sync in flight is kept and goes on when it is made again".into(),
    }
}
