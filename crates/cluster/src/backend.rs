use std::fmt;
use std::path::{Path, PathBuf};

use crate::container::{ContainerImage, IMAGE_VARIABLE};
use crate::local::{LocalBinaries, Places};
use crate::{Error, OLDEST_MAJOR};

/// Where to look for Postgres.
#[derive(Clone, Debug, Default)]
pub struct FindOptions {
    /// A directory that holds `postgres` and `initdb`. When it is named nothing else is looked at.
    pub postgres_bin: Option<PathBuf>,
}

impl FindOptions {
    /// The directory named by `MILESTREAM_POSTGRES_BIN`, if any.
    pub fn from_env() -> Self {
        let named = std::env::var_os("MILESTREAM_POSTGRES_BIN").filter(|value| !value.is_empty());
        FindOptions { postgres_bin: named.map(PathBuf::from) }
    }
}

/// Where servers come from. Cheap to clone.
///
/// The data directory that `initdb` prepared is shared by everything that runs at the same time, and removed with
/// the last backend and server that use it. A backend in a `static` is never dropped and would leave it behind.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Server binaries on this machine.
    Local(LocalBinaries),
    /// Containers started through Docker.
    Container(ContainerImage),
}

impl Backend {
    /// Finds Postgres: the named directory; else binaries in `PATH`, then in the usual versioned directories,
    /// newest first; else Docker when its daemon answers; else, with the cargo feature `download`, a build from
    /// the internet.
    ///
    /// # Errors
    /// [`Error::UnusableBinaries`] when a directory is named that cannot serve, [`Error::NoPostgres`] when there is
    /// nothing anywhere, [`Error::Download`] when fetching failed.
    pub async fn find(options: &FindOptions) -> Result<Backend, Error> {
        let backend = search(options, &Places::of_this_machine()).await?;
        tracing::debug!(%backend, "found Postgres");
        Ok(backend)
    }

    /// The binaries in a directory.
    ///
    /// # Errors
    /// [`Error::UnusableBinaries`] when they are missing, too old, or out of reach.
    pub fn local(directory: &Path) -> Result<Backend, Error> {
        LocalBinaries::in_directory(directory)
            .map(Backend::Local)
            .map_err(|reason| Error::UnusableBinaries { directory: directory.to_owned(), reason })
    }

    /// Containers of an image such as `postgres:17-alpine`, whatever else this machine has.
    ///
    /// # Errors
    /// [`Error::Docker`] when the daemon does not answer.
    pub async fn container(image: &str) -> Result<Backend, Error> {
        ContainerImage::with_daemon(image).await.map(Backend::Container).map_err(|reason| Error::Docker {
            doing: "answer",
            image: image.to_owned(),
            reason,
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Local(binaries) => binaries.fmt(f),
            Backend::Container(image) => image.fmt(f),
        }
    }
}

async fn search(options: &FindOptions, places: &Places) -> Result<Backend, Error> {
    if let Some(directory) = &options.postgres_bin {
        return Backend::local(directory);
    }
    let mut looked_at = match LocalBinaries::newest_in(places) {
        Ok(binaries) => return Ok(Backend::Local(binaries)),
        Err(looked_at) => looked_at,
    };
    if places.docker {
        match ContainerImage::with_daemon(&ContainerImage::name_from_env()).await {
            Ok(image) => return Ok(Backend::Container(image)),
            Err(reason) => looked_at.push(format!("Docker: {reason}")),
        }
    }
    last_resort(looked_at).await
}

#[cfg(feature = "download")]
async fn last_resort(looked_at: Vec<String>) -> Result<Backend, Error> {
    tracing::info!(?looked_at, "no Postgres on this machine; downloading a build");
    Backend::local(&crate::download::binaries().await?)
}

#[cfg(not(feature = "download"))]
async fn last_resort(mut looked_at: Vec<String>) -> Result<Backend, Error> {
    looked_at.push("the internet: this build has no cargo feature `download`".to_owned());
    // The variant with the feature waits for a download.
    std::future::ready(Err(Error::NoPostgres { looked_at, remedies: remedies() })).await
}

#[cfg_attr(feature = "download", allow(dead_code, reason = "the download is the remedy"))]
fn remedies() -> Vec<String> {
    vec![
        format!(
            "install a Postgres server, version {OLDEST_MAJOR} or newer: `apt-get install postgresql`, `dnf install \
             postgresql-server`, `apk add postgresql` or `brew install postgresql@17`"
        ),
        "name the directory that holds `postgres` and `initdb`: `--postgres-bin DIR` or MILESTREAM_POSTGRES_BIN=DIR"
            .to_owned(),
        format!(
            "start Docker, so that `docker version` shows a server; {IMAGE_VARIABLE} names another image than {}",
            ContainerImage::DEFAULT
        ),
        "build with `--features download`, which fetches a server from the internet".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_found_is_one_error_that_names_every_place_and_every_remedy() {
        let empty = tempfile::tempdir().unwrap();
        let places = Places {
            path: vec![empty.path().to_owned()],
            versioned: vec![(empty.path().join("lib"), "", "bin")],
            docker: false,
        };
        if cfg!(feature = "download") {
            return;
        }
        let error = search(&FindOptions::default(), &places).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::NoPostgres { .. }));
        for part in [
            "PATH",
            "lib/*/bin",
            "apt-get install postgresql",
            "--postgres-bin",
            "Docker",
            "--features download",
        ] {
            assert!(text.contains(part), "{part} is missing from: {text}");
        }
    }

    #[tokio::test]
    async fn a_named_directory_without_a_server_is_an_error_even_when_another_place_has_one() {
        let empty = tempfile::tempdir().unwrap();
        let options = FindOptions { postgres_bin: Some(empty.path().to_owned()) };
        let error = Backend::find(&options).await.unwrap_err();
        assert!(matches!(&error, Error::UnusableBinaries { directory, .. } if directory == empty.path()));
        assert!(error.to_string().contains("postgres"), "{error}");
    }
}
