//! Writing files so that a reader sees the old ones or the new ones, never half of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use vexp_api::run_dir::{RunDir, RunDirError};

/// A file or folder could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", vexp_api::shown::path(.path))]
pub struct WriteError {
    /// Which.
    pub path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl From<RunDirError> for WriteError {
    fn from(error: RunDirError) -> Self {
        match error {
            RunDirError::Io { path, source, .. } => Self { path, source },
            RunDirError::Strange { ref path, .. }
            | RunDirError::Large { ref path, .. }
            | RunDirError::Outside(ref path) => Self {
                path: path.clone(),
                source: std::io::Error::other(error),
            },
        }
    }
}

/// A folder that others may write to, for what is written below it: through no link. It is made where there is none.
pub(crate) fn below(folder: &Path) -> Result<RunDir, WriteError> {
    std::fs::create_dir_all(folder).map_err(|source| WriteError {
        path: folder.to_owned(),
        source,
    })?;
    Ok(RunDir::open(folder)?)
}

/// Replaces a file atomically.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let fail = |source| WriteError {
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut file = tempfile::Builder::new()
        .permissions(plain_mode())
        .tempfile_in(folder)
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path)
        .map(drop)
        .map_err(|error| fail(error.error))
}

/// Replaces a folder by one with these files. A folder can't be renamed over a full one, so that
/// for a moment there is none; there never is a mixture.
pub(crate) fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> Result<(), WriteError> {
    let fail = |source| WriteError {
        path: path.to_owned(),
        source,
    };
    let parent = path.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new()
        .permissions(folder_mode())
        .tempdir_in(parent)
        .map_err(fail)?;
    for (name, bytes) in files {
        write(&new.path().join(name), bytes)?;
    }
    let old = tempfile::tempdir_in(parent).map_err(fail)?;
    match std::fs::rename(path, old.path().join("old")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    std::fs::rename(new.keep(), path).map_err(fail)
}

/// Temporary files are private by default; results are to be read by anyone.
fn plain_mode() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

fn folder_mode() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("report");
        write_folder(
            &target,
            &[("a".into(), b"1".to_vec()), ("f/b".into(), vec![])],
        )
        .unwrap();
        write_folder(&target, &[("c".into(), b"2".to_vec())]).unwrap();
        assert!(!target.join("a").exists());
        assert_eq!(std::fs::read(target.join("c")).unwrap(), b"2");
        // Nothing but the target is left behind.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_the_path() {
        let error = write(Path::new("/proc/nowhere/x"), b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot write /proc/nowhere/x");
    }
}
