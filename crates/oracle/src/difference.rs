//! The differences between the rows that should be there and those that are, both ways.

mod display;

use std::collections::BTreeMap;

use crate::row::{Cell, Row, Shape};

/// One difference between expected and actual rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// A row that should be there.
    Missing(Row),
    /// A row that should not be there, or not once more.
    Unexpected(Row),
    /// A row whose key is there with other columns.
    Different {
        /// The key on both sides.
        key: Vec<Cell>,
        /// The columns that differ, at least one.
        columns: Vec<ColumnDifference>,
    },
}

/// A column that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnDifference {
    /// Its name.
    pub column: String,
    /// The cell that should be there.
    pub expected: Cell,
    /// The cell that is there.
    pub actual: Cell,
}

/// All differences of a table, by key. As text it says how many there are of each sort and shows the first
/// ten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Differences {
    shape: Shape,
    found: Vec<Difference>,
}

impl Differences {
    /// Whether the two sides are equal.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Each of them, by key.
    pub fn as_slice(&self) -> &[Difference] {
        &self.found
    }
}

/// Compares two sets of rows of one shape, in any order. A row that is there twice on one side is there
/// twice: the second needs an equal one on the other side as well.
///
/// # Panics
/// When a row has not as many cells as the shape has names.
pub fn differences<'a>(
    shape: &Shape,
    expected: impl IntoIterator<Item = &'a Row>,
    actual: impl IntoIterator<Item = &'a Row>,
) -> Differences {
    let mut by_key: BTreeMap<&[Cell], Sides<'a>> = BTreeMap::new();
    for row in expected {
        by_key.entry(key(shape, row)).or_default().expected.push(row);
    }
    for row in actual {
        by_key.entry(key(shape, row)).or_default().actual.push(row);
    }
    let found = by_key.into_values().flat_map(|sides| sides.differences(shape)).collect();
    Differences { shape: shape.clone(), found }
}

fn key<'a>(shape: &Shape, row: &'a Row) -> &'a [Cell] {
    assert!(shape.fits(row), "a row of {} does not fit its {shape:?}: {row:?}", shape.table);
    &row.key
}

/// The rows of one key. More than one on a side is an error in itself, but not of this code.
#[derive(Default)]
struct Sides<'a> {
    expected: Vec<&'a Row>,
    actual: Vec<&'a Row>,
}

impl Sides<'_> {
    fn differences(mut self, shape: &Shape) -> Vec<Difference> {
        self.expected.retain(|row| match self.actual.iter().position(|other| other == row) {
            Some(equal) => {
                self.actual.swap_remove(equal);
                false
            }
            None => true,
        });
        let paired = self.expected.len().min(self.actual.len());
        let missing = self.expected.split_off(paired);
        let unexpected = self.actual.split_off(paired);
        let different = self
            .expected
            .into_iter()
            .zip(self.actual)
            .map(|(expected, actual)| different(shape, expected, actual));
        different
            .chain(missing.into_iter().cloned().map(Difference::Missing))
            .chain(unexpected.into_iter().cloned().map(Difference::Unexpected))
            .collect()
    }
}

fn different(shape: &Shape, expected: &Row, actual: &Row) -> Difference {
    let cells = expected.columns.iter().zip(&actual.columns);
    let differing = shape.columns.iter().zip(cells).filter(|(_, (expected, actual))| expected != actual);
    let columns = differing.map(|(column, (expected, actual))| ColumnDifference {
        column: column.clone(),
        expected: expected.clone(),
        actual: actual.clone(),
    });
    Difference::Different { key: expected.key.clone(), columns: columns.collect() }
}

#[cfg(test)]
mod tests;
