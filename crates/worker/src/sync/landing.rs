//! Landing a seed: keys and indexes, the count, and the tables made visible at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;
use tokio::task::JoinSet;

use super::copying::{Plan, counted};
use super::ground::Ground;
use super::job::VerifySeed;
use super::{doubles, ledger, limits, proof, sweeping};
use crate::digest;
use crate::error::{Error, Result};
use crate::observer::{Happening, Step};
use crate::pair::{Holding, KEY_HASH, Pair};
use crate::postgres::Session;
use crate::postgres::catalog::{RelationKind, Table};
use crate::postgres::fields::Fields;
use crate::postgres::sql::{ident, literal};
use crate::statements::landing::{self, IndexBuild};
use crate::statements::seed;
use crate::tables::batches::Counts;

/// How long the commit waits for a table that it alters. Whoever reads the table meanwhile queues behind that wait, so
/// it is short, and the commit is tried again; but longer than `deadlock_timeout` (1 s), after which an autovacuum makes
/// way.
const REVEAL_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Rows of a dataset, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// What the secondary holds as of X: live rows, or every version of a mirror.
    pub(crate) rows: u64,
    /// Versions among them that are live at X.
    live: u64,
}

/// Everything of a seed between its last chunk and its commit; what has landed of each dataset. Each part finds what an
/// earlier attempt left and goes on from there.
///
/// # Errors
/// `Miscounted` and `Rewritten`, after which the seed is planned anew; `LiveRowsLost`; those of both servers.
pub(crate) async fn prepare(
    ground: &Arc<Ground>,
    plan: &Arc<Plan>,
    secondary: &mut Session,
) -> Result<Vec<Tally>> {
    sweeping::sweep(ground, plan, secondary).await?;
    ground.check_stop()?;
    let (expected, built) = tokio::join!(primary_tallies(ground, plan), build_indexes(ground, plan));
    built?;
    let expected = expected?;
    ground.check_stop()?;
    let mut landed = Vec::with_capacity(plan.pairs.len());
    for (at, pair) in plan.pairs.iter().enumerate() {
        keep_sweep(ground, plan, pair, secondary).await?;
        let (tally, gathered) =
            tokio::join!(landed_tally(ground, plan, pair), gather_statistics(pair, secondary));
        gathered?;
        let (mut tally, mut doubled) = (tally?, false);
        if let Some(expected) = &expected {
            (tally, doubled) = settled(ground, plan, pair, expected[at], tally, secondary).await?;
        }
        if ground.job.tuning.verify_seed == VerifySeed::Content {
            digest::compare_landed(ground, plan, pair, doubled, secondary).await?;
        }
        let happening = Happening::Dataset { dataset: pair.dataset.clone(), rows: tally.rows };
        ground.reach(Step::Landed, happening).await?;
        landed.push(tally);
    }
    // Last: what was removed while the seed was read is a miscount, which a new plan mends.
    if plan.flight.is_seed_of_all()
        && let Some(expected) = expected
    {
        ledger::check_seed(ground, plan, expected.iter().map(|tally| tally.live).sum()).await?;
    }
    Ok(landed)
}

/// What the primary holds of each dataset as of X, counted there while the secondary builds its indexes; `None` where
/// seeds are not to be verified.
async fn primary_tallies(ground: &Ground, plan: &Plan) -> Result<Option<Vec<Tally>>> {
    if ground.job.tuning.verify_seed == VerifySeed::Off {
        return Ok(None);
    }
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "count").await?;
    let mut tallies = Vec::with_capacity(plan.pairs.len());
    for pair in &plan.pairs {
        let expectation = plan.flight.expectation.for_dataset(&pair.dataset);
        let (name, question) = (ground.session_name("count"), seed::count(pair, plan.flight.to));
        let doing = "counting the primary's rows";
        tallies.push(tally(&expectation.open_asking(&mut primary, &name, doing, &question).await?)?);
        primary.commit("ending a read").await?;
    }
    plan.sessions.keep_reader(primary);
    Ok(Some(tallies))
}

/// What has landed, counted while another session gathers statistics: both read the whole table.
async fn landed_tally(ground: &Ground, plan: &Plan, pair: &Pair) -> Result<Tally> {
    let mut session = plan.sessions.writer(ground, &plan.lease, "count").await?;
    let rows = session.ask("counting landed rows", landing::count(pair)).await?;
    plan.sessions.keep_writer(session);
    tally(rows.first().ok_or_else(|| Error::invariant(&pair.names.landing, "a count gave no row"))?)
}

fn tally(row: &PgRow) -> Result<Tally> {
    Ok(Tally { rows: count(row, 0)?, live: count(row, 1)? })
}

fn count(row: &PgRow, at: usize) -> Result<u64> {
    row.field(at).and_then(counted).map(|count| u64::try_from(count).unwrap_or(0))
}

async fn gather_statistics(pair: &Pair, secondary: &mut Session) -> Result<()> {
    let vacuum = format!("vacuum (analyze) {}", ident(&pair.names.landing));
    secondary.execute("gathering statistics of the landing table", vacuum).await.map(|_| ())
}

/// Builds all keys and indexes of all landing tables, `parallelism` at a time.
async fn build_indexes(ground: &Arc<Ground>, plan: &Arc<Plan>) -> Result<()> {
    let mut builds: Vec<(String, IndexBuild, bool)> = Vec::new();
    for pair in &plan.pairs {
        builds.push((pair.dataset.clone(), landing::key_index(pair), true));
        if pair.existing.is_none() {
            let plain = landing::plain_indexes(pair).into_iter();
            builds.extend(plain.map(|build| (pair.dataset.clone(), build, false)));
        }
    }
    let builds = Arc::new(tokio::sync::Mutex::new(builds.into_iter()));
    let mut crew = JoinSet::new();
    for number in 0..ground.job.tuning.parallelism.max(1) {
        let (ground, plan, builds) = (Arc::clone(ground), Arc::clone(plan), Arc::clone(&builds));
        crew.spawn(async move {
            let mut session = plan.sessions.writer(&ground, &plan.lease, &format!("index {number}")).await?;
            let tuning = &ground.job.tuning;
            let means = format!(
                "set maintenance_work_mem = {}; set max_parallel_maintenance_workers = {}",
                literal(&tuning.maintenance_work_mem),
                tuning.parallelism
            );
            session.execute("setting the means of index builds", means).await?;
            loop {
                let next = builds.lock().await.next();
                let Some((dataset, build, is_key)) = next else { break };
                build_one(&ground, &plan, &mut session, &dataset, &build, is_key).await?;
            }
            plan.sessions.keep_writer(session);
            Ok::<(), Error>(())
        });
    }
    while let Some(ended) = crew.join_next().await {
        ended.map_err(|panic| Error::invariant("an index builder", panic.to_string()))??;
    }
    Ok(())
}

async fn build_one(
    ground: &Ground,
    plan: &Plan,
    session: &mut Session,
    dataset: &str,
    build: &IndexBuild,
    is_key: bool,
) -> Result<()> {
    let doing = format!("building index {} of dataset {dataset}", build.name);
    match session.execute(&doing, build.statement.clone()).await {
        Ok(_) => {}
        Err(error) if build.is_broken(&error) => {
            let pair = plan.pair(dataset)?;
            if !is_key {
                return Err(collision(session, pair).await?.unwrap_or(error));
            }
            build_over_doubles(ground, plan, session, pair, build).await?;
        }
        Err(error) => return Err(error),
    }
    let happening = Happening::Dataset { dataset: dataset.to_owned(), rows: 0 };
    ground.reach(Step::IndexBuilt, happening).await
}

/// Builds the key of rows of which some have one key: where the primary holds it live more than once, over the newest
/// versions.
///
/// # Errors
/// `Miscounted` and `KeysCoincide`, by what is the cause.
async fn build_over_doubles(
    ground: &Ground,
    plan: &Plan,
    session: &mut Session,
    pair: &Pair,
    build: &IndexBuild,
) -> Result<()> {
    let Some(found) = doubles::look(ground, plan, pair).await? else {
        return Err(doubles::explain(ground, plan, pair, session).await?);
    };
    doubles::settle(ground, plan, pair, session).await?;
    let doing = format!("building index {} over the newest versions", build.name);
    match session.execute(&doing, build.statement.clone()).await {
        Err(error) if build.is_broken(&error) => {
            return Err(doubles::explain(ground, plan, pair, session).await?);
        }
        built => built?,
    };
    // The count that follows finds them again, and says so.
    if ground.job.tuning.verify_seed == VerifySeed::Off {
        doubles::warn(ground, pair, found.keys, &found.example, plan.flight.to);
    }
    Ok(())
}

/// The error that names two landed keys with one hash, if there are two.
async fn collision(session: &mut Session, pair: &Pair) -> Result<Option<Error>> {
    let rows = session.ask("looking for keys that share a hash", landing::colliding_keys(pair)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let table = ident(&pair.names.merge);
    Ok(Some(Error::HashCollision { table, first: row.field(0)?, second: row.field(1)? }))
}

/// Brings the sweep's rows in.
async fn keep_sweep(ground: &Ground, plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<()> {
    secondary.begin().await?;
    let kept = secondary.execute("bringing in the sweep", landing::keep_sweep(pair)).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("committing the sweep").await?;
    if kept > 0 {
        tracing::debug!(
            stream = ground.stream,
            dataset = pair.dataset,
            kept,
            "the sweep brought rows that no chunk had"
        );
    }
    Ok(())
}

/// What has landed once it is what must have, and whether the primary holds keys live more than once, of which then the
/// newest version has landed.
async fn settled(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    expected: Tally,
    landed: Tally,
    secondary: &mut Session,
) -> Result<(Tally, bool)> {
    if expected.rows != landed.rows
        && let Some(found) = doubles::look(ground, plan, pair).await?
    {
        doubles::settle(ground, plan, pair, secondary).await?;
        let landed = landed_tally(ground, plan, pair).await?;
        compare_counts(pair, expected.rows.saturating_sub(found.surplus), landed.rows)?;
        doubles::warn(ground, pair, found.keys, &found.example, plan.flight.to);
        return Ok((landed, true));
    }
    compare_counts(pair, expected.rows, landed.rows)?;
    Ok((landed, false))
}

fn compare_counts(pair: &Pair, expected: u64, landed: u64) -> Result<()> {
    if expected == landed {
        return Ok(());
    }
    let seen = format!(
        "the primary has {expected} rows, {landed} landed: something updates its open versions in place or removes them"
    );
    Err(Error::Miscounted { table: pair.primary_table.clone(), seen })
}

/// Makes what has landed visible, so much of each dataset; part of the committing transaction.
///
/// # Errors
/// `HashCollision`, `TooManyDeletes` and `Diverged` where a merge table exists already.
pub(crate) async fn reveal(
    ground: &Ground,
    plan: &Plan,
    landed: &[Tally],
    secondary: &mut Session,
) -> Result<Counts> {
    if landed.len() != plan.pairs.len() {
        let what = format!("{} of {} datasets have landed", landed.len(), plan.pairs.len());
        return Err(Error::invariant("a seed", what));
    }
    let (mut total, mut dropped) = (Counts::default(), Vec::new());
    for (pair, landed) in plan.pairs.iter().zip(landed) {
        let counts = match &pair.existing {
            None => reveal_new(pair, *landed, secondary).await?,
            Some(existing) => {
                by_difference(ground, plan, pair, existing, *landed, &mut dropped, secondary).await?
            }
        };
        total.inserted += counts.inserted;
        total.updated += counts.updated;
        total.deleted += counts.deleted;
        total.total += counts.total;
        for statement in landing::create_staging(pair) {
            secondary.execute("creating the staging table", statement).await?;
        }
    }
    prove(plan, dropped, secondary).await?;
    Ok(total)
}

/// What came into tables that existed before is there; only then what has landed is forgotten.
async fn prove(plan: &Plan, dropped: Vec<String>, secondary: &mut Session) -> Result<()> {
    proof::end_deferral(secondary).await?;
    // Not sooner: a table of which a deferred constraint is still to be checked takes no index.
    for definition in dropped {
        secondary.execute("building an index again", definition).await?;
    }
    for pair in plan.pairs.iter().filter(|pair| pair.existing.is_some()) {
        proof::of_difference(plan, pair, secondary).await?;
        secondary.execute("dropping the landing table", landing::drop_landing(pair)).await?;
    }
    Ok(())
}

async fn reveal_new(pair: &Pair, landed: Tally, secondary: &mut Session) -> Result<Counts> {
    secondary.execute("bounding the wait for the landed table", limit_locks(REVEAL_LOCK_TIMEOUT)).await?;
    for statement in landing::reveal(pair) {
        secondary.execute("making the landed table visible", statement).await?;
    }
    secondary.execute("waiting for locks as usual again", "set local lock_timeout to default".into()).await?;
    Ok(Counts { inserted: landed.live, total: landed.rows, ..Counts::default() })
}

fn limit_locks(limit: Duration) -> String {
    format!("set local lock_timeout = '{}ms'", limit.as_millis())
}

/// Brings a merge table that exists to what has landed. Definitions of indexes that are to be built again are added to
/// `dropped`.
async fn by_difference(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    existing: &Table,
    landed: Tally,
    dropped: &mut Vec<String>,
    secondary: &mut Session,
) -> Result<Counts> {
    let unique_hash = existing.indexes.iter().any(|index| index.unique && index.columns == [KEY_HASH]);
    if unique_hash && let Some(error) = collision(secondary, pair).await? {
        return Err(error);
    }
    let rows = secondary.ask("counting what would be deleted", landing::would_delete(pair)).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a landing table", "a count gave no row"))?;
    let (deletes, present) = (counted(row.field(0)?)?, counted(row.field(1)?)?);
    limits::check_deletes(ground, &pair.names.merge, plan.flight.to, deletes, present)?;
    let empty = present == 0 && is_empty(pair, secondary).await?;
    // A partitioned table's indexes are more than their definition says.
    if empty && existing.kind == RelationKind::Table {
        dropped.extend(drop_plain_indexes(existing, secondary).await?);
    }
    // A mirror has rows of the past, too; what a batch did is told by its keys.
    let keys = match pair.holding {
        Holding::LiveOnly => None,
        Holding::Mirror if empty => Some(Counts { inserted: landed.live, ..Counts::default() }),
        Holding::Mirror => Some(counted_keys(pair, secondary).await?),
    };
    let difference = landing::by_difference(pair, plan.flight.local);
    let deleted = secondary.execute("removing rows that are gone", difference.delete).await?;
    let updated = secondary.execute("updating rows that differ", difference.update).await?;
    let inserted = secondary.execute("inserting rows that are new", difference.insert).await?;
    let counts = keys.unwrap_or(Counts { inserted, updated, deleted, total: 0 });
    Ok(Counts { total: landed.rows, ..counts })
}

/// Keys of a mirror that are new, changed and gone.
async fn counted_keys(pair: &Pair, secondary: &mut Session) -> Result<Counts> {
    let rows = secondary.ask("counting keys", landing::count_keys(pair)).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a landing table", "a count gave no row"))?;
    Ok(Counts { inserted: count(row, 0)?, updated: count(row, 1)?, deleted: count(row, 2)?, total: 0 })
}

async fn is_empty(pair: &Pair, secondary: &mut Session) -> Result<bool> {
    let question = format!("select 1 from {} limit 1", ident(&pair.names.merge));
    Ok(secondary.ask("looking whether the table is empty", question).await?.is_empty())
}

/// Drops the plain indexes of an empty table, if nobody is in the way and nothing hangs on them; their definitions,
/// to build them again when the rows are in.
async fn drop_plain_indexes(existing: &Table, secondary: &mut Session) -> Result<Vec<String>> {
    let plain: Vec<_> = existing.indexes.iter().filter(|index| !index.constraint && !index.unique).collect();
    if plain.is_empty() {
        return Ok(Vec::new());
    }
    secondary.execute("setting a savepoint", "savepoint indexes".into()).await?;
    let names: Vec<_> =
        plain.iter().map(|index| format!("{}.{}", ident(&existing.schema), ident(&index.name))).collect();
    let attempt = format!(
        "lock table {} in access exclusive mode nowait; drop index {}",
        existing.qualified(),
        names.join(", ")
    );
    let began = Instant::now();
    match secondary.execute("dropping plain indexes of an empty table", attempt).await {
        Ok(_) => Ok(plain.into_iter().map(|index| index.definition.clone()).collect()),
        Err(error) if error.sqlstate().is_some() => {
            tracing::debug!(%error, waited = ?began.elapsed(), "the indexes stay");
            secondary.execute("keeping the indexes", "rollback to savepoint indexes".into()).await?;
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
