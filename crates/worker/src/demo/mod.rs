//! `milestream demo`: the whole system on throwaway servers, with real flights.
//!
//! The primary ingests twelve months as twelve batches. A live-only secondary is seeded as of batch 4 and a mirror as
//! of batch 7 while the primary goes on; both then follow by increments, and at the end every row is compared.

mod calendar;
mod flights;
mod report;
mod sheet;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sqlx::{Connection, PgConnection};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Configuration, Keys, Selection, StreamJob};
use crate::error::{Error, Result};
use crate::ingest::{self, IngestJob};
use crate::observer::{Answer, Event, Observer, Observers, Step, Unobserved, Verdict};
use crate::sync::{self, Job, Until};
use flights::{Flights, MONTHS};
use report::Narrator;
use stage::Stage;

const STORE: &str = "Flights";
const PRIMARY: &str = "Hub";
/// Each secondary and the batch as of which it is seeded.
const SECONDARIES: [(&str, u32); 2] = [("Edge", 4), ("Archive", 7)];

/// What the demo is asked to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Directory of server binaries.
    pub(crate) postgres_bin: Option<PathBuf>,
    /// Directory of CSV files with all the flights, instead of the excerpt in the binary.
    pub(crate) data: Option<PathBuf>,
    /// End at once instead of waiting for Ctrl-C.
    pub(crate) exit: bool,
}

/// Runs the demo, and stays until `stop` unless it was told to exit. Nothing is left running or on disk.
///
/// # Errors
/// `Setup` when there are no servers or the data cannot be read; whatever the worker meets.
pub(crate) async fn run(options: &Options, stop: CancellationToken) -> Result<()> {
    let flights = match &options.data {
        Some(directory) => Flights::from_dir(directory)?,
        None => Flights::embedded()?,
    };
    println!("{} flights of 2013; starting a source, a primary and two secondaries …", flights.count());
    let stage = Box::pin(Stage::set(options.postgres_bin.clone())).await?;
    let played = tokio::select! {
        played = Box::pin(play(&stage, flights, &stop)) => played,
        () = stop.cancelled() => Err(Error::Stopped),
    };
    if played.is_ok() {
        report::invitation(&stage, options.exit);
        if !options.exit {
            stop.cancelled().await;
        }
    }
    stage.strike().await;
    played
}

/// Plays the twelve months, lets the secondaries follow to the end, and compares.
async fn play(stage: &Stage, flights: Flights, stop: &CancellationToken) -> Result<()> {
    let began = Instant::now();
    let primary = ingest_job(stage.configuration())?;
    let (committed, _) = watch::channel(0);
    let mut followers = JoinSet::new();
    let mut source = connect(stage).await?;
    calendar::create_source(&mut source).await?;
    for month in 1..=MONTHS {
        let changes = calendar::advance(&mut source, month, &flights).await?;
        let batch = ingest::run(Arc::clone(&primary), Arc::new(Unobserved), stop.clone()).await?;
        report::month(month, changes, &batch);
        // Nobody may listen yet, or any more.
        let _ = committed.send(month);
        for (platform, _) in SECONDARIES.into_iter().filter(|(_, seed_batch)| *seed_batch == month) {
            let (planned, plan) = oneshot::channel();
            let follower = Follower {
                job: sync_job(stage.configuration(), platform)?,
                committed: committed.subscribe(),
                observer: Arc::new(
                    Observers::default().and(Narrator::of(platform)).and(PlanSignal::new(planned)),
                ),
                stop: stop.clone(),
            };
            followers.spawn(follower.run());
            // The primary goes on as soon as the seed has its X; a seed that failed says so when it is joined.
            let _ = plan.await;
        }
    }
    drop(committed);
    let mut jobs = Vec::new();
    while let Some(ended) = followers.join_next().await {
        jobs.push(ended.map_err(|panic| Error::invariant("a secondary of the demo", panic.to_string()))??);
    }
    jobs.sort_by_key(|job| SECONDARIES.iter().position(|(platform, _)| job.platform == *platform));
    report::outcome(&jobs, MONTHS, began.elapsed()).await
}

async fn connect(stage: &Stage) -> Result<PgConnection> {
    let connected = PgConnection::connect_with(&stage.source()).await;
    connected.map_err(|error| Error::statement(&"the demo's source", "connecting", error))
}

/// A secondary of the demo: seeded once, then following as long as the primary commits.
struct Follower {
    job: Arc<Job>,
    committed: watch::Receiver<u32>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
}

impl Follower {
    async fn run(mut self) -> Result<Arc<Job>> {
        self.sync(Until::OneSync).await?;
        loop {
            // An error says that the primary has committed its last batch: one more look, and that was all.
            let last = self.committed.changed().await.is_err();
            self.sync(Until::CaughtUp).await?;
            if last {
                return Ok(self.job);
            }
        }
    }

    async fn sync(&self, until: Until) -> Result<()> {
        let (job, observer) = (Arc::clone(&self.job), Arc::clone(&self.observer));
        sync::run(job, until, observer, self.stop.clone()).await.map(|_| ())
    }
}

/// Tells, once, that a plan is stored.
struct PlanSignal(Mutex<Option<oneshot::Sender<()>>>);

impl PlanSignal {
    fn new(planned: oneshot::Sender<()>) -> Arc<PlanSignal> {
        Arc::new(PlanSignal(Mutex::new(Some(planned))))
    }
}

impl Observer for PlanSignal {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        if event.step == Step::Planned
            && let Some(planned) = self.0.lock().ok().and_then(|mut planned| planned.take())
        {
            // Whoever waited may have given up.
            let _ = planned.send(());
        }
        Box::pin(std::future::ready(Verdict::GoOn))
    }
}

fn ingest_job(directory: &Path) -> Result<Arc<IngestJob>> {
    match stream_job(directory, PRIMARY)? {
        StreamJob::Ingest(job) => Ok(job),
        StreamJob::Sync(_) => Err(Error::invariant("the demo's model", "its primary is a secondary")),
    }
}

fn sync_job(directory: &Path, platform: &str) -> Result<Arc<Job>> {
    match stream_job(directory, platform)? {
        StreamJob::Sync(job) => Ok(job),
        StreamJob::Ingest(_) => {
            Err(Error::invariant("the demo's model", "one of its secondaries is a primary"))
        }
    }
}

fn stream_job(directory: &Path, platform: &str) -> Result<StreamJob> {
    let selection =
        Selection { platforms: vec![platform.to_owned()], store: Some(STORE.to_owned()), dataset: None };
    let selected = Configuration::load(directory)?.jobs(&selection, &Keys::default())?;
    let job = selected.streams.into_iter().next();
    job.ok_or_else(|| Error::invariant("the demo's model", format!("{platform} has no stream of {STORE}")))
}
