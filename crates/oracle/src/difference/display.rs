//! Differences as text that a person can read: few rows, short cells, NULL told from ''.

use std::fmt;

use super::{ColumnDifference, Difference, Differences};
use crate::row::Cell;

/// How many differences are shown when nobody says how many.
const SHOWN: usize = 10;
/// How many characters of a cell are shown.
const CELL_CHARS: usize = 40;
/// How many equal characters are shown before the first that differs.
const CONTEXT_CHARS: usize = 10;

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first(SHOWN).fmt(f)
    }
}

/// Differences as text with a number of their own to spell out.
struct First<'a> {
    differences: &'a Differences,
    shown: usize,
}

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.differences.as_slice();
        let [missing, unexpected, different] = counts(found);
        let table = &self.differences.shape.table;
        write!(f, "{table}: {missing} missing, {unexpected} unexpected, {different} different")?;
        for one in found.iter().take(self.shown) {
            write!(f, "\n  {}", self.differences.line(one))?;
        }
        match found.len().saturating_sub(self.shown) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

/// How many are missing, unexpected, different.
fn counts(found: &[Difference]) -> [usize; 3] {
    found.iter().fold([0; 3], |[missing, unexpected, different], one| match one {
        Difference::Missing(_) => [missing + 1, unexpected, different],
        Difference::Unexpected(_) => [missing, unexpected + 1, different],
        Difference::Different { .. } => [missing, unexpected, different + 1],
    })
}

impl Differences {
    /// The differences as text, with the first `shown` of them spelled out.
    pub fn first(&self, shown: usize) -> impl fmt::Display {
        First { differences: self, shown }
    }

    fn line(&self, found: &Difference) -> String {
        let key = |key: &[Cell]| named(&self.shape.key, key);
        let columns = |columns: &[Cell]| named(&self.shape.columns, columns);
        match found {
            Difference::Missing(row) => format!("missing     {}: {}", key(&row.key), columns(&row.columns)),
            Difference::Unexpected(row) => {
                format!("unexpected  {}: {}", key(&row.key), columns(&row.columns))
            }
            Difference::Different { key: of, columns } => {
                let columns: Vec<String> = columns.iter().map(expectation).collect();
                format!("different   {}: {}", key(of), columns.join(", "))
            }
        }
    }
}

fn named(names: &[String], cells: &[Cell]) -> String {
    let named = names.iter().zip(cells).map(|(name, cell)| format!("{name}={}", excerpt(cell, 0)));
    named.collect::<Vec<_>>().join(", ")
}

fn expectation(found: &ColumnDifference) -> String {
    let ColumnDifference { column, expected, actual } = found;
    let from = first_unequal(expected, actual).saturating_sub(CONTEXT_CHARS);
    format!("{column} expected {}, found {}", excerpt(expected, from), excerpt(actual, from))
}

/// How many characters two cells begin with in common.
fn first_unequal(expected: &Cell, actual: &Cell) -> usize {
    let (Some(expected), Some(actual)) = (expected, actual) else { return 0 };
    expected.chars().zip(actual.chars()).take_while(|(expected, actual)| expected == actual).count()
}

/// The cell in quotes; of a long one the characters from `from` on, and its size.
fn excerpt(cell: &Cell, from: usize) -> String {
    let Some(text) = cell else { return "NULL".to_owned() };
    if text.chars().count() <= CELL_CHARS {
        return format!("'{}'", text.escape_debug());
    }
    let shown: String = text.chars().skip(from).take(CELL_CHARS).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if from + CELL_CHARS < text.chars().count() { "…" } else { "" };
    format!("'{before}{}{after}' ({} bytes)", shown.escape_debug(), text.len())
}
