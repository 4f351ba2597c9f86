//! Everything of an increment between its last chunk and its merge: sweeps, the ledger, and all rows in the staging
//! tables.

use std::sync::Arc;

use super::copying::{Plan, counted};
use super::ground::Ground;
use super::{doubles, ledger, sweeping};
use crate::error::{Error, Result};
use crate::observer::{Happening, Step};
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::ident;
use crate::statements::{block_delta, merge};
use crate::tables::findings::{self, Counted};

/// Finds what an earlier attempt left and goes on from there.
///
/// # Errors
/// `Pruned`; `Miscounted` and `Rewritten`, after which the increment is read in the order of its keys; those of both
/// servers.
pub(crate) async fn prepare(ground: &Arc<Ground>, plan: &Arc<Plan>, secondary: &mut Session) -> Result<()> {
    let by_blocks = plan.pairs.iter().filter(|pair| plan.flight.is_by_blocks(&pair.dataset));
    let by_blocks: Vec<&Pair> = by_blocks.collect();
    if by_blocks.is_empty() {
        sweeping::require_all(ground, plan, secondary).await?;
    } else {
        sweeping::sweep(ground, plan, secondary).await?;
    }
    ledger::check_increment(ground, plan, secondary).await?;
    for pair in by_blocks {
        ground.check_stop()?;
        settle(ground, plan, pair, secondary).await?;
    }
    analyze(plan, secondary).await
}

/// Brings what has landed into the staging table. The landing table stays until the commit, so that another attempt can
/// do the same again.
async fn settle(ground: &Ground, plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<()> {
    analyze_table(&pair.names.landing, secondary).await?;
    secondary.begin().await?;
    let clear = merge::clear_staged(pair, plan.flight.local);
    secondary.execute("clearing the staging table", clear).await?;
    let rows = secondary.ask("staging what has landed", block_delta::settle(pair)).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a landing table", "a count gave no row"))?;
    let (rows, versions, staged) =
        (counted(row.field(0)?)?, counted(row.field(1)?)?, counted(row.field(2)?)?);
    let scope = plan.scope(ground);
    if let Some(counted) = findings::counted(secondary, &ground.tables, &scope, &pair.dataset).await?
        && let Err(error) = compare(pair, counted, rows, versions)
    {
        return Err(explain(ground, plan, pair, error).await?);
    }
    plan.lease.fence(secondary).await?;
    secondary.commit("committing the staged rows").await?;
    let rows = u64::try_from(staged).unwrap_or(0);
    let happening = Happening::Dataset { dataset: pair.dataset.clone(), rows };
    ground.reach(Step::Landed, happening).await
}

/// Before an update in place is blamed: of a key that is live more than once blocks do not tell which version is newest.
async fn explain(ground: &Ground, plan: &Plan, pair: &Pair, blamed: Error) -> Result<Error> {
    let Some(found) = doubles::look(ground, plan, pair).await? else { return Ok(blamed) };
    let seen = format!("key {}, and blocks do not tell the newest version from others", found.example);
    Ok(Error::Miscounted { table: pair.primary_table.clone(), seen })
}

/// An update in place moves versions to where the chunks have been, or to where they will be: the first are missing, the
/// second landed twice, perhaps with other contents. Twice is right only what the sweep brought again.
fn compare(pair: &Pair, counted: Counted, rows: i64, versions: i64) -> Result<()> {
    let (expected, twice) = (counted.versions, rows - versions);
    let seen = if versions != expected {
        format!("the primary has {expected} versions of this increment, {versions} landed")
    } else if twice > counted.swept {
        format!("{twice} versions of this increment landed twice, the sweep brought {}", counted.swept)
    } else {
        return Ok(());
    };
    let seen = format!("{seen}: something updates its open versions in place or removes them");
    Err(Error::Miscounted { table: pair.primary_table.clone(), seen })
}

/// Gathers statistics of the staged rows: the merge's plans must not rest on those of an earlier batch.
async fn analyze(plan: &Plan, secondary: &mut Session) -> Result<()> {
    for pair in &plan.pairs {
        analyze_table(&pair.names.staging, secondary).await?;
    }
    Ok(())
}

async fn analyze_table(table: &str, secondary: &mut Session) -> Result<()> {
    let analyze = format!("analyze {}", ident(table));
    secondary.execute("gathering statistics of staged rows", analyze).await.map(|_| ())
}
