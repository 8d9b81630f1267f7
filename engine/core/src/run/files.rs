//! Writing into a run's folder: whole files or nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vexp_api::digest::{Digest, canonical_json};
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::plugin::Captured;
use vexp_api::record::{TraceFile, TrialRecord, write_line_times};
use vexp_api::run_dir::{RECORD_BYTES, RunDir, RunDirError};
use vexp_api::trace::{self, Trace};

use crate::build::Manifest;

/// A file that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} {}", vexp_api::shown::path(.path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is none of a run's files.
    #[error(transparent)]
    Strange(#[from] RunDirError),
    /// The content is not what it should be.
    #[error("{} is not valid", vexp_api::shown::path(.path))]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io {
        action,
        path,
        source,
    }
}

/// Creates a folder and its parents, for good: what is written into it later is found again after a
/// power loss.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    match fs::create_dir(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io("create folder", path)(error)),
        Ok(()) => sync_dir(parent),
    }
}

/// Writes a file so that a reader sees all of it or nothing, also after a power loss.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// The same, where `content` writes it piece by piece.
fn write_atomic_with(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(io("write in", folder))?;
    let mut buffered = BufWriter::new(file);
    let written = content(&mut buffered).and_then(|()| Ok(buffered.into_inner()?));
    let file = written.map_err(io("write", path))?;
    file.as_file().sync_all().map_err(io("write", path))?;
    // Temporary files are 0600; results are for everybody who may enter the folder.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file()
        .set_permissions(mode)
        .map_err(io("write", path))?;
    file.persist(path)
        .map_err(|e| e.error)
        .map_err(io("write", path))?;
    sync_dir(folder)
}

/// Writes a value as canonical JSON and a newline.
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), FileError> {
    let mut text = canonical_json(value).map_err(|source| FileError::Json {
        path: path.to_owned(),
        source,
    })?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Digests of the images that a run was measured with, of `RUN/images.json`.
pub fn image_digests(run: &Path) -> Result<BTreeMap<Name, Digest>, FileError> {
    let images: BTreeMap<Name, Manifest> = read_json(&run.join("images.json"))?;
    let digests = images.into_iter();
    Ok(digests
        .map(|(name, image)| (name, image.digest()))
        .collect())
}

/// Writes a plan as canonical JSON and a newline, piece by piece.
pub fn write_plan(path: &Path, plan: &Plan) -> Result<(), FileError> {
    write_atomic_with(path, |file| {
        plan.write_json(file)?;
        file.write_all(b"\n")
    })
}

/// Reads a JSON file in a folder that may come from anyone: a regular file with one name, and of bounded
/// size.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let bytes = read(path, RECORD_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|source| FileError::Json {
        path: path.to_owned(),
        source,
    })
}

/// Reads such a file of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let (folder, name) = parts(path);
    let folder = RunDir::open(folder).map_err(|error| at(error, path))?;
    folder.read(name, most).map_err(|error| at(error, path))
}

/// An error of the operating system, with the path as it was given.
fn at(error: RunDirError, path: &Path) -> FileError {
    match error {
        RunDirError::Io { action, source, .. } => io(action, path)(source),
        other => other.into(),
    }
}

/// A file's folder, and its name there.
fn parts(path: &Path) -> (&Path, &Path) {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let name = path.file_name().map_or(path, Path::new);
    (folder.unwrap_or(Path::new(".")), name)
}

/// Copies a file of a run. The new one is written where there is none, or in its place.
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    write_atomic(to, &read(from, RECORD_BYTES)?)
}

pub(super) fn sync_dir(folder: &Path) -> Result<(), FileError> {
    File::open(folder)
        .and_then(|dir| dir.sync_all())
        .map_err(io("sync", folder))
}

/// Where a trial's folder is.
pub fn trial_dir(run: &Path, trial: &vexp_api::ids::Name) -> PathBuf {
    run.join("trials").join(trial.as_str())
}

/// Where a trial's record is; it is there when the trial has ended.
pub fn trial_record(run: &Path, trial: &vexp_api::ids::Name) -> PathBuf {
    trial_dir(run, trial).join("trial.json")
}

/// Where a block's folder is.
pub fn block_dir(run: &Path, block: &vexp_api::ids::Name) -> PathBuf {
    run.join("blocks").join(block.as_str())
}

/// Writes a trial with its raw artefacts: the folder appears whole, or not at all.
pub fn write_trial(
    run: &Path,
    record: &TrialRecord,
    captured: Vec<Captured>,
    trace: Option<&Trace>,
) -> Result<(), FileError> {
    let parent = run.join("trials");
    create_dir(&parent)?;
    let temp = tempfile::Builder::new()
        .prefix(".writing-")
        .tempdir_in(&parent)
        .map_err(io("write in", &parent))?;
    create_dir(&temp.path().join("raw"))?;
    let mut record = record.clone();
    for mut item in captured {
        item.artefact.digest = Digest::of(&item.bytes);
        let path = temp.path().join(&item.artefact.path);
        write_atomic(&path, &item.bytes)?;
        if !item.line_times.is_empty() {
            let times = write_line_times(&item.line_times);
            let name = format!("{}.times", item.artefact.path);
            write_atomic(&temp.path().join(name), times.as_bytes())?;
        }
        record.artefacts.push(item.artefact);
    }
    if let Some(trace) = trace {
        record.trace = Some(write_trace(temp.path(), trace)?);
    }
    record.artefacts.sort_by(|a, b| a.path.cmp(&b.path));
    write_json(&temp.path().join("trial.json"), &record)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(temp.path(), mode).map_err(io("write", temp.path()))?;
    sync_dir(&temp.path().join("raw"))?;
    let to = trial_dir(run, &record.trial);
    match fs::rename(temp.path(), &to) {
        // A task of a batch engine that was taken for dead, and was not, has recorded it meanwhile: the first record stays.
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) => Err(io("rename to", &to)(error)),
        Ok(()) => {
            // It is not there under its old name any more.
            let _ = temp.keep();
            sync_dir(&parent)
        }
    }
}

fn write_trace(folder: &Path, trace: &Trace) -> Result<TraceFile, FileError> {
    let path = folder.join(trace::FILE);
    let text = trace.text().map_err(|source| FileError::Json {
        path: path.clone(),
        source,
    })?;
    write_atomic(&path, text.as_bytes())?;
    Ok(TraceFile {
        path: trace::FILE.to_owned(),
        digest: Digest::of(text.as_bytes()),
        late: trace.head.late,
    })
}

/// Moves a file or folder within a file system, for good.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(io("rename to", to))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_whole_files_and_leaves_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_json(&path, &[1, 2]).unwrap();
        write_json(&path, &[3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), [3]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_two_records_of_a_trial_the_first_one_stays() {
        let run = tempfile::tempdir().unwrap();
        let record = |setup: &str| -> TrialRecord {
            serde_json::from_value(serde_json::json!({
                "format": 1, "trial": "t", "block": "b", "outcome": "measured", "epoch": "", "window": null,
                "setup": {"which": setup}, "ended_s": 0.0, "artefacts": [],
            }))
            .unwrap()
        };
        for which in ["first", "second"] {
            write_trial(run.path(), &record(which), Vec::new(), None).unwrap();
        }
        let path = trial_record(run.path(), &record("").trial);
        let kept: TrialRecord = read_json(&path).unwrap();
        assert_eq!(kept.setup["which"], "first");
        let entries = fs::read_dir(run.path().join("trials")).unwrap();
        assert_eq!(entries.count(), 1);
    }

    #[test]
    fn names_the_file_that_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.json");
        fs::write(&path, b"{\"a\":").unwrap();
        let error = read_json::<serde_json::Value>(&path).unwrap_err();
        assert!(error.to_string().contains("torn.json"));
    }
}
