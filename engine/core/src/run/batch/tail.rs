//! What tasks tell: each appends its events to a file of its own, and the dispatcher passes them on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use vexp_api::event::{Event, EventSink};

use super::super::files::{self, FileError, io};
use super::books::append;

/// Bytes that are read of a file at a time.
const PIECE: u64 = 4 << 20;

/// A task's events.
pub(super) struct Told {
    path: PathBuf,
    // Two threads of a task may have something to tell.
    lock: Mutex<()>,
}

impl Told {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            lock: Mutex::new(()),
        }
    }
}

impl EventSink for Told {
    fn event(&self, event: &Event) {
        if let Event::ClockMoved { .. } = event {
            return;
        }
        let _held = self.lock.lock();
        // No result depends on it, and a full disk shows at the next result that is written.
        let _ = append(&self.path, event);
    }
}

/// How far each file was read.
pub(super) struct Tails {
    folder: PathBuf,
    /// Where that is written down.
    path: PathBuf,
    read: BTreeMap<String, u64>,
    /// Ends of trials that the run's log has already: a dispatcher that was killed may have passed on more than it has
    /// written down.
    ended: BTreeSet<String>,
}

impl Tails {
    /// `log` is the run's own, into which events are passed on.
    pub(super) fn open(folder: PathBuf, path: PathBuf, log: &Path) -> Result<Self, FileError> {
        files::create_dir(&folder)?;
        let read = match path.exists() {
            true => files::read_json(&path)?,
            false => BTreeMap::new(),
        };
        Ok(Self {
            folder,
            path,
            read,
            ended: ended(log)?,
        })
    }

    /// Passes on what is new. A last line that is not whole is waited for.
    pub(super) fn pass_on(&mut self, events: &dyn EventSink) -> Result<(), FileError> {
        let mut moved = false;
        for entry in std::fs::read_dir(&self.folder).map_err(io("list", &self.folder))? {
            let entry = entry.map_err(io("list", &self.folder))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let known = self.read.get(&name).copied().unwrap_or(0);
            let new = news(&entry.path(), known)?;
            for line in new.split(|byte| *byte == b'\n') {
                // One that was torn when its task died, and ended by the next.
                if let Ok(event) = serde_json::from_slice(line)
                    && !end_of_trial(&event).is_some_and(|end| self.ended.remove(&end))
                {
                    events.event(&event);
                }
            }
            if !new.is_empty() {
                self.read.insert(name, known + new.len() as u64);
                moved = true;
            }
        }
        if moved {
            files::write_json(&self.path, &self.read)?;
        }
        Ok(())
    }
}

/// What tells the end of an attempt at a trial from every other: it has the seconds that it took.
fn end_of_trial(event: &Event) -> Option<String> {
    match event {
        Event::TrialEnded { .. } => serde_json::to_string(event).ok(),
        _ => None,
    }
}

/// The ends of trials in a log.
fn ended(log: &Path) -> Result<BTreeSet<String>, FileError> {
    let bytes = match log.exists() {
        true => std::fs::read(log).map_err(io("read", log))?,
        false => Vec::new(),
    };
    // When it was written, and its checksum, are the log's own.
    let events = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok());
    Ok(events
        .filter_map(|event: Event| end_of_trial(&event))
        .collect())
}

/// Whole lines of a file from a place on.
fn news(path: &Path, from: u64) -> Result<Vec<u8>, FileError> {
    let read = || {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        if file.metadata()?.len() > from {
            file.seek(SeekFrom::Start(from))?;
            file.take(PIECE).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let mut bytes: Vec<u8> = read().map_err(io("read", path))?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    bytes.truncate(whole.map_or(0, |at| at + 1));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::sync::Arc;
    use vexp_testkit::Notes;

    #[test]
    fn a_torn_line_is_waited_for_and_nothing_is_passed_on_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (events, read) = (folder.path().join("events"), folder.path().join("read"));
        let log = folder.path().join("none.jsonl");
        let open = || Tails::open(events.clone(), read.clone(), &log).unwrap();
        let notes = Arc::new(Notes::default());
        let said = || notes.0.lock().unwrap().join(" ");
        let mut tails = open();
        let path = events.join("r-1.0.jsonl");
        let tell = |text: &str| {
            let text = text.to_owned();
            Told::new(path.clone()).event(&Event::Note { text });
        };
        tell("one");
        tails.pass_on(&*notes).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"event\":\"note\",\"te").unwrap();
        tails.pass_on(&*notes).unwrap();
        assert_eq!(said(), "one");
        file.write_all(b"xt\":\"two\"}\n").unwrap();
        tails.pass_on(&*notes).unwrap();
        assert_eq!(said(), "one two");
        // Its task dies in a line, and is started anew.
        file.write_all(b"{\"event\":\"no").unwrap();
        tell("three");
        let mut tails = open();
        tails.pass_on(&*notes).unwrap();
        tails.pass_on(&*notes).unwrap();
        assert_eq!(said(), "one two three");
    }

    #[test]
    fn what_a_killed_dispatcher_has_passed_on_is_not_passed_on_again() {
        let folder = tempfile::tempdir().unwrap();
        let (events, read) = (folder.path().join("events"), folder.path().join("read"));
        let log = folder.path().join("events.jsonl");
        let ended = |seconds: f64| Event::TrialEnded {
            trial: vexp_api::ids::Name::new("t").unwrap(),
            outcome: vexp_api::record::Outcome::Measured,
            seconds,
            virtual_s: None,
            summary: "1 Mb/s".to_owned(),
        };
        let told = Told::new(events.join("r-1.0.jsonl"));
        drop(Tails::open(events.clone(), read.clone(), &log).unwrap());
        told.event(&ended(1.5));
        told.event(&ended(2.5));
        // It died before it had written down how far it had read.
        let mut line = serde_json::to_value(ended(1.5)).unwrap();
        line["at"] = "2026-01-01T00:00:00.000Z".into();
        line["check"] = "0123456789abcdef".into();
        std::fs::write(&log, format!("{line}\n")).unwrap();
        let mut tails = Tails::open(events, read, &log).unwrap();
        let seen = Seen::default();
        tails.pass_on(&seen).unwrap();
        assert_eq!(*seen.0.lock().unwrap(), [ended(2.5)]);
    }

    #[derive(Default)]
    struct Seen(Mutex<Vec<Event>>);

    impl EventSink for Seen {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }
}
