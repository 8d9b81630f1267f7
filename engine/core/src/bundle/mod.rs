//! Bundles: a run with all that it stands on, in one file that is the same wherever it is made.
//!
//! ```text
//! RUN.vexp.tar.zst         one zstd frame (RFC 8878) of one tar archive (POSIX.1-1988 ustar)
//!   RUN/manifest.json      Manifest: every other file with its size and SHA-256; the first entry
//!   RUN/PATH               the files in byte order of their paths
//! ```
//!
//! Every entry is a plain file with one owner, mode and time, so that a header says nothing but
//! name and size: a list of files has exactly one archive. A reader therefore does not interpret
//! headers, but holds each against the only one that there can be; see [`unpack`]. What it would
//! have to be careful with (links, devices, extended headers, owners) does not exist here.
//!
//! [`pack`] and [`unpack`] know nothing of runs: what is in a bundle is decided by the caller.

pub mod elf;
mod manifest;
mod pack;
mod path;
mod unpack;

use std::path::{Path, PathBuf};

use vexp_api::digest::Digest;
use vexp_api::ids::Name;

pub use manifest::{FORMAT, MANIFEST, Manifest};
pub use pack::{Contents, Packed, Source, list, pack};
pub use path::{BadPath, BundlePath};
pub use unpack::{Limits, Unpacked, unpack};

/// Seconds since 1970 that every entry has as its time of modification: 1980-01-01, the first
/// moment that all archive formats can express.
const TIME: u64 = 315_532_800;
/// Size of a header, and what a file's length is rounded up to.
const BLOCK: usize = 512;

/// Why a bundle can't be made, or why a file is not one.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file operation failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file changed between being digested and being packed.
    #[error("{} was changed while it was packed", .0.display())]
    Changed(PathBuf),
    /// A file's name can't be in a bundle.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// A path has no place in a tar header.
    #[error("`{0}` is too long for an archive")]
    TooLong(String),
    /// The compressed stream is damaged, cut off, or none at all.
    #[error("the compressed stream can't be read at {at} bytes of the archive")]
    Stream {
        /// Bytes that could be read.
        at: u64,
        /// Why no more.
        source: std::io::Error,
    },
    /// It ends too early.
    #[error("the archive ends in the middle of {0}")]
    Ends(String),
    /// There is more behind the archive's end.
    #[error("there are bytes {0}, which no bundle has")]
    Trailing(&'static str),
    /// An entry is not a plain file as it must be.
    #[error("entry `{}`: {what}", .name.escape_debug())]
    Entry {
        /// Its name, as it is written.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The first entry is another.
    #[error("the first entry is `{}` and not `RUN/{MANIFEST}`", .0.escape_debug())]
    NoManifest(String),
    /// The manifest is no manifest.
    #[error("{MANIFEST} is damaged")]
    Json(#[from] serde_json::Error),
    /// The manifest does not have the bytes that its contents have.
    #[error(
        "{MANIFEST} is not canonical JSON: a name stands in it twice, or it was written by another program"
    )]
    NotCanonical,
    /// The manifest has a format that this version does not know.
    #[error(
        "the bundle has format {found}, and this vexp reads format {FORMAT}: use the version that wrote it"
    )]
    Format {
        /// As written.
        found: String,
    },
    /// The manifest's run is not the folder's name.
    #[error("{MANIFEST} is of run {says}, and stands in folder `{}`", .folder.escape_debug())]
    Folder {
        /// The folder.
        folder: String,
        /// The run.
        says: Name,
    },
    /// The manifest lists itself.
    #[error("{MANIFEST} lists itself")]
    ListsItself,
    /// Two names that are one where case does not count, or a file that is a folder as well.
    #[error("`{0}` and `{1}` can't both be in a folder: they are one on some systems")]
    Clash(String, String),
    /// There are more bytes or files than are accepted.
    #[error("the bundle has {found} {what}, and {limit} are accepted")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much is accepted.
        limit: u64,
    },
    /// A file stands in the archive twice.
    #[error("`{0}` is in the archive twice")]
    Twice(BundlePath),
    /// A file is not in the manifest.
    #[error("`{0}` is in the archive and not in {MANIFEST}")]
    Unlisted(BundlePath),
    /// A file of the manifest is not there.
    #[error("`{0}` is in {MANIFEST} and not in the archive, or not in its place there")]
    Missing(BundlePath),
    /// A file is longer or shorter than the manifest says.
    #[error("`{path}` has {found} bytes, and {MANIFEST} says {listed}")]
    Size {
        /// The file.
        path: BundlePath,
        /// By the manifest.
        listed: u64,
        /// In the archive.
        found: u64,
    },
    /// A file's bytes are others than the manifest says.
    #[error(
        "`{path}` is not the file that was packed: its digest is {found}, {MANIFEST} says {listed}"
    )]
    Digest {
        /// The file.
        path: BundlePath,
        /// By the manifest.
        listed: Digest,
        /// Of the bytes that are there.
        found: Digest,
    },
}

impl BundleError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// The only header that a file of this name and size can have in the bundle of `run`.
fn header(run: &Name, path: &str, size: u64) -> Result<tar::Header, BundleError> {
    let mut header = tar::Header::new_ustar();
    let whole = format!("{run}/{path}");
    header
        .set_path(&whole)
        .map_err(|_| BundleError::TooLong(whole))?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests;
