//! What changes between two batches, stated over versions in memory.
//!
//! This is the meaning of a sync without its means: the statements that the worker sends must select the same
//! rows. Everything is a function of milestones alone, and milestones at or before Y never change again, so a
//! delta is the same however far the primary has moved on when it is read.

use std::collections::{BTreeMap, BTreeSet};

use crate::milestone::{BatchRange, Interval, PrimaryBatch};

/// One row of a forensic merge table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version<K, V> {
    /// The values of the model's key columns.
    pub key: K,
    /// The batches in which this version was live.
    pub interval: Interval,
    /// The values of the other columns.
    pub content: V,
}

/// The rows live at a batch, by key.
pub type LiveState<K, V> = BTreeMap<K, V>;

/// Versions by what identifies them in a forensic merge table: key and `batch_in`.
pub type MirrorState<K, V> = BTreeMap<(K, PrimaryBatch), Held<V>>;

/// A version as a mirror holds it, under its key and `batch_in`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held<V> {
    /// The last batch in which the version was live, or LIVE, as of the batch of the state or delta it stands
    /// in.
    pub batch_out: PrimaryBatch,
    /// The values of the columns outside the key.
    pub content: V,
}

/// What a live-only or conflating secondary needs to go from X to Y: each key at most once, in one of the
/// two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetDelta<K, V> {
    /// Rows live at Y that a batch of the range wrote.
    pub upserts: BTreeMap<K, V>,
    /// Keys live at X and no longer at Y.
    pub deletes: BTreeSet<K>,
}

/// What a mirror needs to go from X to Y: versions to insert, and versions it holds that are to be closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullDelta<K, V> {
    /// Versions that a batch of the range opened, as of Y.
    pub opened: MirrorState<K, V>,
    /// Versions opened at X or before that a batch of the range closed.
    pub closures: MirrorState<K, V>,
}

/// The rows live at `at`.
///
/// # Panics
/// When two versions of a key are live at `at`: no sequence of batches leads there.
pub fn live_state<'a, K, V>(
    versions: impl IntoIterator<Item = &'a Version<K, V>>,
    at: PrimaryBatch,
) -> LiveState<K, V>
where
    K: Ord + Clone + 'a,
    V: Clone + 'a,
{
    let mut state = LiveState::new();
    for version in versions.into_iter().filter(|version| version.interval.live_at(at)) {
        let other = state.insert(version.key.clone(), version.content.clone());
        assert!(other.is_none(), "two versions of one key are live at batch {at}");
    }
    state
}

/// Every version that `at` or an earlier batch opened, as of `at`.
pub fn mirror_state<'a, K, V>(
    versions: impl IntoIterator<Item = &'a Version<K, V>>,
    at: PrimaryBatch,
) -> MirrorState<K, V>
where
    K: Ord + Clone + 'a,
    V: Clone + 'a,
{
    versions
        .into_iter()
        .filter(|version| version.interval.batch_in() <= at)
        .map(|version| held(version, at))
        .collect()
}

impl<K: Ord + Clone, V: Clone> NetDelta<K, V> {
    /// The net delta over `range`. A key that was inserted and deleted inside the range leaves nothing; one
    /// that was deleted and inserted again is an upsert.
    pub fn over<'a>(
        versions: impl IntoIterator<Item = &'a Version<K, V>>,
        range: BatchRange,
    ) -> NetDelta<K, V>
    where
        K: 'a,
        V: 'a,
    {
        let mut delta = NetDelta { upserts: BTreeMap::new(), deletes: BTreeSet::new() };
        for Version { key, interval, content } in versions {
            if interval.opened(range) && interval.live_at(range.through()) {
                delta.upserts.insert(key.clone(), content.clone());
            }
            if interval.live_at(range.after()) && interval.closed(range) {
                delta.deletes.insert(key.clone());
            }
        }
        // The version live at X is closed, so one that is live at Y was opened inside the range: it is among
        // the upserts.
        delta.deletes.retain(|key| !delta.upserts.contains_key(key));
        delta
    }

    /// Brings `state` from X to Y. Applying a delta again changes nothing.
    pub fn apply(&self, state: &mut LiveState<K, V>) {
        state.retain(|key, _| !self.deletes.contains(key));
        state.extend(self.upserts.iter().map(|(key, content)| (key.clone(), content.clone())));
    }

    /// This delta and then `later`, which begins where this one ends, as one. Its upserts are those of the
    /// delta over both ranges. Its deletes may name, beyond those, keys that this delta inserted: an upsert
    /// does not tell whether its key was there before, and to delete a key that is not there does nothing.
    pub fn then(mut self, later: &NetDelta<K, V>) -> NetDelta<K, V> {
        later.apply(&mut self.upserts);
        self.deletes.extend(later.deletes.iter().cloned());
        self.deletes.retain(|key| !later.upserts.contains_key(key));
        self
    }
}

impl<K: Ord + Clone, V: Clone> FullDelta<K, V> {
    /// The full delta over `range`. A version opened and closed inside the range is among the opened ones,
    /// closed.
    pub fn over<'a>(
        versions: impl IntoIterator<Item = &'a Version<K, V>>,
        range: BatchRange,
    ) -> FullDelta<K, V>
    where
        K: 'a,
        V: 'a,
    {
        let mut delta = FullDelta { opened: BTreeMap::new(), closures: BTreeMap::new() };
        for version in versions {
            let interval = version.interval;
            if interval.opened(range) {
                delta.opened.extend([held(version, range.through())]);
            } else if interval.closed(range) {
                // Closed but not opened in the range: opened at X or before.
                delta.closures.extend([held(version, range.through())]);
            }
        }
        delta
    }

    /// Brings `state` from X to Y. Applying a delta again changes nothing.
    pub fn apply(&self, state: &mut MirrorState<K, V>) {
        for (id, version) in self.closures.iter().chain(&self.opened) {
            state.insert(id.clone(), version.clone());
        }
    }

    /// This delta and then `later`, which begins where this one ends, as one: exactly the delta over both
    /// ranges.
    pub fn then(mut self, later: &FullDelta<K, V>) -> FullDelta<K, V> {
        for (id, closed) in &later.closures {
            let versions = if self.opened.contains_key(id) { &mut self.opened } else { &mut self.closures };
            versions.insert(id.clone(), closed.clone());
        }
        self.opened.extend(later.opened.iter().map(|(id, version)| (id.clone(), version.clone())));
        self
    }
}

fn held<K: Clone, V: Clone>(version: &Version<K, V>, at: PrimaryBatch) -> ((K, PrimaryBatch), Held<V>) {
    let interval = version.interval.as_of(at);
    let held = Held { batch_out: interval.batch_out(), content: version.content.clone() };
    ((version.key.clone(), interval.batch_in()), held)
}

#[cfg(test)]
mod tests;
