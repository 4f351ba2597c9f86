//! Data platforms and the providers of the services they run on.

use serde::Serialize;

use super::container::DataContainer;
use super::credential::Credential;
use super::fields::Fields;

/// A YellowDataPlatform: merge tables of a kind, in the merge store of its provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Platform {
    /// Its name, from which its tables' names begin.
    pub name: String,
    /// The name of its provider.
    pub psp_name: String,
    /// What its merge tables keep.
    pub milestone_strategy: MilestoneStrategy,
    /// Batches whose staged rows are kept; none keeps all.
    pub staging_batches_to_keep: Option<u32>,
}

/// What a platform's merge tables keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MilestoneStrategy {
    /// The rows that are live, and nothing else.
    #[default]
    LiveOnly,
    /// Every version of every record, with the batches in which it was live: a *forensic* platform.
    BatchMilestoned,
}

impl Platform {
    pub(crate) fn read(fields: &Fields<'_>) -> Platform {
        Platform {
            name: fields.text("name"),
            psp_name: fields.text("pspName"),
            milestone_strategy: MilestoneStrategy::read(fields),
            staging_batches_to_keep: staging_batches(fields),
        }
    }

    /// Whether its merge tables keep every version.
    pub fn is_forensic(&self) -> bool {
        self.milestone_strategy == MilestoneStrategy::BatchMilestoned
    }
}

impl MilestoneStrategy {
    fn read(fields: &Fields<'_>) -> MilestoneStrategy {
        const KEY: &str = "milestoneStrategy";
        const EXPECTED: &str = "\"live_only\" or \"batch_milestoned\"";
        match fields.get(KEY) {
            None => fields.missing(KEY, EXPECTED),
            Some(value) => match value.as_str() {
                Some("live_only") => MilestoneStrategy::LiveOnly,
                Some("batch_milestoned") => MilestoneStrategy::BatchMilestoned,
                Some(other) => fields.wrong(KEY, format!("expected {EXPECTED}, found {other:?}")),
                None => fields.unexpected(KEY, EXPECTED, value),
            },
        }
    }
}

/// DataSurface writes a negative number for keeping all.
fn staging_batches(fields: &Fields<'_>) -> Option<u32> {
    fields.whole::<i64>("stagingBatchesToKeep").and_then(|count| u32::try_from(count).ok())
}

/// A YellowPlatformServiceProvider: what its platforms have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct PlatformServicesProvider {
    /// Its name.
    pub name: String,
    /// The database that holds its platforms' tables.
    pub merge_store: Option<DataContainer>,
    /// The credential that reads and writes the merge store.
    pub merge_credential: Option<Credential>,
}

impl PlatformServicesProvider {
    pub(crate) fn read(fields: &Fields<'_>) -> PlatformServicesProvider {
        PlatformServicesProvider {
            name: fields.text("name"),
            merge_store: fields.optional_object("mergeStore").map(|store| DataContainer::read(&store)),
            merge_credential: fields
                .optional_object("mergeRW_Credential")
                .map(|credential| Credential::read(&credential)),
        }
    }
}
