//! What is live in the merge tables against what the batches so far add up to: tables that were emptied, restored or
//! edited by hand are noticed before a batch is opened over them, which would open every record anew or close it.

use milestream_core::milestone::{LocalBatch, PrimaryBatch};

use super::job::IngestJob;
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{ident, literal};
use crate::statements::proof;
use crate::sync::copying::counted;
use crate::sync::ground::Ground;
use crate::tables::primary_batches;

/// Compares before batch `next` is opened; nothing where the batches do not reach back to the first, or were pulled from
/// another platform.
///
/// # Errors
/// `LiveRowsMoved`.
pub(crate) async fn check(
    ground: &Ground<IngestJob>,
    pairs: &[Pair],
    next: LocalBatch,
    store: &mut Session,
) -> Result<()> {
    let newest = PrimaryBatch(next.0 - 1);
    let (metrics, stream) = (&ground.tables.batch_metrics, &ground.stream);
    let layout = ground.job.strategy.layout();
    if newest.0 < 1 {
        return Ok(());
    }
    let Some(recorded) = primary_batches::recorded_live(store, metrics, stream, newest, layout).await? else {
        return Ok(());
    };
    let known = |name: &String| ground.job.stream.datasets.iter().any(|dataset| dataset.name == *name);
    if !recorded.datasets.iter().all(known) {
        let text = "its batches also counted datasets that the model does not have: live rows are not compared with them";
        ground.notice(NoticeKind::Warning, text.to_owned());
        return Ok(());
    }
    let (mut found, mut tables) = (0, Vec::with_capacity(pairs.len()));
    for pair in pairs {
        let live = live(pair, store).await?;
        tables.push(format!("{} {live}", ident(&pair.names.merge)));
        found += live;
    }
    if found == recorded.versions {
        return Ok(());
    }
    Err(Error::LiveRowsMoved {
        at: format!("{}: stream {stream:?}", store.endpoint),
        batch: newest,
        found,
        recorded: recorded.versions,
        tables: tables.join(", "),
        anew: start_anew(ground, pairs),
    })
}

/// Rows that are live in a merge table; none where there is no table.
async fn live(pair: &Pair, store: &mut Session) -> Result<i64> {
    if pair.existing.is_none() {
        return Ok(0);
    }
    let rows = store.ask("counting live rows", proof::held(pair)).await?;
    rows.first().map_or(Ok(0), |row| counted(row.field(1)?))
}

/// Statements that let the stream begin with batch 1 again.
fn start_anew(ground: &Ground<IngestJob>, pairs: &[Pair]) -> String {
    let existing = pairs.iter().filter(|pair| pair.existing.is_some());
    let truncate =
        existing.map(|pair| format!("truncate {}; ", ident(&pair.names.merge))).collect::<String>();
    let (metrics, counter) = (&ground.tables.batch_metrics, &ground.tables.batch_counter);
    let key = literal(&ground.stream);
    format!(
        "begin; {truncate}delete from {metrics} where key = {key}; delete from {counter} where key = {key}; commit;"
    )
}
