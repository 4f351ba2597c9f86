//! Compares the columns of a primary's table with those of its secondary, and the model's with both.

use milestream_core::names::physical_column;
use milestream_core::stream::Dataset;

use super::{Difference, Mend, describe, equality, mending};
use crate::pair::{ALL_HASH, BATCH_ID, BATCH_IN, BATCH_OUT, CarriedColumn, Holding, KEY_HASH};
use crate::postgres::catalog::{Column, Table};
use crate::structure::{Candidate, Carriage, Form, Sides, Structure, carries, carry, counterpart, names};

/// A dataset's tables, and what has been found of them.
pub(super) struct Comparison<'a> {
    dataset: &'a Dataset,
    primary: &'a Table,
    secondary: Option<&'a Table>,
    /// Types of the secondary, for columns that it does not have yet.
    types: &'a [Candidate],
    /// The secondary's table as a statement names it.
    secondary_table: String,
    found: Vec<Difference>,
}

/// Names of types that have to be looked up on the secondary, since no column of its tables shows what they are there.
pub(crate) fn missing_names<'a>(
    dataset: &'a Dataset,
    primary: &'a Table,
    secondary: Option<&'a Table>,
) -> impl Iterator<Item = &'a str> {
    let unseen = move |source: &&Column| {
        let target = secondary.and_then(|table| table.column(&source.name));
        target.is_none_or(|target| carry(&source.structure, &target.structure, Sides::PLATFORMS).is_err())
    };
    let known = dataset.columns.iter().filter_map(|column| primary.column(&physical_column(&column.name)));
    known.filter(unseen).flat_map(|source| names(&source.structure)).map(|name| name.name.as_str())
}

/// What a column is: its type on both sides, and its number on the primary, which tells it from a column of its name
/// that was dropped before.
pub(crate) fn shape_of(source: &Column, target: &Structure) -> String {
    let (own, other) = (source.structure.to_string(), target.to_string());
    let into = if own == other { String::new() } else { format!(" into {other}") };
    format!("{own}{into} (column {})", source.attnum)
}

impl<'a> Comparison<'a> {
    pub(super) fn of(
        dataset: &'a Dataset,
        primary: &'a Table,
        secondary: Option<&'a Table>,
        types: &'a [Candidate],
        secondary_table: String,
    ) -> Comparison<'a> {
        let secondary_table = secondary.map_or(secondary_table, Table::qualified);
        Comparison { dataset, primary, secondary, types, secondary_table, found: Vec::new() }
    }

    pub(super) fn into_found(self) -> Vec<Difference> {
        self.found
    }

    fn differ(&mut self, column: &str, problem: impl Into<String>) {
        self.differ_mended(column, problem, Vec::new());
    }

    fn differ_mended(&mut self, column: &str, problem: impl Into<String>, mends: Vec<Mend>) {
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
            mends,
        });
    }

    /// DataSurface's own columns must be there, on the primary as on a forensic platform, and be such that batches and
    /// hashes are carried as they are: another integer type may have another value for what is live.
    pub(super) fn milestones(&mut self, holding: Holding) {
        for name in [ALL_HASH, KEY_HASH, BATCH_IN, BATCH_OUT] {
            match self.primary.column(name).map(Column::sql_type) {
                None => self.differ(name, "the primary's table is no forensic merge table"),
                Some(found) if is_hash(name) && !holds_hashes(found) => {
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
            match secondary.column(name).map(Column::sql_type) {
                None => self.differ(name, "the secondary's table lacks a column of its milestone strategy"),
                Some(found) if is_hash(name) && !takes_hashes(found) => {
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
    pub(super) fn extra_columns(&mut self) {
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
            let mend = mending::allow_null(&self.secondary_table, &name);
            let problem = "the secondary has a NOT NULL column that the model does not know";
            self.differ_mended(&name, problem, vec![mend]);
        }
    }

    /// A foreign key that deletes or changes rows by itself may take away what the primary keeps, and nobody would see it:
    /// an increment looks at the rows that it brings.
    pub(super) fn cascades(&mut self) {
        let Some(secondary) = self.secondary else { return };
        for cascade in &secondary.cascades {
            let problem = "the secondary has a foreign key that deletes or changes rows by itself";
            self.differ_mended(&cascade.name, problem, vec![mending::check_only(cascade)]);
        }
    }

    pub(super) fn column(&mut self, model_name: &str) -> Option<CarriedColumn> {
        let name = physical_column(model_name);
        let Some(source) = self.primary.column(&name).cloned() else {
            self.differ(&name, "the model is ahead of the primary, which lacks the column");
            return None;
        };
        let target = self.target(&source)?;
        if target.generated {
            self.differ(&name, "the secondary computes the column itself");
        }
        let carriage = self.carriage(&source, &target)?;
        if self.dataset.key.iter().any(|key| physical_column(key) == name) {
            self.key_column(&source, &target, &carriage);
        }
        Some(CarriedColumn {
            name,
            shape: shape_of(&source, &target.structure),
            hashes: equality::hashes_alike(&source, &target),
            ordered_alike: source.structure.orders_alike(),
            collatable: source.collation.is_some(),
            source_type: source.structure.sql,
            target_type: target.structure.sql,
            cast: carriage.cast,
            binary: carriage.binary,
        })
    }

    /// The column as the secondary has it, or as a table of ours will.
    fn target(&mut self, source: &Column) -> Option<Column> {
        if let Some(secondary) = self.secondary {
            let target = secondary.column(&source.name).cloned();
            if target.is_none() {
                let mends = mending::add_column(&self.secondary_table, source, self.types);
                self.differ_mended(&source.name, "the secondary lacks the column", mends);
            }
            return target;
        }
        let Some(structure) = counterpart(&source.structure, self.types) else {
            let problem = format!("the secondary has no type like {}", source.structure.described());
            let mends = mending::define(&source.structure, self.types);
            self.differ_mended(&source.name, problem, mends);
            return None;
        };
        // What the primary computes or numbers, a table of ours simply holds; its texts have the database's collation.
        Some(Column { structure, generated: false, collation: None, ..source.clone() })
    }

    fn carriage(&mut self, source: &Column, target: &Column) -> Option<Carriage> {
        match carry(&source.structure, &target.structure, Sides::PLATFORMS) {
            Ok(carriage) => Some(carriage),
            Err(difference) => {
                let table = self.secondary.map(|_| self.secondary_table.as_str());
                let mends = mending::widen(table, source, target, self.types);
                let whole = "the secondary's type does not take every value of the primary's";
                let problem = match says_all(source, target) {
                    true => whole.to_owned(),
                    false => format!("{whole}: {difference}"),
                };
                self.differ_mended(&source.name, problem, mends);
                None
            }
        }
    }

    fn key_column(&mut self, source: &Column, target: &Column, carriage: &Carriage) {
        let widened = carriage.cast.is_some();
        if let Some(problem) = equality::problem(source, target) {
            self.differ(&source.name, problem);
        }
        if widened {
            self.differ(&source.name, "a key column has another type on the secondary");
        }
    }

    pub(super) fn keys(&mut self) {
        for key in &self.dataset.key {
            let key = physical_column(key);
            // The catalog knows nothing of a view's columns; there the landing table refuses a NULL when it comes.
            let known = self.primary.kind.is_lockable();
            if known && self.primary.column(&key).is_some_and(|column| column.nullable) {
                let problem = "a key column is nullable on the primary; keys must be NOT NULL";
                let mend = mending::forbid_null(&self.primary.qualified(), &key);
                self.differ_mended(&key, problem, vec![mend]);
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

/// Whether the names of the types say in what they differ.
fn says_all(source: &Column, target: &Column) -> bool {
    let built_in = |column: &Column| matches!(column.structure.form, Form::BuiltIn { .. });
    built_in(source) && built_in(target)
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
