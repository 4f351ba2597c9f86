//! Bytes between a driver and its server. Rows of a COPY may take the bypass: they go between the server and whoever
//! copies, and the driver, which sees the messages around them, takes the copy for an empty one.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream, unix};
use tokio::sync::mpsc;

use super::Startup;
use super::frames::{Frames, Sorted};
use crate::postgres::copy::BUFFER_BYTES;

/// Pieces of rows that wait for whoever copies; more would only be memory.
const PIECES_WAITING: usize = 1;
/// Bytes of rows in one message; the protocol takes almost 1 GiB.
const MESSAGE_BYTES_MAX: usize = 1 << 24;

/// The way past a driver for the rows of a COPY, of a connection without TLS.
///
/// The driver makes a message of every row; to make none of them is most of a copy's CPU, and no value is ever held
/// whole.
#[derive(Clone, Debug)]
pub(crate) struct Bypass(Arc<Ways>);

#[derive(Debug)]
struct Ways {
    to_server: tokio::sync::Mutex<OwnedWriteHalf>,
    /// Who takes the rows of the next `COPY … TO STDOUT`.
    taker: Mutex<Option<mpsc::Sender<Bytes>>>,
}

impl Bypass {
    /// The bypass of a connection, and the half that is to be read from.
    pub(super) fn of(server: TcpStream) -> (Bypass, OwnedReadHalf) {
        let (from_server, to_server) = server.into_split();
        let ways = Ways { to_server: tokio::sync::Mutex::new(to_server), taker: Mutex::default() };
        (Bypass(Arc::new(ways)), from_server)
    }

    /// The rows of the copy that the driver is about to start, in pieces cut anywhere. They end where the copy ends, or
    /// at an error, which the driver then has. Where they are not taken to their end, the connection is of no more use: the
    /// next of them ends it.
    pub(crate) fn expect_rows(&self) -> mpsc::Receiver<Bytes> {
        let (taker, rows) = mpsc::channel(PIECES_WAITING);
        self.set_taker(Some(taker));
        rows
    }

    /// Leaves the rows of the next copy to the driver: the one that was expected did not start.
    pub(crate) fn expect_none(&self) {
        self.set_taker(None);
    }

    fn set_taker(&self, taker: Option<mpsc::Sender<Bytes>>) {
        *self.0.taker.lock().unwrap_or_else(PoisonError::into_inner) = taker;
    }

    fn taker(&self) -> Option<mpsc::Sender<Bytes>> {
        self.0.taker.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends rows of the copy that the driver has started. Given up halfway, the connection is of no more use.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) async fn send_rows(&self, rows: &[u8]) -> io::Result<()> {
        let mut to_server = self.0.to_server.lock().await;
        for rows in rows.chunks(MESSAGE_BYTES_MAX) {
            let length = u32::try_from(rows.len() + 4).map_err(io::Error::other)?.to_be_bytes();
            let header = [b'd', length[0], length[1], length[2], length[3]];
            // One packet for both, where the system can.
            to_server.write_all_buf(&mut Buf::chain(&header[..], rows)).await?;
        }
        Ok(())
    }

    /// Passes on what the driver sends, until it closes its side.
    async fn up(&self, mut driver: unix::OwnedReadHalf) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = driver.read(&mut buffer).await?;
            let mut to_server = self.0.to_server.lock().await;
            if read == 0 {
                return to_server.shutdown().await;
            }
            to_server.write_all(&buffer[..read]).await?;
        }
    }

    /// Passes on what the server sends, until it closes its side.
    async fn down(&self, server: OwnedReadHalf, mut driver: unix::OwnedWriteHalf) -> io::Result<()> {
        let (mut frames, mut sorted) = (Frames::default(), Sorted::default());
        let mut taker = None;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = match server.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    deliver(&mut sorted, taker.as_ref()).await?;
                    server.readable().await?;
                    continue;
                }
                read => read?,
            };
            if read == 0 {
                return driver.shutdown().await;
            }
            frames.sort(&buffer[..read], &mut sorted, || {
                taker = self.taker();
                taker.is_some()
            });
            if sorted.ended || sorted.rows.len() >= BUFFER_BYTES {
                deliver(&mut sorted, taker.as_ref()).await?;
            }
            if std::mem::take(&mut sorted.ended) {
                taker = None;
            }
            if !sorted.for_driver.is_empty() {
                driver.write_all_buf(&mut sorted.for_driver).await?;
            }
        }
    }
}

/// Gives rows to whoever takes them.
async fn deliver(sorted: &mut Sorted, taker: Option<&mpsc::Sender<Bytes>>) -> io::Result<()> {
    if sorted.rows.is_empty() {
        return Ok(());
    }
    let rows = sorted.rows.split().freeze();
    let taken = match taker {
        Some(taker) => taker.send(rows).await.is_ok(),
        None => false,
    };
    if taken { Ok(()) } else { Err(io::Error::other("a copy was given up before its end")) }
}

/// Passes everything on until both sides have closed.
pub(super) async fn opaque(
    mut driver: UnixStream,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    copy_bidirectional_with_sizes(&mut driver, &mut server, BUFFER_BYTES, BUFFER_BYTES).await.map(|_| ())
}

/// Passes on what does not take the bypass, until both sides have closed.
pub(super) async fn beside(
    bypass: &Bypass,
    startup: &Startup,
    mut driver: UnixStream,
    server: OwnedReadHalf,
) -> io::Result<()> {
    startup.replace(&mut driver, &mut *bypass.0.to_server.lock().await).await?;
    let (from_driver, to_driver) = driver.into_split();
    tokio::try_join!(bypass.up(from_driver), bypass.down(server, to_driver)).map(|_| ())
}
