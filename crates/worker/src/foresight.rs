//! What a run would be halted by before it moves a row, asked without running it: rights on both sides, columns, types
//! and keys, tables that should be there. `plan` and `lint --connect` show it, also where there is nothing to do.

use crate::config::StreamJob;
use crate::error::{Error, Result};
use crate::ingest::{self, IngestJob};
use crate::postgres::Session;
use crate::rights::{self, Needs};
use crate::schema::Difference;
use crate::sync::ground::Charge;
use crate::sync::planning::{self, compare_encodings};
use crate::sync::{Job, Upstream};
use crate::tables::migrations;
use crate::tables::streams::{self, StreamRow};

/// What a run of the stream would be halted by, a line each; nothing of its rows is looked at.
///
/// # Errors
/// What would end the run before its tables are compared.
pub(crate) async fn examine(job: &StreamJob) -> Result<Vec<String>> {
    match job {
        StreamJob::Sync(job) => match examine_sync(job).await {
            Ok(found) => Ok(found.iter().map(|found| found.to_string().trim().to_owned()).collect()),
            Err(error) => Err(explained(&**job, error).await),
        },
        StreamJob::Ingest(job) => match examine_ingestion(job).await {
            Ok(found) => Ok(found.iter().map(|found| found.to_string().trim().to_owned()).collect()),
            Err(error) => Err(explained(&**job, error).await),
        },
    }
}

async fn examine_sync(job: &Job) -> Result<Vec<Difference>> {
    let patience = job.tuning.reading_patience();
    let mut secondary = Session::connect_reader(&job.secondary, "lint", patience).await?;
    let tables = job.tables();
    let row = if migrations::are_there(&mut secondary, &tables).await? {
        streams::load(&mut secondary, &tables, &job.stream_key()).await?
    } else {
        StreamRow::default()
    };
    let upstream = planning::choose_upstream(job, &row).await?;
    let mut primary = Session::connect_reader(&upstream.endpoint, "lint", patience).await?;
    let differences = of_sync(job, upstream, &mut primary, &mut secondary, &row).await?;
    primary.close().await;
    secondary.close().await;
    Ok(differences)
}

async fn examine_ingestion(job: &IngestJob) -> Result<Vec<ingest::Difference>> {
    let patience = job.tuning.reading_patience();
    let mut store = Session::connect_reader(&job.store, "lint", patience).await?;
    let mut source = Session::connect_reader(&job.source, "lint", patience).await?;
    let differences = of_ingestion(job, &mut source, &mut store).await?;
    source.close().await;
    store.close().await;
    Ok(differences)
}

/// In what the tables of a secondary and its primary would be found to differ.
///
/// # Errors
/// `MissingRight` with every right that is missing on either side, and whatever else would end the sync.
pub(crate) async fn of_sync(
    job: &Job,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
) -> Result<Vec<Difference>> {
    compare_encodings(primary, secondary)?;
    require_rights([(&job.needs_of(upstream), &mut *primary), (&job.needs_of_store(), &mut *secondary)])
        .await?;
    planning::differences(job, upstream, primary, secondary, row).await
}

/// In what the tables of a source and of the primary that reads it would be found to differ.
///
/// # Errors
/// As [`of_sync`].
pub(crate) async fn of_ingestion(
    job: &IngestJob,
    source: &mut Session,
    store: &mut Session,
) -> Result<Vec<ingest::Difference>> {
    compare_encodings(source, store)?;
    require_rights([(&job.needs_of_source(), &mut *source), (&job.needs_of_store(), &mut *store)]).await?;
    ingest::differences(job, source, store).await
}

async fn require_rights(sides: [(&Needs, &mut Session); 2]) -> Result<()> {
    let mut lacks = Vec::new();
    for (needs, session) in sides {
        lacks.extend(rights::lacking(needs, session).await?);
    }
    if lacks.is_empty() { Ok(()) } else { Err(Error::MissingRight { lacks }) }
}

/// An error that may come of a right that is missing, with everything that is missing in its place.
pub(crate) async fn explained<J: Charge>(job: &J, error: Error) -> Error {
    let needs = job.needs(&error.endpoint().unwrap_or_default());
    rights::with_all_that_is_missing(error, &needs, job.tuning().reading_patience()).await
}
