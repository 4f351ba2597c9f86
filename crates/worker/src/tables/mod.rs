//! The control tables of a platform: DataSurface's own two, and Milestream's three beside them.

pub(crate) mod batch_age;
pub(crate) mod batches;
pub(crate) mod chunks;
pub(crate) mod findings;
pub(crate) mod helped_chunks;
pub(crate) mod history;
pub(crate) mod layout;
pub(crate) mod lease;
pub(crate) mod merge_files;
pub(crate) mod migrations;
pub(crate) mod primary_batches;
pub(crate) mod resets;
pub(crate) mod streams;

use milestream_core::names::platform_table;

use crate::postgres::sql::ident;

/// Quoted names of a platform's control tables.
#[derive(Clone, Debug)]
pub(crate) struct ControlTables {
    pub(crate) batch_counter: String,
    pub(crate) batch_metrics: String,
    pub(crate) sync_stream: String,
    pub(crate) sync_chunk: String,
    pub(crate) sync_history: String,
    pub(crate) sync_migration: String,
}

impl ControlTables {
    pub(crate) fn of(platform: &str) -> ControlTables {
        let table = |suffix| ident(&platform_table(platform, suffix));
        ControlTables {
            batch_counter: table("batch_counter"),
            batch_metrics: table("batch_metrics"),
            sync_stream: table("sync_stream"),
            sync_chunk: table("sync_chunk"),
            sync_history: table("sync_history"),
            sync_migration: table("sync_migration"),
        }
    }

    /// All of them, quoted.
    pub(crate) fn names(&self) -> [&str; 6] {
        [
            &self.batch_counter,
            &self.batch_metrics,
            &self.sync_stream,
            &self.sync_chunk,
            &self.sync_history,
            &self.sync_migration,
        ]
    }
}
