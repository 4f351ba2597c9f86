//! A source, a platform that ingests it, and the oracle that knows what must come of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use milestream_core::model::ColumnType;
use milestream_core::names::{merge_table, staging_table};
use milestream_core::stream::{Column, Dataset, Stream};
use milestream_oracle::{Cell, Primary, Row, Shape, differences};
use milestream_worker::ingest::{self, HashFormula, IngestJob, IngestOutcome, Scd};
use milestream_worker::observer::{Observer, Unobserved};
use milestream_worker::sync::Tuning;
use milestream_worker::{Endpoint, Error, TlsMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tokio_util::sync::CancellationToken;

/// The platform of all tests.
pub(crate) const PLATFORM: &str = "Hub";
/// The datastore of all tests.
pub(crate) const STORE: &str = "Store1";

/// A dataset whose first `key` columns are its key, each column a name and the model's type for it.
pub(crate) fn dataset(name: &str, key: usize, columns: &[(&str, ColumnType)]) -> Dataset {
    let column = |(at, (name, column_type)): (usize, &(&str, ColumnType))| Column {
        name: (*name).to_owned(),
        column_type: column_type.clone(),
        nullable: at >= key,
    };
    Dataset {
        name: name.to_owned(),
        columns: columns.iter().enumerate().map(column).collect(),
        key: columns[..key].iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

/// People as most tests need them.
pub(crate) fn people() -> Dataset {
    dataset("people", 1, &[("id", ColumnType::Integer), ("name", varchar(40)), ("town", varchar(40))])
}

/// A text with a bound.
pub(crate) fn varchar(size: u32) -> ColumnType {
    ColumnType::VarChar { max_size: Some(size) }
}

/// A type that the model has no word for: the source's is taken.
pub(crate) fn unknown() -> ColumnType {
    ColumnType::Other("Geometry".to_owned())
}

/// The source's table for [`people`].
pub(crate) const PEOPLE: &str =
    "create table people (id integer primary key, name varchar(40), town varchar(40));";

/// One server with the databases `source` and `store`.
pub(crate) struct Mill {
    pub(crate) server: Server,
    pub(crate) job: IngestJob,
    oracle: Primary,
}

impl Mill {
    /// Starts the server and creates the source's tables.
    pub(crate) async fn new(strategy: Scd, datasets: Vec<Dataset>, source: &str) -> Mill {
        let backend = Backend::find(&FindOptions::from_env()).await.expect("a Postgres for the tests");
        let server = Server::start(&backend, ServerOptions::named("mill")).await.expect("a server");
        for database in ["source", "store"] {
            server.create_database(database).await.expect("a database");
        }
        let oracle = Primary::new(datasets.iter().map(shape));
        let tuning = Tuning {
            retry_pause_min: Duration::from_millis(20),
            retry_pause_max: Duration::from_millis(200),
            // The tables of most tests have few rows, and lose most of them.
            max_delete_fraction: 1.0,
            ..Tuning::default()
        };
        let job = IngestJob {
            platform: PLATFORM.to_owned(),
            strategy,
            stream: Stream { store: STORE.to_owned(), dataset: None, datasets },
            source: endpoint(&server, "source of Store1", "source"),
            source_tables: BTreeMap::new(),
            store: endpoint(&server, "store of Hub", "store"),
            hash: HashFormula::DataSurface,
            staging_batches_to_keep: None,
            tuning,
        };
        let mill = Mill { server, job, oracle };
        mill.execute("source", source).await;
        mill
    }

    /// Runs statements in a database.
    pub(crate) async fn execute(&self, database: &str, statements: &str) {
        let mut connection = self.connect(database).await;
        let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        let options =
            self.server.connect_options(database).options([("timezone", "UTC")]).extra_float_digits(3);
        PgConnection::connect_with(&options).await.expect("a connection")
    }

    /// Rows of text.
    pub(crate) async fn ask(&self, database: &str, question: &str) -> Vec<Vec<Cell>> {
        let mut connection = self.connect(database).await;
        let rows = sqlx::raw_sql(AssertSqlSafe(question.to_owned())).fetch_all(&mut connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{question}: {error}"));
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }

    /// One value of text.
    pub(crate) async fn value(&self, database: &str, question: &str) -> Option<String> {
        self.ask(database, question).await.into_iter().next().and_then(|row| row.into_iter().next()).flatten()
    }

    /// Ingests a batch without judging it.
    pub(crate) async fn run(&self, observer: Arc<dyn Observer>) -> Result<IngestOutcome, Error> {
        ingest::run(Arc::new(self.job.clone()), observer, CancellationToken::new()).await
    }

    /// Ingests a batch and judges what came of it.
    pub(crate) async fn ingest(&mut self) -> IngestOutcome {
        let outcome = self.run(Arc::new(Unobserved)).await.expect("a batch that is committed");
        self.judge(outcome).await;
        outcome
    }

    /// Tells the oracle what the source holds, and compares tables, counts and metrics with what it makes of it.
    pub(crate) async fn judge(&mut self, outcome: IngestOutcome) {
        let mut contents = Vec::new();
        let datasets = self.job.stream.datasets.clone();
        for dataset in &datasets {
            let table = self.job.source_tables.get(&dataset.name).unwrap_or(&dataset.name).clone();
            contents.push((dataset.name.as_str(), self.rows("source", &table, &shape(dataset)).await));
        }
        let total: usize = contents.iter().map(|(_, rows)| rows.len()).sum();
        let batch = self.oracle.commit_snapshot(contents).expect("a snapshot with keys");
        assert_eq!(outcome.batch.0, batch, "the batch's id");
        for dataset in &datasets {
            self.compare(dataset, batch).await;
        }
        let counts = self.oracle.counts_of(batch);
        let keys = self.oracle.changes_between(batch - 1, batch);
        let expected = match self.job.strategy {
            Scd::Forensic => [counts.opened, counts.closed_changed, counts.closed_gone, total as u64],
            Scd::LiveOnly => [keys.new, keys.changed, keys.gone, total as u64],
        };
        let IngestOutcome { inserted, updated, deleted, total, .. } = outcome;
        assert_eq!([inserted, updated, deleted, total], expected, "the counts of batch {batch}");
        assert_eq!(
            self.metrics(batch).await,
            [vec!["committed".to_owned()], expected.map(|n| n.to_string()).to_vec()].concat()
        );
    }

    async fn compare(&self, dataset: &Dataset, batch: i32) {
        let history = self.oracle.table(&dataset.name);
        let (mut shape, expected) = match self.job.strategy {
            Scd::LiveOnly => (shape(dataset), history.live_at(batch)),
            Scd::Forensic => {
                let versions = history.versions_at(batch).into_iter();
                (shape(dataset).of_versions(), versions.map(|version| version.into_row()).collect())
            }
        };
        for name in shape.key.iter_mut().chain(&mut shape.columns) {
            if name.starts_with("batch_") {
                *name = format!("ds_surf_{name}");
            }
        }
        let actual = self.rows("store", &merge_table(PLATFORM, STORE, &dataset.name), &shape).await;
        let found = differences(&shape, &expected, &actual);
        assert!(found.is_empty(), "as of {batch}:\n{found}");
    }

    async fn rows(&self, database: &str, table: &str, shape: &Shape) -> Vec<Row> {
        let columns: Vec<_> =
            shape.key.iter().chain(&shape.columns).map(|name| format!("\"{name}\"::text")).collect();
        let rows = self.ask(database, &format!("select {} from {table}", columns.join(", "))).await;
        let row = |cells: Vec<Cell>| {
            let (key, columns) = cells.split_at(shape.key.len());
            Row { key: key.to_vec(), columns: columns.to_vec() }
        };
        rows.into_iter().map(row).collect()
    }

    /// Status and counts of a batch, as recorded.
    pub(crate) async fn metrics(&self, batch: i32) -> Vec<String> {
        let question = format!(
            "select batch_status, records_inserted::text, records_updated::text, records_deleted::text, \
             total_records::text from hub_batch_metrics where key = '{STORE}' and batch_id = {batch}"
        );
        let rows = self.ask("store", &question).await;
        rows.into_iter().flatten().map(Option::unwrap_or_default).collect()
    }

    /// Rows of the staging table of a dataset.
    pub(crate) async fn staged(&self, dataset: &str) -> Vec<String> {
        let staging = staging_table(PLATFORM, STORE, dataset);
        let question = format!("select s::text from {staging} s order by 1");
        self.ask("store", &question).await.into_iter().flatten().flatten().collect()
    }

    /// Ends the lease of a worker that was stopped as if it had died.
    pub(crate) async fn expire_lease(&self) {
        self.execute(
            "store",
            "update hub_sync_stream set lease_expires_at = clock_timestamp() - interval '1 s'",
        )
        .await;
    }
}

fn shape(dataset: &Dataset) -> Shape {
    let key: Vec<_> = dataset.key.iter().map(String::as_str).collect();
    let columns: Vec<_> = dataset.columns.iter().map(|column| column.name.as_str()).collect();
    Shape::new(&dataset.name, &key, &columns[key.len()..])
}

fn endpoint(server: &Server, role: &str, database: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        role: role.to_owned(),
        host: server.host().to_owned(),
        port: server.port(),
        database: database.to_owned(),
        user: server.superuser().to_owned(),
        password: server.password().unwrap_or_default().to_owned().into(),
        tls: TlsMode::Disable,
        tls_root_cert: None,
    })
}
