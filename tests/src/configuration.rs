//! A world written down as a configuration directory, as the real binary reads it.

use std::path::Path;

use milestream_core::stream::Stream;
use milestream_simulation::configuration::{Configured, ConfiguredPlatform};
use tempfile::TempDir;

use crate::{PRIMARY, World};

/// A configuration directory of a world: the primary, `Edge` (live-only) and `Archive` (a mirror).
pub struct Configuration {
    directory: TempDir,
}

impl Configuration {
    /// Writes the directory; `settings` are lines for the `[defaults]` of `milestream.toml`.
    pub fn of(world: &World, settings: &str) -> Configuration {
        Configuration::of_streams(world, vec![world.stream()], settings)
    }

    /// The same of other streams than the world's.
    pub fn of_streams(world: &World, streams: Vec<Stream>, settings: &str) -> Configuration {
        let directory = tempfile::tempdir().expect("a directory");
        let platform = |(name, is_forensic, database): (&str, bool, &str)| ConfiguredPlatform {
            name: name.to_owned(),
            is_forensic,
            host: world.server.host().to_owned(),
            port: world.server.port(),
            database: database.to_owned(),
        };
        let platforms =
            [(PRIMARY, true, "primary"), ("Edge", false, "secondary"), ("Archive", true, "secondary")];
        let configured = Configured {
            streams,
            platforms: platforms.map(platform).to_vec(),
            primaries: vec![PRIMARY.to_owned()],
            user: world.server.superuser().to_owned(),
            password: world.server.password().unwrap_or("trusted").to_owned(),
            staging_batches_to_keep: 3,
            settings: settings.to_owned(),
        };
        configured.write(directory.path()).expect("a configuration");
        Configuration { directory }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes one of its files anew.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
}
