//! Merging an increment from its staging tables.

use milestream_core::milestone::{BatchRange, PrimaryBatch};

use super::copying::{Plan, counted};
use super::ground::Ground;
use super::limits;
use super::proof::{self, Written};
use crate::error::{Error, Result};
use crate::pair::{Holding, KEY_HASH, Pair};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::ident;
use crate::statements::{landing, merge};
use crate::tables::batches::{self, Counts};

/// Merges every dataset; part of the committing transaction, so that all of them move to Y at once.
///
/// # Errors
/// `TooManyDeletes`, `HashCollision`, `Diverged`.
pub(crate) async fn merge(
    ground: &Ground,
    plan: &Plan,
    from: PrimaryBatch,
    secondary: &mut Session,
) -> Result<Counts> {
    let mut total = Counts::default();
    let mut written = Vec::with_capacity(plan.pairs.len());
    for pair in &plan.pairs {
        let wrote = match pair.holding {
            Holding::LiveOnly => net(ground, plan, pair, secondary).await?,
            Holding::Mirror => full(ground, plan, pair, from, secondary).await?,
        };
        written.push(wrote);
        let counts = wrote.counts;
        total.inserted += counts.inserted;
        total.updated += counts.updated;
        total.deleted += counts.deleted;
        total.total += staged(plan, pair, secondary).await?;
        if plan.flight.is_by_blocks(&pair.dataset) {
            let drop = landing::drop_landing(pair);
            secondary.execute("dropping the landing table", drop).await?;
        }
    }
    proof::of_increment(ground, plan, BatchRange::new(from, plan.flight.to), &written, secondary).await?;
    Ok(total)
}

/// Keeps the staged rows of the newest batches, also where a seed follows an increment that was given up. Batches are
/// counted, not computed: a mirror's ids jump where several batches of the primary came in one sync.
pub(crate) async fn clear_old(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    let Some(keep) = ground.job.staging_batches_to_keep else { return Ok(()) };
    let oldest = batches::oldest_of_newest(secondary, &ground.tables, &ground.stream, keep).await?;
    // Of no batch at all, not even of this one.
    let oldest = oldest.map_or(plan.flight.local.0.saturating_add(1), |oldest| oldest.0);
    for pair in &plan.pairs {
        let clear = merge::clear_old(pair, oldest, plan.flight.local);
        secondary.execute("clearing old staged rows", clear).await?;
    }
    Ok(())
}

async fn net(ground: &Ground, plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<Written> {
    let local = plan.flight.local;
    let deletes = ask_count(secondary, "counting deletions", merge::net_deletes(pair, local)).await?;
    check_deletes(ground, plan, pair, deletes, secondary).await?;
    check_collisions(plan, pair, secondary).await?;
    let statements = merge::net(pair, local);
    let deleted = secondary.execute("deleting rows that are gone", statements.delete).await?;
    let updated = secondary.execute("updating rows that changed", statements.update).await?;
    let inserted = secondary.execute("inserting rows that are new", statements.insert).await?;
    let counts = Counts { inserted, updated, deleted, total: 0 };
    Ok(Written { counts, grown: signed(inserted) - signed(deleted) })
}

async fn full(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    from: PrimaryBatch,
    secondary: &mut Session,
) -> Result<Written> {
    let statements = merge::full(pair, plan.flight.local, from.0);
    let rows = secondary.ask("counting keys", statements.count_keys).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a staging table", "a count gave no row"))?;
    let (new, changed, gone) = (counted(row.field(0)?)?, counted(row.field(1)?)?, counted(row.field(2)?)?);
    check_deletes(ground, plan, pair, gone, secondary).await?;
    let closures = unsigned(ask_count(secondary, "counting closures", statements.closures).await?);
    let closed = secondary.execute("closing versions", statements.close).await?;
    if closures != closed {
        return Err(proof::closures_unmet(plan, pair, from, (closures, closed), secondary).await?);
    }
    let opened = secondary.execute("opening versions", statements.insert).await?;
    let counts =
        Counts { inserted: unsigned(new), updated: unsigned(changed), deleted: unsigned(gone), total: 0 };
    Ok(Written { counts, grown: signed(opened) })
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Rows that the batch staged.
async fn staged(plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<u64> {
    let question = merge::staged(pair, plan.flight.local);
    Ok(unsigned(ask_count(secondary, "counting staged rows", question).await?))
}

async fn check_deletes(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    deletes: i64,
    secondary: &mut Session,
) -> Result<()> {
    if deletes == 0 {
        return Ok(());
    }
    let limit = limits::rows_that_matter(deletes, ground.job.tuning.max_delete_fraction);
    let rows = ask_count(secondary, "counting rows", merge::rows_below(pair, limit)).await?;
    limits::check_deletes(ground, &pair.names.merge, plan.flight.to, deletes, rows)
}

/// A table that is unique on the key hash, made by DataSurface or for interchange with it, cannot take two keys
/// with one hash; that is refused by name before the server refuses it by constraint.
async fn check_collisions(plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<()> {
    let unique_hash = pair
        .existing
        .as_ref()
        .is_some_and(|table| table.indexes.iter().any(|index| index.unique && index.columns == [KEY_HASH]));
    if !unique_hash {
        return Ok(());
    }
    for question in merge::colliding_keys(pair, plan.flight.local) {
        let rows = secondary.ask("looking for keys that share a hash", question).await?;
        if let Some(row) = rows.first() {
            return Err(Error::HashCollision {
                table: ident(&pair.names.merge),
                first: row.field(0)?,
                second: row.field(1)?,
            });
        }
    }
    Ok(())
}

async fn ask_count(session: &mut Session, doing: &str, question: String) -> Result<i64> {
    let rows = session.ask(doing, question).await?;
    rows.first().map_or(Ok(0), |row| row.field(0).and_then(counted))
}
