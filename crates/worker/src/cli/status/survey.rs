//! Asks the databases where a stream stands. Reads only; what cannot be asked is said, and stops nothing else.

use milestream_core::milestone::PrimaryBatch;

use super::standing::{
    InFlight, Lag, LastBatch, LastSync, Lease, Phase, Primary, Secondary, Standing, StreamStatus,
};
use crate::cli::figures;
use crate::config::StreamJob;
use crate::error::Result;
use crate::ingest::IngestJob;
use crate::postgres::Session;
use crate::postgres::read::metrics_table;
use crate::sync::{Job, planning};
use crate::tables::history::LastSync as HistoryRow;
use crate::tables::primary_batches::{self, BatchesFrom};
use crate::tables::streams::{Flight, StreamRow};
use crate::tables::{ControlTables, batches, chunks, history, migrations, streams};

/// Where a stream stands now.
pub(in crate::cli) async fn survey(job: &StreamJob) -> StreamStatus {
    let standing = match job {
        StreamJob::Sync(job) => secondary(job).await.map(|found| Standing::Secondary(Box::new(found))),
        StreamJob::Ingest(job) => primary(job).await.map(|found| Standing::Primary(Box::new(found))),
    };
    let standing = standing.unwrap_or_else(|error| Standing::Unknown {
        error: error.to_string(),
        advice: error.advice_for(&job.name()),
    });
    StreamStatus { platform: job.platform().to_owned(), stream: job.stream_key(), standing }
}

async fn secondary(job: &Job) -> Result<Secondary> {
    let (tables, stream) = (job.tables(), job.stream_key());
    let mut session =
        Session::connect_reader(&job.secondary, "status", job.tuning.reading_patience()).await?;
    let (mut row, mut in_flight, mut last_sync) = (StreamRow::default(), None, None);
    if migrations::are_there(&mut session, &tables).await? {
        row = streams::load(&mut session, &tables, &stream).await?;
        last_sync = history::last(&mut session, &tables, &stream).await?.map(last);
        if let Some(flight) = &row.flight {
            let mut flying = flying(&mut session, &tables, &stream, row.generation, flight).await?;
            // With nobody at work there is no pace to reckon with.
            if row.lease_owner.is_none() {
                (flying.rows_per_second, flying.eta_seconds) = (None, None);
            }
            in_flight = Some(flying);
        }
    }
    session.close().await;
    let (primary, lag) = match behind(job, &row).await {
        Ok((primary, lag)) => (Some(primary), lag),
        Err(error) => (row.primary.clone(), Lag::Unreachable { error: error.to_string() }),
    };
    Ok(Secondary {
        phase: phase(&row),
        primary,
        watermark: row.watermark,
        readers_batch: row.reseeding.as_ref().map(|reseeding| reseeding.readers_batch),
        lag,
        in_flight,
        last_sync,
        lease: lease(&row),
        halted: row.halted_reason,
    })
}

fn phase(row: &StreamRow) -> Phase {
    match (&row.halted_reason, &row.flight) {
        (Some(_), _) => Phase::Halted,
        (None, Some(flight)) if flight.is_seed() => Phase::Seed,
        (None, Some(_)) => Phase::Increment,
        (None, None) if row.watermark.is_none() => Phase::New,
        (None, None) => Phase::Idle,
    }
}

fn lease(row: &StreamRow) -> Option<Lease> {
    let owner = row.lease_owner.clone()?;
    Some(Lease { owner, until: row.lease_until.clone().unwrap_or_default() })
}

async fn flying(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    generation: i32,
    flight: &Flight,
) -> Result<InFlight> {
    let progress = chunks::progress(session, tables, stream, generation).await?;
    let recent = chunks::recent(session, tables, stream, generation).await?;
    let rows_per_second = figures::rate(recent.rows, recent.seconds);
    // A seed's rows are guessed from statistics that count closed versions too; its chunks are of one size.
    let eta_seconds = if flight.is_seed() {
        eta(progress.chunks.saturating_sub(progress.done), figures::rate(recent.chunks, recent.seconds))
    } else {
        eta(flight.rows_estimated.saturating_sub(progress.rows), rows_per_second)
    };
    Ok(InFlight {
        from: flight.from,
        to: flight.to,
        chunks: progress.chunks,
        chunks_done: progress.done,
        rows_done: progress.rows,
        rows_estimated: flight.rows_estimated,
        bytes_done: progress.bytes,
        rows_per_second,
        eta_seconds,
        retries: flight.retries,
    })
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn eta(left: u64, rate: Option<f64>) -> Option<f64> {
    rate.filter(|rate| *rate > 0.0).map(|rate| left as f64 / rate)
}

fn last(row: HistoryRow) -> LastSync {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let (rows_staged, milliseconds) = (count(row.rows_staged), count(row.millis));
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no precision")]
    let seconds = milliseconds as f64 / 1000.0;
    LastSync {
        kind: row.kind,
        committed_at: row.committed_at,
        age_seconds: row.age_seconds,
        rows_staged,
        rows_inserted: count(row.inserted),
        rows_updated: count(row.updated),
        rows_deleted: count(row.deleted),
        milliseconds,
        rows_per_second: figures::rate(rows_staged, seconds),
    }
}

/// The primary the stream follows or would follow, and what it has committed since the watermark.
async fn behind(job: &Job, row: &StreamRow) -> Result<(String, Lag)> {
    let upstream = planning::choose_upstream(job, row).await?;
    let mut session =
        Session::connect_reader(&upstream.endpoint, "status", job.tuning.reading_patience()).await?;
    let metrics = metrics_table(&upstream.platform);
    let from = BatchesFrom::Batch(row.watermark.unwrap_or(PrimaryBatch(0)));
    let (_, committed) = primary_batches::committed(&mut session, &metrics, &job.stream_key(), from).await?;
    session.close().await;
    let missing: Vec<_> = committed.iter().filter(|batch| Some(batch.batch) > row.watermark).collect();
    let seconds = missing.first().map_or(0.0, |first| first.age_seconds);
    Ok((upstream.platform.clone(), Lag::Behind { batches: missing.len(), seconds }))
}

async fn primary(job: &IngestJob) -> Result<Primary> {
    let (tables, stream) = (job.tables(), job.stream_key());
    let mut session = Session::connect_reader(&job.store, "status", job.tuning.reading_patience()).await?;
    let mut row = StreamRow::default();
    if migrations::are_there(&mut session, &tables).await? {
        row = streams::load(&mut session, &tables, &stream).await?;
    }
    let last_batch = batches::newest(&mut session, &tables, &stream).await?;
    session.close().await;
    let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    let last_batch = last_batch.map(|newest| LastBatch {
        batch: newest.batch,
        status: newest.status,
        age_seconds: newest.age_seconds,
        rows_inserted: count(newest.inserted),
        rows_updated: count(newest.updated),
        rows_deleted: count(newest.deleted),
    });
    Ok(Primary { last_batch, lease: lease(&row), halted: row.halted_reason })
}
