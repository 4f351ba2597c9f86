//! Decides what the next sync is.

use std::collections::BTreeSet;

use milestream_core::catch_up;
use milestream_core::milestone::PrimaryBatch;
use milestream_core::names;
use milestream_core::stream::Dataset;

use super::course::Course;
use super::datasets::{self, Roster};
use super::drafting::draft;
use super::job::{Job, PrimaryChoice, Upstream};
use super::renaming;
use super::watermark::{self, Sides};
use crate::error::{Error, Result};
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::catalog::{self, Table};
use crate::postgres::read::metrics_table;
use crate::postgres::sql::ident;
use crate::schema::{self, Difference};
use crate::shapes::Shapes;
use crate::structure::Candidate;
use crate::tables::batch_age;
use crate::tables::chunks::PlannedChunk;
use crate::tables::layout;
use crate::tables::primary_batches::{self, BatchesFrom, CommittedBatch};
use crate::tables::streams::{BatchHistory, Flight, StreamRow};

/// What the next sync is.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The primary has nothing that the secondary lacks.
    Nothing {
        /// Why there is nothing to do.
        why: String,
        /// What there is to say of datasets that are left out.
        notes: Vec<String>,
        /// The primary's server and database.
        system: String,
    },
    /// A seed as of a batch, or an increment to one.
    Sync(Box<Draft>),
}

/// A sync that is planned but not stored.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) flight: Flight,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) chunks: Vec<PlannedChunk>,
    /// Batches and rows recorded that stay behind it.
    pub(crate) remaining: catch_up::Backlog,
    pub(crate) bytes_estimated: u64,
    /// What there is to say of datasets that are left out.
    pub(crate) notes: Vec<String>,
    /// Indexes of the primary that the reads would need and do not find.
    pub(crate) missing_indexes: Vec<String>,
    /// Columns of the primary that the model lacks and that were not there, or not told of, before.
    pub(crate) newly_lacking: Vec<String>,
}

/// Chooses the stream's primary: the one it has, or one of the candidates.
pub(crate) async fn choose_upstream<'a>(job: &'a Job, row: &StreamRow) -> Result<&'a Upstream> {
    match settled_upstream(job, row) {
        Ok(Some(upstream)) => Ok(upstream),
        Ok(None) => least_lag(job).await,
        Err(unknown) => renaming::find(job, row).await?.ok_or(unknown),
    }
}

/// The stream's primary; `None` as long as the candidates would have to be asked which of them it is.
pub(crate) fn settled_upstream<'a>(job: &'a Job, row: &StreamRow) -> Result<Option<&'a Upstream>> {
    let primary = row.flight.as_ref().map(|flight| &flight.primary).or(row.primary.as_ref());
    if let Some(primary) = primary {
        return job.upstream(primary).map(Some);
    }
    let first = job.upstreams.first().ok_or_else(|| {
        Error::setup(
            format!("stream {:?} has no primary to pull from", job.stream_key()),
            "check the PIP list",
        )
    })?;
    match job.primary_choice {
        PrimaryChoice::First => Ok(Some(first)),
        PrimaryChoice::Spread => {
            let hash = job
                .stream_key()
                .bytes()
                .fold(5381_usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
            Ok(Some(&job.upstreams[hash % job.upstreams.len()]))
        }
        PrimaryChoice::LeastLag => Ok(None),
    }
}

/// The candidate whose newest batch is youngest. Ages that are not known cannot be compared, nor can the ids of two
/// primaries: then it is the first that answers and has a batch.
async fn least_lag(job: &Job) -> Result<&Upstream> {
    let (mut answered, mut unreachable) = (Vec::new(), None);
    for upstream in &job.upstreams {
        match newest(job, upstream).await {
            Ok(Some(newest)) => answered.push((newest.age_seconds, upstream)),
            Ok(None) => {}
            Err(error) => unreachable = Some(error),
        }
    }
    let ages: Option<Vec<f64>> = answered.iter().map(|(age, _)| *age).collect();
    let youngest = ages.and_then(|ages| (0..ages.len()).min_by(|a, b| ages[*a].total_cmp(&ages[*b])));
    match (answered.get(youngest.unwrap_or(0)), unreachable) {
        (Some((_, upstream)), _) => Ok(upstream),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(&job.upstreams[0]),
    }
}

/// The newest batch of a primary that might be chosen.
struct Newest {
    age_seconds: Option<f64>,
}

async fn newest(job: &Job, upstream: &Upstream) -> Result<Option<Newest>> {
    let mut session =
        Session::connect_reader(&upstream.endpoint, "choosing a primary", job.primary_patience()).await?;
    let stream = job.stream_key();
    let newest = match newest_batch(&mut session, upstream, &stream).await? {
        None => None,
        Some(batch) => {
            let (metrics, zone) = (metrics_table(&upstream.platform), job.tuning.primary_timezone.as_deref());
            let age_seconds = batch_age::of_batch(&mut session, &metrics, &stream, batch.0, zone).await?;
            Some(Newest { age_seconds })
        }
    };
    session.close().await;
    Ok(newest)
}

/// The newest committed batch of a stream on a primary, if there is any.
pub(crate) async fn newest_batch(
    primary: &mut Session,
    upstream: &Upstream,
    stream: &str,
) -> Result<Option<PrimaryBatch>> {
    let metrics = metrics_table(&upstream.platform);
    let (_, batches) = primary_batches::committed(primary, &metrics, stream, BatchesFrom::Newest).await?;
    Ok(batches.last().map(|batch| batch.batch))
}

/// The plan whose place another one takes.
#[derive(Clone, Copy)]
pub(crate) struct Former<'a> {
    pub(crate) flight: &'a Flight,
    /// Whether its blocks did not hold still, so that an increment has to be read in the order of its keys.
    pub(crate) was_disturbed: bool,
    /// Whether the batch that it was going to is refused, so that a later one has to do, however many rows that takes.
    pub(crate) was_refused: bool,
}

/// Decides what the next sync is. Reads both sides, writes nothing.
///
/// # Errors
/// `TurnTaken`, `PrimaryReset`, `Schema`, `SchemaChanged`, `Encodings`, `MissingTable`, `MissingRight`, `Unlockable`.
pub(crate) async fn decide(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
    former: Option<Former<'_>>,
) -> Result<Decision> {
    compare_encodings(primary, secondary)?;
    watermark::require_own_turn(job, row)?;
    let metrics = metrics_table(&upstream.platform);
    let stream = job.stream_key();
    let from = row.watermark.map_or(BatchesFrom::Newest, BatchesFrom::Batch);
    let (reached, batches) = primary_batches::committed(primary, &metrics, &stream, from).await?;
    let system = reached.system.clone();
    let mut course = match row.watermark {
        None => match batches.into_iter().next_back() {
            None => {
                let why = format!("{} has no committed batch of stream {stream:?} yet", upstream.platform);
                return Ok(Decision::Nothing { why, notes: Vec::new(), system });
            }
            Some(newest) => Course::seed(job, newest),
        },
        Some(watermark) => {
            check_watermark(primary, row, watermark, &batches)?;
            watermark::require_same_history(primary, &metrics, job, row, &reached, &batches).await?;
            let identities: Vec<_> = batches.iter().map(CommittedBatch::identity).collect();
            let rows_max = match former {
                Some(Former { was_refused: true, .. }) => u64::MAX,
                _ => job.tuning.max_rows_per_sync,
            };
            match Course::after(job, upstream, primary, row, watermark, batches, rows_max).await? {
                Ok(mut course) => {
                    course.target.history = watermark::followed(row, &identities, course.target.to);
                    course
                }
                Err((why, notes)) => {
                    watermark::require_columns_of_model(job, upstream, primary, secondary, row, reached)
                        .await?;
                    return Ok(Decision::Nothing { why, notes, system });
                }
            }
        }
    };
    layout::require_writable(secondary, &job.tables()).await?;
    let (pairs, tables) = pairs(job, upstream, primary, secondary, &course.datasets).await?;
    let found = Shapes::of(&pairs, &tables);
    if let Some(watermark) = course.target.from {
        require_merge_tables(&pairs, watermark)?;
        let sides = Sides { job, metrics: &metrics, reached: &reached, pairs: &pairs, tables: &tables };
        watermark::require_shapes(&sides, primary, secondary, row, &found).await?;
    }
    if course.target.history.is_none() {
        let to = course.target.to;
        let digest = primary_batches::digest_through(primary, &metrics, &stream, to).await?;
        course.target.history = Some(BatchHistory { begun_at: to, digest });
    }
    let mut draft =
        draft(job, upstream, primary, secondary, reached, metrics, course, pairs, &tables, former).await?;
    draft.newly_lacking = watermark::newly_lacking(row, &found);
    draft.flight.tables = Some(found);
    Ok(Decision::Sync(draft))
}

/// An increment cannot bring back what a table held that is not there any more.
fn require_merge_tables(pairs: &[Pair], watermark: PrimaryBatch) -> Result<()> {
    match pairs.iter().find(|pair| pair.existing.is_none()) {
        None => Ok(()),
        Some(pair) => Err(Error::Diverged {
            table: ident(&pair.names.merge),
            seen: format!("there is no such table, though the stream holds batch {watermark}"),
            hooks: Vec::new(),
        }),
    }
}

/// # Errors
/// `Encodings`: text would be converted on its way, and its digests would differ.
pub(crate) fn compare_encodings(primary: &Session, secondary: &Session) -> Result<()> {
    if primary.facts.encoding == secondary.facts.encoding {
        return Ok(());
    }
    Err(Error::Encodings {
        primary: primary.endpoint.to_string(),
        primary_encoding: primary.facts.encoding.clone(),
        secondary: secondary.endpoint.to_string(),
        secondary_encoding: secondary.facts.encoding.clone(),
    })
}

/// The watermark's batch must be what it was when the secondary took it over.
///
/// # Errors
/// `PrimaryReset`.
pub(crate) fn check_watermark(
    primary: &Session,
    row: &StreamRow,
    watermark: PrimaryBatch,
    batches: &[CommittedBatch],
) -> Result<()> {
    let endpoint = primary.endpoint.to_string();
    let seen = match batches.first() {
        Some(batch) if batch.batch == watermark => {
            let known = row.identity.as_ref().map(|identity| &identity.batch.fingerprint);
            match known {
                Some(known) if *known != batch.fingerprint => {
                    format!("batch {watermark} was {known}, now it is {}", batch.fingerprint)
                }
                _ => return Ok(()),
            }
        }
        // A standby that lags proves nothing.
        None if primary.facts.in_recovery => return Ok(()),
        None => format!("it has no committed batch from {watermark} on"),
        Some(batch) => format!("batch {watermark} is gone, its oldest after that is {}", batch.batch),
    };
    Err(Error::PrimaryReset { endpoint, watermark, seen })
}

/// Pairs the tables of datasets up.
pub(crate) async fn pairs(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    datasets: &[&Dataset],
) -> Result<(Vec<Pair>, Vec<Table>)> {
    let (pairs, tables, differences) = matched(job, upstream, primary, secondary, datasets).await?;
    if differences.is_empty() {
        return Ok((pairs, tables));
    }
    Err(Error::Schema { stream: job.stream_key(), differences: schema::table_of(&differences) })
}

/// In what the stream's tables differ, so that they cannot be paired or followed from the watermark.
pub(crate) async fn differences(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
) -> Result<Vec<Difference>> {
    let mut followed = Roster::of(job, row).held;
    match row.watermark {
        Some(_) => {
            followed.extend(datasets::on_primary(job, upstream, primary, &Roster::of(job, row).came).await?)
        }
        None => followed.extend(job.stream.datasets.iter().map(|dataset| dataset.name.clone())),
    }
    let there = datasets::named(job, &followed);
    let (pairs, _, mut differences) = matched(job, upstream, primary, secondary, &there).await?;
    if let Some(watermark) = row.watermark {
        // One that the stream never held is not gone.
        let held =
            |pair: &&Pair| row.schema_versions.as_ref().is_none_or(|held| held.contains_key(&pair.dataset));
        let gone = pairs.iter().filter(|pair| pair.existing.is_none()).filter(held);
        differences.extend(gone.map(|pair| Difference::gone(&pair.dataset, &pair.names.merge, watermark)));
    }
    Ok(differences)
}

async fn matched(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    datasets: &[&Dataset],
) -> Result<(Vec<Pair>, Vec<Table>, Vec<Difference>)> {
    let store = &job.stream.store;
    let names = |platform: &str| -> Vec<String> {
        let merge_table = |dataset: &Dataset| names::merge_table(platform, store, &dataset.name);
        datasets.iter().map(|dataset| ident(&merge_table(dataset))).collect()
    };
    let (source_names, target_names) = (names(&upstream.platform), names(&job.platform));
    let (sources, targets) =
        tokio::join!(catalog::find_all(primary, &source_names), catalog::find_all(secondary, &target_names));
    let (sources, targets) = (sources?, targets?);
    let types = unseen_types(datasets, secondary, &sources, &targets).await?;
    let (mut pairs, mut tables, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for (((dataset, name), source), target) in datasets.iter().zip(source_names).zip(sources).zip(targets) {
        let endpoint = || primary.endpoint.to_string();
        let source = source.ok_or_else(|| Error::MissingTable { endpoint: endpoint(), table: name })?;
        let interchange = job.tuning.interchange;
        match schema::pair(&job.platform, store, dataset, job.holding, interchange, &source, target, &types) {
            Ok(pair) => pairs.push(pair),
            Err(found) => differences.extend(found),
        }
        tables.push(source);
    }
    Ok((pairs, tables, differences))
}

/// Types of the secondary that none of its columns shows; asked for only where there are such.
async fn unseen_types(
    datasets: &[&Dataset],
    secondary: &mut Session,
    sources: &[Option<Table>],
    targets: &[Option<Table>],
) -> Result<Vec<Candidate>> {
    let names = datasets.iter().zip(sources.iter().zip(targets)).flat_map(|(dataset, (source, target))| {
        let source = source.iter();
        source.flat_map(move |source| schema::missing_names(dataset, source, target.as_ref()))
    });
    catalog::find_types(secondary, names.collect::<BTreeSet<_>>()).await
}
