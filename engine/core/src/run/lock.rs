//! The right to add to a run's folder: one vexp has it at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::files;
use crate::hold::{Hold, hold};

/// Somebody else runs this run, or its folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another vexp{holder} is running {}: wait until it has ended, or end it",
        .run.display()
    )]
    Held {
        /// The run's folder.
        run: PathBuf,
        /// ` (process 12)`, or nothing if that is not known.
        holder: String,
    },
    /// The file can't be made.
    #[error(transparent)]
    File(#[from] files::FileError),
}

/// A run's folder that nobody else adds to. Given back when it is dropped, or when the process ends in
/// whatever way.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// The file that is held. It says nothing of the run, and is left out of bundles.
    pub const FILE: &str = ".lock";

    /// Takes a run's folder.
    ///
    /// # Errors
    /// Another process has it, or the operating system refuses.
    pub fn take(run: &Path) -> Result<Self, LockError> {
        let path = run.join(Self::FILE);
        match hold(&path).map_err(files::io("lock", &path))? {
            Hold::Ours(file) => Ok(Self { _file: file }),
            Hold::Theirs(holder) => Err(LockError::Held {
                run: run.to_owned(),
                holder,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_has_it() {
        let run = tempfile::tempdir().unwrap();
        let first = RunLock::take(run.path()).unwrap();
        let second = RunLock::take(run.path()).unwrap_err().to_string();
        let holder = format!("another vexp (process {}) is running", std::process::id());
        assert!(second.starts_with(&holder), "{second}");
        drop(first);
        RunLock::take(run.path()).unwrap();
    }
}
