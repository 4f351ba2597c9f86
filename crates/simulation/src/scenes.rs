//! Which plan is played next: one whose features met longest ago.

use std::collections::BTreeMap;

use crate::fault::{FaultKind, Phase};
use crate::plan::Plan;
use crate::plan::features::Pair;

/// When each scene was last planned.
#[derive(Debug, Default)]
pub(crate) struct Scenes {
    /// The number of the history that had it last, counted from 1.
    last: BTreeMap<Scene, u64>,
    /// Histories chosen so far.
    chosen: u64,
}

/// Something that a plan sets up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    Pair(Pair),
    Fault(FaultKind, Phase),
}

impl Scenes {
    /// Of plans, the one whose scenes are on average the oldest; of equals the first.
    ///
    /// # Panics
    /// Where there is no plan.
    pub(crate) fn choose(&mut self, plans: impl Iterator<Item = (u64, Plan)>) -> (u64, Plan) {
        let mut best: Option<(u64, (u64, Plan))> = None;
        for (seed, plan) in plans {
            let age = self.age(&plan);
            if best.as_ref().is_none_or(|(oldest, _)| age > *oldest) {
                best = Some((age, (seed, plan)));
            }
        }
        let Some((_, (seed, plan))) = best else { panic!("there is no plan to choose from") };
        self.chosen += 1;
        for scene in scenes(&plan) {
            self.last.insert(scene, self.chosen);
        }
        (seed, plan)
    }

    /// The mean age of a plan's scenes, in thousandths of a history. A mean, so that plans of many features do not win by
    /// their number.
    fn age(&self, plan: &Plan) -> u64 {
        let ages = scenes(plan).map(|scene| self.chosen + 1 - self.last.get(&scene).copied().unwrap_or(0));
        let (sum, count) = ages.fold((0, 0), |(sum, count), age| (sum + age, count + 1));
        (sum * 1_000_u64).checked_div(count).unwrap_or(0)
    }
}

fn scenes(plan: &Plan) -> impl Iterator<Item = Scene> {
    let faults = plan.placed_faults().map(|(fault, phase)| Scene::Fault(fault.kind, phase));
    plan.pairs().into_iter().map(Scene::Pair).chain(faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::generate::{Options, plan};

    #[test]
    fn what_was_just_planned_gives_way_to_what_was_not() {
        let mut scenes = Scenes::default();
        let plans = || [0, 1].into_iter().map(|seed| (seed, plan(seed, &Options::default())));
        let (first, _) = scenes.choose(plans());
        let (second, _) = scenes.choose(plans());
        assert_ne!(first, second);
    }
}
