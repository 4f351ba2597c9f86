//! One attempt: take the lease, take up the sync in flight or plan the next, bring it to its commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use milestream_core::milestone::PrimaryBatch;

use super::copying::Plan;
use super::ground::Ground;
use super::helpers::{self, copy_with_helpers};
use super::landing::Tally;
use super::leading::Leadership;
use super::planning::{self, Decision, Draft};
use super::replanning::{self, Cause};
use super::retry::Budget;
use super::sessions::Sessions;
use super::{
    Committed, Outcome, Until, Upstream, constraints, datasets, gathering, landing, merging, renaming,
    standing, storing, watermark,
};
use crate::error::{Error, Result};
use crate::observer::{Happening, NoticeKind, Step};
use crate::pair::Holding;
use crate::panics::caught;
use crate::postgres::sql::ident;
use crate::postgres::{Session, catalog};
use crate::schema;
use crate::shapes::Shapes;
use crate::tables::batches::{self, Counts};
use crate::tables::chunks;
use crate::tables::history::{self, Timings};
use crate::tables::lease::Lease;
use crate::tables::streams::{self, Flight};

/// Plans made for one seed before it is given up.
const PLANS_MAX: i32 = 3;

/// Runs syncs until there is a reason to stop. `led` is left with the lease under which it did.
pub(crate) async fn attempt(
    ground: &Arc<Ground>,
    until: Until,
    outcome: &mut Outcome,
    budget: &Budget,
    led: &mut Option<Lease>,
) -> Result<()> {
    let sessions = Arc::new(Sessions::begun(ground));
    let mut leadership = Leadership::begin(ground).await?;
    let lease = led.insert(leadership.lease.clone());
    let leading = lead(ground, lease, &sessions, &mut leadership.session, until, outcome, budget);
    let ended = tokio::select! {
        ended = caught("a sync", leading) => ended,
        Ok(lost) = &mut leadership.lost => Err(lost),
    };
    // What is open no more may be needed to release the lease, where connections are short.
    drop(sessions);
    leadership.end(ground, ended).await
}

async fn lead(
    ground: &Arc<Ground>,
    lease: &Lease,
    sessions: &Arc<Sessions>,
    secondary: &mut Session,
    until: Until,
    outcome: &mut Outcome,
    budget: &Budget,
) -> Result<()> {
    ground.reach(Step::Leased, Happening::Reached).await?;
    streams::go_on(secondary, &ground.tables, &ground.stream, lease.token()).await?;
    loop {
        ground.check_stop()?;
        let plan = Box::pin(next_plan(ground, lease, sessions, secondary, outcome, budget)).await?;
        let Some(plan) = plan else { break };
        let upstream = plan.upstream.clone();
        // Datasets that came are seeded inside of the next sync, not instead of it.
        let goes_on = plan.flight.beside.is_some();
        // A sync that is given up has left a watermark to go on from.
        let is_home = bring_home(ground, plan, secondary, outcome, budget).await?;
        if is_home && until == Until::OneSync && !goes_on {
            outcome.caught_up = is_newest(ground, &upstream, sessions, outcome.watermark).await;
            break;
        }
    }
    sessions.close().await;
    Ok(())
}

/// Whether the primary has nothing newer than the watermark by now, so that nobody need come again for it. A primary that
/// does not answer soon does not say so: everything is committed, and nothing is worth a long wait.
async fn is_newest(
    ground: &Ground,
    upstream: &Upstream,
    sessions: &Sessions,
    watermark: Option<PrimaryBatch>,
) -> bool {
    let newest = async {
        let mut primary = sessions.reader(ground, upstream, "plan").await?;
        let newest = planning::newest_batch(&mut primary, upstream, &ground.stream).await?;
        sessions.keep_reader(primary);
        Ok::<_, Error>(newest)
    };
    match tokio::time::timeout(ground.job.tuning.connect_timeout, newest).await {
        Ok(Ok(newest)) => newest <= watermark,
        Ok(Err(error)) => {
            tracing::debug!(%error, "whether there is a newer batch is not known");
            false
        }
        Err(_) => {
            tracing::debug!("whether there is a newer batch was not answered in time");
            false
        }
    }
}

/// The sync in flight, or else the next one, stored. `None` when there is nothing to do.
async fn next_plan(
    ground: &Arc<Ground>,
    lease: &Lease,
    sessions: &Arc<Sessions>,
    secondary: &mut Session,
    outcome: &mut Outcome,
    budget: &Budget,
) -> Result<Option<Plan>> {
    let mut row = streams::load(secondary, &ground.tables, &ground.stream).await?;
    outcome.watermark = row.watermark;
    watermark::require_own_turn(&ground.job, &row)?;
    let upstream = planning::choose_upstream(&ground.job, &row).await?;
    if row.primary.as_ref().is_some_and(|former| *former != upstream.platform) {
        renaming::adopt(ground, lease, secondary, &row, upstream).await?;
        row = streams::load(secondary, &ground.tables, &ground.stream).await?;
    }
    let mut primary = sessions.reader(ground, upstream, "plan").await?;
    standing::check(ground, lease, upstream, &mut primary, secondary, &row).await?;
    let plan = if let Some(mut flight) = row.flight {
        flight.retries += 1;
        let datasets = datasets::of_flight(&ground.job, &flight);
        let (pairs, tables) =
            planning::pairs(&ground.job, upstream, &mut primary, secondary, &datasets).await?;
        let found = Shapes::of(&pairs, &tables);
        let (lease, upstream, sessions) = (lease.clone(), upstream.clone(), Arc::clone(sessions));
        let plan = Plan::led(flight, pairs, row.generation, lease, upstream, sessions);
        match moved_shape(&plan).or_else(|| watermark::moved_since(&plan.flight, &found)) {
            None => {
                resume(ground, &plan, secondary).await?;
                Some(plan)
            }
            Some(moved) => {
                ground.notice(NoticeKind::Replanned, format!("{moved}; the sync is planned anew"));
                replanning::replan(ground, &plan, (Cause::Moved, &moved), secondary).await?
            }
        }
    } else {
        let decision = planning::decide(&ground.job, upstream, &mut primary, secondary, &row, None).await?;
        match decision {
            Decision::Nothing { why, notes, system } => {
                tell(ground, notes);
                replanning::adopt(ground, lease, &row, &system, secondary).await?;
                outcome.caught_up = true;
                outcome.why = Some(why);
                ground.reach(Step::Idle, Happening::Reached).await?;
                None
            }
            Decision::Sync(mut draft) => {
                replanning::adopt(ground, lease, &row, &draft.flight.expectation.system, secondary).await?;
                let generation = row.generation + 1;
                tell(ground, std::mem::take(&mut draft.notes));
                storing::store(ground, lease, secondary, &draft, generation, None).await?;
                let Draft { flight, pairs, .. } = *draft;
                let (lease, upstream, sessions) = (lease.clone(), upstream.clone(), Arc::clone(sessions));
                Some(Plan::led(flight, pairs, generation, lease, upstream, sessions))
            }
        }
    };
    sessions.keep_reader(primary);
    if let Some(plan) = &plan {
        report_plan(ground, plan, secondary, budget).await?;
    }
    Ok(plan)
}

/// Names the datasets that a sync leaves out.
fn tell(ground: &Ground, notes: Vec<String>) {
    for note in notes {
        ground.notice(NoticeKind::Warning, note);
    }
}

/// The first dataset that has another shape than when the plan was made, or is there only before or after: its
/// landing or staging table has the old shape.
pub(super) fn moved_shape(plan: &Plan) -> Option<Error> {
    let planned = &plan.flight.shapes;
    let found: BTreeMap<_, _> = plan.pairs.iter().map(|pair| (pair.dataset.clone(), pair.shape())).collect();
    let dataset = planned.keys().chain(found.keys()).find(|name| planned.get(*name) != found.get(*name))?;
    let shape = |shapes: &BTreeMap<_, String>| shapes.get(dataset).cloned().unwrap_or_else(|| "none".into());
    Some(Error::SchemaMoved { dataset: dataset.clone(), planned: shape(planned), found: shape(&found) })
}

async fn resume(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    helpers::dismiss(ground, plan, secondary).await?;
    // Fenced like data: an overtaken worker must not hand out chunks that the new leader is copying.
    secondary.begin().await?;
    chunks::reset_claims(secondary, &ground.tables, &plan.scope(ground)).await?;
    streams::count_retry(secondary, &ground.tables, &ground.stream).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("taking up the sync in flight").await?;
    let progress = chunks::progress(secondary, &ground.tables, &ground.stream, plan.generation).await?;
    let text = format!(
        "taking up the {} to batch {} with {} of {} chunks done",
        plan.flight.phase(),
        plan.flight.to,
        progress.done,
        progress.chunks
    );
    ground.notice(NoticeKind::Resumed, text);
    Ok(())
}

async fn report_plan(ground: &Ground, plan: &Plan, secondary: &mut Session, budget: &Budget) -> Result<()> {
    let progress = chunks::progress(secondary, &ground.tables, &ground.stream, plan.generation).await?;
    // What an earlier attempt made durable renews the retry budget.
    budget.reached(progress.done);
    ground.reach(Step::Planned, plan.happening(progress)).await
}

/// Brings a plan to its commit; whether it got there. A seed whose table changed under it is planned anew, a few times; an
/// increment is read in the order of its keys then, in one snapshot, which no such change can disturb. One that has nowhere to
/// go to any more is given up.
async fn bring_home(
    ground: &Arc<Ground>,
    plan: Plan,
    secondary: &mut Session,
    outcome: &mut Outcome,
    budget: &Budget,
) -> Result<bool> {
    let mut plan = Arc::new(plan);
    let committed = loop {
        let error = match fly(ground, &plan, secondary).await {
            Ok(committed) => break committed,
            Err(error) => error,
        };
        let Some(cause) = Cause::of(&error, &plan) else { return Err(error) };
        if cause == Cause::Refused && !replanning::is_passed(ground, &plan).await {
            return Err(error);
        }
        if cause != Cause::Refused && plan.flight.plans >= PLANS_MAX {
            if plan.flight.is_seed() {
                return Err(give_up_seed(ground, &plan, secondary, error).await?);
            }
            if cause == Cause::Lost {
                return Err(error);
            }
        }
        ground.notice(NoticeKind::Replanned, format!("{error}; {}", cause.follows(&plan)));
        match replanning::replan(ground, &plan, (cause, &error), secondary).await? {
            Some(next) => plan = Arc::new(next),
            None => return Ok(false),
        }
        report_plan(ground, &plan, secondary, budget).await?;
    };
    budget.advance();
    outcome.syncs += 1;
    outcome.committed.push(committed);
    outcome.watermark = Some(plan.flight.to);
    Ok(true)
}

/// Whoever syncs again has put an end to the cause: the plans are counted from there on.
async fn give_up_seed(ground: &Ground, plan: &Plan, secondary: &mut Session, last: Error) -> Result<Error> {
    // An error may have left a transaction of the leader's own open.
    secondary.rollback().await?;
    secondary.begin().await?;
    streams::forget_plans(secondary, &ground.tables, &ground.stream).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("giving up a seed").await?;
    let (stream, plans) = (ground.stream.clone(), plan.flight.plans);
    Ok(Error::SeedUnstable { stream, plans, last: Box::new(last) })
}

async fn fly(ground: &Arc<Ground>, plan: &Arc<Plan>, secondary: &mut Session) -> Result<Committed> {
    let began = Instant::now();
    copy_with_helpers(ground, plan, ground.job.tuning.parallelism, secondary).await?;
    let mut timings = Timings { copy_ms: millis(began), ..Timings::default() };
    ground.check_stop()?;
    let began = Instant::now();
    let landed = if plan.flight.is_seed() {
        landing::prepare(ground, plan, secondary).await?
    } else {
        gathering::prepare(ground, plan, secondary).await?;
        Vec::new()
    };
    timings.landing_ms = millis(began);
    mark_ingested(ground, plan, &landed, secondary).await?;
    commit(ground, plan, &landed, secondary, timings).await
}

async fn mark_ingested(
    ground: &Ground,
    plan: &Plan,
    landed: &[Tally],
    secondary: &mut Session,
) -> Result<()> {
    if !plan.flight.has_batch(ground.job.holding) {
        return Ok(());
    }
    let state = storing::state(ground, &plan.flight, landed.iter().map(|landed| landed.rows).sum());
    let watermark = plan.flight.watermark();
    let state = batches::BatchState { last_synced_primary_batch: watermark, ..state }.to_column()?;
    secondary.begin().await?;
    batches::ingested(secondary, &ground.tables, &ground.stream, plan.flight.local, &state).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("marking the batch ingested").await
}

/// Rows, watermark, batch, metrics and history in one transaction: readers see X or Y, never between.
async fn commit(
    ground: &Ground,
    plan: &Plan,
    landed: &[Tally],
    secondary: &mut Session,
    mut timings: Timings,
) -> Result<Committed> {
    let (tables, stream, flight) = (&ground.tables, ground.stream.as_str(), &plan.flight);
    let progress = chunks::progress(secondary, tables, stream, plan.generation).await?;
    let began = Instant::now();
    secondary.begin().await?;
    ground.reach(Step::Merging, Happening::Reached).await?;
    let counts = write_rows(ground, plan, landed, secondary).await?;
    timings.merge_ms = millis(began);
    let began = Instant::now();
    let state = storing::state(ground, flight, counts.total).to_column()?;
    if flight.has_batch(ground.job.holding) {
        batches::commit(secondary, tables, stream, flight.local, counts, &state).await?;
    }
    if flight.is_seed_of_all() && ground.job.holding == Holding::Mirror {
        batches::forget_later(secondary, tables, stream, flight.local).await?;
    }
    let versions = schema::versions(datasets::of_flight(&ground.job, flight));
    streams::land(secondary, tables, stream, flight, &versions).await?;
    chunks::clear(secondary, tables, stream).await?;
    timings.commit_ms = millis(began);
    history::record(secondary, tables, stream, flight, counts, progress, timings, &ground.worker).await?;
    let happening = Happening::Commit {
        watermark: flight.to,
        inserted: counts.inserted,
        updated: counts.updated,
        deleted: counts.deleted,
    };
    ground.reach(Step::BeforeCommit, happening.clone()).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("committing data and watermark").await?;
    ground.reach(Step::AfterCommit, happening).await?;
    Ok(committed(flight, counts, timings))
}

fn committed(flight: &Flight, counts: Counts, timings: Timings) -> Committed {
    Committed {
        kind: flight.phase(),
        from: flight.from,
        to: flight.to,
        rows_staged: counts.total,
        rows_inserted: counts.inserted,
        rows_updated: counts.updated,
        rows_deleted: counts.deleted,
        milliseconds: timings.copy_ms + timings.landing_ms + timings.merge_ms + timings.commit_ms,
    }
}

/// Keeps what the tables look like that a seed leaves: it wrote all rows of them.
async fn keep_shapes(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    let Some(shapes) = plan.flight.tables.clone() else { return Ok(()) };
    let names: Vec<_> = plan.pairs.iter().map(|pair| ident(&pair.names.merge)).collect();
    let found = catalog::find_all(secondary, &names).await?;
    let made = plan.pairs.iter().zip(&found);
    let made = made.filter_map(|(pair, table)| Some((pair.dataset.as_str(), table.as_ref()?)));
    let shapes = shapes.with_secondaries(made);
    let is_beside = plan.flight.beside.is_some();
    streams::keep_shapes(secondary, &ground.tables, &ground.stream, &shapes, is_beside).await
}

async fn write_rows(
    ground: &Ground,
    plan: &Plan,
    landed: &[Tally],
    secondary: &mut Session,
) -> Result<Counts> {
    constraints::defer(secondary).await?;
    let written = match plan.flight.from {
        None => landing::reveal(ground, plan, landed, secondary).await,
        Some(from) => merging::merge(ground, plan, from, secondary).await,
    };
    let counts = match written {
        Ok(counts) => counts,
        Err(error) => return Err(constraints::explain(error, secondary).await?),
    };
    merging::clear_old(ground, plan, secondary).await?;
    standing::keep(ground, plan, secondary).await?;
    if plan.flight.is_seed() {
        keep_shapes(ground, plan, secondary).await?;
    }
    Ok(counts)
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
