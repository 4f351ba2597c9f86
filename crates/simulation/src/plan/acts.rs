//! The steps of a schedule, and what happens in the middle of them.

use serde::{Deserialize, Serialize};

use super::hands::Hand;
use crate::fault::{Fault, Phase};

/// A step of the schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// A primary commits its next batch.
    Commit {
        /// Index of the primary.
        primary: usize,
    },
    /// A primary commits its next batch. Where the worker writes it, all of this falls into the ingestion: a fault of the
    /// primary's side is one of the source, and a batch is carried out in the source before its turn.
    Ingest {
        /// Index of the primary.
        primary: usize,
        /// What happens meanwhile, in any order of steps.
        cues: Vec<Cue>,
    },
    /// A primary begins its next batch and leaves it in a status that does not count; the next commit of that
    /// primary runs it again under its id.
    Begin {
        /// Index of the primary.
        primary: usize,
        /// The status it is left in.
        status: Unfinished,
    },
    /// A hand empties a merge table of a primary that the worker writes, and leaves the batches that filled it. Then the
    /// primary commits its next batch.
    Empty {
        /// Index of the primary.
        primary: usize,
        /// Index of the dataset whose table it is; counted round where there are fewer.
        dataset: usize,
    },
    /// A primary's tables get a column that no model has yet.
    ColumnAhead {
        /// Index of the primary.
        primary: usize,
    },
    /// The replay of a primary's standby halts, or goes on until it has everything; nothing where it has none.
    Replay {
        /// Index of the primary.
        primary: usize,
        /// Whether it goes on.
        goes_on: bool,
    },
    /// The model of a secondary's worker has the first so many datasets from now on; nothing while a sync is in flight, nor
    /// where each dataset is a stream.
    Model {
        /// Index of the secondary.
        secondary: usize,
        /// Datasets; at least one, and no more than there are.
        datasets: usize,
    },
    /// A hand is at a table of a secondary.
    Hand {
        /// Index of the secondary.
        secondary: usize,
        /// What it does.
        hand: Hand,
    },
    /// A secondary syncs all of its streams.
    Sync {
        /// Index of the secondary.
        secondary: usize,
        /// Whether it goes on until the primary has nothing new.
        until_caught_up: bool,
        /// What happens meanwhile, in any order of steps.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cues: Vec<Cue>,
    },
}

/// Whose act it is: an index into the plan's primaries or secondaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActSide<I = usize> {
    Primary(I),
    Secondary(I),
}

impl Act {
    /// What happens meanwhile.
    pub(super) fn cues(&self) -> &[Cue] {
        match self {
            Act::Sync { cues, .. } => cues,
            _ => &[],
        }
    }

    pub(super) fn side(&self) -> ActSide {
        match self.clone().side_mut() {
            ActSide::Primary(primary) => ActSide::Primary(*primary),
            ActSide::Secondary(secondary) => ActSide::Secondary(*secondary),
        }
    }

    pub(super) fn side_mut(&mut self) -> ActSide<&mut usize> {
        match self {
            Act::Commit { primary }
            | Act::Ingest { primary, .. }
            | Act::Begin { primary, .. }
            | Act::Empty { primary, .. }
            | Act::ColumnAhead { primary }
            | Act::Replay { primary, .. } => ActSide::Primary(primary),
            Act::Sync { secondary, .. } | Act::Hand { secondary, .. } | Act::Model { secondary, .. } => {
                ActSide::Secondary(secondary)
            }
        }
    }
}

/// A status of a batch that is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfinished {
    /// In progress.
    Started,
    /// Staged, not merged.
    Ingested,
    /// Given up; it is run again.
    Failed,
}

impl Unfinished {
    /// As `batch_status` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Unfinished::Started => "started",
            Unfinished::Ingested => "ingested",
            Unfinished::Failed => "failed",
        }
    }
}

/// Something that happens at an exact step of a sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cue {
    /// The phase with whose beginning it happens; a batch at `plan` is committed when the plan is stored.
    pub at: Phase,
    /// Which beginning of that phase is meant, counted from 1 over the whole sync; a later one, where something else
    /// is still going on.
    pub nth: u32,
    /// What happens.
    pub what: What,
}

/// What happens on a cue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The primary commits its next batch, if there is one left.
    Commit,
    /// Something goes wrong.
    Fault(Fault),
    /// A hand is at a table of the secondary that syncs.
    Hand(Hand),
    /// A helper joins the sync.
    Helper {
        /// Whether it stands still in the middle of its first chunk.
        freezes: bool,
    },
}
