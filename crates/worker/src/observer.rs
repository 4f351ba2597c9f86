//! The worker reports every step it takes to an *observer* that is passed in.
//!
//! Progress display, logs, tests and the simulation all listen to the same typed events. An observer answers
//! each event with a [`Verdict`], so that a fault can be placed at an exact step instead of at a moment in time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use milestream_core::milestone::{LocalBatch, PrimaryBatch};

/// A named point in the life of a sync, in the order in which a seed passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The lease of the stream is held.
    Leased,
    /// X, Y and the chunks are stored; no row has moved.
    Planned,
    /// A chunk's read transaction on the primary is open and checked, nothing is copied yet.
    ChunkOpened,
    /// Some rows of a chunk have been sent to the secondary; its transaction is still open.
    MidChunk,
    /// All rows of a chunk are sent and its mark is written; COMMIT is about to be sent.
    ChunkCommitting,
    /// A chunk is durable on the secondary.
    ChunkCommitted,
    /// Every chunk is durable; the sweep for versions closed meanwhile is about to begin.
    Sweeping,
    /// The sweep's rows are durable.
    Swept,
    /// An index of a landing table has been built.
    IndexBuilt,
    /// The landing tables are complete and counted.
    Landed,
    /// The merge transaction is open.
    Merging,
    /// Everything is written; COMMIT of data and watermark is about to be sent.
    BeforeCommit,
    /// The new watermark is durable.
    AfterCommit,
    /// There is nothing to do.
    Idle,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Step; 14] = [
        Step::Leased,
        Step::Planned,
        Step::ChunkOpened,
        Step::MidChunk,
        Step::ChunkCommitting,
        Step::ChunkCommitted,
        Step::Sweeping,
        Step::Swept,
        Step::IndexBuilt,
        Step::Landed,
        Step::Merging,
        Step::BeforeCommit,
        Step::AfterCommit,
        Step::Idle,
    ];

    /// The name used on the command line and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Step::Leased => "leased",
            Step::Planned => "planned",
            Step::ChunkOpened => "chunk-opened",
            Step::MidChunk => "mid-chunk",
            Step::ChunkCommitting => "chunk-committing",
            Step::ChunkCommitted => "chunk-committed",
            Step::Sweeping => "sweeping",
            Step::Swept => "swept",
            Step::IndexBuilt => "index-built",
            Step::Landed => "landed",
            Step::Merging => "merging",
            Step::BeforeCommit => "before-commit",
            Step::AfterCommit => "after-commit",
            Step::Idle => "idle",
        }
    }

    /// The step of that name.
    pub fn parse(name: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.name() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happened, with the figures of the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A step without figures of its own.
    Reached,
    /// A sync is planned, or taken up again where it stood.
    Plan {
        /// `None` for a seed, else the watermark the increment starts from.
        from: Option<PrimaryBatch>,
        /// The primary batch whose state the secondary will hold.
        to: PrimaryBatch,
        /// The batch of the secondary's own stream.
        local: LocalBatch,
        /// Generation of the plan; it grows when a seed has to be planned again.
        generation: i32,
        /// Chunks in the plan.
        chunks: u64,
        /// Of these, the ones that were durable already.
        chunks_done: u64,
        /// Rows expected in all, as estimated from statistics.
        rows_estimated: u64,
        /// Rows durable already.
        rows_done: u64,
    },
    /// Figures of one chunk.
    Chunk {
        /// The dataset the chunk belongs to.
        dataset: String,
        /// Ordinal of the chunk within the plan.
        chunk: i32,
        /// Chunks that are copied together, this one and those behind it; 1 for most.
        count: u32,
        /// Rows so far; 0 while it is opened.
        rows: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// Rows of one dataset, after a sweep or a landing.
    Dataset {
        /// The dataset.
        dataset: String,
        /// Rows swept or landed.
        rows: u64,
    },
    /// A sync is committed.
    Commit {
        /// The new watermark.
        watermark: PrimaryBatch,
        /// Rows inserted.
        inserted: u64,
        /// Rows updated.
        updated: u64,
        /// Rows deleted.
        deleted: u64,
    },
}

/// One event of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Key of the stream on the platform.
    pub stream: String,
    /// Where the sync stands.
    pub step: Step,
    /// What happened there.
    pub happening: Happening,
}

/// Something worth knowing that is not a step: retries, takeovers, plans made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Key of the stream on the platform.
    pub stream: String,
    /// What kind of thing happened.
    pub kind: NoticeKind,
    /// The sentence a person reads.
    pub text: String,
}

/// Kinds of [`Notice`], for those who count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A transient error; the sync is tried again after a pause.
    Retry,
    /// A seed had to be planned anew: its table was rewritten or changed in place.
    Replanned,
    /// An expired lease was taken over from another worker.
    TookOver,
    /// A sync in flight was taken up where it stood.
    Resumed,
    /// Something about chunks that another process helps to copy.
    Helped,
    /// The database that is read has enough to do; the copy waits before its next chunk.
    Paused,
    /// A pause is over.
    GoesOn,
    /// Something unusual that needs no action now.
    Warning,
}

/// An observer's answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    GoOn,
    /// Behave as if a transient error with this text had happened here.
    FailHere(String),
    /// Stop the sync here, as if the process had ended: nothing is tidied up.
    StopHere,
}

/// The future of an observer's answer.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// Listens to a worker.
pub trait Observer: Send + Sync {
    /// Called at each step, before the worker goes on; the worker waits for the answer.
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a>;

    /// Called for what is no step.
    fn notice(&self, _notice: &Notice) {}
}

/// An observer that lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn at<'a>(&'a self, _event: &'a Event) -> Answer<'a> {
        Box::pin(std::future::ready(Verdict::GoOn))
    }
}

/// Several observers in order; the first answer that is not "go on" counts.
#[derive(Clone, Default)]
pub struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    /// Adds one more listener.
    #[must_use]
    pub fn and(mut self, observer: Arc<dyn Observer>) -> Self {
        self.0.push(observer);
        self
    }
}

impl Observer for Observers {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        Box::pin(async move {
            for observer in &self.0 {
                let verdict = observer.at(event).await;
                if verdict != Verdict::GoOn {
                    return verdict;
                }
            }
            Verdict::GoOn
        })
    }

    fn notice(&self, notice: &Notice) {
        for observer in &self.0 {
            observer.notice(notice);
        }
    }
}
