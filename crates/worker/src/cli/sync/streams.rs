//! Runs streams side by side, up to a bound.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::report::{Ran, StreamReport};
use crate::StreamName;
use crate::cli::output;
use crate::cli::pace::Pace;
use crate::cli::progress::{Progress, Screen};
use crate::cli::stop_at::StopAt;
use crate::config::StreamJob;
use crate::error::{Error, Result};
use crate::observer::{Observer, Observers};
use crate::sync::Until;
use crate::{ingest, sync};

/// Time between two looks at the figures of a stream whose events are far apart.
const TICK: Duration = Duration::from_secs(1);

/// What a run does for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Leads its syncs.
    Lead(Until),
    /// Copies chunks of whoever leads.
    Help,
}

/// What all streams of a run have in common.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) part: Part,
    pub(super) max_streams: usize,
    pub(super) screen: Screen,
    pub(super) stop: CancellationToken,
    pub(super) stop_at: Option<Arc<StopAt>>,
}

impl Running {
    /// Runs the jobs; the reports are in the jobs' order.
    pub(super) async fn run(&self, jobs: Vec<StreamJob>) -> Vec<StreamReport> {
        let places = Arc::new(Semaphore::new(self.max_streams));
        let mut streams = JoinSet::new();
        let names: Vec<_> =
            jobs.iter().map(|job| (job.platform().to_owned(), job.stream_key(), job.name())).collect();
        for (at, job) in jobs.into_iter().enumerate() {
            let (running, places) = (self.clone(), Arc::clone(&places));
            streams.spawn(async move {
                // Nobody closes the semaphore, and without it a stream merely does not wait.
                let _place = places.acquire_owned().await;
                (at, Box::pin(running.stream(&job)).await)
            });
        }
        let mut ran: Vec<Option<Ran>> = names.iter().map(|_| None).collect();
        while let Some(joined) = streams.join_next().await {
            match joined {
                Ok((at, result)) => ran[at] = Some(result),
                Err(error) => tracing::error!(%error, "a stream ended badly"),
            }
        }
        let report = |((platform, stream, name), ran): ((String, String, StreamName), Option<Ran>)| {
            let broken_off =
                || Ran::failed(&Error::invariant(&stream, "the task that ran it broke off"), &name);
            let ran = ran.unwrap_or_else(broken_off);
            StreamReport { platform, stream, ran }
        };
        names.into_iter().zip(ran).map(report).collect()
    }

    async fn stream(&self, job: &StreamJob) -> Ran {
        let label = format!("{} {}", job.platform(), job.stream_key());
        let pace = match job {
            StreamJob::Sync(_) => Pace::default(),
            StreamJob::Ingest(_) => Pace::of_ingestion(),
        };
        let progress = Progress::on(&self.screen, label, pace);
        let ran = {
            let run = self.with_observer(job, &progress);
            tokio::pin!(run);
            loop {
                tokio::select! {
                    ran = &mut run => break ran,
                    () = tokio::time::sleep(TICK) => progress.tick(),
                }
            }
        };
        let ran = ran.unwrap_or_else(|error| {
            self.screen.aside(|| output::complain(Some(&job.name()), &error));
            Ran::failed(&error, &job.name())
        });
        progress.finish();
        ran
    }

    async fn with_observer(&self, job: &StreamJob, progress: &Arc<Progress>) -> Result<Ran> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let mut observers = Observers::default().and(Arc::clone(progress) as Arc<dyn Observer>);
        if let Some(stop_at) = &self.stop_at {
            observers = observers.and(Arc::clone(stop_at) as Arc<dyn Observer>);
        }
        let (observer, stop) = (Arc::new(observers), self.stop.clone());
        match job {
            StreamJob::Sync(job) => match self.part {
                Part::Lead(until) => sync::run(Arc::clone(job), until, observer, stop).await.map(Ran::Synced),
                Part::Help => sync::help(Arc::clone(job), observer, stop).await.map(Ran::Helped),
            },
            StreamJob::Ingest(job) => ingest::run(Arc::clone(job), observer, stop).await.map(Ran::Ingested),
        }
    }
}
