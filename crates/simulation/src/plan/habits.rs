//! What people do that a tidy world would not have: settings, types, tables made beforehand. Random plans take up few at
//! a time.

use std::fmt;

use proptest::prelude::*;

use super::generate::{Author, free_name};
use super::hands::{Deed, Hand};
use super::limits::Limits;
use super::premises::{SETTINGS, Setting, TablesThere, TypesThere};
use super::values::{KINDS_OF_PEOPLE, Kind};
use super::{Act, Change, ColumnPlan, Cue, DatasetPlan, Plan, Strategy, Verify, What, Writer};
use crate::fault::{Fault, FaultKind, Phase, Side};
use crate::forensic::Partitions;

/// A habit of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    /// The worker's role has settings in some databases.
    Settings,
    /// Columns have types of people's own, or types that few have; those of a secondary may be others.
    Types,
    /// A secondary's merge tables are there before the first seed.
    Tables,
    /// Hands are at a secondary's merge tables.
    Hands,
    /// A column joins late, with a default.
    LateColumn,
    /// A primary's endpoint is two servers, one of which is behind now and then.
    TwoServers,
    /// Faults fall into ingestions, their source changes while it is read, and another platform ingests it as well.
    Ingestions,
    /// Tables have their columns in any order, partitions, and columns that are gone.
    Shapes,
    /// Values are beyond the sizes of buffers, and tables have thousands of rows.
    Sizes,
    /// Workers have bounds that may be met, or others than those by default.
    Limits,
    /// Helpers join syncs.
    Helpers,
    /// Datasets come to the model of a secondary's worker, and leave it.
    Datasets,
}

impl Habit {
    /// All of them.
    pub const ALL: [Habit; 12] = [
        Habit::Settings,
        Habit::Types,
        Habit::Tables,
        Habit::Hands,
        Habit::LateColumn,
        Habit::TwoServers,
        Habit::Ingestions,
        Habit::Shapes,
        Habit::Sizes,
        Habit::Limits,
        Habit::Helpers,
        Habit::Datasets,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Habit::Settings => "settings",
            Habit::Types => "types",
            Habit::Tables => "tables",
            Habit::Hands => "hands",
            Habit::LateColumn => "late-column",
            Habit::TwoServers => "two-servers",
            Habit::Ingestions => "ingestions",
            Habit::Shapes => "shapes",
            Habit::Sizes => "sizes",
            Habit::Limits => "limits",
            Habit::Helpers => "helpers",
            Habit::Datasets => "datasets",
        }
    }

    /// Of a hundred histories, those that have it.
    fn percent(self) -> u32 {
        match self {
            Habit::Settings => 15,
            Habit::Types => 18,
            Habit::Tables => 8,
            Habit::Hands => 15,
            Habit::LateColumn => 6,
            Habit::TwoServers => 4,
            // Of those whose primaries the worker writes.
            Habit::Ingestions => 70,
            Habit::Shapes => 30,
            Habit::Sizes => 12,
            Habit::Limits => 15,
            Habit::Helpers => 8,
            // Of those with several.
            Habit::Datasets => 20,
        }
    }
}

impl fmt::Display for Habit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What hands do, with the weights of it.
const DEEDS: [(u32, Deed); 9] = [
    (4, Deed::DeleteRows),
    (3, Deed::ChangeRows),
    (1, Deed::Truncate),
    (2, Deed::Recreate),
    (4, Deed::SwallowWrites),
    (3, Deed::AlterWrites),
    (3, Deed::KeepDeleted),
    (2, Deed::WatchWrites),
    (5, Deed::AddBelongings),
];

/// Faults among which nobody could say whose work a difference is.
const ALONE: [FaultKind; 4] =
    [FaultKind::Takeover, FaultKind::SecondWorker, FaultKind::PrimaryRestored, FaultKind::HistoryPruned];

/// Ways in which a secondary's types may stand beside the primary's.
const TYPES: [(u32, TypesThere); 9] = [
    (3, TypesThere::Same),
    (3, TypesThere::Shifted),
    (2, TypesThere::Elsewhere),
    (1, TypesThere::Reordered),
    (2, TypesThere::Relabelled),
    (2, TypesThere::Rounded),
    (1, TypesThere::Rebased),
    (2, TypesThere::Swapped),
    (2, TypesThere::Resubtyped),
];

impl Author<'_> {
    /// Draws last of all, so that the rest of a plan stays what its seed made it.
    pub(super) fn take_up_habits(&mut self, plan: &mut Plan) {
        for habit in Habit::ALL {
            let is_drawn = self.chance(habit.percent());
            let is_wanted = is_drawn || self.options.habits.contains(&habit);
            if !is_wanted || self.options.without_habits.contains(&habit) {
                continue;
            }
            match habit {
                Habit::Settings => self.give_settings(plan),
                Habit::Types => self.give_types(plan),
                Habit::Tables => self.give_tables(plan),
                Habit::Hands => {
                    self.empty_primary(plan);
                    self.give_hands(plan);
                }
                Habit::LateColumn => self.add_late_column(plan),
                Habit::TwoServers => self.add_standby(plan),
                Habit::Ingestions => self.disturb_ingestions(plan),
                Habit::Shapes => self.give_shapes(plan),
                Habit::Sizes => self.give_sizes(plan),
                Habit::Limits => self.give_limits(plan),
                Habit::Helpers => self.send_helpers(plan),
                Habit::Datasets => self.let_datasets_come(plan),
            }
        }
    }

    fn give_settings(&mut self, plan: &mut Plan) {
        let of_primaries = plan.primaries.iter_mut().map(|primary| &mut primary.premises);
        let of_secondaries = plan.secondaries.iter_mut().map(|secondary| &mut secondary.premises);
        for premises in of_primaries.chain(of_secondaries) {
            premises.sorts_as_people = self.chance(40);
            for _ in 0..self.weighted(&[(2, 0), (3, 1), (2, 3), (1, 6)]) {
                let (name, value) = self.pick(&SETTINGS);
                if premises.settings.iter().all(|setting| setting.name != name) {
                    premises.settings.push(Setting { name: name.to_owned(), value: value.to_owned() });
                }
            }
        }
    }

    /// A primary that the worker writes has types of the model, which knows none of these.
    fn give_types(&mut self, plan: &mut Plan) {
        if plan.primaries.iter().any(|primary| primary.writer == Writer::Worker) {
            return;
        }
        for _ in 0..1 + self.small(3) {
            let dataset = self.below(plan.datasets.len());
            let kind = self.pick(&KINDS_OF_PEOPLE);
            self.add_column(plan, dataset, kind);
        }
        for secondary in &mut plan.secondaries {
            secondary.premises.types = self.weighted(&TYPES);
        }
        // A value that names a type knows it by its name alone, and by its OID while it is not made anew.
        let names_types = |column: &ColumnPlan| column.kind == Kind::Type;
        if plan.datasets.iter().any(|dataset| dataset.columns.iter().any(names_types)) {
            for secondary in &mut plan.secondaries {
                secondary.premises.types = self.pick(&[TypesThere::Same, TypesThere::Shifted]);
            }
        }
        // A type that is another matters where a column is of it.
        let there: Vec<_> = plan.secondaries.iter().map(|secondary| secondary.premises.types).collect();
        for there in there {
            let concerned: Vec<_> = KINDS_OF_PEOPLE
                .into_iter()
                .filter(|kind| there.change(*kind) || there.may_be_refused(*kind))
                .filter(|kind| *kind != Kind::Type)
                .collect();
            if !concerned.is_empty() && self.chance(80) {
                let (dataset, kind) = (self.below(plan.datasets.len()), self.pick(&concerned));
                self.add_column(plan, dataset, kind);
            }
        }
    }

    pub(super) fn add_column(&mut self, plan: &mut Plan, dataset: usize, kind: Kind) {
        let name = free_name(&plan.datasets[dataset]).to_owned();
        plan.datasets[dataset].columns.push(ColumnPlan { name, kind });
        for change in plan.history.iter_mut().flat_map(|batch| &mut batch.changes) {
            if let Change::Put { dataset: of, columns, .. } = change
                && *of == dataset
            {
                columns.push(self.value(kind));
            }
        }
    }

    fn give_tables(&mut self, plan: &mut Plan) {
        for secondary in &mut plan.secondaries {
            secondary.premises.tables = Some(self.tables());
        }
    }

    fn tables(&mut self) -> TablesThere {
        TablesThere { extra_column: self.chance(50), indexed: self.chance(40), reversed: self.chance(40) }
    }

    /// A hand at a primary that the worker writes, and a batch for it to come upon.
    fn empty_primary(&mut self, plan: &mut Plan) {
        let primary = self.below(plan.primaries.len());
        if plan.primaries[primary].writer == Writer::Worker {
            let (commit, dataset) = (Act::Commit { primary }, self.below(plan.datasets.len()));
            let acts = [commit, Act::Empty { primary, dataset }];
            let at = self.below(plan.schedule.len() + 1);
            plan.schedule.splice(at..at, acts);
        }
    }

    /// A hand between a sync and the next, or in the middle of that, and a batch for it to come upon.
    fn give_hands(&mut self, plan: &mut Plan) {
        if ALONE.into_iter().any(|kind| plan.has(kind)) {
            return;
        }
        for _ in 0..self.weighted(&[(3, 1), (1, 2)]) {
            let secondary = self.below(plan.secondaries.len());
            let hand = Hand {
                does: self.weighted(&DEEDS),
                dataset: self.below(plan.datasets.len()),
                third: self.pick(&[0, 1, 2]),
            };
            let commit = Act::Commit { primary: plan.secondaries[secondary].primary };
            let sync = |cues| Act::Sync { secondary, until_caught_up: true, cues };
            let mut acts = vec![commit.clone(), sync(Vec::new())];
            if self.chance(20) {
                acts.extend([Act::Hand { secondary, hand }, sync(Vec::new()), commit, sync(Vec::new())]);
            } else if self.chance(70) {
                acts.extend([Act::Hand { secondary, hand }, commit, sync(Vec::new())]);
            } else {
                let at = self.pick(&[Phase::Plan, Phase::ChunkOpen, Phase::BetweenChunks, Phase::Idle]);
                acts.extend([commit, sync(vec![Cue { at, nth: 1, what: What::Hand(hand) }])]);
            }
            let at = self.below(plan.schedule.len() / 2 + 1);
            plan.schedule.splice(at..at, acts);
        }
    }

    /// A column that the primary has at once, or well before the model, with a value for every row that is there.
    fn add_late_column(&mut self, plan: &mut Plan) {
        let secondary = self.below(plan.secondaries.len());
        let primary = plan.secondaries[secondary].primary;
        if plan.primaries[primary].writer == Writer::Worker || plan.has(FaultKind::ColumnAdded) {
            return;
        }
        plan.late_column_has_default = self.chance(80);
        let (commit, sync) =
            (Act::Commit { primary }, |cues| Act::Sync { secondary, until_caught_up: true, cues });
        let mut acts = vec![commit.clone(), sync(Vec::new())];
        if self.chance(50) {
            acts.extend([Act::ColumnAhead { primary }, commit.clone(), sync(Vec::new())]);
        }
        let fault = Fault { side: Side::Primary, ..Fault::of(FaultKind::ColumnAdded) };
        let at = self.pick(&[Phase::AfterCommit, Phase::Idle]);
        let added = sync(vec![Cue { at, nth: 1, what: What::Fault(fault) }]);
        acts.extend([commit.clone(), added, commit, sync(Vec::new())]);
        let at = self.below(plan.schedule.len() / 2 + 1);
        plan.schedule.splice(at..at, acts);
    }

    /// What is updated in place is told by its blocks, which a table in partitions has not.
    fn give_shapes(&mut self, plan: &mut Plan) {
        let is_made_here = plan.primaries.iter().all(|primary| primary.writer == Writer::Tables);
        let may_part = is_made_here && !plan.has(FaultKind::UpdateInPlace);
        for at in 0..plan.datasets.len() {
            let count = plan.datasets[at].key.len() + plan.datasets[at].columns.len();
            let mut order: Vec<usize> = (0..count).collect();
            for place in (1..count).rev() {
                order.swap(place, self.below(place + 1));
            }
            let parted = [(3, Partitions::None), (2, Partitions::Hash), (2, Partitions::Nested)];
            let (is_ordered, is_worn) = (self.chance(60), self.chance(40));
            let partitions = self.weighted(&parted);
            let dataset = &mut plan.datasets[at];
            dataset.order = if is_ordered { order } else { Vec::new() };
            dataset.worn = is_worn && is_made_here;
            dataset.partitions = if may_part { partitions } else { Partitions::None };
        }
    }

    /// Keys whose hashes may collide are no keys for interchange.
    fn give_limits(&mut self, plan: &mut Plan) {
        let collides =
            |dataset: &DatasetPlan| dataset.key.len() > 1 || dataset.key[0].kind.canonical().is_some();
        let may_interchange = !plan.datasets.iter().any(collides);
        for secondary in &mut plan.secondaries {
            let deletes_percent = self.weighted(&[(2, 100), (2, 50), (2, 20), (1, 5), (1, 0)]);
            let (is_throttled, interchange) = (self.chance(40), self.chance(40) && may_interchange);
            secondary.limits = Limits { deletes_percent, is_throttled, interchange };
            secondary.max_rows_per_sync =
                if self.chance(30) { 1 + self.rng.random_range(0..60) } else { secondary.max_rows_per_sync };
        }
    }

    /// A sync with chunks enough for a helper, now and then with a batch between them.
    fn send_helpers(&mut self, plan: &mut Plan) {
        let secondary = self.below(plan.secondaries.len());
        let target = &mut plan.secondaries[secondary];
        target.chunk_rows = target.chunk_rows.min(5);
        target.increments = Strategy::Blocks;
        plan.datasets.iter_mut().for_each(|dataset| dataset.sparse = true);
        let commit = Act::Commit { primary: plan.secondaries[secondary].primary };
        for _ in 0..1 + self.small(3) {
            let helper = |freezes| What::Helper { freezes };
            let at = self.pick(&[Phase::ChunkOpen, Phase::MidChunk, Phase::BetweenChunks]);
            let mut cues = vec![Cue { at, nth: 1, what: helper(self.chance(40)) }];
            if self.chance(40) {
                cues.push(Cue { at: Phase::BetweenChunks, nth: self.pick(&[1, 2, 3]), what: What::Commit });
            }
            if self.options.faults && self.chance(40) {
                let kind = self.pick(&[
                    FaultKind::WorkerAborted,
                    FaultKind::BackendTerminated,
                    FaultKind::CommitAnswerLost,
                    FaultKind::Takeover,
                ]);
                let nth = self.pick(&[1, 1, 2, 3, 4]);
                let fault = Fault { unended: self.chance(50), ..Fault::of(kind) };
                cues.push(Cue { at: Phase::BetweenChunks, nth, what: What::Fault(fault) });
            }
            let acts = [commit.clone(), commit.clone(), Act::Sync { secondary, until_caught_up: true, cues }];
            let at = self.below(plan.schedule.len() / 2 + 1);
            plan.schedule.splice(at..at, acts);
        }
    }

    /// Syncs with fewer datasets and with more, and batches between them.
    fn let_datasets_come(&mut self, plan: &mut Plan) {
        let count = plan.datasets.len();
        // What is pruned, or of another type, is so for the whole stream in what the judge knows.
        let is_judged_whole = plan.has(FaultKind::ColumnAdded)
            || plan.has(FaultKind::HistoryPruned)
            || plan.secondaries.iter().any(|secondary| secondary.premises.types != TypesThere::Same);
        let has_hands = plan.cues().any(|cue| matches!(cue.what, What::Hand(_)))
            || plan.schedule.iter().any(|act| matches!(act, Act::Hand { .. }));
        if count < 2 || is_judged_whole || has_hands {
            return;
        }
        plan.together = true;
        let secondary = self.below(plan.secondaries.len());
        let commit = Act::Commit { primary: plan.secondaries[secondary].primary };
        let sync = Act::Sync { secondary, until_caught_up: true, cues: Vec::new() };
        let model = |datasets| Act::Model { secondary, datasets };
        let mut acts = vec![model(1 + self.below(count - 1)), commit.clone(), sync.clone()];
        for _ in 0..1 + self.small(3) {
            acts.extend(vec![commit.clone(); self.small(3)]);
            acts.push(model(1 + self.below(count)));
            acts.extend(vec![commit.clone(); self.small(3)]);
            acts.push(sync.clone());
        }
        let at = self.below(plan.schedule.len() / 3 + 1);
        plan.schedule.splice(at..at, acts);
    }

    /// A standby that stands still while batches are committed and read. What else goes wrong at a primary is not its doing.
    fn add_standby(&mut self, plan: &mut Plan) {
        let secondary = self.below(plan.secondaries.len());
        let primary = plan.secondaries[secondary].primary;
        let is_disturbed =
            plan.faults().any(|fault| fault.side == Side::Primary || fault.kind.is_of_servers());
        if plan.primaries[primary].writer == Writer::Worker || is_disturbed {
            return;
        }
        plan.primaries[primary].has_standby = true;
        for follower in plan.secondaries.iter_mut().filter(|follower| follower.primary == primary) {
            follower.verify = if self.chance(60) { Verify::Off } else { follower.verify };
            follower.parallelism = self.weighted(&[(1, 1), (2, 2), (1, 3)]);
        }
        let sync = |cues| Act::Sync { secondary, until_caught_up: true, cues };
        let (commit, replay) = (Act::Commit { primary }, |goes_on| Act::Replay { primary, goes_on });
        let ending = [replay(true), sync(Vec::new())];
        if self.chance(50) {
            // It has the seed's batch, and lacks what is committed between the seed's chunks and closes rows of it.
            let follower = &mut plan.secondaries[secondary];
            follower.strategy = Strategy::Blocks;
            follower.chunk_rows = self.pick(&[1, 2, 5]);
            let between = Cue { at: Phase::BetweenChunks, nth: 1, what: What::Commit };
            let seed = sync(vec![between; 1 + self.small(3)]);
            let beginning = [commit.clone(), replay(true), replay(false), seed];
            plan.schedule.splice(0..0, beginning.into_iter().chain(ending));
            return;
        }
        let commits = vec![commit.clone(); 1 + self.small(3)];
        let behind = [vec![commit, replay(false)], commits, vec![sync(Vec::new())]].concat();
        let at = self.below(plan.schedule.len() / 2 + 1);
        plan.schedule.splice(at..at, behind.into_iter().chain(ending));
    }
}
