//! Compares the model, the source's catalog and the merge table's before anything is written.

use std::fmt;

use milestream_core::names::physical_column;
use milestream_core::stream::{self, Dataset};

use super::job::{IngestJob, Scd};
use crate::pair::{ALL_HASH, BATCH_ID, BATCH_IN, BATCH_OUT, CarriedColumn, KEY_HASH, Pair, SecondaryNames};
use crate::postgres::catalog::{Column, Table};
use crate::schema::{describe, shape_of};
use crate::structure::{Candidate, Carriage, Sides, carries, carry, counterpart, definitions};

/// One way in which the three do not agree.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Difference {
    pub(crate) dataset: String,
    /// The column, or the table as a whole.
    pub(crate) column: String,
    pub(crate) model: String,
    pub(crate) source: String,
    pub(crate) merge: String,
    pub(crate) problem: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {}.{}: {} (model: {}; source: {}; merge table: {})",
            self.dataset, self.column, self.problem, self.model, self.source, self.merge
        )
    }
}

/// Differences as an error shows them, one a line.
pub(crate) fn table_of(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Fits a dataset's source and merge table to each other, or says why they do not go together.
///
/// `types` are those of the merge store that bear the names of the source's.
///
/// The tables of a primary are laid out as those of a secondary with the same milestone strategy, so a [`Pair`]
/// describes them; its primary's table is the source's.
pub(crate) fn fit(
    job: &IngestJob,
    dataset: &Dataset,
    source: &Table,
    merge: Option<Table>,
    types: &[Candidate],
) -> Result<Pair, Vec<Difference>> {
    let mut fitting = Fitting { dataset, source, merge: merge.as_ref(), types, found: Vec::new() };
    fitting.milestones(job.strategy);
    fitting.extra_columns();
    let columns = dataset.columns.iter().filter_map(|column| fitting.column(column)).collect();
    fitting.keys(job.strategy);
    if !fitting.found.is_empty() {
        return Err(fitting.found);
    }
    Ok(Pair {
        dataset: dataset.name.clone(),
        holding: job.strategy.layout(),
        primary_table: source.qualified(),
        columns,
        key: dataset.key.iter().map(|key| physical_column(key)).collect(),
        // A source has no versions.
        leads_to_versions: false,
        names: SecondaryNames::of(&job.platform, &job.stream.store, &dataset.name),
        existing: merge,
        interchange: job.tuning.interchange,
    })
}

/// The type that the model gives a column, as the catalog would write it; `None` where the source's own is taken.
fn model_type(column: &stream::Column) -> Option<String> {
    column.column_type.postgres().map(|name| catalog_spelling(&name))
}

/// Short names of types in the catalog's words, so that types can be compared as texts.
fn catalog_spelling(name: &str) -> String {
    let (head, bound) = name.find('(').map_or((name, ""), |at| name.split_at(at));
    match head {
        "varchar" => format!("character varying{bound}"),
        // Without a bound it is one character.
        "char" if bound.is_empty() => "character(1)".to_owned(),
        "char" => format!("character{bound}"),
        _ => name.to_owned(),
    }
}

struct Fitting<'a> {
    dataset: &'a Dataset,
    source: &'a Table,
    merge: Option<&'a Table>,
    /// Types of the merge store, for columns that it does not have yet.
    types: &'a [Candidate],
    found: Vec<Difference>,
}

impl Fitting<'_> {
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
            source: shape(Some(self.source)),
            merge: shape(self.merge),
            problem: problem.into(),
        });
    }

    /// A merge table of the other milestone strategy is refused.
    fn milestones(&mut self, strategy: Scd) {
        let Some(merge) = self.merge else { return };
        let wanted: &[&str] = match strategy {
            Scd::LiveOnly => &[ALL_HASH, KEY_HASH, BATCH_ID],
            Scd::Forensic => &[ALL_HASH, KEY_HASH, BATCH_IN, BATCH_OUT],
        };
        for name in wanted {
            if merge.column(name).is_none() {
                self.differ(name, "the merge table lacks a column of its milestone strategy");
            }
        }
    }

    /// What the merge table has beyond the model is left alone, as long as it can stay NULL.
    fn extra_columns(&mut self) {
        let Some(merge) = self.merge else { return };
        let ours = [ALL_HASH, KEY_HASH, BATCH_ID, BATCH_IN, BATCH_OUT].map(str::to_owned);
        let known = self.dataset.columns.iter().map(|column| physical_column(&column.name));
        let written: Vec<String> = known.chain(ours).collect();
        for column in
            merge.columns.iter().filter(|column| !column.nullable && !written.contains(&column.name))
        {
            self.differ(&column.name, "the merge table has a NOT NULL column that the model does not know");
        }
    }

    fn column(&mut self, model: &stream::Column) -> Option<CarriedColumn> {
        let name = physical_column(&model.name);
        let Some(source) = self.source.column(&name) else {
            self.differ(&name, "the source lacks the column");
            return None;
        };
        let existing = self.merge.map(|merge| merge.column(&name));
        let (target_type, carriage) = match existing {
            None => self.column_to_be(model, source)?,
            Some(Some(target)) => (target.sql_type().to_owned(), self.carriage(source, target)?),
            Some(None) => {
                self.differ(&name, "the merge table lacks the column");
                return None;
            }
        };
        if existing.flatten().is_some_and(|target| target.generated) {
            self.differ(&name, "the merge table computes the column itself");
        }
        let shape =
            shape_of(source, existing.flatten().map_or(&source.structure, |target| &target.structure));
        Some(CarriedColumn {
            name,
            source_type: source.sql_type().to_owned(),
            target_type,
            cast: carriage.cast,
            shape,
            collatable: source.collation.is_some(),
            binary: carriage.binary,
            hashes: source.structure.hashes_alike(),
            ordered_alike: source.structure.orders_alike(),
        })
    }

    /// The type of a column that is made, and how values get into it: the model's, or else the source's own.
    fn column_to_be(&mut self, model: &stream::Column, source: &Column) -> Option<(String, Carriage)> {
        let Some(target_type) = model_type(model) else {
            let Some(structure) = counterpart(&source.structure, self.types) else {
                let (wanted, types) = (source.structure.described(), self.types);
                let statements = definitions(&source.structure, types).join(" ");
                let problem =
                    format!("the merge store has no type like {wanted}; make it there: {statements}");
                self.differ(&source.name, problem);
                return None;
            };
            let target = Column { structure, generated: false, collation: None, ..source.clone() };
            return Some((target.sql_type().to_owned(), self.carriage(source, &target)?));
        };
        let own = source.structure.below_domains().sql.clone();
        if !carries(&own, &target_type) {
            let problem = format!(
                "{target_type} does not take every value of the source's {}",
                source.structure.described()
            );
            self.differ(&source.name, problem);
        }
        let cast = (own != target_type).then(|| target_type.clone());
        Some((target_type, Carriage { cast, binary: true }))
    }

    fn carriage(&mut self, source: &Column, target: &Column) -> Option<Carriage> {
        match carry(&source.structure, &target.structure, Sides::INGESTION) {
            Ok(carriage) => Some(carriage),
            Err(difference) => {
                let problem =
                    format!("the merge table's type does not take every value of the source's: {difference}");
                self.differ(&source.name, problem);
                None
            }
        }
    }

    fn keys(&mut self, strategy: Scd) {
        let mut wanted: Vec<String> = self.dataset.key.iter().map(|key| physical_column(key)).collect();
        for key in &wanted {
            // What a view gives is only known when it is read.
            let nullable = self.source.column(key).is_some_and(|column| column.nullable);
            if nullable && self.source.kind.is_lockable() {
                self.differ(key, "a key column is nullable in the source; keys must be NOT NULL");
            }
        }
        if strategy == Scd::Forensic {
            wanted.push(BATCH_IN.to_owned());
        }
        let mut actual = self.merge.map(|merge| merge.primary_key.clone()).unwrap_or_default();
        wanted.sort();
        actual.sort();
        if !actual.is_empty() && actual != wanted {
            let problem = format!(
                "the merge table's key is ({}), it has to be ({})",
                actual.join(", "),
                wanted.join(", ")
            );
            self.differ("primary key", problem);
        }
    }
}

#[cfg(test)]
mod tests;
