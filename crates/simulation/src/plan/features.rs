//! What a plan is made of: features that meet in one history, by two and two.

use std::collections::BTreeSet;
use std::fmt;

use super::hands::Deed;
use super::limits::Limits;
use super::premises::TypesThere;
use super::values::Kind;
use super::{Act, Change, Keeps, Plan, Strategy, Verify, What, Writer};
use crate::fault::FaultKind;
use crate::forensic::Partitions;

/// Something that a plan has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// A primary's columns stand in an order of their own.
    ColumnOrder,
    /// A primary's table is partitioned.
    Partitions,
    /// A primary's table had a column that was dropped.
    DroppedColumn,
    /// Equal keys have several texts.
    SpelledKeys,
    /// Columns have types that few tables have.
    RareTypes,
    /// A secondary has other types under the same names.
    OtherTypes,
    /// Values are longer than buffers.
    LongValues,
    /// A table has thousands of rows.
    FullTable,
    /// A secondary's tables were there before its first seed.
    TablesBefore,
    /// A hand changes a secondary's tables, or what is written to them.
    Hands,
    /// People have views, indexes and rights of their own at a secondary's table.
    Belongings,
    /// The worker's role has settings.
    RoleSettings,
    /// A primary's endpoint is two servers.
    TwoServers,
    /// A column joins the model late.
    LateColumn,
    /// A worker has bounds.
    Limits,
    /// A helper joins a sync.
    Helpers,
    /// Datasets come to the model, and leave it.
    DatasetsCome,
    /// A stream has several datasets.
    SeveralDatasets,
    /// A primary has several secondaries.
    SeveralSecondaries,
    /// A secondary keeps every version.
    Mirror,
    /// A secondary keeps what is live.
    LiveOnly,
    /// A seed is cut by keys.
    SeedByKeys,
    /// Increments are read by blocks.
    IncrementByBlocks,
    /// Several streams of rows are read side by side.
    SideBySide,
    /// Chunks are copied together.
    ChunksTogether,
    /// Seeds are not verified.
    Unverified,
    /// The worker writes the primary.
    Ingestion,
    /// Something falls into an ingestion.
    DisturbedIngestion,
    /// A batch is committed in the middle of a sync.
    BatchInSync,
    /// A connection or a statement fails.
    LostConnection,
    /// A worker ends in the middle of a sync.
    LostWorker,
    /// Another worker takes a stream over.
    Takeover,
    /// A server ends, stands still or is full.
    LostServer,
    /// A primary's table is rewritten, or written in place.
    RewrittenTable,
    /// A primary goes back, or loses history.
    LostHistory,
}

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 35] = [
        Feature::ColumnOrder,
        Feature::Partitions,
        Feature::DroppedColumn,
        Feature::SpelledKeys,
        Feature::RareTypes,
        Feature::OtherTypes,
        Feature::LongValues,
        Feature::FullTable,
        Feature::TablesBefore,
        Feature::Hands,
        Feature::Belongings,
        Feature::RoleSettings,
        Feature::TwoServers,
        Feature::LateColumn,
        Feature::Limits,
        Feature::Helpers,
        Feature::DatasetsCome,
        Feature::SeveralDatasets,
        Feature::SeveralSecondaries,
        Feature::Mirror,
        Feature::LiveOnly,
        Feature::SeedByKeys,
        Feature::IncrementByBlocks,
        Feature::SideBySide,
        Feature::ChunksTogether,
        Feature::Unverified,
        Feature::Ingestion,
        Feature::DisturbedIngestion,
        Feature::BatchInSync,
        Feature::LostConnection,
        Feature::LostWorker,
        Feature::Takeover,
        Feature::LostServer,
        Feature::RewrittenTable,
        Feature::LostHistory,
    ];

    /// Its name, in a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Feature::ColumnOrder => "column order",
            Feature::Partitions => "partitions",
            Feature::DroppedColumn => "dropped column",
            Feature::SpelledKeys => "spelled keys",
            Feature::RareTypes => "rare types",
            Feature::OtherTypes => "other types",
            Feature::LongValues => "long values",
            Feature::FullTable => "full table",
            Feature::TablesBefore => "tables before",
            Feature::Hands => "hands",
            Feature::Belongings => "belongings",
            Feature::RoleSettings => "role settings",
            Feature::TwoServers => "two servers",
            Feature::LateColumn => "late column",
            Feature::Limits => "limits",
            Feature::Helpers => "helpers",
            Feature::DatasetsCome => "datasets come",
            Feature::SeveralDatasets => "datasets",
            Feature::SeveralSecondaries => "secondaries",
            Feature::Mirror => "mirror",
            Feature::LiveOnly => "live-only",
            Feature::SeedByKeys => "seed by keys",
            Feature::IncrementByBlocks => "delta by blocks",
            Feature::SideBySide => "side by side",
            Feature::ChunksTogether => "chunks together",
            Feature::Unverified => "unverified",
            Feature::Ingestion => "ingestion",
            Feature::DisturbedIngestion => "ingestion faults",
            Feature::BatchInSync => "batch in sync",
            Feature::LostConnection => "connection lost",
            Feature::LostWorker => "worker lost",
            Feature::Takeover => "takeover",
            Feature::LostServer => "server lost",
            Feature::RewrittenTable => "table rewritten",
            Feature::LostHistory => "history lost",
        }
    }

    /// What it is, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Feature::ColumnOrder => "a primary's columns stand in another order than the key first",
            Feature::Partitions => "a primary's table is partitioned, one or two levels deep",
            Feature::DroppedColumn => "a primary's table had a column that was dropped",
            Feature::SpelledKeys => "equal keys have several texts, as 1.0 and 1.00",
            Feature::RareTypes => {
                "columns have enums, domains, composites, ranges and other types that few tables have"
            }
            Feature::OtherTypes => "a secondary has other types under the same names",
            Feature::LongValues => "values have lengths at the edges of buffers, up to 1 MiB",
            Feature::FullTable => "a table has thousands of rows",
            Feature::TablesBefore => "a secondary's tables were made by people before its first seed",
            Feature::Hands => "a hand changes a secondary's rows, or leaves triggers and rules",
            Feature::Belongings => {
                "people have views, indexes and rights of their own at a secondary's table"
            }
            Feature::RoleSettings => "the worker's role has settings of its own in some databases",
            Feature::TwoServers => "a primary's endpoint is two servers in turn, one of them behind",
            Feature::LateColumn => "a column joins the tables, and later the model",
            Feature::Limits => {
                "a worker has max_delete_fraction, a rate, interchange, or a small max_rows_per_sync"
            }
            Feature::Helpers => "a helper joins a sync, and may freeze",
            Feature::DatasetsCome => "datasets come to a secondary's model, and leave it",
            Feature::SeveralDatasets => "a stream has several datasets",
            Feature::SeveralSecondaries => "there are several secondaries",
            Feature::Mirror => "a secondary keeps every version",
            Feature::LiveOnly => "a secondary keeps what is live",
            Feature::SeedByKeys => "a seed is cut by ranges of the key",
            Feature::IncrementByBlocks => "increments are read by blocks",
            Feature::SideBySide => "a worker copies several streams of rows side by side",
            Feature::ChunksTogether => "small chunks are copied together",
            Feature::Unverified => "seeds are not verified, and must be right of themselves",
            Feature::Ingestion => "the worker itself writes the primary",
            Feature::DisturbedIngestion => "faults and changes of the source fall into an ingestion",
            Feature::BatchInSync => "a batch is committed in the middle of a sync",
            Feature::LostConnection => "connections are cut, frozen or ended, or statements time out",
            Feature::LostWorker => "a worker ends in the middle of a sync",
            Feature::Takeover => "another worker takes a stream over",
            Feature::LostServer => "a server ends, stands still, is full or takes no connections",
            Feature::RewrittenTable => {
                "a primary's table is rewritten, or its open versions are written in place"
            }
            Feature::LostHistory => {
                "a primary is restored to an earlier batch, or its closed versions are removed"
            }
        }
    }

    /// Whether a plan may have both. Of a primary that the worker writes nothing is disturbed but its ingestions, and it makes
    /// its tables itself. Of a difference that a hand made, or a standby, nobody could say so where others may have.
    pub fn may_meet(self, other: Feature) -> bool {
        let both = |these: &[Feature], those: &[Feature]| {
            (these.contains(&self) && those.contains(&other))
                || (these.contains(&other) && those.contains(&self))
        };
        let of_tables = [
            Feature::Partitions,
            Feature::DroppedColumn,
            Feature::RareTypes,
            Feature::OtherTypes,
            Feature::TwoServers,
            Feature::LateColumn,
            Feature::RewrittenTable,
            Feature::LostHistory,
        ];
        let hands = [Feature::Hands, Feature::Belongings];
        let of_others = [Feature::LateColumn, Feature::RewrittenTable, Feature::LostHistory];
        !both(&[Feature::Ingestion, Feature::DisturbedIngestion], &of_tables)
            && !both(&[Feature::LateColumn], &[Feature::DatasetsCome])
            && !both(&[Feature::OtherTypes], &[Feature::DatasetsCome])
            && !both(&hands, &[Feature::DatasetsCome])
            && !both(&hands, &[Feature::LostHistory])
            && !both(&[Feature::TwoServers], &of_others)
    }

    /// All pairs that a plan may have.
    pub fn pairs() -> impl Iterator<Item = Pair> {
        let pairs = Feature::ALL.into_iter().enumerate();
        pairs
            .flat_map(|(at, one)| Feature::ALL[at + 1..].iter().map(move |other| (one, *other)))
            .filter(|(one, other)| one.may_meet(*other))
    }
}

/// Two features, in their order.
pub type Pair = (Feature, Feature);

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Plan {
    /// What it is made of.
    pub fn features(&self) -> BTreeSet<Feature> {
        Feature::ALL.into_iter().filter(|feature| self.is_of(*feature)).collect()
    }

    /// Features that meet in it.
    pub fn pairs(&self) -> Vec<Pair> {
        let features: Vec<_> = self.features().into_iter().collect();
        let pairs = features.iter().enumerate();
        pairs.flat_map(|(at, one)| features[at + 1..].iter().map(move |other| (*one, *other))).collect()
    }

    fn is_of(&self, feature: Feature) -> bool {
        match feature {
            Feature::ColumnOrder => {
                self.datasets.iter().any(|dataset| !dataset.order.is_empty() && !dataset.order.is_sorted())
            }
            Feature::Partitions => self.datasets.iter().any(|dataset| dataset.partitions != Partitions::None),
            Feature::DroppedColumn => self.datasets.iter().any(|dataset| dataset.worn),
            Feature::SpelledKeys => self.changes().any(|change| match change {
                Change::Put { spelling, .. } => !spelling.is_empty(),
                _ => false,
            }),
            Feature::RareTypes => {
                let rare = |column: &super::ColumnPlan| super::values::KINDS_OF_PEOPLE.contains(&column.kind);
                self.datasets.iter().flat_map(|dataset| &dataset.columns).any(rare)
            }
            Feature::OtherTypes => {
                let has = |kind: Kind| {
                    let columns = self.datasets.iter().flat_map(|dataset| &dataset.columns);
                    columns.into_iter().any(|column| column.kind == kind)
                };
                let differ = |there: TypesThere| {
                    super::values::KINDS_OF_PEOPLE.iter().any(|kind| has(*kind) && there.change(*kind))
                };
                self.secondaries.iter().any(|secondary| differ(secondary.premises.types))
            }
            Feature::LongValues => self.changes().any(|change| match change {
                Change::Put { bytes, .. } => bytes.iter().any(|bytes| *bytes > 0),
                _ => false,
            }),
            Feature::FullTable => self.changes().any(|change| matches!(change, Change::Fill { .. })),
            Feature::TablesBefore => {
                self.secondaries.iter().any(|secondary| secondary.premises.tables.is_some())
            }
            Feature::Hands => {
                self.deeds().any(|deed| !matches!(deed, Deed::WatchWrites | Deed::AddBelongings))
            }
            Feature::Belongings => self.deeds().any(|deed| deed == Deed::AddBelongings),
            Feature::RoleSettings => {
                let primaries = self.primaries.iter().map(|primary| &primary.premises);
                let secondaries = self.secondaries.iter().map(|secondary| &secondary.premises);
                primaries
                    .chain(secondaries)
                    .any(|premises| !premises.settings.is_empty() || premises.sorts_as_people)
            }
            Feature::TwoServers => self.primaries.iter().any(|primary| primary.has_standby),
            Feature::LateColumn => self.has(FaultKind::ColumnAdded),
            Feature::Limits => self.secondaries.iter().any(|secondary| {
                secondary.limits != Limits::default() || secondary.max_rows_per_sync < 1_000
            }),
            Feature::Helpers => self.cues().any(|cue| matches!(cue.what, What::Helper { .. })),
            Feature::DatasetsCome => self.has_datasets_come(),
            Feature::SeveralDatasets => self.together && self.datasets.len() > 1,
            Feature::SeveralSecondaries => self.secondaries.len() > 1,
            Feature::Mirror => self.secondaries.iter().any(|secondary| secondary.holding == Keeps::Mirror),
            Feature::LiveOnly => {
                self.secondaries.iter().any(|secondary| secondary.holding == Keeps::LiveOnly)
            }
            Feature::SeedByKeys => {
                self.secondaries.iter().any(|secondary| secondary.strategy == Strategy::Keys)
            }
            Feature::IncrementByBlocks => {
                self.secondaries.iter().any(|secondary| secondary.increments == Strategy::Blocks)
            }
            Feature::SideBySide => self.secondaries.iter().any(|secondary| secondary.parallelism > 1),
            Feature::ChunksTogether => self.secondaries.iter().any(|secondary| secondary.chunks_together),
            Feature::Unverified => self.secondaries.iter().any(|secondary| secondary.verify == Verify::Off),
            Feature::Ingestion => self.primaries.iter().any(|primary| primary.writer == Writer::Worker),
            Feature::DisturbedIngestion => self.schedule.iter().any(|act| match act {
                Act::Ingest { cues, .. } => !cues.is_empty(),
                Act::Empty { primary, .. } => self.primaries[*primary].writer == Writer::Worker,
                _ => false,
            }),
            Feature::BatchInSync => self.cues().any(|cue| cue.what == What::Commit),
            Feature::LostConnection => self.has_any(&[
                FaultKind::RequestCut,
                FaultKind::AnswerCut,
                FaultKind::CommitAnswerLost,
                FaultKind::HalfOpen,
                FaultKind::BackendTerminated,
                FaultKind::StatementTimeout,
                FaultKind::LockTimeout,
                FaultKind::Deadlock,
            ]),
            Feature::LostWorker => self.has_any(&[FaultKind::WorkerAborted, FaultKind::WorkerKilled]),
            Feature::Takeover => self.has_any(&[FaultKind::Takeover, FaultKind::SecondWorker]),
            Feature::LostServer => self.has_any(&[
                FaultKind::ServerStopped,
                FaultKind::ServerKilled,
                FaultKind::ServerPaused,
                FaultKind::DiskFull,
                FaultKind::TooManyConnections,
            ]),
            Feature::RewrittenTable => {
                self.has_any(&[FaultKind::VacuumFull, FaultKind::RewritingAlter, FaultKind::UpdateInPlace])
            }
            Feature::LostHistory => self.has_any(&[FaultKind::PrimaryRestored, FaultKind::HistoryPruned]),
        }
    }

    fn has_any(&self, kinds: &[FaultKind]) -> bool {
        kinds.iter().any(|kind| self.has(*kind))
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.history.iter().flat_map(|batch| &batch.changes)
    }

    fn deeds(&self) -> impl Iterator<Item = Deed> {
        let between = self.schedule.iter().filter_map(|act| match act {
            Act::Hand { hand, .. } => Some(hand.does),
            _ => None,
        });
        let within = self.cues().filter_map(|cue| match cue.what {
            What::Hand(hand) => Some(hand.does),
            _ => None,
        });
        between.chain(within)
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate::{Options, plan};
    use super::*;

    #[test]
    fn pairs_that_may_meet_meet_and_no_others() {
        let mut met = BTreeSet::new();
        for seed in 0..12_000 {
            met.extend(plan(seed, &Options::default()).pairs());
        }
        let may: BTreeSet<_> = Feature::pairs().collect();
        let surprising: Vec<_> = met.difference(&may).collect();
        assert_eq!(surprising, [] as [&Pair; 0]);
        // A standby beside a lost server comes once in some thousand plans.
        let never: Vec<_> = may
            .difference(&met)
            .filter(|pair| **pair != (Feature::TwoServers, Feature::LostServer))
            .collect();
        assert_eq!(never, [] as [&Pair; 0]);
    }
}
