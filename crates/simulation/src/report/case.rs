//! A failure as a report shows it, and where its plans are.

use std::path::{Path, PathBuf};

use crate::campaign::Failed;
use crate::plan::{Change, Plan};
use crate::shrink::Shrunk;

/// A failure that is shown.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// The failure.
    pub failed: &'a Failed,
    /// Where its plan is, as it was played.
    pub plan: PathBuf,
    /// The smaller plan, if one was looked for.
    pub smaller: Option<Smaller>,
}

/// What a failing plan was shrunk to.
#[derive(Clone, Debug)]
pub struct Smaller {
    /// The plan and what came of it.
    pub shrunk: Shrunk,
    /// Where the plan is kept.
    pub path: PathBuf,
}

impl Case<'_> {
    /// The plan to look at first: the smaller one, where there is one.
    pub fn shortest(&self) -> &Path {
        self.smaller.as_ref().map_or(&self.plan, |smaller| &smaller.path)
    }
}

impl Smaller {
    /// How far the plan got smaller, in words.
    pub(super) fn size(&self) -> String {
        let tried = counted(self.shrunk.tried, "plan was tried", "plans were tried");
        match self.shrunk.outcome {
            Some(_) => format!("{} ({tried})", size(&self.shrunk.plan)),
            None => format!("nothing smaller fails as often ({tried})"),
        }
    }
}

/// How large a plan is, in words.
pub(super) fn size(plan: &Plan) -> String {
    let changes: Vec<&Change> = plan.history.iter().flat_map(|batch| &batch.changes).collect();
    [
        sized(plan.datasets.len(), "dataset", "datasets"),
        sized(plan.primaries.len(), "primary", "primaries"),
        sized(plan.secondaries.len(), "secondary", "secondaries"),
        sized(plan.history.len(), "batch", "batches"),
        sized(changes.len(), "change", "changes"),
        sized(plan.schedule.len(), "act", "acts"),
        sized(plan.faults().count(), "fault", "faults"),
    ]
    .join(", ")
}

fn sized(count: usize, one: &str, many: &str) -> String {
    counted(u64::try_from(count).unwrap_or(u64::MAX), one, many)
}

/// A number with its noun.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
