//! A primary that holds one key live more than once: a live-only secondary takes the newest version, and says so once.

use sqlx::Row;

use milestream_core::milestone::PrimaryBatch;

use super::copying::{Plan, counted};
use super::ground::Ground;
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::pair::{Holding, Pair};
use crate::postgres::Session;
use crate::postgres::copy::{Sink, pipe};
use crate::postgres::fields::Fields;
use crate::postgres::sql::ident;
use crate::statements::{doubles, seed};

/// Keys of a dataset that are live more than once as of the plan's batch.
pub(crate) struct Doubles {
    pub(crate) keys: i64,
    /// By how much their versions outnumber them.
    pub(crate) surplus: u64,
    /// One of them, with its versions.
    pub(crate) example: String,
}

/// Asks the primary for keys that are live more than once; `None` where there are none, and for a mirror, which holds
/// every version.
pub(crate) async fn look(ground: &Ground, plan: &Plan, pair: &Pair) -> Result<Option<Doubles>> {
    if pair.holding == Holding::Mirror {
        return Ok(None);
    }
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "count").await?;
    let expectation = plan.flight.expectation.for_dataset(&pair.dataset);
    let (name, question) = (ground.session_name("count"), doubles::count(pair, plan.flight.to));
    let doing = "looking for keys that are live more than once";
    let row = expectation.open_asking(&mut primary, &name, doing, &question).await?;
    primary.commit("ending a read").await?;
    plan.sessions.keep_reader(primary);
    let (keys, surplus) = (counted(row.field(0)?)?, counted(row.field(1)?)?);
    let example = row.field::<Option<String>>(2)?.unwrap_or_default();
    Ok((keys > 0).then(|| Doubles { keys, surplus: u64::try_from(surplus).unwrap_or(0), example }))
}

/// Puts the newest version of each such key into the landing table, in the place of what has landed of it.
pub(crate) async fn settle(ground: &Ground, plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<()> {
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "newest").await?;
    let expectation = plan.flight.expectation.for_dataset(&pair.dataset);
    expectation.open(&mut primary, &ground.session_name("newest")).await?;
    secondary.begin().await?;
    secondary.execute("creating a table for the newest versions", doubles::create(pair)).await?;
    let source = ground.kindness.read(&mut primary, &doubles::copy_out(pair, plan.flight.to)).await?;
    let sink = Sink::open(secondary, &seed::copy_in(pair, &doubles::table(pair))).await?;
    pipe(source, sink, |_| async { Ok(()) }).await?;
    primary.commit("ending a read").await?;
    plan.sessions.keep_reader(primary);
    secondary.execute("taking the newest versions", doubles::settle(pair)).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("committing the newest versions").await
}

/// One warning for all such keys of a dataset.
pub(crate) fn warn(ground: &Ground, pair: &Pair, keys: i64, example: &str, batch: PrimaryBatch) {
    let text = format!(
        "key {example}; of {keys} such keys of {} the newest version is taken. They are listed by: {}",
        pair.primary_table,
        doubles::list_all(pair, batch)
    );
    ground.notice(NoticeKind::Warning, text);
}

/// Why a key landed twice though the primary holds none live more than once: the secondary takes two keys for one, or an
/// open version moved while it was read.
pub(crate) async fn explain(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    secondary: &mut Session,
) -> Result<Error> {
    let rows = secondary.ask("looking for a key that landed twice", doubles::landed_twice(pair)).await?;
    let Some(row) = rows.first() else {
        let seen = "a key landed twice, so open versions moved while they were read".into();
        return Ok(Error::Miscounted { table: pair.primary_table.clone(), seen });
    };
    let texts = (0..row.len()).map(|at| row.field(at)).collect::<Result<Vec<String>>>()?;
    let (one, other) = texts.split_at(pair.key.len());
    if one != other && !are_equal(ground, plan, pair, one, other).await? {
        let (table, first, second) = (ident(&pair.names.merge), one.join(", "), other.join(", "));
        return Ok(Error::KeysCoincide { table, first, second });
    }
    let seen = format!("key ({}) landed twice, so its open version moved while it was read", one.join(", "));
    Ok(Error::Miscounted { table: pair.primary_table.clone(), seen })
}

async fn are_equal(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    one: &[String],
    other: &[String],
) -> Result<bool> {
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "count").await?;
    let rows = primary.ask("comparing two keys", doubles::are_equal(pair, one, other)).await?;
    plan.sessions.keep_reader(primary);
    rows.first().map_or(Ok(true), |row| Ok(row.field::<Option<&str>>(0)? == Some("true")))
}
