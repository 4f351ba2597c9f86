//! A primary with the people table and a server for secondaries, side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use milestream_core::model::ColumnType;
use milestream_core::stream::{Column, Dataset, Stream};
use milestream_worker::sync::{Job, PrimaryChoice, Tuning, Upstream};
use milestream_worker::{Endpoint, Holding, TlsMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The primary platform of all benchmarks.
pub const PRIMARY: &str = "hub";
/// The secondary platform of all benchmarks.
pub const SECONDARY: &str = "edge";

pub(crate) const COLUMNS: [(&str, u32, bool); 6] = [
    ("id", 20, false),
    ("firstName", 100, true),
    ("lastName", 100, true),
    ("dob", 0, true),
    ("employer", 100, true),
    ("dod", 0, true),
];

/// Two servers: one with the primary's table, one for what is copied.
pub struct Bench {
    /// The primary's server.
    pub primary: Server,
    /// The secondaries' server.
    pub secondary: Server,
}

impl Bench {
    /// Starts both servers and fills the primary with `versions` versions, 24 % of them closed.
    pub async fn with_versions(versions: u64) -> Bench {
        let backend = Backend::find(&FindOptions::from_env()).await.expect("a Postgres for the benchmarks");
        let options = |name: &str| {
            ServerOptions { durable: false, ..ServerOptions::named(name) }
                .with_setting("shared_buffers", "1GB")
                .with_setting("max_wal_size", "8GB")
                .with_setting("checkpoint_timeout", "30min")
        };
        let primary = Server::start(&backend, options("primary")).await.expect("the primary's server");
        let secondary = Server::start(&backend, options("secondary")).await.expect("the secondaries' server");
        primary.create_database("merge").await.expect("the primary's database");
        secondary.create_database("merge").await.expect("the secondary's database");
        let bench = Bench { primary, secondary };
        execute(&bench.primary, &people_sql(versions)).await;
        // VACUUM cannot share a round trip with anything else.
        execute(&bench.primary, "vacuum analyze hub_store1_people_merge").await;
        bench
    }

    /// Forgets everything on the secondary.
    pub async fn reset_secondary(&self) {
        self.secondary.drop_database("merge").await.expect("dropping the secondary's database");
        self.secondary.create_database("merge").await.expect("the secondary's database");
    }

    /// The job that seeds a live-only secondary.
    pub fn job(&self, tuning: Tuning) -> Job {
        let ends = Ends::of(self);
        ends.job(tuning)
    }

    /// The ports of both servers, as another process needs them.
    pub fn ports(&self) -> (u16, u16) {
        (self.primary.port(), self.secondary.port())
    }
}

/// Both ends by their ports.
struct Ends {
    primary: u16,
    secondary: u16,
}

impl Ends {
    fn of(bench: &Bench) -> Ends {
        Ends { primary: bench.primary.port(), secondary: bench.secondary.port() }
    }

    fn job(&self, tuning: Tuning) -> Job {
        let upstream =
            Upstream { platform: PRIMARY.into(), endpoint: Arc::new(endpoint("primary", self.primary)) };
        Job {
            platform: SECONDARY.into(),
            holding: Holding::LiveOnly,
            stream: stream(),
            upstreams: vec![upstream],
            primary_choice: PrimaryChoice::First,
            secondary: Arc::new(endpoint("secondary", self.secondary)),
            staging_batches_to_keep: None,
            platforms: BTreeSet::new(),
            tuning,
        }
    }
}

/// The job of a process that knows only the servers' ports.
pub fn job_of_ports(primary: u16, secondary: u16, tuning: Tuning) -> Job {
    Ends { primary, secondary }.job(tuning)
}

fn endpoint(role: &str, port: u16) -> Endpoint {
    endpoint_of(role, port, "merge")
}

/// A database of a disposable server, as the worker connects to it.
pub(crate) fn endpoint_of(role: &str, port: u16, database: &str) -> Endpoint {
    Endpoint {
        role: role.into(),
        host: "127.0.0.1".into(),
        port,
        database: database.into(),
        user: milestream_cluster::SUPERUSER.into(),
        password: String::new().into(),
        tls: TlsMode::Disable,
        tls_root_cert: None,
    }
}

/// The stream of the people table.
pub(crate) fn stream() -> Stream {
    let column = |(name, size, nullable): (&str, u32, bool)| Column {
        name: name.into(),
        column_type: if size == 0 { ColumnType::Date } else { ColumnType::VarChar { max_size: Some(size) } },
        nullable,
    };
    let columns = COLUMNS.into_iter().map(column).collect();
    let people = Dataset { name: "people".into(), columns, key: vec!["id".into()] };
    Stream { store: "store1".into(), dataset: None, datasets: vec![people] }
}

/// Runs statements on a server's `merge` database.
pub async fn execute(server: &Server, statements: &str) {
    execute_in(server, "merge", statements).await;
}

/// Runs statements in a database.
pub(crate) async fn execute_in(server: &Server, database: &str, statements: &str) {
    let mut connection =
        PgConnection::connect_with(&server.connect_options(database)).await.expect("a connection");
    let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await;
    done.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// One number from a database.
pub(crate) async fn number(server: &Server, database: &str, question: &str) -> i64 {
    let mut connection =
        PgConnection::connect_with(&server.connect_options(database)).await.expect("a connection");
    let answer = sqlx::query_scalar(AssertSqlSafe(question.to_owned())).fetch_one(&mut connection).await;
    answer.unwrap_or_else(|error| panic!("{question}: {error}"))
}

/// The forensic table with its six indexes: of a hundred keys 24 have a closed version of batch 1 and, except for
/// those that are gone, a live one of batch 2.
fn people_sql(versions: u64) -> String {
    let closed = versions * 24 / 100;
    let live = versions - closed;
    let columns = "'P' || lpad(i::text, 12, '0'), 'First' || (i % 5000), 'Last' || (i % 90000), \
                   date '1950-01-01' + (i % 20000)::int, case when i % 5 = 0 then null else 'Employer ' || (i % 3000) end, \
                   case when i % 11 = 0 then date '2020-01-01' + (i % 900)::int end";
    format!(
        "create table hub_store1_people_merge (id varchar(20) not null, \"firstName\" varchar(100), \
           \"lastName\" varchar(100), dob date, employer varchar(100), dod date, \
           ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
           ds_surf_batch_in integer not null, ds_surf_batch_out integer not null);
         insert into hub_store1_people_merge select c.*, md5(c::text || 'old'), md5(c.a), 1, 1 \
           from (select {columns} from generate_series(1, {closed}) i) c(a, b, d, e, f, g);
         insert into hub_store1_people_merge select c.*, md5(c::text), md5(c.a), 2, 2147483647 \
           from (select {columns} from generate_series(1, {live}) i) c(a, b, d, e, f, g);
         alter table hub_store1_people_merge add primary key (id, ds_surf_batch_in);
         create index on hub_store1_people_merge (ds_surf_key_hash);
         create index on hub_store1_people_merge (ds_surf_batch_out);
         create index on hub_store1_people_merge (ds_surf_key_hash, ds_surf_batch_out);
         create index on hub_store1_people_merge (ds_surf_batch_in);
         create index on hub_store1_people_merge (ds_surf_batch_in, ds_surf_batch_out);
         create table hub_batch_metrics (key varchar(255), batch_id integer, batch_start_time timestamp, \
           batch_end_time timestamp, batch_status varchar(32), records_inserted integer, records_updated integer, \
           records_deleted integer, total_records integer, state varchar(2048), primary key (key, batch_id));
         insert into hub_batch_metrics values ('store1', 1, now(), now(), 'committed', {closed}, 0, 0, null, null), \
           ('store1', 2, now(), now(), 'committed', {live}, {closed}, 0, null, null);"
    )
}
