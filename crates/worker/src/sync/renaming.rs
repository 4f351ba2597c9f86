//! A primary that goes by another name now. It has its tables under the new name, and is known by the batch of the
//! watermark: the same row in the same database.

use super::ground::Ground;
use super::job::{Job, Upstream};
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::postgres::Session;
use crate::postgres::read::metrics_table;
use crate::reset;
use crate::tables::lease::Lease;
use crate::tables::primary_batches::{self, BatchesFrom};
use crate::tables::streams::{self, PrimaryIdentity, StreamRow};

/// The candidate that is the stream's primary under a new name, if there is one.
///
/// # Errors
/// Those of a candidate that cannot be asked, where no other is the one.
pub(super) async fn find<'j>(job: &'j Job, row: &StreamRow) -> Result<Option<&'j Upstream>> {
    let Some(identity) = &row.identity else { return Ok(None) };
    let mut unasked = None;
    for upstream in &job.upstreams {
        match is_it(job, upstream, identity).await {
            Ok(true) => return Ok(Some(upstream)),
            Ok(false) | Err(Error::MissingTable { .. }) => {}
            Err(error) => unasked = Some(error),
        }
    }
    unasked.map_or(Ok(None), Err)
}

async fn is_it(job: &Job, upstream: &Upstream, identity: &PrimaryIdentity) -> Result<bool> {
    let name = "looking for a renamed primary";
    let mut session = Session::connect_reader(&upstream.endpoint, name, job.primary_patience()).await?;
    let (metrics, from) = (metrics_table(&upstream.platform), BatchesFrom::Batch(identity.batch.batch));
    let (reached, batches) =
        primary_batches::committed(&mut session, &metrics, &job.stream_key(), from).await?;
    session.close().await;
    let is_same = batches.first().is_some_and(|batch| batch.identity() == identity.batch);
    Ok(is_same && reached.system == identity.system)
}

/// Lets the stream go on under the new name of its primary. A sync in flight reads tables by their old names: nothing of
/// it was merged, and it is planned anew.
///
/// # Errors
/// Those of the secondary; `Fenced`.
pub(super) async fn adopt(
    ground: &Ground,
    lease: &Lease,
    secondary: &mut Session,
    row: &StreamRow,
    upstream: &Upstream,
) -> Result<()> {
    let (former, name) = (row.primary.as_deref().unwrap_or_default(), &upstream.platform);
    if row.flight.is_some() {
        reset::throw_away(ground, lease, secondary).await?;
    }
    secondary.begin().await?;
    streams::rename_primary(secondary, &ground.tables, &ground.stream, name).await?;
    lease.fence(secondary).await?;
    secondary.commit("renaming the primary").await?;
    let text = format!(
        "primary {former} is called {name} now: it is the same database with the same batches, and the stream goes on"
    );
    ground.notice(NoticeKind::Warning, text);
    Ok(())
}
