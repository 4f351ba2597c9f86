//! One `initdb` for all servers of all processes that run at the same time.
//!
//! The result lies in a directory of the user, under a lock file. Whoever uses it holds the lock shared; whoever
//! makes or removes it holds the lock alone. The last user removes it, so nothing remains on disk, and the processes
//! of one test run, which overlap, share one `initdb`. A process that is killed frees its lock with its life; what
//! it leaves is used and removed by the next.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::account::{self, Account, hand_over};
use super::directory::{own_directory, parent_directory, remove};
use super::program::{self, Failure};
use crate::{Error, SUPERUSER};

/// Changes whenever `initdb`'s arguments do, so that versions of this crate do not share what differs.
const FORMAT: u32 = 1;
const ACQUIRE_LIMIT: Duration = Duration::from_secs(120);
const INITDB_LIMIT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(10);

/// A data directory to copy from, held in shared use until this is dropped.
#[derive(Debug)]
pub(crate) struct Prepared {
    data: PathBuf,
    lock: File,
    lock_path: PathBuf,
}

impl Prepared {
    /// Uses what is there, or makes it, waiting up to two minutes for another process that is at it.
    pub(crate) fn acquire(binaries: &Path, version: &str) -> Result<Prepared, Error> {
        Prepared::acquire_in(&parent_directory(false)?, binaries, version)
    }

    fn acquire_in(parent: &Path, binaries: &Path, version: &str) -> Result<Prepared, Error> {
        let deadline = Instant::now() + ACQUIRE_LIMIT;
        let name = name(binaries, version);
        while Instant::now() < deadline {
            // The last user of another version may remove the directory between two steps of ours.
            let home = own_directory(parent, "prepared")?;
            let lock_path = home.join(format!("{name}.lock"));
            let lock = match OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.map_err(Error::io("open", &lock_path))?,
            };
            let prepared = Prepared { data: home.join(&name), lock, lock_path };
            if prepared.is_held_alone(deadline) {
                prepared.make(binaries)?;
            }
            if prepared.is_held_shared() {
                return Ok(prepared);
            }
        }
        let busy = std::io::Error::new(ErrorKind::TimedOut, "other processes held its lock for two minutes");
        Err(Error::Io {
            doing: "share the prepared data directory under",
            path: parent.to_owned(),
            source: busy,
        })
    }

    /// Waits to be alone, unless the directory is there and others are already using it.
    fn is_held_alone(&self, deadline: Instant) -> bool {
        while Instant::now() < deadline && self.lock_is_current() {
            if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return self.lock_is_current();
            }
            if self.is_held_shared() {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }

    /// Turning a lock from exclusive to shared lets go of it for a moment, in which another process may have
    /// removed everything; so this looks again once it is held, and frees a lock on nothing for others to take alone.
    fn is_held_shared(&self) -> bool {
        let shared = flock(&self.lock, FlockOperation::NonBlockingLockShared).is_ok();
        let usable = shared && self.lock_is_current() && self.data.is_dir();
        if shared
            && !usable
            && let Err(error) = flock(&self.lock, FlockOperation::Unlock)
        {
            tracing::debug!(path = %self.lock_path.display(), %error, "cannot free a lock");
        }
        usable
    }

    /// Whether the locked file is still the one that others find under its name.
    fn lock_is_current(&self) -> bool {
        match (self.lock.metadata(), self.lock_path.metadata()) {
            (Ok(held), Ok(found)) => held.ino() == found.ino() && held.dev() == found.dev(),
            _ => false,
        }
    }

    /// Runs `initdb` beside the final place and renames the result, so that what stands there is complete.
    fn make(&self, binaries: &Path) -> Result<(), Error> {
        if self.data.is_dir() {
            return Ok(());
        }
        let mut unfinished = self.data.clone().into_os_string();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        remove(&unfinished);
        std::fs::create_dir(&unfinished).map_err(Error::io("create", &unfinished))?;
        hand_over(&unfinished)?;
        let made = initdb(binaries, &unfinished);
        if made.is_err() {
            remove(&unfinished);
        }
        made?;
        std::fs::rename(&unfinished, &self.data).map_err(Error::io("rename", &unfinished))
    }

    /// Copies it for one server.
    pub(crate) fn copy_to(&self, data: &Path) -> Result<(), Error> {
        copy_tree(&self.data, data)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let last = flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !last || !self.lock_is_current() {
            return;
        }
        remove(&self.data);
        // The lock goes last: whoever opened it meanwhile finds that its name is gone, and starts over.
        if let Err(error) = std::fs::remove_file(&self.lock_path) {
            tracing::warn!(path = %self.lock_path.display(), %error, "a lock file is left behind");
        }
        if let Some(home) = self.lock_path.parent() {
            // It fails while other versions are prepared there.
            let _ = std::fs::remove_dir(home);
        }
    }
}

/// What differs in any of these must not be shared.
fn name(binaries: &Path, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (FORMAT, binaries, version, Account::for_servers().map(|account| account.uid)).hash(&mut hasher);
    format!("{version}-{:016x}", hasher.finish())
}

fn initdb(binaries: &Path, data: &Path) -> Result<(), Error> {
    let started = Instant::now();
    let mut command = account::command(&binaries.join("initdb"));
    command.arg("--pgdata").arg(data).args(["--username", SUPERUSER, "--auth", "trust", "--no-sync"]);
    // Small segments make small directories; the rest makes servers equal on every machine.
    command.args(["--wal-segsize", "1", "--encoding", "UTF8", "--no-locale", "--no-instructions"]);
    match program::run(command, INITDB_LIMIT)? {
        Ok(()) => {
            tracing::debug!(elapsed_ms = started.elapsed().as_millis(), "initdb prepared a data directory");
            Ok(())
        }
        Err(Failure { outcome, output }) => {
            Err(Error::Initdb { binaries: binaries.to_owned(), outcome, output })
        }
    }
}

/// Copies files (shared blocks where the file system can) and directories; a data directory has nothing else.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir(to).map_err(Error::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(Error::io("look at", &source))?.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(Error::io("copy", &source))?;
            hand_over(&target)?;
        }
    }
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(to, private).map_err(Error::io("close off", to))?;
    hand_over(to)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// A directory with an `initdb` that takes a moment and counts its runs.
    fn stage() -> (tempfile::TempDir, PathBuf) {
        let stage = tempfile::tempdir().unwrap();
        let everyone = std::fs::Permissions::from_mode(0o777);
        let program = stage.path().join("initdb");
        let script =
            "#!/bin/sh\nsleep 0.05\nmkdir $2/base\necho 15 > $2/PG_VERSION\necho run >> ${0%/*}/runs\n";
        std::fs::write(&program, script).unwrap();
        std::fs::write(stage.path().join("runs"), "").unwrap();
        for path in [stage.path(), &program, &stage.path().join("runs")] {
            std::fs::set_permissions(path, everyone.clone()).unwrap();
        }
        let parent = stage.path().join("parent");
        std::fs::create_dir(&parent).unwrap();
        (stage, parent)
    }

    fn runs(stage: &tempfile::TempDir) -> usize {
        std::fs::read_to_string(stage.path().join("runs")).unwrap().lines().count()
    }

    /// Locks belong to open files, so threads compete for them as processes do.
    #[test]
    fn those_who_start_together_share_one_initdb_and_the_last_removes_everything() {
        let (stage, parent) = stage();
        let together = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let prepared = Prepared::acquire_in(&parent, stage.path(), "15.0").unwrap();
                    together.wait();
                    assert!(prepared.data.join("PG_VERSION").exists());
                });
            }
        });
        assert_eq!(runs(&stage), 1);
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn whoever_comes_while_the_last_one_goes_still_gets_a_complete_directory() {
        let (stage, parent) = stage();
        std::thread::scope(|scope| {
            for worker in 0..6_u64 {
                let (stage, parent) = (&stage, &parent);
                scope.spawn(move || {
                    for round in 0..6_u64 {
                        let prepared = Prepared::acquire_in(parent, stage.path(), "15.0").unwrap();
                        assert!(prepared.data.join("PG_VERSION").exists());
                        drop(prepared);
                        std::thread::sleep(Duration::from_millis((worker * 7 + round * 13) % 20));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn what_a_killed_process_left_is_used_and_an_unfinished_one_is_made_again() {
        let (stage, parent) = stage();
        let first = Prepared::acquire_in(&parent, stage.path(), "15.0").unwrap();
        let mut unfinished = first.data.clone().into_os_string();
        unfinished.push(".unfinished");
        // As if killed: the lock goes, the files stay.
        flock(&first.lock, FlockOperation::Unlock).unwrap();
        std::fs::create_dir(&unfinished).unwrap();
        let second = Prepared::acquire_in(&parent, stage.path(), "15.0").unwrap();
        assert_eq!((runs(&stage), &second.data), (1, &first.data));
        flock(&second.lock, FlockOperation::Unlock).unwrap();
        remove(&second.data);
        let third = Prepared::acquire_in(&parent, stage.path(), "15.0").unwrap();
        assert_eq!(runs(&stage), 2);
        assert!(third.data.join("PG_VERSION").exists());
        assert!(!Path::new(&unfinished).exists());
    }

    #[test]
    fn an_initdb_that_fails_is_quoted_and_leaves_nothing() {
        let (stage, parent) = stage();
        std::fs::write(stage.path().join("initdb"), "#!/bin/sh\necho 'no space left' >&2\nexit 3\n").unwrap();
        let error = Prepared::acquire_in(&parent, stage.path(), "15.0").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no space left") && text.contains("exit status: 3"), "{text}");
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0);
    }

    #[test]
    fn versions_and_places_of_binaries_are_kept_apart() {
        assert_ne!(name(Path::new("/a"), "15.1"), name(Path::new("/b"), "15.1"));
        assert_ne!(name(Path::new("/a"), "15.1"), name(Path::new("/a"), "15.2"));
    }
}
