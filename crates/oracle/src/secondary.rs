//! A secondary: what its merge tables must hold after each of its syncs.

use std::collections::BTreeMap;

use crate::history::KeyCounts;
use crate::primary::Primary;
use crate::row::{Row, Shape, Version};

/// What a secondary keeps of its primary.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Holding {
    /// The rows that are live at the watermark.
    LiveOnly,
    /// Every version as of the watermark, under the primary's batch ids.
    Mirror,
    /// A history of its own, under batch ids of its own, of the states that its syncs brought.
    Conflate,
}

/// The merge tables of a secondary for one stream. What it holds stays as its last sync left it, whatever
/// becomes of the primary.
#[derive(Clone, Debug)]
pub struct Secondary {
    holding: Holding,
    watermark: Option<i32>,
    /// The live rows that each sync brought, one batch a sync.
    own: Primary,
    /// Of a mirror, the versions by table.
    mirrored: BTreeMap<String, Vec<Version>>,
}

/// What a sync must leave in the secondary's batch_metrics.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The id of the local batch: for a mirror the primary's, for others the next of its own, from 1 on.
    pub local_batch: i32,
    /// Keys new, changed and gone since the sync before, over all tables.
    pub keys: KeyCounts,
}

impl Secondary {
    /// A secondary of `primary`'s tables that has not been seeded.
    pub fn new(holding: Holding, primary: &Primary) -> Secondary {
        let own = Primary::new(primary.tables().map(|table| table.shape().clone()));
        Secondary { holding, watermark: None, own, mirrored: BTreeMap::new() }
    }

    /// The primary's batch whose state the secondary holds; `None` before the seed.
    pub fn watermark(&self) -> Option<i32> {
        self.watermark
    }

    /// Commits a sync, seed or increment, that brings all tables to the primary's state at `through`.
    ///
    /// # Panics
    /// When the primary has other tables than the one that the secondary was made for.
    pub fn sync(&mut self, primary: &Primary, through: i32) -> Synced {
        let live = primary.tables().map(|table| (table.shape().table.as_str(), table.live_at(through)));
        let synced = self.own.commit_snapshot(live);
        let batch =
            synced.unwrap_or_else(|mistake| panic!("the rows of a primary fit its secondary: {mistake}"));
        if self.holding == Holding::Mirror {
            let versions =
                primary.tables().map(|table| (table.shape().table.clone(), table.versions_at(through)));
            self.mirrored = versions.collect();
        }
        self.watermark = Some(through);
        Synced {
            local_batch: if self.holding == Holding::Mirror { through } else { batch },
            keys: self.own.changes_between(batch - 1, batch),
        }
    }

    /// What the merge table must hold now, as plain rows with the names of their columns: for a live-only
    /// secondary the records, for others the versions as [`Version::into_row`] writes them.
    ///
    /// # Panics
    /// When there is no such table.
    pub fn expected(&self, table: &str) -> (Shape, Vec<Row>) {
        let history = self.own.table(table);
        let newest = self.own.newest_batch();
        let versions = match self.holding {
            Holding::LiveOnly => return (history.shape().clone(), history.live_at(newest)),
            Holding::Mirror => self.mirrored.get(table).cloned().unwrap_or_default(),
            Holding::Conflate => history.versions_at(newest),
        };
        (history.shape().of_versions(), versions.into_iter().map(Version::into_row).collect())
    }
}

#[cfg(test)]
mod tests;
