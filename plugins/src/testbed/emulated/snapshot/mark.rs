//! Marks in a kept machine's folder that it is being restored: flock(2) says so to processes of the same computer only.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use vexp_api::digest::Digest;
use vexp_api::hold::across::Owner;

/// What its name begins with.
const PREFIX: &str = "restored-by-";
/// After this time a mark was left by a process that has died: no restore takes so long.
const OLD: Duration = Duration::from_secs(3600);

/// A short name for this computer.
pub(super) fn host() -> String {
    let host = Digest::of(Owner::me().host.as_bytes());
    host.hex()[..8].to_owned()
}

/// A mark, until it is dropped.
#[derive(Debug)]
pub(super) struct Mark(Option<PathBuf>);

impl Mark {
    /// Marks a machine. Where that can't be, as in somebody else's folder, nobody else removes it either, or they risk
    /// that it is booted instead.
    pub(super) fn put(folder: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (host, process) = (host(), std::process::id());
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{PREFIX}{host}-{process}-{next}"));
        Self(std::fs::write(&path, "").ok().map(|()| path))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It was removed with the machine, or it grows old.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether another computer restores the machine. Clocks that differ by less than an hour don't matter.
pub(super) fn is_used_elsewhere(folder: &Path) -> bool {
    let own = format!("{PREFIX}{}-", host());
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let made = entry.metadata().and_then(|about| about.modified());
        let age = made.map(|made| SystemTime::now().duration_since(made).unwrap_or_default());
        name.starts_with(PREFIX) && !name.starts_with(&own) && age.is_ok_and(|age| age < OLD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_other_computers_count_until_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let own = Mark::put(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!is_used_elsewhere(folder.path()), "flock says so");
        drop(own);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let other = folder.path().join(format!("{PREFIX}0123abcd-7-0"));
        let file = std::fs::File::create(other).unwrap();
        assert!(is_used_elsewhere(folder.path()));
        file.set_modified(SystemTime::now() - 2 * OLD).unwrap();
        assert!(!is_used_elsewhere(folder.path()));
        drop(Mark::put(Path::new("/proc/none")));
    }
}
