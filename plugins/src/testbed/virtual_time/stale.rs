//! Folders of locksteps whose vexp has died: it could not remove them.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::lease::LINKS;

/// Names of leases' folders begin so.
pub(super) const PREFIX: &str = "vexp-lockstep-";
/// A folder without vexp's side may be one that is being made.
const NEW: Duration = Duration::from_secs(3600);

/// Folders of this user's in `parents` that no vexp uses any more; with `remove` they go.
pub(super) fn folders(parents: &[PathBuf], remove: bool) -> std::io::Result<Vec<PathBuf>> {
    let me = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for parent in parents {
        for entry in std::fs::read_dir(parent)? {
            let entry = entry?;
            let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
            // It may be removed by its owner at any moment.
            let Ok(about) = std::fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if named && about.is_dir() && about.uid() == me && is_stale(&entry.path(), &about) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    if remove {
        for folder in &found {
            std::fs::remove_dir_all(folder)?;
        }
    }
    Ok(found)
}

/// Whether nobody stands on vexp's side, which holds a lock as long as its process lives.
fn is_stale(folder: &Path, about: &std::fs::Metadata) -> bool {
    match File::open(folder.join(LINKS).join("vexp.side")) {
        Ok(side) => flock(&side, FlockOperation::NonBlockingLockShared).is_ok(),
        Err(_) => {
            let age = about.modified().ok().and_then(|time| time.elapsed().ok());
            age.is_some_and(|age| age > NEW)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let links = parent.path().join(name).join(LINKS);
            std::fs::create_dir_all(&links).unwrap();
            File::create(links.join("vexp.side")).unwrap()
        };
        let used = make("vexp-lockstep-used");
        flock(&used, FlockOperation::LockExclusive).unwrap();
        drop(make("vexp-lockstep-stale"));
        drop(make("somebody-elses"));
        std::fs::create_dir(parent.path().join("vexp-lockstep-new")).unwrap();
        let parents = [parent.path().to_owned()];
        let stale = vec![parent.path().join("vexp-lockstep-stale")];
        assert_eq!(folders(&parents, false).unwrap(), stale);
        assert!(stale[0].exists());
        assert_eq!(folders(&parents, true).unwrap(), stale);
        assert!(!stale[0].exists() && parent.path().join("vexp-lockstep-used").exists());
        assert_eq!(folders(&parents, true).unwrap(), Vec::<PathBuf>::new());
    }
}
