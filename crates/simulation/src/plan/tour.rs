//! The tour: one plan for each cell of the coverage matrix, made so that the fault is felt where it can be.

use super::limits::Limits;
use super::premises::Premises;
use super::schedule::settled_side;
use super::values::Kind;
use super::{
    Act, BatchPlan, Cell, Change, ColumnPlan, Cue, DatasetPlan, Formula, Keeps, Plan, PrimaryPlan,
    SecondaryPlan, Strategy, Verify, What, Writer,
};
use crate::fault::{Fault, FaultKind, Phase, Side};

/// Records of the first batch: some five blocks, and so five chunks.
const RECORDS: u16 = 30;

/// The plan of a cell.
pub fn cell(kind: FaultKind, phase: Phase) -> Plan {
    let side = settled_side(kind).unwrap_or(usual_side(kind, phase));
    let fault = Fault { kind, side, bytes: bytes(kind, phase), halfway: false, unended: false };
    let cue = Cue { at: phase, nth: occurrence(kind, phase), what: What::Fault(fault) };
    Plan {
        seed: 0,
        note: format!("tour: {kind} at {phase}"),
        store: "Store1".to_owned(),
        together: true,
        late_column_has_default: false,
        datasets: vec![people(kind)],
        primaries: vec![primary()],
        secondaries: vec![secondary(kind)],
        history: history(kind),
        schedule: schedule(kind, phase, side, cue),
    }
}

/// Every cell, fault by fault.
pub fn cells() -> impl Iterator<Item = (FaultKind, Phase)> {
    FaultKind::ALL.into_iter().flat_map(|kind| Phase::ALL.into_iter().map(move |phase| (kind, phase)))
}

fn bytes(kind: FaultKind, phase: Phase) -> u64 {
    match (kind, phase) {
        // What ends a sync survives a cut; this one falls into the next.
        (FaultKind::RequestCut | FaultKind::AnswerCut, Phase::Idle) => 3_000,
        (FaultKind::RequestCut | FaultKind::AnswerCut, _) => 1,
        _ => 0,
    }
}

/// The side that the worker needs next.
fn usual_side(kind: FaultKind, phase: Phase) -> Side {
    match phase {
        // The worker holds every lock of the secondary's that its commit needs; the next increment reads the primary.
        Phase::BeforeCommit if kind == FaultKind::LockTimeout => Side::Primary,
        // There are no sessions on the primary yet.
        Phase::Plan if matches!(kind, FaultKind::HalfOpen | FaultKind::BackendTerminated) => Side::Secondary,
        Phase::Plan | Phase::ChunkOpen | Phase::MidChunk | Phase::BetweenChunks | Phase::Sweep => {
            match kind {
                // A server that goes down is felt on either side; the secondary's holds the lease.
                FaultKind::ServerStopped | FaultKind::ServerPaused => Side::Secondary,
                _ => Side::Primary,
            }
        }
        _ => Side::Secondary,
    }
}

/// Where chunks must lie behind and ahead, the second is meant.
fn occurrence(kind: FaultKind, phase: Phase) -> u32 {
    let is_of_chunks =
        matches!(phase, Phase::ChunkOpen | Phase::MidChunk | Phase::ChunkCommit | Phase::BetweenChunks);
    if is_of_chunks && kind.is_of_primary_tables() { 2 } else { 1 }
}

fn schedule(kind: FaultKind, phase: Phase, side: Side, cue: Cue) -> Vec<Act> {
    let commit = Act::Commit { primary: 0 };
    let sync = |cues: Vec<Cue>| Act::Sync { secondary: 0, until_caught_up: true, cues };
    let batch = |at: Phase| Cue { at, nth: 1, what: What::Commit };
    let ending = vec![sync(vec![]), commit.clone(), sync(vec![])];
    let beginning = match (kind, phase) {
        // History is missed by an increment, or by the seed of a mirror.
        (FaultKind::HistoryPruned, Phase::Plan) => {
            vec![commit.clone(), sync(vec![]), commit.clone(), commit, sync(vec![cue])]
        }
        (FaultKind::HistoryPruned, _) => {
            let commits = vec![batch(Phase::ChunkOpen), batch(Phase::ChunkOpen)];
            vec![commit.clone(), commit, sync(commits.into_iter().chain([cue]).collect())]
        }
        // A seed that is not planned yet takes the primary as it is.
        (FaultKind::PrimaryRestored, Phase::Plan) => {
            vec![commit.clone(), commit.clone(), commit, sync(vec![]), sync(vec![cue])]
        }
        (FaultKind::PrimaryRestored, _) => vec![commit.clone(), commit.clone(), commit, sync(vec![cue])],
        // A process of its own makes one sync, and is idle where there is none to make.
        (FaultKind::WorkerKilled, Phase::Idle) => vec![commit, sync(vec![]), sync(vec![cue])],
        (FaultKind::WorkerKilled, _) => vec![commit, sync(vec![cue])],
        // What stands at the primary keeps it from its next batch, so that one comes before.
        (_, Phase::BeforeCommit | Phase::AfterCommit)
            if side == Side::Primary && !kind.is_of_primary_tables() =>
        {
            vec![commit, sync(vec![batch(Phase::IndexBuild), cue])]
        }
        // What begins when a sync is over is felt by the next, which has something to do.
        (_, Phase::AfterCommit | Phase::Idle) => vec![commit.clone(), sync(vec![cue]), commit],
        _ => vec![commit, sync(vec![batch(Phase::BetweenChunks), cue])],
    };
    beginning.into_iter().chain(ending).collect()
}

fn primary() -> PrimaryPlan {
    PrimaryPlan {
        name: "Hub".to_owned(),
        writer: Writer::Tables,
        hash: Formula::default(),
        live_only_beside: false,
        has_standby: false,
        premises: Premises::default(),
    }
}

fn secondary(kind: FaultKind) -> SecondaryPlan {
    SecondaryPlan {
        name: "Edge".to_owned(),
        holding: if kind == FaultKind::HistoryPruned { Keeps::Mirror } else { Keeps::LiveOnly },
        primary: 0,
        strategy: Strategy::Blocks,
        increments: Strategy::Keys,
        chunk_rows: 10,
        chunks_together: false,
        parallelism: 1,
        verify: Verify::Content,
        max_rows_per_sync: 1_000_000,
        limits: Limits::default(),
        premises: Premises::default(),
    }
}

/// What is updated in place moves to another block only where its own is full.
fn is_full(kind: FaultKind) -> bool {
    kind == FaultKind::UpdateInPlace
}

fn people(kind: FaultKind) -> DatasetPlan {
    let column = |name: &str, kind: Kind| ColumnPlan { name: name.to_owned(), kind };
    DatasetPlan {
        name: "people".to_owned(),
        key: vec![column("id", Kind::Integer)],
        columns: vec![column("name", Kind::Text), column("note", Kind::Text)],
        sparse: !is_full(kind),
        ..DatasetPlan::default()
    }
}

/// Five batches, each with changes, deletions, insertions, and a record that comes and goes.
fn history(kind: FaultKind) -> Vec<BatchPlan> {
    let width = if is_full(kind) { 900 } else { 60 };
    let text = |text: String| -> Cell { Some(text) };
    let put = |id: u16, name: String| Change::Put {
        dataset: 0,
        key: vec![text(id.to_string())],
        columns: vec![text(name), if id.is_multiple_of(3) { None } else { text("n".repeat(width)) }],
        spelling: Vec::new(),
        bytes: Vec::new(),
    };
    let remove = |id: u16| Change::Remove { dataset: 0, key: vec![text(id.to_string())] };
    let first = (0..RECORDS).map(|id| put(id, format!("first {id}"))).collect();
    let later = (1..5_u16).map(|batch| {
        let mut changes: Vec<_> = (0..6).map(|n| put(batch + n * 4, format!("batch {batch}"))).collect();
        changes.extend([
            remove(RECORDS - batch),
            put(100 + batch, "new".to_owned()),
            put(200 + batch, "brief".to_owned()),
        ]);
        changes.extend((batch > 1).then(|| remove(200 + batch - 1)));
        changes
    });
    [first].into_iter().chain(later).map(|changes| BatchPlan { changes }).collect()
}
