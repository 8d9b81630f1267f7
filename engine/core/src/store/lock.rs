//! The lock that is held while anything is added to a store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use vexp_api::digest::Digest;
use vexp_api::event::{Event, EventSink};
use vexp_api::hold::across::{self, Attempt, Held, Holding, Owner};
use vexp_api::hold::look;

use super::{Store, StoreError};
use crate::remove::remove;

/// How long another vexp may build before waiting for it is given up: longer than all images take.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// Until when what another computer has in `tmp/` may be half-made, and not left over: no build takes so long.
const ANOTHERS: Duration = Duration::from_secs(24 * 3600);

/// The exclusive right to add to a store. Given back when it is dropped, or when the process ends
/// in whatever way. Among computers that share the store it spares work, and nothing relies on it: see
/// [`vexp_api::hold::across`].
#[derive(Debug)]
pub struct StoreLock {
    _held: Held,
}

/// What the names of this computer's folders in `tmp/` begin with.
pub(super) fn prefix() -> String {
    let host = Digest::of(Owner::me().host.as_bytes());
    format!("s-{}-", &host.hex()[..8])
}

/// Whether something in `tmp/` is another computer's, by its name.
fn is_anothers(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = name.split('-');
    let hex = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.next() == Some("s") && parts.next().is_some_and(hex) && !name.starts_with(&prefix())
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
        let mut holding = Holding::new(&path);
        let held = loop {
            let holder = match holding.attempt().map_err(StoreError::io("lock", &path))? {
                Attempt::Ours(held) => break held,
                Attempt::Here(holder) => holder.to_string(),
                Attempt::Elsewhere { holder, .. } => holder,
            };
            if began.elapsed() > PATIENCE {
                return Err(StoreError::Held {
                    path,
                    holder,
                    hours: PATIENCE.as_secs() / 3600,
                });
            }
            if !said {
                let text = format!(
                    "another vexp{holder} is building images in {}: waiting until it is done",
                    self.root.display()
                );
                events.event(&Event::Note { text });
                said = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let lock = StoreLock { _held: held };
        self.collect()?;
        Ok(lock)
    }

    /// What crashed builds have left in `tmp/`; with `remove` it goes. `None` if somebody adds to the
    /// store just now.
    pub fn left(&self, remove: bool) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let path = self.root.join("lock");
        if !remove {
            let io = || StoreError::io("look at", &path);
            let here = look(&path).map_err(io())?.is_some();
            let elsewhere = across::look(&across::beside(&path)).map_err(io())?;
            return match here || elsewhere.is_some() {
                false => self.half_made().map(Some),
                true => Ok(None),
            };
        }
        let tried = Holding::new(&path).attempt();
        let Attempt::Ours(_held) = tried.map_err(StoreError::io("lock", &path))? else {
            return Ok(None);
        };
        let found = self.half_made()?;
        self.collect()?;
        Ok(Some(found))
    }

    /// Everything in `tmp/` that is left over: what another computer has there may be in the making.
    fn half_made(&self) -> Result<Vec<PathBuf>, StoreError> {
        let tmp = self.root.join("tmp");
        let entries = match std::fs::read_dir(&tmp) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::io("list", &tmp))?,
        };
        let path = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.path());
        let all: Vec<PathBuf> = entries
            .map(path)
            .collect::<std::io::Result<_>>()
            .map_err(StoreError::io("list", &tmp))?;
        let now = SystemTime::now();
        let is_old = |path: &Path| {
            let made = path.symlink_metadata().and_then(|about| about.modified());
            made.is_ok_and(|made| now.duration_since(made).is_ok_and(|age| age > ANOTHERS))
        };
        let left = |path: &PathBuf| !is_anothers(path) || is_old(path);
        Ok(all.into_iter().filter(left).collect())
    }

    /// Removes what is left over in `tmp/`; only called by the holder of the lock. It gets another name first: whoever
    /// is at it all the same finds nothing, and not a part.
    fn collect(&self) -> Result<(), StoreError> {
        for path in self.half_made()? {
            let gone = tempfile::Builder::new()
                .prefix(&prefix())
                .tempdir_in(self.root.join("tmp"))
                .map_err(StoreError::io("create a folder in", &self.root))?;
            let away = gone.path().join("gone");
            match std::fs::rename(&path, &away) {
                // Another computer has removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                renamed => renamed.map_err(StoreError::io("remove", &path))?,
            }
            remove(&away).map_err(StoreError::io("remove", &path))?;
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
    fn what_another_computer_is_making_stays_until_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let tmp = store.root().join("tmp");
        let own = tmp.join(format!("{}x", prefix()));
        let [others, older] = ["s-0123abcd-x", "s-0123abcd-y"].map(|name| tmp.join(name));
        for folder in [&own, &others, &older, &tmp.join("s-tmp")] {
            std::fs::create_dir(folder).unwrap();
        }
        let folder = std::fs::File::open(&older).unwrap();
        folder
            .set_modified(SystemTime::now() - 2 * ANOTHERS)
            .unwrap();
        assert_eq!(store.left(false).unwrap().unwrap().len(), 3);
        drop(store.lock(&NoEvents).unwrap());
        let left: Vec<_> = std::fs::read_dir(&tmp).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert!(others.exists());
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
