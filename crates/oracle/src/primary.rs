//! A primary: the tables of one stream, and the batches that move them together.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

use crate::history::{BatchCounts, KeyCounts, TableHistory};
use crate::row::{Cell, Row, Shape};

/// What a batch does to one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Adds a record whose key is not there.
    Insert(Row),
    /// Gives a record that is there new columns.
    Update(Row),
    /// Removes the record that has this key.
    Delete(Vec<Cell>),
}

/// An operation that no source database would have carried out. The batch it came in changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// The primary has no table of this name.
    UnknownTable(String),
    /// The number of cells is not that of the table's columns.
    WrongWidth(String, Row),
    /// A key with a NULL in it.
    NullInKey(String, Vec<Cell>),
    /// An insert of a key that is there, or a snapshot with the key twice.
    AlreadyThere(String, Vec<Cell>),
    /// An update or delete of a key that is not there.
    NotThere(String, Vec<Cell>),
}

/// The tables of one stream with all their batches, numbered one after the other.
#[derive(Clone, Debug)]
pub struct Primary {
    tables: BTreeMap<String, TableHistory>,
    newest_batch: i32,
}

/// What a batch leaves of the records that it names.
type Outcome = BTreeMap<Vec<Cell>, Option<Vec<Cell>>>;

impl Primary {
    /// A primary with empty tables and no batch. The first one will have the id 1.
    pub fn new(shapes: impl IntoIterator<Item = Shape>) -> Primary {
        let table = |shape: Shape| (shape.table.clone(), TableHistory::new(shape));
        Primary { tables: shapes.into_iter().map(table).collect(), newest_batch: 0 }
    }

    /// The same, but the next batch will have the id `next`: for primaries that began their numbering
    /// elsewhere.
    #[must_use]
    pub fn numbered_from(mut self, next: i32) -> Primary {
        assert!(next > self.newest_batch, "batch {next} is taken: the newest is {}", self.newest_batch);
        self.newest_batch = next - 1;
        self
    }

    /// The batch committed last; before the first one, the id before that.
    pub fn newest_batch(&self) -> i32 {
        self.newest_batch
    }

    /// The tables, by name.
    pub fn tables(&self) -> impl Iterator<Item = &TableHistory> {
        self.tables.values()
    }

    /// The table called `name`.
    ///
    /// # Panics
    /// When there is none.
    pub fn table(&self, name: &str) -> &TableHistory {
        self.tables.get(name).unwrap_or_else(|| panic!("this primary has no table called {name:?}"))
    }

    /// Commits a batch of operations, each with the table it goes to, and returns the batch's id. They are
    /// carried out in order; the batch sees what is left at its end, as a snapshot of the source does. A
    /// record that ends as it began has no new version.
    pub fn commit<'a>(
        &mut self,
        operations: impl IntoIterator<Item = (&'a str, Operation)>,
    ) -> Result<i32, Mistake> {
        let mut outcomes: BTreeMap<&str, Outcome> = BTreeMap::new();
        for (name, operation) in operations {
            let table = self.tables.get(name).ok_or_else(|| Mistake::UnknownTable(name.to_owned()))?;
            carry_out(table, self.newest_batch, outcomes.entry(name).or_default(), operation)?;
        }
        Ok(self.record(outcomes))
    }

    /// Commits a batch that finds the tables with exactly these rows; tables not named stay as they are.
    /// Returns the batch's id.
    pub fn commit_snapshot<'a>(
        &mut self,
        contents: impl IntoIterator<Item = (&'a str, Vec<Row>)>,
    ) -> Result<i32, Mistake> {
        let mut outcomes = BTreeMap::new();
        for (name, rows) in contents {
            let table = self.tables.get(name).ok_or_else(|| Mistake::UnknownTable(name.to_owned()))?;
            let mut outcome: Outcome = table.keys().map(|key| (key.clone(), None)).collect();
            let mut met = BTreeSet::new();
            for row in rows {
                check(table.shape(), &row)?;
                if !met.insert(row.key.clone()) {
                    return Err(Mistake::AlreadyThere(name.to_owned(), row.key));
                }
                outcome.insert(row.key, Some(row.columns));
            }
            outcomes.insert(name, outcome);
        }
        Ok(self.record(outcomes))
    }

    /// What batch_metrics must record for `batch`, over all tables.
    pub fn counts_of(&self, batch: i32) -> BatchCounts {
        self.tables()
            .map(|table| table.counts_of(batch))
            .fold(BatchCounts::default(), |sum, counts| sum + counts)
    }

    /// How the live rows of all tables differ between two batches.
    pub fn changes_between(&self, after: i32, through: i32) -> KeyCounts {
        let counts = self.tables().map(|table| table.changes_between(after, through));
        counts.fold(KeyCounts::default(), |sum, counts| sum + counts)
    }

    fn record(&mut self, outcomes: BTreeMap<&str, Outcome>) -> i32 {
        self.newest_batch += 1;
        for (name, outcome) in outcomes {
            let table = self.tables.get_mut(name).expect("outcomes are of tables that were found");
            for (key, columns) in outcome {
                table.record(self.newest_batch, key, columns);
            }
        }
        self.newest_batch
    }
}

fn carry_out(
    table: &TableHistory,
    newest: i32,
    outcome: &mut Outcome,
    operation: Operation,
) -> Result<(), Mistake> {
    let is_insert = matches!(operation, Operation::Insert(_));
    let (key, columns) = match operation {
        Operation::Insert(row) | Operation::Update(row) => {
            check(table.shape(), &row)?;
            (row.key, Some(row.columns))
        }
        Operation::Delete(key) => (key, None),
    };
    let is_there = match outcome.get(&key) {
        Some(columns) => columns.is_some(),
        None => table.columns_at(&key, newest).is_some(),
    };
    let name = || table.shape().table.clone();
    match (is_insert, is_there) {
        (true, true) => Err(Mistake::AlreadyThere(name(), key)),
        (false, false) => Err(Mistake::NotThere(name(), key)),
        (true, false) | (false, true) => {
            outcome.insert(key, columns);
            Ok(())
        }
    }
}

fn check(shape: &Shape, row: &Row) -> Result<(), Mistake> {
    if !shape.fits(row) {
        return Err(Mistake::WrongWidth(shape.table.clone(), row.clone()));
    }
    if row.key.iter().any(Option::is_none) {
        return Err(Mistake::NullInKey(shape.table.clone(), row.key.clone()));
    }
    Ok(())
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::UnknownTable(table) => write!(f, "no table is called {table:?}"),
            Mistake::WrongWidth(table, row) => {
                write!(f, "{table}: a row has not as many cells as the table has columns: {row:?}")
            }
            Mistake::NullInKey(table, key) => write!(f, "{table}: a key has a NULL: {key:?}"),
            Mistake::AlreadyThere(table, key) => write!(f, "{table}: the key is there already: {key:?}"),
            Mistake::NotThere(table, key) => write!(f, "{table}: no record has the key {key:?}"),
        }
    }
}

impl Error for Mistake {}

#[cfg(test)]
mod tests;
