//! Coverage: which fault was felt in which phase, and which cells cannot be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::fault::{FaultKind, Phase};
use crate::outcome::{Hits, Matrix, Outcome, Sometimes};
use crate::plan::features::{Feature, Pair};
use crate::plan::{Plan, tour};

/// Cells that cannot be felt, each with its reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unreachable(BTreeMap<(FaultKind, Phase), String>);

/// As the file has it: for each fault, phases with the reason that they share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cells: Vec<Cells>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cells {
    fault: FaultKind,
    phases: Vec<Phase>,
    reason: String,
}

/// A list of unreachable cells that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used: {reason}")]
pub struct UnreachableError {
    path: String,
    reason: String,
}

impl Unreachable {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is not there, names what there is not, gives no reason, or is more than a quarter of all cells.
    pub fn read(path: &Path) -> Result<Unreachable, UnreachableError> {
        let failed = |reason: String| UnreachableError { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Unreachable::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Unreachable, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut cells = BTreeMap::new();
        for Cells { fault, phases, reason } in file.cells {
            if reason.trim().is_empty() {
                return Err(format!("{fault} has no reason"));
            }
            for phase in phases {
                if cells.insert((fault, phase), reason.clone()).is_some() {
                    return Err(format!("{fault} at {phase} is there twice"));
                }
            }
        }
        let most = FaultKind::ALL.len() * Phase::ALL.len() / 4;
        if cells.len() > most {
            return Err(format!("{} cells are called unreachable, at most {most} may be", cells.len()));
        }
        Ok(Unreachable(cells))
    }

    /// The project's own list.
    ///
    /// # Errors
    /// See [`Unreachable::read`].
    pub fn known() -> Result<Unreachable, UnreachableError> {
        let parsed = Unreachable::parse(include_str!("../../../fixtures/unreachable.toml"));
        parsed.map_err(|reason| UnreachableError { path: "fixtures/unreachable.toml".to_owned(), reason })
    }

    /// Why a cell cannot be reached; `None` when it can.
    pub fn reason(&self, kind: FaultKind, phase: Phase) -> Option<&str> {
        self.0.get(&(kind, phase)).map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What all histories of a run came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Hits by fault and phase.
    pub matrix: Matrix,
    /// What must happen now and then, and how often it did.
    pub sometimes: BTreeMap<Sometimes, u64>,
    /// Histories that had a feature, and kept every promise.
    pub features: BTreeMap<Feature, u64>,
    /// Histories in which two features met, and that kept every promise.
    pub pairs: BTreeMap<Pair, u64>,
    /// Histories played.
    pub histories: u64,
    /// Of these, the ones that broke a promise.
    pub failures: u64,
    /// Syncs committed.
    pub syncs: u64,
    /// Comparisons of a whole secondary with the model.
    pub comparisons: u64,
    /// Samples of concurrent readers.
    pub samples: u64,
    /// Milliseconds each history without server faults took.
    pub plain_ms: Vec<u64>,
}

impl Tally {
    /// Takes an outcome in.
    pub fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        if outcome.violation.is_none() {
            for feature in plan.features() {
                *self.features.entry(feature).or_default() += 1;
            }
            for pair in plan.pairs() {
                *self.pairs.entry(pair).or_default() += 1;
            }
        }
        for (cell, hits) in &outcome.matrix {
            let sum = self.matrix.entry(*cell).or_default();
            sum.fired += hits.fired;
            sum.felt += hits.felt;
        }
        for sometimes in &outcome.sometimes {
            *self.sometimes.entry(*sometimes).or_default() += 1;
        }
        self.histories += 1;
        self.failures += u64::from(outcome.violation.is_some());
        self.syncs += outcome.syncs;
        self.comparisons += outcome.comparisons;
        self.samples += outcome.samples;
        if !plan.needs_own_servers() {
            self.plain_ms.push(outcome.took_ms);
        }
    }

    /// Faults injected.
    pub fn fired(&self) -> u64 {
        self.matrix.values().map(|hits| hits.fired).sum()
    }

    /// Faults felt.
    pub fn felt(&self) -> u64 {
        self.matrix.values().map(|hits| hits.felt).sum()
    }

    /// The hits of a cell.
    pub fn hits(&self, kind: FaultKind, phase: Phase) -> Hits {
        self.matrix.get(&(kind, phase)).copied().unwrap_or_default()
    }

    /// The median time of a history without server faults, in milliseconds.
    pub fn median_ms(&self) -> u64 {
        let mut times = self.plain_ms.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// Cells that could be felt and were not; `without` cannot happen on this machine.
    pub fn missed(
        &self,
        unreachable: &Unreachable,
        without: &BTreeSet<FaultKind>,
    ) -> Vec<(FaultKind, Phase)> {
        tour::cells()
            .filter(|(kind, phase)| !without.contains(kind) && unreachable.reason(*kind, *phase).is_none())
            .filter(|(kind, phase)| self.hits(*kind, *phase).felt == 0)
            .collect()
    }

    /// Of all pairs of features that may meet, the share that met in this run, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "pairs are some hundreds")]
    pub fn share_met(&self) -> f64 {
        let met = Feature::pairs().filter(|pair| self.pairs.contains_key(pair)).count();
        met as f64 / Feature::pairs().count() as f64
    }

    /// Pairs of features that may meet and did not.
    pub fn not_met(&self) -> Vec<Pair> {
        Feature::pairs().filter(|pair| !self.pairs.contains_key(pair)).collect()
    }

    /// Cells that were felt though they are called unreachable.
    pub fn surprising(&self, unreachable: &Unreachable) -> Vec<(FaultKind, Phase)> {
        tour::cells()
            .filter(|(kind, phase)| unreachable.reason(*kind, *phase).is_some())
            .filter(|(kind, phase)| self.hits(*kind, *phase).felt > 0)
            .collect()
    }

    /// What must happen now and then and never did.
    pub fn never(&self) -> Vec<Sometimes> {
        Sometimes::ALL.into_iter().filter(|sometimes| !self.sometimes.contains_key(sometimes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_a_reason_or_too_long_a_list_is_refused() {
        let cells = |phases: &str, reason: &str| {
            format!("[[cells]]\nfault = \"latency\"\nphases = [{phases}]\nreason = \"{reason}\"\n")
        };
        let listed = Unreachable::parse(&cells("\"idle\", \"plan\"", "nothing is running")).unwrap();
        assert_eq!(listed.reason(FaultKind::Latency, Phase::Idle), Some("nothing is running"));
        assert_eq!(listed.reason(FaultKind::Latency, Phase::Merge), None);
        assert!(Unreachable::parse(&cells("\"idle\"", " ")).unwrap_err().contains("no reason"));
        assert!(Unreachable::parse(&cells("\"idle\", \"idle\"", "x")).unwrap_err().contains("twice"));
        let all = Phase::ALL.map(|phase| format!("\"{phase}\"")).join(", ");
        let many: String = FaultKind::ALL[..7]
            .iter()
            .map(|kind| format!("[[cells]]\nfault = \"{kind}\"\nphases = [{all}]\nreason = \"x\"\n"))
            .collect();
        assert!(Unreachable::parse(&many).unwrap_err().contains("at most"));
    }

    #[test]
    fn a_cell_that_only_fired_is_missed_and_one_that_was_felt_against_the_list_is_told() {
        let mut tally = Tally::default();
        tally.matrix.insert((FaultKind::Latency, Phase::Idle), Hits { fired: 3, felt: 0 });
        tally.matrix.insert((FaultKind::Latency, Phase::Plan), Hits { fired: 1, felt: 1 });
        let nothing = Unreachable::default();
        let missed = tally.missed(&nothing, &BTreeSet::new());
        assert!(missed.contains(&(FaultKind::Latency, Phase::Idle)));
        assert!(!missed.contains(&(FaultKind::Latency, Phase::Plan)));
        let listed = Unreachable(BTreeMap::from([((FaultKind::Latency, Phase::Plan), "x".to_owned())]));
        assert_eq!(tally.surprising(&listed), [(FaultKind::Latency, Phase::Plan)]);
    }
}
