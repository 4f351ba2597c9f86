//! Runs streams side by side, up to a bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::sync::peers::{Peer, Peers};
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
        let peers = Peers::of(self.max_streams);
        let mut streams = JoinSet::new();
        let names: Vec<_> = jobs.iter().map(StreamJob::name).collect();
        // Primaries first, so that their secondaries find the batch that is made now; but not those that wait for a server.
        let (primaries, secondaries): (Vec<_>, Vec<_>) =
            jobs.into_iter().enumerate().partition(|(_, job)| matches!(job, StreamJob::Ingest(_)));
        for jobs in [primaries, secondaries] {
            peers.quiet().await;
            for (at, job) in jobs {
                let (running, peer) = (self.clone(), peers.join());
                streams.spawn(async move {
                    let began = Instant::now();
                    (at, Box::pin(running.stream(&job, peer)).await, began.elapsed())
                });
            }
        }
        let mut ran: Vec<Option<(Ran, Duration)>> = names.iter().map(|_| None).collect();
        while let Some(joined) = streams.join_next().await {
            match joined {
                Ok((at, result, took)) => ran[at] = Some((result, took)),
                Err(error) => tracing::error!(%error, "a stream ended badly"),
            }
        }
        let report = |(name, ran): (StreamName, Option<(Ran, Duration)>)| {
            let (platform, stream) = (name.platform().to_owned(), name.key());
            let (ran, took) = ran.unwrap_or_else(|| {
                let broken_off = Error::invariant(&stream, "the task that ran it broke off");
                (Ran::failed(&broken_off, &name), Duration::ZERO)
            });
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            StreamReport { platform, stream, milliseconds, ran }
        };
        names.into_iter().zip(ran).map(report).collect()
    }

    async fn stream(&self, job: &StreamJob, peer: Peer) -> Ran {
        peer.take_place().await;
        let (platform, stream) = (job.platform(), job.stream_key());
        let pace = match job {
            StreamJob::Sync(_) => Pace::default(),
            StreamJob::Ingest(_) => Pace::of_ingestion(),
        };
        let progress = Progress::on(&self.screen, platform, &stream, pace);
        let ran = {
            let run = self.with_observer(job, &progress, peer);
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

    async fn with_observer(&self, job: &StreamJob, progress: &Arc<Progress>, peer: Peer) -> Result<Ran> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let mut observers = Observers::default().and(Arc::clone(progress) as Arc<dyn Observer>);
        if let Some(stop_at) = &self.stop_at {
            observers = observers.and(Arc::clone(stop_at) as Arc<dyn Observer>);
        }
        let (observer, stop) = (Arc::new(observers), self.stop.clone());
        match job {
            StreamJob::Sync(job) => {
                let job = Arc::clone(job);
                match self.part {
                    Part::Lead(until) => {
                        sync::run_among(job, until, observer, stop, peer).await.map(Ran::Synced)
                    }
                    Part::Help => sync::help_among(job, observer, stop, peer).await.map(Ran::Helped),
                }
            }
            StreamJob::Ingest(job) => {
                ingest::run_among(Arc::clone(job), observer, stop, peer).await.map(Ran::Ingested)
            }
        }
    }
}
