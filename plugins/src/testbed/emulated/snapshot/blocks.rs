//! Sparse files: read without their holes, so that a machine's memory is hashed and copied by what is in it.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use vexp_api::digest::{Digest, Hasher};

/// Bytes of a block. A block of zeros is a hole, whether or not the file system knows.
const BLOCK: usize = 1 << 16;

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Bytes, with holes.
    size: u64,
    /// SHA-256 of its blocks that are not all zeros, each after its place in the file (64 bits, little endian).
    digest: Digest,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Written> {
    each(path, |_, _| Ok(()))
}

/// Copies a file with its holes, for good. What was read of it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Written> {
    let target = File::create_new(to)?;
    let written = each(from, |place, block| target.write_all_at(block, place))?;
    target.set_len(written.size)?;
    target.sync_all()?;
    Ok(written)
}

/// Calls `block` with each block that is not all zeros.
fn each(path: &Path, mut block: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<Written> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BLOCK];
    let mut place = 0;
    while place < size {
        place = match data(&file, place)? {
            Some(data) => data - data % BLOCK as u64,
            None => break,
        };
        let length = (size - place).min(BLOCK as u64) as usize;
        let read = &mut buffer[..length];
        file.read_exact_at(read, place)?;
        if read.iter().any(|byte| *byte != 0) {
            hasher.update(&place.to_le_bytes());
            hasher.update(read);
            block(place, read)?;
        }
        place += BLOCK as u64;
    }
    Ok(Written {
        size,
        digest: hasher.finish(),
    })
}

/// Where the next data are, from `place` on; `None` where there are none.
fn data(file: &File, place: u64) -> Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(place)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        // The file system can't say: all may be data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(place)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = File::create(path("ram")).unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(b"memory", (3 << 20) + 5).unwrap();
        file.write_all_at(b"end", (8 << 20) - 3).unwrap();
        let written = read(&path("ram")).unwrap();
        assert_eq!(copy(&path("ram"), &path("copy")).unwrap(), written);
        let bytes = |name: &str| std::fs::read(path(name)).unwrap();
        assert!(bytes("ram") == bytes("copy"));
        assert!(path("copy").metadata().unwrap().blocks() <= 2 * (2 * BLOCK as u64 / 512));
        // Zeros that were written are holes, and a byte elsewhere is another file.
        std::fs::write(path("dense"), bytes("ram")).unwrap();
        assert_eq!(read(&path("dense")).unwrap(), written);
        file.write_all_at(b"memory", (4 << 20) + 5).unwrap();
        assert_ne!(read(&path("ram")).unwrap(), written);
        file.set_len(9 << 20).unwrap();
        assert_ne!(read(&path("ram")).unwrap(), written);
        std::fs::write(path("empty"), "").unwrap();
        assert_eq!(read(&path("empty")).unwrap().size, 0);
    }
}
