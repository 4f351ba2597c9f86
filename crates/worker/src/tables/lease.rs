//! The lease: one leader a stream, fenced by a token that only grows.
//!
//! A row, not a session lock: it survives poolers and dies with its owner, because nobody renews it. Every data
//! transaction asks for its token `for share` as the last statement before COMMIT ([`Lease::fence`]), so that a
//! takeover waits for a commit in flight and everything after it fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ControlTables;
use crate::error::{Class, Error, Result};
use crate::observer::{Notice, NoticeKind, Observer};
use crate::postgres::fields::Fields;
use crate::postgres::session::{Backend, Patience};
use crate::postgres::sql::assembled;
use crate::postgres::{Endpoint, Session};

/// SQLSTATE of a lock that did not come within `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Who asks for a lease, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) stream: String,
    /// `host:pid:nonce`, shown to whoever finds the stream busy.
    pub(crate) owner: String,
    pub(crate) duration: Duration,
}

/// A lease that is held.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    tables: Arc<ControlTables>,
    claim: Claim,
    token: i64,
}

impl Lease {
    /// Takes the lease, or says who has it. An expired lease is taken over: its backends are terminated first,
    /// since a `COPY FROM STDIN` that gets no data obeys neither timeouts nor cancel, then the token is raised.
    ///
    /// # Errors
    /// `Busy` when another worker's lease has not expired.
    pub(crate) async fn acquire(
        session: &mut Session,
        tables: &Arc<ControlTables>,
        claim: &Claim,
        observer: &dyn Observer,
    ) -> Result<Lease> {
        // Only where there is none: even to find the row there, an insert would wait for a holder that stalled in the
        // middle of the commit that moves its watermark. Tokens begin at the time: a row that was deleted and comes again
        // must not have a token that a helper of the former one still works under.
        let insert = format!(
            "insert into {stream} (stream_key, lease_token) select $1::varchar, \
             (extract(epoch from clock_timestamp()) * 1000000)::int8 \
             where not exists (select 1 from {stream} where stream_key = $1) on conflict do nothing",
            stream = tables.sync_stream
        );
        session.run("registering the stream", sqlx::query(assembled(insert)).bind(&claim.stream)).await?;
        let holder = Holder::look(session, tables, claim).await?;
        if holder.valid {
            return Err(holder.busy(claim));
        }
        // Looked at without a lock: a holder stalled between its fence and its COMMIT would keep us waiting.
        terminate(session, &holder.backends).await?;
        if let Some(owner) = &holder.owner
            && *owner != claim.owner
        {
            let text = format!("took over from {owner}, whose lease had expired");
            let (stream, kind) = (claim.stream.clone(), NoticeKind::TookOver);
            observer.notice(&Notice { stream, kind, text });
        }
        let bump = format!(
            "update {} set lease_owner = $2, lease_token = lease_token + 1, lease_backends = '[]', \
             lease_expires_at = clock_timestamp() + $3 * interval '1 millisecond', updated_at = now() \
             where stream_key = $1 and lease_token = $4 \
             and (lease_owner is null or lease_owner = $2 or lease_expires_at <= clock_timestamp()) \
             returning lease_token",
            tables.sync_stream
        );
        let query = sqlx::query(assembled(bump))
            .bind(&claim.stream)
            .bind(&claim.owner)
            .bind(claim.millis())
            .bind(holder.token);
        match session.row("taking the lease", query).await? {
            Some(row) => Ok(Lease { tables: Arc::clone(tables), claim: claim.clone(), token: row.field(0)? }),
            // Somebody else was faster.
            None => Err(Holder::look(session, tables, claim).await?.busy(claim)),
        }
    }

    /// The lease that another worker holds under that token, for a helper that copies under it and never renews it.
    pub(crate) fn of_another(tables: &Arc<ControlTables>, claim: Claim, token: i64) -> Lease {
        Lease { tables: Arc::clone(tables), claim, token }
    }

    /// The token under which this holder writes.
    pub(crate) fn token(&self) -> i64 {
        self.token
    }

    /// Records a backend that will write under this lease, so that a takeover can terminate it.
    pub(crate) async fn register(&self, session: &mut Session) -> Result<()> {
        let backend = serde_json::to_string(&[&session.backend])
            .map_err(|error| Error::invariant("a backend's record", error.to_string()))?;
        let append = format!(
            "update {} set lease_backends = lease_backends || $3::jsonb where stream_key = $1 and lease_token = $2",
            self.tables.sync_stream
        );
        let query = sqlx::query(assembled(append)).bind(&self.claim.stream).bind(self.token).bind(backend);
        match session.run("recording a backend", query).await? {
            0 => Err(self.fenced()),
            _ => Ok(()),
        }
    }

    /// The fence: the *last* statement of a data transaction before its COMMIT. Asked first it would make the
    /// takeover wait for the whole copy; unlocked it would let an overtaken worker commit.
    pub(crate) async fn fence(&self, session: &mut Session) -> Result<()> {
        let check = format!(
            "select 1 from {} where stream_key = $1 and lease_token = $2 for share",
            self.tables.sync_stream
        );
        let query = sqlx::query(assembled(check)).bind(&self.claim.stream).bind(self.token);
        let held = session.row("checking the lease before a commit", query).await?;
        held.map(|_| ()).ok_or_else(|| self.fenced())
    }

    /// Renews the lease until `done`; says through `lost` when it was taken over or could not be renewed in time.
    ///
    /// Runs on a connection of its own. A broken connection is made again as long as the lease may still stand.
    pub(crate) async fn keep(
        &self,
        endpoint: Arc<Endpoint>,
        patience: Patience,
        done: CancellationToken,
        lost: oneshot::Sender<Error>,
    ) {
        let pulse = self.claim.duration / 3;
        let mut session: Option<Session> = None;
        let mut last_renewed = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = done.cancelled() => break,
                () = tokio::time::sleep(pulse) => {}
            }
            let renewal = self.renew_over(&mut session, &endpoint, patience);
            match tokio::time::timeout(pulse, renewal).await {
                Ok(Ok(())) => last_renewed = tokio::time::Instant::now(),
                // A transaction of our own holds the row, so nobody else can have it.
                Ok(Err(error)) if error.sqlstate().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
                    last_renewed = tokio::time::Instant::now();
                }
                Ok(Err(error)) if error.class() == Class::Busy => {
                    // Whoever led has ended already if nobody listens.
                    let _ = lost.send(error);
                    break;
                }
                // A connection that broke or hangs is made again at the next pulse.
                Ok(Err(_)) | Err(_) => session = None,
            }
            let unrenewed = last_renewed.elapsed();
            if unrenewed > self.claim.duration {
                let (stream, unrenewed_ms) = (self.claim.stream.clone(), unrenewed.as_millis());
                let _ = lost.send(Error::LeaseLapsed { stream, unrenewed_ms });
                break;
            }
        }
        if let Some(session) = session {
            session.close().await;
        }
    }

    async fn renew_over(
        &self,
        session: &mut Option<Session>,
        endpoint: &Arc<Endpoint>,
        patience: Patience,
    ) -> Result<()> {
        if session.is_none() {
            *session = Some(Session::connect(endpoint, "heartbeat", patience).await?);
        }
        let Some(session) = session else { return Ok(()) };
        let renew = format!(
            "update {} set lease_expires_at = clock_timestamp() + $3 * interval '1 millisecond' \
             where stream_key = $1 and lease_token = $2",
            self.tables.sync_stream
        );
        let query =
            sqlx::query(assembled(renew)).bind(&self.claim.stream).bind(self.token).bind(self.claim.millis());
        match session.run("renewing the lease", query).await? {
            0 => Err(self.fenced()),
            _ => Ok(()),
        }
    }

    /// Gives the lease back, so that the next worker need not wait for its expiry. What `failed` leaves its sessions
    /// on record: one of them may not have noticed yet that nobody listens, and still build an index that the next
    /// leader would build beside it.
    ///
    /// # Errors
    /// `Fenced` where another worker has it. Those of the secondary.
    pub(crate) async fn release(&self, session: &mut Session, failed: bool) -> Result<()> {
        let backends = if failed { "lease_backends" } else { "'[]'" };
        let release = format!(
            "update {} set lease_owner = null, lease_expires_at = null, lease_backends = {backends} \
             where stream_key = $1 and lease_token = $2",
            self.tables.sync_stream
        );
        let query = sqlx::query(assembled(release)).bind(&self.claim.stream).bind(self.token);
        match session.run("releasing the lease", query).await? {
            0 => Err(self.fenced()),
            _ => Ok(()),
        }
    }

    fn fenced(&self) -> Error {
        Error::Fenced { stream: self.claim.stream.clone() }
    }
}

/// What the lease's row says.
struct Holder {
    owner: Option<String>,
    /// Whether another worker's lease still stands.
    valid: bool,
    until: String,
    token: i64,
    backends: String,
}

impl Holder {
    async fn look(session: &mut Session, tables: &ControlTables, claim: &Claim) -> Result<Holder> {
        let look = format!(
            "select lease_owner, coalesce(lease_owner <> $2 and lease_expires_at > clock_timestamp(), false), \
             coalesce(date_trunc('second', lease_expires_at)::text, ''), lease_token, lease_backends::text \
             from {} where stream_key = $1",
            tables.sync_stream
        );
        let query = sqlx::query(assembled(look)).bind(&claim.stream).bind(&claim.owner);
        let row = session.row("looking at the lease", query).await?;
        let row = row.ok_or_else(|| Error::invariant(&tables.sync_stream, "the stream's row vanished"))?;
        let (owner, valid, until) = (row.field(0)?, row.field(1)?, row.field(2)?);
        Ok(Holder { owner, valid, until, token: row.field(3)?, backends: row.field(4)? })
    }

    fn busy(self, claim: &Claim) -> Error {
        let owner = self.owner.unwrap_or_else(|| "a worker that just let go".into());
        Error::Busy { stream: claim.stream.clone(), owner, until: self.until }
    }
}

impl Claim {
    fn millis(&self) -> f64 {
        self.duration.as_secs_f64() * 1000.0
    }
}

/// Ends the backends of the former holder and waits until they are gone.
async fn terminate(session: &mut Session, backends: &str) -> Result<()> {
    let backends: Vec<Backend> = serde_json::from_str(backends)
        .map_err(|error| Error::invariant("lease_backends", format!("{backends:?} is no list: {error}")))?;
    for backend in backends {
        session.terminate(&backend).await?;
    }
    Ok(())
}
