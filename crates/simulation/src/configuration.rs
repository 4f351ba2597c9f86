//! Platforms and a stream written down as a configuration directory, as the real binary reads it.

use std::io;
use std::path::Path;

use milestream_core::stream::{Dataset, Stream};
use serde_json::{Value, json};

/// What a configuration is about.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The streams of one store: one of all its datasets, or one a dataset.
    pub streams: Vec<Stream>,
    /// Every platform.
    pub platforms: Vec<ConfiguredPlatform>,
    /// Names of the platforms that ingest the store.
    pub primaries: Vec<String>,
    /// Who logs in everywhere.
    pub user: String,
    /// With what.
    pub password: String,
    /// Batches whose staged rows every platform keeps.
    pub staging_batches_to_keep: u32,
    /// Lines for the `[defaults]` of `milestream.toml`.
    pub settings: String,
}

/// A platform of a configuration.
#[derive(Clone, Debug)]
pub struct ConfiguredPlatform {
    /// Its name.
    pub name: String,
    /// Whether it keeps every version; a secondary that does is a mirror.
    pub is_forensic: bool,
    /// Where its merge store is.
    pub host: String,
    /// On which port.
    pub port: u16,
    /// In which database.
    pub database: String,
}

impl Configured {
    /// Writes all files.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(path, text)
        };
        write("datastore.json", &self.datastore().to_string())?;
        let mut settings = format!("[defaults]\nsecrets_dir = \"secrets\"\n{}\n", self.settings);
        for platform in &self.platforms {
            write(
                &format!("provider_{}.json", platform.name),
                &platform.provider(self.staging_batches_to_keep).to_string(),
            )?;
            if platform.is_forensic && !self.primaries.contains(&platform.name) {
                settings.push_str(&format!("\n[platform.{}]\nkind = \"mirror\"\n", platform.name));
            }
        }
        let pips = json!([{"storeName": self.streams[0].store, "dataPlatforms": self.primaries}]);
        write("primary_ingestion_platforms.json", &pips.to_string())?;
        write("secrets/world/user", &self.user)?;
        write("secrets/world/password", &self.password)?;
        write("milestream.toml", &settings)
    }

    fn datastore(&self) -> Value {
        let known = self.streams.iter().flat_map(|stream| &stream.datasets);
        let datasets: serde_json::Map<String, Value> =
            known.map(|known| (known.name.clone(), dataset(known))).collect();
        let together = i32::from(self.streams.iter().all(|stream| stream.dataset.is_none()));
        json!({
            "_type": "Datastore", "name": self.streams[0].store, "datasets": datasets,
            "cmd": {
                "_type": "SQLSnapshotIngestion", "singleOrMultiDatasetIngestion": together,
                "stepTrigger": {"_type": "CronTrigger", "name": "often", "cron": "* * * * *"},
                "dataContainer": {
                    "_type": "PostgresDatabase", "name": "Source", "locations": [], "databaseName": "source",
                    "hostPort": {"_type": "HostPortPair", "hostName": "localhost", "port": 1},
                },
                "credential": credential(), "tableForDataset": {},
            },
        })
    }
}

impl ConfiguredPlatform {
    fn provider(&self, staging_batches_to_keep: u32) -> Value {
        let strategy = if self.is_forensic { "batch_milestoned" } else { "live_only" };
        let Self { name, host, port, database, .. } = self;
        json!({
            "_type": "YellowPlatformServiceProvider", "name": format!("{name}_DP"), "locs": [],
            "dataPlatforms": [{
                "_type": "YellowDataPlatform", "name": name, "pspName": format!("{name}_DP"),
                "milestoneStrategy": strategy, "stagingBatchesToKeep": staging_batches_to_keep,
            }],
            "mergeRW_Credential": credential(),
            "mergeStore": {
                "_type": "PostgresDatabase", "name": format!("MergeDB_{name}"), "locations": [],
                "databaseName": database,
                "hostPort": {"_type": "HostPortPair", "hostName": host, "port": port},
            },
        })
    }
}

fn credential() -> Value {
    json!({"_type": "Credential", "name": "world", "credentialType": "USER_PASSWORD"})
}

fn dataset(known: &Dataset) -> Value {
    let column = |column: &milestream_core::stream::Column| {
        let is_key = known.key.contains(&column.name);
        // The catalogs decide about types.
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
