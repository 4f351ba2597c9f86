//! A server build from the internet, for machines that have neither binaries nor Docker.

use std::path::PathBuf;

use postgresql_embedded::{PostgreSQL, SettingsBuilder, VersionReq};

use crate::Error;
use crate::local::{Account, download_directory};

/// Fetches PostgreSQL 17, unless an earlier run did, and returns the directory of its binaries.
///
/// The build is kept under the user's temporary directory: it is a cache, not a part of any server.
pub(crate) async fn binaries() -> Result<PathBuf, Error> {
    let installation = download_directory()?;
    if let Some(directory) = installed(&installation) {
        return Ok(directory);
    }
    let version = VersionReq::parse("^17").map_err(|error| Error::Download { reason: error.to_string() })?;
    let scratch = tempfile::tempdir().map_err(Error::io("create a directory in", std::env::temp_dir()))?;
    let settings = SettingsBuilder::new()
        .version(version)
        .installation_dir(&installation)
        .data_dir(scratch.path().join("data"))
        .password_file(scratch.path().join("password"))
        .temporary(true)
        .build();
    let mut download = PostgreSQL::new(settings);
    // `setup` goes on to initdb, which refuses to run as root; the files are there by then all the same.
    let outcome = download.setup().await;
    match (installed(&installation), outcome) {
        (Some(directory), Ok(())) => Ok(directory),
        (Some(directory), Err(_)) if Account::for_servers().is_some() => Ok(directory),
        (_, Err(error)) => Err(Error::Download { reason: error.to_string() }),
        (None, Ok(())) => {
            Err(Error::Download { reason: format!("no binaries appeared under {}", installation.display()) })
        }
    }
}

/// The newest `…/bin` one level below the installation directory.
fn installed(installation: &std::path::Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(installation).ok()?;
    let directories = entries.flatten().map(|entry| entry.path().join("bin"));
    directories.filter(|bin| bin.join("postgres").is_file()).max()
}
