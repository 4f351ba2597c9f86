//! Two servers on one machine, with the same settings for everybody who copies between them.

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};

use super::arguments::Storage;
use crate::people::{execute_in, number};

/// The database that whoever copies writes to. It is dropped and made again before each copy, which leaves a
/// checkpoint behind: nobody pays for what another wrote.
pub(crate) const TARGET: &str = "target";

/// Settings of both servers.
pub(crate) const SETTINGS: [(&str, &str); 8] = [
    ("shared_buffers", "1GB"),
    ("maintenance_work_mem", "256MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "30min"),
    // Postgres' own replication needs it; it costs the others a little, all of them the same.
    ("wal_level", "logical"),
    ("max_parallel_maintenance_workers", "2"),
    // It would start in the middle of a round.
    ("autovacuum", "off"),
    // There is no second way to see what a statement costs.
    ("track_io_timing", "off"),
];

/// The servers of a run.
pub(crate) struct Ground {
    /// The primary's server: one database a table.
    pub(crate) primary: Server,
    /// The server of whoever copies.
    pub(crate) secondary: Server,
}

impl Ground {
    pub(crate) async fn start(storage: Storage) -> Ground {
        let backend = Backend::find(&FindOptions::from_env()).await.expect("a Postgres for the comparison");
        let primary = Server::start(&backend, options("primary", storage)).await;
        let secondary = Server::start(&backend, options("secondary", storage)).await;
        Ground {
            primary: primary.expect("the primary's server"),
            secondary: secondary.expect("the other server"),
        }
    }

    /// An empty database to copy to.
    pub(crate) async fn clear_target(&self) {
        self.secondary.drop_database(TARGET).await.expect("dropping the last copy");
        self.secondary.create_database(TARGET).await.expect("a database to copy to");
    }

    /// The state of the target under another name, to begin from again.
    pub(crate) async fn keep_target(&self, name: &str) {
        self.secondary.drop_database(name).await.expect("dropping an older state");
        let kept = self.secondary.create_database_from_template(name, TARGET).await;
        kept.expect("keeping the state of the secondary");
    }

    /// The state that was kept under a name, as the target.
    pub(crate) async fn restore_target(&self, name: &str) {
        self.secondary.drop_database(TARGET).await.expect("dropping the last copy");
        let restored = self.secondary.create_database_from_template(TARGET, name).await;
        restored.expect("restoring the state of the secondary");
        execute_in(&self.secondary, "postgres", "checkpoint").await;
    }

    pub(crate) async fn on_target(&self, statements: &str) {
        execute_in(&self.secondary, TARGET, statements).await;
    }

    pub(crate) async fn ask_target(&self, question: &str) -> i64 {
        number(&self.secondary, TARGET, question).await
    }

    /// The server's version, as it says it.
    pub(crate) async fn version(&self) -> String {
        let number =
            number(&self.primary, "postgres", "select current_setting('server_version_num')::int8").await;
        format!("PostgreSQL {}.{}", number / 10_000, number % 10_000)
    }
}

fn options(name: &str, storage: Storage) -> ServerOptions {
    let on_disk = ServerOptions { durable: storage != Storage::Memory, ..ServerOptions::named(name) };
    let fsync = if storage == Storage::Durable { "on" } else { "off" };
    let options =
        SETTINGS.into_iter().fold(on_disk, |options, (name, value)| options.with_setting(name, value));
    options.with_setting("fsync", fsync)
}
