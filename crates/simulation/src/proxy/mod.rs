//! A TCP proxy that stands in front of a Postgres server.
//!
//! Its port stays the same whatever becomes of the server, and it breaks connections in the ways networks do: at an
//! exact byte, after a commit but before its answer, half-open, slowly, or not at all. What it is ordered to do and what
//! came of it are two things: [`Proxy::counters`] tells whether a fault has fired.

mod drain;
mod link;
mod messages;
mod orders;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use link::Target;
use orders::Orders;
pub use orders::{Counters, Direction};

/// How long accepting rests after an error, such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(10);

/// A running proxy. Clones are handles to the same one; when the last is dropped, it stops listening and every
/// connection through it is reset.
#[derive(Clone, Debug)]
pub struct Proxy {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    port: u16,
    orders: Arc<Orders>,
    _ended_on_drop: DropGuard,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes every connection on to the target, which need not be up: while it
    /// refuses, connections are closed at once. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(host: impl Into<String>, port: u16) -> io::Result<Proxy> {
        Proxy::start_over([(host.into(), port)]).await
    }

    /// The same in front of several servers, as a load balancer is: each connection goes to the next of them, and
    /// round again.
    ///
    /// # Errors
    /// When no port can be had, or there is no server.
    pub async fn start_over(servers: impl IntoIterator<Item = (String, u16)>) -> io::Result<Proxy> {
        let targets: Vec<_> = servers.into_iter().map(|(host, port)| Target { host, port }).collect();
        if targets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a proxy stands in front of a server"));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (orders, ended) = (Arc::new(Orders::new()), CancellationToken::new());
        tokio::spawn(accept(listener, targets, Arc::clone(&orders), ended.clone()));
        let running = Running { port, orders, _ended_on_drop: ended.drop_guard() };
        Ok(Proxy { running: Arc::new(running) })
    }

    /// The port of 127.0.0.1 it listens on, fixed for its life.
    pub fn port(&self) -> u16 {
        self.running.port
    }

    /// Once: counts the bytes that pass in `direction` from now on, over all connections, and resets both sides of the
    /// connection on which byte number `bytes` passes, behind that byte; with 0, before the next one. Takes the place
    /// of a cut that is pending. The receiver gets its last bytes if it reads them within five seconds.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.running.orders.cut_after(direction, bytes);
    }

    /// Once: passes on the next `commit`, awaits its answer, swallows it and resets both sides. What was sent before
    /// the commit is answered as ever. The answer is lost whatever it says: a commit that failed is not durable. Of
    /// encrypted connections nothing is understood, and the order stays pending.
    pub fn lose_commit_answer(&self) {
        self.running.orders.lose_commit_answer();
    }

    /// Lets no byte pass any more on the connections there are, and keeps them open. New ones work.
    pub fn freeze(&self) {
        self.running.orders.freeze();
    }

    /// Resets the frozen connections.
    pub fn thaw(&self) {
        self.running.orders.thaw();
    }

    /// Holds every read back this long before it is passed on; zero ends that, for the reads held back too.
    pub fn delay(&self, delay: Duration) {
        self.running.orders.delay(delay);
    }

    /// Closes new connections at once; those there are live on.
    pub fn refuse(&self) {
        self.running.orders.refusing(true);
    }

    /// Takes new connections again.
    pub fn accept(&self) {
        self.running.orders.refusing(false);
    }

    /// Takes every order back: nothing pending, no delay, frozen connections reset, new ones taken.
    pub fn calm(&self) {
        self.running.orders.calm();
    }

    /// Resets every connection there is, frozen ones too, and says how many.
    pub fn cut_all(&self) -> u64 {
        self.running.orders.cut_all()
    }

    /// What has happened since the start.
    pub fn counters(&self) -> Counters {
        self.running.orders.counters()
    }
}

/// Takes connections until the proxy is dropped. A task each: they end by themselves or with `ended`.
async fn accept(listener: TcpListener, targets: Vec<Target>, orders: Arc<Orders>, ended: CancellationToken) {
    let mut turns = targets.iter().cycle();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let client = match accepted {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, "the proxy could not take a connection");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Some(grip) = orders.enter(&ended) else {
            link::reset(client);
            continue;
        };
        let Some(target) = turns.next().cloned() else { return };
        let orders = Arc::clone(&orders);
        tokio::spawn(async move { link::serve(client, &target, &orders, &grip).await });
    }
}
