//! The lock that is held while anything is added to a store.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vexp_api::event::{Event, EventSink};
use vexp_api::hold::{Hold, hold, look};

use super::{Store, StoreError};
use crate::remove::remove;

/// How long another vexp may build before waiting for it is given up: longer than all images take.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// The exclusive right to add to a store. Given back when it is dropped, or when the process ends
/// in whatever way.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl Store {
    /// Waits until no other process, and no other thread, adds to the store; says so in an event
    /// if that takes more than a moment. Then removes what crashed builds left in `tmp/`.
    pub fn lock(&self, events: &dyn EventSink) -> Result<StoreLock, StoreError> {
        if !self.writable {
            return Err(StoreError::ReadOnly {
                root: self.root.clone(),
            });
        }
        let path = self.root.join("lock");
        let mut said = false;
        let began = Instant::now();
        let file = loop {
            match hold(&path).map_err(StoreError::io("lock", &path))? {
                Hold::Ours(file) => break file,
                Hold::Theirs(holder) if began.elapsed() > PATIENCE => {
                    return Err(StoreError::Held {
                        path,
                        holder: holder.to_string(),
                        hours: PATIENCE.as_secs() / 3600,
                    });
                }
                Hold::Theirs(_) if said => {}
                Hold::Theirs(holder) => {
                    let text = format!(
                        "another vexp{holder} is building images in {}: waiting until it is done",
                        self.root.display()
                    );
                    events.event(&Event::Note { text });
                    said = true;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let lock = StoreLock { _file: file };
        self.collect()?;
        Ok(lock)
    }

    /// What crashed builds have left in `tmp/`; with `remove` it goes. `None` if somebody adds to the
    /// store just now.
    pub fn left(&self, remove: bool) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let path = self.root.join("lock");
        if !remove {
            let held = look(&path).map_err(StoreError::io("look at", &path))?;
            return match held {
                None => self.half_made().map(Some),
                Some(_) => Ok(None),
            };
        }
        let Hold::Ours(_file) = hold(&path).map_err(StoreError::io("lock", &path))? else {
            return Ok(None);
        };
        let found = self.half_made()?;
        self.collect()?;
        Ok(Some(found))
    }

    /// Everything in `tmp/`.
    fn half_made(&self) -> Result<Vec<PathBuf>, StoreError> {
        let tmp = self.root.join("tmp");
        let entries = match std::fs::read_dir(&tmp) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::io("list", &tmp))?,
        };
        let path = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.path());
        entries
            .map(path)
            .collect::<std::io::Result<_>>()
            .map_err(StoreError::io("list", &tmp))
    }

    /// Removes everything in `tmp/`; only called by the holder of the lock.
    fn collect(&self) -> Result<(), StoreError> {
        for path in self.half_made()? {
            remove(&path).map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use vexp_api::event::NoEvents;
    use vexp_testkit::Notes;

    #[test]
    fn waits_for_another_process_and_says_so_once() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        // flock(1) stands for the other vexp: it says when it has the lock and gives it up when
        // its standard input closes.
        let mut other = Command::new("flock")
            .arg(store.root().join("lock"))
            .args(["sh", "-c", "echo locked; read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        other
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
        let notes = Notes::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.lock(&notes).unwrap());
            while notes.0.lock().unwrap().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(!waiting.is_finished());
            drop(other.stdin.take());
            other.wait().unwrap();
            waiting.join().unwrap();
        });
        let notes = notes.0.into_inner().unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].starts_with("another vexp is building"),
            "{notes:?}"
        );
    }

    #[test]
    fn names_the_holder() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let held = store.lock(&NoEvents).unwrap();
        let notes = Notes::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.lock(&notes).unwrap());
            while notes.0.lock().unwrap().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(held);
            waiting.join().unwrap();
        });
        let holder = format!("(process {})", std::process::id());
        assert!(notes.0.lock().unwrap()[0].contains(&holder));
    }
}
