//! What follows an error: another try after a pause, or a halt whose reason `status` shows.

use super::ground::{Charge, Ground};
use super::retry::Budget;
use crate::error::{Class, Error, Result};
use crate::observer::NoticeKind;
use crate::postgres::Session;
use crate::tables::lease::Lease;
use crate::tables::streams;

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
    if error.class() != Class::Transient {
        if matches!(error.class(), Class::Blocked | Class::Bug) {
            record_halt(ground, led, &error).await;
        }
        return Err(error);
    }
    if budget.progress() != progress_before {
        budget.renew();
    }
    let pause = match budget.spend(error) {
        Ok(pause) => pause,
        Err(spent) => {
            record_halt(ground, led, &spent).await;
            return Err(spent);
        }
    };
    let (tries, last) = (budget.tries(), budget.last());
    ground.notice(NoticeKind::Retry, format!("{last}; try {tries} follows in {} ms", pause.as_millis()));
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = ground.stop.cancelled() => Err(Error::Stopped),
    }
}

/// Leaves the reason where `status` finds it; a store that cannot be reached keeps the reason from us too. Whoever
/// never led, or was overtaken since, has no say in why the stream stands.
async fn record_halt<J: Charge>(ground: &Ground<J>, led: Option<&Lease>, error: &Error) {
    let Some(lease) = led else { return };
    let job = &ground.job;
    let patience = job.tuning().reading_patience();
    let Ok(mut session) = Session::connect(job.store(), "halt", patience).await else { return };
    let reason = format!("{error}. What to do: {}", error.advice_for(&ground.stream_name()));
    let halted = streams::halt(&mut session, &ground.tables, &ground.stream, lease.token(), &reason).await;
    if let Err(unrecorded) = halted {
        tracing::debug!(%unrecorded, "the reason of a halt could not be recorded");
    }
    session.close().await;
}
