//! Compares the model, the primary's catalog and the secondary's before anything is read or written.

use std::fmt;

use md5::{Digest, Md5};
use milestream_core::milestone::PrimaryBatch;
use milestream_core::names::physical_column;
use milestream_core::stream::{Dataset, Stream};

use crate::pair::{
    ALL_HASH, BATCH_ID, BATCH_IN, BATCH_OUT, CarriedColumn, Holding, KEY_HASH, Pair, SecondaryNames,
};
use crate::postgres::catalog::{Column, Table};
use crate::postgres::sql::ident;

/// One way in which the three do not agree.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Difference {
    /// The dataset.
    pub(crate) dataset: String,
    /// The column, or the table as a whole.
    pub(crate) column: String,
    /// What the model says.
    pub(crate) model: String,
    /// What the primary has.
    pub(crate) primary: String,
    /// What the secondary has.
    pub(crate) secondary: String,
    /// What is wrong with that.
    pub(crate) problem: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {}.{}: {} (model: {}; primary: {}; secondary: {})",
            self.dataset, self.column, self.problem, self.model, self.primary, self.secondary
        )
    }
}

impl Difference {
    /// A merge table that is not there any more.
    pub(crate) fn gone(dataset: &str, table: &str, watermark: PrimaryBatch) -> Difference {
        Difference {
            dataset: dataset.to_owned(),
            column: "table".to_owned(),
            model: "a dataset".to_owned(),
            primary: "there".to_owned(),
            secondary: "none".to_owned(),
            problem: format!("{} is gone, though the stream holds batch {watermark}", ident(table)),
        }
    }
}

/// Differences as an error shows them, one a line.
pub(crate) fn table_of(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Pairs a dataset's tables up, or says why they do not go together.
pub(crate) fn pair(
    platform: &str,
    store: &str,
    dataset: &Dataset,
    holding: Holding,
    interchange: bool,
    primary: &Table,
    secondary: Option<Table>,
) -> Result<Pair, Vec<Difference>> {
    let mut comparison = Comparison { dataset, primary, secondary: secondary.as_ref(), found: Vec::new() };
    comparison.milestones(holding);
    comparison.extra_columns();
    let columns = dataset.columns.iter().filter_map(|column| comparison.column(&column.name)).collect();
    comparison.keys();
    if !comparison.found.is_empty() {
        return Err(comparison.found);
    }
    Ok(Pair {
        dataset: dataset.name.clone(),
        holding,
        primary_table: primary.qualified(),
        columns,
        key: dataset.key.iter().map(|key| physical_column(key)).collect(),
        names: SecondaryNames::of(platform, store, &dataset.name),
        existing: secondary,
        interchange,
    })
}

/// MD5 of each dataset's columns, types and key as the model spells them, for `schema_versions`.
pub(crate) fn versions(stream: &Stream) -> serde_json::Map<String, serde_json::Value> {
    let version = |dataset: &Dataset| {
        let columns = dataset
            .columns
            .iter()
            .map(|column| format!("{} {} {}", column.name, column.column_type, column.nullable));
        let text = columns.chain(dataset.key.iter().cloned()).collect::<Vec<_>>().join("\n");
        let digest = Md5::digest(text.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    stream.datasets.iter().map(|dataset| (dataset.name.clone(), version(dataset).into())).collect()
}

struct Comparison<'a> {
    dataset: &'a Dataset,
    primary: &'a Table,
    secondary: Option<&'a Table>,
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn differ(&mut self, column: &str, problem: impl Into<String>) {
        let shape = |table: Option<&Table>| match table {
            None => "no table yet".to_owned(),
            Some(table) => table.column(column).map_or("none".to_owned(), describe),
        };
        let model = self.dataset.columns.iter().find(|known| physical_column(&known.name) == column);
        self.found.push(Difference {
            dataset: self.dataset.name.clone(),
            column: column.to_owned(),
            model: model.map_or("none".to_owned(), |known| known.column_type.to_string()),
            primary: shape(Some(self.primary)),
            secondary: shape(self.secondary),
            problem: problem.into(),
        });
    }

    /// DataSurface's own columns must be there, on the primary as on a forensic platform, and be such that batches and
    /// hashes are carried as they are: another integer type may have another value for what is live.
    fn milestones(&mut self, holding: Holding) {
        for name in [ALL_HASH, KEY_HASH, BATCH_IN, BATCH_OUT] {
            match self.primary.column(name).map(|column| column.sql_type.clone()) {
                None => self.differ(name, "the primary's table is no forensic merge table"),
                Some(found) if is_hash(name) && !holds_hashes(&found) => {
                    self.differ(name, format!("is {found} on the primary, must be character varying(32)"));
                }
                Some(found) if !is_hash(name) && found != "integer" => {
                    self.differ(name, format!("is {found} on the primary, must be integer"));
                }
                Some(_) => {}
            }
        }
        let Some(secondary) = self.secondary else { return };
        let wanted: &[&str] = match holding {
            Holding::LiveOnly => &[ALL_HASH, KEY_HASH, BATCH_ID],
            Holding::Mirror => &[ALL_HASH, KEY_HASH, BATCH_IN, BATCH_OUT],
        };
        for name in wanted {
            match secondary.column(name).map(|column| column.sql_type.clone()) {
                None => self.differ(name, "the secondary's table lacks a column of its milestone strategy"),
                Some(found) if is_hash(name) && !takes_hashes(&found) => {
                    self.differ(name, format!("is {found} on the secondary, must be character varying(32)"));
                }
                Some(found) if !is_hash(name) && found != "integer" => {
                    self.differ(name, format!("is {found} on the secondary, must be integer"));
                }
                Some(_) => {}
            }
        }
    }

    /// What the secondary has beyond the model is left alone, as long as it can stay NULL.
    fn extra_columns(&mut self) {
        let Some(secondary) = self.secondary else { return };
        let ours = [ALL_HASH, KEY_HASH, BATCH_ID, BATCH_IN, BATCH_OUT];
        let known: Vec<String> =
            self.dataset.columns.iter().map(|column| physical_column(&column.name)).collect();
        let in_the_way: Vec<String> = secondary
            .columns
            .iter()
            .filter(|column| !column.nullable && !ours.contains(&column.name.as_str()))
            .map(|column| column.name.clone())
            .filter(|name| !known.contains(name))
            .collect();
        for name in in_the_way {
            self.differ(&name, "the secondary has a NOT NULL column that the model does not know");
        }
    }

    fn column(&mut self, model_name: &str) -> Option<CarriedColumn> {
        let name = physical_column(model_name);
        let Some(source) = self.primary.column(&name).cloned() else {
            self.differ(&name, "the model is ahead of the primary, which lacks the column");
            return None;
        };
        let target = match self.secondary {
            // What the primary computes or numbers, a table of ours simply holds.
            None => Column { generated: false, ..source.clone() },
            Some(secondary) => match secondary.column(&name) {
                Some(target) => target.clone(),
                None => {
                    self.differ(&name, "the secondary lacks the column");
                    return None;
                }
            },
        };
        if target.generated {
            self.differ(&name, "the secondary computes the column itself");
        }
        if !carries(&source.sql_type, &target.sql_type) {
            self.differ(&name, "the secondary's type does not take every value of the primary's");
        }
        let is_key = self.dataset.key.iter().any(|key| physical_column(key) == name);
        if is_key && (source.loose || target.loose) {
            self.differ(
                &name,
                "a key column has a nondeterministic collation, which takes different keys for one",
            );
        }
        if is_key && source.sql_type != target.sql_type {
            self.differ(&name, "a key column has another type on the secondary");
        }
        Some(CarriedColumn {
            name,
            source_type: source.sql_type,
            target_type: target.sql_type,
            collatable: source.collatable,
            binary: source.binary && target.binary,
        })
    }

    fn keys(&mut self) {
        for key in &self.dataset.key {
            let key = physical_column(key);
            // The catalog knows nothing of a view's columns; there the landing table refuses a NULL when it comes.
            let known = self.primary.kind.is_lockable();
            if known && self.primary.column(&key).is_some_and(|column| column.nullable) {
                self.differ(&key, "a key column is nullable on the primary; keys must be NOT NULL");
            }
        }
        // The primary's own key tells what is unique there: the model's key and the milestone.
        let mut wanted: Vec<String> = self.dataset.key.iter().map(|key| physical_column(key)).collect();
        wanted.push(BATCH_IN.to_owned());
        let mut actual = self.primary.primary_key.clone();
        wanted.sort();
        actual.sort();
        if !actual.is_empty() && actual != wanted {
            let problem =
                format!("the primary's key is ({}), the model's ({})", actual.join(", "), wanted.join(", "));
            self.differ("primary key", problem);
        }
    }
}

fn is_hash(name: &str) -> bool {
    [ALL_HASH, KEY_HASH].contains(&name)
}

/// Whether a type's values can be taken over as hashes, which have 32 letters.
fn holds_hashes(sql_type: &str) -> bool {
    sql_type == "text" || sql_type == "character(32)" || carries(sql_type, "character varying(32)")
}

/// Whether a table that rows are compared with can have its hashes in this type: texts of two types cannot be compared.
fn takes_hashes(sql_type: &str) -> bool {
    sql_type.starts_with("character varying") && carries("character varying(32)", sql_type)
}

pub(crate) fn describe(column: &Column) -> String {
    if column.nullable { column.sql_type.clone() } else { format!("{} not null", column.sql_type) }
}

/// Whether every value of one type, cast to the other, is still the same value.
pub(crate) fn carries(source: &str, target: &str) -> bool {
    if source == target {
        return true;
    }
    // A cast between arrays cuts their elements without a word.
    if source.ends_with("[]") || target.ends_with("[]") {
        return false;
    }
    const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
    let rank = |name: &str| INTEGERS.iter().position(|integer| *integer == name);
    if let (Some(source), Some(target)) = (rank(source), rank(target)) {
        return source <= target;
    }
    let varchar = |name: &str| name == "text" || name.starts_with("character varying");
    if varchar(source) && varchar(target) {
        return match (bound(source), bound(target)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(source), Some(target)) => source <= target,
        };
    }
    if let (Some((whole, fraction)), Some((wider, finer))) = (digits(source), digits(target)) {
        return whole <= wider && fraction <= finer;
    }
    (source == "real" && target == "double precision")
        || (source.starts_with("numeric(") && target == "numeric")
}

/// Digits before and behind the point of `numeric(p,s)`.
fn digits(name: &str) -> Option<(i32, i32)> {
    let (precision, scale) = name.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (i32, i32) = (precision.parse().ok()?, scale.parse().ok()?);
    Some((precision - scale, scale))
}

/// The n of `character varying(n)`.
fn bound(name: &str) -> Option<u32> {
    name.split_once('(')?.1.strip_suffix(')')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::carries;

    #[test]
    fn a_wider_type_carries_and_a_narrower_does_not() {
        for (source, target) in [
            ("integer", "bigint"),
            ("character varying(20)", "character varying(40)"),
            ("character varying(20)", "text"),
            ("real", "double precision"),
            ("numeric(10,2)", "numeric"),
            ("numeric(10,2)", "numeric(12,4)"),
            ("jsonb", "jsonb"),
        ] {
            assert!(carries(source, target), "{source} into {target}");
        }
        for (source, target) in [
            ("bigint", "integer"),
            ("text", "character varying(40)"),
            ("character varying(40)", "character varying(20)"),
            ("date", "integer"),
            ("numeric", "numeric(10,2)"),
            ("numeric(10,2)", "numeric(10,4)"),
            ("numeric(10,4)", "numeric(12,2)"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("character varying(20)[]", "character varying(10)[]"),
            ("text", "character varying(10)[]"),
        ] {
            assert!(!carries(source, target), "{source} into {target}");
        }
    }
}
