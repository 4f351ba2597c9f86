//! The first mark: a seed of a million versions against a hand-written COPY pipe, in one run, and its memory.
//!
//! `cargo bench -p milestream-benches --bench seed`. Times are criterion's; the ratio of medians and the peak memory
//! are printed at the end, since absolute times mean nothing on shared machines.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use milestream_benches::{Bench, hand_pipe};
use milestream_worker::observer::Unobserved;
use milestream_worker::sync::{self, Tuning, Until};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const VERSIONS: u64 = 1_000_000;
const RATIO_MAX: f64 = 1.5;
const PEAK_KIB_MAX: u64 = 100 * 1024;

fn seed(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let bench = runtime.block_on(Bench::with_versions(VERSIONS));
    let (ours, hand) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let mut group = criterion.benchmark_group("seed of 1 M versions");
    group.sample_size(10).measurement_time(Duration::from_secs(60)).warm_up_time(Duration::from_secs(1));
    group.bench_function("hand-written pipe", |bencher| {
        bencher.iter_custom(|times| {
            timed(&runtime, &bench, times, &hand, || runtime.block_on(hand_pipe(&bench)))
        });
    });
    group.bench_function("milestream", |bencher| {
        bencher.iter_custom(|times| timed(&runtime, &bench, times, &ours, || seed_once(&runtime, &bench)));
    });
    group.finish();
    report(&ours, &hand);
    let small = peak_kib(&runtime, 100_000);
    let large = peak_kib(&runtime, VERSIONS);
    println!("peak memory: {small} KiB for 100 k versions, {large} KiB for 1 M; allowed {PEAK_KIB_MAX} KiB");
    assert!(large < PEAK_KIB_MAX, "the worker used {large} KiB");
}

fn timed(
    runtime: &Runtime,
    bench: &Bench,
    times: u64,
    taken: &Mutex<Vec<Duration>>,
    work: impl Fn(),
) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        runtime.block_on(bench.reset_secondary());
        let began = Instant::now();
        work();
        let took = began.elapsed();
        taken.lock().expect("a list of durations").push(took);
        total += took;
    }
    total
}

fn seed_once(runtime: &Runtime, bench: &Bench) {
    let job = Arc::new(bench.job(Tuning::default()));
    let done = sync::run(job, Until::OneSync, Arc::new(Unobserved), CancellationToken::new());
    let outcome = runtime.block_on(done).expect("a seed");
    assert_eq!(outcome.syncs, 1);
}

fn median(taken: &Mutex<Vec<Duration>>) -> Option<Duration> {
    let mut taken = taken.lock().expect("a list of durations").clone();
    taken.sort();
    taken.get(taken.len() / 2).copied()
}

/// Prints the ratio; silent where criterion ran only one of the two.
fn report(ours: &Mutex<Vec<Duration>>, hand: &Mutex<Vec<Duration>>) {
    if let (Some(ours), Some(hand)) = (median(ours), median(hand)) {
        let ratio = ours.as_secs_f64() / hand.as_secs_f64();
        println!(
            "seed against hand-written pipe: {ratio:.2} x (mark: {RATIO_MAX} x); {ours:.2?} against {hand:.2?}"
        );
    }
}

/// Peak memory of a process that seeds `versions` versions.
fn peak_kib(runtime: &Runtime, versions: u64) -> u64 {
    let bench = runtime.block_on(Bench::with_versions(versions));
    let (primary, secondary) = bench.ports();
    let output = Command::new(env!("CARGO_BIN_EXE_seed-once"))
        .args([primary.to_string(), secondary.to_string()])
        .output()
        .expect("the seeding process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of KiB")
}

criterion_group!(benches, seed);
criterion_main!(benches);
