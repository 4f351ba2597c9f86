//! Many histories, several at a time: regressions first, then the tour, then random ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::coverage::Tally;
use crate::outcome::{Outcome, Violation};
use crate::plan::generate::{self, Options};
use crate::plan::{Plan, PlanError, tour};
use crate::run::{Failure, Hall, WorkerBinary, play};
use crate::scenes::Scenes;

/// Where histories are played, and by which worker.
#[derive(Clone)]
pub struct Ground {
    /// The servers.
    pub hall: Arc<Hall>,
    /// The worker's binary, for histories in which it is killed.
    pub worker: WorkerBinary,
    /// Histories at a time.
    pub side_by_side: usize,
}

/// A history to be played.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is called: a file, a cell of the tour, a seed.
    pub name: String,
    /// What will happen.
    pub plan: Plan,
}

/// A history that broke a promise.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which history.
    pub item: Item,
    /// How many had been played, this one included.
    pub number: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// What was broken.
    pub violation: Violation,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// Sums over all histories.
    pub tally: Tally,
    /// Histories that broke a promise.
    pub failed: Vec<Failed>,
    /// The last history without a violation that had a fault, for the report's timeline.
    pub example: Option<(Item, Outcome)>,
    /// How long it took.
    pub took: Duration,
}

/// When a campaign ends before all is played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// No history begins after this long.
    pub budget: Option<Duration>,
    /// Whether the first failure ends it.
    pub fail_fast: bool,
}

/// Told of each history that is over.
pub type Progress<'a> = dyn FnMut(&Tally, &Item, &Outcome) + Send + 'a;

/// Plays histories; each that is over is told to `progress`.
///
/// # Errors
/// When the simulation itself could not go on, with the history's name.
pub async fn run(
    ground: &Ground,
    items: impl IntoIterator<Item = Item>,
    bounds: Bounds,
    progress: &mut Progress<'_>,
) -> Result<Campaign, CampaignError> {
    let began = Instant::now();
    let is_over = |campaign: &Campaign| {
        bounds.budget.is_some_and(|budget| began.elapsed() > budget)
            || (bounds.fail_fast && !campaign.failed.is_empty())
    };
    let mut campaign = Campaign::default();
    let mut items = items.into_iter();
    let mut playing = JoinSet::new();
    loop {
        while playing.len() < ground.side_by_side.max(1)
            && !is_over(&campaign)
            && let Some(item) = items.next()
        {
            let ground = ground.clone();
            playing.spawn(async move {
                let outcome = Box::pin(play(&item.plan, &ground.hall, &ground.worker)).await;
                (item, outcome)
            });
        }
        let Some(played) = playing.join_next().await else { break };
        let (item, outcome) = played.map_err(|panic| CampaignError::Panicked(panic.to_string()))?;
        let outcome = outcome.map_err(|source| CampaignError::Failure { name: item.name.clone(), source })?;
        campaign.take_in(item, outcome, progress);
    }
    campaign.took = began.elapsed();
    Ok(campaign)
}

impl Campaign {
    fn take_in(&mut self, item: Item, outcome: Outcome, progress: &mut Progress<'_>) {
        self.tally.add(&item.plan, &outcome);
        progress(&self.tally, &item, &outcome);
        match outcome.violation.clone() {
            Some(violation) => {
                let number = self.tally.histories;
                self.failed.push(Failed { item, number, outcome, violation });
            }
            None if !outcome.matrix.is_empty() => self.example = Some((item, outcome)),
            None => {}
        }
    }

    /// Adds what another campaign came to.
    pub fn join(&mut self, other: Campaign) {
        let Campaign { tally, failed, example, took } = other;
        for (cell, hits) in tally.matrix {
            let sum = self.tally.matrix.entry(cell).or_default();
            (sum.fired, sum.felt) = (sum.fired + hits.fired, sum.felt + hits.felt);
        }
        for (sometimes, count) in tally.sometimes {
            *self.tally.sometimes.entry(sometimes).or_default() += count;
        }
        for (feature, count) in tally.features {
            *self.tally.features.entry(feature).or_default() += count;
        }
        for (pair, count) in tally.pairs {
            *self.tally.pairs.entry(pair).or_default() += count;
        }
        self.tally.histories += tally.histories;
        self.tally.failures += tally.failures;
        self.tally.syncs += tally.syncs;
        self.tally.comparisons += tally.comparisons;
        self.tally.samples += tally.samples;
        self.tally.plain_ms.extend(tally.plain_ms);
        self.failed.extend(failed);
        self.example = example.or(self.example.take());
        self.took += took;
    }
}

/// A campaign that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// A history's own machinery.
    #[error("{name}: {source}")]
    Failure {
        /// The history.
        name: String,
        /// What did not work.
        source: Failure,
    },
    /// The simulation panicked.
    #[error("the simulation panicked: {0}")]
    Panicked(String),
}

/// The plans that failed once and are kept.
///
/// # Errors
/// When one cannot be read; a directory that is not there has none.
pub fn regressions(directory: &Path) -> Result<Vec<Item>, PlanError> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let item = |path: PathBuf| Ok(Item { name: path.display().to_string(), plan: Plan::read(&path)? });
    paths.into_iter().map(item).collect()
}

/// One history for each cell of the matrix that can happen on this machine.
pub fn tour(options: &Options) -> impl Iterator<Item = Item> + use<> {
    let without = options.without.clone();
    tour::cells().filter(move |(kind, _)| !without.contains(kind)).map(|(kind, phase)| {
        let plan = tour::cell(kind, phase);
        Item { name: plan.note.clone(), plan }
    })
}

/// Seeds that are looked at for each random history that is played.
pub const SEEDS_A_HISTORY: u64 = 3;

/// Random histories, of this seed and those behind it: of each [`SEEDS_A_HISTORY`] the one whose features met longest ago.
/// The same first seed gives the same histories.
pub fn random(seed: u64, count: u64, options: &Options) -> impl Iterator<Item = Item> + use<> {
    let options = options.clone();
    let mut scenes = Scenes::default();
    (0..count).map(move |number| {
        let seeds = (0..SEEDS_A_HISTORY).map(|nth| seed.wrapping_add(number * SEEDS_A_HISTORY + nth));
        let plans = seeds.map(|seed| (seed, generate::plan(seed, &options)));
        let (seed, plan) = scenes.choose(plans);
        Item { name: format!("seed {seed}"), plan }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::features::Feature;

    #[test]
    fn three_hundred_histories_bring_nine_pairs_of_ten_together() {
        let met: BTreeSet<_> =
            random(1, 300, &Options::default()).flat_map(|item| item.plan.pairs()).collect();
        let all = Feature::pairs().count();
        assert!(met.len() * 10 >= all * 9, "{} of {all}", met.len());
    }
}
