//! Compares the model, the primary's catalog and the secondary's before anything is read or written.

mod comparison;
mod equality;
mod mending;

use std::collections::BTreeSet;
use std::fmt;

use md5::{Digest, Md5};
use milestream_core::milestone::PrimaryBatch;
use milestream_core::names::physical_column;
use milestream_core::stream::Dataset;

use crate::pair::{Holding, Pair, SecondaryNames};
use crate::postgres::catalog::{Column, Index, Table};
use crate::postgres::sql::ident;
use crate::structure::Candidate;
use comparison::Comparison;
pub(crate) use comparison::{missing_names, shape_of};
pub(crate) use mending::Mend;
#[cfg(test)]
pub(crate) use mending::Server;

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
    /// Statements that mend it, in order; none where it takes a person to decide.
    pub(crate) mends: Vec<Mend>,
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
            mends: Vec::new(),
        }
    }
}

/// Differences as an error shows them, one a line, each with the statements that mend it. A statement that mends several
/// stands below the first, as it can be run once only.
pub(crate) fn table_of(differences: &[Difference]) -> String {
    let mends = mends_once(differences);
    let told = differences.iter().zip(mends).flat_map(|(difference, mends)| {
        let mends = mends.into_iter().map(|mend| format!("    {mend}"));
        [difference.to_string()].into_iter().chain(mends).collect::<Vec<_>>()
    });
    told.collect::<Vec<_>>().join("\n")
}

/// For each difference the statements that mend it and that no difference before it has named.
pub(crate) fn mends_once(differences: &[Difference]) -> Vec<Vec<String>> {
    let mut told = BTreeSet::new();
    let of = |difference: &Difference| {
        let mends = difference.mends.iter().map(ToString::to_string);
        mends.filter(|mend| told.insert(mend.clone())).collect()
    };
    differences.iter().map(of).collect()
}

/// Pairs a dataset's tables up, or says why they do not go together. `types` are those of the secondary that bear the
/// names of [`missing_names`].
#[expect(clippy::too_many_arguments, reason = "both sides, and how the secondary wants to be")]
pub(crate) fn pair(
    platform: &str,
    store: &str,
    dataset: &Dataset,
    holding: Holding,
    interchange: bool,
    primary: &Table,
    secondary: Option<Table>,
    types: &[Candidate],
) -> Result<Pair, Vec<Difference>> {
    let secondary_table = ident(&SecondaryNames::of(platform, store, &dataset.name).merge);
    let mut comparison = Comparison::of(dataset, primary, secondary.as_ref(), types, secondary_table);
    comparison.milestones(holding);
    comparison.extra_columns();
    comparison.cascades();
    let columns = dataset.columns.iter().filter_map(|column| comparison.column(&column.name)).collect();
    comparison.keys();
    let found = comparison.into_found();
    if !found.is_empty() {
        return Err(found);
    }
    let key: Vec<_> = dataset.key.iter().map(|key| physical_column(key)).collect();
    Ok(Pair {
        dataset: dataset.name.clone(),
        holding,
        primary_table: primary.qualified(),
        columns,
        leads_to_versions: primary.indexes.iter().any(|index| leads_from(&key, index)),
        key,
        names: SecondaryNames::of(platform, store, &dataset.name),
        existing: secondary,
        interchange,
    })
}

/// Whether an index begins with all columns of a key, in any order, and has every row.
fn leads_from(key: &[String], index: &Index) -> bool {
    let is_whole = !index.definition.to_lowercase().contains(" where ");
    is_whole
        && index.columns.get(..key.len()).is_some_and(|first| key.iter().all(|name| first.contains(name)))
}

/// MD5 of each dataset's columns, types and key as the model spells them, for `schema_versions`.
pub(crate) fn versions<'d>(
    datasets: impl IntoIterator<Item = &'d Dataset>,
) -> serde_json::Map<String, serde_json::Value> {
    let version = |dataset: &Dataset| {
        let columns = dataset
            .columns
            .iter()
            .map(|column| format!("{} {} {}", column.name, column.column_type, column.nullable));
        let text = columns.chain(dataset.key.iter().cloned()).collect::<Vec<_>>().join("\n");
        let digest = Md5::digest(text.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    datasets.into_iter().map(|dataset| (dataset.name.clone(), version(dataset).into())).collect()
}

pub(crate) fn describe(column: &Column) -> String {
    let described = column.structure.described();
    if column.nullable { described } else { format!("{described} not null") }
}
