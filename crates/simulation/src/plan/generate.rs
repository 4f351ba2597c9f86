//! Random plans, as a strategy of proptest: the same seed gives the same plan, and failing ones shrink.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::{NewTree, Strategy as Generator};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::habits::Habit;
use super::limits::Limits;
use super::names::{COLUMNS, DATASETS, STORES};
use super::premises::Premises;
use super::values::{KEY_KINDS, KINDS, Kind};
use super::{
    Act, Change, ColumnPlan, Cue, DatasetPlan, Formula, Keeps, Plan, PlanTree, PrimaryPlan, SecondaryPlan,
    Strategy, Verify, What, Writer,
};
use crate::fault::FaultKind;

/// What random plans are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Secondaries at most; at least one.
    pub secondaries_max: usize,
    /// Whether anything goes wrong.
    pub faults: bool,
    /// Kinds of faults that cannot happen on this machine.
    pub without: BTreeSet<FaultKind>,
    /// Habits of people that every history has; the others are drawn.
    pub habits: BTreeSet<Habit>,
    /// Habits that nobody can have on this machine.
    pub without_habits: BTreeSet<Habit>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            secondaries_max: 4,
            faults: true,
            without: BTreeSet::new(),
            habits: BTreeSet::new(),
            without_habits: BTreeSet::new(),
        }
    }
}

/// Plans of these options.
#[derive(Clone, Debug)]
pub struct Histories(pub Options);

impl Generator for Histories {
    type Tree = PlanTree;
    type Value = Plan;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let author = Author { rng: runner.rng(), options: &self.0 };
        Ok(PlanTree::of(author.plan()))
    }
}

/// The plan of a seed.
pub fn plan(seed: u64, options: &Options) -> Plan {
    let mut bytes = [0; 32];
    for (at, byte) in seed.to_le_bytes().into_iter().cycle().take(32).enumerate() {
        bytes[at] = byte ^ u8::try_from(at).unwrap_or(0);
    }
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let plan = Author { rng: &mut rng, options }.plan();
    Plan { seed, ..plan }
}

/// The names of the platforms.
const PRIMARIES: [&str; 2] = ["Hub", "Spare"];
const SECONDARIES: [&str; 4] = ["Edge", "Archive", "Branch", "Vault"];

/// Writes one plan.
pub(super) struct Author<'a> {
    pub(super) rng: &'a mut TestRng,
    pub(super) options: &'a Options,
}

impl Author<'_> {
    fn plan(mut self) -> Plan {
        let writer_is_worker = self.chance(22);
        let mut datasets = self.datasets(writer_is_worker);
        let primaries = self.primaries(writer_is_worker);
        let mut secondaries = self.secondaries(primaries.len());
        let is_direct = self.options.faults && !writer_is_worker;
        let goes_back = is_direct && self.chance(10);
        let disturbed = (is_direct && self.chance(25)).then(|| self.below(secondaries.len()));
        let batches =
            3 + self.small(7) + if goes_back { 5 } else { 0 } + if disturbed.is_some() { 2 } else { 0 };
        if let Some(index) = disturbed {
            let secondary = &mut secondaries[index];
            secondary.strategy = if self.chance(85) { Strategy::Blocks } else { Strategy::Keys };
            secondary.increments = if self.chance(70) { Strategy::Blocks } else { Strategy::Keys };
            secondary.chunk_rows = self.pick(&[1, 2, 5]);
            datasets.iter_mut().for_each(|dataset| dataset.sparse = true);
        }
        let history = self.history(&datasets, batches, disturbed.is_some());
        let follows: Vec<usize> = secondaries.iter().map(|secondary| secondary.primary).collect();
        let mut schedule = self.schedule(&primaries, &follows, disturbed, batches);
        if is_direct && self.chance(8) {
            let secondary = self.below(follows.len());
            schedule.extend(self.pruned(follows[secondary], secondary));
        }
        if goes_back {
            let secondary = self.below(follows.len());
            schedule.extend(self.gone_back(follows[secondary], secondary));
        }
        let mut plan = Plan {
            seed: 0,
            note: String::new(),
            store: self.pick(&STORES).to_owned(),
            together: datasets.len() > 1 && self.chance(70),
            late_column_has_default: false,
            datasets,
            primaries,
            secondaries,
            history,
            schedule,
        };
        let is_rewritten = plan.has(FaultKind::VacuumFull) || plan.has(FaultKind::RewritingAlter);
        if plan.has(FaultKind::UpdateInPlace) || (is_rewritten && self.chance(80)) {
            self.fill_blocks(&mut plan);
        }
        // Rewrites are to be noticed by the file, and another history by its batches, not by the count that they may upset
        // as well.
        let is_restored = plan.has(FaultKind::PrimaryRestored);
        let goes_below = is_restored && goes_below_what_is_read(&plan.schedule);
        if is_rewritten || goes_below {
            for secondary in &mut plan.secondaries {
                secondary.verify = if self.chance(70) { Verify::Off } else { secondary.verify };
            }
        }
        // What moves open versions, or removes closed ones, in mid-seed is noticed by counting alone.
        let is_moved = plan.has(FaultKind::UpdateInPlace) || (is_restored && !goes_below);
        if is_moved || plan.has(FaultKind::HistoryPruned) {
            for secondary in plan.secondaries.iter_mut().filter(|secondary| secondary.verify == Verify::Off) {
                secondary.verify = Verify::Count;
            }
        }
        // Where a seed is to be disturbed between its chunks, every one of them counts.
        for at in (0..plan.secondaries.len()).filter(|at| disturbed != Some(*at)) {
            plan.secondaries[at].chunks_together = self.chance(30);
        }
        self.take_up_habits(&mut plan);
        plan
    }

    /// What is updated in place moves to another block only where its own is full, and there are other blocks only where
    /// rows are wide. A rewrite moves rows into the room of dead ones only where no room is kept free.
    fn fill_blocks(&mut self, plan: &mut Plan) {
        for at in 0..plan.datasets.len() {
            self.widen(plan, at);
        }
    }

    fn widen(&mut self, plan: &mut Plan, dataset: usize) {
        let target = &mut plan.datasets[dataset];
        target.sparse = false;
        let texts = target.columns.iter().position(|column| column.kind == Kind::Text);
        let text = texts.unwrap_or(target.columns.len());
        if texts.is_none() {
            target.columns.push(ColumnPlan { name: free_name(target).to_owned(), kind: Kind::Text });
        }
        for change in plan.history.iter_mut().flat_map(|batch| &mut batch.changes) {
            let Change::Put { dataset: of, columns, .. } = change else { continue };
            if *of != dataset {
                continue;
            }
            columns.resize(columns.len().max(text + 1), None);
            if self.chance(70) {
                columns[text] = Some("wide ".repeat(150 + self.below(50)).trim_end().to_owned());
            }
        }
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound.max(1))
    }

    /// A number below `bound`, small ones more often.
    pub(super) fn small(&mut self, bound: usize) -> usize {
        let first = self.below(bound);
        first.min(self.below(bound))
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(super) fn weighted<T: Copy>(&mut self, of: &[(u32, T)]) -> T {
        let total: u32 = of.iter().map(|(weight, _)| weight).sum();
        let mut rolled = self.rng.random_range(0..total);
        for (weight, value) in of {
            if rolled < *weight {
                return *value;
            }
            rolled -= weight;
        }
        of[0].1
    }

    fn datasets(&mut self, modelled_only: bool) -> Vec<DatasetPlan> {
        let count = self.weighted(&[(12, 1), (7, 2), (1, 3)]);
        let mut names = BTreeSet::new();
        let mut datasets = Vec::new();
        while datasets.len() < count {
            let name = if self.chance(40) { "people" } else { self.pick(&DATASETS) };
            if names.insert(name.to_lowercase()) {
                datasets.push(self.dataset(name, modelled_only));
            }
        }
        datasets
    }

    fn dataset(&mut self, name: &str, modelled_only: bool) -> DatasetPlan {
        let key_width = self.weighted(&[(6, 1), (4, 2), (1, 3)]);
        let width = self.weighted(&[(1, 0), (6, 1), (8, 2), (6, 3), (4, 5), (1, 9)]);
        let mut names = BTreeSet::new();
        let mut column = |author: &mut Author<'_>, kinds: &[Kind]| loop {
            let name = author.pick(&COLUMNS);
            let kind = author.pick(kinds);
            if (!modelled_only || kind.modelled().is_some()) && names.insert(name) {
                return ColumnPlan { name: name.to_owned(), kind };
            }
        };
        // Integers and texts are what most keys are, and where the mistakes are.
        let mut keys = KEY_KINDS.to_vec();
        keys.extend([Kind::Integer, Kind::Integer, Kind::Text, Kind::Text]);
        let mut kinds = KINDS.to_vec();
        kinds.extend([Kind::Text, Kind::Text, Kind::Text, Kind::Integer]);
        DatasetPlan {
            name: name.to_owned(),
            key: (0..key_width).map(|_| column(self, &keys)).collect(),
            columns: (0..width).map(|_| column(self, &kinds)).collect(),
            sparse: self.chance(75),
            ..DatasetPlan::default()
        }
    }

    fn primaries(&mut self, writer_is_worker: bool) -> Vec<PrimaryPlan> {
        let count = self.weighted(&[(6, 1), (1, 2)]);
        let writer = if writer_is_worker { Writer::Worker } else { Writer::Tables };
        let primary = |name: &&str| PrimaryPlan {
            name: (*name).to_owned(),
            writer,
            hash: Formula::default(),
            live_only_beside: false,
            has_standby: false,
            premises: Premises::default(),
        };
        PRIMARIES[..count].iter().map(primary).collect()
    }

    fn secondaries(&mut self, primaries: usize) -> Vec<SecondaryPlan> {
        let most = self.options.secondaries_max.clamp(1, SECONDARIES.len());
        let count = self.weighted(&[(10, 1), (7, 2), (2, 3), (1, 4)]).min(most);
        SECONDARIES[..count].iter().map(|name| self.secondary(name, primaries)).collect()
    }

    fn secondary(&mut self, name: &str, primaries: usize) -> SecondaryPlan {
        SecondaryPlan {
            name: name.to_owned(),
            holding: if self.chance(60) { Keeps::LiveOnly } else { Keeps::Mirror },
            primary: self.below(primaries),
            strategy: if self.chance(65) { Strategy::Blocks } else { Strategy::Keys },
            increments: if self.chance(40) { Strategy::Blocks } else { Strategy::Keys },
            chunk_rows: self.weighted(&[(1, 1), (3, 2), (4, 5), (3, 10), (1, 1000)]),
            chunks_together: false,
            parallelism: self.weighted(&[(6, 1), (3, 2), (1, 3), (1, 4)]),
            verify: self.weighted(&[(5, Verify::Count), (2, Verify::Content), (3, Verify::Off)]),
            max_rows_per_sync: self.weighted(&[(6, 1_000_000), (1, 20), (1, 1)]),
            limits: Limits::default(),
            premises: Premises::default(),
        }
    }
}

/// A column name that a dataset does not have yet.
pub(super) fn free_name(dataset: &DatasetPlan) -> &'static str {
    let named = |name: &str| dataset.key.iter().chain(&dataset.columns).any(|column| column.name == name);
    COLUMNS.into_iter().find(|name| !named(name)).unwrap_or("wide")
}

/// Whether a primary is only restored where no batch came after the one that is read: within the first sync that is
/// disturbed, which begins at the newest. Restored to that batch or a later one it opens versions again that a chunk left
/// to the sweep.
fn goes_below_what_is_read(schedule: &[Act]) -> bool {
    let is_restored =
        |cue: &Cue| matches!(&cue.what, What::Fault(fault) if fault.kind == FaultKind::PrimaryRestored);
    let mut disturbed = schedule.iter().filter_map(|act| match act {
        Act::Sync { cues, .. } if !cues.is_empty() => Some(cues),
        _ => None,
    });
    let first = disturbed.next().is_some_and(|cues| {
        let place = (cues[0].at, cues[0].nth);
        is_restored(&cues[0]) && cues.iter().all(|cue| (cue.at, cue.nth) == place)
    });
    first && !disturbed.flatten().any(is_restored)
}
