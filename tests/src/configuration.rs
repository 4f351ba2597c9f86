//! A world written down as a configuration directory, as the real binary reads it.

use std::path::Path;

use milestream_core::stream::{Dataset, Stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PRIMARY, STORE, World};

/// A configuration directory of a world: the primary, `Edge` (live-only) and `Archive` (a mirror).
pub struct Configuration {
    directory: TempDir,
}

impl Configuration {
    /// Writes the directory; `settings` are lines for the `[defaults]` of `milestream.toml`.
    pub fn of(world: &World, settings: &str) -> Configuration {
        let directory = tempfile::tempdir().expect("a directory");
        let configuration = Configuration { directory };
        let stream = world.stream();
        configuration.write("datastore.json", &datastore(&stream).to_string());
        for (platform, strategy, database) in [
            (PRIMARY, "batch_milestoned", "primary"),
            ("Edge", "live_only", "secondary"),
            ("Archive", "batch_milestoned", "secondary"),
        ] {
            let provider = provider(world, platform, strategy, database);
            configuration.write(&format!("provider_{platform}.json"), &provider.to_string());
        }
        let pips = json!([{"storeName": STORE, "dataPlatforms": [PRIMARY]}]);
        configuration.write("primary_ingestion_platforms.json", &pips.to_string());
        configuration.write("secrets/world/user", world.server.superuser());
        configuration.write("secrets/world/password", world.server.password().unwrap_or("trusted"));
        let settings = format!(
            "[defaults]\nsecrets_dir = \"secrets\"\n{settings}\n\n[platform.Archive]\nkind = \"mirror\"\n"
        );
        configuration.write("milestream.toml", &settings);
        configuration
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes one of its files anew.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
}

fn credential() -> Value {
    json!({"_type": "Credential", "name": "world", "credentialType": "USER_PASSWORD"})
}

fn container(world: &World, name: &str, database: &str) -> Value {
    json!({
        "_type": "PostgresDatabase", "name": name, "locations": [], "databaseName": database,
        "hostPort": {"_type": "HostPortPair", "hostName": world.server.host(), "port": world.server.port()},
    })
}

fn provider(world: &World, platform: &str, strategy: &str, database: &str) -> Value {
    json!({
        "_type": "YellowPlatformServiceProvider", "name": format!("{platform}_DP"), "locs": [],
        "dataPlatforms": [{
            "_type": "YellowDataPlatform", "name": platform, "pspName": format!("{platform}_DP"),
            "milestoneStrategy": strategy, "stagingBatchesToKeep": 3,
        }],
        "mergeRW_Credential": credential(),
        "mergeStore": container(world, &format!("MergeDB_{platform}"), database),
    })
}

fn datastore(stream: &Stream) -> Value {
    let datasets: serde_json::Map<String, Value> =
        stream.datasets.iter().map(|known| (known.name.clone(), dataset(known))).collect();
    json!({
        "_type": "Datastore", "name": STORE, "datasets": datasets,
        "cmd": {
            "_type": "SQLSnapshotIngestion", "singleOrMultiDatasetIngestion": 1,
            "stepTrigger": {"_type": "CronTrigger", "name": "often", "cron": "* * * * *"},
            "dataContainer": {
                "_type": "PostgresDatabase", "name": "Source", "locations": [], "databaseName": "source",
                "hostPort": {"_type": "HostPortPair", "hostName": "localhost", "port": 1},
            },
            "credential": credential(), "tableForDataset": {},
        },
    })
}

fn dataset(known: &Dataset) -> Value {
    let column = |column: &milestream_core::stream::Column| {
        let is_key = known.key.contains(&column.name);
        let json = json!({
            "_type": "DDLColumn", "name": column.name, "type": {"type": "VarChar", "maxSize": -1},
            "nullable": i32::from(column.nullable), "primaryKey": i32::from(is_key),
        });
        (column.name.clone(), json)
    };
    let columns: serde_json::Map<String, Value> = known.columns.iter().map(column).collect();
    json!({
        "_type": "Dataset", "name": known.name,
        "originalSchema": {
            "_type": "DDLTable",
            "primaryKeyColumns": {"_type": "PrimaryKeyList", "colNames": known.key},
            "columns": columns,
        },
    })
}
