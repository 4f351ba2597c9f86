//! Failing plans are kept, where the next run finds and plays them first.

use std::path::{Path, PathBuf};

use super::Trouble;
use crate::campaign::Failed;
use crate::outcome::Violation;
use crate::plan::Plan;

/// Where plans are kept in the project.
pub(super) const REGRESSIONS: &str = "fixtures/regressions";

/// Writes a plan that failed; where it is.
pub(super) fn keep(directory: &Path, failed: &Failed, plan: &Plan) -> Result<PathBuf, Trouble> {
    std::fs::create_dir_all(directory)?;
    let name: String = failed
        .item
        .name
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".json")
        .chars()
        .map(|letter| if letter.is_alphanumeric() { letter } else { '-' })
        .collect();
    // A kept plan that fails again keeps its name.
    let prefix = format!("{}-", failed.violation.property);
    let name = name.strip_prefix(&prefix).unwrap_or(&name);
    let path = directory.join(format!("{prefix}{name}.json"));
    let first = |violation: &Violation| violation.what.lines().next().unwrap_or_default().to_owned();
    let note = format!("{}: {}", failed.violation.property, first(&failed.violation));
    let plan = Plan { note, ..plan.clone() };
    std::fs::write(&path, plan.to_json())?;
    Ok(path)
}
