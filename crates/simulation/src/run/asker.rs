//! The simulation's own sessions: past every proxy, as superuser, with the settings under which values have the
//! texts that plans write.

use std::sync::{Arc, Mutex};

use milestream_cluster::Server;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use super::Failure;
use crate::plan::Cell;

/// One session.
pub(crate) struct Asker {
    connection: PgConnection,
    /// Where it goes when it is closed, to be used again.
    pool: Option<Arc<Pool>>,
}

/// Sessions of one database that nobody uses at the moment.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<PgConnection>>);

impl Pool {
    fn take(&self) -> Option<PgConnection> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }

    fn give(&self, connection: PgConnection) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(connection);
    }
}

impl Asker {
    pub(crate) async fn connect(server: &Server, database: &str) -> Result<Asker, Failure> {
        let connection = PgConnection::connect_with(&options(server, database)).await?;
        Ok(Asker { connection, pool: None })
    }

    /// One of the pool, or a new one that goes there.
    pub(crate) async fn pooled(pool: &Arc<Pool>, server: &Server, database: &str) -> Result<Asker, Failure> {
        let pooled = match pool.take() {
            Some(connection) => Asker { connection, pool: None },
            None => Asker::connect(server, database).await?,
        };
        Ok(Asker { pool: Some(Arc::clone(pool)), ..pooled })
    }

    /// Runs statements, in one round trip.
    pub(crate) async fn execute(&mut self, statements: &str) -> Result<(), Failure> {
        self.ask(statements).await.map(|_| ())
    }

    /// Asks for rows, as text.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<Vec<Vec<Cell>>, Failure> {
        let rows = sqlx::raw_sql(AssertSqlSafe(question.to_owned())).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|source| Failure::Question { question: shortened(question), source })?;
        // The simple protocol answers in text, whatever the type.
        Ok(rows.iter().map(|row| (0..row.len()).map(|at| row.get_unchecked(at)).collect()).collect())
    }

    /// Asks for one value, as text; `None` when there is no row, or NULL in it.
    pub(crate) async fn value(&mut self, question: &str) -> Result<Cell, Failure> {
        Ok(self.ask(question).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// Asks for a column of texts.
    pub(crate) async fn texts(&mut self, question: &str) -> Result<Vec<String>, Failure> {
        Ok(self.ask(question).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// Asks for one number; zero when there is no row, or NULL in it.
    pub(crate) async fn number(&mut self, question: &str) -> Result<i64, Failure> {
        Ok(self.value(question).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Ends it, or gives it back to its pool; whoever began a transaction has ended it.
    pub(crate) async fn close(self) {
        if let Some(pool) = &self.pool {
            return pool.give(self.connection);
        }
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "a session ended badly");
        }
    }
}

fn options(server: &Server, database: &str) -> PgConnectOptions {
    server.connect_options(database).extra_float_digits(3).application_name("simulation").options([
        ("timezone", "UTC"),
        ("datestyle", "ISO"),
        ("deadlock_timeout", "60s"),
    ])
}

/// A text literal.
pub(crate) fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn shortened(question: &str) -> String {
    const SHOWN: usize = 400;
    match question.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &question[..end]),
        None => question.to_owned(),
    }
}
