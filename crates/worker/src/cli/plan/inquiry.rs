//! Asks both databases what the next run of a stream would be.

use super::forecast::{Next, NextSync, StreamPlan};
use crate::config::StreamJob;
use crate::error::{Error, Result};
use crate::ingest::IngestJob;
use crate::postgres::Session;
use crate::sync::planning::{self, Decision, Draft};
use crate::sync::{Job, Upstream};
use crate::tables::streams::{Flight, StreamRow};
use crate::tables::{batches, chunks, migrations, streams};

/// What the next run of a stream would do; an error is a forecast like any other.
pub(in crate::cli) async fn inquire(job: &StreamJob) -> StreamPlan {
    let next = match job {
        StreamJob::Sync(job) => next_sync(job).await,
        StreamJob::Ingest(job) => next_ingestion(job).await,
    };
    let next = next.unwrap_or_else(|error| Next::Fail {
        error: error.to_string(),
        advice: error.advice_for(&job.name()),
    });
    StreamPlan { platform: job.platform().to_owned(), stream: job.stream_key(), next }
}

async fn next_sync(job: &Job) -> Result<Next> {
    let mut secondary =
        Session::connect_reader(&job.secondary, "plan", job.tuning.reading_patience()).await?;
    let tables = job.tables();
    let row = if migrations::are_there(&mut secondary, &tables).await? {
        streams::load(&mut secondary, &tables, &job.stream_key()).await?
    } else {
        StreamRow::default()
    };
    let upstream = planning::choose_upstream(job, &row).await?;
    let mut primary =
        Session::connect_reader(&upstream.endpoint, "plan", job.tuning.reading_patience()).await?;
    let next = match &row.flight {
        Some(flight) => resumed(job, flight, row.generation, &mut secondary).await,
        None => decided(job, upstream, &mut primary, &mut secondary, &row).await,
    };
    primary.close().await;
    secondary.close().await;
    next
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
        Ok(Decision::Nothing { why }) => Ok(Next::Nothing { primary: platform, why }),
        Ok(Decision::Sync(draft)) => Ok(Next::Sync(Box::new(of_draft(&draft)))),
        Err(Error::Schema { .. }) => {
            let differences = planning::differences(job, upstream, primary, secondary).await?;
            Ok(Next::Differences { primary: platform, differences })
        }
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
        ..of_flight(&draft.flight)
    }
}

async fn next_ingestion(job: &IngestJob) -> Result<Next> {
    let (tables, stream) = (job.tables(), job.stream_key());
    let mut store = Session::connect_reader(&job.store, "plan", job.tuning.reading_patience()).await?;
    let batch = batches::next_local(&mut store, &tables, &stream).await?;
    let newest = batches::newest(&mut store, &tables, &stream).await?;
    let runs_again = newest.is_some_and(|newest| newest.batch == batch);
    store.close().await;
    Session::connect_reader(&job.source, "plan", job.tuning.reading_patience()).await?.close().await;
    Ok(Next::Ingest { source: job.source.to_string(), batch, runs_again })
}
