//! What follows an error: another try after a pause, or a standstill whose reason `status` shows.

use super::ground::{Charge, Ground};
use super::retry::Budget;
use crate::error::{Class, Error, Result};
use crate::foresight;
use crate::observer::NoticeKind;
use crate::postgres::Session;
use crate::tables::lease::Lease;
use crate::tables::streams::{self, Standstill};

/// Waits until the next try is due. `progress_before` is what [`Budget::progress`] said before the try that failed,
/// `led` the lease under which the worker led last, if it ever did.
///
/// # Errors
/// The error itself when another try would not help, `BudgetSpent` when there were enough, `Stopped`.
pub(crate) async fn recover<J: Charge>(
    ground: &Ground<J>,
    budget: &mut Budget,
    progress_before: u64,
    led: Option<&Lease>,
    error: Error,
) -> Result<()> {
    let error = foresight::explained(&*ground.job, error).await;
    if error.class() != Class::Transient {
        if matches!(error.class(), Class::Blocked | Class::Bug) {
            record(ground, led, &error, Standstill::Halted).await;
        }
        return Err(error);
    }
    // What it waited for was cancelled, or would only be tried again.
    if ground.stop.is_cancelled() {
        return Err(Error::Stopped);
    }
    if budget.progress() != progress_before {
        budget.renew();
    }
    if !is_ours_to_find_out(ground, budget, &error) {
        // The next try waits for what another stream finds out.
        return match ground.wait_for_servers_of(&error).await {
            Err(known) if known.class() == Class::Transient => {
                record(ground, led, &known, Standstill::Waiting).await;
                Err(known)
            }
            waited => waited,
        };
    }
    let pause = match budget.spend(error) {
        Ok(pause) => pause,
        Err(spent) => {
            // Whatever was tried so often heals by itself, or was not the stream's to mend.
            record(ground, led, &spent, Standstill::Waiting).await;
            return Err(spent);
        }
    };
    let (tries, last) = (budget.tries(), budget.last());
    ground.notice(NoticeKind::Retry, format!("{last}; try {tries} follows in {} ms", pause.as_millis()));
    tokio::select! {
        () = ground.peer.aside(tokio::time::sleep(pause)) => Ok(()),
        () = ground.stop.cancelled() => Err(Error::Stopped),
    }
}

/// Whether the stream spends its own budget on an error: of the streams whose server cannot be reached one does.
fn is_ours_to_find_out<J: Charge>(ground: &Ground<J>, budget: &mut Budget, error: &Error) -> bool {
    let Some(endpoint) = ground.unreachable(error) else {
        budget.turn_to(None);
        return true;
    };
    if !budget.inquires(&endpoint) {
        budget.turn_to(None);
        budget.turn_to(ground.peer.inquire(&endpoint, ground.job.tuning().retry_window));
    }
    budget.inquires(&endpoint)
}

/// Leaves the reason where `status` finds it; a store that cannot be reached keeps the reason from us too. Whoever
/// never led, or was overtaken since, has no say in why the stream stands.
async fn record<J: Charge>(
    ground: &Ground<J>,
    led: Option<&Lease>,
    error: &Error,
    standstill: impl FnOnce(String) -> Standstill,
) {
    let Some(lease) = led else { return };
    let job = &ground.job;
    let patience = job.tuning().reading_patience();
    let Ok(mut session) = Session::connect(job.store(), "halt", patience).await else { return };
    let why = standstill(format!("{error}. What to do: {}", error.advice_for(&ground.stream_name())));
    let (tables, stream) = (&ground.tables, &ground.stream);
    let recorded = streams::stand_still(&mut session, tables, stream, lease.token(), &why).await;
    if let Err(unrecorded) = recorded {
        tracing::debug!(%unrecorded, "why the stream stands could not be recorded");
    }
    session.close().await;
}
