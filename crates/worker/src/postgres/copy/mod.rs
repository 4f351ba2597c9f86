//! The COPY path: rows go from one server to the other without being decoded.
//!
//! Where the connection has a [`Bypass`] the driver starts and ends a copy, and does not see its rows. Elsewhere, with
//! TLS, over Unix sockets and where no private socket can be made, the driver yields one `Bytes` a row and flushes every send, so rows are coalesced into
//! [`BUFFER_BYTES`]: a third of the client's CPU, and fewer packets, than sending them as they come.

mod bypassed;
mod rate;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;

pub(crate) use rate::Rate;
pub(crate) use rows::{Format, Rows};

use super::session::{Backend, Patience};
use super::vigil::Vigil;
use super::wire::Bypass;
use super::{Endpoint, Session};
use crate::error::{Error, Result};
use bypassed::Bypassed;
use rate::Slowed;

/// Bytes gathered before they are sent on. Larger buffers gained nothing when measured.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// What went through a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piped {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// An open `COPY … TO STDOUT` whose silence is bounded.
pub(crate) struct Source<'a> {
    stream: BoxStream<'a, sqlx::Result<Bytes>>,
    watched: Watched,
    /// Bound on the wait for the next bytes.
    patience: Duration,
    /// Bound on the waits after the first.
    silence: Duration,
    slowed: Option<Slowed>,
}

/// The session under a copy, which the copy itself has borrowed.
struct Watched {
    endpoint: Arc<Endpoint>,
    backend: Backend,
    patience: Patience,
}

impl Watched {
    fn of(session: &Session) -> Watched {
        let (endpoint, backend) = (Arc::clone(&session.endpoint), session.backend.clone());
        Watched { endpoint, backend, patience: session.patience }
    }

    fn vigil(&self) -> Vigil<'_> {
        Vigil { endpoint: &self.endpoint, backend: &self.backend, patience: self.patience }
    }

    fn failed(&self, doing: &str) -> impl FnOnce(sqlx::Error) -> Error {
        let (endpoint, doing) = (self.endpoint.to_string(), doing.to_owned());
        move |error| Error::statement(&endpoint, &doing, error)
    }
}

impl<'a> Source<'a> {
    /// Starts reading. A session whose source is not read to its end must be dropped, not used again.
    pub(crate) async fn open(session: &'a mut Session, statement: &str) -> Result<Source<'a>> {
        let watched = Watched::of(session);
        let silence = session.patience.silence;
        // The first row of an ordered read comes after its sort, so it has the statement's own bound.
        let patience = silence + session.patience.statement;
        let bypassing = session.bypass.as_ref().map(Bypass::expect_rows);
        let opened = session.connection.copy_out_raw(statement);
        let opened = watched.vigil().keep("reading rows", Some(patience), opened).await;
        let driven = match opened.and_then(|opened| opened.map_err(watched.failed("reading rows"))) {
            Ok(driven) => driven,
            Err(error) => {
                session.bypass.as_ref().inspect(|bypass| bypass.expect_none());
                return Err(error);
            }
        };
        let stream = match bypassing {
            None => driven,
            Some(rows) => Bypassed::new(rows, driven).boxed(),
        };
        Ok(Source { stream, watched, patience, silence, slowed: None })
    }

    /// Starts reading at a bounded rate; part of a transaction. See [`Slowed`] for the bound on the statement.
    pub(crate) async fn open_slowed(
        session: &'a mut Session,
        statement: &str,
        rate: &Arc<Rate>,
    ) -> Result<Source<'a>> {
        let bound = session.patience.statement;
        if !bound.is_zero() {
            let longer = rate::statement_bound(bound).as_millis();
            let longer = format!("set local statement_timeout = '{longer}ms'");
            session.execute("giving a slowed read its time", longer).await?;
        }
        let source = Source::open(session, statement).await?;
        Ok(Source { slowed: Some(Slowed::new(rate, bound)), ..source })
    }

    /// Waits for each row as long as for the first: a sweep may pass over much of a table between two rows.
    pub(crate) fn unhurried(mut self) -> Source<'a> {
        self.silence = self.patience;
        self
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let vigil = self.watched.vigil();
        // A row that has come already needs no watch: to read the clock for each row was a third of the copy's CPU.
        let next = match self.stream.next().now_or_never() {
            Some(next) => Ok(next),
            None => vigil.keep("waiting for rows", Some(self.patience), self.stream.next()).await,
        };
        if let Some(slowed) = &mut self.slowed {
            match &next {
                Ok(Some(Ok(bytes))) => slowed.took(Some(bytes.len()), &self.watched).await,
                Ok(None) => slowed.took(None, &self.watched).await,
                // The server's own bound would let it work for hours on what nobody waits for.
                Err(_) => {
                    vigil.cancel().await;
                }
                Ok(Some(Err(_))) => {}
            }
        }
        let next = next?;
        match next {
            None => Ok(None),
            Some(Ok(bytes)) => {
                self.patience = self.silence;
                Ok(Some(bytes))
            }
            Some(Err(error)) => Err(self.watched.failed("reading rows")(error)),
        }
    }
}

/// An open `COPY … FROM STDIN` that gathers what it is given.
pub(crate) struct Sink<'a> {
    copy: PgCopyIn<&'a mut PgConnection>,
    bypass: Option<Bypass>,
    watched: Watched,
    gathered: BytesMut,
    sent_bytes: u64,
}

impl<'a> Sink<'a> {
    pub(crate) async fn open(session: &'a mut Session, statement: &str) -> Result<Sink<'a>> {
        let watched = Watched::of(session);
        let bypass = session.bypass.clone();
        let doing = "opening the copy into the secondary";
        let opened = watched.vigil().keep(doing, None, session.connection.copy_in_raw(statement)).await?;
        let copy = opened.map_err(watched.failed(doing))?;
        let gathered = BytesMut::with_capacity(BUFFER_BYTES + 8192);
        Ok(Sink { copy, bypass, watched, gathered, sent_bytes: 0 })
    }

    /// Takes bytes; true when they were sent on, which is a good moment to look around.
    pub(crate) async fn put(&mut self, bytes: &[u8]) -> Result<bool> {
        if self.gathered.is_empty() && bytes.len() >= BUFFER_BYTES {
            self.send(bytes).await?;
            return Ok(true);
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < BUFFER_BYTES {
            return Ok(false);
        }
        self.flush().await?;
        Ok(true)
    }

    async fn flush(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        self.send(&gathered).await?;
        // A value larger than the buffer made it grow; give that back, so that memory follows the buffers.
        if gathered.capacity() > 4 * BUFFER_BYTES {
            gathered = BytesMut::with_capacity(BUFFER_BYTES + 8192);
        }
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.sent_bytes += bytes.len() as u64;
        let (bypass, copy) = (&self.bypass, &mut self.copy);
        let sending = async {
            match bypass {
                Some(bypass) => bypass.send_rows(bytes).await.map_err(sqlx::Error::Io),
                None => copy.send(bytes).await.map(|_| ()),
            }
        };
        let sent = self.watched.vigil().keep("sending rows", None, sending).await?;
        sent.map_err(self.watched.failed("sending rows"))
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent_bytes + self.gathered.len() as u64
    }

    /// Sends the rest and waits until the server has taken all of it.
    pub(crate) async fn finish(mut self) -> Result<Piped> {
        self.flush().await?;
        let bytes = self.sent_bytes;
        let rows = self.watched.vigil().keep("writing rows", None, self.copy.finish()).await?;
        let rows = rows.map_err(self.watched.failed("writing rows"))?;
        Ok(Piped { rows, bytes })
    }

    /// Lets the server forget what it was sent.
    pub(crate) async fn abort(self) {
        // The transaction is given up by whoever calls this; a second error would only hide the first.
        let patience = self.watched.patience.connect;
        let _ = tokio::time::timeout(patience, self.copy.abort("the source failed")).await;
    }
}

/// Pipes all rows of `source` into `sink`; `midway` is called once, after the first buffer was sent or, for a
/// smaller copy, before its end.
///
/// # Errors
/// Those of both servers. After an error neither session may be used again.
pub(crate) async fn pipe<F>(
    mut source: Source<'_>,
    mut sink: Sink<'_>,
    mut midway: impl FnMut(u64) -> F,
) -> Result<Piped>
where
    F: Future<Output = Result<()>>,
{
    loop {
        match source.next().await {
            Ok(Some(bytes)) => {
                if sink.put(&bytes).await? {
                    midway(sink.bytes()).await?;
                }
            }
            Ok(None) => break,
            Err(error) => {
                sink.abort().await;
                return Err(error);
            }
        }
    }
    midway(sink.bytes()).await?;
    sink.finish().await
}
