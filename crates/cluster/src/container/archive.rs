//! The tar archive that Docker takes files in, with the owner that a private key needs.

/// The owner of a file inside a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

const BLOCK: usize = 512;

/// A ustar archive of files that only their owner may read.
pub(crate) fn private_files(files: &[(&str, &str)], owner: Owner) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, text) in files {
        archive.extend_from_slice(&header(name, text.len(), owner));
        archive.extend_from_slice(text.as_bytes());
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// Offsets and widths as POSIX gives them for `pax`'s ustar interchange format.
fn header(name: &str, length: usize, owner: Owner) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |offset: usize, bytes: &[u8]| header[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, format!("{:07o}\0", owner.uid).as_bytes());
    put(116, format!("{:07o}\0", owner.gid).as_bytes());
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let checksum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_the_archive_with_owner_mode_and_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        let owner = Owner { uid: 70, gid: 71 };
        std::fs::write(
            &file,
            private_files(&[("server.crt", "CERT"), ("server.key", &"K".repeat(600))], owner),
        )
        .unwrap();
        let listing =
            std::process::Command::new("tar").arg("--numeric-owner").arg("-tvf").arg(&file).output().unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        let lines: Vec<&str> = listing.lines().collect();
        assert_eq!(lines.len(), 2, "{listing}");
        assert!(lines[0].starts_with("-rw-------") && lines[0].contains("70"), "{listing}");
        assert!(lines[1].contains(" 600 ") && lines[1].ends_with("server.key"), "{listing}");
    }
}
