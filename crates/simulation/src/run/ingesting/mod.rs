//! A primary that the real worker writes, from a source that changes.

mod disturbed;
mod emptied;
mod judging;

use std::collections::BTreeMap;
use std::sync::Arc;

use milestream_oracle::{Operation, Primary, Row};
use milestream_worker::ingest::{self, IngestJob, Scd};
use milestream_worker::observer::{Observer, Unobserved};
use milestream_worker::{Class, Error};
use tokio_util::sync::CancellationToken;

pub(crate) use emptied::empty;

use super::asker::quoted;
use super::primary::{PrimaryState, StreamState, physical};
use super::record::Recorder;
use super::stage::Place;
use super::{Failure, MOVER, tuning};
use crate::forensic::{Live, Table, ident};
use crate::outcome::{Property, Sometimes};
use crate::plan::{BatchPlan, Cell, Cue, What};
use disturbed::Disturbed;

/// Staged batches that ingesting platforms keep.
const STAGING_KEPT: u32 = 2;
/// Runs of one ingestion, the disturbed ones included.
const RUNS_MAX: usize = 4;

/// What the source of a stream has and its primary has not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// What was done to the source, a transaction each.
    changes: Vec<Vec<(String, Operation)>>,
    /// Batches of the history that were carried out in the source before their turn.
    ahead: usize,
    /// A live-only platform beside the primary, where there is one: what it holds, batch by batch.
    beside: Option<Primary>,
    /// The batches of the platform beside that last wrote its rows, by table and key.
    written: BTreeMap<String, BTreeMap<Vec<Cell>, i32>>,
}

impl Pending {
    /// Nothing, with a platform beside where there is to be one.
    pub(crate) fn none(beside: Option<Primary>) -> Pending {
        Pending { beside, ..Pending::default() }
    }
}

/// Creates the source's empty tables, one a dataset, under the dataset's name.
pub(crate) async fn create_source(source: &Place, streams: &[StreamState]) -> Result<(), Failure> {
    let mut statements = String::new();
    for table in streams.iter().flat_map(|stream| &stream.tables) {
        let columns: Vec<_> = table.all().map(|(name, kind)| format!("{} {kind}", physical(name))).collect();
        let key: Vec<_> = table.key().iter().map(|(name, _)| physical(name)).collect();
        let name = ident(&milestream_core::names::physical_column(table.name()));
        statements.push_str(&format!(
            "create table {name} ({}, primary key ({})); grant select on {name} to {MOVER};\n",
            columns.join(", "),
            key.join(", ")
        ));
    }
    source.execute(&statements).await
}

/// Carries a batch of the history out in a stream's source and has the worker ingest it, while `cues` fall. Behind it the
/// source may have carried out some of `next` as well.
///
/// The batch; `None` where the stream has nothing to ingest, or a promise was broken.
pub(crate) async fn ingest(
    primary: &mut PrimaryState,
    at: usize,
    batch: &BatchPlan,
    next: &[BatchPlan],
    cues: &[Cue],
    recorder: &Recorder,
) -> Result<Option<i32>, Failure> {
    let alone = primary.streams.len() == 1;
    let source = source_of(primary)?;
    let stream = &mut primary.streams[at];
    let mut live = stream.live_in_source();
    if stream.pending.ahead > 0 {
        stream.pending.ahead -= 1;
    } else {
        let changes = stream.operations(batch, &mut live);
        source.execute(&transaction(&stream.tables, &changes)).await?;
        stream.pending.changes.push(changes);
    }
    let is_idle = stream.pending.changes.iter().all(Vec::is_empty);
    // Streams of their own have batches of their own.
    if is_idle && !alone && stream.oracle.newest_batch() > 0 {
        stream.pending.changes.clear();
        return Ok(None);
    }
    let ahead =
        cues.iter().filter(|cue| cue.what == What::Commit).zip(&next[stream.pending.ahead.min(next.len())..]);
    let ahead: Vec<_> = ahead.map(|(_, batch)| stream.operations(batch, &mut live)).collect();
    let statements = ahead.iter().map(|changes| transaction(&stream.tables, changes)).collect();
    let job = Arc::new(job(primary, at, Scd::Forensic)?);
    let done = primary.streams[at].pending.changes.len();
    let disturbed = Disturbed::new(source, Arc::clone(&primary.place), cues, statements, done);
    let ingested = emptied::see_halted(primary, at, &job, recorder).await?
        && Box::pin(brought_home(primary, at, &job, &Arc::new(disturbed), &ahead, recorder)).await?;
    if !ingested || recorder.is_violated() {
        return Ok(None);
    }
    let batch = primary.streams[at].oracle.newest_batch();
    judging::check(primary, at, recorder).await?;
    if primary.streams[at].pending.beside.is_some() && !recorder.is_violated() {
        Box::pin(ingest_beside(primary, at, recorder)).await?;
    }
    Ok(Some(batch))
}

/// Runs an ingestion until its batch is committed, at most as often as faults may keep it from that. Whether it is.
async fn brought_home(
    primary: &mut PrimaryState,
    at: usize,
    job: &Arc<IngestJob>,
    disturbed: &Arc<Disturbed>,
    ahead: &[Vec<(String, Operation)>],
    recorder: &Recorder,
) -> Result<bool, Failure> {
    let (platform, mut made) = (primary.plan.name.clone(), 0);
    for _ in 0..RUNS_MAX {
        let observer: Arc<dyn Observer> = Arc::<Disturbed>::clone(disturbed);
        let run = tokio::spawn(ingest::run(Arc::clone(job), observer, CancellationToken::new()));
        let ended = run.await;
        disturbed.finish().await?;
        let stream = &mut primary.streams[at];
        let more = &ahead[made..disturbed.made()];
        stream.pending.changes.extend_from_slice(more);
        stream.pending.ahead += more.len();
        made = disturbed.made();
        let violated = |what: String| {
            recorder.violated(Property::Ingestion, format!("{platform} of {:?}: {what}", job.stream.key()));
            Ok(false)
        };
        let next = stream.oracle.newest_batch() + 1;
        let error = match ended {
            Ok(Ok(ingested)) if ingested.batch.0 == next => None,
            Ok(Ok(ingested)) => {
                return violated(format!(
                    "the worker ingested batch {}, the model has batch {next}",
                    ingested.batch
                ));
            }
            Ok(Err(error)) => Some(error),
            Err(panic) => return violated(format!("the worker panicked: {panic}")),
        };
        // An answer that was lost says nothing of the batch.
        let is_there = error.is_none() || judging::newest_committed(primary, at).await? == Some(next);
        let stream = &mut primary.streams[at];
        if is_there {
            let seen: Vec<_> = stream.pending.changes.drain(..disturbed.seen()).flatten().collect();
            stream.take_in(&seen)?;
            if error.is_some() || disturbed.has_fired() {
                recorder.saw(Sometimes::IngestionWentOn);
            }
        }
        match error {
            None => return Ok(true),
            Some(error) if !disturbed.has_fired() || !is_excused(&error) => {
                return violated(format!("an ingestion failed: {error}"));
            }
            Some(_) => judging::expire_lease(primary, at).await?,
        }
        if is_there {
            return Ok(true);
        }
    }
    recorder.violated(Property::Ingestion, format!("{platform}: not ingested after {RUNS_MAX} runs"));
    Ok(false)
}

/// How a fault may end an ingestion.
fn is_excused(error: &Error) -> bool {
    matches!(error, Error::Abandoned { .. } | Error::BudgetSpent { .. }) || error.class() == Class::Busy
}

/// Another platform ingests the same source, and keeps what is live.
async fn ingest_beside(primary: &mut PrimaryState, at: usize, recorder: &Recorder) -> Result<(), Failure> {
    let job = Arc::new(job(primary, at, Scd::LiveOnly)?);
    let run = ingest::run(job, Arc::new(Unobserved), CancellationToken::new()).await;
    match run {
        Ok(ingested) => judging::check_beside(primary, at, ingested, recorder).await,
        Err(error) => {
            let what = format!("an ingestion into a live-only platform failed: {error}");
            recorder.violated(Property::Ingestion, what);
            Ok(())
        }
    }
}

/// The name of the live-only platform beside a primary.
fn beside(primary: &PrimaryState) -> String {
    format!("{} Live", primary.plan.name)
}

fn source_of(primary: &PrimaryState) -> Result<Arc<Place>, Failure> {
    let source = primary.source.as_ref().map(Arc::clone);
    source.ok_or_else(|| Failure::Set { what: "a primary that the worker writes has no source".into() })
}

fn job(primary: &PrimaryState, at: usize, strategy: Scd) -> Result<IngestJob, Failure> {
    Ok(IngestJob {
        platform: match strategy {
            Scd::Forensic => primary.plan.name.clone(),
            Scd::LiveOnly => beside(primary),
        },
        strategy,
        stream: primary.streams[at].stream.clone(),
        source: source_of(primary)?.endpoint("source"),
        source_tables: BTreeMap::new(),
        store: primary.place.endpoint("primary"),
        hash: primary.plan.hash.into(),
        staging_batches_to_keep: Some(STAGING_KEPT),
        tuning: tuning(),
    })
}

impl StreamState {
    /// The live rows of the source: what the primary has, and what was done since.
    pub(super) fn live_in_source(&self) -> BTreeMap<String, Live> {
        let mut live = self.live();
        for (name, operation) in self.pending.changes.iter().flatten() {
            let rows = live.entry(name.clone()).or_default();
            match operation {
                Operation::Insert(Row { key, columns }) | Operation::Update(Row { key, columns }) => {
                    rows.insert(key.clone(), columns.clone());
                }
                Operation::Delete(key) => {
                    rows.remove(key);
                }
            }
        }
        live
    }
}

fn transaction(tables: &[Table], changes: &[(String, Operation)]) -> String {
    let of = |name: &str| tables.iter().find(|table| table.name() == name);
    let changes = changes.iter().filter_map(|(name, operation)| Some(change(of(name)?, operation)));
    format!("begin;\n{}commit;", changes.collect::<String>())
}

fn change(table: &Table, operation: &Operation) -> String {
    let name = ident(&milestream_core::names::physical_column(table.name()));
    let cell = |cell: &Cell| cell.as_ref().map_or("null".to_owned(), |text| quoted(text));
    let same = |key: &[Cell]| {
        let parts = table.key().iter().zip(key).zip(table.texts().0).map(|(((name, _), value), text)| {
            // By the text by which it is known.
            if text.starts_with('(') {
                format!("{text} = {}", cell(value))
            } else {
                format!("{} = {}", physical(name), cell(value))
            }
        });
        parts.collect::<Vec<_>>().join(" and ")
    };
    match operation {
        Operation::Insert(row) => {
            let cells: Vec<_> = table.written(row).iter().map(cell).collect();
            format!("insert into {name} values ({});\n", cells.join(", "))
        }
        Operation::Update(row) if row.columns.is_empty() => String::new(),
        Operation::Update(row) => {
            let cells = table.written(row);
            let set = table.all().zip(&cells);
            let set: Vec<_> =
                set.map(|((name, _), value)| format!("{} = {}", physical(name), cell(value))).collect();
            format!("update {name} set {} where {};\n", set.join(", "), same(&row.key))
        }
        Operation::Delete(key) => format!("delete from {name} where {};\n", same(key)),
    }
}
