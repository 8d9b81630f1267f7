//! The right to add to a run's folder: one vexp has it at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vexp_api::hold::{Hold, hold, look};

use super::files;

/// How long something that a dead vexp had begun to start may hold a run's folder.
const MOMENT: Duration = Duration::from_secs(5);

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

/// Says whether somebody has a run's folder, which is not changed.
///
/// # Errors
/// Its lock is no regular file, or can't be read.
pub fn is_held(run: &Path) -> Result<bool, LockError> {
    let path = run.join(RunLock::FILE);
    let holder = look(&path).map_err(files::io("look at", &path))?;
    Ok(holder.is_some_and(|holder| !holder.has_ended()))
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
        let end = Instant::now() + MOMENT;
        loop {
            match hold(&path).map_err(files::io("lock", &path))? {
                Hold::Ours(file) => return Ok(Self { _file: file }),
                Hold::Theirs(holder) if holder.has_ended() && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Hold::Theirs(holder) => {
                    return Err(LockError::Held {
                        run: run.to_owned(),
                        holder: holder.to_string(),
                    });
                }
            }
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
        // Another test may just be starting a program, which has our files until it is one.
        while RunLock::take(run.path()).is_err() {}
    }
}
