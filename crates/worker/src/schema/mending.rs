//! The statements that mend a difference, and where they are to be run.

use std::fmt;

use crate::postgres::catalog::{Cascade, Column};
use crate::postgres::sql::ident;
use crate::structure::{Candidate, Form, Structure, carries, counterpart, definitions, relabelled};

/// A statement that mends a difference or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Mend {
    /// The server on which it is to be run.
    pub(crate) server: Server,
    pub(crate) statement: String,
}

/// One of the two servers of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Server {
    Primary,
    Secondary,
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self.server {
            Server::Primary => "primary",
            Server::Secondary => "secondary",
        };
        write!(f, "on the {server}: {}", self.statement)
    }
}

fn on_secondary(statement: String) -> Mend {
    Mend { server: Server::Secondary, statement }
}

/// A column beyond the model may stay, when it can be left out.
pub(super) fn allow_null(table: &str, column: &str) -> Mend {
    on_secondary(format!("ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL;", ident(column)))
}

/// A foreign key that checks, and does not write.
pub(super) fn check_only(cascade: &Cascade) -> Mend {
    on_secondary(cascade.statement.clone())
}

pub(super) fn forbid_null(table: &str, column: &str) -> Mend {
    let statement = format!("ALTER TABLE {table} ALTER COLUMN {} SET NOT NULL;", ident(column));
    Mend { server: Server::Primary, statement }
}

/// Makes what a type of the primary lacks on the secondary.
pub(super) fn define(source: &Structure, types: &[Candidate]) -> Vec<Mend> {
    definitions(source, types).into_iter().map(on_secondary).collect()
}

/// Adds the column, behind the types that it needs.
pub(super) fn add_column(table: &str, source: &Column, types: &[Candidate]) -> Vec<Mend> {
    let kind = counterpart(&source.structure, types).map_or(source.structure.sql.clone(), |found| found.sql);
    let add = format!("ALTER TABLE {table} ADD COLUMN {} {kind};", ident(&source.name));
    define(&source.structure, types).into_iter().chain([on_secondary(add)]).collect()
}

/// Lets the secondary's column take what the primary has: labels that an enum lacks, or else another type, where a cast
/// leads to it. Without a table of its own only the labels can be mended.
pub(super) fn widen(table: Option<&str>, source: &Column, target: &Column, types: &[Candidate]) -> Vec<Mend> {
    let labels = relabelled(&source.structure, &target.structure);
    if !labels.is_empty() {
        return labels.into_iter().map(on_secondary).collect();
    }
    let Some(table) = table else { return Vec::new() };
    let (own, held) = (source.structure.below_domains(), target.structure.below_domains());
    if !is_of_one_kind(held, own) {
        return define(&source.structure, types);
    }
    let column = ident(&target.name);
    vec![on_secondary(format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE {};", own.sql))]
}

/// Whether one type is the other with another bound, or widens into it: then a cast leads there, and what a value
/// lost on its way into the narrower one comes with the next seed.
fn is_of_one_kind(held: &Structure, wanted: &Structure) -> bool {
    match (&held.form, &wanted.form) {
        (Form::BuiltIn { name, .. }, Form::BuiltIn { name: other, .. }) => {
            name == other || carries(&held.sql, &wanted.sql)
        }
        _ => false,
    }
}
