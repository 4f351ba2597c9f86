//! What falls into an ingestion: faults of its links and sessions, and a source that changes while it is read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use milestream_worker::observer::{Answer, Event, Notice, NoticeKind, Observer, Step, Verdict};

use super::super::Failure;
use super::super::inject::{Lift, cut, terminate};
use super::super::stage::Place;
use crate::fault::{Fault, FaultKind, Phase, Side};
use crate::plan::{Cue, What};
use crate::proxy::Direction;

/// The observer of one ingestion, over all of its runs.
pub(super) struct Disturbed {
    source: Arc<Place>,
    store: Arc<Place>,
    cues: Mutex<Vec<Cue>>,
    begun: Mutex<BTreeMap<Step, u32>>,
    /// Transactions of the source that are carried out on cues, in order.
    changes: Vec<String>,
    /// How many of them were carried out.
    made: AtomicUsize,
    /// Transactions of the source that the snapshot which was read last has, of those that the primary lacks.
    seen: AtomicUsize,
    /// Such transactions before the first run.
    before: usize,
    lift: Mutex<Option<Lift>>,
    has_fired: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl Disturbed {
    /// An observer with these cues. `changes` are transactions of the source, one a cue that asks for a batch; `before`
    /// were carried out already that the primary lacks.
    pub(super) fn new(
        source: Arc<Place>,
        store: Arc<Place>,
        cues: &[Cue],
        changes: Vec<String>,
        before: usize,
    ) -> Disturbed {
        Disturbed {
            source,
            store,
            cues: Mutex::new(cues.to_vec()),
            begun: Mutex::default(),
            changes,
            made: AtomicUsize::new(0),
            seen: AtomicUsize::new(before),
            before,
            lift: Mutex::default(),
            has_fired: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// How many of the transactions that cues ask for were carried out.
    pub(super) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// How many transactions that the primary lacks are in the snapshot that was read last.
    pub(super) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Whether a fault fell.
    pub(super) fn has_fired(&self) -> bool {
        self.has_fired.load(Ordering::SeqCst)
    }

    /// Ends what goes on when a run is over.
    pub(super) async fn finish(&self) -> Result<(), Failure> {
        let lift = lock(&self.lift).take();
        if let Some(lift) = lift {
            lift.bring_about().await?;
        }
        lock(&self.failure).take().map_or(Ok(()), Err)
    }

    fn due(&self, step: Step) -> Vec<What> {
        let Some(phase) = Phase::of(step) else { return Vec::new() };
        let begun = {
            let mut begun = lock(&self.begun);
            let count = begun.entry(step).or_default();
            *count += 1;
            *count
        };
        let mut due = Vec::new();
        lock(&self.cues).retain(|cue| {
            let is_due = cue.at == phase && cue.nth <= begun;
            due.extend(is_due.then_some(cue.what));
            !is_due
        });
        due
    }

    async fn act(&self, step: Step) -> Verdict {
        // The snapshot is taken between the lease and the plan.
        if step == Step::Planned {
            self.seen.store(self.before + self.made(), Ordering::SeqCst);
        }
        let mut verdict = Verdict::GoOn;
        for what in self.due(step) {
            let done = match what {
                What::Commit => self.change().await,
                What::Fault(fault) => self.inject(fault, &mut verdict).await,
                What::Hand(_) | What::Helper { .. } => Ok(()),
            };
            if let Err(failure) = done {
                lock(&self.failure).get_or_insert(failure);
                return Verdict::StopHere;
            }
        }
        verdict
    }

    async fn change(&self) -> Result<(), Failure> {
        if let Some(change) = self.changes.get(self.made()) {
            self.source.execute(change).await?;
            self.made.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn inject(&self, fault: Fault, verdict: &mut Verdict) -> Result<(), Failure> {
        let place = match fault.side {
            Side::Primary => &self.source,
            Side::Secondary => &self.store,
        };
        let lift = match fault.kind {
            FaultKind::WorkerAborted => {
                *verdict = Verdict::StopHere;
                Lift::Nothing
            }
            FaultKind::RequestCut => cut(place, Direction::Requests, fault.bytes),
            FaultKind::AnswerCut => cut(place, Direction::Answers, fault.bytes),
            FaultKind::CommitAnswerLost => {
                place.proxy.lose_commit_answer();
                Lift::Calm(place.proxy.clone())
            }
            FaultKind::HalfOpen => {
                place.proxy.freeze();
                Lift::Calm(place.proxy.clone())
            }
            FaultKind::BackendTerminated => {
                terminate(place).await?;
                Lift::Nothing
            }
            _ => return Ok(()),
        };
        self.has_fired.store(true, Ordering::SeqCst);
        // Of two at once the first ends when the second begins.
        let former = lock(&self.lift).replace(lift);
        match former {
            Some(former) => former.bring_about().await,
            None => Ok(()),
        }
    }
}

impl Observer for Disturbed {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        Box::pin(self.act(event.step))
    }

    fn notice(&self, notice: &Notice) {
        if notice.kind == NoticeKind::Retry
            && let Some(Lift::Calm(proxy)) = lock(&self.lift).take()
        {
            proxy.calm();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
