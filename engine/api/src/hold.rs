//! Files that one process holds at a time: flock(2), which ends with the process however it ends. [`across`] is for
//! folders that several computers share.

pub mod across;

use std::fs::File;
use std::io::{Read as _, Result, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use across::{Attempt, Held, Holding};

/// What came of trying to hold a file.
pub enum Hold {
    /// It is ours until it is dropped, and has our process's number in it.
    Ours(File),
    /// Somebody else has it.
    Theirs(Holder),
}

/// Who holds a file, if that is known.
pub struct Holder(Option<u32>);

impl Holder {
    /// Who has written its number into a file.
    fn of(file: &File) -> Self {
        let mut holder = String::new();
        // Only for the message: the holder may not have written its number yet.
        let _ = file.take(32).read_to_string(&mut holder);
        Self(holder.trim().parse().ok())
    }

    /// Whether that process has ended. What it had begun to start may still hold the file, for a moment:
    /// until it is a program of its own.
    pub fn has_ended(&self) -> bool {
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

/// A lock is a regular file with one name.
fn regular(file: &File) -> Result<()> {
    let about = file.metadata()?;
    if about.is_file() && about.nlink() == 1 {
        return Ok(());
    }
    Err(std::io::Error::other(
        "it is no regular file with one name: remove it",
    ))
}

/// Whether nobody holds a file, which is looked at and not changed: `None` if nobody does, or there is
/// none.
///
/// # Errors
/// It is no regular file with one name.
pub fn look(path: &Path) -> Result<Option<Holder>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // Others' locks are theirs alone: whether one is held can't be told.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Ok(Some(Holder(None)));
        }
        Err(error) => return Err(error),
    };
    regular(&file)?;
    match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(Holder::of(&file))),
        Err(error) => Err(error.into()),
    }
}

/// Tries to hold a file, which is created if it is missing.
///
/// # Errors
/// It is no regular file with one name, or can't be made.
pub fn hold(path: &Path) -> Result<Hold> {
    // A FIFO must not keep us waiting, and what a link leads to must not be overwritten.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    regular(&file)?;
    // Whoever can open a file can lock it, for ever. One that is not ours stays as it is.
    let _ = file.set_permissions(PermissionsExt::from_mode(0o600));
    match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Ok(Hold::Theirs(Holder::of(&file)));
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

/// How often a file that somebody else has is tried.
const OFTEN: Duration = Duration::from_millis(50);

/// Holds a file among all computers that share it, waiting for whoever has it until `patience` has passed.
///
/// # Errors
/// As for [`hold`]; and somebody had it all the time: the error says who.
pub fn within(path: &Path, patience: Duration) -> Result<Held> {
    let began = Instant::now();
    let mut holding = Holding::new(path);
    loop {
        let holder = match holding.attempt()? {
            Attempt::Ours(held) => return Ok(held),
            Attempt::Here(holder) => holder.to_string(),
            Attempt::Elsewhere { holder, .. } => holder,
        };
        if began.elapsed() >= patience {
            let (path, seconds) = (path.display(), patience.as_secs());
            let text = format!(
                "another vexp{holder} has held {path} for {seconds} s: end it, and try again"
            );
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(OFTEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_lock_ends_and_says_who_has_it() {
        let path = std::env::temp_dir().join(format!("vexp-hold-{}", std::process::id()));
        let patience = Duration::from_millis(20);
        let held = within(&path, patience).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let refused = within(&path, patience).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
        let holder = format!("(process {})", std::process::id());
        assert!(refused.to_string().contains(&holder), "{refused}");
        drop(held);
        // Another test may just be starting a program, which has our files until it is one.
        within(&path, Duration::from_secs(5)).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
