//! Baselines of the copy path against real servers: `COPY TO` into `COPY FROM`, and what the checks of a seed cost.
//!
//! `cargo bench -p milestream-benches --bench copy_path`. The worker's own buffers and row framing are private to it,
//! so what it does where rows go through the driver is shown here with the driver alone (a send a row against 64 KiB at
//! a time), and the rest by whole seeds: without a check, with the count, and with digests of the content.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::TryStreamExt;
use milestream_benches::{Bench, execute};
use milestream_worker::observer::Unobserved;
use milestream_worker::sync::{self, Tuning, Until, VerifySeed};
use sqlx::{Connection, PgConnection};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const VERSIONS: u64 = 200_000;
const COALESCED: usize = 64 * 1024;
/// Enough for a row, so that each is sent by itself.
const A_ROW: usize = 1;

const SELECT: &str = "copy (select id, \"firstName\", \"lastName\", dob, employer, dod, ds_surf_all_hash, ds_surf_key_hash \
                      from hub_store1_people_merge) to stdout (format binary)";
const TABLE: &str = "create table copied (id varchar(20) not null, \"firstName\" varchar(100), \"lastName\" varchar(100), \
                     dob date, employer varchar(100), dod date, ds_surf_all_hash varchar(32) not null, \
                     ds_surf_key_hash varchar(32) not null)";

fn copy_path(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let bench = runtime.block_on(Bench::with_versions(VERSIONS));
    let mut group = criterion.benchmark_group("copying 200 k versions");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements(VERSIONS));
    for (name, send_bytes) in [("a send a row", A_ROW), ("64 KiB a send", COALESCED)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                timed(&runtime, &bench, times, || runtime.block_on(pipe(&bench, send_bytes)))
            });
        });
    }
    group.finish();
}

fn digest(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let bench = runtime.block_on(Bench::with_versions(VERSIONS));
    let mut group = criterion.benchmark_group("a seed of 200 k versions");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    let checks = [
        ("unchecked", VerifySeed::Off),
        ("counted", VerifySeed::Count),
        ("with digests", VerifySeed::Content),
    ];
    for (name, verify_seed) in checks {
        group.bench_function(name, |bencher| {
            bencher
                .iter_custom(|times| timed(&runtime, &bench, times, || seed(&runtime, &bench, verify_seed)));
        });
    }
    group.finish();
}

fn timed(runtime: &Runtime, bench: &Bench, times: u64, work: impl Fn()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        runtime.block_on(bench.reset_secondary());
        runtime.block_on(execute(&bench.secondary, TABLE));
        let began = Instant::now();
        work();
        total += began.elapsed();
    }
    total
}

/// The driver's own streams, gathered until there are `send_bytes`.
async fn pipe(bench: &Bench, send_bytes: usize) {
    let connect = |server: &milestream_cluster::Server| server.connect_options("merge");
    let mut from = PgConnection::connect_with(&connect(&bench.primary)).await.expect("the primary");
    let mut to = PgConnection::connect_with(&connect(&bench.secondary)).await.expect("the secondary");
    let mut rows = from.copy_out_raw(SELECT).await.expect("a copy out");
    let mut sink = to.copy_in_raw("copy copied from stdin (format binary)").await.expect("a copy in");
    let mut gathered = BytesMut::with_capacity(2 * COALESCED);
    while let Some(row) = rows.try_next().await.expect("a row") {
        gathered.extend_from_slice(&row);
        if gathered.len() >= send_bytes {
            sink.send(&gathered[..]).await.expect("rows to be taken");
            gathered.clear();
        }
    }
    sink.send(&gathered[..]).await.expect("rows to be taken");
    assert_eq!(sink.finish().await.expect("all rows"), VERSIONS);
}

fn seed(runtime: &Runtime, bench: &Bench, verify_seed: VerifySeed) {
    let job = Arc::new(bench.job(Tuning { verify_seed, ..Tuning::default() }));
    let done = sync::run(job, Until::OneSync, Arc::new(Unobserved), CancellationToken::new());
    assert_eq!(runtime.block_on(done).expect("a seed").syncs, 1);
}

criterion_group!(benches, copy_path, digest);
criterion_main!(benches);
