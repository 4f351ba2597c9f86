//! What every part of a running sync needs at hand.

use std::future::Future;
use std::sync::Arc;

use milestream_core::stream::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::job::{Job, Tuning};
use super::kindness::Kindness;
use super::peers::Peer;
use super::stopping::Waits;
use crate::StreamName;
use crate::error::{Error, Result};
use crate::observer::{Event, Happening, Notice, NoticeKind, Observer, Step, Verdict};
use crate::pair::Holding;
use crate::postgres::{Endpoint, Session, session_name};
use crate::rights::Needs;
use crate::tables::ControlTables;
use crate::tables::lease::Lease;

/// What has to be known of a job, whatever it is, to lead its stream.
pub(crate) trait Charge: Send + Sync + 'static {
    /// The platform whose stream it is.
    fn platform(&self) -> &str;
    /// The stream, with its datasets.
    fn stream(&self) -> &Stream;
    /// What the platform keeps of a primary that it follows; `None` where it follows none.
    fn keeps(&self) -> Option<Holding>;
    /// Refuses to begin a platform anew whose tables are there under a former name.
    ///
    /// # Errors
    /// `Setup` with the statements that rename them.
    fn require_no_former(&self, _store: &mut Session) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
    /// That platform's merge store.
    fn store(&self) -> &Arc<Endpoint>;
    /// The databases that may be read; one of them is.
    fn read(&self) -> Vec<&Arc<Endpoint>>;
    /// Bounds and policies.
    fn tuning(&self) -> &Tuning;
    /// What the roles of the job need, a database each; `blamed` is where a right was missing, as errors call it.
    fn needs(&self, blamed: &str) -> Vec<Needs>;
}

/// The job, its control tables, and whoever listens.
pub(crate) struct Ground<J = Job> {
    pub(crate) job: Arc<J>,
    pub(crate) tables: Arc<ControlTables>,
    pub(crate) stream: String,
    /// `host:pid:nonce` of this worker.
    pub(crate) worker: String,
    pub(crate) observer: Arc<dyn Observer>,
    /// Cancelled when the worker is asked to stop after the chunk in flight.
    pub(crate) stop: CancellationToken,
    pub(crate) waits: Waits,
    pub(crate) kindness: Kindness,
    /// This stream among the others of the process.
    pub(crate) peer: Peer,
}

impl Ground {
    /// What a sync of this job needs, as a worker of its own name.
    pub(crate) fn of(
        job: Arc<Job>,
        observer: Arc<dyn Observer>,
        stop: CancellationToken,
        peer: Peer,
    ) -> Ground {
        Ground {
            tables: Arc::new(job.tables()),
            stream: job.stream_key(),
            worker: crate::worker_name(),
            waits: Waits::default(),
            kindness: Kindness::of(&job.tuning, &stop),
            job,
            observer,
            stop,
            peer,
        }
    }
}

impl<J> Ground<J> {
    /// Reports a step and does as the observer says.
    pub(crate) async fn reach(&self, step: Step, happening: Happening) -> Result<()> {
        let event = Event { stream: self.stream.clone(), step, happening };
        match self.observer.at(&event).await {
            Verdict::GoOn => Ok(()),
            Verdict::FailHere(text) => Err(Error::Injected { step: step.to_string(), text }),
            Verdict::StopHere => Err(Error::Abandoned { step: step.to_string() }),
        }
    }

    pub(crate) fn notice(&self, kind: NoticeKind, text: String) {
        self.observer.notice(&Notice { stream: self.stream.clone(), kind, text });
    }

    /// # Errors
    /// `Stopped` once the worker was asked to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.stop.is_cancelled() { Err(Error::Stopped) } else { Ok(()) }
    }
}

impl<J: Charge> Ground<J> {
    /// The stream as a person names it.
    pub(crate) fn stream_name(&self) -> StreamName {
        StreamName::of(self.job.platform(), self.job.stream())
    }

    /// The name of a session that does this for the stream.
    pub(crate) fn session_name(&self, what: &str) -> String {
        session_name::of_stream(self.job.platform(), &self.stream, what)
    }

    /// A session on the platform's own store that a takeover can end.
    pub(crate) async fn writer(&self, lease: &Lease, name: &str) -> Result<Session> {
        let name = self.session_name(name);
        let mut session =
            Session::connect(self.job.store(), &name, self.job.tuning().writing_patience()).await?;
        self.waits.note(&session);
        lease.register(&mut session).await?;
        Ok(session)
    }

    /// A session on a primary, or on a source.
    pub(crate) async fn reader(&self, endpoint: &Arc<Endpoint>, name: &str) -> Result<Session> {
        let name = self.session_name(name);
        let session = Session::connect_reader(endpoint, &name, self.job.tuning().reading_patience()).await?;
        self.peer.answered(endpoint);
        self.waits.note(&session);
        Ok(session)
    }

    /// Waits as long as another stream finds out whether a server that this one needs comes back. Where several could be
    /// read, none of them is needed.
    ///
    /// # Errors
    /// `Silent`, `Stopped`.
    pub(crate) async fn wait_for_servers(&self) -> Result<()> {
        let mut needed = vec![self.job.store()];
        if let [only] = self.job.read()[..] {
            needed.push(only);
        }
        self.wait_for(&needed).await
    }

    /// The same for the server that an error says cannot be reached.
    ///
    /// # Errors
    /// `Silent`, `Stopped`.
    pub(crate) async fn wait_for_servers_of(&self, error: &Error) -> Result<()> {
        match self.unreachable(error) {
            Some(endpoint) => self.wait_for(&[&endpoint]).await,
            None => Ok(()),
        }
    }

    async fn wait_for(&self, endpoints: &[&Arc<Endpoint>]) -> Result<()> {
        tokio::select! {
            waited = self.peer.wait_for(endpoints, self.job.tuning().retry_window) => waited,
            () = self.stop.cancelled() => Err(Error::Stopped),
        }
    }

    /// The endpoint that an error says cannot be reached.
    pub(crate) fn unreachable(&self, error: &Error) -> Option<Arc<Endpoint>> {
        let Error::Unreachable { endpoint, .. } = error else { return None };
        let all = std::iter::once(self.job.store()).chain(self.job.read());
        all.into_iter().find(|known| known.to_string() == *endpoint).cloned()
    }

    /// Ends what waits for a lock once the worker is asked to stop, until the handle is dropped.
    pub(crate) fn end_waits(&self) -> AbortOnDropHandle<()> {
        self.waits.end_once(self.stop.clone(), self.job.tuning().heartbeat_patience())
    }
}
