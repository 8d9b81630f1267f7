//! Bundle → files. A bundle may come from anyone: nothing in it is believed.
//!
//! The first entry says what the others must be, and nothing is written that is not so: a file's
//! header is compared with the one that its name and size have, its bytes are counted and digested
//! while they are written, and files are only created, in a folder that is new. Limits are checked
//! against the manifest before anything is written, and the manifest holds for the rest: a stream
//! that goes on is not read on.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use vexp_api::digest::Hasher;
use vexp_api::ids::Name;
use vexp_api::run_dir::open_named;

use super::{BLOCK, BundleError, BundlePath, MANIFEST, Manifest, header};
use crate::store::FileEntry;

/// Most bytes of a manifest: some hundred thousand files.
const MOST_MANIFEST: u64 = 64 << 20;
/// Size below which no ratio is suspicious.
const SMALL: u64 = 64 << 20;
/// Largest window of the stream, as a power of two: 32 MiB, what a reader must keep in memory.
const WINDOW: u32 = 25;

/// How much a bundle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Bytes of all files for each byte of the bundle, where they are more than 64 MiB. A run's
    /// texts shrink to a tenth or a twentieth.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            files: 200_000,
            ratio: 200,
        }
    }
}

/// A bundle that was unpacked, whole and as its manifest says.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The bundle's folder.
    pub root: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// Unpacks a bundle into `target`, which must be an empty folder that nobody else writes to. What
/// was written before an error stays there.
pub fn unpack(bundle: &Path, target: &Path, limits: &Limits) -> Result<Unpacked, BundleError> {
    let file = open_named(bundle).map_err(BundleError::io("open", bundle))?;
    let packed = file
        .metadata()
        .map_err(BundleError::io("look at", bundle))?
        .len();
    let mut archive = Archive::new(file, bundle)?;
    let (run, manifest) = archive.manifest()?;
    within(&manifest, packed, limits)?;
    let root = target.join(run.as_str());
    create_dir(&root)?;
    write(&root.join(MANIFEST), &manifest.bytes()?)?;
    for (path, listed) in &manifest.files {
        archive.next_is(&manifest, path, listed)?;
        archive.extract(&root, path, listed)?;
    }
    archive.end(&manifest)?;
    Ok(Unpacked { root, manifest })
}

fn within(manifest: &Manifest, packed: u64, limits: &Limits) -> Result<(), BundleError> {
    let check = |what, found, limit| {
        if found > limit {
            return Err(BundleError::TooMuch { what, found, limit });
        }
        Ok(())
    };
    let size = manifest.size();
    check("files", manifest.files.len() as u64, limits.files)?;
    check("bytes", size, limits.bytes)?;
    let by_ratio = packed.saturating_mul(limits.ratio).max(SMALL);
    check("bytes for one of its size", size, by_ratio)
}

/// The tar stream.
struct Archive {
    stream: zstd::Decoder<'static, BufReader<File>>,
    /// Bytes of the archive that were read.
    at: u64,
}

impl Archive {
    fn new(file: File, path: &Path) -> Result<Self, BundleError> {
        let open = || BundleError::io("open", path);
        let stream = zstd::Decoder::with_buffer(BufReader::new(file)).map_err(open())?;
        let mut stream = stream.single_frame();
        stream.window_log_max(WINDOW).map_err(open())?;
        Ok(Self { stream, at: 0 })
    }

    /// Fills the buffer as far as the stream goes; how much that was.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, BundleError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    self.at += n as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(BundleError::Stream {
                        at: self.at,
                        source,
                    });
                }
            }
        }
        Ok(filled)
    }

    /// The next block.
    fn block(&mut self, of: &str) -> Result<[u8; BLOCK], BundleError> {
        let mut block = [0; BLOCK];
        if self.fill(&mut block)? < BLOCK {
            return Err(BundleError::Ends(of.to_owned()));
        }
        Ok(block)
    }

    /// The first entry, and the name of the folder that it stands in.
    fn manifest(&mut self) -> Result<(Name, Manifest), BundleError> {
        let found = Entry(self.block("the first header")?);
        let name = found.name();
        let run = name
            .strip_suffix(MANIFEST)
            .and_then(|folder| folder.strip_suffix('/'))
            .and_then(|folder| Name::new(folder).ok())
            .ok_or_else(|| BundleError::NoManifest(name.clone()))?;
        let size = found.size();
        if size > MOST_MANIFEST {
            return Err(BundleError::TooMuch {
                what: "bytes of manifest",
                found: size,
                limit: MOST_MANIFEST,
            });
        }
        found.must_be(&header(&run, MANIFEST, size)?)?;
        let mut bytes = Vec::new();
        self.copy(size, MANIFEST, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        let manifest = Manifest::parse(&bytes)?;
        if manifest.run != run {
            return Err(BundleError::Folder {
                folder: run.to_string(),
                says: manifest.run,
            });
        }
        Ok((run, manifest))
    }

    /// Reads a header, which must be that of a file.
    fn next_is(
        &mut self,
        manifest: &Manifest,
        path: &BundlePath,
        listed: &FileEntry,
    ) -> Result<(), BundleError> {
        let found = Entry(self.block(&format!("the header of `{path}`"))?);
        let expected = header(&manifest.run, path.as_str(), listed.size)?;
        if found.0 == *expected.as_bytes() {
            return Ok(());
        }
        if found.0 == [0; BLOCK] {
            return Err(BundleError::Missing(path.clone()));
        }
        found.is_plain()?;
        let other = found.path(&manifest.run)?;
        if other == *path {
            return Err(match found.size() {
                size if size != listed.size => BundleError::Size {
                    path: other,
                    listed: listed.size,
                    found: size,
                },
                _ => found.altered(),
            });
        }
        Err(match manifest.files.contains_key(&other) {
            true if other < *path => BundleError::Twice(other),
            true => BundleError::Missing(path.clone()),
            false => BundleError::Unlisted(other),
        })
    }

    fn extract(
        &mut self,
        root: &Path,
        path: &BundlePath,
        listed: &FileEntry,
    ) -> Result<(), BundleError> {
        let target = root.join(path.as_str());
        if let Some(folder) = target.parent() {
            create_dir(folder)?;
        }
        let mut file = create(&target)?;
        let mut hasher = Hasher::new();
        self.copy(listed.size, path.as_str(), |part| {
            hasher.update(part);
            file.write_all(part)
                .map_err(BundleError::io("write", &target))
        })?;
        let found = hasher.finish();
        if found != listed.digest {
            return Err(BundleError::Digest {
                path: path.clone(),
                listed: listed.digest.clone(),
                found,
            });
        }
        Ok(())
    }

    /// A file's bytes, in parts, and the zeros that fill its last block.
    fn copy(
        &mut self,
        size: u64,
        of: &str,
        mut part: impl FnMut(&[u8]) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        let mut buffer = vec![0; 128 << 10];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            if self.fill(&mut buffer[..most])? < most {
                return Err(BundleError::Ends(format!("`{of}`")));
            }
            part(&buffer[..most])?;
            left -= most as u64;
        }
        let padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        if self.fill(&mut buffer[..padding])? < padding {
            return Err(BundleError::Ends(format!("`{of}`")));
        }
        if buffer[..padding].iter().any(|byte| *byte != 0) {
            return Err(BundleError::Trailing("between two files"));
        }
        Ok(())
    }

    /// Two blocks of zeros, the end of the frame, and the end of the file.
    fn end(&mut self, manifest: &Manifest) -> Result<(), BundleError> {
        for _ in 0..2 {
            let block = Entry(self.block("its end mark")?);
            if block.0 != [0; BLOCK] {
                block.is_plain()?;
                let more = block.path(&manifest.run)?;
                return Err(match manifest.files.contains_key(&more) {
                    true => BundleError::Twice(more),
                    false => BundleError::Unlisted(more),
                });
            }
        }
        if self.fill(&mut [0])? > 0 {
            return Err(BundleError::Trailing("behind the archive's end"));
        }
        let rest = self.stream.get_mut().fill_buf();
        match rest {
            Ok([]) => Ok(()),
            Ok(_) => Err(BundleError::Trailing("behind the compressed stream")),
            Err(source) => Err(BundleError::Stream {
                at: self.at,
                source,
            }),
        }
    }
}

/// A header as it is written.
struct Entry([u8; BLOCK]);

impl Entry {
    fn header(&self) -> &tar::Header {
        tar::Header::from_byte_slice(&self.0)
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.header().path_bytes()).into_owned()
    }

    /// By its own account; whatever can't be read as a number is too large for everything.
    fn size(&self) -> u64 {
        self.header().entry_size().unwrap_or(u64::MAX)
    }

    fn error(&self, what: impl Into<String>) -> BundleError {
        BundleError::Entry {
            name: self.name(),
            what: what.into(),
        }
    }

    fn altered(&self) -> BundleError {
        self.error("its mode, owner, time or another field is not that of a bundle's files")
    }

    /// That it is the expected one; otherwise what is wrong with it.
    fn must_be(&self, expected: &tar::Header) -> Result<(), BundleError> {
        if self.0 == *expected.as_bytes() {
            return Ok(());
        }
        self.is_plain()?;
        Err(self.altered())
    }

    /// That it is a whole header of a plain file.
    fn is_plain(&self) -> Result<(), BundleError> {
        let header = self.header();
        // The checksum counts its own field as blanks (POSIX.1-1988).
        let sum = |sum: u32, (i, byte): (usize, &u8)| {
            sum + u32::from(if (148..156).contains(&i) { b' ' } else { *byte })
        };
        let right = self.0.iter().enumerate().fold(0, sum);
        if header.cksum().ok() != Some(right) {
            return Err(self.error("its header is damaged"));
        }
        let kind = header.entry_type();
        let what = match kind {
            tar::EntryType::Regular => return Ok(()),
            tar::EntryType::Symlink => "a symbolic link",
            tar::EntryType::Link => "a hard link",
            tar::EntryType::Char => "a character device",
            tar::EntryType::Block => "a block device",
            tar::EntryType::Fifo => "a FIFO",
            tar::EntryType::Directory => "a folder",
            tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => "an extended header",
            tar::EntryType::GNULongName | tar::EntryType::GNULongLink => "a GNU long name",
            tar::EntryType::GNUSparse => "a sparse file",
            _ => "of an unknown kind",
        };
        let target = header.link_name_bytes();
        let target = target.map_or_else(String::new, |target| {
            let target = String::from_utf8_lossy(&target);
            format!(" to `{}`", target.escape_debug())
        });
        Err(self.error(format!(
            "it is {what}{target}; a bundle has plain files only"
        )))
    }

    /// Its path below the bundle's folder.
    fn path(&self, run: &Name) -> Result<BundlePath, BundleError> {
        let name = self.name();
        match name
            .strip_prefix(run.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(path) => Ok(BundlePath::new(path)?),
            None => {
                // A name that is wrong in itself is said to be.
                BundlePath::new(name)?;
                Err(self.error(format!("it is not in the bundle's folder `{run}`")))
            }
        }
    }
}

fn create_dir(path: &Path) -> Result<(), BundleError> {
    std::fs::create_dir_all(path).map_err(BundleError::io("create folder", path))
}

/// Creates a file that is not there; an existing one is never followed or replaced.
fn create(path: &Path) -> Result<File, BundleError> {
    File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(BundleError::io("create", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    create(path)?
        .write_all(bytes)
        .map_err(BundleError::io("write", path))
}
