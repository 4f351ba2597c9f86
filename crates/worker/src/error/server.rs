//! What a server said, for people: its message with everything that names the cause, and nothing of its source code.

use std::fmt;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The file of the server in which a query is told to end, be it by a person, a timeout or recovery.
const WHERE_QUERIES_ARE_ENDED: &str = "postgres.c";

/// An error of the driver or the server, shown on one line.
pub(super) struct Said<'a>(pub(super) &'a sqlx::Error);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match of(self.0) {
            None => write!(f, "{}", self.0),
            Some(error) => told(f, error),
        }
    }
}

/// The server's error, where it is one.
pub(super) fn of(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
}

fn told(f: &mut fmt::Formatter<'_>, error: &PgDatabaseError) -> fmt::Result {
    write!(f, "{}", on_one_line(error.message()))?;
    if let Some(detail) = error.detail() {
        write!(f, ": {}", on_one_line(detail))?;
    }
    if let Some(hint) = error.hint() {
        write!(f, " (hint: {})", on_one_line(hint))?;
    }
    // A COPY says here which line and column it was at; functions follow with their own calls.
    if let Some(context) = error.r#where().and_then(|context| context.lines().next()) {
        write!(f, " (at {context})")?;
    }
    let table = error.table().map(|table| match error.schema() {
        Some(schema) => format!("table {schema}.{table}"),
        None => format!("table {table}"),
    });
    let column = error.column().map(|column| format!("column {column}"));
    let data_type = error.data_type().map(|name| format!("type {name}"));
    let constraint = error.constraint().map(|name| format!("constraint {name}"));
    let mut named: Vec<_> = [table, column, data_type, constraint].into_iter().flatten().collect();
    named.push(format!("SQLSTATE {}", error.code()));
    write!(f, " [{}]", named.join(", "))
}

fn on_one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A constraint, or a unique index, that rows broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) name: String,
}

impl Broken {
    /// Those of constraints between rows: foreign keys, unique ones and exclusions.
    pub(super) fn of(error: &PgDatabaseError) -> Option<Broken> {
        if !["23001", "23503", "23505", "23P01"].contains(&error.code()) {
            return None;
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Broken {
            schema: owned(error.schema())?,
            table: owned(error.table())?,
            name: owned(error.constraint())?,
        })
    }
}

/// Whether the server ended the session with this error.
pub(super) fn is_fatal(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

/// Whether a hot standby cancelled a read because what it reads is gone on its primary. Our reads are read-only, so
/// no other failure to serialize can meet them; the message is in the server's language.
pub(super) fn is_recovery_conflict(error: &PgDatabaseError) -> bool {
    error.code() == "40001" && error.file() == Some(WHERE_QUERIES_ARE_ENDED)
}
