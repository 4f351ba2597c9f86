//! The brute-force model: whole snapshots of a table, batch by batch, and nothing else.
//!
//! What a delta or a state must be is answered from the snapshots alone. The merge table itself is written as
//! a primary writes it, opening and closing rows, so that it can be read while later batches are still to
//! come.

use std::collections::{BTreeMap, BTreeSet};

use milestream_core::delta::Version;
use milestream_core::milestone::{Interval, LIVE, PrimaryBatch};
use proptest::prelude::*;

/// Few keys and contents, so that they meet often.
pub(crate) const KEYS: std::ops::Range<u8> = 0..6;

pub(crate) type Snapshot = BTreeMap<u8, u8>;
pub(crate) type Table = Vec<Version<u8, u8>>;
/// What a batch writes: a content, or `None` to delete.
pub(crate) type Batch = Vec<(u8, Option<u8>)>;

/// The snapshots after each batch; index 0 is the empty table before batch 1.
#[derive(Clone, Debug)]
pub(crate) struct History(Vec<Snapshot>);

pub(crate) fn batch() -> impl Strategy<Value = Batch> {
    prop::collection::vec((KEYS, prop::option::weighted(0.6, 0..3_u8)), 0..6)
}

pub(crate) fn batches() -> impl Strategy<Value = Vec<Batch>> {
    prop::collection::vec(batch(), 3..12)
}

impl History {
    pub(crate) fn new(batches: &[Batch]) -> History {
        let mut snapshots = vec![Snapshot::new()];
        for batch in batches {
            let mut next = snapshots[snapshots.len() - 1].clone();
            for &(key, content) in batch {
                match content {
                    Some(content) => next.insert(key, content),
                    None => next.remove(&key),
                };
            }
            snapshots.push(next);
        }
        History(snapshots)
    }

    pub(crate) fn last(&self) -> usize {
        self.0.len() - 1
    }

    pub(crate) fn snapshot(&self, batch: usize) -> &Snapshot {
        &self.0[batch]
    }

    /// The keys that a batch changed in any way.
    pub(crate) fn touched(&self, batch: usize) -> BTreeSet<u8> {
        let (before, after) = (&self.0[batch - 1], &self.0[batch]);
        KEYS.filter(|key| before.get(key) != after.get(key)).collect()
    }

    /// Key, batch_in, batch_out and content of all that a mirror holds at the end of `at`.
    pub(crate) fn mirrored(&self, at: usize) -> BTreeSet<(u8, i32, i32, u8)> {
        let mut held = BTreeSet::new();
        for opened in 1..=at {
            for key in self.touched(opened) {
                if let Some(&content) = self.0[opened].get(&key) {
                    let end = (opened + 1..=at).find(|&later| self.touched(later).contains(&key));
                    held.insert((key, id(opened).0, end.map_or(LIVE, |end| id(end).0 - 1), content));
                }
            }
        }
        held
    }

    /// The merge table as a primary has it once `newest` is committed.
    pub(crate) fn merge_table(&self, newest: usize) -> Table {
        let mut table = Table::new();
        for batch in 1..=newest {
            for key in self.touched(batch) {
                let mut live =
                    table.iter_mut().filter(|row| row.key == key && row.interval.batch_out().0 == LIVE);
                if let Some(row) = live.next() {
                    row.interval = Interval::new(row.interval.batch_in(), PrimaryBatch(id(batch).0 - 1));
                }
                if let Some(&content) = self.0[batch].get(&key) {
                    table.push(Version { key, interval: Interval::live_from(id(batch)), content });
                }
            }
        }
        table
    }
}

pub(crate) fn id(batch: usize) -> PrimaryBatch {
    PrimaryBatch(i32::try_from(batch).expect("histories are short"))
}
