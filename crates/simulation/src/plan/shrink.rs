//! Smaller plans that may still fail, coarse cuts first.

use proptest::strategy::ValueTree;

use super::limits::Limits;
use super::premises::TypesThere;
use super::{Act, ActSide, Change, Plan, Verify, What};

/// A plan that can be made smaller, edit by edit.
#[derive(Clone, Debug)]
pub struct PlanTree {
    current: Plan,
    /// The plan before the last edit.
    before: Option<Plan>,
    /// Edits of the current plan that were tried in vain.
    tried: usize,
}

impl PlanTree {
    /// The tree of any plan, generated or not.
    pub fn of(plan: Plan) -> PlanTree {
        PlanTree { current: plan, before: None, tried: 0 }
    }
}

impl ValueTree for PlanTree {
    type Value = Plan;

    fn current(&self) -> Plan {
        self.current.clone()
    }

    /// Makes the next edit; false when there is none left.
    fn simplify(&mut self) -> bool {
        while let Some(edit) = edits(&self.current).into_iter().nth(self.tried) {
            let smaller = edit.applied_to(&self.current);
            if smaller != self.current {
                self.before = Some(std::mem::replace(&mut self.current, smaller));
                return true;
            }
            self.tried += 1;
        }
        false
    }

    /// Takes the last edit back; false when there was none.
    fn complicate(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.current = before;
        self.tried += 1;
        true
    }
}

/// One way to make a plan smaller.
#[derive(Clone, Copy, Debug)]
enum Edit {
    DropActs { from: usize, to: usize },
    DropSecondary(usize),
    DropPrimary(usize),
    DropDataset(usize),
    DropBatch(usize),
    DropCue { act: usize, cue: usize },
    DropChanges { batch: usize, from: usize, to: usize },
    DropColumn { dataset: usize, column: usize },
    DropKeyColumn { dataset: usize, column: usize },
    PlainNames,
    PlainPrimary(usize),
    PlainSecondary(usize),
    DropSetting { secondary: usize, setting: usize },
    PlainTypes(usize),
    PlainTables(usize),
    PlainCue { act: usize, cue: usize },
    PlainValues { batch: usize },
}

fn edits(plan: &Plan) -> Vec<Edit> {
    let mut edits = Vec::new();
    edits.extend(spans(plan.schedule.len()).into_iter().map(|(from, to)| Edit::DropActs { from, to }));
    if plan.secondaries.len() > 1 {
        edits.extend((0..plan.secondaries.len()).map(Edit::DropSecondary));
    }
    if plan.primaries.len() > 1 {
        edits.extend((0..plan.primaries.len()).map(Edit::DropPrimary));
    }
    if plan.datasets.len() > 1 {
        edits.extend((0..plan.datasets.len()).map(Edit::DropDataset));
    }
    edits.extend((0..plan.history.len()).map(Edit::DropBatch));
    let cues = |act: usize| (0..plan.schedule[act].cues().len()).map(move |cue| (act, cue));
    edits.extend((0..plan.schedule.len()).flat_map(cues).map(|(act, cue)| Edit::DropCue { act, cue }));
    for (batch, content) in plan.history.iter().enumerate() {
        let spans = spans(content.changes.len()).into_iter();
        edits.extend(spans.map(|(from, to)| Edit::DropChanges { batch, from, to }));
    }
    for (dataset, content) in plan.datasets.iter().enumerate() {
        edits.extend((0..content.columns.len()).map(|column| Edit::DropColumn { dataset, column }));
        if content.key.len() > 1 {
            edits.extend((0..content.key.len()).map(|column| Edit::DropKeyColumn { dataset, column }));
        }
    }
    edits.push(Edit::PlainNames);
    edits.extend((0..plan.primaries.len()).map(Edit::PlainPrimary));
    edits.extend((0..plan.secondaries.len()).map(Edit::PlainSecondary));
    edits.extend(premises(plan));
    edits.extend((0..plan.schedule.len()).flat_map(cues).map(|(act, cue)| Edit::PlainCue { act, cue }));
    edits.extend((0..plan.history.len()).map(|batch| Edit::PlainValues { batch }));
    edits
}

/// What people left at the secondaries, one after the other.
fn premises(plan: &Plan) -> impl Iterator<Item = Edit> {
    plan.secondaries.iter().enumerate().flat_map(|(secondary, content)| {
        let settings = (0..content.premises.settings.len()).rev();
        let settings = settings.map(move |setting| Edit::DropSetting { secondary, setting });
        settings.chain([Edit::PlainTypes(secondary), Edit::PlainTables(secondary)])
    })
}

/// Halves, quarters and so on down to single ones, the last first.
fn spans(count: usize) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut length = count;
    while length > 0 {
        let starts = (0..count).step_by(length).rev();
        spans.extend(starts.map(|from| (from, (from + length).min(count))));
        length /= 2;
    }
    spans
}

impl Act {
    fn cues_mut(&mut self) -> Option<&mut Vec<super::Cue>> {
        match self {
            Act::Sync { cues, .. } => Some(cues),
            _ => None,
        }
    }
}

impl Edit {
    fn applied_to(self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        match self {
            Edit::DropActs { from, to } => drop(plan.schedule.drain(from..to)),
            Edit::DropSecondary(at) => drop_secondary(&mut plan, at),
            Edit::DropPrimary(at) => drop_primary(&mut plan, at),
            Edit::DropDataset(at) => drop_dataset(&mut plan, at),
            Edit::DropBatch(at) => drop(plan.history.remove(at)),
            Edit::DropCue { act, cue } => {
                if let Some(cues) = plan.schedule[act].cues_mut() {
                    cues.remove(cue);
                }
            }
            Edit::DropChanges { batch, from, to } => drop(plan.history[batch].changes.drain(from..to)),
            Edit::DropColumn { dataset, column } => drop_column(&mut plan, dataset, column),
            Edit::DropKeyColumn { dataset, column } => drop_key_column(&mut plan, dataset, column),
            Edit::PlainNames => plain_names(&mut plan),
            Edit::PlainPrimary(at) => {
                plan.primaries[at].has_standby = false;
                plan.primaries[at].premises.settings.clear();
                plan.primaries[at].premises.sorts_as_people = false;
            }
            Edit::DropSetting { secondary, setting } => {
                plan.secondaries[secondary].premises.settings.remove(setting);
            }
            Edit::PlainTypes(at) => plan.secondaries[at].premises.types = TypesThere::Same,
            Edit::PlainTables(at) => plan.secondaries[at].premises.tables = None,
            Edit::PlainSecondary(at) => {
                let secondary = &mut plan.secondaries[at];
                (secondary.parallelism, secondary.verify) = (1, Verify::Count);
                secondary.chunks_together = false;
                secondary.limits = Limits::default();
                secondary.premises.sorts_as_people = false;
                secondary.max_rows_per_sync = 1_000_000;
                secondary.chunk_rows = secondary.chunk_rows.max(1000);
            }
            Edit::PlainCue { act, cue } => {
                if let Some(cues) = plan.schedule[act].cues_mut() {
                    cues[cue].nth = 1;
                    if let What::Fault(fault) = &mut cues[cue].what {
                        fault.bytes = fault.bytes.min(1);
                    }
                }
            }
            Edit::PlainValues { batch } => {
                for change in &mut plan.history[batch].changes {
                    match change {
                        Change::Put { columns, bytes, .. } => {
                            columns.fill(None);
                            bytes.clear();
                        }
                        Change::Fill { count, .. } => *count /= 2,
                        Change::Remove { .. } => {}
                    }
                }
            }
        }
        plan
    }
}

fn drop_secondary(plan: &mut Plan, at: usize) {
    plan.secondaries.remove(at);
    plan.schedule.retain(|act| act.side() != ActSide::Secondary(at));
    for act in &mut plan.schedule {
        if let ActSide::Secondary(secondary) = act.side_mut() {
            *secondary -= usize::from(*secondary > at);
        }
    }
}

/// Those who followed it follow the other.
fn drop_primary(plan: &mut Plan, at: usize) {
    plan.primaries.remove(at);
    plan.schedule.retain(|act| act.side() != ActSide::Primary(at));
    let moved =
        |primary: &mut usize| *primary = primary.saturating_sub(usize::from(*primary >= at && *primary > 0));
    for act in &mut plan.schedule {
        if let ActSide::Primary(primary) = act.side_mut() {
            moved(primary);
        }
    }
    for secondary in &mut plan.secondaries {
        moved(&mut secondary.primary);
    }
}

fn drop_dataset(plan: &mut Plan, at: usize) {
    plan.datasets.remove(at);
    for batch in &mut plan.history {
        batch.changes.retain(|change| change.dataset() != at);
        for change in &mut batch.changes {
            let dataset = change.dataset_mut();
            *dataset -= usize::from(*dataset > at);
        }
    }
}

fn drop_column(plan: &mut Plan, dataset: usize, column: usize) {
    plan.datasets[dataset].columns.remove(column);
    plan.datasets[dataset].order.clear();
    for change in plan.history.iter_mut().flat_map(|batch| &mut batch.changes) {
        if let Change::Put { dataset: of, columns, bytes, .. } = change
            && *of == dataset
        {
            columns.remove(column);
            if column < bytes.len() {
                bytes.remove(column);
            }
        }
    }
}

/// Records that differed in that column alone become one.
fn drop_key_column(plan: &mut Plan, dataset: usize, column: usize) {
    plan.datasets[dataset].key.remove(column);
    for change in plan.history.iter_mut().flat_map(|batch| &mut batch.changes) {
        match change {
            Change::Put { dataset: of, key, spelling, .. } if *of == dataset => {
                key.remove(column);
                if column < spelling.len() {
                    spelling.remove(column);
                }
            }
            Change::Remove { dataset: of, key } if *of == dataset => drop(key.remove(column)),
            _ => {}
        }
    }
}

fn plain_names(plan: &mut Plan) {
    "Store1".clone_into(&mut plan.store);
    for (number, dataset) in plan.datasets.iter_mut().enumerate() {
        dataset.name = format!("t{number}");
        let columns = dataset.key.iter_mut().chain(&mut dataset.columns);
        columns.enumerate().for_each(|(at, column)| column.name = format!("c{at}"));
    }
}
