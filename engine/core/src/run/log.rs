//! `events.jsonl`: what happened in a run, an event a line, each with a checksum.
//!
//! A line is a JSON object whose last field, `check`, is the beginning of the SHA-256 of the checksum
//! of the line before and of this line without its own: a line that was changed, lost or put in shows.
//! The log tells the story of a run. What was measured stands in the trials' records.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use vexp_api::digest::Digest;
use vexp_api::event::{Event, EventSink};
use vexp_api::run_dir::{RECORD_BYTES, RunDir};

use super::dispatch::now_rfc3339;
use super::files::{self, FileError};

/// Hexadecimal digits of a checksum.
const DIGITS: usize = 16;
/// What stands before it.
const FIELD: &str = r#","check":""#;

/// An event log that can't be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that others follow is not what was written.
    #[error(
        "{log}:{line} is damaged: its checksum is not that of its text. No result depends on the log: \
         `mv {log} {log}.damaged`, and resume the run again",
        log = .path.display()
    )]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
}

/// An event with its time, as it stands in the log.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub struct Line<'a> {
    /// When it was, RFC 3339 in UTC.
    at: String,
    /// What it was.
    #[serde(flatten)]
    event: &'a Event,
    /// Checksum of the line before and of this one without its own: 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<String>,
}

/// Writes events to the log and hands them on.
pub(super) struct Log {
    state: Mutex<State>,
    next: Arc<dyn EventSink>,
}

struct State {
    file: File,
    /// Bytes that are known to be whole lines.
    len: u64,
    /// Checksum of the last line.
    last: String,
}

impl Log {
    /// Opens a run's log, new or to go on with. A last line that is not whole was being written when
    /// somebody died: it is cut off, and a note says so.
    pub(super) fn open(run: &Path, next: Arc<dyn EventSink>) -> Result<Self, LogError> {
        let path = run.join("events.jsonl");
        let io = |action| files::io(action, &path);
        let folder = RunDir::open(run).map_err(FileError::from)?;
        let file = folder.change("events.jsonl").map_err(FileError::from)?;
        let bytes = folder.read("events.jsonl", RECORD_BYTES);
        let bytes = bytes.map_err(FileError::from)?;
        let whole = whole(&bytes).map_err(|line| LogError::Damaged {
            path: path.clone(),
            line,
        })?;
        let (len, torn) = (whole.len as u64, bytes.len() - whole.len);
        if torn > 0 {
            file.set_len(len).map_err(io("cut the torn end off"))?;
        }
        files::sync_dir(run)?;
        let log = Self {
            state: Mutex::new(State {
                file,
                len,
                last: whole.last,
            }),
            next,
        };
        if torn > 0 {
            let text = format!(
                "{}: its last line was torn when a vexp died; {torn} bytes were cut off",
                path.display()
            );
            log.event(&Event::Note { text });
        }
        Ok(log)
    }
}

impl EventSink for Log {
    fn event(&self, event: &Event) {
        if let Event::ClockMoved { .. } | Event::TasksSeen { .. } = event {
            return self.next.event(event);
        }
        let at = now_rfc3339();
        let line = Line {
            at,
            event,
            check: None,
        };
        if let Ok(text) = serde_json::to_string(&line) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.append(&text, lasts(event));
        }
        self.next.event(event);
    }
}

/// Whether an event is to be on the disk before the run goes on.
fn lasts(event: &Event) -> bool {
    matches!(event, Event::TrialEnded { .. } | Event::RunEnded { .. })
}

impl State {
    /// Results do not depend on the log, and a full disk shows at the next result that is written: an
    /// event that can't be written is left out, whole.
    fn append(&mut self, text: &str, lasts: bool) {
        let check = check(&self.last, text);
        let line = format!("{}{FIELD}{check}\"}}\n", &text[..text.len() - 1]);
        if self.file.write_all(line.as_bytes()).is_err() {
            let _ = self.file.set_len(self.len);
            return;
        }
        self.len += line.len() as u64;
        self.last = check;
        if lasts {
            let _ = self.file.sync_data();
        }
    }
}

fn check(last: &str, text: &str) -> String {
    let digest = Digest::of(format!("{last}{text}").as_bytes());
    digest.hex()[..DIGITS].to_owned()
}

/// A log whose text was changed on purpose, with the checksums that its lines have now. A line that has none, as
/// older versions wrote them, gets none.
pub fn checked_again(log: &str) -> String {
    let mut last = String::new();
    let mut again = String::with_capacity(log.len());
    for line in log.split_inclusive('\n') {
        let text = line.strip_suffix("\"}\n").and_then(|line| {
            let (text, _) = line.split_at_checked(line.len().checked_sub(DIGITS)?)?;
            text.strip_suffix(FIELD)
        });
        match text {
            None => again.push_str(line),
            Some(text) => {
                last = check(&last, &format!("{text}}}"));
                again.push_str(&format!("{text}{FIELD}{last}\"}}\n"));
            }
        }
    }
    again
}

/// The whole lines of a log.
struct Whole {
    /// Their bytes.
    len: usize,
    /// Checksum of the last of them.
    last: String,
}

/// Checks a log. What comes after the last whole line may be no more than one line that was torn.
///
/// # Errors
/// The number of a line that is damaged, from 1.
fn whole(bytes: &[u8]) -> Result<Whole, usize> {
    let mut whole = Whole {
        len: 0,
        last: String::new(),
    };
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match checked(&whole.last, line) {
            Some(check) => {
                whole.len += line.len();
                whole.last = check;
            }
            None if whole.len + line.len() == bytes.len() => break,
            None => return Err(index + 1),
        }
    }
    Ok(whole)
}

/// A line's checksum, if it is whole and right.
fn checked(last: &str, line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\"}\n")?;
    let (text, found) = line.split_at_checked(line.len().checked_sub(DIGITS)?)?;
    let text = format!("{}}}", text.strip_suffix(FIELD)?);
    (check(last, &text) == found).then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vexp_api::event::NoEvents;
    use vexp_testkit::Notes;

    fn note(text: &str) -> Event {
        Event::Note {
            text: text.to_owned(),
        }
    }

    /// A log with these notes; its bytes.
    fn log(run: &Path, notes: &[&str]) -> Vec<u8> {
        let log = Log::open(run, Arc::new(NoEvents)).unwrap();
        for text in notes {
            log.event(&note(text));
        }
        std::fs::read(run.join("events.jsonl")).unwrap()
    }

    /// Opens what `bytes` is; gives what was noted.
    fn reopened(run: &Path, bytes: &[u8]) -> Result<Vec<String>, LogError> {
        std::fs::write(run.join("events.jsonl"), bytes).unwrap();
        let notes = Arc::new(Notes::default());
        Log::open(run, Arc::clone(&notes) as _)?;
        let said = notes.0.lock().unwrap().clone();
        Ok(said)
    }

    #[test]
    fn a_log_that_was_changed_on_purpose_is_whole_again() {
        let run = tempfile::tempdir().unwrap();
        let bytes = log(run.path(), &["one", "two", "three"]);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(checked_again(&text), text);
        let other = text.replace("two", "another");
        assert!(whole(other.as_bytes()).is_err());
        let other = checked_again(&other);
        assert_eq!(whole(other.as_bytes()).unwrap().len, other.len());
        assert_eq!(
            checked_again("{\"no\":\"checksum\"}\n"),
            "{\"no\":\"checksum\"}\n"
        );
    }

    #[test]
    fn a_log_is_json_lines_and_goes_on_where_it_ended() {
        let run = tempfile::tempdir().unwrap();
        log(run.path(), &["one", "two\nlines"]);
        let bytes = log(run.path(), &["three \"quoted\""]);
        assert_eq!(whole(&bytes).unwrap().len, bytes.len());
        let texts: Vec<String> = (String::from_utf8(bytes).unwrap().lines())
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(texts, ["one", "two\nlines", "three \"quoted\""]);
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_any_byte_and_that_is_said() {
        let run = tempfile::tempdir().unwrap();
        let bytes = log(run.path(), &["one", "two", "three"]);
        let ends: Vec<usize> = (0..=bytes.len())
            .filter(|end| *end == 0 || bytes[end - 1] == b'\n')
            .collect();
        for cut in 0..=bytes.len() {
            let said = reopened(run.path(), &bytes[..cut]).unwrap();
            let kept = *ends.iter().rfind(|end| **end <= cut).unwrap();
            let expected = (cut > kept).then(|| format!("{} bytes were cut off", cut - kept));
            assert_eq!(said.len(), usize::from(expected.is_some()), "{cut}");
            assert!(said.iter().all(|s| s.contains(expected.as_ref().unwrap())));
            let now = std::fs::read(run.path().join("events.jsonl")).unwrap();
            assert!(now.starts_with(&bytes[..kept]));
            assert_eq!(whole(&now).unwrap().len, now.len());
        }
        // After a power loss a file may end in what was never written.
        let zeros = [&bytes[..], &[0; 100]].concat();
        assert_eq!(reopened(run.path(), &zeros).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_with_a_way_out() {
        let run = tempfile::tempdir().unwrap();
        let bytes = log(run.path(), &["one", "two", "three"]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let second = text.find("two").unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut flipped = bytes.clone();
        flipped[second] ^= 1;
        let lost = [lines[0], lines[2], lines[2]].concat();
        let swapped = [lines[1], lines[0], lines[2]].concat();
        let other = ["{\"at\":\"\"}\n", lines[0]].concat();
        for (bytes, line) in [
            (flipped, 2),
            (lost.into_bytes(), 2),
            (swapped.into_bytes(), 1),
            (other.into_bytes(), 1),
        ] {
            let error = reopened(run.path(), &bytes).unwrap_err().to_string();
            let place = format!("events.jsonl:{line} is damaged");
            assert!(error.contains(&place), "{error}");
            let way_out = error.split('`').nth(1).unwrap();
            let args: Vec<&str> = way_out.split(' ').collect();
            std::fs::rename(args[1], args[2]).unwrap();
            Log::open(run.path(), Arc::new(NoEvents)).unwrap();
        }
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(500))]

        /// No byte can be another one without being noticed.
        #[test]
        fn any_change_shows(place in 0..1_000_usize, byte: u8) {
            let run = tempfile::tempdir().unwrap();
            let bytes = log(run.path(), &["one", "two", "three"]);
            let place = place % bytes.len();
            prop_assume!(bytes[place] != byte);
            let mut changed = bytes.clone();
            changed[place] = byte;
            if let Ok(whole) = whole(&changed) {
                let start = bytes[..place].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
                prop_assert!(whole.len <= start);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = whole(&bytes);
        }
    }
}
