//! What hands do to a secondary's merge tables behind the worker's back.

use serde::{Deserialize, Serialize};

/// A hand at one of a secondary's merge tables. Where there is no table yet, or nothing in it, it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hand {
    /// What it does.
    pub does: Deed,
    /// Index of the dataset whose table it is; counted round where there are fewer.
    pub dataset: usize,
    /// Which third of the keys it falls on.
    pub third: u16,
}

/// What a hand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Deletes a third of the rows.
    DeleteRows,
    /// Sets a column of a third of the rows to NULL.
    ChangeRows,
    /// Empties the table.
    Truncate,
    /// Drops the table and makes it again, empty.
    Recreate,
    /// A row trigger that gives up what is written to a third of the keys.
    SwallowWrites,
    /// A row trigger that writes NULL to a column of a third of the keys.
    AlterWrites,
    /// A rule by which rows are not deleted.
    KeepDeleted,
    /// Row triggers that change nothing: they must not be noticed.
    WatchWrites,
    /// A view, an index, a right and a comment of people's own: they must stay.
    AddBelongings,
}

impl Deed {
    /// Whether it changes what is there, and not only what is written later.
    pub(crate) fn is_of_rows(self) -> bool {
        matches!(self, Deed::DeleteRows | Deed::ChangeRows | Deed::Truncate | Deed::Recreate)
    }

    /// What is done, as a person reads it.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Deed::DeleteRows => "deletes rows",
            Deed::ChangeRows => "changes rows",
            Deed::Truncate => "empties the table",
            Deed::Recreate => "drops the table and makes it again",
            Deed::SwallowWrites => "adds a trigger that swallows writes",
            Deed::AlterWrites => "adds a trigger that alters writes",
            Deed::KeepDeleted => "adds a rule by which rows are not deleted",
            Deed::WatchWrites => "adds triggers that change nothing",
            Deed::AddBelongings => "adds a view, an index and a right",
        }
    }
}
