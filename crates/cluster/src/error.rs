use std::path::PathBuf;

/// What can go wrong with a disposable server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither binaries nor containers are to be had.
    #[error("no Postgres server can be started on this machine. Looked at:\n{}\nAny one of these helps:\n{}", bullets(.looked_at), bullets(.remedies))]
    NoPostgres {
        /// Each place, with what was wrong there.
        looked_at: Vec<String>,
        /// What a person can do about it.
        remedies: Vec<String>,
    },

    /// The directory that was named explicitly cannot serve.
    #[error("no usable Postgres server binaries in {}: {reason}. Name the directory that holds `postgres` and `initdb`, such as /usr/lib/postgresql/17/bin", .directory.display())]
    UnusableBinaries {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// No directory is fit to hold a server's files.
    #[error("no directory can hold a Postgres server's files: {}. Set TMPDIR to a directory with room{}", .tried.join("; "), .account.as_ref().map(|name| format!(" that user {name} can reach")).unwrap_or_default())]
    NoRoom {
        /// Each directory, with what was wrong there.
        tried: Vec<String>,
        /// The user that servers run as, when it is not the one who asks.
        account: Option<String>,
    },

    /// A file, directory or process operation failed.
    #[error("could not {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file, directory or program.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },

    /// `initdb` failed.
    #[error("initdb in {} failed ({outcome}). It said:\n{output}", .binaries.display())]
    Initdb {
        /// The directory of the program.
        binaries: PathBuf,
        /// Exit status, or that it was given up on.
        outcome: String,
        /// The end of its output.
        output: String,
    },

    /// `pg_basebackup` failed.
    #[error(
        "Postgres server {server} could not be copied for a standby ({outcome}). pg_basebackup said:\n{output}"
    )]
    BaseBackup {
        /// Name and place of the server that was to be copied.
        server: String,
        /// Exit status, or that it was given up on.
        outcome: String,
        /// What it said.
        output: String,
    },

    /// A standby was asked for of a server in a container.
    #[error(
        "Postgres server {server} runs in a container, and standbys are made of local binaries only; install Postgres, or unset MILESTREAM_POSTGRES_IMAGE"
    )]
    NoStandby {
        /// Name and place of the server.
        server: String,
    },

    /// The server did not come up.
    #[error("Postgres server {server} did not start: {outcome}. Its log ends with:\n{log}")]
    Start {
        /// Name and place of the server.
        server: String,
        /// Exit status, or how long it was waited for.
        outcome: String,
        /// The end of its log.
        log: String,
    },

    /// The server did not react to a signal in time.
    #[error(
        "Postgres server {server} did not {expected} within {seconds} s; `kill` ends it in any case. Its log ends with:\n{log}"
    )]
    Unresponsive {
        /// Name and place of the server.
        server: String,
        /// What it was told to do.
        expected: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// The end of its log.
        log: String,
    },

    /// An operation needs a running server, and this one is not.
    #[error("Postgres server {server} is not running, so it cannot be {wanted}; `restart` starts it again")]
    NotRunning {
        /// Name and place of the server.
        server: String,
        /// What was asked of it.
        wanted: &'static str,
    },

    /// A setting that disposable servers do not accept.
    #[error("setting `{setting}` is refused for disposable servers: {reason}")]
    RefusedSetting {
        /// The name of the setting.
        setting: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },

    /// The server answered a statement of ours with an error.
    #[error("Postgres server {server}: could not {doing}: {source}")]
    Sql {
        /// Name and place of the server.
        server: String,
        /// What was tried.
        doing: String,
        /// What it answered.
        source: sqlx::Error,
    },

    /// Docker refused or failed.
    #[error(
        "Docker could not {doing} (image {image}): {reason}. `docker ps -a` and `docker logs` tell more; MILESTREAM_POSTGRES_IMAGE names another image"
    )]
    Docker {
        /// What was tried.
        doing: &'static str,
        /// The image in use.
        image: String,
        /// What the daemon or its client said.
        reason: String,
    },

    /// A server build could not be fetched.
    #[error(
        "could not download a Postgres build: {reason}. Install Postgres by hand instead, or start Docker"
    )]
    Download {
        /// What went wrong.
        reason: String,
    },

    /// Work handed to another thread ended in a panic.
    #[error("a task that was to {doing} ended unexpectedly: {reason}. This is a bug in milestream-cluster")]
    Task {
        /// What it was doing.
        doing: &'static str,
        /// What the runtime said of it.
        reason: String,
    },
}

impl Error {
    /// For `map_err` on a system call: what was being done to which path.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
}
