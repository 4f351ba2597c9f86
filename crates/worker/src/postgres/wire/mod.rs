//! The TCP connection under a session.
//!
//! The driver leaves Nagle's algorithm on and sets no keepalives. The first costs 40 ms each time a COPY ends, since
//! its last two messages are small and the second waits for the peer's delayed acknowledgement; the second leaves a
//! session on a half-open link until somebody gives up waiting. The driver takes no connection of ours, but it takes
//! a Unix socket: so the worker connects by itself, with the options it needs, and relays between a private socket
//! and that connection. See `docs/adr/0004-own-tcp-connections.md` for the numbers, and `docs/adr/0009-rows-bypass-the-driver.md`
//! for the rows that are not relayed to it. TLS (`tls`) and the first message (`startup`) are the wire's own, too.

mod common_name;
mod frames;
mod relay;
mod startup;
mod tls;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener, UnixStream};

pub(crate) use relay::Bypass;
pub(super) use startup::Startup;
pub(super) use tls::{Checks, Tls};

const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 3;
/// Bound on data that is never acknowledged, which keepalives do not notice. It also counts the time in which the
/// other side does not read, so it is longer than any wait of a healthy sync.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS_MAX: u32 = 600_000;
/// Bound on the driver's picking up its connection.
const PICK_UP: Duration = Duration::from_secs(60);
/// The longest path of a Unix socket that every system takes.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// A connection that waits to be picked up at a private socket.
pub(crate) struct Wire {
    directory: PrivateDirectory,
    bypass: Option<Bypass>,
}

impl Wire {
    /// Connects to the server and offers the connection at `.s.PGSQL.{port}` in [`Wire::directory`], to whoever of
    /// this user comes first. A host that begins with a slash is the directory of a server's socket.
    ///
    /// `None` where no private directory can be made, as on a read-only file system: then the driver has to connect
    /// by itself. With TLS and over a socket there is no bypass.
    ///
    /// # Errors
    /// Those of the connection, of kind `InvalidData` where the server's certificate is not trusted.
    pub(crate) async fn connect(
        host: &str,
        port: u16,
        tls: Option<&Tls>,
        startup: Startup,
    ) -> io::Result<Option<Wire>> {
        let offered = PrivateDirectory::create().and_then(|directory| {
            let listener = UnixListener::bind(directory.0.join(format!(".s.PGSQL.{port}")))?;
            Ok((directory, listener))
        });
        let (directory, listener) = match offered {
            Ok(offered) => offered,
            Err(error) => {
                tracing::debug!(%error, "no private socket: the driver connects by itself");
                return Ok(None);
            }
        };
        if host.starts_with('/') {
            let server = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await?;
            return Ok(Some(Wire::opaque(directory, listener, server, startup)));
        }
        let server = TcpStream::connect((host, port)).await?;
        server.set_nodelay(true)?;
        keep_alive(&server)?;
        match tls {
            Some(tls) => Ok(Some(Wire::opaque(directory, listener, tls.wrap(server).await?, startup))),
            None => Ok(Some(Wire::with_bypass(directory, listener, server, startup))),
        }
    }

    fn opaque(
        directory: PrivateDirectory,
        listener: UnixListener,
        mut server: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        startup: Startup,
    ) -> Wire {
        tokio::spawn(async move {
            let Some(mut driver) = picked_up(listener).await else { return };
            note_end(match startup.replace(&mut driver, &mut server).await {
                Ok(()) => relay::opaque(driver, server).await,
                Err(error) => Err(error),
            });
        });
        Wire { directory, bypass: None }
    }

    fn with_bypass(
        directory: PrivateDirectory,
        listener: UnixListener,
        server: TcpStream,
        startup: Startup,
    ) -> Wire {
        let (bypass, from_server) = Bypass::of(server);
        let offered = bypass.clone();
        tokio::spawn(async move {
            let Some(driver) = picked_up(listener).await else { return };
            note_end(relay::beside(&bypass, &startup, driver, from_server).await);
        });
        Wire { directory, bypass: Some(offered) }
    }

    /// Where the driver finds the socket. The directory goes with the wire, once the driver is connected.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// The way past the driver, if there is one.
    pub(crate) fn bypass(self) -> Option<Bypass> {
        self.bypass
    }
}

/// The driver's side of the connection; `None` when nobody came.
async fn picked_up(listener: UnixListener) -> Option<UnixStream> {
    let picked_up = tokio::time::timeout(PICK_UP, listener.accept()).await;
    picked_up.ok()?.ok().map(|(driver, _)| driver)
}

/// Errors are seen by the driver as a closed connection.
fn note_end(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended");
    }
}

fn keep_alive(server: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(server, true)?;
    sockopt::set_tcp_keepidle(server, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(server, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(server, KEEPALIVE_COUNT)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_user_timeout(server, UNACKNOWLEDGED_MS_MAX)?;
    }
    Ok(())
}

/// A directory that only this user can enter, removed with everything in it.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn create() -> io::Result<PrivateDirectory> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let nonce = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("milestream-{}-{number}-{nonce:08x}", std::process::id());
        let mut path = std::env::temp_dir().join(&name);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX - ".s.PGSQL.65535".len() {
            path = Path::new("/tmp").join(&name);
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(PrivateDirectory(path))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "a private directory could not be removed");
        }
    }
}
