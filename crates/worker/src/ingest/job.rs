//! What is to be ingested, and into what.

use std::collections::BTreeMap;
use std::sync::Arc;

use milestream_core::milestone::LocalBatch;
use milestream_core::stream::{Dataset, Stream};

use crate::pair::Holding;
use crate::postgres::Endpoint;
use crate::rights::Needs;
use crate::sync::Tuning;
use crate::sync::ground::Charge;
use crate::tables::ControlTables;

/// One stream of one platform that reads the stream's source.
#[derive(Clone, Debug)]
pub struct IngestJob {
    /// The platform's name, as in the model.
    pub platform: String,
    /// What its merge tables keep.
    pub strategy: Scd,
    /// The stream, with its datasets.
    pub stream: Stream,
    /// The database that is ingested.
    pub source: Arc<Endpoint>,
    /// The source's table for a dataset, as it is spelled there: `table` or `schema.table`. A dataset that is not
    /// named has a table of its own name.
    pub source_tables: BTreeMap<String, String>,
    /// The platform's own merge store.
    pub store: Arc<Endpoint>,
    /// How the hash columns are computed.
    pub hash: HashFormula,
    /// Batches whose staged rows are kept; `None` keeps all.
    pub staging_batches_to_keep: Option<u32>,
    /// Bounds and policies.
    pub tuning: Tuning,
}

/// What a merge table keeps of a record that changes: the kinds of slowly changing dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scd {
    /// Kind 1: what it is now.
    LiveOnly,
    /// Kind 2: every version it ever had, with the batches in which it was live.
    Forensic,
}

/// How the hash columns are computed. Changes are found by comparing columns in either case.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum HashFormula {
    /// DataSurface's: md5 of all texts without a separator, NULL as ''. ('1', '11') and ('11', '1') share one.
    #[default]
    #[serde(rename = "datasurface")]
    #[value(name = "datasurface")]
    DataSurface,
    /// Md5 of all texts, each behind its length, with a mark of its own for NULL.
    Strict,
}

/// A batch that was ingested and committed. The counts are those of `batch_metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IngestOutcome {
    /// Its id.
    pub batch: LocalBatch,
    /// Versions opened; on a live-only platform, keys that are new.
    pub inserted: u64,
    /// Versions closed because the record changed; on a live-only platform, keys that changed.
    pub updated: u64,
    /// Versions closed because the record is gone; on a live-only platform, keys that are gone.
    pub deleted: u64,
    /// Rows that the source had.
    pub total: u64,
}

impl Scd {
    /// A secondary of the same milestone strategy has merge tables of the same shape.
    pub(crate) fn layout(self) -> Holding {
        match self {
            Scd::LiveOnly => Holding::LiveOnly,
            Scd::Forensic => Holding::Mirror,
        }
    }
}

impl IngestJob {
    /// Key of the stream.
    pub fn stream_key(&self) -> String {
        self.stream.key()
    }

    pub(crate) fn tables(&self) -> ControlTables {
        ControlTables::of(&self.platform)
    }

    /// The dataset's table in the source, as it was configured.
    pub(crate) fn source_table<'a>(&'a self, dataset: &'a Dataset) -> &'a str {
        self.source_tables.get(&dataset.name).unwrap_or(&dataset.name)
    }
}

impl Charge for IngestJob {
    fn platform(&self) -> &str {
        &self.platform
    }

    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn keeps(&self) -> Option<Holding> {
        None
    }

    fn store(&self) -> &Arc<Endpoint> {
        &self.store
    }

    fn read(&self) -> Vec<&Arc<Endpoint>> {
        vec![&self.source]
    }

    fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    fn needs(&self, _blamed: &str) -> Vec<Needs> {
        vec![self.needs_of_source(), self.needs_of_store()]
    }
}
