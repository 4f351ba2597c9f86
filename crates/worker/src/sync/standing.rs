//! Whether the merge tables are still those of the watermark. One that was truncated, restored, or dropped and made again
//! empty takes increments of new rows without a word, and an idle stream would never look.
//!
//! Their files tell at the cost of a question. Where one has moved the rows are counted once, on both sides: VACUUM FULL
//! moves a file too, and takes nothing away. The primary's history counts as of any batch, however far it has moved on.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;

use milestream_core::milestone::PrimaryBatch;

use super::copying::{Plan, counted};
use super::datasets::{self, Roster};
use super::ground::Ground;
use super::job::{Job, Upstream};
use super::{drafting, planning};
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::pair::{Holding, Pair, SecondaryNames};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::read::{Expectation, SYSTEM, metrics_table};
use crate::postgres::sql::ident;
use crate::statements::{doubles, proof, seed};
use crate::tables::lease::Lease;
use crate::tables::merge_files;
use crate::tables::streams::StreamRow;

/// Looks before anything is planned, or said to be up to date.
///
/// # Errors
/// `Diverged` where a table does not have as many rows as the watermark's batch.
pub(crate) async fn check(
    ground: &Ground,
    lease: &Lease,
    upstream: &Upstream,
    primary: &mut Session,
    secondary: &mut Session,
    row: &StreamRow,
) -> Result<()> {
    let (Some(watermark), Some(identity)) = (row.watermark, &row.identity) else { return Ok(()) };
    // What came since, or left, is none of the watermark's.
    let held = Roster::of(&ground.job, row).held;
    let names = merge_tables(&ground.job, held.iter());
    let moved = merge_files::moved(secondary, &ground.tables, &ground.stream, &names).await?;
    if moved.is_empty() {
        return Ok(());
    }
    let held = datasets::named(&ground.job, &held);
    let (pairs, tables) = planning::pairs(&ground.job, upstream, primary, secondary, &held).await?;
    let relations = pairs.iter().zip(tables);
    let expectation = Expectation {
        system: system(primary).await?,
        metrics_table: metrics_table(&upstream.platform),
        stream_key: ground.stream.clone(),
        batches: vec![identity.batch.clone()],
        relations: relations.map(|(pair, table)| drafting::relation(pair, &table)).collect(),
        position: None,
    };
    for pair in pairs.iter().filter(|pair| moved.contains(&pair.dataset)) {
        compare(ground, &expectation, pair, watermark, primary, secondary).await?;
    }
    secondary.begin().await?;
    merge_files::note(secondary, &ground.tables, &ground.stream, &names).await?;
    lease.fence(secondary).await?;
    secondary.commit("noting the files of the merge tables").await
}

/// Looks again in the transaction that moves the watermark, once every table has been written to, and notes the files
/// for the next sync.
///
/// # Errors
/// `Diverged`.
pub(crate) async fn keep(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    let names = merge_tables(&ground.job, plan.pairs.iter().map(|pair| &pair.dataset));
    if !plan.flight.is_seed() {
        let moved = merge_files::moved(secondary, &ground.tables, &ground.stream, &names).await?;
        for pair in plan.pairs.iter().filter(|pair| moved.contains(&pair.dataset)) {
            let mut primary = plan.sessions.reader(ground, &plan.upstream, "count").await?;
            compare(ground, &plan.flight.expectation, pair, plan.flight.to, &mut primary, secondary).await?;
            plan.sessions.keep_reader(primary);
        }
    }
    merge_files::note(secondary, &ground.tables, &ground.stream, &names).await
}

fn merge_tables<'d>(job: &Job, datasets: impl Iterator<Item = &'d String>) -> BTreeMap<String, String> {
    let name = |dataset: &str| SecondaryNames::of(&job.platform, &job.stream.store, dataset).merge;
    datasets.map(|dataset| (dataset.clone(), name(dataset))).collect()
}

async fn system(primary: &mut Session) -> Result<String> {
    let rows = primary.ask("asking who the primary is", format!("select {SYSTEM}")).await?;
    let system = rows.first().map(|row| row.field::<Option<String>>(0)).transpose()?;
    Ok(system.flatten().unwrap_or_default())
}

/// In how many rows a table that was written to differs from the primary as of the plan's batch, in words; `None` where
/// there are as many.
pub(crate) async fn differing(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    secondary: &mut Session,
) -> Result<Option<String>> {
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "count").await?;
    let expectation = &plan.flight.expectation;
    let (held, wanted) = counts(ground, expectation, pair, plan.flight.to, &mut primary, secondary).await?;
    plan.sessions.keep_reader(primary);
    Ok(differs(pair, held, wanted).then(|| in_words(held, wanted, plan.flight.to)))
}

/// Whether rows, and live ones among them, are not those of the primary. A mirror keeps what the primary has pruned.
fn differs(pair: &Pair, held: (i64, i64), wanted: (i64, i64)) -> bool {
    match pair.holding {
        Holding::LiveOnly => held != wanted,
        Holding::Mirror => held.1 != wanted.1 || held.0 < wanted.0,
    }
}

async fn compare(
    ground: &Ground,
    expectation: &Expectation,
    pair: &Pair,
    batch: PrimaryBatch,
    primary: &mut Session,
    secondary: &mut Session,
) -> Result<()> {
    let table = ident(&pair.names.merge);
    if pair.existing.is_none() {
        let seen = format!("there is no such table, though the stream holds batch {batch}");
        return Err(Error::Diverged { table, seen, hooks: Vec::new() });
    }
    let (held, wanted) = counts(ground, expectation, pair, batch, primary, secondary).await?;
    if !differs(pair, held, wanted) {
        let text =
            format!("{table} was rewritten or made again since the last sync, and has all {} rows", held.0);
        ground.notice(NoticeKind::Warning, text);
        return Ok(());
    }
    let differing = in_words(held, wanted, batch);
    let seen = format!("it was emptied, restored or made again since the last sync, and has {differing}");
    Err(Error::Diverged { table, seen, hooks: Vec::new() })
}

fn in_words(held: (i64, i64), wanted: (i64, i64), batch: PrimaryBatch) -> String {
    format!(
        "{} rows ({} of them live) where the primary has {} ({}) as of batch {batch}",
        held.0, held.1, wanted.0, wanted.1
    )
}

/// Rows, and live ones among them, that the secondary has, and that it must have as of a batch.
async fn counts(
    ground: &Ground,
    expectation: &Expectation,
    pair: &Pair,
    batch: PrimaryBatch,
    primary: &mut Session,
    secondary: &mut Session,
) -> Result<((i64, i64), (i64, i64))> {
    let rows = secondary.ask("counting the rows of a merge table", proof::held(pair)).await?;
    let held = rows.first().map_or(Ok((0, 0)), pair_of_counts)?;
    let (name, expectation) = (ground.session_name("count"), expectation.for_dataset(&pair.dataset));
    let question = seed::count(pair, batch);
    let row = expectation.open_asking(primary, &name, "counting the primary's rows", &question).await?;
    let mut wanted = pair_of_counts(&row)?;
    if held != wanted && pair.holding == Holding::LiveOnly {
        let question = doubles::count(pair, batch);
        let doubled = primary.ask("looking for keys that are live more than once", question).await?;
        let surplus = doubled.first().map_or(Ok(0), |row| counted(row.field(1)?))?;
        wanted = (wanted.0 - surplus, wanted.1 - surplus);
    }
    primary.commit("ending a read").await?;
    Ok((held, wanted))
}

fn pair_of_counts(row: &PgRow) -> Result<(i64, i64)> {
    Ok((counted(row.field(0)?)?, counted(row.field(1)?)?))
}
