//! Another plan in the place of one: its tables changed, its primary is not what it was, or its batch is refused.
//!
//! Nothing of Y has been merged before the commit, so an increment is never bound to its Y: from the watermark any later
//! batch will do.

use std::sync::Arc;

use super::copying::Plan;
use super::ground::Ground;
use super::planning::{self, Decision, Draft, Former};
use super::{helpers, storing};
use crate::error::{Class, Error, Result};
use crate::observer::NoticeKind;
use crate::postgres::Session;
use crate::postgres::read::{self, Position};
use crate::tables::lease::Lease;
use crate::tables::primary_batches::{self, BatchesFrom};
use crate::tables::streams::{self, StreamRow};

/// Integrity constraint violations, which rows of a later batch may well not meet.
const CONSTRAINT_CLASS: &str = "23";

/// Why another plan takes the place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Columns, types or the key are others than when it was made.
    Moved,
    /// The table did not hold still while it was read.
    Disturbed,
    /// The primary's batches, or the primary, are others than when it was made.
    Lost,
    /// What Y brings is refused, and the primary has gone on to a later batch.
    Refused,
}

impl Cause {
    /// `None` where another plan would not help.
    pub(super) fn of(error: &Error, plan: &Plan) -> Option<Cause> {
        match error {
            // A seed has nothing to lose; of an increment the watermark is compared once more when it is planned.
            Error::PrimaryReset { .. } => Some(Cause::Lost),
            Error::TooManyDeletes { .. } | Error::HashCollision { .. } => Some(Cause::Refused),
            Error::Diverged { .. } if !plan.flight.is_seed() => Some(Cause::Refused),
            Error::SchemaMoved { .. } => Some(Cause::Moved),
            error if error.class() == Class::Replan => Some(Cause::Disturbed),
            error if error.sqlstate().is_some_and(|code| code.starts_with(CONSTRAINT_CLASS)) => {
                Some(Cause::Refused)
            }
            _ => None,
        }
    }

    /// What is done about it, for whoever reads.
    pub(super) fn follows(self, plan: &Plan) -> &'static str {
        match (self, plan.flight.is_seed()) {
            (Cause::Refused, _) => {
                "the primary has gone on since, and the sync is planned anew to its newest batch"
            }
            (_, true) => "the seed is planned anew",
            (Cause::Disturbed, false) => "the increment is read in the order of its keys instead",
            (Cause::Moved | Cause::Lost, false) => "the increment is planned anew from its watermark",
        }
    }
}

/// Whether the primary has committed a batch later than the plan's; not where it cannot be asked.
pub(super) async fn is_passed(ground: &Ground, plan: &Plan) -> bool {
    let newest = async {
        let mut primary = plan.sessions.reader(ground, &plan.upstream, "plan").await?;
        let metrics = &plan.flight.expectation.metrics_table;
        let newest = BatchesFrom::Newest;
        let (_, newest) = primary_batches::committed(&mut primary, metrics, &ground.stream, newest).await?;
        plan.sessions.keep_reader(primary);
        Ok::<_, Error>(newest.last().map(|batch| batch.batch))
    };
    newest.await.is_ok_and(|newest| newest > Some(plan.flight.to))
}

/// A new plan for the same sync: X of a seed is chosen anew, and Y of an increment; the local batch stays where it can.
/// `None` where an increment has nowhere to go to any more, and was given up.
pub(super) async fn replan(
    ground: &Ground,
    old: &Plan,
    (cause, error): (Cause, &Error),
    secondary: &mut Session,
) -> Result<Option<Plan>> {
    // An error may have left a transaction of the leader's own open.
    secondary.rollback().await?;
    helpers::withdraw(ground, old, secondary).await?;
    let mut row = streams::load(secondary, &ground.tables, &ground.stream).await?;
    row.flight = None;
    let mut primary = old.sessions.reader(ground, &old.upstream, "plan").await?;
    if let Error::Rewritten { position: Some(seen), .. } = error {
        // A standby that has not come there yet would show the former file, and be planned on.
        read::wait_for_standby(&mut primary, &Position(seen.to_string())).await?;
    }
    let (was_disturbed, was_refused) = (cause == Cause::Disturbed, cause == Cause::Refused);
    let former = Former { flight: &old.flight, was_disturbed, was_refused };
    let decision =
        planning::decide(&ground.job, &old.upstream, &mut primary, secondary, &row, Some(former)).await?;
    let Decision::Sync(draft) = decision else {
        if old.flight.beside.is_some() {
            // Datasets that came are gone again.
            old.sessions.keep_reader(primary);
            crate::reset::throw_away(ground, &old.lease, secondary).await?;
            return Ok(None);
        }
        if old.flight.is_seed() || primary.facts.in_recovery {
            return Err(gone(&primary, old));
        }
        give_up(ground, old, secondary).await?;
        return Ok(None);
    };
    old.sessions.keep_reader(primary);
    adopt(ground, &old.lease, &row, &draft.flight.expectation.system, secondary).await?;
    let generation = old.generation + 1;
    storing::store(ground, &old.lease, secondary, &draft, generation, Some(old.flight.local)).await?;
    let Draft { flight, pairs, .. } = *draft;
    let (lease, upstream, sessions) = (old.lease.clone(), old.upstream.clone(), Arc::clone(&old.sessions));
    Ok(Some(Plan::led(flight, pairs, generation, lease, upstream, sessions)))
}

/// The batch that a sync was going to is not there any more, nor any other to go to.
fn gone(primary: &Session, old: &Plan) -> Error {
    let (endpoint, batch) = (primary.endpoint.to_string(), old.flight.to);
    if primary.facts.in_recovery {
        return Error::Lagging { endpoint, batch };
    }
    let watermark = old.flight.from.unwrap_or(batch);
    Error::PrimaryReset { endpoint, watermark, seen: format!("batch {batch} is gone from batch_metrics") }
}

/// Gives an increment up whose batch the primary has lost, and forgets what was staged for it.
async fn give_up(ground: &Ground, old: &Plan, secondary: &mut Session) -> Result<()> {
    storing::drop_flight(ground, old, secondary).await?;
    let text = format!(
        "batch {} is gone from the primary; nothing of it was merged, and it is given up",
        old.flight.to
    );
    ground.notice(NoticeKind::Replanned, text);
    Ok(())
}

/// Takes the server that was reached for the stream's primary, once its history has been found to be the same.
pub(super) async fn adopt(
    ground: &Ground,
    lease: &Lease,
    row: &StreamRow,
    system: &str,
    secondary: &mut Session,
) -> Result<()> {
    let Some(identity) = row.identity.as_ref().filter(|identity| identity.system != system) else {
        return Ok(());
    };
    secondary.begin().await?;
    streams::adopt(secondary, &ground.tables, &ground.stream, system).await?;
    lease.fence(secondary).await?;
    secondary.commit("noting where the primary is").await?;
    let text = format!(
        "the primary is another server or database with the same history: it was {}, and {system} is taken for it from now on",
        identity.system
    );
    ground.notice(NoticeKind::Warning, text);
    Ok(())
}
