//! `max_delete_fraction`: a sync that would delete more of a table halts, and no other does.

use std::collections::BTreeSet;

use super::super::ledger::{Capture, Ledger};
use super::super::secondary::{Follower, SecondaryState};

impl SecondaryState {
    /// The share of a table's rows that a sync of a stream may delete, 0 to 1.
    pub(crate) fn delete_fraction(&self, ledger: &Ledger) -> f64 {
        if ledger.may_delete { 1.0 } else { self.plan.limits.delete_fraction() }
    }

    /// What an increment deletes more than it may, in a sentence. Nothing is said of a seed, nor of tables that hands were
    /// at.
    pub(crate) fn too_many_deletes(
        &self,
        follower: &Follower,
        ledger: &Ledger,
        capture: &Capture,
    ) -> Option<String> {
        let held = ledger.held.as_ref().filter(|held| capture.from == Some(held.watermark))?;
        if ledger.was_reset || ledger.is_by_hand() {
            return None;
        }
        let fraction = self.delete_fraction(ledger);
        follower.tables().iter().find_map(|table| {
            let live = capture.oracle.table(table.name()).live_at(capture.to);
            let live: BTreeSet<_> = live.iter().map(|row| &row.key).collect();
            let before = held.live.get(table.name())?;
            let gone = before.iter().filter(|row| !live.contains(&row.key)).count();
            let is_too_much = share(gone, before.len()) > fraction;
            is_too_much.then(|| format!("deletes {gone} of {} rows of {}", before.len(), table.name()))
        })
    }

    /// Whether the worker may refuse what the sync in flight would delete.
    pub(crate) async fn may_refuse_deletes(&self, follower: &Follower) -> bool {
        let ledger = follower.ledger.lock().await;
        // Of a stream that was reset, a seed deletes what is not the primary's.
        let is_unknown = ledger.was_reset || ledger.is_by_hand();
        let capture = ledger.capture.as_ref();
        self.delete_fraction(&ledger) < 1.0
            && (is_unknown
                || capture.is_some_and(|capture| self.too_many_deletes(follower, &ledger, capture).is_some()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of a history are few")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
