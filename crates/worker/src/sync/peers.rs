//! What the streams of one process share: places to run in, and what is known of servers that do not answer.
//!
//! Whether a server comes back is found out by one of its streams, within that one's retry budget. The others wait for what
//! it finds, and whoever waits leaves its place to a stream whose servers answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::{Error, Result};
use crate::postgres::Endpoint;

/// The streams of one process.
pub(crate) struct Peers {
    places: Arc<Semaphore>,
    /// How many streams run or wait for a place; those that wait for a server do not count.
    at_work: watch::Sender<usize>,
    servers: Mutex<BTreeMap<Server, Known>>,
}

/// Host and port: a server that is away takes all its databases with it.
type Server = (String, u16);

/// What is known of a server that did not answer.
enum Known {
    /// A stream finds out whether it comes back; what is sent wakes the others.
    InQuestion(Arc<watch::Sender<()>>),
    /// It did not, for a whole retry budget.
    Silent { since: Instant, found: Instant, said: String },
}

impl Peers {
    /// Streams of which so many run side by side.
    pub(crate) fn of(places: usize) -> Arc<Peers> {
        Arc::new(Peers {
            places: Arc::new(Semaphore::new(places)),
            at_work: watch::Sender::new(0),
            servers: Mutex::default(),
        })
    }

    /// One more stream, which counts as at work until it has ended.
    pub(crate) fn join(self: &Arc<Self>) -> Peer {
        self.at_work.send_modify(|at_work| *at_work += 1);
        Peer { peers: Arc::clone(self), place: tokio::sync::Mutex::default() }
    }

    /// Waits until every stream that has joined so far has ended, or waits for a server.
    pub(crate) async fn quiet(&self) {
        // The sender is ours, so that the channel stays open.
        let _ = self.at_work.subscribe().wait_for(|at_work| *at_work == 0).await;
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<Server, Known>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream among its peers.
pub(crate) struct Peer {
    peers: Arc<Peers>,
    place: tokio::sync::Mutex<Option<OwnedSemaphorePermit>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.peers.at_work.send_modify(|at_work| *at_work -= 1);
    }
}

impl Peer {
    /// A stream that has a process to itself.
    pub(crate) fn alone() -> Peer {
        Peers::of(1).join()
    }

    /// Waits for a place to run in.
    pub(crate) async fn take_place(&self) {
        // Nobody closes the semaphore, and without a place a stream merely does not wait.
        let place = Arc::clone(&self.peers.places).acquire_owned().await.ok();
        *self.place.lock().await = place;
    }

    /// Waits for something without being in anybody's way.
    pub(crate) async fn aside<T>(&self, waited_for: impl Future<Output = T>) -> T {
        let had_place = self.place.lock().await.take().is_some();
        let aside = Aside::step(&self.peers);
        let come = waited_for.await;
        drop(aside);
        if had_place {
            self.take_place().await;
        }
        come
    }

    /// Waits as long as another stream finds out whether the servers of these endpoints come back.
    ///
    /// # Errors
    /// `Silent` when one of them did not; that holds for as long as it was waited for, `window`.
    pub(crate) async fn wait_for(&self, endpoints: &[&Arc<Endpoint>], window: Duration) -> Result<()> {
        loop {
            let found = endpoints.iter().find_map(|endpoint| self.known(endpoint, window));
            match found.transpose()? {
                None => return Ok(()),
                Some(mut found_out) => {
                    // Whether it was told or the teller is gone, what is known is looked up again.
                    let _ = self.aside(found_out.changed()).await;
                }
            }
        }
    }

    fn known(&self, endpoint: &Endpoint, window: Duration) -> Option<Result<watch::Receiver<()>>> {
        match self.peers.servers().get(&server(endpoint))? {
            Known::InQuestion(found_out) => Some(Ok(found_out.subscribe())),
            Known::Silent { since, found, said } if found.elapsed() < window => Some(Err(Error::Silent {
                endpoint: endpoint.to_string(),
                waited_s: found.duration_since(*since).as_secs(),
                said: said.clone(),
            })),
            Known::Silent { .. } => None,
        }
    }

    /// Makes this stream the one that finds out whether an endpoint's server comes back; `None` where another does, or has.
    pub(crate) fn inquire(&self, endpoint: &Endpoint, window: Duration) -> Option<Inquiry> {
        if self.known(endpoint, window).is_some() {
            return None;
        }
        let (server, found_out) = (server(endpoint), Arc::new(watch::Sender::new(())));
        self.peers.servers().insert(server.clone(), Known::InQuestion(Arc::clone(&found_out)));
        Some(Inquiry { peers: Arc::clone(&self.peers), server, since: Instant::now(), found_out })
    }

    /// Says that the endpoint's server answers.
    pub(crate) fn answered(&self, endpoint: &Endpoint) {
        if let Some(Known::InQuestion(found_out)) = self.peers.servers().remove(&server(endpoint)) {
            found_out.send_replace(());
        }
    }
}

fn server(endpoint: &Endpoint) -> Server {
    (endpoint.host.clone(), endpoint.port)
}

/// Counts a stream as not at work as long as it lives.
struct Aside<'a>(&'a Peers);

impl Aside<'_> {
    fn step(peers: &Peers) -> Aside<'_> {
        peers.at_work.send_modify(|at_work| *at_work -= 1);
        Aside(peers)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|at_work| *at_work += 1);
    }
}

/// The task of finding out whether a server comes back. Given up without a word, another stream takes it on.
pub(crate) struct Inquiry {
    peers: Arc<Peers>,
    server: Server,
    since: Instant,
    found_out: Arc<watch::Sender<()>>,
}

impl Inquiry {
    /// Whether it is about the endpoint's server.
    pub(crate) fn is_about(&self, endpoint: &Endpoint) -> bool {
        self.server == server(endpoint)
    }

    /// Says that the server did not come back; `said` is how that showed.
    pub(crate) fn silent(self, said: String) {
        let silent = Known::Silent { since: self.since, found: Instant::now(), said };
        self.peers.servers().insert(self.server.clone(), silent);
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        let mut servers = self.peers.servers();
        let is_open = matches!(servers.get(&self.server),
            Some(Known::InQuestion(found_out)) if Arc::ptr_eq(found_out, &self.found_out));
        if is_open {
            servers.remove(&self.server);
        }
        drop(servers);
        self.found_out.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::TlsMode;

    const WINDOW: Duration = Duration::from_secs(60);

    fn endpoint(role: &str, database: &str) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            role: role.into(),
            host: "db".into(),
            port: 5432,
            database: database.into(),
            user: "worker".into(),
            password: String::new().into(),
            tls: TlsMode::Disable,
            tls_root_cert: None,
        })
    }

    #[tokio::test]
    async fn a_server_that_stays_silent_is_silent_for_all_its_databases() {
        let peers = Peers::of(2);
        let (first, second) = (peers.join(), peers.join());
        let (hub, edge) = (endpoint("primary Hub", "hub"), endpoint("secondary Edge", "edge"));
        let inquiry = first.inquire(&hub, WINDOW).expect("the first to ask");
        assert!(inquiry.is_about(&edge) && second.inquire(&edge, WINDOW).is_none());
        let waiting = tokio::spawn(async move { second.wait_for(&[&edge], WINDOW).await });
        tokio::task::yield_now().await;
        inquiry.silent("connection refused".into());
        let known = waiting.await.unwrap().unwrap_err();
        assert_eq!(
            known.to_string(),
            "secondary Edge (db:5432/edge) did not answer another stream of this run for 0 s: connection refused"
        );
        assert!(first.inquire(&hub, Duration::ZERO).is_some(), "asked again when that was long ago");
    }

    #[tokio::test]
    async fn those_who_wait_go_on_when_the_server_answers_or_nobody_asks_any_more() {
        let peers = Peers::of(2);
        let hub = endpoint("primary Hub", "hub");
        for answers in [true, false] {
            let (first, second) = (peers.join(), peers.join());
            let inquiry = first.inquire(&hub, WINDOW).expect("nobody asks");
            let waiting = {
                let hub = Arc::clone(&hub);
                tokio::spawn(async move { second.wait_for(&[&hub], WINDOW).await })
            };
            tokio::task::yield_now().await;
            match answers {
                true => first.answered(&hub),
                false => drop(inquiry),
            }
            waiting.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_server_leaves_its_place_and_is_not_at_work() {
        let peers = Peers::of(1);
        let (first, second) = (peers.join(), peers.join());
        first.take_place().await;
        let (go_on, told) = tokio::sync::oneshot::channel::<()>();
        let aside = tokio::spawn(async move {
            let _ = first.aside(told).await;
            first
        });
        second.take_place().await;
        drop(second);
        peers.quiet().await;
        go_on.send(()).unwrap();
        let first = aside.await.unwrap();
        assert!(first.place.lock().await.is_some());
    }
}
