//! The ledger: what the primary's tables hold against what its batches recorded.
//!
//! Fewer found than recorded means that rows or history were removed outside of the batches. More is no alarm: mirrors
//! made by others do not record closures of versions that were opened in the same sync.

use milestream_core::milestone::BatchRange;

use super::copying::{Plan, counted};
use super::ground::Ground;
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::pair::Holding;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::read::Expectation;
use crate::statements::delta;
use crate::tables::findings;
use crate::tables::primary_batches::{self, RecordedLive};

/// SQLSTATE of a table that is gone.
const UNDEFINED_TABLE: &str = "42P01";
/// SQLSTATE of a right that was taken away.
const MISSING_RIGHT: &str = "42501";

/// An increment's ledger: versions found opened and closed over (X, Y].
///
/// # Errors
/// `Pruned`.
pub(crate) async fn check_increment(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    let (Some(range), Some(recorded)) = (plan.flight.range(), plan.flight.recorded) else { return Ok(()) };
    let found = findings::ledger(secondary, &ground.tables, &plan.scope(ground)).await?;
    let Some(apart) = count_apart(ground, plan, range).await? else { return Ok(()) };
    let pairs = [("opened", found.0 + apart.0, recorded.0), ("closed", found.1 + apart.1, recorded.1)];
    match pairs.into_iter().find(|(_, found, recorded)| found < recorded) {
        None => Ok(()),
        Some((what, found, recorded)) => Err(Error::Pruned {
            endpoint: plan.upstream.endpoint.to_string(),
            from: range.after(),
            to: range.through(),
            what,
            found,
            recorded,
        }),
    }
}

/// Versions opened and closed of datasets that the primary counted and the increment does not bring. They stay countable
/// however far the primary moves on. `None` where a table is not to be read any more, so that there is no sum to compare.
async fn count_apart(ground: &Ground, plan: &Plan, range: BatchRange) -> Result<Option<(i64, i64)>> {
    let mut sum = (0, 0);
    if plan.flight.apart.is_empty() {
        return Ok(Some(sum));
    }
    let name = ground.session_name("ledger");
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "ledger").await?;
    for relation in &plan.flight.apart {
        let question = delta::ledger_of(&relation.table, range);
        let doing = "counting what other datasets opened and closed";
        let expectation =
            Expectation { relations: vec![relation.clone()], ..plan.flight.expectation.clone() };
        let row = match expectation.open_asking(&mut primary, &name, doing, &question).await {
            Ok(row) => row,
            Err(error) if matches!(error.sqlstate().as_deref(), Some(UNDEFINED_TABLE | MISSING_RIGHT)) => {
                let text = format!("{error}: what is found is not compared with the primary's metrics");
                ground.notice(NoticeKind::Warning, text);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        sum = (sum.0 + counted(row.field(0)?)?, sum.1 + counted(row.field(1)?)?);
        primary.commit("ending a read").await?;
    }
    plan.sessions.keep_reader(primary);
    Ok(Some(sum))
}

/// A seed's ledger: `live` versions found live at X over all datasets, against the batches through X where these
/// reach back to the first.
///
/// # Errors
/// `LiveRowsLost`.
pub(crate) async fn check_seed(ground: &Ground, plan: &Plan, live: u64) -> Result<()> {
    let (Some(recorded), x) = (recorded_live(ground, plan).await?, plan.flight.to) else { return Ok(()) };
    let unknown = ground.job.datasets_unknown(&recorded.datasets);
    if !unknown.is_empty() {
        let text = format!(
            "{} also counted datasets that the model does not have ({}): rows live as of batch {x} are not compared with its metrics",
            plan.upstream.platform,
            unknown.join(", ")
        );
        ground.notice(NoticeKind::Warning, text);
        return Ok(());
    }
    let found = i64::try_from(live).unwrap_or(i64::MAX);
    if found >= recorded.versions {
        return Ok(());
    }
    Err(Error::LiveRowsLost {
        endpoint: plan.upstream.endpoint.to_string(),
        stream: ground.stream.clone(),
        batch: x,
        found,
        recorded: recorded.versions,
    })
}

/// What was live at X stays countable however far the primary moves on, so its batches may be read later than its
/// tables; that they are still those of the plan is checked here again.
async fn recorded_live(ground: &Ground, plan: &Plan) -> Result<Option<RecordedLive>> {
    let expectation = Expectation { relations: Vec::new(), ..plan.flight.expectation.clone() };
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "ledger").await?;
    expectation.open(&mut primary, &ground.session_name("ledger")).await?;
    let (metrics, x) = (&expectation.metrics_table, plan.flight.to);
    let forensic = Holding::Mirror;
    let recorded = primary_batches::recorded_live(&mut primary, metrics, &ground.stream, x, forensic).await?;
    primary.commit("ending a read").await?;
    plan.sessions.keep_reader(primary);
    Ok(recorded)
}
