//! Streams: what has batches. A stream is a datastore whose datasets move together, or one dataset of a store whose
//! datasets move on their own.

use crate::model::{self, ColumnType, Consistency, Schema};
use crate::names::{Reserved, physical_column, stream_key};

/// The unit that has batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The store's name, as in the model.
    pub store: String,
    /// The dataset's name where each dataset has batches of its own; none where all of the store's move together.
    pub dataset: Option<String>,
    /// What the stream carries, in the model's order; never empty.
    pub datasets: Vec<Dataset>,
}

/// A dataset with a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Its name, as in the model.
    pub name: String,
    /// All columns in the model's order.
    pub columns: Vec<Column>,
    /// Names of the key columns in the key's order; never empty, and none of them nullable.
    pub key: Vec<String>,
}

/// A column of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, as in the model.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

impl Stream {
    /// The key of the stream in the control tables.
    pub fn key(&self) -> String {
        stream_key(&self.store, self.dataset.as_deref())
    }
}

/// Why a store has no streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Nothing says whether the store's datasets share their batches.
    #[error(
        "datastore {store:?} does not say whether its datasets share their batches: set singleOrMultiDatasetIngestion of its cmd to 0 (each has its own) or 1 (they share them)"
    )]
    NoConsistency {
        /// The store.
        store: String,
    },
    /// The store has nothing to move.
    #[error("datastore {store:?} has no datasets: add one, or leave the store out")]
    NoDatasets {
        /// The store.
        store: String,
    },
    /// A dataset has no columns that Milestream could copy.
    #[error("dataset {store:?}.{dataset:?} has no columns: give it a DDLTable as originalSchema")]
    NoColumns {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
    },
    /// A dataset has no key.
    #[error(
        "dataset {store:?}.{dataset:?} has no key: name the columns that identify a record in primaryKeyColumns"
    )]
    NoKey {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
    },
    /// A key names a column that is not there.
    #[error(
        "the key of dataset {store:?}.{dataset:?} names column {column:?}, which the dataset does not have: add it, or correct the key"
    )]
    UnknownKeyColumn {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
        /// The column.
        column: String,
    },
    /// A key names a column twice.
    #[error("the key of dataset {store:?}.{dataset:?} names column {column:?} twice: name it once")]
    RepeatedKeyColumn {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
        /// The column.
        column: String,
    },
    /// A key column may be NULL.
    #[error(
        "key column {column:?} of dataset {store:?}.{dataset:?} is nullable, and records without a key cannot be told apart: declare it not nullable, or choose another key"
    )]
    NullableKey {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
        /// The column.
        column: String,
    },
    /// Two columns would be one in Postgres.
    #[error(
        "columns {first:?} and {second:?} of dataset {store:?}.{dataset:?} are the same column in Postgres, which clips names at 63 bytes: rename one"
    )]
    SameColumn {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
        /// The one column.
        first: String,
        /// The other.
        second: String,
    },
    /// A column has a name that it cannot have in a table.
    #[error("column {column:?} of dataset {store:?}.{dataset:?} {}: {}", .reserved.reason(), Reserved::REMEDY)]
    ReservedColumn {
        /// The store.
        store: String,
        /// The dataset.
        dataset: String,
        /// The column.
        column: String,
        /// Who has the name already.
        reserved: Reserved,
    },
}

/// The streams of a store: one for all of its datasets, or one for each.
///
/// # Errors
/// The first reason why they could not be moved; [`lint`](crate::lint::lint) reports all of them.
pub fn streams_of(store: &model::Datastore) -> Result<Vec<Stream>, StreamError> {
    let consistency = store.command.as_ref().and_then(|command| command.consistency);
    let consistency = consistency.ok_or_else(|| StreamError::NoConsistency { store: store.name.clone() })?;
    let datasets =
        store.datasets.iter().map(|dataset| keyed(&store.name, dataset)).collect::<Result<Vec<_>, _>>()?;
    if datasets.is_empty() {
        return Err(StreamError::NoDatasets { store: store.name.clone() });
    }
    let stream = |dataset, datasets| Stream { store: store.name.clone(), dataset, datasets };
    Ok(match consistency {
        Consistency::MultiDataset => vec![stream(None, datasets)],
        Consistency::SingleDataset => {
            datasets.into_iter().map(|dataset| stream(Some(dataset.name.clone()), vec![dataset])).collect()
        }
    })
}

/// The dataset with its key, each of whose columns is there once and never NULL.
fn keyed(store: &str, dataset: &model::Dataset) -> Result<Dataset, StreamError> {
    let (store, name) = (store.to_owned(), dataset.name.clone());
    let columns = match &dataset.schema {
        Schema::Table { columns, .. } if !columns.is_empty() => columns,
        _ => return Err(StreamError::NoColumns { store, dataset: name }),
    };
    if let Some((first, second)) = clash(columns) {
        return Err(StreamError::SameColumn { store, dataset: name, first, second });
    }
    if let Some((column, reserved)) = columns.iter().find_map(reserved) {
        return Err(StreamError::ReservedColumn { store, dataset: name, column, reserved });
    }
    let key = dataset.schema.key();
    if key.is_empty() {
        return Err(StreamError::NoKey { store, dataset: name });
    }
    for (index, column) in key.iter().enumerate() {
        let (store, dataset, named) = (store.clone(), name.clone(), column.clone());
        if key[..index].contains(column) {
            return Err(StreamError::RepeatedKeyColumn { store, dataset, column: named });
        }
        match columns.iter().find(|known| known.name == *column) {
            None => return Err(StreamError::UnknownKeyColumn { store, dataset, column: named }),
            Some(known) if known.nullable => {
                return Err(StreamError::NullableKey { store, dataset, column: named });
            }
            Some(_) => {}
        }
    }
    let column = |column: &model::Column| Column {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        nullable: column.nullable,
    };
    Ok(Dataset { name, columns: columns.iter().map(column).collect(), key })
}

/// The column's name, and who has it already.
fn reserved(column: &model::Column) -> Option<(String, Reserved)> {
    let reserved = Reserved::of(&physical_column(&column.name))?;
    Some((column.name.clone(), reserved))
}

/// Two columns that Postgres could not tell apart.
fn clash(columns: &[model::Column]) -> Option<(String, String)> {
    let mut seen = std::collections::HashMap::new();
    columns.iter().find_map(|column| {
        let first: &model::Column = seen.insert(physical_column(&column.name), column)?;
        Some((first.name.clone(), column.name.clone()))
    })
}
