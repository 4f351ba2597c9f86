//! Who acts when in random plans, and what goes wrong meanwhile.

use proptest::prelude::*;

use super::generate::Author;
use super::{Act, Cue, PrimaryPlan, Unfinished, What, Writer};
use crate::fault::{Fault, FaultKind, Phase, Side};

/// Kinds of faults with their weights: those that need servers of their own or wait for a time-out are rarer.
const FAULTS: [(u32, FaultKind); 25] = [
    (12, FaultKind::WorkerAborted),
    (2, FaultKind::WorkerKilled),
    (8, FaultKind::RequestCut),
    (8, FaultKind::AnswerCut),
    (12, FaultKind::CommitAnswerLost),
    (1, FaultKind::HalfOpen),
    (3, FaultKind::Latency),
    (8, FaultKind::BackendTerminated),
    (1, FaultKind::StatementTimeout),
    (3, FaultKind::LockTimeout),
    (1, FaultKind::ServerStopped),
    (1, FaultKind::ServerKilled),
    (1, FaultKind::ServerPaused),
    (1, FaultKind::DiskFull),
    (3, FaultKind::TooManyConnections),
    (2, FaultKind::Deadlock),
    (3, FaultKind::PermissionRevoked),
    (3, FaultKind::SecondWorker),
    (5, FaultKind::Takeover),
    (3, FaultKind::VacuumFull),
    (6, FaultKind::RewritingAlter),
    (4, FaultKind::UpdateInPlace),
    (4, FaultKind::PrimaryRestored),
    (4, FaultKind::HistoryPruned),
    (2, FaultKind::ColumnAdded),
];

/// What disturbs a primary's tables, as `disturbed` has it.
const DISTURBANCES: [(u32, FaultKind); 5] = [
    (6, FaultKind::RewritingAlter),
    (3, FaultKind::VacuumFull),
    (5, FaultKind::UpdateInPlace),
    (3, FaultKind::PrimaryRestored),
    (1, FaultKind::HistoryPruned),
];

/// What ends a sync among its chunks.
const INTERRUPTIONS: [(u32, FaultKind); 6] = [
    (6, FaultKind::WorkerAborted),
    (4, FaultKind::AnswerCut),
    (1, FaultKind::RequestCut),
    (2, FaultKind::CommitAnswerLost),
    (1, FaultKind::BackendTerminated),
    (2, FaultKind::Takeover),
];

/// Phases with their weights: what comes often in a sync comes often here.
const PHASES: [(u32, Phase); 11] = [
    (2, Phase::Plan),
    (3, Phase::ChunkOpen),
    (4, Phase::MidChunk),
    (4, Phase::ChunkCommit),
    (5, Phase::BetweenChunks),
    (3, Phase::Sweep),
    (2, Phase::IndexBuild),
    (3, Phase::Merge),
    (4, Phase::BeforeCommit),
    (2, Phase::AfterCommit),
    (1, Phase::Idle),
];

impl Author<'_> {
    pub(super) fn schedule(
        &mut self,
        primaries: &[PrimaryPlan],
        follows: &[usize],
        disturbed: Option<usize>,
        batches: usize,
    ) -> Vec<Act> {
        let secondaries = follows.len();
        let mut schedule = Vec::new();
        for primary in 0..primaries.len() {
            // Once in a while a secondary looks before there is anything.
            if self.chance(93) {
                schedule.extend(vec![Act::Commit { primary }; 1 + self.small(2)]);
            }
        }
        if let Some(secondary) = disturbed {
            schedule.extend(self.disturbed(follows[secondary], secondary));
        }
        if self.options.faults && self.chance(35) {
            let secondary = self.below(secondaries);
            schedule.extend(self.interrupted(follows[secondary], secondary));
        }
        for _ in 0..1 + self.small(6) + secondaries {
            let primary = self.below(primaries.len());
            let is_direct = primaries[primary].writer == Writer::Tables;
            let act = match self.weighted(&[(4, 0), (6, 1), (1, 2)]) {
                0 => Act::Commit { primary },
                2 if is_direct => Act::Begin {
                    primary,
                    status: self.pick(&[Unfinished::Started, Unfinished::Ingested, Unfinished::Failed]),
                },
                _ => {
                    let until_caught_up = self.chance(70);
                    let cues = self.cues(is_direct, batches);
                    let secondary = self.below(secondaries);
                    // A sync without anything new passes few of the points where something can go wrong.
                    if !cues.is_empty() && self.chance(60) {
                        schedule.push(Act::Commit { primary: follows[secondary] });
                    }
                    Act::Sync { secondary, until_caught_up, cues }
                }
            };
            schedule.push(act);
        }
        schedule
    }

    /// A seed, or an increment, whose primary's tables are disturbed among its chunks.
    fn disturbed(&mut self, primary: usize, secondary: usize) -> Vec<Act> {
        let fault = Fault { side: Side::Primary, ..Fault::of(self.weighted(&DISTURBANCES)) };
        let at = self.weighted(&[
            (2, Phase::ChunkOpen),
            (2, Phase::MidChunk),
            (2, Phase::ChunkCommit),
            (4, Phase::BetweenChunks),
        ]);
        let nth = self.weighted(&[(4, 1), (3, 2), (2, 3)]);
        let mut cues = vec![Cue { at, nth, what: What::Fault(fault) }];
        if fault.kind == FaultKind::PrimaryRestored && self.chance(80) {
            // It comes again to the ids that the sync has read, with other batches.
            cues.extend(vec![Cue { at, nth, what: What::Commit }; 1 + self.small(3)]);
        } else if self.chance(60) {
            cues.insert(0, Cue { at: Phase::BetweenChunks, nth: 1, what: What::Commit });
        }
        let sync = |until_caught_up, cues| Act::Sync { secondary, until_caught_up, cues };
        // What was closed before leaves room for rows that are written again to move into.
        let commit = Act::Commit { primary };
        let seeded = if self.chance(40) { vec![sync(true, Vec::new())] } else { Vec::new() };
        [seeded, vec![commit.clone(), commit, sync(self.chance(70), cues)]].concat()
    }

    /// A primary that goes back and comes again to the ids that a secondary holds, with other batches.
    pub(super) fn gone_back(&mut self, primary: usize, secondary: usize) -> Vec<Act> {
        let sync = |cues: Vec<Cue>| Act::Sync { secondary, until_caught_up: true, cues };
        let commit = Act::Commit { primary };
        let fault = Fault { side: Side::Primary, ..Fault::of(FaultKind::PrimaryRestored) };
        let at = self.pick(&[Phase::AfterCommit, Phase::Idle]);
        let restored = sync(vec![Cue { at, nth: 1, what: What::Fault(fault) }]);
        let commits = self.weighted(&[(1, 1), (2, 2), (3, 3)]);
        let again = vec![commit.clone(); commits];
        [vec![commit.clone(), commit, sync(Vec::new()), restored], again, vec![sync(Vec::new())]].concat()
    }

    /// An increment past whose watermark closed versions are removed before they are read.
    pub(super) fn pruned(&mut self, primary: usize, secondary: usize) -> Vec<Act> {
        let sync = |cues: Vec<Cue>| Act::Sync { secondary, until_caught_up: true, cues };
        let fault = Fault { side: Side::Primary, ..Fault::of(FaultKind::HistoryPruned) };
        let cue = Cue { at: Phase::Plan, nth: 1, what: What::Fault(fault) };
        let commits = |count: usize| vec![Act::Commit { primary }; count];
        [commits(1), vec![sync(Vec::new())], commits(1 + self.small(3)), vec![sync(vec![cue])]].concat()
    }

    /// A sync of several chunks that is interrupted among them, and taken up when the primary has gone on: an
    /// increment over two batches, or a seed.
    fn interrupted(&mut self, primary: usize, secondary: usize) -> Vec<Act> {
        let sync = |cues: Vec<Cue>| Act::Sync { secondary, until_caught_up: true, cues };
        let commit = Act::Commit { primary };
        let mut acts = Vec::new();
        if self.chance(70) {
            acts.extend([sync(Vec::new()), commit.clone(), commit.clone()]);
        }
        let mut fault = Fault::of(self.weighted(&INTERRUPTIONS));
        fault.side = settled_side(fault.kind).unwrap_or(self.pick(&[Side::Primary, Side::Secondary]));
        if matches!(fault.kind, FaultKind::RequestCut | FaultKind::AnswerCut) {
            fault.bytes = self.rng.random_range(1..1200);
        }
        fault.halfway = fault.kind == FaultKind::Takeover && self.chance(40);
        fault.unended = fault.kind == FaultKind::Takeover && self.chance(40);
        let at = self.weighted(&[
            (1, Phase::ChunkOpen),
            (2, Phase::MidChunk),
            (2, Phase::ChunkCommit),
            (5, Phase::BetweenChunks),
        ]);
        // Most of what the primary answers are rows: its answers are cut among them.
        let among_rows = fault.kind == FaultKind::AnswerCut && fault.side == Side::Primary;
        // Who loses the answer of a COMMIT, or is overtaken before one, shows most at the COMMIT of all the data.
        let is_of_commits = matches!(fault.kind, FaultKind::CommitAnswerLost | FaultKind::Takeover);
        let at = match at {
            _ if among_rows => Phase::ChunkOpen,
            Phase::ChunkOpen | Phase::MidChunk if is_of_commits => Phase::BeforeCommit,
            at => at,
        };
        let nth = self.weighted(&[(4, 1), (3, 2), (1, 3)]);
        acts.extend([sync(vec![Cue { at, nth, what: What::Fault(fault) }]), commit, sync(Vec::new())]);
        acts
    }

    fn cues(&mut self, is_direct: bool, batches: usize) -> Vec<Cue> {
        let mut cues = Vec::new();
        if self.chance(40) {
            for _ in 0..1 + self.small(batches) {
                cues.push(self.cue(What::Commit));
            }
        }
        if self.options.faults && self.chance(50) {
            for _ in 0..1 + self.small(3) {
                let Some(fault) = self.fault(is_direct) else { continue };
                if fault.kind == FaultKind::WorkerKilled {
                    // A process of its own takes no other cues.
                    return vec![self.cue(What::Fault(fault))];
                }
                cues.push(self.cue(What::Fault(fault)));
            }
        }
        cues
    }

    fn cue(&mut self, what: What) -> Cue {
        let at = self.weighted(&PHASES);
        // What comes once a sync is seldom waited for a second time.
        let nth = match at {
            Phase::ChunkOpen | Phase::MidChunk | Phase::ChunkCommit | Phase::BetweenChunks => {
                self.weighted(&[(6, 1), (3, 2), (2, 3), (1, 5)])
            }
            Phase::Plan
            | Phase::Sweep
            | Phase::IndexBuild
            | Phase::Merge
            | Phase::BeforeCommit
            | Phase::AfterCommit
            | Phase::Idle => self.weighted(&[(10, 1), (2, 2), (1, 3)]),
        };
        Cue { at, nth, what }
    }

    fn fault(&mut self, is_direct: bool) -> Option<Fault> {
        let kind = self.weighted(&FAULTS);
        if self.options.without.contains(&kind) || (kind.is_of_primary_tables() && !is_direct) {
            return None;
        }
        let side = if self.chance(50) { Side::Primary } else { Side::Secondary };
        let bytes = match kind {
            FaultKind::RequestCut | FaultKind::AnswerCut => {
                let magnitude = 1_u64 << self.below(13);
                magnitude + self.rng.random_range(0..magnitude)
            }
            _ => 0,
        };
        let halfway = kind == FaultKind::Takeover && self.chance(40);
        let unended = kind == FaultKind::Takeover && self.chance(40);
        let fault = Fault { kind, side: settled_side(kind).unwrap_or(side), bytes, halfway, unended };
        // A primary that the worker writes could not be written any more.
        let locks_out = matches!(kind, FaultKind::PermissionRevoked | FaultKind::TooManyConnections);
        (is_direct || !locks_out || fault.side == Side::Secondary).then_some(fault)
    }
}

/// The side of a fault that can only fall on one.
pub(crate) fn settled_side(kind: FaultKind) -> Option<Side> {
    match kind {
        FaultKind::CommitAnswerLost | FaultKind::DiskFull | FaultKind::Deadlock => Some(Side::Secondary),
        FaultKind::StatementTimeout => Some(Side::Primary),
        FaultKind::WorkerAborted
        | FaultKind::WorkerKilled
        | FaultKind::SecondWorker
        | FaultKind::Takeover => Some(Side::Secondary),
        FaultKind::PermissionRevoked => Some(Side::Primary),
        kind if kind.is_of_primary_tables() => Some(Side::Primary),
        _ => None,
    }
}
