//! What is known of a secondary's stream: what its last commit left, and what the sync in flight was planned for.

use std::collections::{BTreeMap, BTreeSet};

use milestream_oracle::{Primary, Row};

use super::hands::{ByHand, Rows};
use super::judging::{Books, Written};
use super::primary::{PrimaryState, StreamState};
use super::secondary::Follower;
use crate::forensic::Table;

/// What is known of a stream.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What its last commit left.
    pub(crate) held: Option<Held>,
    /// What the sync in flight was planned for.
    pub(crate) capture: Option<Capture>,
    /// Chunks that were done, by generation and number.
    pub(crate) done: BTreeSet<(i32, i32)>,
    /// Whether a trigger or a rule that changes what is written stands at one of its tables.
    pub(super) is_meddled_with: bool,
    /// Whether a person allowed the next run whatever it deletes.
    pub(super) may_delete: bool,
    /// Datasets that the model has again, with tables from before.
    pub(super) returned: BTreeSet<String>,
    /// Whether the stream was reset on purpose since its last commit.
    pub(crate) was_reset: bool,
    /// Digests of all tables that a reader may have seen, by watermark.
    pub(crate) digests: BTreeMap<i32, BTreeSet<String>>,
    /// Watermarks and digests that readers saw.
    pub(crate) samples: BTreeSet<(Option<i32>, String)>,
    /// Batches that were not committed and told of another watermark than the stream's, as readers saw them.
    pub(crate) ahead: BTreeSet<String>,
    /// What was written down of its syncs.
    pub(super) books: Books,
    /// How its tables are made, by table; empty until it is looked at, and where a person changed it.
    pub(super) structures: BTreeMap<String, String>,
}

impl Ledger {
    /// The datasets that a seed is of, where these are those alone that came to the model.
    pub(super) fn came(&self, tables: &[Table], capture: &Capture) -> Vec<String> {
        if self.was_reset || self.held.is_none() || capture.from.is_some() {
            return Vec::new();
        }
        let names = tables.iter().map(|table| table.name().to_owned());
        names.filter(|name| !self.holds(name)).collect()
    }

    /// Whether the last commit left one of the tables out.
    pub(super) fn lacks_any(&self, tables: &[Table]) -> bool {
        tables.iter().any(|table| !self.holds(table.name()))
    }

    /// Whether the last commit left a table.
    pub(super) fn holds(&self, table: &str) -> bool {
        self.held.as_ref().is_some_and(|held| held.rows.contains_key(table))
    }
}

impl Follower {
    /// A person made tables otherwise: how they are is looked at anew.
    pub(super) async fn forget_structures(&self) {
        self.ledger.lock().await.structures.clear();
    }
}

/// What a commit left.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) watermark: i32,
    /// Restores of the primary that had happened when it was read.
    pub(super) restores: usize,
    /// Versions closed before this batch were gone when the secondary was seeded.
    pub(super) pruned_before: i32,
    pub(super) rows: Rows,
    /// The live rows among them.
    pub(super) live: BTreeMap<String, Vec<Row>>,
    /// The batches that wrote the rows of a live-only table.
    pub(super) written: Written,
    /// What hands did to it since.
    pub(super) by_hand: Option<ByHand>,
}

/// When a commit is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before anything else happens.
    AtOnce,
    /// When the next sync has been planned, and its chunks are there.
    Later,
}

/// The primary as it was when a sync was planned.
#[derive(Clone)]
pub(crate) struct Capture {
    pub(crate) generation: i32,
    pub(crate) from: Option<i32>,
    pub(crate) to: i32,
    pub(super) oracle: Primary,
    pub(super) restores: usize,
    pub(super) pruned_before: i32,
    /// See [`PrimaryState::disturbances`].
    pub(crate) disturbances: u64,
}

impl Capture {
    pub(crate) fn of(
        primary: &PrimaryState,
        key: &str,
        generation: i32,
        from: Option<i32>,
        to: i32,
    ) -> Capture {
        let StreamState { oracle, restored_to, pruned_before, .. } = primary.stream(key);
        let (restores, pruned_before) = (restored_to.len(), *pruned_before);
        let disturbances = primary.disturbances();
        Capture { generation, from, to, oracle: oracle.clone(), restores, pruned_before, disturbances }
    }

    /// Whether a key came and went within its range, and left nothing.
    pub(crate) fn has_inserted_and_deleted(&self) -> bool {
        let Some(from) = self.from else { return false };
        self.oracle.tables().any(|table| {
            let versions = table.versions_at(self.to).into_iter();
            let keys: BTreeSet<_> = versions
                .filter(|version| version.batch_in > from && version.batch_out < self.to)
                .map(|version| version.row.key)
                .collect();
            let of =
                |batch: i32| table.live_at(batch).into_iter().map(|row| row.key).collect::<BTreeSet<_>>();
            let there: BTreeSet<_> = of(from).union(&of(self.to)).cloned().collect();
            keys.iter().any(|key| !there.contains(key))
        })
    }
}
