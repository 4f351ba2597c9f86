//! Asks both databases what the next run of a stream would be.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::forecast::{Next, NextSync, StreamPlan};
use crate::StreamName;
use crate::cli::failure::Failure;
use crate::cli::shared_session::{DATABASES_MAX, SharedSession, by_database};
use crate::config::StreamJob;
use crate::error::Result;
use crate::foresight;
use crate::ingest::IngestJob;
use crate::pair::Pair;
use crate::postgres::sql::ident;
use crate::postgres::{Endpoint, Session};
use crate::shapes::{LACKING, Shapes};
use crate::sync::ground::Charge;
use crate::sync::planning::{self, Decision, Draft};
use crate::sync::{Job, Upstream};
use crate::tables::streams::{Flight, StreamRow};
use crate::tables::{ControlTables, batches, chunks, migrations, streams};

/// What the next run of each stream would do; an error is a forecast like any other. The streams of one store are asked
/// about one after the other, over one session to it and one to each database that they read.
pub(in crate::cli) async fn inquire(jobs: &[StreamJob]) -> Vec<StreamPlan> {
    let numbered = jobs.iter().enumerate().map(|(at, job)| (job.store(), (at, job)));
    let stores = by_database(numbered).into_iter().map(async |(_, jobs)| {
        let (mut desk, mut plans) = (Desk::default(), Vec::new());
        for (at, job) in jobs {
            let next = Box::pin(desk.next(job)).await.unwrap_or_else(Next::Fail);
            let (platform, stream, halted) =
                (job.platform().to_owned(), job.stream_key(), desk.halted.take());
            plans.push((at, StreamPlan { platform, stream, halted, next }));
        }
        desk.close().await;
        plans
    });
    let (mut inquired, mut plans) = (stream::iter(stores).buffer_unordered(DATABASES_MAX), Vec::new());
    while let Some(of_store) = inquired.next().await {
        plans.extend(of_store);
    }
    plans.sort_by_key(|(at, _)| *at);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

/// The sessions over which one store's streams are asked about.
struct Desk {
    store: SharedSession,
    /// Of the databases that the streams read.
    read: Vec<(Arc<Endpoint>, SharedSession)>,
    /// Why the stream asked about last is halted, as its store says.
    halted: Option<String>,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk { store: SharedSession::new("plan"), read: Vec::new(), halted: None }
    }
}

impl Desk {
    async fn next(&mut self, job: &StreamJob) -> Result<Next, Failure> {
        let next = match job {
            StreamJob::Sync(job) => self.next_sync(job).await,
            StreamJob::Ingest(job) => self.next_ingestion(job).await,
        };
        if next.is_err() {
            // Nobody knows which of them met the error, nor in what state.
            let all = std::iter::once(&mut self.store).chain(self.read.iter_mut().map(|(_, read)| read));
            all.for_each(SharedSession::drop_session);
        }
        next
    }

    async fn next_sync(&mut self, job: &Job) -> Result<Next, Failure> {
        let patience = job.tuning.reading_patience();
        let secondary = self.store.open(&job.secondary, patience).await?;
        let row = explained(job, row(secondary, job).await).await?;
        self.halted.clone_from(&row.halted_reason);
        let upstream = explained(job, planning::choose_upstream(job, &row).await).await?;
        let primary =
            of_database(&mut self.read, &upstream.endpoint).open(&upstream.endpoint, patience).await?;
        let next = match foresight::of_sync(job, upstream, primary, secondary, &row).await {
            Ok(differences) if !differences.is_empty() => {
                Ok(Next::Differences { primary: upstream.platform.clone(), differences })
            }
            Ok(_) => match &row.flight {
                Some(flight) => resumed(job, flight, row.generation, secondary).await,
                None => decided(job, upstream, primary, secondary, &row).await,
            },
            Err(error) => Err(error),
        };
        explained(job, next).await
    }

    async fn next_ingestion(&mut self, job: &IngestJob) -> Result<Next, Failure> {
        let patience = job.tuning.reading_patience();
        let store = self.store.open(&job.store, patience).await?;
        self.halted = explained(job, row(store, job).await).await?.halted_reason;
        let next = explained(job, ingestion(store, job).await).await?;
        let source = of_database(&mut self.read, &job.source).open(&job.source, patience).await?;
        let differences = explained(job, foresight::of_ingestion(job, source, store).await).await?;
        if differences.is_empty() {
            return Ok(next);
        }
        Ok(Next::SourceDifferences { source: job.source.to_string(), differences })
    }

    async fn close(self) {
        self.store.close().await;
        for (_, read) in self.read {
            read.close().await;
        }
    }
}

/// An answer, or why there is none: where a right is missing, with all that are.
async fn explained<J: Charge, T>(job: &J, answer: Result<T>) -> Result<T, Failure> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) => {
            let name = StreamName::of(job.platform(), job.stream());
            Err(Failure::of(&foresight::explained(job, error).await, &name))
        }
    }
}

/// The stream's row; the default one before the platform has control tables.
async fn row<J: Charge>(store: &mut Session, job: &J) -> Result<StreamRow> {
    let (tables, stream) = (ControlTables::of(job.platform()), job.stream().key());
    match migrations::are_there(store, &tables).await? {
        true => streams::load(store, &tables, &stream).await,
        false => {
            job.require_no_former(store).await?;
            Ok(StreamRow::default())
        }
    }
}

async fn ingestion(store: &mut Session, job: &IngestJob) -> Result<Next> {
    let (tables, stream) = (job.tables(), job.stream_key());
    let batch = batches::next_local(store, &tables, &stream).await?;
    let newest = batches::newest(store, &tables, &stream).await?;
    let runs_again = newest.is_some_and(|newest| newest.batch == batch);
    Ok(Next::Ingest { source: job.source.to_string(), batch, runs_again })
}

/// The session of a database that is read.
fn of_database<'a>(
    sessions: &'a mut Vec<(Arc<Endpoint>, SharedSession)>,
    endpoint: &Arc<Endpoint>,
) -> &'a mut SharedSession {
    let known = sessions.iter().position(|(known, _)| known.is_same_login(endpoint));
    let at = known.unwrap_or_else(|| {
        sessions.push((Arc::clone(endpoint), SharedSession::new("plan")));
        sessions.len() - 1
    });
    &mut sessions[at].1
}

async fn resumed(job: &Job, flight: &Flight, generation: i32, secondary: &mut Session) -> Result<Next> {
    let progress = chunks::progress(secondary, &job.tables(), &job.stream_key(), generation).await?;
    Ok(Next::Sync(Box::new(NextSync {
        resumes: true,
        chunks: progress.chunks,
        chunks_done: progress.done,
        rows_done: progress.rows,
        ..of_flight(flight)
    })))
}

async fn decided(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
) -> Result<Next> {
    let platform = upstream.platform.clone();
    match planning::decide(job, upstream, primary, secondary, row, None).await {
        Ok(Decision::Nothing { why, mut notes, .. }) => {
            let lacking = row.shapes.as_ref().map(Shapes::lacking).unwrap_or_default();
            notes.extend((!lacking.is_empty()).then(|| format!("{LACKING}: {}", lacking.join(", "))));
            Ok(Next::Nothing { primary: platform, why, notes })
        }
        Ok(Decision::Sync(draft)) => Ok(Next::Sync(Box::new(of_draft(&draft)))),
        Err(error) => Err(error),
    }
}

fn of_flight(flight: &Flight) -> NextSync {
    NextSync {
        primary: flight.primary.clone(),
        phase: flight.phase(),
        from: flight.from,
        to: flight.to,
        local_batch: flight.local,
        resumes: false,
        chunks: 0,
        chunks_done: 0,
        rows_estimated: flight.rows_estimated,
        rows_done: 0,
        bytes_estimated: None,
        batches_remaining: 0,
        rows_remaining: 0,
        missing_indexes: Vec::new(),
        hooks: Vec::new(),
        datasets: match flight.beside {
            Some(_) => flight.shapes.keys().cloned().collect(),
            None => Vec::new(),
        },
        notes: Vec::new(),
        lacking: flight.tables.as_ref().map(Shapes::lacking).unwrap_or_default(),
    }
}

fn of_draft(draft: &Draft) -> NextSync {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    NextSync {
        chunks: count(draft.chunks.len()),
        bytes_estimated: Some(draft.bytes_estimated),
        batches_remaining: count(draft.remaining.batches),
        rows_remaining: draft.remaining.rows_recorded,
        missing_indexes: draft.missing_indexes.clone(),
        hooks: draft.pairs.iter().flat_map(hooks).collect(),
        notes: draft.notes.clone(),
        ..of_flight(&draft.flight)
    }
}

/// Triggers and rules of a dataset's table: what they keep away or change would halt the sync.
fn hooks(pair: &Pair) -> Vec<String> {
    let Some(table) = &pair.existing else { return Vec::new() };
    table.hooks.iter().map(|hook| format!("{hook} on {}", ident(&table.name))).collect()
}
