//! A primary whose forensic tables are written as DataSurface writes them, judged by the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use milestream_core::names;
use milestream_core::stream::Stream;
use milestream_oracle::{Cell, Operation, Primary, Row, Version, differences};
use milestream_simulation::forensic::{Control, Live, Table, carry_out, ident, table_sql};
use milestream_worker::observer::{Observer, Step, Unobserved};
use milestream_worker::sync::{self, Job, Outcome, Tuning, Until, Upstream};
use milestream_worker::{Endpoint, Error, Holding, TlsMode};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::observers::Script;

/// Cells of a row: `None` is NULL.
pub fn texts(values: &[Option<&str>]) -> Vec<Cell> {
    values.iter().map(|value| value.map(str::to_owned)).collect()
}

/// What a world is made of, where it is not as usual.
pub struct Setting {
    /// The server.
    pub server: ServerOptions,
    /// The primary platform's name.
    pub primary: String,
    /// The store's name.
    pub store: String,
    /// The primary's database.
    pub primary_database: String,
    /// The secondary's database, which may be the primary's.
    pub secondary_database: String,
    /// Statements for both databases before any table is made: types, for one.
    pub types: String,
    /// What stands behind `create database`, for both; empty for a copy of the server's template.
    pub database: String,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            server: ServerOptions::named("world"),
            primary: PRIMARY.into(),
            store: STORE.into(),
            primary_database: "primary".into(),
            secondary_database: "secondary".into(),
            types: String::new(),
            database: String::new(),
        }
    }
}

/// One server with the databases `primary` and `secondary`, and the oracle that knows what they must hold.
pub struct World {
    /// The server.
    pub server: Server,
    /// What the primary's history is.
    pub oracle: Primary,
    tables: Vec<Table>,
    live: BTreeMap<String, Live>,
    tuning: Tuning,
    setting: Setting,
    control: Control,
    /// A session a database for the questions and statements of the test.
    sessions: Mutex<BTreeMap<String, PgConnection>>,
}

/// The store of most tests.
pub const STORE: &str = "Store1";
/// The primary platform of most tests.
pub const PRIMARY: &str = "Hub";

impl World {
    /// Starts the server and creates the primary's empty tables.
    pub async fn new(tables: Vec<Table>) -> World {
        World::of(Setting::default(), tables).await
    }

    /// The same in another setting.
    pub async fn of(setting: Setting, tables: Vec<Table>) -> World {
        let backend = Backend::find(&FindOptions::from_env()).await.expect("a Postgres for the tests");
        let server = Server::start(&backend, setting.server.clone()).await.expect("a server");
        let oracle = Primary::new(tables.iter().map(Table::shape).collect::<Vec<_>>());
        let tuning = Tuning {
            lease: Duration::from_secs(10),
            seed_chunk_rows: 100,
            // Every chunk apart, so that they can be counted.
            seed_chunk_time: Duration::from_millis(1),
            retry_pause_min: Duration::from_millis(10),
            retry_pause_max: Duration::from_millis(100),
            ..Tuning::default()
        };
        let control = Control::of(&setting.primary, &setting.store);
        let live = tables.iter().map(|table| (table.name().to_owned(), Live::new())).collect();
        let sessions = Mutex::default();
        let world = World { server, oracle, tables, live, tuning, setting, control, sessions };
        world.create_databases().await;
        world
    }

    async fn create_databases(&self) {
        let Setting { primary_database, secondary_database, types, database: clause, .. } = &self.setting;
        let mut databases = vec![primary_database, secondary_database];
        databases.dedup();
        for database in databases {
            match clause.as_str() {
                "" => self.server.create_database(database).await.expect("a database"),
                _ => self.execute("postgres", format!("create database {} {clause}", ident(database))).await,
            }
            if !types.is_empty() {
                self.execute(database, types.clone()).await;
            }
        }
        let mut statements = self.control.ddl();
        for table in &self.tables {
            statements.push_str(&table.primary_ddl(&self.setting.primary, &self.setting.store));
        }
        self.execute(primary_database, statements).await;
    }

    /// The same world with other bounds.
    #[must_use]
    pub fn with_tuning(mut self, change: impl FnOnce(&mut Tuning)) -> World {
        change(&mut self.tuning);
        self
    }

    /// How to connect so that values have the texts that the oracle knows.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.server.connect_options(database).options([("timezone", "UTC")]).extra_float_digits(3)
    }

    /// A connection to a database of the server.
    pub async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect_with(&self.connect_options(database)).await.expect("a connection")
    }

    /// Ends the test's own sessions, for what wants a database for itself.
    pub async fn disconnect(&self) {
        for (_, session) in std::mem::take(&mut *self.sessions.lock().await) {
            session.close().await.expect("a session that closes");
        }
    }

    /// Runs statements in a database.
    pub async fn execute(&self, database: &str, statements: impl Into<String>) {
        self.ask(database, statements).await;
    }

    /// Asks for rows, as text.
    pub async fn ask(&self, database: &str, question: impl Into<String>) -> Vec<Vec<Cell>> {
        let question = question.into();
        let mut sessions = self.sessions.lock().await;
        if !sessions.contains_key(database) {
            sessions.insert(database.to_owned(), self.connect(database).await);
        }
        let session = sessions.get_mut(database).expect("the session just made");
        let rows = sqlx::raw_sql(AssertSqlSafe(question.clone())).fetch_all(session).await;
        let rows = rows.unwrap_or_else(|error| panic!("{question}: {error}"));
        // The simple protocol answers in text, whatever the type.
        rows.iter().map(|row| (0..row.len()).map(|at| row.get_unchecked(at)).collect()).collect()
    }

    /// Asks for one value, as text; `None` when there is no row, or NULL in it.
    pub async fn value(&self, database: &str, question: impl Into<String>) -> Cell {
        self.ask(database, question).await.into_iter().next().and_then(|row| row.into_iter().next().flatten())
    }

    /// Asks the secondary for one number.
    pub async fn number(&self, question: impl Into<String>) -> i64 {
        let value = self.value(&self.setting.secondary_database, question).await;
        value.expect("a number").parse().expect("a number")
    }

    /// Commits one batch on the primary and in the oracle; its id.
    pub async fn commit(&mut self, operations: Vec<(&str, Operation)>) -> i32 {
        let (batch, statements) = self.statements(operations);
        self.execute(&self.setting.primary_database, statements).await;
        batch
    }

    /// Applies a batch to the oracle; its id and the SQL that does the same to the primary, in one transaction.
    pub fn statements(&mut self, operations: Vec<(&str, Operation)>) -> (i32, String) {
        let batch = self.oracle.commit(operations.clone()).expect("operations that can be done");
        let mut statements = format!(
            "begin; set local extra_float_digits = 3; set local timezone = 'UTC';\n{}",
            self.control.started(batch)
        );
        for table in &self.tables {
            let live = self.live.get_mut(table.name()).expect("a table of the world");
            let its =
                operations.iter().filter(|(name, _)| *name == table.name()).map(|(_, operation)| operation);
            let changes = carry_out(live, its);
            let merge = table.merge_table(&self.setting.primary, &self.setting.store);
            statements.push_str(&table_sql(table, &merge, &changes, batch));
        }
        let datasets: Vec<_> = self.tables.iter().map(Table::name).collect();
        statements.push_str(&self.control.committed(batch, self.oracle.counts_of(batch), &datasets));
        statements.push_str("commit;");
        (batch, statements)
    }

    /// The live rows of a table of the primary after the newest batch.
    pub fn live(&self, table: &str) -> &BTreeMap<Vec<Cell>, Vec<Cell>> {
        &self.live[table]
    }

    /// The primary's merge table, quoted.
    pub fn primary_table(&self, dataset: &str) -> String {
        ident(&names::merge_table(&self.setting.primary, &self.setting.store, dataset))
    }

    /// A secondary's merge table, quoted.
    pub fn merge_table(&self, job: &Job, dataset: &str) -> String {
        ident(&names::merge_table(&job.platform, &self.setting.store, dataset))
    }

    /// An observer that runs statements on the primary, one at each occurrence of a step from the first on.
    pub fn script(&self, step: Step, statements: impl IntoIterator<Item = String>) -> Arc<Script> {
        self.script_from(&[step], 1, statements)
    }

    /// The same at any of some steps, from the `nth` occurrence of one of them on.
    pub fn script_from(
        &self,
        steps: &[Step],
        nth: usize,
        statements: impl IntoIterator<Item = String>,
    ) -> Arc<Script> {
        Arc::new(Script::new(self.connect_options(&self.setting.primary_database), steps, nth, statements))
    }

    /// The job of a secondary.
    pub fn job(&self, platform: &str, holding: Holding) -> Job {
        Job {
            platform: platform.to_owned(),
            holding,
            stream: self.stream(),
            upstreams: vec![Upstream {
                platform: self.setting.primary.clone(),
                endpoint: Arc::new(self.endpoint("primary Hub", &self.setting.primary_database)),
            }],
            primary_choice: sync::PrimaryChoice::First,
            secondary: Arc::new(
                self.endpoint(&format!("secondary {platform}"), &self.setting.secondary_database),
            ),
            staging_batches_to_keep: Some(3),
            platforms: BTreeSet::new(),
            tuning: self.tuning.clone(),
        }
    }

    /// The stream of all tables.
    pub fn stream(&self) -> Stream {
        let datasets = self.tables.iter().map(Table::dataset).collect();
        Stream { store: self.setting.store.clone(), dataset: None, datasets }
    }

    /// Where a database of the server is.
    pub fn endpoint(&self, role: &str, database: &str) -> Endpoint {
        Endpoint {
            role: role.to_owned(),
            host: self.server.host().to_owned(),
            port: self.server.port(),
            database: database.to_owned(),
            user: self.server.superuser().to_owned(),
            password: self.server.password().unwrap_or_default().to_owned().into(),
            tls: TlsMode::Disable,
            tls_root_cert: None,
        }
    }

    /// Syncs until caught up.
    pub async fn sync(&self, job: &Job) -> Result<Outcome, Error> {
        self.sync_with(job, Until::CaughtUp, Arc::new(Unobserved)).await
    }

    /// Syncs with an observer.
    pub async fn sync_with(
        &self,
        job: &Job,
        until: Until,
        observer: Arc<dyn Observer>,
    ) -> Result<Outcome, Error> {
        sync::run(Arc::new(job.clone()), until, observer, CancellationToken::new()).await
    }

    /// Lets the lease of a worker that was stopped run out at once.
    pub async fn expire_lease(&self, job: &Job) {
        let update = format!(
            "update {} set lease_expires_at = clock_timestamp() - interval '1 second'",
            control(job, "sync_stream")
        );
        self.execute(&self.setting.secondary_database, update).await;
    }

    /// A column of the stream's row, as text; `None` also before the platform has control tables.
    pub async fn stream_state(&self, job: &Job, expression: &str) -> Cell {
        let exists = format!("select to_regclass('{}')", control(job, "sync_stream").replace('\'', "''"));
        self.value(&self.setting.secondary_database, exists).await?;
        let question = format!(
            "select {expression} from {} where stream_key = '{}'",
            control(job, "sync_stream"),
            self.setting.store.replace('\'', "''")
        );
        self.value(&self.setting.secondary_database, question).await
    }

    /// The secondary's watermark.
    pub async fn watermark(&self, job: &Job) -> Option<i32> {
        self.stream_state(job, "last_synced_primary_batch").await.and_then(|text| text.parse().ok())
    }

    /// X and Y of the sync in flight; `None` when there is none.
    pub async fn flight(&self, job: &Job) -> Option<(Option<i32>, i32)> {
        let from = self.stream_state(job, "flight ->> 'from'").await;
        let to = self.stream_state(job, "flight ->> 'to'").await?;
        Some((from.map(|from| from.parse().expect("a batch")), to.parse().expect("a batch")))
    }

    /// Columns of the history's rows, oldest first.
    pub async fn history(&self, job: &Job, expressions: &str) -> Vec<Vec<Cell>> {
        let question =
            format!("select {expressions} from {} order by committed_at", control(job, "sync_history"));
        self.ask(&self.setting.secondary_database, question).await
    }

    /// Compares every table of the secondary with the oracle as of `batch`, both ways.
    pub async fn assert_holds(&self, job: &Job, batch: i32) {
        assert_eq!(self.watermark(job).await, Some(batch), "the watermark");
        for table in &self.tables {
            let history = self.oracle.table(table.name());
            let (shape, expected) = match job.holding {
                Holding::LiveOnly => (table.shape(), history.live_at(batch)),
                Holding::Mirror => {
                    let versions = history.versions_at(batch);
                    (table.shape().of_versions(), versions.into_iter().map(Version::into_row).collect())
                }
            };
            let actual = self.rows(table, job).await;
            let found = differences(&shape, &expected, &actual);
            assert!(found.is_empty(), "{} of {} as of {batch}:\n{found}", table.name(), job.platform);
        }
    }

    async fn rows(&self, table: &Table, job: &Job) -> Vec<Row> {
        let quoted = |pairs: &[(String, String)]| {
            pairs
                .iter()
                .map(|(name, _)| format!("{}::text", ident(&names::physical_column(name))))
                .collect::<Vec<_>>()
        };
        let mut columns = quoted(table.key());
        let mirror = job.holding == Holding::Mirror;
        columns.extend(mirror.then(|| "ds_surf_batch_in::text".to_owned()));
        let key_width = columns.len();
        columns.extend(quoted(table.columns()));
        columns.extend(mirror.then(|| "ds_surf_batch_out::text".to_owned()));
        let question = format!("select {} from {}", columns.join(", "), self.merge_table(job, table.name()));
        let rows = self.ask(&self.setting.secondary_database, question).await;
        rows.into_iter()
            .map(|mut key| {
                let columns = key.split_off(key_width);
                Row { key, columns }
            })
            .collect()
    }
}

/// The quoted name of a secondary's control table.
pub fn control(job: &Job, suffix: &str) -> String {
    ident(&names::platform_table(&job.platform, suffix))
}

/// Runs statements over a connection of their own.
pub async fn execute(options: &PgConnectOptions, statements: String) {
    let mut connection = PgConnection::connect_with(options).await.expect("a connection");
    let done = sqlx::raw_sql(AssertSqlSafe(statements.clone())).execute(&mut connection).await;
    done.unwrap_or_else(|error| panic!("{statements}: {error}"));
    connection.close().await.expect("a connection that closes");
}
