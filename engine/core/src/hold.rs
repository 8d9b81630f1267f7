//! Files that one process holds at a time: flock(2), which ends with the process however it ends.

use std::fs::File;
use std::io::{Read as _, Result, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

/// What came of trying to hold a file.
pub(crate) enum Hold {
    /// It is ours until it is dropped, and has our process's number in it.
    Ours(File),
    /// Somebody else has it.
    Theirs(Holder),
}

/// Who holds a file, if that is known.
pub(crate) struct Holder(Option<u32>);

impl Holder {
    /// Whether that process has ended. What it had begun to start may still hold the file, for a moment:
    /// until it is a program of its own.
    pub(crate) fn has_ended(&self) -> bool {
        self.0
            .is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists())
    }
}

impl std::fmt::Display for Holder {
    /// For messages: ` (process 12)`, or nothing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => write!(f, " (process {id})"),
            None => Ok(()),
        }
    }
}

/// Tries to hold a file, which is created if it is missing.
pub(crate) fn hold(path: &Path) -> Result<Hold> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only for the message: the holder may not have written its number yet.
            let _ = file.read_to_string(&mut holder);
            return Ok(Hold::Theirs(Holder(holder.trim().parse().ok())));
        }
        Err(error) => return Err(error.into()),
    }
    // For others' messages, which must not fail where the disk is full.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    Ok(Hold::Ours(file))
}
