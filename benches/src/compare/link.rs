//! A link of a given length to a server, which counts the round trips and connections that pass it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const READ_BYTES: usize = 64 * 1024;
/// Reads that may be on their way in one direction of a connection: 50 ms at 1 GB/s.
const ON_THE_WAY_MAX: usize = 1024;

/// A port that leads to a server.
pub(crate) struct Link {
    port: u16,
    passed: Arc<Passed>,
    listener: JoinHandle<()>,
}

/// What has passed a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Times that the server answered something. What it is told without an answer, such as goodbye, is none.
    pub(crate) round_trips: u64,
    /// Connections made.
    pub(crate) connections: u64,
    /// The most connections that were open at once.
    pub(crate) open_max: u64,
}

#[derive(Default)]
struct Passed {
    round_trips: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    open_max: AtomicU64,
}

impl Link {
    /// A link to a port of this machine; everything takes `one_way` in each direction. Bytes are delayed, not slowed:
    /// any number of them can be on their way.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) async fn to(server: u16, one_way: Duration) -> std::io::Result<Link> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let passed = Arc::new(Passed::default());
        let counted = Arc::clone(&passed);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, one_way, Arc::clone(&counted)));
            }
        });
        Ok(Link { port, passed, listener })
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What has passed since the last call.
    pub(crate) fn take(&self) -> Traffic {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let passed = &self.passed;
        Traffic {
            round_trips: take(&passed.round_trips),
            connections: take(&passed.connections),
            open_max: passed.open_max.swap(passed.open.load(Ordering::Relaxed), Ordering::Relaxed),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn carry(client: TcpStream, server: u16, one_way: Duration, passed: Arc<Passed>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    passed.connections.fetch_add(1, Ordering::Relaxed);
    let open = passed.open.fetch_add(1, Ordering::Relaxed) + 1;
    passed.open_max.fetch_max(open, Ordering::Relaxed);
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let asked = AtomicBool::new(false);
    let up = convey(from_client, to_server, one_way, || asked.store(true, Ordering::Relaxed), || {});
    // Counted when the client is about to have the answer: what it sends from then on is another question.
    let answered = || {
        if asked.swap(false, Ordering::Relaxed) {
            passed.round_trips.fetch_add(1, Ordering::Relaxed);
        }
    };
    let down = convey(from_server, to_client, one_way, || {}, answered);
    tokio::join!(up, down);
    passed.open.fetch_sub(1, Ordering::Relaxed);
}

/// One direction: read at once, written when it is due, then closed as the other end was.
async fn convey(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    one_way: Duration,
    arrives: impl Fn(),
    leaves: impl Fn(),
) {
    let (sending, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY_MAX);
    let reading = async move {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            arrives();
            if sending.send((Instant::now() + one_way, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((at, bytes)) = due.recv().await {
            if !one_way.is_zero() {
                tokio::time::sleep_until(at).await;
            }
            leaves();
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each message with itself.
    async fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn round_trips_are_counted_and_take_their_time() {
        let link = Link::to(echo().await, Duration::from_millis(20)).await.unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        let began = Instant::now();
        for _ in 0..3 {
            client.write_all(b"ping").await.unwrap();
            client.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(120));
        let seen = link.take();
        assert_eq!(seen, Traffic { round_trips: 3, connections: 1, open_max: 1 });
        assert_eq!(link.take().round_trips, 0);
    }

    #[tokio::test]
    async fn a_long_link_is_not_a_narrow_one() {
        let link = Link::to(echo().await, Duration::from_millis(20)).await.unwrap();
        let client = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        let (mut read, mut write) = client.into_split();
        let began = Instant::now();
        let sending = tokio::spawn(async move { write.write_all(&vec![7; 16 << 20]).await });
        read.read_exact(&mut vec![0; 16 << 20]).await.unwrap();
        sending.await.unwrap().unwrap();
        // One read after the other would take 256 round trips.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
