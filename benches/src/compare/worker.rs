//! The worker as its users start it: the real binary with a configuration directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use milestream_cluster::SUPERUSER;
use milestream_core::model::ColumnType;
use milestream_core::stream::{Column, Dataset, Stream};
use milestream_simulation::configuration::{Configured, ConfiguredPlatform};
use milestream_worker::Holding;
use milestream_worker::sync::{Job, PrimaryChoice, Tuning, Upstream};
use tempfile::TempDir;

use super::children::{self, Finished};
use super::ground::{Ground, TARGET};
use super::history::People;
use crate::people::{PRIMARY, SECONDARY, endpoint_of, stream};

/// The binary under test.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    program: PathBuf,
    /// What `sync --help` says, to know what this build has.
    help: String,
}

impl Binary {
    /// The binary that was named, or the one beside this program.
    pub(crate) fn find(named: Option<&Path>) -> Binary {
        let beside = || std::env::current_exe().expect("this program's path").with_file_name("milestream");
        let program = named.map_or_else(beside, Path::to_owned);
        let help = Command::new(&program).args(["sync", "--help"]).stderr(Stdio::null()).output();
        let help = help.unwrap_or_else(|error| {
            let remedy = "cargo build --release -p milestream-worker, or name it with --milestream";
            panic!("{}: {error}; {remedy}", program.display())
        });
        Binary { program, help: String::from_utf8_lossy(&help.stdout).into_owned() }
    }

    /// Whether `sync` has a flag.
    pub(crate) fn knows(&self, flag: &str) -> bool {
        self.help.split_whitespace().any(|word| word == flag)
    }
}

/// A secondary that pulls from a table of the primary into the target database.
pub(crate) struct Secondary {
    binary: Binary,
    configuration: TempDir,
    primary: (u16, String),
    target: u16,
    stream: Stream,
    holding: Holding,
}

impl Secondary {
    /// A live-only secondary of a people table.
    pub(crate) fn live(binary: &Binary, ground: &Ground, people: &People) -> Secondary {
        Secondary::of(binary, ground, &people.database, people_stream(people), Holding::LiveOnly)
    }

    /// A forensic mirror of it.
    pub(crate) fn mirror(binary: &Binary, ground: &Ground, people: &People) -> Secondary {
        Secondary::of(binary, ground, &people.database, people_stream(people), Holding::Mirror)
    }

    /// A secondary of any stream of a database of the primary.
    pub(crate) fn of(
        binary: &Binary,
        ground: &Ground,
        database: &str,
        stream: Stream,
        holding: Holding,
    ) -> Secondary {
        let secondary = Secondary {
            binary: binary.clone(),
            configuration: tempfile::tempdir().expect("a directory for the configuration"),
            primary: (ground.primary.port(), database.to_owned()),
            target: ground.secondary.port(),
            stream,
            holding,
        };
        secondary.configure();
        secondary
    }

    /// The same over a link to the primary.
    #[must_use]
    pub(crate) fn through(mut self, port: u16) -> Secondary {
        self.primary.0 = port;
        self.configure();
        self
    }

    /// `milestream sync`, with more flags.
    ///
    /// # Errors
    /// What it said when it failed.
    pub(crate) async fn sync(&self, flags: &[&str]) -> Result<Finished, String> {
        children::finish(self.command(flags)).await
    }

    /// The same as a command that nobody has started.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.binary.program);
        command.args(["sync", "--platform", SECONDARY, "--store", "store1", "--config"]);
        command.arg(self.configuration.path()).args(flags);
        command
    }

    /// The same sync, to be run in this process.
    pub(crate) fn job(&self) -> Job {
        let (port, database) = &self.primary;
        let endpoint = Arc::new(endpoint_of("primary", *port, database));
        Job {
            platform: SECONDARY.into(),
            holding: self.holding,
            stream: self.stream.clone(),
            upstreams: vec![Upstream { platform: PRIMARY.into(), endpoint }],
            primary_choice: PrimaryChoice::First,
            secondary: Arc::new(endpoint_of("secondary", self.target, TARGET)),
            staging_batches_to_keep: None,
            platforms: BTreeSet::new(),
            tuning: Tuning::default(),
        }
    }

    fn configure(&self) {
        let platform = |name: &str, is_forensic, port, database: &str| ConfiguredPlatform {
            name: name.to_owned(),
            is_forensic,
            host: "127.0.0.1".to_owned(),
            port,
            database: database.to_owned(),
        };
        let (port, database) = &self.primary;
        let configured = Configured {
            streams: vec![self.stream.clone()],
            platforms: vec![
                platform(PRIMARY, true, *port, database),
                platform(SECONDARY, self.holding == Holding::Mirror, self.target, TARGET),
            ],
            primaries: vec![PRIMARY.to_owned()],
            user: SUPERUSER.to_owned(),
            password: "trusted".to_owned(),
            staging_batches_to_keep: 2,
            settings: String::new(),
        };
        configured.write(self.configuration.path()).expect("the configuration");
    }
}

/// The merge table that a live-only secondary and a mirror make.
pub(crate) const MERGE_TABLE: &str = "edge_store1_people_merge";
/// Where they tell what each sync did.
pub(crate) const HISTORY_TABLE: &str = "edge_sync_history";

fn people_stream(people: &People) -> Stream {
    let mut stream = stream();
    if people.is_padded() {
        let text = Column {
            name: "padding".into(),
            column_type: ColumnType::VarChar { max_size: None },
            nullable: true,
        };
        stream.datasets[0].columns.push(text);
    }
    stream
}

/// A stream of one table with a key and text columns.
pub(crate) fn text_stream(name: &str, key: &str, columns: &[&str]) -> Stream {
    let column = |name: &str, nullable| Column {
        name: name.into(),
        column_type: ColumnType::VarChar { max_size: None },
        nullable,
    };
    let columns = std::iter::once(column(key, false)).chain(columns.iter().map(|name| column(name, true)));
    let dataset = Dataset { name: name.into(), columns: columns.collect(), key: vec![key.into()] };
    Stream { store: "store1".into(), dataset: None, datasets: vec![dataset] }
}
