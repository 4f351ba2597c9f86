//! Everything of Milestream that talks to Postgres: sessions, syncs, ingestion, and the commands of `milestream`.

pub mod cli;
pub mod comparison;
pub mod config;
#[cfg(feature = "demo")]
mod demo;
mod digest;
mod error;
mod foresight;
pub mod ingest;
pub mod observer;
mod pair;
mod panics;
mod postgres;
pub mod reset;
mod rights;
mod schema;
mod shapes;
mod staging;
mod statements;
mod stream_name;
mod structure;
pub mod sync;
mod tables;

pub use error::{Class, Error, Result};
pub use pair::Holding;
pub use postgres::{Endpoint, Password, PinnedSetting, TlsMode, pinned_settings};
pub use rights::{Lack, Right};
pub use stream_name::StreamName;

/// `host:pid:nonce`: tells workers apart, also one that has the process id of a dead one.
fn worker_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let nonce = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    format!("{host}:{}:{nonce:08x}", std::process::id())
}
