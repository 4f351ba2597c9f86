//! What a run came to, as text and as a page.

mod case;
mod lanes;
mod matrix;
mod page;
mod pairs;
mod story;
mod text;
mod timeline;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::campaign::Campaign;
use crate::coverage::Unreachable;
use crate::fault::FaultKind;

pub use case::{Case, Smaller};
pub use story::story;
pub use text::text;

/// Of the pairs of features that may meet, the share that must in a run of [`PAIRS_HISTORIES`] and more.
const PAIRS_FLOOR: f64 = 0.9;
/// Histories, kept plans and the tour among them, in which that many pairs can be expected to meet.
const PAIRS_HISTORIES: u64 = 500;

/// Everything a report tells of.
pub struct Report<'a> {
    /// The command line.
    pub command: String,
    /// What plays a plan of this run again, but for the plan's path: `simulate replay`, with what names the servers.
    pub replay: String,
    /// Seed of the first random history.
    pub seed: u64,
    /// What the servers are.
    pub servers: String,
    /// What was played.
    pub campaign: &'a Campaign,
    /// The failures that are shown; others are only counted.
    pub cases: Vec<Case<'a>>,
    /// Cells that cannot be felt.
    pub unreachable: &'a Unreachable,
    /// Faults that cannot happen on this machine.
    pub without: &'a BTreeSet<FaultKind>,
    /// Whether all of the tour was played, so that an empty cell is a failure.
    pub is_complete: bool,
}

impl Report<'_> {
    /// Whether coverage is what it must be: no reachable cell was missed, none that is called unreachable was felt.
    pub fn is_covered(&self) -> bool {
        let tally = &self.campaign.tally;
        let is_missed = self.is_complete && !tally.missed(self.unreachable, self.without).is_empty();
        !is_missed && tally.surprising(self.unreachable).is_empty() && !self.is_narrow()
    }

    /// Whether fewer pairs of features met than must in a run of this length.
    fn is_narrow(&self) -> bool {
        let tally = &self.campaign.tally;
        self.is_complete && tally.histories >= PAIRS_HISTORIES && tally.share_met() < PAIRS_FLOOR
    }

    /// The run in a sentence.
    pub fn verdict(&self) -> String {
        let tally = &self.campaign.tally;
        match (tally.failures, self.is_covered()) {
            (0, true) => format!(
                "Every promise was kept in {}.",
                case::counted(tally.histories, "history", "histories")
            ),
            (0, false) => {
                let histories = case::counted(tally.histories, "history", "histories");
                format!("Every promise was kept in {histories}, but coverage is not what it must be.")
            }
            (failures, _) => format!("{failures} of {} histories broke a promise.", tally.histories),
        }
    }

    /// The figures of the run, each with its name.
    fn totals(&self) -> Vec<(&'static str, String)> {
        let tally = &self.campaign.tally;
        let seconds = self.campaign.took.as_secs_f64();
        let rate = tally.histories as f64 / seconds.max(0.001);
        vec![
            ("histories", tally.histories.to_string()),
            ("failures", tally.failures.to_string()),
            ("syncs", tally.syncs.to_string()),
            ("comparisons with the model", tally.comparisons.to_string()),
            ("reader samples", tally.samples.to_string()),
            ("faults injected", tally.fired().to_string()),
            ("faults felt", tally.felt().to_string()),
            ("pairs of features that met", pairs::met(tally)),
            ("median without server faults", format!("{} ms", tally.median_ms())),
            ("time taken", format!("{seconds:.1} s")),
            ("rate", format!("{rate:.1} histories/s")),
        ]
    }
}

/// Writes the page.
///
/// # Errors
/// Those of the file system.
pub fn write(report: &Report<'_>, path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, page::page(report).into_string())
}

#[cfg(test)]
mod tests;
