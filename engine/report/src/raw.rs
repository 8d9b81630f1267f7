//! Artefact → samples: the bytes are those that were recorded, and the plugin that made them
//! reads them.

use std::path::{Component, Path, PathBuf};

use vexp_api::digest::Digest;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::record::{Artefact, BadLineTime, TraceFile, read_line_times};
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RAW_BYTES, RECORD_BYTES, RunDir, RunDirError};
use vexp_api::sample::Sample;

/// Lines of an artefact: what a capture keeps of a program, and its last one.
pub const MOST_LINES: usize = 1_000_001;

/// Samples of an artefact: a line gives a few at most, and most lines give none.
pub const MOST_SAMPLES: usize = 2_000_000;

/// The raw data are not those that were recorded: nothing may be concluded from them.
#[derive(Debug, thiserror::Error)]
pub enum TamperError {
    /// It leads out of the trial's folder.
    #[error("artefact path `{}` does not stay below the trial's raw folder", .0.escape_debug())]
    Path(String),
    /// It is listed again and again.
    #[error("raw artefact `{}` is in the trial's record more than once", .0.escape_debug())]
    Twice(String),
    /// It is missing or can't be read.
    #[error("cannot read raw artefact {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no file that a run has.
    #[error(transparent)]
    Strange(RunDirError),
    /// It has more lines than a capture keeps.
    #[error("{} has more than {MOST_LINES} lines, which vexp keeps of no program", .path.display())]
    Lines {
        /// Which.
        path: PathBuf,
    },
    /// Its bytes have changed.
    #[error(
        "{} is not the file that was recorded: its digest is {found}, trial.json says {recorded}",
        .path.display()
    )]
    Digest {
        /// Which.
        path: PathBuf,
        /// Digest that was recorded.
        recorded: Digest,
        /// Digest of the bytes that are there.
        found: Digest,
    },
}

/// Why an artefact of a trial gives no samples.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The parser refuses it.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The times of its lines are damaged.
    #[error("{file}.times")]
    Times {
        /// The artefact.
        file: String,
        /// What is wrong.
        source: BadLineTime,
    },
    /// There is no plugin of that name.
    #[error("{file}: no plugin `{tool}` to parse it: known are {known}")]
    NoParser {
        /// The artefact.
        file: String,
        /// Its tool.
        tool: String,
        /// Tools that there are.
        known: String,
    },
    /// The output was cut at the cap.
    #[error("{file}: output was cut at the cap, so the end of the measurement is missing")]
    Truncated {
        /// The artefact.
        file: String,
    },
    /// It has more samples than any measurement.
    #[error("{file}: it has more than {MOST_SAMPLES} samples, which no measurement of vexp's has")]
    Samples {
        /// The artefact.
        file: String,
    },
    /// A parser gave a value that is no number.
    #[error("{file}: {metric} of {node} at {t} s is {value}, which is not a finite number")]
    NotFinite {
        /// The artefact.
        file: String,
        /// Metric.
        metric: String,
        /// Node.
        node: String,
        /// Seconds since the trial's epoch.
        t: f64,
        /// Value.
        value: f64,
    },
}

/// The bytes of a recorded artefact.
pub fn read(trial_dir: &Path, artefact: &Artefact) -> Result<Vec<u8>, TamperError> {
    let relative = Path::new(&artefact.path);
    let mut parts = relative.components();
    let inside = parts.next() == Some(Component::Normal("raw".as_ref()))
        && parts.all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        return Err(TamperError::Path(artefact.path.clone()));
    }
    let bytes = read_recorded(trial_dir, relative, &artefact.digest, RAW_BYTES)?;
    if bytes.iter().filter(|byte| **byte == b'\n').count() > MOST_LINES {
        let path = trial_dir.join(relative);
        return Err(TamperError::Lines { path });
    }
    Ok(bytes)
}

/// The bytes of a file that are those of its record.
fn read_recorded(
    trial_dir: &Path,
    relative: &Path,
    recorded: &Digest,
    most: u64,
) -> Result<Vec<u8>, TamperError> {
    let path = trial_dir.join(relative);
    let bytes = RunDir::open(trial_dir).and_then(|folder| folder.read(relative, most));
    let bytes = bytes.map_err(|error| match error {
        RunDirError::Io { source, .. } => TamperError::Read {
            path: path.clone(),
            source,
        },
        other => TamperError::Strange(other),
    })?;
    let found = Digest::of(&bytes);
    if found != *recorded {
        return Err(TamperError::Digest {
            path,
            recorded: recorded.clone(),
            found,
        });
    }
    Ok(bytes)
}

/// The bytes of a recorded trace.
pub fn read_trace(trial_dir: &Path, file: &TraceFile) -> Result<Vec<u8>, TamperError> {
    if file.path != vexp_api::trace::FILE {
        return Err(TamperError::Path(file.path.clone()));
    }
    read_recorded(trial_dir, Path::new(&file.path), &file.digest, RECORD_BYTES)
}

/// The times at which the lines of an artefact had arrived; none where they were not recorded.
pub fn read_times(trial_dir: &Path, artefact: &Artefact) -> Result<Vec<f64>, RawError> {
    let name = format!("{}.times", artefact.path);
    // Parsers that need the times refuse an artefact without them.
    let bytes = RunDir::open(trial_dir).and_then(|folder| folder.read(name, RAW_BYTES));
    let text = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
    read_line_times(&text).map_err(|source| RawError::Times {
        file: artefact.path.clone(),
        source,
    })
}

/// The samples of an artefact, all finite. Times are those of the trial's epoch.
pub fn parse(raw: &Raw<'_>, registry: &Registry) -> Result<Vec<Sample>, RawError> {
    let file = || raw.artefact.path.clone();
    let measures = registry.measures();
    let tool = measures
        .get(raw.artefact.tool.as_str())
        .ok_or_else(|| RawError::NoParser {
            file: file(),
            tool: raw.artefact.tool.to_string(),
            known: measures.keys().copied().collect::<Vec<_>>().join(", "),
        })?;
    if raw.artefact.truncated {
        return Err(RawError::Truncated { file: file() });
    }
    let samples = tool.parse(raw)?;
    if samples.len() > MOST_SAMPLES {
        return Err(RawError::Samples { file: file() });
    }
    match samples
        .iter()
        .find(|s| ![s.value, s.t, s.dt].iter().all(|x| x.is_finite()) || s.dt < 0.0)
    {
        None => Ok(samples),
        Some(bad) => Err(RawError::NotFinite {
            file: file(),
            metric: bad.metric.to_string(),
            node: bad.node.to_string(),
            t: bad.t,
            value: bad.value,
        }),
    }
}
