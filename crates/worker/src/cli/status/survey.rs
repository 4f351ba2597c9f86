//! Asks the databases where a stream stands. Reads only; what cannot be asked is said, and stops nothing else.

use std::collections::{BTreeMap, BTreeSet};

use milestream_core::milestone::PrimaryBatch;

use super::standing::{
    InFlight, Lag, LastBatch, LastSync, Lease, Phase, Primary, Secondary, Standing, StreamStatus,
};
use crate::StreamName;
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::shared_session::{Question, ask_all};
use crate::config::StreamJob;
use crate::error::Result;
use crate::ingest::IngestJob;
use crate::postgres::Session;
use crate::postgres::read::metrics_table;
use crate::postgres::session::Patience;
use crate::shapes::Shapes;
use crate::sync::datasets::Roster;
use crate::sync::{Job, Upstream, planning};
use crate::tables::batches::NewestBatch;
use crate::tables::history::LastSync as HistoryRow;
use crate::tables::primary_batches::{self, BatchesFrom};
use crate::tables::streams::{Flight, StreamRow};
use crate::tables::{ControlTables, batch_age, batches, chunks, history, migrations, streams};

/// Where the streams stand now. Their own stores are asked first, then the primaries that those follow: one session a
/// database, and none of them held while another is opened.
pub(in crate::cli) async fn survey(jobs: &[StreamJob]) -> Vec<StreamStatus> {
    let questions = jobs
        .iter()
        .map(|job| Ok(Question { stream: job.name(), of: job.store(), patience: patience(job), about: job }));
    let (mut standings, mut followers) = (Vec::new(), Vec::new());
    for (at, own) in ask_all("status", questions.collect(), own_side).await.into_iter().enumerate() {
        match own {
            Err(failure) => standings.push((at, Standing::Unknown(failure))),
            Ok(OwnSide::Ingests(primary)) => standings.push((at, Standing::Primary(primary))),
            Ok(OwnSide::Follows(follower)) => followers.push((at, follower)),
        }
    }
    let questions = followers.iter().map(|(_, follower)| follower.question_to_primary());
    let lags = ask_all("status", questions.collect(), behind).await;
    let secondary = |((at, follower), lag): ((usize, Box<Follower<'_>>), Result<Lag, Failure>)| {
        (at, Standing::Secondary(Box::new(follower.with(lag.unwrap_or_else(Lag::Unknown)))))
    };
    standings.extend(followers.into_iter().zip(lags).map(secondary));
    standings.sort_by_key(|(at, _)| *at);
    let status = |(job, (_, standing)): (&StreamJob, (usize, Standing))| StreamStatus {
        platform: job.platform().to_owned(),
        stream: job.stream_key(),
        standing,
    };
    jobs.iter().zip(standings).map(status).collect()
}

fn patience(job: &StreamJob) -> Patience {
    match job {
        StreamJob::Sync(job) => job.tuning.reading_patience(),
        StreamJob::Ingest(job) => job.tuning.reading_patience(),
    }
}

/// What a stream's own store says.
enum OwnSide<'a> {
    Follows(Box<Follower<'a>>),
    Ingests(Box<Primary>),
}

/// A stream that follows a primary, and what its store says.
struct Follower<'a> {
    job: &'a Job,
    row: StreamRow,
    in_flight: Option<InFlight>,
    last_sync: Option<LastSync>,
}

impl Follower<'_> {
    /// What its primary has to be asked. Where the first sync chooses among candidates, the first of them stands for all.
    fn question_to_primary(&self) -> Result<Question<'_, AsFollowed<'_>>, Failure> {
        let Follower { job, row, .. } = self;
        let stream = StreamName::of(&job.platform, &job.stream);
        let settled = planning::settled_upstream(job, row).map_err(|error| Failure::of(&error, &stream))?;
        let upstream = settled.unwrap_or(&job.upstreams[0]);
        let about = AsFollowed { job, row, upstream };
        Ok(Question { stream, of: &upstream.endpoint, patience: job.tuning.reading_patience(), about })
    }

    fn with(self, lag: Lag) -> Secondary {
        let Follower { job, row, in_flight, last_sync } = self;
        let settled = planning::settled_upstream(job, &row).ok().flatten();
        let roster = Roster::of(job, &row);
        Secondary {
            phase: phase(&row),
            primary: settled.map(|upstream| upstream.platform.clone()).or(row.primary.clone()),
            watermark: row.watermark,
            readers_batch: row.reseeding.as_ref().map(|reseeding| reseeding.readers_batch),
            datasets_left: left(&row, &roster),
            datasets_new: if row.watermark.is_some() { roster.came } else { BTreeSet::new() },
            lag,
            in_flight,
            last_sync,
            lease: lease(&row),
            halted: row.halted_reason,
            waiting: row.waiting_reason,
            lacking: row.shapes.as_ref().map(Shapes::lacking).unwrap_or_default(),
        }
    }
}

/// A stream and the primary that it is held against.
struct AsFollowed<'a> {
    job: &'a Job,
    row: &'a StreamRow,
    upstream: &'a Upstream,
}

async fn own_side<'a>(session: &mut Session, job: &'a StreamJob) -> Result<OwnSide<'a>> {
    match job {
        StreamJob::Sync(job) => Ok(OwnSide::Follows(Box::new(follower(session, job).await?))),
        StreamJob::Ingest(job) => Ok(OwnSide::Ingests(Box::new(primary(session, job).await?))),
    }
}

async fn follower<'a>(session: &mut Session, job: &'a Job) -> Result<Follower<'a>> {
    let (tables, stream) = (job.tables(), job.stream_key());
    let (mut row, mut in_flight, mut last_sync) = (StreamRow::default(), None, None);
    if migrations::are_there(session, &tables).await? {
        row = streams::load(session, &tables, &stream).await?;
        last_sync = history::last(session, &tables, &stream).await?.map(last);
        if let Some(flight) = &row.flight {
            let mut flying = flying(session, &tables, &stream, row.generation, flight).await?;
            // With nobody at work there is no pace to reckon with.
            if row.lease_owner.is_none() {
                (flying.rows_per_second, flying.eta_seconds) = (None, None);
            }
            in_flight = Some(flying);
        }
    }
    Ok(Follower { job, row, in_flight, last_sync })
}

/// Datasets that left, those included that the next sync leaves behind.
fn left(row: &StreamRow, roster: &Roster) -> BTreeMap<String, PrimaryBatch> {
    let now = roster.left.iter().filter_map(|dataset| Some((dataset.clone(), row.watermark?)));
    row.datasets_left.clone().into_iter().chain(now).collect()
}

fn phase(row: &StreamRow) -> Phase {
    match &row.flight {
        _ if row.halted_reason.is_some() => Phase::Halted,
        _ if row.waiting_reason.is_some() => Phase::Waiting,
        Some(flight) if flight.is_seed() => Phase::Seed,
        Some(_) => Phase::Increment,
        None if row.watermark.is_none() => Phase::New,
        None => Phase::Idle,
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

/// What the primary has committed since the watermark.
///
/// # Errors
/// `PrimaryReset` when it does not have the watermark's batch any more.
async fn behind(session: &mut Session, followed: AsFollowed<'_>) -> Result<Lag> {
    let AsFollowed { job, row, upstream } = followed;
    let (metrics, stream) = (metrics_table(&upstream.platform), job.stream_key());
    let from = BatchesFrom::Batch(row.watermark.unwrap_or(PrimaryBatch(0)));
    let (_, committed) = primary_batches::committed(session, &metrics, &stream, from).await?;
    if let Some(watermark) = row.watermark {
        planning::check_watermark(session, row, watermark, &committed)?;
        if committed.is_empty() {
            return Ok(Lag::Below { standby_before: watermark });
        }
    }
    let missing: Vec<_> = committed.iter().filter(|batch| Some(batch.batch) > row.watermark).collect();
    let seconds = match missing.first() {
        None => Some(0.0),
        Some(first) => {
            let zone = job.tuning.primary_timezone.as_deref();
            batch_age::of_batch(session, &metrics, &stream, first.batch.0, zone).await?
        }
    };
    Ok(Lag::Behind { batches: missing.len(), seconds })
}

async fn primary(session: &mut Session, job: &IngestJob) -> Result<Primary> {
    let (tables, stream) = (job.tables(), job.stream_key());
    let mut row = StreamRow::default();
    if migrations::are_there(session, &tables).await? {
        row = streams::load(session, &tables, &stream).await?;
    }
    let last_batch = match batches::newest(session, &tables, &stream).await? {
        None => None,
        Some(newest) => {
            let zone = job.tuning.primary_timezone.as_deref();
            let age = batch_age::of_batch(session, &tables.batch_metrics, &stream, newest.batch.0, zone);
            Some(last_batch(newest, age.await?))
        }
    };
    let lease = lease(&row);
    Ok(Primary { last_batch, lease, halted: row.halted_reason, waiting: row.waiting_reason })
}

fn last_batch(newest: NewestBatch, age_seconds: Option<f64>) -> LastBatch {
    let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    LastBatch {
        batch: newest.batch,
        status: newest.status,
        age_seconds,
        rows_inserted: count(newest.inserted),
        rows_updated: count(newest.updated),
        rows_deleted: count(newest.deleted),
    }
}
