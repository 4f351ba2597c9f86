//! Kindness to the database that is read: a bound on the rate, and pauses while it has enough to do.
//!
//! Rows are slowed down where they are read, in the middle of a chunk. Pauses are made between reads only, when no
//! transaction is open: one that waits holds up vacuuming, and locks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::copying::counted;
use super::ground::Ground;
use super::job::Tuning;
use crate::config::Size;
use crate::error::{Error, Result};
use crate::observer::NoticeKind;
use crate::postgres::Session;
use crate::postgres::copy::{Rate, Source};
use crate::postgres::fields::Fields;
use crate::postgres::session_name::PREFIX;
use crate::postgres::sql::{ident, literal};

/// How long an answer about the load holds for all workers.
const FRESH: Duration = Duration::from_secs(3);
/// Time between two questions of whoever pauses.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a sync does for the database that it reads. One for all attempts and workers.
pub(crate) struct Kindness {
    rate: Option<Arc<Rate>>,
    bounds: Bounds,
    gate: Mutex<Gate>,
}

/// The load beyond which copies pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    replication_lag_bytes: Option<u64>,
    active_sessions: Option<u64>,
}

/// Where the workers wait for one another while one of them looks.
#[derive(Default)]
struct Gate {
    /// When the load was last found to be within its bounds.
    passed: Option<Instant>,
    /// Set once the load cannot be seen; then nobody looks again.
    is_blind: bool,
}

/// What a server says of its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    /// Of the replica that is farthest behind in replaying; 0 where there is none.
    replication_lag_bytes: u64,
    /// Milestream's own apart.
    active_sessions: u64,
}

impl Kindness {
    pub(crate) fn of(tuning: &Tuning, stop: &CancellationToken) -> Kindness {
        let bounds = Bounds {
            replication_lag_bytes: tuning.pause_replication_lag,
            active_sessions: tuning.pause_active_sessions,
        };
        let rate = tuning.max_rate.map(|rate| Arc::new(Rate::of(rate, stop.clone())));
        Kindness { rate, bounds, gate: Mutex::default() }
    }

    /// Opens a copy out of the database, within the rate. Part of a transaction.
    ///
    /// # Errors
    /// Those of the server.
    pub(crate) async fn read<'s>(&self, session: &'s mut Session, statement: &str) -> Result<Source<'s>> {
        match &self.rate {
            None => Source::open(session, statement).await,
            Some(rate) => Source::open_slowed(session, statement, rate).await,
        }
    }
}

impl<J> Ground<J> {
    /// Waits as long as the database has more to do than the settings allow. To be called before a read is opened; it
    /// asks nothing where nothing is set, and else at most every few seconds.
    ///
    /// A pause has no bound of its own: it is over when the load is, when the worker is asked to stop, or, since it is
    /// then dropped, when the lease is lost.
    ///
    /// # Errors
    /// `Stopped`; those of the server.
    pub(crate) async fn wait_for_leave(&self, session: &mut Session) -> Result<()> {
        let Kindness { bounds, gate, .. } = &self.kindness;
        if *bounds == Bounds::default() {
            return Ok(());
        }
        let mut gate = gate.lock().await;
        let mut is_paused = false;
        loop {
            self.check_stop()?;
            if gate.is_blind || gate.passed.is_some_and(|passed| passed.elapsed() < FRESH) {
                return Ok(());
            }
            let Some(load) = look(session).await? else {
                gate.is_blind = true;
                self.notice(NoticeKind::Warning, blindness(session));
                return Ok(());
            };
            match (bounds.excess(load), is_paused) {
                (None, was_paused) => {
                    if was_paused {
                        let text = format!("{} has less to do: the copy goes on", session.endpoint);
                        self.notice(NoticeKind::GoesOn, text);
                    }
                    gate.passed = Some(Instant::now());
                    return Ok(());
                }
                (Some(excess), false) => {
                    is_paused = true;
                    self.notice(
                        NoticeKind::Paused,
                        format!("{} {excess}: the copy pauses", session.endpoint),
                    );
                }
                (Some(_), true) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => return Err(Error::Stopped),
            }
        }
    }
}

impl Bounds {
    /// What is too much of the load, if anything is.
    fn excess(self, load: Load) -> Option<String> {
        let Load { replication_lag_bytes: lag, active_sessions: sessions } = load;
        if let Some(bound) = self.replication_lag_bytes
            && lag > bound
        {
            let (lag, bound) = (Size::of(lag), Size::of(bound));
            return Some(format!("has a replica that is {lag} behind, more than {bound}"));
        }
        match self.active_sessions {
            Some(bound) if sessions > bound => {
                Some(format!("has {sessions} active sessions, more than {bound}"))
            }
            _ => None,
        }
    }
}

/// The load; `None` where this role may not see it.
async fn look(session: &mut Session) -> Result<Option<Load>> {
    let rows = session.ask("asking for the load", question()).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("the load", "a count gave no row"))?;
    if row.field::<&str>(0)? != "true" {
        return Ok(None);
    }
    let count = |at: usize| row.field(at).and_then(counted).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Some(Load { replication_lag_bytes: count(1)?, active_sessions: count(2)? }))
}

/// Lag in bytes, not in time: the view's times are those of the last answer, and stand still with a replica that does.
/// Who replays nothing (a base backup, an archiver) is not behind. A standby that is read has replicas of its own.
fn question() -> String {
    format!(
        "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')::text, \
         (select coalesce(max(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() \
         else pg_current_wal_lsn() end, replay_lsn)), 0)::bigint::text from pg_stat_replication), \
         (select count(*)::text from pg_stat_activity where state = 'active' and backend_type = 'client backend' \
         and not starts_with(coalesce(application_name, ''), {}))",
        literal(PREFIX)
    )
}

fn blindness(session: &Session) -> String {
    let user = &session.endpoint.user;
    format!(
        "{user} may not see the load of {}, so the copy does not pause for it; as a superuser there, run: \
         GRANT pg_read_all_stats TO {};",
        session.endpoint,
        ident(user)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excess(lag: Option<u64>, sessions: Option<u64>, load: (u64, u64)) -> Option<String> {
        let bounds = Bounds { replication_lag_bytes: lag, active_sessions: sessions };
        bounds.excess(Load { replication_lag_bytes: load.0, active_sessions: load.1 })
    }

    #[test]
    fn a_load_up_to_its_bounds_is_none() {
        assert_eq!(excess(Some(1024), Some(5), (1024, 5)), None);
        assert_eq!(excess(Some(0), Some(0), (0, 0)), None);
    }

    #[test]
    fn a_load_beyond_a_bound_is_told_with_both() {
        assert_eq!(
            excess(Some(16 << 20), None, ((16 << 20) + 1, 0)).unwrap(),
            "has a replica that is 16385kB behind, more than 16MB"
        );
        assert_eq!(excess(None, Some(5), (0, 6)).unwrap(), "has 6 active sessions, more than 5");
    }

    #[test]
    fn what_is_not_bounded_is_no_excess() {
        assert_eq!(excess(None, Some(5), (u64::MAX, 5)), None);
        assert_eq!(excess(Some(5), None, (5, u64::MAX)), None);
    }
}
