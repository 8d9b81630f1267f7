//! Files → bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Write as _};
use std::path::{Path, PathBuf};

use vexp_api::digest::{Digest, Hasher};
use vexp_api::ids::Name;

use super::{BundleError, BundlePath, FORMAT, MANIFEST, Manifest, header};
use crate::store::{FileEntry, StoreError, digest_file};

/// How hard zstd tries. Another level makes another digest: it is part of the format.
const LEVEL: i32 = 9;

/// Where a file of a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Made for the bundle.
    Bytes(Vec<u8>),
    /// Copied.
    File(PathBuf),
}

/// All files of a bundle but its manifest.
pub type Contents = BTreeMap<BundlePath, Source>;

/// A bundle that was written.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Digest of the file.
    pub digest: Digest,
    /// Bytes of the file.
    pub size: u64,
    /// What is in it.
    pub manifest: Manifest,
}

/// The manifest that the bundle of these files has, without making it.
pub fn list(run: &Name, vexp: &str, contents: &Contents) -> Result<Manifest, BundleError> {
    let files = contents
        .iter()
        .map(|(path, source)| Ok((path.clone(), entry(source)?)))
        .collect::<Result<_, BundleError>>()?;
    let manifest = Manifest {
        format: FORMAT,
        run: run.clone(),
        vexp: vexp.to_owned(),
        files,
    };
    manifest.sound()?;
    Ok(manifest)
}

/// Writes the bundle of a run to `target`: all of it or nothing. The same files give the same
/// bytes, whatever their dates, owners and folders.
pub fn pack(
    run: &Name,
    vexp: &str,
    contents: &Contents,
    target: &Path,
) -> Result<Packed, BundleError> {
    let manifest = list(run, vexp, contents)?;
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || BundleError::io("write", target);
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(write())?;
    archive(&manifest, contents, file.as_file_mut(), target)?;
    file.as_file().sync_all().map_err(write())?;
    let digest = digest_file(file.path()).map_err(unstored)?;
    let size = file.as_file().metadata().map_err(write())?.len();
    file.persist(target).map_err(|e| write()(e.error))?;
    Ok(Packed {
        digest,
        size,
        manifest,
    })
}

fn archive(
    manifest: &Manifest,
    contents: &Contents,
    file: &mut File,
    target: &Path,
) -> Result<(), BundleError> {
    let write = || BundleError::io("write", target);
    // One thread: with more, the stream depends on their number.
    let mut stream = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(write())?;
    stream.include_checksum(true).map_err(write())?;
    let mut tar = tar::Builder::new(stream);
    let run = &manifest.run;
    let bytes = manifest.bytes()?;
    let first = header(run, MANIFEST, bytes.len() as u64)?;
    tar.append(&first, bytes.as_slice()).map_err(write())?;
    for ((path, listed), source) in manifest.files.iter().zip(contents.values()) {
        let header = header(run, path.as_str(), listed.size)?;
        let mut reader = Digesting::new(source, listed.size)?;
        tar.append(&header, &mut reader).map_err(write())?;
        if reader.digest() != listed.digest {
            let path = match source {
                Source::File(path) => path.clone(),
                Source::Bytes(_) => path.as_str().into(),
            };
            return Err(BundleError::Changed(path));
        }
    }
    let stream = tar.into_inner().map_err(write())?;
    let mut buffer = stream.finish().map_err(write())?;
    buffer.flush().map_err(write())
}

fn entry(source: &Source) -> Result<FileEntry, BundleError> {
    match source {
        Source::Bytes(bytes) => Ok(FileEntry {
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        }),
        Source::File(path) => Ok(FileEntry {
            size: std::fs::metadata(path)
                .map_err(BundleError::io("look at", path))?
                .len(),
            digest: digest_file(path).map_err(unstored)?,
        }),
    }
}

fn unstored(error: StoreError) -> BundleError {
    match error {
        StoreError::Io {
            action,
            path,
            source,
        }
        | StoreError::Full {
            action,
            path,
            source,
        } => BundleError::Io {
            action,
            path,
            source,
        },
        StoreError::ReadOnly { root } => BundleError::Io {
            action: "write to",
            path: root,
            source: std::io::ErrorKind::PermissionDenied.into(),
        },
        StoreError::NoRoot => BundleError::Io {
            action: "find",
            path: PathBuf::new(),
            source: std::io::ErrorKind::NotFound.into(),
        },
        StoreError::From { root, source } => BundleError::Io {
            action: "use the store",
            path: root,
            source,
        },
        StoreError::Strange { root: path, .. }
        | StoreError::Held { path, .. }
        | StoreError::Damaged { path, .. } => BundleError::Io {
            action: "use the store",
            path,
            source: std::io::ErrorKind::PermissionDenied.into(),
        },
    }
}

/// Exactly as many bytes as were listed, digested on their way: those of a file that has become
/// shorter are made up by zeros, which the digest gives away.
struct Digesting<'a> {
    reader: std::io::Take<std::io::Chain<Box<dyn Read + 'a>, std::io::Repeat>>,
    hasher: Hasher,
}

impl<'a> Digesting<'a> {
    fn new(source: &'a Source, size: u64) -> Result<Self, BundleError> {
        let reader: Box<dyn Read> = match source {
            Source::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Source::File(path) => {
                Box::new(File::open(path).map_err(BundleError::io("open", path))?)
            }
        };
        Ok(Self {
            reader: reader.chain(std::io::repeat(0)).take(size),
            hasher: Hasher::new(),
        })
    }

    fn digest(self) -> Digest {
        self.hasher.finish()
    }
}

impl Read for Digesting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
