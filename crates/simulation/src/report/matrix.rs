//! The coverage matrix: what each of its cells has to say, for text and page alike.

use std::collections::BTreeMap;

use super::Report;
use crate::fault::{FaultKind, Phase};
use crate::outcome::Hits;

/// What a cell has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    /// The fault cannot happen on this machine.
    Impossible,
    /// The list says why the fault cannot be felt here, and it was not.
    Unreachable(Hits, &'a str),
    /// The list says why the fault cannot be felt here, and it was.
    Surprising(Hits, &'a str),
    /// The fault was felt.
    Felt(Hits),
    /// The fault was not felt, though the run went to every cell.
    Missed(Hits),
    /// The fault was not felt, in a run that did not go to every cell.
    Unvisited(Hits),
}

impl Report<'_> {
    /// What is to be said of a cell.
    pub(super) fn cell(&self, kind: FaultKind, phase: Phase) -> Cell<'_> {
        let hits = self.campaign.tally.hits(kind, phase);
        match self.unreachable.reason(kind, phase) {
            Some(reason) if hits.felt > 0 => Cell::Surprising(hits, reason),
            Some(reason) => Cell::Unreachable(hits, reason),
            None if hits.felt > 0 => Cell::Felt(hits),
            None if self.without.contains(&kind) => Cell::Impossible,
            None if self.is_complete => Cell::Missed(hits),
            None => Cell::Unvisited(hits),
        }
    }

    /// Cells that should have been felt, or not, and were not, or were.
    pub(super) fn missed(&self) -> Vec<(FaultKind, Phase)> {
        self.campaign.tally.missed(self.unreachable, self.without)
    }

    /// Cells that were felt though the list says that they cannot be.
    pub(super) fn surprising(&self) -> Vec<(FaultKind, Phase)> {
        self.campaign.tally.surprising(self.unreachable)
    }
}

impl Cell<'_> {
    /// `felt/fired`, with a mark where something is wrong.
    pub(super) fn text(self) -> String {
        match self {
            Cell::Impossible => String::new(),
            Cell::Unreachable(..) => "·".to_owned(),
            Cell::Surprising(hits, _) => format!("?{}", ratio(hits)),
            Cell::Felt(hits) => ratio(hits),
            Cell::Missed(hits) => format!("!{}", ratio(hits)),
            Cell::Unvisited(Hits { fired: 0, .. }) => "-".to_owned(),
            Cell::Unvisited(hits) => ratio(hits),
        }
    }

    /// What the cell says, in a sentence.
    pub(super) fn meaning(self) -> String {
        let fired = |hits: Hits| format!("injected {} times, felt {} times", hits.fired, hits.felt);
        match self {
            Cell::Impossible => "cannot happen on this machine".to_owned(),
            Cell::Unreachable(hits, reason) => format!("called unreachable: {reason} ({})", fired(hits)),
            Cell::Surprising(hits, reason) => format!("{}, though called unreachable: {reason}", fired(hits)),
            Cell::Felt(hits) => fired(hits),
            Cell::Missed(hits) => format!("missed: {}", fired(hits)),
            Cell::Unvisited(hits) => format!("{}; this run did not go to every cell", fired(hits)),
        }
    }
}

/// Cells by fault, so that a list of them is short: `latency: plan, idle`.
pub(super) fn by_fault(cells: &[(FaultKind, Phase)]) -> Vec<String> {
    let mut phases: BTreeMap<FaultKind, Vec<&str>> = BTreeMap::new();
    for (kind, phase) in cells {
        phases.entry(*kind).or_default().push(phase.name());
    }
    phases.into_iter().map(|(kind, phases)| format!("{kind}: {}", phases.join(", "))).collect()
}

fn ratio(hits: Hits) -> String {
    format!("{}/{}", short(hits.felt), short(hits.fired))
}

/// Four digits and more would make the matrix wider than a screen.
fn short(count: u64) -> String {
    if count < 1000 { count.to_string() } else { format!("{}k", count / 1000) }
}
