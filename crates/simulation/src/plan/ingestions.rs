//! Ingestions into which faults and changes of their source fall.

use proptest::prelude::*;

use super::generate::Author;
use super::{Act, Cue, Formula, Plan, What, Writer};
use crate::fault::{Fault, FaultKind, Phase, Side};

impl Author<'_> {
    /// Batches of primaries that the worker writes become ingestions into which something falls.
    pub(super) fn disturb_ingestions(&mut self, plan: &mut Plan) {
        for primary in plan.primaries.iter_mut().filter(|primary| primary.writer == Writer::Worker) {
            primary.hash = self.pick(&[Formula::Datasurface, Formula::Strict]);
            primary.live_only_beside = self.chance(50);
        }
        // Hands of the primary have ingestions of their own.
        let is_meant = |act: &Act| match act {
            Act::Commit { primary } => plan.primaries[*primary].writer == Writer::Worker,
            _ => false,
        };
        let meant: Vec<usize> = (0..plan.schedule.len()).filter(|at| is_meant(&plan.schedule[*at])).collect();
        for at in meant {
            if let (Act::Commit { primary }, true) = (plan.schedule[at].clone(), self.chance(50)) {
                let cues = (0..1 + self.small(3)).map(|_| self.cue_of_ingestion()).collect();
                plan.schedule[at] = Act::Ingest { primary, cues };
            }
        }
    }

    fn cue_of_ingestion(&mut self) -> Cue {
        let at = self.weighted(&[
            (2, Phase::Plan),
            (2, Phase::ChunkOpen),
            (2, Phase::MidChunk),
            (2, Phase::ChunkCommit),
            (2, Phase::BetweenChunks),
            (3, Phase::Merge),
            (4, Phase::BeforeCommit),
            (2, Phase::AfterCommit),
        ]);
        let nth = self.weighted(&[(4, 1), (1, 2)]);
        if self.chance(35) {
            return Cue { at, nth, what: What::Commit };
        }
        let kind = self.weighted(&[
            (4, FaultKind::WorkerAborted),
            (2, FaultKind::RequestCut),
            (2, FaultKind::AnswerCut),
            (4, FaultKind::CommitAnswerLost),
            (2, FaultKind::BackendTerminated),
            (1, FaultKind::HalfOpen),
        ]);
        // A commit is of the platform that is written.
        let side = if kind != FaultKind::CommitAnswerLost && self.chance(40) {
            Side::Primary
        } else {
            Side::Secondary
        };
        let is_cut = matches!(kind, FaultKind::RequestCut | FaultKind::AnswerCut);
        let bytes = if is_cut { self.rng.random_range(1..1_200) } else { 0 };
        Cue { at, nth, what: What::Fault(Fault { side, bytes, ..Fault::of(kind) }) }
    }
}
