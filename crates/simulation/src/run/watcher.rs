//! Watches one secondary's workers: keeps the books of what they planned and copied, and judges every commit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use milestream_worker::observer::{
    Answer, Event as Step, Happening, Notice, NoticeKind, Observer, Step as At, Verdict,
};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Failure;
use super::ledger::{Capture, When};
use super::primary::PrimaryState;
use super::record::Recorder;
use super::secondary::SecondaryState;
use crate::outcome::{Event, Property, Sometimes};

/// A watcher of one secondary.
pub(crate) struct Watcher {
    pub(crate) primary: Arc<tokio::sync::Mutex<PrimaryState>>,
    pub(crate) secondary: Arc<SecondaryState>,
    pub(crate) recorder: Arc<Recorder>,
    /// Generation of the plan that is worked at, by stream.
    generations: Mutex<BTreeMap<String, i32>>,
    is_sweeping: AtomicBool,
    has_retried: AtomicBool,
    /// Something of the simulation itself that failed.
    failure: Mutex<Option<Failure>>,
    /// Looks at commits, and whatever else must come to its end though the worker that waits for it is dropped: a
    /// worker that loses its lease is, wherever it stands.
    tasks: TaskTracker,
    /// Ends those that are there for as long as the sync is.
    settled: Mutex<CancellationToken>,
}

/// A watcher as an observer of its own.
pub(crate) struct Watching(pub(crate) Arc<Watcher>);

impl Watcher {
    pub(crate) fn new(
        primary: Arc<tokio::sync::Mutex<PrimaryState>>,
        secondary: Arc<SecondaryState>,
        recorder: Arc<Recorder>,
    ) -> Watcher {
        Watcher {
            primary,
            secondary,
            recorder,
            generations: Mutex::default(),
            is_sweeping: AtomicBool::new(false),
            has_retried: AtomicBool::new(false),
            failure: Mutex::default(),
            tasks: TaskTracker::new(),
            settled: Mutex::default(),
        }
    }

    /// Cancelled when the sync is over.
    pub(crate) fn until_settled(&self) -> CancellationToken {
        self.settled.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// A watcher of another worker on the same secondary.
    pub(crate) fn twin(&self) -> Watcher {
        Watcher::new(Arc::clone(&self.primary), Arc::clone(&self.secondary), Arc::clone(&self.recorder))
    }

    /// Starts something that is waited for when the sync is over, if not before.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Runs something to its end, whether or not the caller is there to see it.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let ended = self.tasks.spawn(work).await;
        ended.unwrap_or_else(|panic| Err(Failure::Set { what: format!("a task of the simulation: {panic}") }))
    }

    /// Waits for what nobody waits for any more.
    pub(crate) async fn settle(&self) {
        std::mem::take(&mut *self.settled.lock().unwrap_or_else(|poisoned| poisoned.into_inner())).cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What failed in the simulation itself, if anything did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    pub(crate) fn failed(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(failure);
    }

    /// Takes an event down. The sync ends here once a promise is broken: what follows may follow from that.
    pub(crate) async fn watch(self: &Arc<Self>, step: &Step) -> Verdict {
        let (watcher, step) = (Arc::clone(self), step.clone());
        match self.to_its_end(async move { watcher.take_down(&step).await }).await {
            Err(failure) => {
                self.failed(failure);
                Verdict::StopHere
            }
            Ok(()) if self.recorder.is_violated() => Verdict::StopHere,
            Ok(()) => Verdict::GoOn,
        }
    }

    async fn take_down(&self, step: &Step) -> Result<(), Failure> {
        match (step.step, &step.happening) {
            (At::Planned, Happening::Plan { from, to, generation, chunks_done, .. }) => {
                let from = from.map(|batch| batch.0);
                self.catch_up_with(&step.stream, from).await?;
                self.planned(&step.stream, from, to.0, *generation, *chunks_done).await;
            }
            (At::ChunkOpened, Happening::Chunk { chunk, count, .. }) => {
                self.opened(&step.stream, ordinals(*chunk, *count)).await;
            }
            (At::ChunkCommitted, Happening::Chunk { chunk, count, rows, .. }) => {
                if self.is_sweeping.load(Ordering::SeqCst) && *rows > 0 {
                    self.recorder.saw(Sometimes::SweepFoundARow);
                }
                self.done(&step.stream, ordinals(*chunk, *count)).await;
            }
            (At::Sweeping, _) => self.is_sweeping.store(true, Ordering::SeqCst),
            (At::Swept, _) => self.is_sweeping.store(false, Ordering::SeqCst),
            (At::AfterCommit, Happening::Commit { watermark, .. }) => {
                self.committed(&step.stream, watermark.0, When::AtOnce).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A commit whose answer was lost is not reported; the next plan begins where it led to.
    async fn catch_up_with(&self, stream: &str, from: Option<i32>) -> Result<(), Failure> {
        let unreported = {
            let follower = self.secondary.follower(stream);
            let ledger = follower.ledger.lock().await;
            let to = ledger.capture.as_ref().map(|capture| capture.to);
            let before = ledger.held.as_ref().map(|held| held.watermark);
            match from.filter(|from| to == Some(*from)) {
                Some(from) if before.is_none_or(|before| before < from) => Some(from),
                // Datasets that came have the watermark of the others.
                Some(from) if self.secondary.has_more_history(follower, &ledger).await? => Some(from),
                _ => None,
            }
        };
        match unreported {
            Some(watermark) => self.committed(stream, watermark, When::Later).await,
            None => Ok(()),
        }
    }

    /// The generation of the plan that the worker is at from now on.
    pub(crate) fn works_at(&self, stream: &str, generation: i32) {
        let mut generations = self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        generations.insert(stream.to_owned(), generation);
    }

    async fn planned(&self, stream: &str, from: Option<i32>, to: i32, generation: i32, chunks_done: u64) {
        self.works_at(stream, generation);
        let primary = self.primary.lock().await;
        let follower = self.secondary.follower(stream);
        let mut ledger = follower.ledger.lock().await;
        let at = format!("{} of {stream:?}", self.secondary.plan.name);
        let resumed = match &ledger.capture {
            Some(capture) if capture.generation == generation => {
                if (capture.from, capture.to) != (from, to) {
                    let what = format!(
                        "{at}: taken up from {from:?} to {to}, planned from {:?} to {}",
                        capture.from, capture.to
                    );
                    self.recorder.violated(Property::Once, what);
                }
                true
            }
            // Where a hand was at it, what is read by blocks lacks rows and is read in another way; a batch that is refused is
            // left for a later one.
            Some(capture)
                if capture.disturbances == primary.disturbances()
                    // What it needs may have been removed before it was planned.
                    && capture.from.is_none_or(|from| primary.stream(stream).pruned_before <= from)
                    && !ledger.is_by_hand()
                    && !ledger.is_meddled_with
                    && self.secondary.too_many_deletes(follower, &ledger, capture).is_none() =>
            {
                let what = format!(
                    "{at}: the sync from {:?} to {} was given up for one from {from:?} to {to} without need",
                    capture.from, capture.to
                );
                self.recorder.violated(Property::NoReseed, what);
                false
            }
            _ => false,
        };
        let held = ledger.held.as_ref().map(|held| held.watermark);
        // A dataset that came is seeded by itself, as of the watermark of the others.
        let comes = from.is_none() && held == Some(to) && ledger.lacks_any(follower.tables());
        if from != held && !ledger.was_reset && !comes {
            let what = format!("{at}: a plan begins at {from:?}, the secondary holds {held:?}");
            self.recorder.violated(Property::NoReseed, what);
        }
        if !resumed {
            ledger.done.clear();
            ledger.capture = Some(Capture::of(&primary, stream, generation, from, to));
        } else if chunks_done > 0 {
            let sometimes =
                if from.is_none() { Sometimes::ResumedASeed } else { Sometimes::ResumedAnIncrement };
            self.recorder.saw(sometimes);
        }
        let (secondary, stream) = (self.secondary.plan.name.clone(), stream.to_owned());
        self.recorder.happened(Event::Planned { secondary, stream, from, to, resumed });
    }

    fn generation(&self, stream: &str) -> i32 {
        let generations = self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        generations.get(stream).copied().unwrap_or_default()
    }

    async fn opened(&self, stream: &str, chunks: Range<i32>) {
        let ledger = self.secondary.follower(stream).ledger.lock().await;
        let generation = self.generation(stream);
        for chunk in chunks.filter(|chunk| ledger.done.contains(&(generation, *chunk))) {
            let what = format!(
                "{} of {stream:?}: chunk {chunk} was done and is copied again",
                self.secondary.plan.name
            );
            self.recorder.violated(Property::Once, what);
        }
    }

    async fn done(&self, stream: &str, chunks: Range<i32>) {
        let mut ledger = self.secondary.follower(stream).ledger.lock().await;
        let generation = self.generation(stream);
        for chunk in chunks.filter(|chunk| !ledger.done.insert((generation, *chunk))) {
            let what =
                format!("{} of {stream:?}: chunk {chunk} was committed twice", self.secondary.plan.name);
            self.recorder.violated(Property::Once, what);
        }
    }

    async fn committed(&self, stream: &str, watermark: i32, when: When) -> Result<(), Failure> {
        let primary = self.primary.lock().await;
        let pruned_before = primary.stream(stream).pruned_before;
        if primary.stream(stream).tables.len() > 1 {
            self.recorder.saw(Sometimes::SeveralDatasets);
        }
        drop(primary);
        {
            let ledger = self.secondary.follower(stream).ledger.lock().await;
            if ledger.capture.as_ref().is_some_and(Capture::has_inserted_and_deleted) {
                self.recorder.saw(Sometimes::DroppedAnInsertAndDelete);
            }
        }
        if self.has_retried.swap(false, Ordering::SeqCst) {
            self.recorder.saw(Sometimes::RetrySucceeded);
        }
        self.secondary.check_commit(stream, watermark, Some(pruned_before), when, &self.recorder).await?;
        let (secondary, stream) = (self.secondary.plan.name.clone(), stream.to_owned());
        self.recorder.happened(Event::Watermark { secondary, stream, batch: watermark });
        Ok(())
    }

    /// Takes a notice down.
    pub(crate) fn note(&self, notice: &Notice) {
        if matches!(notice.kind, NoticeKind::Retry | NoticeKind::Replanned) {
            let (secondary, what) = (self.secondary.plan.name.clone(), notice.text.clone());
            self.recorder.happened(Event::BeganAgain { secondary, what });
        }
        match notice.kind {
            NoticeKind::Retry => self.has_retried.store(true, Ordering::SeqCst),
            NoticeKind::Replanned => self.recorder.saw(Sometimes::FoundARewrite),
            NoticeKind::TookOver
            | NoticeKind::Resumed
            | NoticeKind::Helped
            | NoticeKind::Paused
            | NoticeKind::GoesOn
            | NoticeKind::Warning => {}
        }
    }
}

/// The ordinals of chunks that are copied together.
fn ordinals(first: i32, count: u32) -> Range<i32> {
    first..first.saturating_add_unsigned(count)
}

impl Observer for Watching {
    fn at<'a>(&'a self, event: &'a Step) -> Answer<'a> {
        Box::pin(self.0.watch(event))
    }

    fn notice(&self, notice: &Notice) {
        self.0.note(notice);
    }
}
