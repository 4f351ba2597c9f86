//! Baselines of what is decided without a database: how far an increment goes, how a seed is cut, what changes
//! between two batches.
//!
//! `cargo bench -p milestream-benches --bench planning`

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use milestream_core::catch_up::{CommittedBatch, choose};
use milestream_core::chunk::{ChunkSize, Leaf, plan_blocks, plan_keys};
use milestream_core::delta::{FullDelta, NetDelta, Version, live_state};
use milestream_core::milestone::{BatchRange, Interval, LIVE, PrimaryBatch};

const BATCHES: i32 = 100;

/// How far an increment goes, by the batches that wait for it.
fn catching_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choosing Y");
    for waiting in [10, 1_000, 100_000] {
        let committed: Vec<_> = (1..=waiting)
            .map(|batch| CommittedBatch { batch: PrimaryBatch(batch), rows_recorded: Some(1_000) })
            .collect();
        group.throughput(Throughput::Elements(waiting.unsigned_abs().into()));
        group.bench_function(BenchmarkId::from_parameter(waiting), |bencher| {
            bencher.iter(|| choose(PrimaryBatch(0), black_box(committed.iter().copied()), 5_000_000));
        });
    }
    group.finish();
}

/// A plan of ten thousand chunks, by blocks and by keys.
fn cutting(criterion: &mut Criterion) {
    let leaf = |oid: u32| Leaf {
        table: format!("\"public\".\"leaf_{oid}\""),
        oid,
        blocks: 250_000,
        rows_estimated: Some(10_000_000),
    };
    let leaves: Vec<_> = (1..=100).map(leaf).collect();
    let sample: Vec<_> = (0..100_000).map(|key| vec![format!("{key:012}")]).collect();
    let mut group = criterion.benchmark_group("cutting a seed of a billion rows");
    group.bench_function("by blocks", |bencher| {
        bencher.iter(|| plan_blocks(black_box(&leaves), ChunkSize::default()));
    });
    group.bench_function("by keys", |bencher| {
        bencher.iter(|| plan_keys(black_box(&sample), 1_000_000_000, ChunkSize::default()));
    });
    group.finish();
}

/// Ten versions of each key, one in ten batches.
fn history(keys: u32) -> Vec<Version<u32, u64>> {
    let version = |key: u32, step: i32| {
        let from = 1 + step * BATCHES / 10;
        let to = PrimaryBatch(if step == 9 { LIVE } else { from + BATCHES / 10 - 1 });
        let content = u64::from(key) << 8 | u64::from(step.unsigned_abs());
        Version { key, interval: Interval::new(PrimaryBatch(from), to), content }
    };
    (0..keys).flat_map(|key| (0..10).map(move |step| version(key, step))).collect()
}

/// The meaning of an increment, over versions in memory.
fn deltas(criterion: &mut Criterion) {
    let versions = history(10_000);
    let range = BatchRange::new(PrimaryBatch(40), PrimaryBatch(60));
    let mut group = criterion.benchmark_group("delta of 20 of 100 batches");
    group.throughput(Throughput::Elements(versions.len() as u64));
    group.bench_function("net", |bencher| bencher.iter(|| NetDelta::over(black_box(&versions), range)));
    group.bench_function("full", |bencher| bencher.iter(|| FullDelta::over(black_box(&versions), range)));
    let (delta, state) = (NetDelta::over(&versions, range), live_state(&versions, range.after()));
    group.bench_function("net, applied", |bencher| {
        bencher.iter_batched(|| state.clone(), |mut state| delta.apply(&mut state), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, catching_up, cutting, deltas);
criterion_main!(benches);
