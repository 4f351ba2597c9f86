//! A copy whose rows come past the driver, with what the driver has to say of its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;

/// Rows in pieces cut anywhere, then the driver's end of the copy: nothing, or an error.
pub(super) struct Bypassed<'a> {
    rows: mpsc::Receiver<Bytes>,
    driven: BoxStream<'a, sqlx::Result<Bytes>>,
    /// The driver's end, when it came before the last row was taken.
    ended: Option<Option<sqlx::Result<Bytes>>>,
}

impl<'a> Bypassed<'a> {
    pub(super) fn new(rows: mpsc::Receiver<Bytes>, driven: BoxStream<'a, sqlx::Result<Bytes>>) -> Self {
        Bypassed { rows, driven, ended: None }
    }
}

impl Stream for Bypassed<'_> {
    type Item = sqlx::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.rows.poll_recv(context) {
            Poll::Ready(Some(rows)) => return Poll::Ready(Some(Ok(rows))),
            Poll::Ready(None) => {}
            Poll::Pending => {
                // The driver reads on meanwhile: notices that it did not take would hold up the rows behind them.
                if self.ended.is_none()
                    && let Poll::Ready(ended) = self.driven.poll_next_unpin(context)
                {
                    self.ended = Some(ended);
                }
                return Poll::Pending;
            }
        }
        match self.ended.take() {
            Some(ended) => Poll::Ready(ended),
            None => self.driven.poll_next_unpin(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::stream;

    use super::*;

    fn broken() -> sqlx::Result<Bytes> {
        Err(sqlx::Error::PoolClosed)
    }

    #[test]
    fn an_end_that_the_driver_has_early_waits_for_the_last_rows() {
        let (taker, rows) = mpsc::channel(1);
        let mut copy = Bypassed::new(rows, stream::iter([broken()]).boxed());
        assert!(copy.next().now_or_never().is_none(), "rows may still come");
        taker.try_send(Bytes::from_static(b"last")).unwrap();
        drop(taker);
        let taken = copy.next().now_or_never().flatten().unwrap().unwrap();
        assert_eq!(taken, "last");
        assert!(matches!(copy.next().now_or_never().flatten(), Some(Err(sqlx::Error::PoolClosed))));
    }

    #[test]
    fn rows_that_stop_are_no_end_before_the_driver_has_one() {
        let (taker, rows) = mpsc::channel(1);
        let mut copy = Bypassed::new(rows, stream::pending().boxed());
        drop(taker);
        assert!(copy.next().now_or_never().is_none());
    }

    #[test]
    fn the_driver_reads_on_while_there_are_no_rows() {
        let (taker, rows) = mpsc::channel(1);
        let (seen, looks) = std::sync::mpsc::channel();
        let driven = stream::poll_fn(move |_| {
            seen.send(()).ok();
            Poll::Pending
        });
        let mut copy = Bypassed::new(rows, driven.boxed());
        assert!(copy.next().now_or_never().is_none());
        assert_eq!(looks.try_iter().count(), 1);
        drop(taker);
    }
}
