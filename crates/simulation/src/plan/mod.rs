//! A plan: everything that will happen in a history, as a value that is printed, saved, replayed and shrunk.

mod acts;
pub mod features;
pub mod generate;
pub mod habits;
pub mod hands;
mod history;
mod ingestions;
pub mod limits;
mod names;
pub mod premises;
mod schedule;
mod shrink;
mod sizes;
pub mod tour;
pub mod values;

use std::path::Path;
use std::time::Duration;

use milestream_oracle::Row;
use milestream_worker::ingest::HashFormula;
use serde::{Deserialize, Serialize};

use acts::ActSide;
pub use acts::{Act, Cue, Unfinished, What};
use limits::Limits;
use premises::Premises;
pub use shrink::PlanTree;
use values::Kind;

use crate::fault::{Fault, FaultKind, Phase};
use crate::forensic::{Partitions, Table, hash, strict_hash};

/// A history and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the plan was made from; plans of the tour and plans made by hand have 0.
    #[serde(default)]
    pub seed: u64,
    /// What the plan shows, for its readers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The store's name.
    pub store: String,
    /// Whether all datasets share their batches (one stream), or each has its own.
    pub together: bool,
    /// The datasets; never empty.
    pub datasets: Vec<DatasetPlan>,
    /// Whether a column that joins late has a default on the primary, which every row of before has at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late_column_has_default: bool,
    /// The primaries; each carries out the same batches, at times of its own.
    pub primaries: Vec<PrimaryPlan>,
    /// The secondaries.
    pub secondaries: Vec<SecondaryPlan>,
    /// What each batch does.
    pub history: Vec<BatchPlan>,
    /// Who acts when. Afterwards faults end, the rest of the history is carried out, and all must converge.
    pub schedule: Vec<Act>,
}

/// A dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetPlan {
    /// Its name, as in the model.
    pub name: String,
    /// Key columns; never empty, never NULL.
    pub key: Vec<ColumnPlan>,
    /// All other columns.
    pub columns: Vec<ColumnPlan>,
    /// Whether the primary's table has few rows a block, so that little data makes many chunks.
    pub sparse: bool,
    /// The order of the columns in model and tables: positions in key and other columns; the key first unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<usize>,
    /// How the primary's table is partitioned, where the simulation writes it.
    #[serde(default, skip_serializing_if = "Partitions::are_none")]
    pub partitions: Partitions,
    /// Whether the primary's table had another column before, where the simulation writes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub worn: bool,
}

impl DatasetPlan {
    /// The key of the record of a number.
    pub(crate) fn key_of(&self, number: u16) -> Vec<Cell> {
        self.key.iter().map(|column| Some(column.kind.key(number))).collect()
    }

    /// All other values of the record of a number.
    pub(crate) fn columns_of(&self, number: u16) -> Vec<Cell> {
        let cell = |(at, column): (usize, &ColumnPlan)| {
            let (values, nth) = (column.kind.values(), usize::from(number) + at);
            // One in so many is NULL, in no step with the values.
            (nth % 11 > 0).then(|| values[nth % values.len()].to_owned())
        };
        self.columns.iter().enumerate().map(cell).collect()
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnPlan {
    /// Its name, as in the model.
    pub name: String,
    /// Its type.
    pub kind: Kind,
}

/// A primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrimaryPlan {
    /// The platform's name.
    pub name: String,
    /// Who writes its tables.
    pub writer: Writer,
    /// How the worker computes the hash columns, where it writes the primary.
    #[serde(default, skip_serializing_if = "Formula::is_default")]
    pub hash: Formula,
    /// Whether another platform ingests the same source and keeps what is live, where the worker writes the primary.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live_only_beside: bool,
    /// Whether its endpoint is two servers in turn: its own, and a standby that streams from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_standby: bool,
    /// How people left its database for the worker.
    #[serde(default, skip_serializing_if = "Premises::are_plain")]
    pub premises: Premises,
}

/// How hash columns are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Formula {
    /// As DataSurface does.
    #[default]
    Datasurface,
    /// Without collisions.
    Strict,
}

impl Formula {
    /// The hash of cells: of the key and all others, or of the key.
    pub fn hash<'a>(self, cells: impl IntoIterator<Item = &'a Cell>) -> String {
        match self {
            Formula::Datasurface => hash(cells),
            Formula::Strict => strict_hash(cells),
        }
    }

    /// Both hashes of a record: of all its cells and of its key, as they are written.
    pub(crate) fn hashes(self, table: &Table, row: &Row) -> [Cell; 2] {
        [self.hash(&table.written(row)), self.hash(&table.written_key(row))].map(Some)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Formula::default()
    }
}

impl From<Formula> for HashFormula {
    fn from(formula: Formula) -> HashFormula {
        match formula {
            Formula::Datasurface => HashFormula::DataSurface,
            Formula::Strict => HashFormula::Strict,
        }
    }
}

/// Who writes a primary's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writer {
    /// The simulation, as DataSurface writes forensic tables.
    Tables,
    /// The real worker, which ingests a source that changes.
    Worker,
}

/// A secondary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondaryPlan {
    /// The platform's name.
    pub name: String,
    /// What it keeps.
    pub holding: Keeps,
    /// The primary it follows: an index into the plan's primaries.
    pub primary: usize,
    /// How its seeds are cut.
    pub strategy: Strategy,
    /// How its increments are read.
    #[serde(default = "Strategy::of_old_increments")]
    pub increments: Strategy,
    /// Rows a chunk aims at.
    pub chunk_rows: u64,
    /// Whether chunks of blocks that follow one another are copied together, as they are small and fast.
    #[serde(default)]
    pub chunks_together: bool,
    /// Streams of rows side by side.
    pub parallelism: usize,
    /// How landed seeds are checked.
    pub verify: Verify,
    /// Recorded rows an increment may span.
    pub max_rows_per_sync: u64,
    /// What else bounds its worker.
    #[serde(default, skip_serializing_if = "Limits::are_default")]
    pub limits: Limits,
    /// How people left its database for the worker.
    #[serde(default, skip_serializing_if = "Premises::are_plain")]
    pub premises: Premises,
}

impl SecondaryPlan {
    /// The time that a copy aims at: too short for more than one chunk, or too long for the small chunks of a plan.
    pub(crate) fn chunk_time(&self) -> Duration {
        if self.chunks_together { Duration::from_secs(2) } else { Duration::from_millis(1) }
    }
}

/// What a secondary keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// The rows live at the watermark.
    LiveOnly,
    /// Every version up to the watermark.
    Mirror,
}

/// How landed seeds are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Rows are counted on both sides.
    Count,
    /// Digests are compared.
    Content,
    /// Not at all: what is read must be right of itself.
    Off,
}

/// How seeds are cut into chunks, and increments read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// By heap blocks, with a sweep.
    Blocks,
    /// By ranges of the key; of an increment, one stream in the order of the key.
    Keys,
}

impl Strategy {
    /// What plans mean that were kept before increments could be read by blocks.
    fn of_old_increments() -> Strategy {
        Strategy::Keys
    }
}

/// One batch of every primary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchPlan {
    /// In order; a batch sees what is left at its end.
    pub changes: Vec<Change>,
}

/// The text of a value, `None` for NULL.
pub type Cell = Option<String>;

/// What happens to a record. Each is possible whatever came before, so that plans stay plans when they shrink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// The record is there afterwards, with these values.
    Put {
        /// Index of the dataset.
        dataset: usize,
        /// Key values, each as the one text by which it is known.
        key: Vec<Cell>,
        /// All other values.
        columns: Vec<Cell>,
        /// The key as it is written, where equal values have several texts; as it is known unless given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spelling: Vec<Cell>,
        /// For each of the other columns, how many bytes its text is repeated to; as it is where that is 0, or not given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bytes: Vec<usize>,
    },
    /// Many records are there afterwards, each with the key and the values of its number.
    Fill {
        /// Index of the dataset.
        dataset: usize,
        /// The number of the first record.
        first: u16,
        /// Records.
        count: u16,
    },
    /// The record is not there afterwards.
    Remove {
        /// Index of the dataset.
        dataset: usize,
        /// Key values.
        key: Vec<Cell>,
    },
}

impl Change {
    /// Index of the dataset it is about.
    pub fn dataset(&self) -> usize {
        match self {
            Change::Put { dataset, .. } | Change::Remove { dataset, .. } | Change::Fill { dataset, .. } => {
                *dataset
            }
        }
    }

    fn dataset_mut(&mut self) -> &mut usize {
        match self {
            Change::Put { dataset, .. } | Change::Remove { dataset, .. } | Change::Fill { dataset, .. } => {
                dataset
            }
        }
    }
}

impl Plan {
    /// Reads a plan from a file.
    ///
    /// # Errors
    /// With file, line and column.
    pub fn read(path: &Path) -> Result<Plan, PlanError> {
        let failed = |reason: String| PlanError { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let plan: Plan = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        plan.check().map_err(failed)?;
        Ok(plan)
    }

    /// The plan as it is saved.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"unprintable\": {error:?}}}"))
    }

    /// Every fault that may happen.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.cues().filter_map(|cue| match &cue.what {
            What::Fault(fault) => Some(fault),
            What::Commit | What::Hand(_) | What::Helper { .. } => None,
        })
    }

    /// Every fault that may happen, with the phase in which it begins.
    pub(crate) fn placed_faults(&self) -> impl Iterator<Item = (&Fault, Phase)> {
        self.cues().filter_map(|cue| match &cue.what {
            What::Fault(fault) => Some((fault, cue.at)),
            What::Commit | What::Hand(_) | What::Helper { .. } => None,
        })
    }

    /// Whether a fault of this kind may happen.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.faults().any(|fault| fault.kind == kind)
    }

    /// Whether datasets come to a secondary's model, and leave it.
    pub(crate) fn has_datasets_come(&self) -> bool {
        self.schedule.iter().any(|act| matches!(act, Act::Model { .. }))
    }

    /// Whether a server goes down in it, or has a standby.
    pub fn needs_own_servers(&self) -> bool {
        self.primaries.iter().any(|primary| primary.has_standby)
            || self.faults().any(|fault| fault.kind.is_of_servers())
    }

    fn cues(&self) -> impl Iterator<Item = &Cue> {
        self.schedule.iter().flat_map(Act::cues)
    }

    /// Whether indices and widths fit together.
    fn check(&self) -> Result<(), String> {
        let within = |what: &str, index: usize, count: usize| {
            if index < count { Ok(()) } else { Err(format!("there is no {what} {index}, only {count}")) }
        };
        for (what, count) in [
            ("dataset", self.datasets.len()),
            ("primary", self.primaries.len()),
            ("secondary", self.secondaries.len()),
        ] {
            within(what, 0, count)?;
        }
        for secondary in &self.secondaries {
            within("primary", secondary.primary, self.primaries.len())?;
        }
        for change in self.history.iter().flat_map(|batch| &batch.changes) {
            within("dataset", change.dataset(), self.datasets.len())?;
            self.check_width(change)?;
        }
        for act in &self.schedule {
            match act.side() {
                ActSide::Primary(primary) => within("primary", primary, self.primaries.len())?,
                ActSide::Secondary(secondary) => within("secondary", secondary, self.secondaries.len())?,
            }
        }
        Ok(())
    }

    fn check_width(&self, change: &Change) -> Result<(), String> {
        let dataset = &self.datasets[change.dataset()];
        let fits = match change {
            Change::Put { key, columns, spelling, .. } => {
                key.len() == dataset.key.len()
                    && columns.len() == dataset.columns.len()
                    && (spelling.is_empty() || spelling.len() == key.len())
            }
            Change::Remove { key, .. } => key.len() == dataset.key.len(),
            Change::Fill { .. } => true,
        };
        if fits {
            return Ok(());
        }
        Err(format!("a change has not as many values as dataset {:?} has columns: {change:?}", dataset.name))
    }
}

/// A plan that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} is no plan: {reason}")]
pub struct PlanError {
    path: String,
    reason: String,
}

#[cfg(test)]
mod tests;
