//! Finds a smaller plan that still fails.

use std::time::{Duration, Instant};

use proptest::strategy::ValueTree;

use crate::campaign::Ground;
use crate::outcome::{Outcome, Property};
use crate::plan::{Plan, PlanTree};
use crate::run::{Failure, play};

/// Of this many tries at a smaller plan, [`FAILS_MIN`] must fail as the plan does.
const TRIES: usize = 3;
const FAILS_MIN: usize = 2;

/// A smaller plan, and what came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What came of it when it was last played; `None` when nothing smaller failed.
    pub outcome: Option<Outcome>,
    /// Smaller plans that were tried.
    pub tried: u64,
}

/// Shrinks a plan that breaks `property`, for as long as `budget` lasts.
///
/// # Errors
/// When the simulation itself could not go on.
pub async fn shrink(
    ground: &Ground,
    plan: &Plan,
    property: Property,
    budget: Duration,
) -> Result<Shrunk, Failure> {
    let began = Instant::now();
    let mut tree = PlanTree::of(plan.clone());
    let mut shrunk = Shrunk { plan: plan.clone(), outcome: None, tried: 0 };
    while began.elapsed() < budget && tree.simplify() {
        shrunk.tried += 1;
        let smaller = tree.current();
        match fails(ground, &smaller, property).await? {
            Some(outcome) => (shrunk.plan, shrunk.outcome) = (smaller, Some(outcome)),
            None => {
                tree.complicate();
            }
        }
    }
    Ok(shrunk)
}

/// The last failing outcome, if the plan fails often enough.
async fn fails(ground: &Ground, plan: &Plan, property: Property) -> Result<Option<Outcome>, Failure> {
    let (mut failed, mut last) = (0, None);
    for tried in 1..=TRIES {
        let outcome = Box::pin(play(plan, &ground.hall, &ground.worker)).await?;
        if outcome.violation.as_ref().is_some_and(|violation| violation.property == property) {
            failed += 1;
            last = Some(outcome);
        }
        if failed == FAILS_MIN {
            return Ok(last);
        }
        // What is left of the tries could not make up for it.
        if tried - failed > TRIES - FAILS_MIN {
            return Ok(None);
        }
    }
    Ok(None)
}
