//! Signs of life: a counter that a task rewrites every few seconds. Whoever reads it looks at their own clock only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vexp_api::batch::JobId;
use vexp_api::ids::Name;

use super::super::files::{self, FileError, io};

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// The engine's name for the task's job.
    pub(super) job: JobId,
    /// How often the engine has started it anew.
    pub(super) restart: u32,
    pub(super) count: u64,
    pub(super) node: String,
    /// How it has ended, in its last one.
    pub(super) over: Option<Over>,
}

/// How a task has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(super) enum Over {
    /// Nothing was left for it.
    Done,
    /// The time that it had left was too short for the next block.
    Time,
    /// The engine, or the user, told it to stop.
    Stopped,
    /// It could not go on.
    Failed {
        /// Why.
        said: String,
    },
}

/// The file of a task.
pub(super) fn file(array: &Name, index: u32) -> String {
    format!("{array}.{index}")
}

/// Writes a task's signs of life until it is ended, or dropped.
pub(super) struct Heart {
    beat: Arc<Mutex<Beat>>,
    path: PathBuf,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Heart {
    /// Begins; `each` is called after each beat, on the heart's own thread.
    pub(super) fn start(
        path: PathBuf,
        beat: Beat,
        pause: Duration,
        mut each: impl FnMut() + Send + 'static,
    ) -> Result<Self, FileError> {
        write(&path, &beat)?;
        let beat = Arc::new(Mutex::new(beat));
        let (stop, stopped) = mpsc::channel::<()>();
        let (shared, place) = (Arc::clone(&beat), path.clone());
        let spawned = std::thread::Builder::new()
            .name("vexp-heart".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let now = {
                        let mut beat = shared.lock().unwrap_or_else(PoisonError::into_inner);
                        beat.count += 1;
                        beat.clone()
                    };
                    // A file system that is full or away for a moment may be back at the next beat.
                    let _ = write(&place, &now);
                    each();
                }
            });
        let thread = spawned.map_err(io("start the heart of", &path))?;
        Ok(Self {
            beat,
            path,
            thread: Some((stop, thread)),
        })
    }

    /// The last one.
    pub(super) fn end(mut self, over: Over) -> Result<(), FileError> {
        self.stop();
        let mut beat = self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        beat.count += 1;
        beat.over = Some(over);
        write(&self.path, &*beat)
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // It can only have ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Closing the file brings it to an NFS server; nobody needs it after a power loss.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let text = serde_json::to_vec(value).map_err(|source| FileError::Json {
        path: path.to_owned(),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io("write in", folder))?;
    std::io::Write::write_all(&mut file, &text).map_err(io("write", path))?;
    file.into_temp_path()
        .persist(path)
        .map_err(|error| io("write", path)(error.error))
}

/// All signs of life in a folder, by file. What can't be read just now is left out.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, Beat>, FileError> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(io("list", folder))? {
        let entry = entry.map_err(io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && let Ok(beat) = files::read_json(&entry.path())
        {
            found.insert(name, beat);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_beats_until_it_ends_and_then_says_how() {
        let folder = tempfile::tempdir().unwrap();
        let beat = Beat {
            job: JobId::parse("7").unwrap(),
            restart: 0,
            count: 0,
            node: "n1".to_owned(),
            over: None,
        };
        let path = folder.path().join("r-1.0");
        let (told, heard) = mpsc::channel();
        let pause = Duration::from_millis(1);
        let heart = Heart::start(path, beat, pause, move || {
            let _ = told.send(());
        })
        .unwrap();
        let seen = || read(folder.path()).unwrap()["r-1.0"].clone();
        heard.recv().unwrap();
        let first = seen().count;
        heard.recv().unwrap();
        heard.recv().unwrap();
        assert!(seen().count > first);
        assert_eq!(seen().over, None);
        heart.end(Over::Done).unwrap();
        assert_eq!(seen().over, Some(Over::Done));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
