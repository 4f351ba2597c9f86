//! A bound on the bytes a second that all copies of a sync together read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BUFFER_BYTES, Watched};

/// Unused time that may be made up for: a wait ends a little late, and nobody is to pay for that.
const CREDIT_MAX: Duration = Duration::from_millis(100);
/// Longest wait for one payment, well below the `tcp_user_timeout` that ends the connection of a client that does not
/// read. Only a huge value at a tiny rate costs more; what is left of its price is paid with the values after it.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest time for which one statement is slowed down in all: every read is bounded, this one too.
const SLOWED_MAX: Duration = Duration::from_secs(24 * 3600);

/// So many bytes a second, whoever reads them.
///
/// A token bucket told by time: `due` is when all that was let through is paid for, and whoever wants to pass moves it
/// on by the price of its bytes and waits until then. So waiters pass in the order in which they came.
pub(crate) struct Rate {
    bytes_per_second: f64,
    due: Mutex<Instant>,
    /// Whoever is asked to stop finishes the chunk in hand, and for that no longer waits.
    stop: CancellationToken,
}

impl Rate {
    /// The bound in megabytes, of a million bytes, a second.
    pub(crate) fn of(megabytes_per_second: f64, stop: CancellationToken) -> Rate {
        Rate { bytes_per_second: megabytes_per_second * 1e6, due: Mutex::new(Instant::now()), stop }
    }

    /// Lets bytes pass when their time has come; how long that took. Dropping the wait is safe: they count as passed.
    async fn pay(&self, bytes: usize) -> Duration {
        let began = Instant::now();
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = moved_on(*due, began, self.price(bytes));
            *due
        };
        let wait = due.saturating_duration_since(began).min(WAIT_MAX);
        if wait.is_zero() {
            return wait;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
        }
        began.elapsed()
    }

    #[expect(clippy::cast_precision_loss, reason = "a price of bytes, not a count of them")]
    fn price(&self, bytes: usize) -> Duration {
        Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or(WAIT_MAX)
    }
}

fn moved_on(due: Instant, now: Instant, price: Duration) -> Instant {
    let earliest = now.checked_sub(CREDIT_MAX).unwrap_or(now);
    due.max(earliest) + price
}

/// The bound of a server on a statement that is slowed down: its own, and the time for which it may be made to wait.
pub(crate) fn statement_bound(statement: Duration) -> Duration {
    let most = Duration::from_millis(i32::MAX.unsigned_abs().into());
    statement.saturating_add(SLOWED_MAX).min(most)
}

/// What one slowed read owes, and how long it has been waiting.
pub(super) struct Slowed {
    rate: Arc<Rate>,
    unpaid_bytes: usize,
    began: Instant,
    waited: Duration,
    /// Bound on what the read takes without its waits; zero for none.
    statement: Duration,
    is_cancelled: bool,
}

impl Slowed {
    pub(super) fn new(rate: &Arc<Rate>, statement: Duration) -> Slowed {
        Slowed {
            rate: Arc::clone(rate),
            unpaid_bytes: 0,
            began: Instant::now(),
            waited: Duration::ZERO,
            statement,
            is_cancelled: false,
        }
    }

    /// Takes account of bytes that were read; `None` at their end, where the rest is paid for.
    ///
    /// The server counts waits against its `statement_timeout`, so that is set longer ([`statement_bound`]) and the
    /// time which the server itself takes is counted here. A read that takes too long is cancelled; the server's answer
    /// to that is the error.
    pub(super) async fn took(&mut self, bytes: Option<usize>, watched: &Watched) {
        self.unpaid_bytes += bytes.unwrap_or(0);
        if bytes.is_some() && self.unpaid_bytes < BUFFER_BYTES {
            return;
        }
        self.waited += self.rate.pay(std::mem::take(&mut self.unpaid_bytes)).await;
        let took = self.began.elapsed().saturating_sub(self.waited);
        let is_over = !self.statement.is_zero() && took > self.statement;
        if bytes.is_some() && is_over && !self.is_cancelled {
            self.is_cancelled = watched.vigil().cancel().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bytes_per_second: f64) -> Rate {
        Rate::of(bytes_per_second / 1e6, CancellationToken::new())
    }

    #[test]
    fn what_passes_is_paid_for_from_the_first_byte_on() {
        let now = Instant::now();
        let due = moved_on(now, now, Duration::from_secs(2));
        assert_eq!(due, now + Duration::from_secs(2));
        assert_eq!(
            moved_on(due, now + Duration::from_secs(1), Duration::from_secs(3)),
            due + Duration::from_secs(3)
        );
    }

    #[test]
    fn little_of_the_time_that_nobody_used_is_made_up_for() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        assert_eq!(moved_on(now, later, Duration::from_secs(2)), later - CREDIT_MAX + Duration::from_secs(2));
    }

    #[test]
    fn a_price_is_bytes_by_rate_and_never_for_ever() {
        assert_eq!(rate(1000.0).price(2500), Duration::from_millis(2500));
        assert_eq!(rate(1e-30).price(1), WAIT_MAX);
    }

    #[tokio::test]
    async fn several_together_take_as_long_as_one_would() {
        let rate = Arc::new(rate(100_000.0));
        let began = Instant::now();
        let all = (0..4).map(|_| {
            let rate = Arc::clone(&rate);
            tokio::spawn(async move {
                for _ in 0..5 {
                    rate.pay(1000).await;
                }
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(199), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn nobody_waits_who_was_asked_to_stop() {
        let rate = rate(1.0);
        rate.stop.cancel();
        let began = Instant::now();
        rate.pay(1_000_000).await;
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_server_can_hold_the_bound_of_a_slowed_statement() {
        assert_eq!(statement_bound(Duration::from_secs(3600)), Duration::from_secs(25 * 3600));
        assert_eq!(statement_bound(Duration::MAX).as_millis(), 2_147_483_647);
    }
}
