//! Everything that can go wrong in the worker, with its class, its exit code and what to do about it.

mod policy;
mod server;

use std::time::Duration;

use milestream_core::milestone::{LocalBatch, PrimaryBatch};

pub(crate) use server::Broken;
use server::Said;

use crate::postgres::Endpoint;
use crate::rights::{self, Lack, Right};

/// The worker's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("cannot reach {endpoint}, tried for {waited_ms} ms: {}", Said(.source))]
    Unreachable {
        /// The database, as a person knows it.
        endpoint: String,
        /// How long it was tried.
        waited_ms: u128,
        /// What the driver said.
        source: Box<sqlx::Error>,
    },
    /// Another stream of this process has found out that the server does not answer.
    #[error("{endpoint} did not answer another stream of this run for {waited_s} s: {said}")]
    Silent {
        /// The database, as a person knows it.
        endpoint: String,
        /// How long the other stream tried, in seconds.
        waited_s: u64,
        /// How it showed.
        said: String,
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
    #[error("{endpoint}: {doing}: {}", Said(.source))]
    Statement {
        /// The database.
        endpoint: String,
        /// What was being done.
        doing: String,
        /// What the driver or the server said.
        source: Box<sqlx::Error>,
    },
    /// Rows that a merge wrote break a constraint of the secondary.
    #[error("{broken}")]
    Constraint {
        /// The statement's error.
        broken: Box<Error>,
        /// The statement that makes the constraint deferrable, where it is not and can be.
        mend: Option<String>,
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
    /// Rights are missing.
    #[error("{}", rights::told(.lacks))]
    MissingRight {
        /// What is missing, a database each; never empty.
        lacks: Vec<Lack>,
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
    /// The secondary takes two keys of the primary for one.
    #[error("{table} takes two keys of the primary for one: ({first}) and ({second})")]
    KeysCoincide {
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
        /// How far the server had come where that was seen, `X/Y`; `None` where it does not say.
        position: Option<Box<str>>,
    },
    /// The rows landed are not the rows of the primary.
    #[error("{table}: {seen}")]
    Miscounted {
        /// The dataset's table.
        table: String,
        /// The numbers or digests that differ.
        seen: String,
    },
    /// Values landed that are not those of the primary.
    #[error("{table}: {columns} of the rows that landed are not what the primary has as of batch {batch}")]
    Altered {
        /// The primary's table.
        table: String,
        /// The columns that differ.
        columns: String,
        /// X.
        batch: PrimaryBatch,
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
    /// The primary no longer has rows that its batches opened and never closed.
    #[error(
        "{endpoint} lost live rows of stream {stream:?}: {found} are live as of batch {batch}, batch_metrics recorded \
         {recorded} (inserted - updated - deleted over batches 1 to {batch}); the seed was not landed"
    )]
    LiveRowsLost {
        /// The primary database.
        endpoint: String,
        /// The stream.
        stream: String,
        /// X.
        batch: PrimaryBatch,
        /// Versions found live at X, over all datasets.
        found: i64,
        /// Versions that the batches through X leave live, as recorded.
        recorded: i64,
    },
    /// The merge tables of a platform that ingests do not hold what its batches left.
    #[error(
        "{at}: the batches through {batch} leave {recorded} live rows by batch_metrics, but there are {found} ({tables}); no \
         batch was opened"
    )]
    LiveRowsMoved {
        /// The platform's database, and the stream.
        at: String,
        /// The newest committed batch.
        batch: PrimaryBatch,
        /// Live rows over all datasets.
        found: i64,
        /// Live rows that the batches leave, as recorded.
        recorded: i64,
        /// The merge tables, each with its live rows.
        tables: String,
        /// Statements that let the stream begin anew.
        anew: String,
    },
    /// The secondary does not hold what its watermark says, or did not take what a merge wrote.
    #[error("{table} does not hold what it must: {seen}{}; nothing was written", because(.hooks))]
    Diverged {
        /// The secondary's table.
        table: String,
        /// What was missing, and an example.
        seen: String,
        /// Triggers and rules of the table, where these are the likely cause.
        hooks: Vec<String>,
    },
    /// A platform that ingests did not take what a batch wrote.
    #[error("{table} did not take what the batch wrote: {seen}{}; the batch was not committed", because(.hooks))]
    Unwritten {
        /// The platform's table.
        table: String,
        /// What was missing, and an example.
        seen: String,
        /// Triggers and rules of the table, where these are the likely cause.
        hooks: Vec<String>,
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
    /// A server that is read has not come as far as another one that was read before.
    #[error(
        "{endpoint} reached a standby that has replayed to {replayed}, and this sync has seen {seen} there: the endpoint \
         is several servers, or a standby that was held back"
    )]
    Behind {
        /// The primary database.
        endpoint: String,
        /// How far the standby has replayed.
        replayed: String,
        /// How far the server had come that was read before.
        seen: String,
    },
    /// The tables are not those of the watermark, so that old rows hold other values than the primary's.
    #[error(
        "tables of stream {stream:?} changed since batch {watermark}, so that rows from before hold other values than \
         the primary's; nothing was written\n{differences}"
    )]
    SchemaChanged {
        /// The stream.
        stream: String,
        /// X.
        watermark: PrimaryBatch,
        /// The differences, one a line.
        differences: String,
    },
    /// Another program has committed a batch of the stream.
    #[error(
        "batch {theirs} of stream {stream:?} was committed here by another program since batch {ours}, the last of \
         Milestream's own, which holds batch {watermark} of the primary; nothing was written"
    )]
    TurnTaken {
        /// The stream.
        stream: String,
        /// The newest batch that is committed.
        theirs: LocalBatch,
        /// The newest batch that Milestream committed.
        ours: LocalBatch,
        /// X.
        watermark: PrimaryBatch,
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
    /// A table of another's making, or an answer, is not what can be read.
    #[error("{at}: {problem}")]
    Unreadable {
        /// The table with its database, or the column.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of the worker panicked.
    #[error("a defect of Milestream ended {part}: {message}")]
    Panicked {
        /// Which part.
        part: String,
        /// What the panic said.
        message: String,
    },
    /// The worker was asked to stop.
    #[error("stopped as asked; the next sync completes what this one began")]
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
        /// Whether another sync goes on where this one stood, or begins its batch again.
        resumes: bool,
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
    /// A setup error with its remedy.
    pub fn setup(what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Setup { what: what.into(), remedy: remedy.into() }
    }

    pub(crate) fn statement(endpoint: &impl ToString, doing: &str, source: sqlx::Error) -> Error {
        Error::Statement { endpoint: endpoint.to_string(), doing: doing.to_owned(), source: Box::new(source) }
    }

    /// A table that may not be read; whoever gives a sync up for it looks what else is missing.
    pub(crate) fn unreadable(endpoint: &Endpoint, table: impl Into<String>) -> Error {
        let rights = vec![Right::Tables { privileges: "SELECT".into(), tables: vec![table.into()] }];
        let (endpoint, user) = (endpoint.to_string(), endpoint.user.clone());
        Error::MissingRight { lacks: vec![Lack { endpoint, user, rights }] }
    }

    /// A database to which a role may not connect.
    pub(crate) fn unconnectable(endpoint: &Endpoint) -> Error {
        let (privileges, database) = ("CONNECT".to_owned(), endpoint.database.clone());
        let rights = vec![Right::Database { privileges, database }];
        let (endpoint, user) = (endpoint.to_string(), endpoint.user.clone());
        Error::MissingRight { lacks: vec![Lack { endpoint, user, rights }] }
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

    /// The database that refused a right or lacks a table, where it is known.
    pub(crate) fn endpoint(&self) -> Option<String> {
        match self {
            Error::Statement { endpoint, .. } | Error::MissingTable { endpoint, .. } => {
                Some(endpoint.clone())
            }
            Error::MissingRight { lacks } => lacks.first().map(|lack| lack.endpoint.clone()),
            _ => None,
        }
    }

    /// The SQLSTATE, where a server sent one.
    pub(crate) fn sqlstate(&self) -> Option<String> {
        match self {
            Error::Statement { source, .. } | Error::Unreachable { source, .. } => sqlstate(source),
            Error::Constraint { broken, .. } => broken.sqlstate(),
            _ => None,
        }
    }

    /// The unique, exclusion or foreign key constraint, or the unique index, that rows broke.
    pub(crate) fn broken_constraint(&self) -> Option<Broken> {
        let Error::Statement { source, .. } = self else { return None };
        server::of(source).and_then(Broken::of)
    }
}

/// The likely cause of a write that did not take place.
fn because(hooks: &[String]) -> String {
    match hooks {
        [] => String::new(),
        hooks => format!("; the likely cause is {}", hooks.join(", ")),
    }
}

pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}
