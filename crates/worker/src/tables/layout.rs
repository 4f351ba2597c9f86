//! The columns of `batch_metrics` and `batch_counter`: DataSurface makes these tables, and so may others.
//!
//! They are read by casts, whatever their types are, and columns that only inform may be missing. What cannot be read
//! or written is refused by its name.

use super::ControlTables;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::literal;

/// What a column must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Text,
    Status,
    Number,
    Moment,
    State,
}

/// A column of a table of batches.
struct Wanted {
    name: &'static str,
    content: Content,
    /// Whether it may be missing from a table that is only read.
    informs: bool,
}

const fn wanted(name: &'static str, content: Content) -> Wanted {
    Wanted { name, content, informs: false }
}

const fn informing(name: &'static str, content: Content) -> Wanted {
    Wanted { name, content, informs: true }
}

const METRICS: [Wanted; 10] = [
    wanted("key", Content::Text),
    wanted("batch_id", Content::Number),
    wanted("batch_start_time", Content::Moment),
    wanted("batch_end_time", Content::Moment),
    wanted("batch_status", Content::Status),
    informing("records_inserted", Content::Number),
    informing("records_updated", Content::Number),
    informing("records_deleted", Content::Number),
    informing("total_records", Content::Number),
    informing("state", Content::State),
];

const COUNTER: [Wanted; 2] = [wanted("key", Content::Text), wanted("currentBatch", Content::Number)];

/// SQL for the rows `m` of a table of batches, each with all its fields as the JSON object `o.fields`: the way to columns
/// that may be missing, or of any type.
pub(crate) fn rows(metrics_table: &str) -> String {
    // Without the offset the object would be made anew for each field.
    format!("{metrics_table} m, lateral (select to_jsonb(m) as fields offset 0) o")
}

/// A batch's id, which came as text.
///
/// # Errors
/// `Unreadable` when it is no whole number that an integer holds.
pub(crate) fn batch_id(table: &str, text: &str) -> Result<i32> {
    text.parse().map_err(|_| Error::Unreadable {
        at: table.to_owned(),
        problem: format!("batch {text:?} is no whole number up to {}", i32::MAX),
    })
}

/// What keeps a table of batches from being read; `None` where its columns are as they should be.
///
/// # Errors
/// Those of the server.
pub(crate) async fn unreadable(session: &mut Session, metrics_table: &str) -> Result<Option<Error>> {
    let found = columns(session, metrics_table).await?;
    Ok(refusal(session, metrics_table, problems(&METRICS, &found, true)))
}

/// Looks whether a platform's batches can be written; tables that are not there yet will be made as they should be.
///
/// # Errors
/// `Unreadable` with every column that is missing or of a type that does not do.
pub(crate) async fn require_writable(session: &mut Session, tables: &ControlTables) -> Result<()> {
    for (table, wanted) in [(&tables.batch_counter, &COUNTER[..]), (&tables.batch_metrics, &METRICS[..])] {
        let found = columns(session, table).await?;
        if found.is_empty() {
            continue;
        }
        if let Some(refusal) = refusal(session, table, problems(wanted, &found, false)) {
            return Err(refusal);
        }
    }
    Ok(())
}

fn refusal(session: &Session, table: &str, problems: Vec<String>) -> Option<Error> {
    let at = format!("{}: {table}", session.endpoint);
    (!problems.is_empty()).then(|| Error::Unreadable { at, problem: problems.join("; ") })
}

/// A column as the catalog has it.
struct Found {
    name: String,
    /// As SQL writes it.
    sql_type: String,
    /// The catalog's name of the type under all domains, and its category.
    base: String,
    category: String,
}

async fn columns(session: &mut Session, table: &str) -> Result<Vec<Found>> {
    let question = format!(
        "with recursive base(attnum, name, sql_type, type) as ( \
            select a.attnum, a.attname::text, format_type(a.atttypid, a.atttypmod), a.atttypid from pg_attribute a \
            where a.attrelid = to_regclass({}) and a.attnum > 0 and not a.attisdropped \
            union all select b.attnum, b.name, b.sql_type, t.typbasetype from base b join pg_type t on t.oid = b.type \
            where t.typtype = 'd') \
         select b.name, b.sql_type, t.typname::text, t.typcategory::text from base b join pg_type t on t.oid = b.type \
         where t.typtype <> 'd' order by b.attnum",
        literal(table)
    );
    let rows = session.ask("looking at the columns of a table of batches", question).await?;
    let found = rows.iter().map(|row| {
        Ok(Found {
            name: row.field(0)?,
            sql_type: row.field(1)?,
            base: row.field(2)?,
            category: row.field(3)?,
        })
    });
    found.collect()
}

/// What is wrong with the columns of a table that is only read, or written as well.
fn problems(wanted: &[Wanted], found: &[Found], is_only_read: bool) -> Vec<String> {
    let problem = |wanted: &Wanted| match found.iter().find(|found| found.name == wanted.name) {
        None if is_only_read && wanted.informs => None,
        None => Some(format!("column {} is missing", wanted.name)),
        Some(found) if wanted.content.is_held_by(found) => None,
        Some(found) => {
            let must = wanted.content.name();
            Some(format!("column {} is {}, must be {must}", wanted.name, found.sql_type))
        }
    };
    wanted.iter().filter_map(problem).collect()
}

impl Content {
    fn is_held_by(self, found: &Found) -> bool {
        let (base, is_text) = (found.base.as_str(), found.category == "S");
        match self {
            Content::Text => is_text,
            Content::Status => is_text || found.category == "E",
            Content::Number => ["int2", "int4", "int8", "numeric"].contains(&base),
            Content::Moment => ["timestamp", "timestamptz"].contains(&base),
            Content::State => is_text || ["json", "jsonb"].contains(&base),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Content::Text | Content::Status => "text",
            Content::Number => "a whole number",
            Content::Moment => "a timestamp",
            Content::State => "text or JSON",
        }
    }
}
