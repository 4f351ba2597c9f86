//! Servers from binaries on this machine.

mod account;
mod binaries;
mod directory;
mod postmaster;
mod prepared;
mod processes;
mod program;
mod server;
mod spawner;

#[cfg(feature = "download")]
pub(crate) use account::Account;
pub use binaries::LocalBinaries;
pub(crate) use binaries::Places;
#[cfg(feature = "download")]
pub(crate) use directory::download_directory;
pub(crate) use server::LocalServer;
