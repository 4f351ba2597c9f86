//! Settings of a worker that bound what it does.

use milestream_worker::sync::Tuning;
use serde::{Deserialize, Serialize};

/// A rate and bounds of load that no history comes near: the worker then measures, and waits for nothing.
const RATE: f64 = 500e6;
const LAG: u64 = 1 << 40;
const ACTIVE: u64 = 10_000;

/// Bounds of a secondary's worker, where people set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `max_delete_fraction`, in percent.
    pub deletes_percent: u8,
    /// Whether it has a rate and bounds of its servers' load.
    pub is_throttled: bool,
    /// Whether live-only tables are unique on the key hash.
    pub interchange: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { deletes_percent: 100, is_throttled: false, interchange: false }
    }
}

impl Limits {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn are_default(&self) -> bool {
        *self == Limits::default()
    }

    /// The share of a table's rows that one sync may delete, 0 to 1.
    pub(crate) fn delete_fraction(self) -> f64 {
        f64::from(self.deletes_percent) / 100.0
    }

    /// The settings with these bounds.
    pub(crate) fn on(self, tuning: Tuning) -> Tuning {
        Tuning {
            max_delete_fraction: self.delete_fraction(),
            interchange: self.interchange,
            max_rate: self.is_throttled.then_some(RATE),
            pause_replication_lag: self.is_throttled.then_some(LAG),
            pause_active_sessions: self.is_throttled.then_some(ACTIVE),
            ..tuning
        }
    }
}
