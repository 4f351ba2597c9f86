use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use super::account::barrier_on_the_way_to;
use super::prepared::Prepared;
use crate::{Error, OLDEST_MAJOR};

/// Server binaries in a directory of this machine.
#[derive(Clone, Debug)]
pub struct LocalBinaries {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    version: Version,
    prepared: Mutex<Option<Arc<Prepared>>>,
}

/// As the program says it, such as `15.18`, with the numbers to compare by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    text: String,
}

/// Where binaries may lie.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Directories in order; the first that serves is taken.
    pub(crate) path: Vec<PathBuf>,
    /// Parent, beginning of the versioned name, directory below it; the newest version of all is taken.
    pub(crate) versioned: Vec<(PathBuf, &'static str, &'static str)>,
    /// Whether Docker may be asked.
    pub(crate) docker: bool,
}

impl Places {
    /// `PATH` and where the packages of the usual systems put their servers.
    pub(crate) fn of_this_machine() -> Places {
        let versioned = [
            ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu
            ("/usr", "pgsql-", "bin"),                  // packages of postgresql.org for RHEL, Fedora
            ("/usr/lib", "postgresql", "bin"),          // SUSE
            ("/usr/lib64", "postgresql-", "bin"),       // Gentoo
            ("/usr/libexec", "postgresql", ""),         // Alpine
            ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew
            ("/usr/local/opt", "postgresql", "bin"),    // Homebrew on Intel
            ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
            ("/Library/PostgreSQL", "", "bin"), // EDB's installer
            ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
            ("/usr/local", "pgsql", "bin"), // `make install`
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        Places {
            path: std::env::split_paths(&path).filter(|directory| directory.is_absolute()).collect(),
            versioned: versioned
                .into_iter()
                .map(|(parent, name, below)| (parent.into(), name, below))
                .collect(),
            docker: true,
        }
    }

    fn versioned_directories(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for (parent, name, below) in &self.versioned {
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
            found.extend(
                named.map(|entry| entry.path().join(below)).filter(|bin| bin.join("postgres").exists()),
            );
        }
        found
    }

    fn versioned_patterns(&self) -> String {
        let pattern = |(parent, name, below): &(PathBuf, &str, &str)| {
            format!("{}/{name}*/{below}", parent.display()).trim_end_matches('/').to_owned()
        };
        self.versioned.iter().map(pattern).collect::<Vec<_>>().join(", ")
    }
}

impl LocalBinaries {
    /// The first in `PATH`, else the newest elsewhere; or what was wrong with each place.
    pub(crate) fn newest_in(places: &Places) -> Result<LocalBinaries, Vec<String>> {
        let mut looked_at = Vec::new();
        let mut attempt = |directory: &Path| match LocalBinaries::in_directory(directory) {
            Ok(binaries) => Some(binaries),
            Err(reason) => {
                looked_at.push(format!("{}: {reason}", directory.display()));
                None
            }
        };
        let in_path = places.path.iter().filter(|directory| directory.join("postgres").exists());
        if let Some(found) = in_path.into_iter().find_map(|directory| attempt(directory)) {
            return Ok(found);
        }
        let versioned = places.versioned_directories();
        let usable = versioned.iter().filter_map(|directory| attempt(directory));
        if let Some(found) = usable.max_by(|a, b| a.shared.version.cmp(&b.shared.version)) {
            return Ok(found);
        }
        looked_at.push("PATH: no directory with a server in it that can be used".to_owned());
        looked_at.push(format!("{}: no server that can be used", places.versioned_patterns()));
        Err(looked_at)
    }

    /// The binaries of one directory, or why they cannot serve.
    pub(crate) fn in_directory(directory: &Path) -> Result<LocalBinaries, String> {
        let directory = std::path::absolute(directory).map_err(|error| error.to_string())?;
        for program in ["postgres", "initdb"] {
            check_program(&directory, program)?;
        }
        if let Some(barrier) = barrier_on_the_way_to(&directory) {
            return Err(format!(
                "servers cannot run as root, and the unprivileged user may not enter {}",
                barrier.display()
            ));
        }
        let version = Version::of(&directory.join("postgres"))?;
        if version.major < OLDEST_MAJOR {
            return Err(format!("version {} is older than {OLDEST_MAJOR}", version.text));
        }
        Ok(LocalBinaries { shared: Arc::new(Shared { directory, version, prepared: Mutex::new(None) }) })
    }

    /// The directory that holds `postgres` and `initdb`.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The version as the server says it, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.shared.version.text
    }

    /// The data directory that servers start from; made when first asked for, and kept as long as these binaries
    /// or a server of theirs.
    pub(crate) fn prepared(&self) -> Result<Arc<Prepared>, Error> {
        let mut prepared = self.shared.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = prepared.as_ref() {
            return Ok(Arc::clone(ready));
        }
        let ready = Arc::new(Prepared::acquire(self.directory(), self.version())?);
        *prepared = Some(Arc::clone(&ready));
        Ok(ready)
    }
}

impl fmt::Display for LocalBinaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {} from {}", self.version(), self.directory().display())
    }
}

fn check_program(directory: &Path, program: &str) -> Result<(), String> {
    let metadata = directory.join(program).metadata().map_err(|error| format!("`{program}`: {error}"))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(format!("`{program}` is not an executable file"))
    }
}

impl Version {
    fn of(program: &Path) -> Result<Version, String> {
        let output = Command::new(program).arg("--version").output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        Version::parse(&text).ok_or_else(|| format!("`postgres --version` says {:?}", text.trim()))
    }

    /// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `… 18beta1`.
    fn parse(output: &str) -> Option<Version> {
        let text = output.split("(PostgreSQL)").nth(1)?.split_whitespace().next()?;
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
        Some(Version { major, minor, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake_server(directory: &Path, version: &str) {
        std::fs::create_dir_all(directory).unwrap();
        for program in ["postgres", "initdb"] {
            let file = directory.join(program);
            std::fs::write(&file, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn machine() -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let versioned =
            vec![(root.path().join("lib"), "", "bin"), (root.path().join("opt"), "pgsql-", "bin")];
        let places = Places { path: vec![root.path().join("path")], versioned, docker: false };
        (root, places)
    }

    #[test]
    fn versions_are_read_as_servers_say_them_and_compared_by_number() {
        let debian = Version::parse("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").unwrap();
        assert_eq!((debian.major, debian.minor, debian.text.as_str()), (15, 18, "15.18"));
        assert!(Version::parse("postgres (PostgreSQL) 9.6.24").unwrap() < debian);
        assert!(Version::parse("postgres (PostgreSQL) 18beta1").unwrap() > debian);
        assert_eq!(Version::parse("command not found"), None);
    }

    #[test]
    fn the_newest_version_is_taken_wherever_it_lies() {
        let (root, places) = machine();
        fake_server(&root.path().join("lib/9.6/bin"), "9.6.24");
        fake_server(&root.path().join("lib/15/bin"), "15.2");
        fake_server(&root.path().join("opt/pgsql-17/bin"), "17.1");
        fake_server(&root.path().join("opt/other-18/bin"), "18.0");
        assert_eq!(LocalBinaries::newest_in(&places).unwrap().version(), "17.1");
    }

    #[test]
    fn path_comes_before_newer_versions_elsewhere() {
        let (root, places) = machine();
        fake_server(&root.path().join("path"), "14.9");
        fake_server(&root.path().join("lib/17/bin"), "17.1");
        assert_eq!(LocalBinaries::newest_in(&places).unwrap().version(), "14.9");
    }

    #[test]
    fn a_server_that_is_too_old_or_incomplete_is_passed_over_with_the_reason() {
        let (root, places) = machine();
        fake_server(&root.path().join("path"), "13.4");
        fake_server(&root.path().join("lib/16/bin"), "16.0");
        std::fs::remove_file(root.path().join("lib/16/bin/initdb")).unwrap();
        let looked_at = LocalBinaries::newest_in(&places).unwrap_err().join("\n");
        assert!(looked_at.contains("13.4 is older than 14"), "{looked_at}");
        assert!(looked_at.contains("lib/16/bin: `initdb`"), "{looked_at}");
    }
}
