//! A small disk that can be filled to its last byte: a tmpfs of its own, which only root can mount.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use super::Failure;

/// Room for a database and what a history puts into it.
const SIZE: &str = "size=48m,mode=1777";

/// A mounted tmpfs, unmounted when it is dropped.
pub(crate) struct SmallDisk {
    mount: tempfile::TempDir,
}

impl SmallDisk {
    /// Whether such a disk can be had on this machine, for servers of this machine.
    pub(crate) fn is_possible() -> bool {
        SmallDisk::mount().is_ok()
    }

    pub(crate) fn mount() -> Result<SmallDisk, Failure> {
        let mount = tempfile::Builder::new().prefix("milestream-disk-").tempdir()?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "milestream"])
            .arg(mount.path())
            .output()?;
        if !status.status.success() {
            let reason = String::from_utf8_lossy(&status.stderr).trim().to_owned();
            return Err(Failure::Set { what: format!("a small disk cannot be mounted: {reason}") });
        }
        Ok(SmallDisk { mount })
    }

    /// The directory of the tablespace, which the server makes itself so that it owns it.
    pub(crate) fn space(&self) -> String {
        self.mount.path().join("space").display().to_string()
    }

    fn filler(&self) -> PathBuf {
        self.mount.path().join("filler")
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> Result<(), Failure> {
        let mut filler = File::create(self.filler())?;
        for piece in [vec![b'x'; 1 << 20], vec![b'x'; 4096], vec![b'x'; 1]] {
            // Bounded by the disk's size.
            loop {
                match filler.write(&piece) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Frees it.
    pub(crate) fn free(&self) -> Result<(), Failure> {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server that used it may be ending at this moment.
        let ended = Command::new("umount").arg("--lazy").arg(self.mount.path()).output();
        if let Err(error) = ended {
            tracing::debug!(%error, "a small disk could not be unmounted");
        }
    }
}
