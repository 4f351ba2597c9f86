//! Directories for servers' files: where there is room, with an owner that can be asked whether it still lives.

use std::fs::{File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock, statvfs};

use super::account::{Account, barrier_on_the_way_to};
use crate::Error;

const SHARED_MEMORY: &str = "/dev/shm";
/// Shared memory with less than this is left to others: a server's own segments live there too.
const SHARED_MEMORY_ROOM_BYTES: u64 = 2 << 30;
const PREFIX: &str = "milestream-server-";
const OWNER: &str = "owner.lock";
/// A directory this young may belong to a process that has not locked it yet.
const ORPHAN_AGE: Duration = Duration::from_secs(60);
const REMOVAL_TRIES: u32 = 20;

/// A directory of one server, removed when this is dropped.
///
/// Its owner holds a lock in it. The kernel frees the lock when the owner ends, so that what a killed process left
/// behind is recognised, and removed by the next server that starts.
#[derive(Debug)]
pub(crate) struct ServerDirectory {
    path: PathBuf,
    _owner: File,
}

impl ServerDirectory {
    /// In shared memory if it has room and the data need not be durable, else in the temporary directory.
    pub(crate) fn create(durable: bool) -> Result<ServerDirectory, Error> {
        let parent = parent_directory(durable)?;
        remove_orphans(&parent);
        let created = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
        let created = created.map_err(Error::io("create a directory in", &parent))?;
        let lock = created.path().join(OWNER);
        let owner = File::create(&lock).map_err(Error::io("create", &lock))?;
        flock(&owner, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io("lock", &lock)(error.into()))?;
        open_for_passage(created.path())?;
        Ok(ServerDirectory { path: created.keep(), _owner: owner })
    }

    /// `postgresql.conf` and everything else of the server's own.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where the server's output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }
}

impl Drop for ServerDirectory {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a tree, against stragglers that still write into it.
pub(crate) fn remove(path: &Path) {
    for _ in 0..REMOVAL_TRIES {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => tracing::debug!(path = %path.display(), %error, "cannot remove a directory yet"),
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    tracing::warn!(path = %path.display(), "a directory of a disposable server is left behind; remove it by hand");
}

/// The first directory that has room, is of the right kind, and can be reached by the server's user.
pub(crate) fn parent_directory(durable: bool) -> Result<PathBuf, Error> {
    let mut tried = Vec::new();
    for candidate in candidates(durable) {
        match objection(&candidate, durable) {
            None => return Ok(candidate),
            Some(objection) => tried.push(format!("{}: {objection}", candidate.display())),
        }
    }
    Err(Error::NoRoom { tried, account: Account::for_servers().map(|account| account.name.clone()) })
}

fn candidates(durable: bool) -> Vec<PathBuf> {
    let temporary = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let shared = (!durable).then(|| PathBuf::from(SHARED_MEMORY));
    shared.into_iter().chain(temporary).collect()
}

fn objection(directory: &Path, durable: bool) -> Option<String> {
    if !directory.is_dir() {
        return Some("there is no such directory".to_owned());
    }
    if let Some(barrier) = barrier_on_the_way_to(directory) {
        return Some(format!("the server's user may not enter {}", barrier.display()));
    }
    if durable && is_memory(directory) {
        return Some("it lies in memory, and durable data was asked for".to_owned());
    }
    let room = match statvfs(directory) {
        Ok(filesystem) => filesystem.f_bavail.saturating_mul(filesystem.f_frsize),
        Err(error) => return Some(error.to_string()),
    };
    if directory == Path::new(SHARED_MEMORY) && room < SHARED_MEMORY_ROOM_BYTES {
        return Some(format!("{} MB free", room >> 20));
    }
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).err().map(|error| error.to_string())
}

#[cfg(target_os = "linux")]
fn is_memory(directory: &Path) -> bool {
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    // The field's type differs between architectures.
    rustix::fs::statfs(directory).is_ok_and(|filesystem| i128::from(filesystem.f_type) == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_directory: &Path) -> bool {
    false
}

/// Removes directories of our own whose owner has ended. A server that still runs in one (there was no parent-death
/// signal to end it) notices within a minute that its files are gone, and stops.
fn remove_orphans(parent: &Path) {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        if let Some(_lock) = orphan_lock(&entry.path()) {
            tracing::info!(path = %entry.path().display(), "removing what a killed process left behind");
            remove(&entry.path());
        }
    }
}

/// The lock of a directory, if it is ours, old enough, and nobody's.
fn orphan_lock(directory: &Path) -> Option<File> {
    let metadata = directory.symlink_metadata().ok()?;
    let ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    let lock = OpenOptions::new().write(true).open(directory.join(OWNER)).ok().filter(|_| ours)?;
    let created = lock.metadata().ok()?.modified().ok()?;
    let old = SystemTime::now().duration_since(created).is_ok_and(|age| age > ORPHAN_AGE);
    (old && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()).then_some(lock)
}

/// A directory in `parent` that belongs to this user alone and is shared by all its processes. The name is known to
/// everyone, so one that somebody else made is refused.
pub(crate) fn own_directory(parent: &Path, purpose: &str) -> Result<PathBuf, Error> {
    let user = rustix::process::geteuid().as_raw();
    let path = parent.join(format!("milestream-{purpose}-{user}"));
    match std::fs::create_dir(&path) {
        // Whatever the umask says, the server's user has to pass through.
        Ok(()) => open_for_passage(&path)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("create", path)(error)),
    }
    let metadata = path.symlink_metadata().map_err(Error::io("look at", &path))?;
    if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o022 != 0 {
        let taken =
            std::io::Error::new(ErrorKind::PermissionDenied, "another user can write there; remove it");
        return Err(Error::Io { doing: "use the directory", path, source: taken });
    }
    Ok(path)
}

/// Lets the server's user pass through to what is its own, and nobody look around.
fn open_for_passage(directory: &Path) -> Result<(), Error> {
    std::fs::set_permissions(directory, Permissions::from_mode(0o711))
        .map_err(Error::io("open up", directory))
}

/// Where a downloaded build is kept: on disk, where the server's user can execute it.
#[cfg(feature = "download")]
pub(crate) fn download_directory() -> Result<PathBuf, Error> {
    let path = own_directory(&parent_directory(true)?, "download")?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(Error::io("open up", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_behind(parent: &Path, age: Duration) -> PathBuf {
        let directory = parent.join(format!("{PREFIX}{}", age.as_secs()));
        std::fs::create_dir(&directory).unwrap();
        let lock = File::create(directory.join(OWNER)).unwrap();
        lock.set_modified(SystemTime::now() - age).unwrap();
        directory
    }

    #[test]
    fn only_what_is_old_and_unlocked_is_an_orphan() {
        let parent = tempfile::tempdir().unwrap();
        let young = left_behind(parent.path(), Duration::from_secs(1));
        let orphan = left_behind(parent.path(), Duration::from_secs(1000));
        let owned = left_behind(parent.path(), Duration::from_secs(2000));
        let owner = OpenOptions::new().write(true).open(owned.join(OWNER)).unwrap();
        flock(&owner, FlockOperation::NonBlockingLockExclusive).unwrap();
        remove_orphans(parent.path());
        assert!(young.exists());
        assert!(owned.exists());
        assert!(!orphan.exists());
    }

    #[test]
    fn a_directory_that_others_may_write_is_not_taken_for_our_own() {
        let parent = tempfile::tempdir().unwrap();
        let own = own_directory(parent.path(), "test").unwrap();
        assert_eq!(own_directory(parent.path(), "test").unwrap(), own, "it is found again");
        std::fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
        assert!(own_directory(parent.path(), "test").unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn durable_data_never_lies_in_memory() {
        let parent = parent_directory(true).unwrap();
        assert!(!is_memory(&parent), "{}", parent.display());
    }
}
