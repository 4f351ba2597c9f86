//! A smoke of the simulation: histories and kept plans on this machine's servers, and in containers where Docker is.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use milestream_cluster::{Backend, FindOptions};
use milestream_simulation::campaign::{self, Bounds, Campaign, Ground, Item};
use milestream_simulation::fault::FaultKind;
use milestream_simulation::plan::generate::{self, Options};
use milestream_simulation::run::{Hall, WorkerBinary, can_fill_disks, play};

/// The image that `just image` builds, where none is named.
const LOCAL_IMAGE: &str = "milestream-postgres:local";

fn ground(backend: Backend) -> Ground {
    let worker = WorkerBinary {
        program: PathBuf::from(env!("CARGO_BIN_EXE_milestream-under-test")),
        arguments: Vec::new(),
    };
    Ground { hall: Arc::new(Hall::new(vec![backend])), worker, side_by_side: 2 }
}

async fn local() -> Ground {
    ground(Backend::find(&FindOptions::from_env()).await.expect("a Postgres for the tests"))
}

fn options(is_local: bool) -> Options {
    let mut options = Options::default();
    if !is_local || !can_fill_disks() {
        eprintln!("disk-full is left out: it needs servers of this machine, and root to mount a small tmpfs");
        options.without.insert(FaultKind::DiskFull);
    }
    options
}

async fn all(ground: &Ground, items: impl IntoIterator<Item = Item>) -> Campaign {
    let campaign = campaign::run(ground, items, Bounds::default(), &mut |_, _, _| {}).await;
    let campaign = campaign.unwrap_or_else(|error| panic!("{error}"));
    let broken: Vec<_> =
        campaign.failed.iter().map(|failed| format!("{}: {}", failed.item.name, failed.violation)).collect();
    assert!(broken.is_empty(), "promises were broken:\n{}", broken.join("\n"));
    campaign
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_histories_keep_every_promise() {
    let campaign = all(&local().await, campaign::random(1, 100, &options(true))).await;
    assert_eq!(campaign.tally.histories, 100);
    assert!(campaign.tally.felt() > 20, "hardly a fault was felt: {:?}", campaign.tally.matrix);
    assert!(
        campaign.tally.comparisons > 300 && campaign.tally.samples > 100,
        "hardly anything was looked at"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_failed_once_fail_no_more() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/regressions");
    let kept = campaign::regressions(&directory).unwrap();
    assert!(!kept.is_empty(), "there are plans in {}", directory.display());
    all(&local().await, kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_in_containers_keep_every_promise() {
    let image = std::env::var("MILESTREAM_POSTGRES_IMAGE").unwrap_or_else(|_| LOCAL_IMAGE.to_owned());
    let backend = match Backend::container(&image).await {
        Ok(backend) => backend,
        Err(error) => return eprintln!("SKIPPED, no histories in containers: {error}"),
    };
    let ground = ground(backend);
    let mut items = campaign::random(500, 10, &options(false)).peekable();
    let first = items.next().expect("ten histories");
    // The daemon may answer and not have the image.
    if let Err(error) = play(&first.plan, &ground.hall, &ground.worker).await {
        return eprintln!(
            "SKIPPED, no histories in containers of {image}, which `just image` builds: {error}"
        );
    }
    all(&ground, items).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn final_tables_of_five_seeds() {
    let ground = local().await;
    let options = Options { faults: false, ..Options::default() };
    for seed in 1..=5 {
        let outcome = play(&generate::plan(seed, &options), &ground.hall, &ground.worker).await.unwrap();
        assert_eq!(outcome.violation, None, "seed {seed}");
        insta::assert_snapshot!(format!("final_tables_of_seed_{seed}"), outcome.tables);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_plan_has_the_same_outcome() {
    let ground = local().await;
    let options = Options {
        without: FaultKind::ALL.into_iter().filter(|kind| kind.is_of_servers()).collect(),
        ..options(true)
    };
    for seed in 40..46 {
        let mut plan = generate::plan(seed, &options);
        plan.secondaries.iter_mut().for_each(|secondary| secondary.parallelism = 1);
        let first = play(&plan, &ground.hall, &ground.worker).await.unwrap();
        let second = play(&plan, &ground.hall, &ground.worker).await.unwrap();
        assert_eq!((&first.violation, &first.tables), (&second.violation, &second.tables), "seed {seed}");
    }
}
