//! One connection with pinned settings, whose every error says where and during what it happened.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};

use super::dial::{Call, Dialed};
use super::fields::Fields;
use super::read::Position;
use super::settings::{self, KEPT, MARKER, Settings};
use super::sql::{assembled, literal};
use super::vigil::Vigil;
use super::wire::Bypass;
use super::{Endpoint, pooler, session_name};
use crate::error::{Error, Result};

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
    /// How far the server had come when a read was opened over this session last.
    pub(crate) read_at: Option<Position>,
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
        let own = [
            ("default_transaction_read_only", read_only.to_owned()),
            ("lock_timeout", format!("{}ms", patience.lock.as_millis())),
            ("statement_timeout", format!("{}ms", patience.statement.as_millis())),
        ];
        let (settings, name) = (Settings::with(own), session_name::shown(name));
        let call = Call { endpoint, name: &name, settings: Some(&settings), patience: patience.connect };
        let dialed = match call.dial().await {
            // Another try shows whether it keeps what is set once the connection stands.
            Err(Error::Pooler { .. }) => Call { settings: None, ..call }.dial().await?,
            dialed => dialed?,
        };
        Self::examine(dialed, call, &settings, Arc::clone(endpoint), patience).await
    }

    async fn examine(
        Dialed { mut connection, bypass }: Dialed,
        call: Call<'_>,
        settings: &Settings,
        endpoint: Arc<Endpoint>,
        patience: Patience,
    ) -> Result<Session> {
        let mut answer = Answer::of(&mut connection, &endpoint, patience).await?;
        if !answer.has_settings {
            pooler::settle(call, settings, &mut connection).await?;
            answer = Answer::of(&mut connection, &endpoint, patience).await?;
        }
        let Answer { backend, facts, has_settings } = answer;
        if !has_settings {
            let seen = "it dropped the settings of the session".to_owned();
            return Err(Error::Pooler { endpoint: endpoint.to_string(), seen });
        }
        let mut session = Session { connection, bypass, endpoint, backend, facts, patience, read_at: None };
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

/// What a server answers when it is asked what it is.
struct Answer {
    backend: Backend,
    facts: ServerFacts,
    /// Whether the session has the settings that it was to have.
    has_settings: bool,
}

impl Answer {
    async fn of(
        connection: &mut PgConnection,
        endpoint: &Arc<Endpoint>,
        patience: Patience,
    ) -> Result<Answer> {
        let doing = "asking the server what it is";
        let question = format!(
            "{}; select current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('server_encoding'), pg_is_in_recovery(), pg_backend_pid(), \
             (select backend_start::text from pg_stat_activity where pid = pg_backend_pid()), \
             coalesce(current_setting({}, true) = {}, false)",
            settings::set_where_known(),
            literal(MARKER),
            literal(KEPT)
        );
        // The simple protocol takes one round trip, where a prepared statement takes two.
        let asked = sqlx::raw_sql(assembled(question)).fetch_all(connection);
        let rows = tokio::time::timeout(patience.connect, asked)
            .await
            .map_err(|_| Error::stalled(endpoint, doing, patience.connect))?
            .map_err(|error| Error::statement(endpoint, doing, error))?;
        let row = rows.last().ok_or_else(|| Error::invariant(endpoint.to_string(), "it gave no answer"))?;
        if row.field::<i32>(0)? < OLDEST_VERSION {
            return Err(Error::TooOld { endpoint: endpoint.to_string(), version: row.field(1)? });
        }
        let started = row.field::<Option<String>>(5)?.unwrap_or_default();
        Ok(Answer {
            backend: Backend { pid: row.field(4)?, started },
            facts: ServerFacts { encoding: row.field(2)?, in_recovery: row.field(3)? },
            has_settings: row.field(6)?,
        })
    }
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
