//! The demo's stage: four throwaway servers and a configuration directory that points at them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use tempfile::TempDir;

use crate::error::{Error, Result};

/// A server of the demo: its name, the container of the model that it stands for, and its database.
struct Part {
    name: &'static str,
    container: &'static str,
    database: &'static str,
}

const PARTS: [Part; 4] = [
    Part { name: "source", container: "FlightsDB", database: "flights" },
    Part { name: "Hub", container: "MergeDB_Hub", database: "hub_merge" },
    Part { name: "Edge", container: "MergeDB_Edge", database: "edge_merge" },
    Part { name: "Archive", container: "MergeDB_Archive", database: "archive_merge" },
];

const CREDENTIALS: [&str; 4] = ["demo_source", "demo_hub", "demo_edge", "demo_archive"];

const DOCUMENTS: [(&str, &str); 5] = [
    ("datastore.json", include_str!("../../../../fixtures/models/demo/datastore.json")),
    (
        "platform_services_provider_hub.json",
        include_str!("../../../../fixtures/models/demo/platform_services_provider_hub.json"),
    ),
    (
        "platform_services_provider_edge.json",
        include_str!("../../../../fixtures/models/demo/platform_services_provider_edge.json"),
    ),
    (
        "platform_services_provider_archive.json",
        include_str!("../../../../fixtures/models/demo/platform_services_provider_archive.json"),
    ),
    (
        "primary_ingestion_platforms.json",
        include_str!("../../../../fixtures/models/demo/primary_ingestion_platforms.json"),
    ),
];

/// Servers and configuration; everything is gone when it is dropped.
pub(crate) struct Stage {
    servers: Vec<Server>,
    directory: TempDir,
}

impl Stage {
    /// Starts the servers side by side, creates their databases and writes the configuration.
    ///
    /// # Errors
    /// `Setup` when there is no Postgres to be found, with all remedies.
    pub(crate) async fn set(postgres_bin: Option<PathBuf>) -> Result<Stage> {
        let backend = Backend::find(&FindOptions { postgres_bin }).await.map_err(no_servers)?;
        let start = |part: &'static Part| {
            let backend = backend.clone();
            async move {
                let server = Server::start(&backend, ServerOptions::named(part.name)).await?;
                server.create_database(part.database).await?;
                Ok::<Server, milestream_cluster::Error>(server)
            }
        };
        let [source, hub, edge, archive] = &PARTS;
        let (source, hub, edge, archive) =
            tokio::try_join!(start(source), start(hub), start(edge), start(archive)).map_err(no_servers)?;
        let directory = tempfile::Builder::new().prefix("milestream-demo-").tempdir();
        let directory =
            directory.map_err(|error| cannot_write(Path::new("a temporary directory"), &error))?;
        let stage = Stage { servers: vec![source, hub, edge, archive], directory };
        stage.write_configuration()?;
        Ok(stage)
    }

    /// The configuration directory, for the demo and for whoever wants to look around.
    pub(crate) fn configuration(&self) -> &Path {
        self.directory.path()
    }

    /// The source's connection options, for telling its story.
    pub(crate) fn source(&self) -> sqlx::postgres::PgConnectOptions {
        self.servers[0].connect_options(PARTS[0].database)
    }

    /// Each database's name and connection string.
    pub(crate) fn connection_strings(&self) -> Vec<(&'static str, String)> {
        let of = |(part, server): (&Part, &Server)| (part.name, server.url(part.database));
        PARTS.iter().zip(&self.servers).map(of).collect()
    }

    /// Stops all servers, so that nothing is left when the process ends.
    pub(crate) async fn strike(self) {
        for server in &self.servers {
            if let Err(error) = server.stop_immediate().await {
                tracing::debug!(%error, "a server of the demo did not stop");
            }
        }
    }

    fn write_configuration(&self) -> Result<()> {
        for (name, text) in DOCUMENTS {
            self.write(name, text)?;
        }
        let mut settings = String::from(
            "# Written by `milestream demo`: the model says localhost:5432 everywhere, the servers are here.\n\
             [defaults]\nsecrets_dir = \"secrets\"\n# Many small chunks, so that there is something to see.\nseed_chunk_rows = 5000\n\n\
             [defaults.endpoints]\n",
        );
        for (part, server) in PARTS.iter().zip(&self.servers) {
            let _ = writeln!(settings, "{} = \"{}:{}\"", part.container, server.host(), server.port());
        }
        settings.push_str("\n[platform.Archive]\nkind = \"mirror\"\n");
        self.write("milestream.toml", &settings)?;
        for credential in CREDENTIALS {
            self.write(&format!("secrets/{credential}/user"), milestream_cluster::SUPERUSER)?;
            self.write(&format!("secrets/{credential}/password"), "trusted")?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.path().join(name);
        let parent = path.parent().unwrap_or(self.directory.path());
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| cannot_write(&path, &error))
    }
}

fn no_servers(error: milestream_cluster::Error) -> Error {
    Error::setup(format!("the demo has no servers: {error}"), "see above: any one of the remedies will do")
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    let remedy = "free space, or set TMPDIR to a directory that can be written";
    Error::setup(format!("{} cannot be written: {error}", path.display()), remedy)
}
