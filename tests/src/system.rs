//! A whole system as a person sets it up: a source, a primary and two secondaries, each database with a role of its
//! own that may do nothing yet, and a configuration directory for the real binary.

use std::path::Path;

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use milestream_oracle::Cell;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tempfile::TempDir;

use crate::{Ended, Process};

/// The databases, each with the role `{database}_role` that works in it.
pub const DATABASES: [&str; 4] = ["source", "hub", "edge", "archive"];

/// One server with all databases, and the directory that describes them.
pub struct System {
    /// The server.
    pub server: Server,
    directory: TempDir,
    binary: &'static str,
}

impl System {
    /// Starts the server; `columns` are the columns of the one dataset, `orders`, each a name and the model's type,
    /// the first of them the key; `source` makes its table.
    pub async fn new(binary: &'static str, columns: &[(&str, Value)], source: &str) -> System {
        let backend = Backend::find(&FindOptions::from_env()).await.expect("a Postgres for the tests");
        let server = Server::start(&backend, ServerOptions::named("system")).await.expect("a server");
        let system = System { server, directory: tempfile::tempdir().expect("a directory"), binary };
        for database in DATABASES {
            system.server.create_database(database).await.expect("a database");
            let closed = format!(
                "create role {database}_role login; revoke all on database {database} from public; \
                 revoke all on schema public from public"
            );
            system.execute(database, &closed).await;
            system.write(&format!("secrets/{database}/user"), &format!("{database}_role"));
            system.write(&format!("secrets/{database}/password"), "trusted");
        }
        system.execute("source", source).await;
        system.describe(columns);
        system
    }

    fn describe(&self, columns: &[(&str, Value)]) {
        let json = |name: &str, json: Value| self.write(name, &json.to_string());
        json("datastore.json", self.datastore(columns));
        for (platform, strategy, database) in [
            ("Hub", "batch_milestoned", "hub"),
            ("Edge", "live_only", "edge"),
            ("Archive", "batch_milestoned", "archive"),
        ] {
            let provider = json!({
                "_type": "YellowPlatformServiceProvider", "name": format!("{platform}_DP"), "locs": [],
                "dataPlatforms": [{
                    "_type": "YellowDataPlatform", "name": platform, "pspName": format!("{platform}_DP"),
                    "milestoneStrategy": strategy, "stagingBatchesToKeep": 3,
                }],
                "mergeRW_Credential": credential(database),
                "mergeStore": self.container(platform, database),
            });
            json(&format!("provider_{platform}.json"), provider);
        }
        json("primary_ingestion_platforms.json", json!([{"storeName": "Shop", "dataPlatforms": ["Hub"]}]));
        self.write("milestream.toml", "[defaults]\nsecrets_dir = \"secrets\"\nretry_pause_min = \"20ms\"\n");
    }

    fn datastore(&self, columns: &[(&str, Value)]) -> Value {
        let key = columns[0].0;
        let column = |(name, column_type): &(&str, Value)| {
            let is_key = i32::from(*name == key);
            let column = json!({
                "_type": "DDLColumn", "name": name, "type": column_type, "nullable": 1 - is_key, "primaryKey": is_key,
            });
            ((*name).to_owned(), column)
        };
        let columns: serde_json::Map<String, Value> = columns.iter().map(column).collect();
        json!({
            "_type": "Datastore", "name": "Shop",
            "datasets": {"orders": {
                "_type": "Dataset", "name": "orders",
                "originalSchema": {
                    "_type": "DDLTable", "columns": columns,
                    "primaryKeyColumns": {"_type": "PrimaryKeyList", "colNames": [key]},
                },
            }},
            "cmd": {
                "_type": "SQLSnapshotIngestion", "singleOrMultiDatasetIngestion": 1,
                "stepTrigger": {"_type": "CronTrigger", "name": "often", "cron": "* * * * *"},
                "dataContainer": self.container("Source", "source"), "credential": credential("source"),
                "tableForDataset": {"orders": "shop.orders"},
            },
        })
    }

    fn container(&self, name: &str, database: &str) -> Value {
        let (host, port) = (self.server.host(), self.server.port());
        json!({
            "_type": "PostgresDatabase", "name": format!("DB_{name}"), "locations": [], "databaseName": database,
            "hostPort": {"_type": "HostPortPair", "hostName": host, "port": port},
        })
    }

    /// The configuration directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes one of its files anew.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Runs the binary.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Process::run(self.binary, self.path(), arguments)
    }

    /// Runs a command for a platform's stream.
    pub fn of(&self, command: &str, platform: &str) -> Ended {
        self.run(&[command, "--platform", platform, "--store", "Shop"])
    }

    /// Syncs a platform's stream.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn synced(&self, platform: &str) -> Ended {
        let ended = self.of("sync", platform);
        assert!(ended.status.success(), "{ended:?}");
        ended
    }

    /// Runs statements in a database as its superuser.
    pub async fn execute(&self, database: &str, statements: &str) {
        self.ask(database, statements).await;
    }

    /// Asks a database as its superuser; the first column of each row, as text.
    pub async fn ask(&self, database: &str, question: &str) -> Vec<Cell> {
        let options = self.server.connect_options(database);
        let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
        let rows = sqlx::raw_sql(AssertSqlSafe(question.to_owned())).fetch_all(&mut connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{database}: {question}: {error}"));
        rows.iter().map(|row| if row.is_empty() { None } else { row.get_unchecked(0) }).collect()
    }

    /// What `grants` prints, as databases with statements.
    pub fn grants(&self) -> Vec<(String, String)> {
        let printed = self.run(&["grants"]);
        assert!(printed.status.success(), "{printed:?}");
        statements(&printed.stdout)
    }

    /// Grants everything that `grants` prints and whose table is there.
    pub async fn grant_all(&self) {
        for (database, statement) in self.grants() {
            let options = self.server.connect_options(&database);
            let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
            let granted = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await;
            if let Err(error) = granted {
                assert!(error.to_string().contains("does not exist"), "{statement}: {error}");
            }
        }
    }
}

fn credential(name: &str) -> Value {
    json!({"_type": "Credential", "name": name, "credentialType": "USER_PASSWORD"})
}

/// A script of psql, as databases with statements; comments are left out.
fn statements(script: &str) -> Vec<(String, String)> {
    let mut database = String::new();
    let mut found = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
        match line.strip_prefix("\\connect") {
            Some(rest) => {
                let name = rest.split_once("dbname='").and_then(|(_, rest)| rest.split_once('\''));
                database = name.expect("a database's name").0.to_owned();
            }
            None => found.push((database.clone(), line.to_owned())),
        }
    }
    found
}
