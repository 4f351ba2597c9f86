//! One connection with pinned settings, whose every error says where and during what it happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};

use super::fields::Fields;
use super::sql::assembled;
use super::vigil::Vigil;
use super::wire::{Bypass, Wire};
use super::{Endpoint, session_name};
use crate::error::{Error, Result, sqlstate};

/// Settings that change text, order, visibility or waiting; pinned so that both servers answer alike.
///
/// `row_security = off` turns a policy that would hide rows without a word into an error.
const PINNED: [(&str, &str); 15] = [
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("standard_conforming_strings", "on"),
    ("row_security", "off"),
    ("jit", "off"),
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "600s"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    // Also counts the time in which the other side does not read, so it is longer than any wait of a healthy sync.
    ("tcp_user_timeout", "600s"),
    // Read back after connecting: a pooler that swallows start-up options swallows this one too.
    ("milestream.session", "kept"),
];

const OLDEST_VERSION: i32 = 140_000;

/// Bounds on how long a session waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a connection to be made.
    pub(crate) connect: Duration,
    /// For a lock, on the server.
    pub(crate) lock: Duration,
    /// For a statement, on the server; zero for no bound (index builds and merges take what they take).
    pub(crate) statement: Duration,
    /// For the next bytes of an answer, on our side of a link that may be half open.
    pub(crate) silence: Duration,
}

/// A backend of a server, told apart from a later one with the same process id by its start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Backend {
    pub(crate) pid: i32,
    /// `pg_stat_activity.backend_start` as text.
    pub(crate) started: String,
}

/// What the server said of itself when the connection was made.
#[derive(Clone, Debug)]
pub(crate) struct ServerFacts {
    pub(crate) encoding: String,
    pub(crate) in_recovery: bool,
}

/// One connection.
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
    /// The way of a copy's rows past the driver, where there is one.
    pub(crate) bypass: Option<Bypass>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) backend: Backend,
    pub(crate) facts: ServerFacts,
    pub(crate) patience: Patience,
}

impl Session {
    /// Connects and checks that the server is one Milestream can work with.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `Tls`, `Pooler`, `TooOld`, each with the endpoint.
    pub(crate) async fn connect(endpoint: &Arc<Endpoint>, name: &str, patience: Patience) -> Result<Session> {
        Self::connect_as(endpoint, name, patience, "off").await
    }

    /// Connects for reading only: whatever is asked over this session, the server refuses to write.
    ///
    /// # Errors
    /// Those of [`Session::connect`].
    pub(crate) async fn connect_reader(
        endpoint: &Arc<Endpoint>,
        name: &str,
        patience: Patience,
    ) -> Result<Session> {
        Self::connect_as(endpoint, name, patience, "on").await
    }

    async fn connect_as(
        endpoint: &Arc<Endpoint>,
        name: &str,
        patience: Patience,
        read_only: &str,
    ) -> Result<Session> {
        let began = Instant::now();
        let options = endpoint
            .connect_options()
            .application_name(&session_name::shown(name))
            .extra_float_digits(3)
            .options(PINNED)
            .options([
                ("default_transaction_read_only", read_only.to_owned()),
                ("lock_timeout", format!("{}ms", patience.lock.as_millis())),
                ("statement_timeout", format!("{}ms", patience.statement.as_millis())),
            ]);
        let unreachable = |source| Error::Unreachable {
            endpoint: endpoint.to_string(),
            waited_ms: began.elapsed().as_millis(),
            source: Box::new(source),
        };
        let dialed = match tokio::time::timeout(patience.connect, dial(endpoint, options)).await {
            Err(_) => return Err(unreachable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
            Ok(Err(error)) => return Err(connect_error(endpoint, error, unreachable)),
            Ok(Ok(dialed)) => dialed,
        };
        Self::examine(dialed, Arc::clone(endpoint), patience).await
    }

    async fn examine(
        Dialed { mut connection, bypass }: Dialed,
        endpoint: Arc<Endpoint>,
        patience: Patience,
    ) -> Result<Session> {
        let question = "select current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('server_encoding'), pg_is_in_recovery(), pg_backend_pid(), \
             (select backend_start::text from pg_stat_activity where pid = pg_backend_pid()), \
             current_setting('milestream.session', true)";
        // The simple protocol takes one round trip, where a prepared statement takes two.
        let asked = sqlx::raw_sql(question).fetch_one(&mut connection);
        let row = tokio::time::timeout(patience.connect, asked)
            .await
            .map_err(|_| Error::stalled(&endpoint, "asking the server what it is", patience.connect))?
            .map_err(|error| Error::statement(&endpoint, "asking the server what it is", error))?;
        let version: i32 = row.field(0)?;
        if version < OLDEST_VERSION {
            return Err(Error::TooOld { endpoint: endpoint.to_string(), version: row.field(1)? });
        }
        if row.field::<Option<String>>(6)?.as_deref() != Some("kept") {
            let seen = "it dropped the settings given at start-up".to_owned();
            return Err(Error::Pooler { endpoint: endpoint.to_string(), seen });
        }
        let backend =
            Backend { pid: row.field(4)?, started: row.field::<Option<String>>(5)?.unwrap_or_default() };
        let facts = ServerFacts { encoding: row.field(2)?, in_recovery: row.field(3)? };
        let mut session = Session { connection, bypass, endpoint, backend, facts, patience };
        if session.facts.encoding == "SQL_ASCII" {
            // The driver asks for UTF-8, which would be demanded of bytes that have no encoding.
            let bytes = "set client_encoding to 'SQL_ASCII'".to_owned();
            session.execute("taking bytes as they are", bytes).await?;
        }
        Ok(session)
    }

    /// Runs one or more statements without parameters in one round trip; rows affected by all of them.
    pub(crate) async fn execute(&mut self, doing: &str, text: String) -> Result<u64> {
        let done = sqlx::raw_sql(assembled(text)).execute(&mut self.connection);
        let done = bounded(
            Vigil { endpoint: &self.endpoint, backend: &self.backend, patience: self.patience },
            doing,
            done,
        )
        .await?;
        Ok(done.rows_affected())
    }

    /// Runs one or more statements without parameters in one round trip; the rows of all of them, as text.
    pub(crate) async fn ask(&mut self, doing: &str, text: String) -> Result<Vec<PgRow>> {
        let rows = sqlx::raw_sql(assembled(text)).fetch_all(&mut self.connection);
        bounded(
            Vigil { endpoint: &self.endpoint, backend: &self.backend, patience: self.patience },
            doing,
            rows,
        )
        .await
    }

    /// Runs a statement with parameters; rows affected.
    pub(crate) async fn run(&mut self, doing: &str, query: Query<'_, Postgres, PgArguments>) -> Result<u64> {
        let done = query.persistent(false).execute(&mut self.connection);
        Ok(bounded(
            Vigil { endpoint: &self.endpoint, backend: &self.backend, patience: self.patience },
            doing,
            done,
        )
        .await?
        .rows_affected())
    }

    /// Runs a query with parameters; its rows.
    pub(crate) async fn rows(
        &mut self,
        doing: &str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>> {
        let rows = query.persistent(false).fetch_all(&mut self.connection);
        bounded(
            Vigil { endpoint: &self.endpoint, backend: &self.backend, patience: self.patience },
            doing,
            rows,
        )
        .await
    }

    /// Runs a query with parameters that gives at most one row.
    pub(crate) async fn row(
        &mut self,
        doing: &str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Option<PgRow>> {
        let row = query.persistent(false).fetch_optional(&mut self.connection);
        bounded(
            Vigil { endpoint: &self.endpoint, backend: &self.backend, patience: self.patience },
            doing,
            row,
        )
        .await
    }

    /// Ends another session of the server and waits until it is gone, 5 s at most.
    pub(crate) async fn terminate(&mut self, backend: &Backend) -> Result<()> {
        let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid = $1 and backend_start::text = $2";
        let query = sqlx::query(end).bind(backend.pid).bind(&backend.started);
        self.rows("ending another worker's session", query).await.map(|_| ())
    }

    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.execute("beginning a transaction", "begin".into()).await.map(|_| ())
    }

    pub(crate) async fn commit(&mut self, doing: &str) -> Result<()> {
        self.execute(doing, "commit".into()).await.map(|_| ())
    }

    pub(crate) async fn rollback(&mut self) -> Result<()> {
        self.execute("rolling back", "rollback".into()).await.map(|_| ())
    }

    /// Says good-bye; a connection that is merely dropped leaves a line in the server's log.
    pub(crate) async fn close(self) {
        // Nothing depends on the answer: whoever closes is done with the connection.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.close()).await;
    }
}

/// A connection that was made.
pub(super) struct Dialed {
    pub(super) connection: PgConnection,
    bypass: Option<Bypass>,
}

/// Connects over a wire of our own, or directly to a Unix socket.
pub(super) async fn dial(endpoint: &Endpoint, options: PgConnectOptions) -> Result<Dialed, sqlx::Error> {
    let wire = if endpoint.host.starts_with('/') {
        None
    } else {
        let wire = Wire::connect(&endpoint.host, endpoint.port, endpoint.uses_tls()).await;
        wire.map_err(sqlx::Error::Io)?
    };
    let options = match &wire {
        Some(wire) => options.socket(wire.directory()),
        None => options,
    };
    let connection = PgConnection::connect_with(&options).await?;
    Ok(Dialed { connection, bypass: wire.and_then(Wire::bypass) })
}

/// Bounds the wait on our side a little above the server's own bound, where it has one.
async fn bounded<T>(
    vigil: Vigil<'_>,
    doing: &str,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T> {
    let Patience { statement, silence, .. } = vigil.patience;
    let limit = (!statement.is_zero()).then(|| statement + silence);
    let answer = vigil.keep(doing, limit, answer).await?;
    answer.map_err(|error| Error::statement(vigil.endpoint, doing, error))
}

fn connect_error(
    endpoint: &Endpoint,
    error: sqlx::Error,
    unreachable: impl Fn(sqlx::Error) -> Error,
) -> Error {
    let at = endpoint.to_string();
    match &error {
        sqlx::Error::Tls(source) => Error::Tls { endpoint: at, message: source.to_string() },
        sqlx::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            Error::Tls { endpoint: at, message: source.to_string() }
        }
        sqlx::Error::Database(source) => match sqlstate(&error).as_deref() {
            Some(code) if code.starts_with("28") || code == "3D000" => {
                Error::Refused { endpoint: at, user: endpoint.user.clone(), message: source.message().into() }
            }
            Some("42501") => Error::unconnectable(endpoint),
            _ if source.message().contains("startup parameter") => {
                Error::Pooler { endpoint: at, seen: source.message().into() }
            }
            _ => Error::statement(&at, "connecting", error),
        },
        _ => unreachable(error),
    }
}
