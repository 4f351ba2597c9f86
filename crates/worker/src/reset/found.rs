//! What a reset finds, and what it runs.

use milestream_core::milestone::{LocalBatch, PrimaryBatch};

use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::sync::copying::counted;

/// The batch of a stream that was begun and not committed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OpenBatch {
    /// Its id on the platform.
    pub batch: LocalBatch,
    /// What `batch_metrics` says of it.
    pub status: String,
    /// `seed`, `increment`, or `ingestion`.
    pub kind: String,
    /// X of an increment.
    pub from: Option<PrimaryBatch>,
    /// X of a seed, Y of an increment.
    pub to: Option<PrimaryBatch>,
}

/// A statement of a reset.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Statement {
    /// What it does, for a person.
    pub what: String,
    /// Its SQL.
    pub sql: String,
    /// Rows that it takes away or keeps; `None` where it is about no rows.
    pub rows: Option<u64>,
}

/// What a reset did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Reset {
    /// The batch that is thrown away; `None` where none is open.
    pub open: Option<OpenBatch>,
    /// The newest batch that was committed, which stays.
    pub committed: Option<LocalBatch>,
    /// The primary batch that readers go on seeing until the stream is seeded again; `None` where it is not to be.
    pub readers_batch: Option<PrimaryBatch>,
    /// Tables that keep a mirror's history.
    pub kept: Vec<String>,
    /// In their order, all in one transaction; none where there is nothing to do.
    pub statements: Vec<Statement>,
}

/// How a statement's rows are known.
pub(super) enum Rows {
    /// It is about no rows.
    None,
    /// The books have them.
    Recorded(u64),
    /// A question, for a dry run; the statement itself tells when it is run.
    Counted(String),
}

/// A reset that was found out.
pub(super) struct Found {
    pub(super) reset: Reset,
    /// How the rows of each statement are known.
    pub(super) rows: Vec<Rows>,
    /// Generation of the plan in flight.
    pub(super) generation: Option<i32>,
    /// Who leads the stream, and until when.
    pub(super) leader: Option<(String, String)>,
}

impl Found {
    pub(super) fn add(&mut self, what: impl Into<String>, sql: String, rows: Rows) {
        let recorded = match rows {
            Rows::Recorded(rows) => Some(rows),
            Rows::None | Rows::Counted(_) => None,
        };
        self.reset.statements.push(Statement { what: what.into(), sql, rows: recorded });
        self.rows.push(rows);
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.reset.statements.is_empty()
    }

    pub(super) fn generation(&self) -> Option<i32> {
        self.generation
    }

    /// # Errors
    /// `Busy` when another worker leads the stream.
    pub(super) fn require_free(&self, stream: &str) -> Result<()> {
        match self.leader.clone() {
            None => Ok(()),
            Some((owner, until)) => Err(Error::Busy { stream: stream.to_owned(), owner, until }),
        }
    }

    /// Asks how many rows each statement would be about.
    pub(super) async fn count(&mut self, session: &mut Session) -> Result<()> {
        for (statement, rows) in self.reset.statements.iter_mut().zip(&self.rows) {
            let Rows::Counted(question) = rows else { continue };
            let rows = session.ask("counting rows", question.clone()).await?;
            let count = rows.first().map_or(Ok(0), |row| counted(row.field(0)?))?;
            statement.rows = Some(u64::try_from(count).unwrap_or(0));
        }
        Ok(())
    }

    /// Runs the statements; part of a transaction that ends with the fence.
    pub(super) async fn run(&mut self, session: &mut Session) -> Result<()> {
        for (statement, rows) in self.reset.statements.iter_mut().zip(&self.rows) {
            let affected = session.execute(&statement.what, statement.sql.clone()).await?;
            if matches!(rows, Rows::Counted(_)) {
                statement.rows = Some(affected);
            }
        }
        Ok(())
    }

    pub(super) fn into_reset(self) -> Reset {
        self.reset
    }
}
