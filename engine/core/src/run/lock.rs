//! The right to add to a run's folder: one vexp has it at a time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vexp_api::hold::across::{self, Attempt, Held, Holding};
use vexp_api::hold::look;

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
    _held: Held,
}

/// Says whether somebody has a run's folder, which is not changed.
///
/// # Errors
/// Its lock is no regular file, or can't be read.
pub fn is_held(run: &Path) -> Result<bool, LockError> {
    let path = run.join(RunLock::FILE);
    let io = || files::io("look at", &path);
    let here = look(&path).map_err(io())?;
    let elsewhere = across::look(&across::beside(&path)).map_err(io())?;
    Ok(here.is_some_and(|holder| !holder.has_ended()) || elsewhere.is_some())
}

impl RunLock {
    /// The file that is held. It says nothing of the run, and is left out of bundles.
    pub const FILE: &str = ".lock";

    /// Takes a run's folder. Where another computer's process has left it without giving it back, that takes as long as
    /// it takes to see that it is dead ([`across::STALE`]).
    ///
    /// # Errors
    /// Another process has it, or the operating system refuses.
    pub fn take(run: &Path) -> Result<Self, LockError> {
        let path = run.join(Self::FILE);
        let end = Instant::now() + MOMENT;
        let mut holding = Holding::new(&path);
        loop {
            let holder = match holding.attempt().map_err(files::io("lock", &path))? {
                Attempt::Ours(held) => return Ok(Self { _held: held }),
                Attempt::Here(holder) if holder.has_ended() && Instant::now() < end => None,
                Attempt::Here(holder) => Some(holder.to_string()),
                Attempt::Elsewhere { lives: false, .. } => None,
                Attempt::Elsewhere { holder, .. } => Some(holder),
            };
            if let Some(holder) = holder {
                return Err(LockError::Held {
                    run: run.to_owned(),
                    holder,
                });
            }
            std::thread::sleep(Duration::from_millis(10));
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
