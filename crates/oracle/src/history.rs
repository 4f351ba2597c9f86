//! One table of a primary: for each key the changes it went through, batch by batch.

use std::collections::BTreeMap;
use std::ops::Add;
use std::sync::Arc;

use crate::row::{Cell, LIVE, Row, Shape, Version};

/// A table of a [`Primary`](crate::Primary) with everything that ever happened to it.
#[derive(Clone, Debug)]
pub struct TableHistory {
    shape: Shape,
    changes: BTreeMap<Vec<Cell>, Vec<Change>>,
}

/// The columns of a record since a batch, `None` if the batch removed it. Shared, since states are copied
/// often.
type Columns = Option<Arc<Vec<Cell>>>;

#[derive(Clone, Debug)]
struct Change {
    batch: i32,
    columns: Columns,
}

/// What batch_metrics must record for a batch of a forensic primary.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct BatchCounts {
    /// Versions opened: new records, and new versions of old ones (`records_inserted`).
    pub opened: u64,
    /// Versions closed because the record changed (`records_updated`).
    pub closed_changed: u64,
    /// Versions closed because the record is gone (`records_deleted`).
    pub closed_gone: u64,
}

/// How the live rows of two batches differ: what batch_metrics must record for a sync of a secondary, and for
/// a batch of a live-only platform.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyCounts {
    /// Keys that were not there before (`records_inserted`).
    pub new: u64,
    /// Keys whose other columns differ (`records_updated`).
    pub changed: u64,
    /// Keys that are no longer there (`records_deleted`).
    pub gone: u64,
}

impl TableHistory {
    pub(crate) fn new(shape: Shape) -> TableHistory {
        TableHistory { shape, changes: BTreeMap::new() }
    }

    /// The names of the table and its columns.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The rows live at the end of `batch`, by key. Before the first batch there are none.
    pub fn live_at(&self, batch: i32) -> Vec<Row> {
        let row = |(key, changes): (&Vec<Cell>, &Vec<Change>)| {
            let columns = columns_at(changes, batch).as_ref()?.to_vec();
            Some(Row { key: key.clone(), columns })
        };
        self.changes.iter().filter_map(row).collect()
    }

    /// The versions that a mirror holds after `batch`, by key and `batch_in`: what later batches did is not
    /// yet to be seen.
    pub fn versions_at(&self, batch: i32) -> Vec<Version> {
        let mut versions = Vec::new();
        for (key, changes) in &self.changes {
            let seen: Vec<&Change> = changes.iter().take_while(|change| change.batch <= batch).collect();
            for (index, change) in seen.iter().enumerate() {
                let Some(columns) = &change.columns else { continue };
                versions.push(Version {
                    row: Row { key: key.clone(), columns: columns.to_vec() },
                    batch_in: change.batch,
                    batch_out: seen.get(index + 1).map_or(LIVE, |next| next.batch - 1),
                });
            }
        }
        versions
    }

    /// The versions that `batch` opened and closed.
    pub fn counts_of(&self, batch: i32) -> BatchCounts {
        let mut counts = BatchCounts::default();
        for changes in self.changes.values() {
            if !changes.iter().any(|change| change.batch == batch) {
                continue;
            }
            match (columns_at(changes, batch - 1), columns_at(changes, batch)) {
                (None, _) => counts.opened += 1,
                (Some(_), Some(_)) => {
                    counts.opened += 1;
                    counts.closed_changed += 1;
                }
                (Some(_), None) => counts.closed_gone += 1,
            }
        }
        counts
    }

    /// How the rows live at `through` differ from those live at `after`; from an empty table if `after` is
    /// before the first batch. A key that is back with the columns it had is none of the three; see
    /// [`Self::keys_rewritten`].
    pub fn changes_between(&self, after: i32, through: i32) -> KeyCounts {
        let mut counts = KeyCounts::default();
        for changes in self.changes.values() {
            match (columns_at(changes, after), columns_at(changes, through)) {
                (None, Some(_)) => counts.new += 1,
                (Some(_), None) => counts.gone += 1,
                (Some(before), Some(now)) if before != now => counts.changed += 1,
                _ => {}
            }
        }
        counts
    }

    /// Keys whose version live at `through` is another than that live at `after`, though its columns are the
    /// same: they changed, or were gone, and came back.
    pub fn keys_rewritten(&self, after: i32, through: i32) -> u64 {
        let rewritten = |changes: &&Vec<Change>| {
            let before = columns_at(changes, after);
            before.is_some()
                && before == columns_at(changes, through)
                && changes.iter().any(|change| after < change.batch && change.batch <= through)
        };
        self.changes.values().filter(rewritten).count() as u64
    }

    pub(crate) fn columns_at(&self, key: &[Cell], batch: i32) -> Option<&Vec<Cell>> {
        columns_at(self.changes.get(key)?, batch).as_deref()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.changes.keys()
    }

    /// Takes in what `batch` left of a record, if that is anything new.
    pub(crate) fn record(&mut self, batch: i32, key: Vec<Cell>, columns: Option<Vec<Cell>>) {
        if self.columns_at(&key, batch) != columns.as_ref() {
            self.changes.entry(key).or_default().push(Change { batch, columns: columns.map(Arc::new) });
        }
    }
}

fn columns_at(changes: &[Change], batch: i32) -> &Columns {
    changes.iter().rev().find(|change| change.batch <= batch).map_or(&None, |change| &change.columns)
}

impl Add for BatchCounts {
    type Output = BatchCounts;

    fn add(self, other: BatchCounts) -> BatchCounts {
        BatchCounts {
            opened: self.opened + other.opened,
            closed_changed: self.closed_changed + other.closed_changed,
            closed_gone: self.closed_gone + other.closed_gone,
        }
    }
}

impl Add for KeyCounts {
    type Output = KeyCounts;

    fn add(self, other: KeyCounts) -> KeyCounts {
        KeyCounts {
            new: self.new + other.new,
            changed: self.changed + other.changed,
            gone: self.gone + other.gone,
        }
    }
}
