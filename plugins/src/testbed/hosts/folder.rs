//! A private folder for keys, configuration and sockets, and finding those whose process has died.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use vexp_api::plugin::PluginError;

const PREFIX: &str = "vexp-";
/// For nobody else: keys are in it.
const MODE: u32 = 0o700;
/// Locked as long as the folder is used.
const LOCK: &str = "in-use";

/// The folder; removed when it is dropped.
pub(super) struct PrivateFolder {
    folder: TempDir,
    _lock: File,
}

impl PrivateFolder {
    /// A folder of this user alone, in the first of [`parents`] that a socket's path leaves room for.
    pub(super) fn new() -> std::result::Result<Self, PluginError> {
        Self::below(&parents(std::env::temp_dir()))
    }

    fn below(parents: &[PathBuf]) -> std::result::Result<Self, PluginError> {
        let failed = |message| PluginError::new("make a private folder", "controller", message);
        let short = |parent: &&PathBuf| parent.as_os_str().len() <= LONGEST_PARENT;
        let parent = parents.iter().find(short).ok_or_else(|| {
            failed(format!(
                "{} is too long for a socket below it: set TMPDIR to a folder of at most \
                 {LONGEST_PARENT} bytes",
                parents
                    .first()
                    .map_or(Path::new(""), PathBuf::as_path)
                    .display()
            ))
        })?;
        make(parent).map_err(|error| failed(format!("in {}: {error}", parent.display())))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Most bytes of a folder's path below which ssh's sockets still have theirs: 107 (unix(7)), without
/// `/vexp-123456/ssh/.ssh-connection123456/master.1234567890123456`, the last part being ssh's own
/// while it makes one.
const LONGEST_PARENT: usize = 107 - 63;

/// Where private folders may be: where temporary files are, or where there is always room for a path.
pub(super) fn parents(temporary: PathBuf) -> Vec<PathBuf> {
    let mut all = vec![temporary, "/tmp".into()];
    all.dedup();
    all
}

fn make(parent: &Path) -> Result<PrivateFolder> {
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))
        .tempdir_in(parent)?;
    // Nobody sees it before it is locked.
    let new = folder.path().join("new");
    let lock = File::create(&new)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    std::fs::rename(new, folder.path().join(LOCK))?;
    std::fs::create_dir(folder.path().join("ssh"))?;
    Ok(PrivateFolder {
        folder,
        _lock: lock,
    })
}

/// This user's private folders that nobody uses any more; with `remove` they go.
pub(super) fn left(parent: &Path, remove: bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if is_left(&entry) {
            if remove {
                std::fs::remove_dir_all(entry.path())?;
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether it is ours by name, owner, mode and content, and held by nobody.
fn is_left(entry: &std::fs::DirEntry) -> bool {
    let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
        && entry.metadata().is_ok_and(|data| {
            data.is_dir()
                && data.uid() == rustix::process::geteuid().as_raw()
                && data.mode() & 0o777 == MODE
        });
    let lock = entry.path().join(LOCK);
    ours && lock.symlink_metadata().is_ok_and(|data| data.is_file())
        && File::open(lock)
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_room_however_long_the_temporary_folder_is() {
        let long = tempfile::tempdir().unwrap();
        let long = long.path().join("x".repeat(LONGEST_PARENT));
        let folder = PrivateFolder::below(&parents(long.clone())).unwrap();
        assert_eq!(folder.path().parent(), Some(Path::new("/tmp")));
        let socket = "ssh/.ssh-connection123456/master.1234567890123456";
        assert!(folder.path().join(socket).as_os_str().len() <= 107);
        let error = PrivateFolder::below(&[long]).err().unwrap();
        assert!(
            error.to_string().contains("too long for a socket"),
            "{error}"
        );
    }

    #[test]
    fn what_nobody_holds_goes_and_others_files_stay() {
        let parent = tempfile::tempdir().unwrap();
        let used = make(parent.path()).unwrap();
        assert_eq!(used.path().metadata().unwrap().mode() & 0o777, 0o700);
        // As a process leaves it that was killed.
        let PrivateFolder { folder, _lock } = make(parent.path()).unwrap();
        let dead = folder.keep();
        drop(_lock);
        let others = ["vexp-notes", "vexp-other", "something"];
        for name in others {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        std::fs::write(parent.path().join("vexp-other/in-use"), "").unwrap();
        std::os::unix::fs::symlink(used.path(), parent.path().join("vexp-link")).unwrap();
        // Another test may just be starting a program, which has our files until it is one.
        let removed = loop {
            let removed = left(parent.path(), true).unwrap();
            if !removed.is_empty() {
                break removed;
            }
        };
        assert_eq!(removed, [dead]);
        assert!(used.path().join("ssh").exists());
        assert!(others.iter().all(|name| parent.path().join(name).exists()));
    }
}
