//! Fields of a row, read so that a value nobody expected is an error and never ends the process.

use sqlx::postgres::PgRow;
use sqlx::{Column, Decode, Postgres, Row, Type};

use crate::error::{Error, Result};

/// Reads the fields of a row. `clippy.toml` forbids the driver's own ways that panic.
pub(crate) trait Fields {
    /// The field at a place, counted from 0.
    ///
    /// # Errors
    /// `Unreadable` with the column's name when it is NULL, of another type, or not there.
    fn field<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, at: usize) -> Result<T>;

    /// The text at a place of an answer to the simple protocol, which is text whatever its type says.
    ///
    /// # Errors
    /// Those of [`Fields::field`].
    fn text(&self, at: usize) -> Result<Option<&str>>;
}

impl Fields for PgRow {
    fn field<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, at: usize) -> Result<T> {
        self.try_get(at).map_err(|error| unreadable(self, at, &error))
    }

    fn text(&self, at: usize) -> Result<Option<&str>> {
        self.try_get_unchecked(at).map_err(|error| unreadable(self, at, &error))
    }
}

fn unreadable(row: &PgRow, at: usize, error: &sqlx::Error) -> Error {
    let column = row.columns().get(at).map_or_else(|| at.to_string(), |column| column.name().to_owned());
    Error::Unreadable { at: format!("column {column} of an answer"), problem: error.to_string() }
}
