//! An endpoint that is several servers: a primary and a standby that is behind.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::Duration;

use milestream_cluster::{Server, ServerOptions};
use milestream_simulation::proxy::Proxy;
use milestream_tests::{At, Table, World, execute, inserts, updates};
use milestream_worker::observer::{Observers, Step, Verdict};
use milestream_worker::sync::{Job, Until, VerifySeed};
use milestream_worker::{Error, Holding};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::net::TcpStream;

const PEOPLE: i32 = 200;
const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A primary at batch 1, its standby, and an endpoint before both.
struct Replicated {
    world: World,
    standby: Server,
    proxy: Proxy,
}

impl Replicated {
    async fn new() -> Replicated {
        let world = World::new(vec![Table::people().sparse()]).await;
        let mut world = world.with_tuning(|tuning| {
            tuning.seed_chunk_rows = 20;
            tuning.verify_seed = VerifySeed::Off;
            tuning.retry_tries = 100;
        });
        world.commit(inserts("people", 0..PEOPLE)).await;
        let standby = world.server.standby(ServerOptions::named("standby")).await.unwrap();
        let servers = [&world.server, &standby].map(|server| (server.host().to_owned(), server.port()));
        let proxy = Proxy::start_over(servers).await.unwrap();
        tokio::spawn(busy(world.connect_options("primary")));
        let replicated = Replicated { world, standby, proxy };
        replicated.caught_up().await;
        replicated
    }

    async fn caught_up(&self) {
        let written = self.world.value("primary", "select pg_current_wal_insert_lsn()").await.unwrap();
        let options = self.standby.connect_options("primary");
        let mut session = sqlx::PgConnection::connect_with(&options).await.unwrap();
        let question = "select pg_last_wal_replay_lsn() >= $1::pg_lsn";
        while !sqlx::query_scalar::<_, bool>(question).bind(&written).fetch_one(&mut session).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        session.close().await.unwrap();
    }

    /// A job whose next connection reaches the standby, or else the primary.
    async fn job(&self, platform: &str, holding: Holding, skipped: usize) -> Job {
        for _ in 0..skipped {
            drop(TcpStream::connect(("127.0.0.1", self.proxy.port())).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut job = self.world.job(platform, holding);
        let mut endpoint = self.world.endpoint("primary Hub", "primary");
        endpoint.port = self.proxy.port();
        job.upstreams[0].endpoint = Arc::new(endpoint);
        job
    }

    /// An observer that stops replay at a step, and lets it go on after a while.
    fn held_back_at(&self, step: Step) -> At {
        let options = self.standby.connect_options("primary");
        At::nth(step, 1, move || {
            let options = options.clone();
            async move {
                execute(&options, "select pg_wal_replay_pause()".into()).await;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                    execute(&options, "select pg_wal_replay_resume()".into()).await;
                });
                Verdict::GoOn
            }
        })
    }
}

/// Others write to the server, as they do: what is written last reaches an idle standby with the next flush only.
async fn busy(options: PgConnectOptions) {
    let mut session = options.connect().await.unwrap();
    let tick = "select pg_logical_emit_message(true, 'tick', '')";
    while sqlx::raw_sql(tick).execute(&mut session).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_seed_over_a_primary_and_a_standby_that_is_behind_is_exact() {
    for holding in BOTH {
        for skipped in [0, 1] {
            let mut replicated = Replicated::new().await;
            let job = replicated.job("Edge", holding, skipped).await;
            // The batch closes versions that chunks have not read yet, where only the primary shows it.
            let (_, batch) = replicated.world.statements(updates("people", 0..PEOPLE, "changed"));
            let script = replicated.world.script(Step::ChunkCommitted, [batch]);
            // What is swept is read over other connections.
            let observer = Observers::default()
                .and(Arc::new(replicated.held_back_at(Step::Planned)))
                .and(script)
                .and(Arc::new(At::fail(Step::Sweeping, 1)));
            replicated.world.sync_with(&job, Until::OneSync, Arc::new(observer)).await.unwrap();
            replicated.world.assert_holds(&job, 1).await;
            replicated.caught_up().await;
            replicated.world.sync(&job).await.unwrap();
            replicated.world.assert_holds(&job, 2).await;
        }
    }
}

#[tokio::test]
async fn a_table_rewritten_where_the_standby_is_behind_is_waited_for_and_not_blamed() {
    for skipped in [0, 1] {
        let replicated = Replicated::new().await;
        let job = replicated.job("Edge", Holding::LiveOnly, skipped).await;
        let full = format!("vacuum full {}", replicated.world.primary_table("people"));
        let script = replicated.world.script(Step::Leased, [full]);
        let observer = Observers::default()
            .and(Arc::new(replicated.held_back_at(Step::Leased)))
            .and(script)
            .and(Arc::new(At::fail(Step::ChunkCommitted, 1)));
        replicated.world.sync_with(&job, Until::OneSync, Arc::new(observer)).await.unwrap();
        replicated.world.assert_holds(&job, 1).await;
    }
}

#[tokio::test]
async fn a_standby_that_stays_behind_is_named() {
    let mut replicated = Replicated::new().await;
    let mut job = replicated.job("Edge", Holding::LiveOnly, 0).await;
    replicated.world.sync(&job).await.unwrap();
    let standby = replicated.standby.connect_options("primary");
    execute(&standby, "select pg_wal_replay_pause()".into()).await;
    replicated.world.commit(updates("people", 0..3, "changed")).await;
    // Planned on the primary, and taken up where only the standby answers.
    let stop = Arc::new(At::stop(Step::Planned, 1));
    let direct = replicated.world.job("Edge", Holding::LiveOnly);
    replicated.world.sync_with(&direct, Until::OneSync, stop).await.unwrap_err();
    replicated.world.expire_lease(&job).await;
    let mut endpoint = replicated.world.endpoint("primary Hub", "primary");
    endpoint.port = replicated.standby.port();
    job.upstreams[0].endpoint = Arc::new(endpoint);
    job.tuning.retry_tries = 1;
    let error = replicated.world.sync(&job).await.unwrap_err();
    assert!(
        matches!(&error, Error::BudgetSpent { last, .. } if matches!(**last, Error::Behind { .. })),
        "{error}"
    );
    execute(&standby, "select pg_wal_replay_resume()".into()).await;
    replicated.world.sync(&job).await.unwrap();
    replicated.world.assert_holds(&job, 2).await;
}
