//! Removing what may be a file, a link or a folder.

use std::io::Result;
use std::path::Path;

/// Removes a file, a link, or a folder with all that is in it. Links are not followed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(path),
        _ => std::fs::remove_file(path),
    }
}
