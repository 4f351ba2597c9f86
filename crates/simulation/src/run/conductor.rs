//! Conducts one sync: at each step it does what the plan's cues say, and notices whether faults are felt.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use milestream_worker::observer::{Answer, Event as Step, Notice, NoticeKind, Observer, Step as At, Verdict};
use tokio::task::JoinHandle;

use super::Failure;
use super::helpers;
use super::inject::{Injection, Injector, Lift};
use super::watcher::Watcher;
use crate::fault::{Fault, FaultKind, Phase};
use crate::outcome::{Event, Sometimes};
use crate::plan::hands::Hand;
use crate::plan::{Cue, What};

/// The observer of one sync of the plan.
pub(crate) struct Conductor {
    pub(crate) watcher: Arc<Watcher>,
    injector: Arc<Injector>,
    cues: Mutex<Vec<Cue>>,
    begun: Mutex<BTreeMap<At, u32>>,
    active: Arc<Mutex<Option<Active>>>,
    /// Ends of faults that are being brought about.
    lifting: Mutex<Vec<JoinHandle<Result<(), Failure>>>>,
    /// Whether a fault is being injected: chunks that are copied side by side reach their steps side by side.
    is_injecting: AtomicBool,
    /// Whether a fault was injected in this sync.
    has_fired: AtomicBool,
    /// Commits of the run so far.
    commits: AtomicU64,
}

/// A conductor as an observer.
pub(crate) struct Conducting(pub(crate) Arc<Conductor>);

/// A fault that goes on.
pub(crate) struct Active {
    pub(crate) fault: Fault,
    pub(crate) phase: Phase,
    pub(crate) lift: Lift,
    /// Commits of the run before it.
    commits: u64,
}

impl Conductor {
    /// A conductor with these cues. `active` is what an earlier sync left.
    pub(crate) fn new(
        watcher: Arc<Watcher>,
        injector: Injector,
        cues: &[Cue],
        active: Option<Active>,
    ) -> Conductor {
        let has_fired = AtomicBool::new(active.is_some());
        Conductor {
            watcher,
            injector: Arc::new(injector),
            cues: Mutex::new(cues.to_vec()),
            begun: Mutex::default(),
            active: Arc::new(Mutex::new(active)),
            lifting: Mutex::default(),
            is_injecting: AtomicBool::new(false),
            has_fired,
            commits: AtomicU64::new(0),
        }
    }

    /// Whether a fault fell into this sync, so that it may have failed.
    pub(crate) fn has_fired(&self) -> bool {
        self.has_fired.load(Ordering::SeqCst)
    }

    /// Takes over what goes on from an earlier sync.
    pub(crate) fn go_on_with(&self, active: Option<Active>) {
        *lock(&self.active) = active;
    }

    fn is_active(&self) -> bool {
        lock(&self.active).is_some()
    }

    /// What goes on at the primary may keep it from committing as well.
    fn is_primary_free(&self) -> bool {
        lock(&self.active).as_ref().is_none_or(|active| !active.fault.keeps_primary_from_committing())
    }

    /// The cues that are due, in the plan's order: a fault when none is going on, a batch when none goes on at the
    /// primary.
    fn due(&self, step: At, phase: Phase, is_meant: impl Fn(What) -> bool) -> Vec<What> {
        let begun = {
            let mut begun = lock(&self.begun);
            let count = begun.entry(step).or_default();
            *count += 1;
            *count
        };
        let mut is_free = !self.is_active() && !self.is_injecting.load(Ordering::SeqCst);
        let is_primary_free = self.is_primary_free();
        let mut due = Vec::new();
        lock(&self.cues).retain(|cue| {
            let is_free_for = match cue.what {
                What::Commit => is_primary_free,
                What::Fault(_) => is_free,
                What::Hand(_) | What::Helper { .. } => true,
            };
            let is_due = cue.at == phase && cue.nth <= begun && is_free_for && is_meant(cue.what);
            if is_due {
                let is_fault = matches!(cue.what, What::Fault(_));
                is_free &= !is_fault;
                self.is_injecting.fetch_or(is_fault, Ordering::SeqCst);
                due.push(cue.what);
            }
            !is_due
        });
        due
    }

    async fn act(self: &Arc<Self>, step: &Step) -> Verdict {
        let verdict = self.watcher.watch(step).await;
        if verdict != Verdict::GoOn {
            return verdict;
        }
        // A batch before the plan would only be one more before the sync; one behind it is beyond its target.
        let due = match (step.step, Phase::of(step.step)) {
            (At::Leased, Some(phase)) => (phase, self.due(step.step, phase, |what| what != What::Commit)),
            (At::Planned, _) => (Phase::Plan, self.due(step.step, Phase::Plan, |what| what == What::Commit)),
            (_, Some(phase)) => (phase, self.due(step.step, phase, |_| true)),
            (_, None) => return verdict,
        };
        let (phase, mut verdict) = (due.0, Verdict::GoOn);
        for what in due.1 {
            let (conductor, step) = (Arc::clone(self), step.clone());
            let done = self.watcher.to_its_end(async move {
                match what {
                    What::Commit => conductor.commit(phase).await,
                    What::Hand(hand) => conductor.meddle(hand).await,
                    What::Helper { freezes } => {
                        helpers::join(&step, &conductor.watcher, freezes);
                        Ok(Verdict::GoOn)
                    }
                    What::Fault(fault) => {
                        let injected = conductor.inject(fault, phase, &step).await;
                        conductor.is_injecting.store(false, Ordering::SeqCst);
                        injected
                    }
                }
            });
            match done.await {
                Ok(Verdict::GoOn) => {}
                Ok(other) => verdict = other,
                Err(failure) => {
                    self.watcher.failed(failure);
                    return Verdict::StopHere;
                }
            }
        }
        if step.step == At::AfterCommit {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        verdict
    }

    async fn commit(&self, phase: Phase) -> Result<Verdict, Failure> {
        if self.watcher.primary.lock().await.commit(&[], &self.watcher.recorder).await?
            && phase == Phase::BetweenChunks
        {
            self.watcher.recorder.saw(Sometimes::BatchBetweenChunks);
        }
        Ok(Verdict::GoOn)
    }

    async fn meddle(&self, hand: Hand) -> Result<Verdict, Failure> {
        let secondary = &self.watcher.secondary;
        if secondary.meddle(hand).await? {
            let (secondary, what) = (secondary.plan.name.clone(), format!("a hand {}", hand.does.meaning()));
            self.watcher.recorder.happened(Event::Operator { secondary, what });
        }
        Ok(Verdict::GoOn)
    }

    async fn inject(&self, fault: Fault, phase: Phase, step: &Step) -> Result<Verdict, Failure> {
        let Some(injection) = self.injector.inject(fault, step, &self.watcher).await? else {
            return Ok(Verdict::GoOn);
        };
        let recorder = &self.watcher.recorder;
        self.has_fired.store(true, Ordering::SeqCst);
        recorder.fired(fault.kind, phase);
        let (secondary, text) = (self.watcher.secondary.plan.name.clone(), fault.to_string());
        recorder.happened(Event::Fault { secondary, fault: text, phase });
        let Injection { verdict, felt, lift } = injection;
        let active = Active { fault, phase, lift, commits: self.commits.load(Ordering::SeqCst) };
        if felt {
            self.felt(active, "at once");
        } else {
            *lock(&self.active) = Some(active);
        }
        Ok(verdict)
    }

    /// What is going on was felt: it is counted, and brought to its end.
    fn felt(&self, active: Active, what: &str) {
        let recorder = &self.watcher.recorder;
        // A rewrite that takes its time may begin where nothing is read, and be met by a read behind that: of this sync, where
        // it began at the plan, or of the next.
        let is_met_later =
            active.phase.reads_nothing() || active.commits < self.commits.load(Ordering::SeqCst);
        if !(active.fault.kind.rewrites() && is_met_later) {
            recorder.felt(active.fault.kind, active.phase);
            let (secondary, what) = (self.watcher.secondary.plan.name.clone(), what.to_owned());
            recorder.happened(Event::Felt { secondary, what });
        }
        let lifting = tokio::spawn(active.lift.bring_about());
        lock(&self.lifting).push(lifting);
    }

    /// The sync failed: whatever is going on was felt.
    pub(crate) fn failed(&self, error: &str) {
        let active = lock(&self.active).take();
        if let Some(active) = active {
            self.felt(active, error);
        }
    }

    /// Waits for the ends of faults; what still goes on and may be felt by the next sync.
    pub(crate) async fn finish(&self) -> Result<Option<Active>, Failure> {
        self.watcher.settle().await;
        let active = lock(&self.active).take();
        let left = match active {
            Some(active) if active.lift.was_noticed() => {
                self.felt(active, "bytes were held back");
                None
            }
            // What began when this sync had nothing more to do can only be felt by the next one.
            Some(active) if is_left(&active) => Some(active),
            Some(active) => {
                active.lift.bring_about().await?;
                None
            }
            None => None,
        };
        let lifting = std::mem::take(&mut *lock(&self.lifting));
        for lifted in lifting {
            lifted.await.map_err(|panic| Failure::Set { what: format!("ending a fault: {panic}") })??;
        }
        Ok(left)
    }
}

/// Whether the next sync may feel it: what begins when this one has nothing more to do, and what has become of the
/// primary. Sessions that are gone or frozen are not the next sync's.
fn is_left(active: &Active) -> bool {
    match active.fault.kind {
        FaultKind::PrimaryRestored | FaultKind::HistoryPruned | FaultKind::ColumnAdded => true,
        kind if kind.rewrites() => false,
        FaultKind::HalfOpen | FaultKind::BackendTerminated => active.phase == Phase::AfterCommit,
        _ => matches!(active.phase, Phase::AfterCommit | Phase::Idle),
    }
}

impl Observer for Conducting {
    fn at<'a>(&'a self, event: &'a Step) -> Answer<'a> {
        Box::pin(self.0.act(event))
    }

    fn notice(&self, notice: &Notice) {
        self.0.note(notice);
    }
}

impl Conductor {
    fn note(&self, notice: &Notice) {
        self.watcher.note(notice);
        let is_felt = match notice.kind {
            NoticeKind::Retry | NoticeKind::Replanned | NoticeKind::TookOver => true,
            NoticeKind::Resumed
            | NoticeKind::Paused
            | NoticeKind::GoesOn
            | NoticeKind::Helped
            | NoticeKind::Warning => false,
        };
        if !is_felt {
            return;
        }
        let active = {
            let mut active = lock(&self.active);
            if active.as_ref().is_some_and(|active| active.lift.is_felt_by(&notice.text)) {
                active.take()
            } else {
                None
            }
        };
        if let Some(active) = active {
            self.felt(active, &notice.text);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
