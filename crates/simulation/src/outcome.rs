//! What came of a history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::{FaultKind, Phase};

/// A promise of Milestream that a history checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// A secondary's tables equal the model as of its watermark, row by row, column by column.
    Exactness,
    /// No reader sees the watermark without its data, or data without their watermark.
    Together,
    /// The watermark never falls without a recorded reset.
    Monotony,
    /// Nothing is applied twice, and no chunk that was done is copied again.
    Once,
    /// Nothing is seeded or planned again without need.
    NoReseed,
    /// `batch_counter`, `batch_metrics`, `sync_history` and `sync_stream` say what took place, and go on saying it.
    Metrics,
    /// A secondary's tables keep their columns, keys, indexes, rights and views.
    Structure,
    /// Chunk rows and landing tables go with the commit, staging rows by their policy.
    Leftovers,
    /// The primary is never written to.
    ReadOnly,
    /// A primary that the worker writes has every version of its source's records, and no ingestion fails without a cause.
    Ingestion,
    /// When faults stop, one sync brings every secondary up to date.
    Convergence,
    /// What the worker does not survive fails by a name that fits, and no other way.
    Definite,
    /// Nothing panics, hangs or calls itself a bug.
    Sound,
}

impl Property {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Property::Exactness => "exactness",
            Property::Together => "together",
            Property::Monotony => "monotony",
            Property::Once => "once",
            Property::NoReseed => "no-reseed",
            Property::Metrics => "metrics",
            Property::Structure => "structure",
            Property::Ingestion => "ingestion",
            Property::Leftovers => "leftovers",
            Property::ReadOnly => "read-only",
            Property::Convergence => "convergence",
            Property::Definite => "definite",
            Property::Sound => "sound",
        }
    }

    /// The promise in a sentence, as a person reads it.
    pub fn promise(self) -> &'static str {
        match self {
            Property::Exactness => {
                "a secondary's tables equal the model as of its watermark, row by row, column by column"
            }
            Property::Together => {
                "no reader sees the watermark without its data, or data without their watermark"
            }
            Property::Monotony => "the watermark never falls without a recorded reset",
            Property::Once => "nothing is applied twice, and no chunk that was done is copied again",
            Property::NoReseed => "nothing is seeded or planned again without need",
            Property::Metrics => {
                "batch_counter, batch_metrics, sync_history and sync_stream say what took place, and go on saying it"
            }
            Property::Structure => "a secondary's tables keep their columns, keys, indexes, rights and views",
            Property::Ingestion => {
                "a primary that the worker writes has every version of its source's records, and no ingestion fails without a cause"
            }
            Property::Leftovers => {
                "chunk rows and landing tables go with the commit, staging rows by their policy"
            }
            Property::ReadOnly => "the primary is never written to",
            Property::Convergence => "when faults stop, one sync brings every secondary up to date",
            Property::Definite => {
                "what the worker does not survive fails by a name that fits, and no other way"
            }
            Property::Sound => "nothing panics, hangs or calls itself a bug",
        }
    }

    /// The process's exit code when it is violated: 127 crash, 128 no convergence, 129 wrong data.
    pub fn exit_code(self) -> u8 {
        match self {
            Property::Sound => 127,
            Property::Convergence | Property::Definite | Property::NoReseed => 128,
            Property::Exactness
            | Property::Together
            | Property::Monotony
            | Property::Once
            | Property::Metrics
            | Property::Structure
            | Property::Ingestion
            | Property::Leftovers
            | Property::ReadOnly => 129,
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// Where and how; of wrong data, the rows that differ.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// Something that must happen now and then, or the histories are too tame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sometimes {
    /// A seed was taken up where it stood.
    ResumedASeed,
    /// An increment was taken up where it stood.
    ResumedAnIncrement,
    /// A sweep found a version that had been closed meanwhile.
    SweepFoundARow,
    /// A chunk found that its table had been rewritten.
    FoundARewrite,
    /// A key was inserted and deleted within the range of one increment.
    DroppedAnInsertAndDelete,
    /// A worker was fenced off by another.
    FencedOff,
    /// A retry succeeded.
    RetrySucceeded,
    /// A primary committed between two chunks of a seed.
    BatchBetweenChunks,
    /// A stream of several datasets moved.
    SeveralDatasets,
    /// Types of one name that are two were refused.
    RefusedOtherTypes,
    /// A helper copied a chunk.
    Helped,
    /// A sync that would have deleted more than it may halted.
    RefusedDeletes,
    /// A hand at a secondary's table was noticed.
    FoundAHand,
    /// An ingestion halted at a merge table that a hand had emptied.
    FoundAnEmptiedPrimary,
    /// An ingestion came to its batch after a fault.
    IngestionWentOn,
}

impl Sometimes {
    /// All of them.
    pub const ALL: [Sometimes; 15] = [
        Sometimes::ResumedASeed,
        Sometimes::ResumedAnIncrement,
        Sometimes::SweepFoundARow,
        Sometimes::FoundARewrite,
        Sometimes::DroppedAnInsertAndDelete,
        Sometimes::FencedOff,
        Sometimes::RetrySucceeded,
        Sometimes::BatchBetweenChunks,
        Sometimes::SeveralDatasets,
        Sometimes::RefusedOtherTypes,
        Sometimes::Helped,
        Sometimes::RefusedDeletes,
        Sometimes::FoundAHand,
        Sometimes::FoundAnEmptiedPrimary,
        Sometimes::IngestionWentOn,
    ];

    /// As a person reads it.
    pub fn text(self) -> &'static str {
        match self {
            Sometimes::ResumedASeed => "resumed a seed",
            Sometimes::ResumedAnIncrement => "resumed an increment",
            Sometimes::SweepFoundARow => "sweep found a row",
            Sometimes::FoundARewrite => "chunk found a rewrite",
            Sometimes::DroppedAnInsertAndDelete => "delta dropped an insert-and-delete",
            Sometimes::FencedOff => "worker was fenced off",
            Sometimes::RetrySucceeded => "retry succeeded",
            Sometimes::BatchBetweenChunks => "batch between two chunks",
            Sometimes::SeveralDatasets => "several datasets in one stream",
            Sometimes::RefusedOtherTypes => "types that differ refused",
            Sometimes::Helped => "helper copied a chunk",
            Sometimes::RefusedDeletes => "too many deletions refused",
            Sometimes::FoundAHand => "hand at a secondary noticed",
            Sometimes::FoundAnEmptiedPrimary => "emptied primary noticed",
            Sometimes::IngestionWentOn => "ingestion went on after a fault",
        }
    }
}

/// Something that happened, for the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the history began.
    pub at_ms: u64,
    /// What it was.
    pub what: Event,
}

/// What can happen on a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A primary committed a batch.
    Batch {
        /// The platform.
        primary: String,
        /// The stream.
        stream: String,
        /// The batch.
        batch: i32,
    },
    /// A secondary began a sync, or took it up.
    Planned {
        /// The platform.
        secondary: String,
        /// The stream.
        stream: String,
        /// `None` for a seed.
        from: Option<i32>,
        /// The batch it goes to.
        to: i32,
        /// Whether it was taken up where it stood.
        resumed: bool,
    },
    /// A secondary committed.
    Watermark {
        /// The platform.
        secondary: String,
        /// The stream.
        stream: String,
        /// The new watermark.
        batch: i32,
    },
    /// A fault was injected.
    Fault {
        /// The platform whose sync it fell into.
        secondary: String,
        /// What it was, as a person reads it.
        fault: String,
        /// When.
        phase: Phase,
    },
    /// A fault was felt: the worker saw an error, or began again.
    Felt {
        /// The platform whose sync it was.
        secondary: String,
        /// What the worker said.
        what: String,
    },
    /// The worker began again: a step, or the whole plan.
    BeganAgain {
        /// The platform whose sync it was.
        secondary: String,
        /// What the worker said.
        what: String,
    },
    /// A sync ended with an error.
    Failed {
        /// The platform.
        secondary: String,
        /// The stream.
        stream: String,
        /// The error.
        error: String,
    },
    /// A person acted as the error advised.
    Operator {
        /// The platform.
        secondary: String,
        /// What was done.
        what: String,
    },
}

/// How often each fault was injected and felt in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// Times it was injected.
    pub fired: u64,
    /// Times the worker saw an error or began again because of it.
    pub felt: u64,
}

/// Hits by fault and phase.
pub type Matrix = BTreeMap<(FaultKind, Phase), Hits>;

/// What came of one history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The first promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Faults that happened.
    pub matrix: Matrix,
    /// What must happen now and then.
    pub sometimes: BTreeSet<Sometimes>,
    /// Everything that happened, in order.
    pub timeline: Vec<Moment>,
    /// Syncs committed.
    pub syncs: u64,
    /// Comparisons of a whole secondary with the model.
    pub comparisons: u64,
    /// Samples of a concurrent reader.
    pub samples: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// The final tables of the secondaries, for snapshots and reports.
    pub tables: String,
}
