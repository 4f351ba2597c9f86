//! Disposable Postgres servers for the demo, tests, the simulation and benches.
//!
//! A [`Backend`] says where servers come from: binaries on this machine, or containers. A [`Server`] is one of
//! them, running: it can be stopped, killed, paused and restarted on the same port with the same data, and it is
//! gone, process and directory, when it is dropped.
//!
//! ```no_run
//! # async fn example() -> Result<(), milestream_cluster::Error> {
//! use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
//!
//! let backend = Backend::find(&FindOptions::from_env()).await?;
//! let primary = Server::start(&backend, ServerOptions::named("primary")).await?;
//! primary.create_database("merge").await?;
//! println!("{}", primary.url("merge"));
//! primary.kill().await?;
//! primary.restart().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Servers listen on loopback only and trust whoever connects, unless [`ServerOptions::password`] is set.
//! They run with `fsync = off`, which survives every crash but the machine's own, unless
//! [`ServerOptions::durable`] is set; `synchronous_commit` stays on, since without it a crash loses commits that
//! were acknowledged.
//!
//! A process that is killed drops nothing. Its local servers are ended by the kernel's parent-death signal, where
//! util-linux has a `setpriv` that can ask for it, and their directories are removed by the next server that any
//! process of the same user starts. Its containers stay: `docker ps --all --filter label=milestream` shows them.

mod backend;
mod container;
mod databases;
#[cfg(feature = "download")]
mod download;
mod error;
mod local;
mod options;
mod port;
mod server;

pub use backend::{Backend, FindOptions};
pub use container::ContainerImage;
pub use error::Error;
pub use local::LocalBinaries;
pub use options::{ServerOptions, Tls};
pub use server::Server;

/// The name of the superuser of every disposable server.
pub const SUPERUSER: &str = "postgres";

/// The oldest major version of Postgres that is accepted from this machine.
pub const OLDEST_MAJOR: u32 = 14;
