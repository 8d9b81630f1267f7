//! Trials that a run takes over from an earlier one: the same bytes, with their digests checked.
//!
//! A trial comes with what is known of the machine that it was measured on. Where the new run has no trial of its own
//! in that block, this is the block's folder; else the new run writes that one, and the earlier machine's is kept as
//! `taken/RUN/BLOCK`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plan::{Block, Plan};
use vexp_api::record::{RunRecord, Taken, TrialRecord};
use vexp_api::run_dir::{RAW_BYTES, RECORD_BYTES, RunDir, RunDirError};

use super::files::{self, FileError};

/// Folders within folders of a block.
const DEPTH: usize = 4;

/// Why trials can't be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The earlier run has something that no run has.
    #[error(transparent)]
    Strange(#[from] RunDirError),
    /// A record is none.
    #[error("the record of trial {trial} is damaged")]
    Record {
        /// Trial.
        trial: Name,
        /// Why.
        source: serde_json::Error,
    },
    /// A raw file is not the one that was recorded.
    #[error("{file} of trial {trial} is not the file that was recorded: its digest is {found}")]
    Tampered {
        /// Trial.
        trial: Name,
        /// File below the trial's folder.
        file: String,
        /// Its digest.
        found: Digest,
    },
    /// The earlier run took the trial over itself, and has another one in its place.
    #[error("trial {trial} is not the one that was taken over from run {run}")]
    Replaced {
        /// Trial.
        trial: Name,
        /// Where it was taken from.
        run: Name,
    },
}

/// An earlier run.
#[derive(Debug)]
pub struct Source {
    dir: RunDir,
    record: RunRecord,
    digest: Digest,
}

impl Source {
    /// Opens a run's folder, all of which is looked at first.
    ///
    /// # Errors
    /// It is no run, or has something that no run has.
    pub fn open(path: &Path) -> Result<Self, TakeError> {
        let dir = RunDir::checked(path)?;
        let bytes = dir.read("run.json", RECORD_BYTES)?;
        Ok(Self {
            record: dir.read_json("run.json")?,
            digest: Digest::of(&bytes),
            dir,
        })
    }

    /// `run.json`.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The record of a trial; `None` if it has not ended.
    ///
    /// # Errors
    /// It can't be read.
    pub fn trial(&self, trial: &Name) -> Result<Option<TrialRecord>, TakeError> {
        match self.dir.read(trial_file(trial), RECORD_BYTES) {
            Err(error) if error.is_not_found() => Ok(None),
            bytes => parsed(trial, &bytes?).map(Some),
        }
    }

    /// Copies trials into a run of `plan`, and what is known of their machines. Gives where each comes from, the
    /// first run that measured it.
    ///
    /// # Errors
    /// A file is not the one that was recorded, or can't be copied.
    pub fn take(
        &self,
        trials: &BTreeSet<Name>,
        plan: &Plan,
        into: &Path,
    ) -> Result<Vec<Taken>, TakeError> {
        let mut taken: BTreeMap<Name, Taken> = BTreeMap::new();
        for block in &plan.blocks {
            let wanted = block
                .trials
                .iter()
                .filter(|trial| trials.contains(&trial.id));
            let wanted: Vec<&Name> = wanted.map(|trial| &trial.id).collect();
            for trial in &wanted {
                let digest = self.copy_trial(trial, into)?;
                let origin = self.origin(trial, &digest)?;
                let entry = taken.entry(origin.run.clone()).or_insert(origin);
                entry.trials.insert((*trial).clone(), digest);
            }
            if !wanted.is_empty() {
                self.copy_machine(block, wanted.len() == block.trials.len(), into)?;
            }
        }
        Ok(taken.into_values().collect())
    }

    /// Where a trial was measured, without trials.
    fn origin(&self, trial: &Name, digest: &Digest) -> Result<Taken, TakeError> {
        let Some(earlier) = self.record.origin(trial) else {
            return Ok(Taken {
                run: self.record.id.clone(),
                digest: self.digest.clone(),
                vexp: self.record.vexp.clone(),
                started: self.record.started.clone(),
                trials: BTreeMap::new(),
            });
        };
        if earlier.trials.get(trial) != Some(digest) {
            let (trial, run) = (trial.clone(), earlier.run.clone());
            return Err(TakeError::Replaced { trial, run });
        }
        Ok(Taken {
            trials: BTreeMap::new(),
            ..earlier.clone()
        })
    }

    /// Copies a trial; its folder appears whole, or not at all. Gives the digest of its record.
    fn copy_trial(&self, trial: &Name, into: &Path) -> Result<Digest, TakeError> {
        let bytes = self.dir.read(trial_file(trial), RECORD_BYTES)?;
        let record = parsed(trial, &bytes)?;
        let parent = into.join("trials");
        files::create_dir(&parent)?;
        let temp = parent.join(format!(".writing-{trial}"));
        files::create_dir(&temp.join("raw"))?;
        let folder = Path::new("trials").join(trial.as_str());
        let artefacts = record.artefacts.iter();
        let traced = record
            .trace
            .iter()
            .map(|trace| (&trace.path, &trace.digest));
        let raw = artefacts.map(|artefact| (&artefact.path, &artefact.digest));
        for (path, digest) in raw.chain(traced) {
            let raw = self.dir.read(folder.join(path), RAW_BYTES)?;
            let found = Digest::of(&raw);
            if found != *digest {
                let (trial, file) = (trial.clone(), path.clone());
                return Err(TakeError::Tampered { trial, file, found });
            }
            put(&temp, Path::new(path), &raw)?;
            let times = format!("{path}.times");
            match self.dir.read(folder.join(&times), RAW_BYTES) {
                Err(error) if error.is_not_found() => {}
                found => put(&temp, Path::new(&times), &found?)?,
            }
        }
        files::write_atomic(&temp.join("trial.json"), &bytes)?;
        files::rename(&temp, &files::trial_dir(into, trial))?;
        Ok(Digest::of(&bytes))
    }

    /// Copies what is known of a block's machine, and what this run had taken over of it.
    fn copy_machine(&self, block: &Block, whole: bool, into: &Path) -> Result<(), TakeError> {
        let own = Path::new("blocks").join(block.id.as_str());
        let taken = |run: &Name| {
            Path::new("taken")
                .join(run.as_str())
                .join(block.id.as_str())
        };
        let to = match whole {
            true => own.clone(),
            false => taken(&self.record.id),
        };
        self.copy_folder(&own, &into.join(to), DEPTH)?;
        for earlier in &self.record.taken {
            let folder = taken(&earlier.run);
            self.copy_folder(&folder, &into.join(&folder), DEPTH)?;
        }
        Ok(())
    }

    /// Copies a folder, if it is there.
    fn copy_folder(&self, from: &Path, to: &Path, depth: usize) -> Result<(), TakeError> {
        let path = self.dir.path().join(from);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(files::io("list", &path))?,
        };
        for entry in entries {
            let entry = entry.map_err(files::io("list", &path))?;
            let below = from.join(entry.file_name());
            let kind = entry.file_type().map_err(files::io("look at", &path))?;
            if kind.is_dir() && depth > 1 {
                self.copy_folder(&below, &to.join(entry.file_name()), depth - 1)?;
            } else if kind.is_file() {
                // It is opened through no link, and is one file with one name.
                let bytes = self.dir.read(&below, RECORD_BYTES)?;
                put(to, Path::new(&entry.file_name()), &bytes)?;
            }
        }
        Ok(())
    }
}

fn trial_file(trial: &Name) -> PathBuf {
    Path::new("trials").join(trial.as_str()).join("trial.json")
}

fn parsed(trial: &Name, bytes: &[u8]) -> Result<TrialRecord, TakeError> {
    let trial = trial.clone();
    serde_json::from_slice(bytes).map_err(|source| TakeError::Record { trial, source })
}

/// Writes a file below a folder. `name` was read below another one, and so leads nowhere else.
fn put(folder: &Path, name: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let path = folder.join(name);
    if let Some(above) = path.parent() {
        files::create_dir(above)?;
    }
    files::write_atomic(&path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// A run with two trials in one block.
    fn run(folder: &Path) -> Plan {
        let trial = |id: &str| {
            let raw = folder.join("trials").join(id).join("raw");
            std::fs::create_dir_all(&raw).unwrap();
            std::fs::write(raw.join("out.txt"), id).unwrap();
            std::fs::write(raw.join("out.txt.times"), "1.0\n").unwrap();
            std::fs::write(folder.join("trials").join(id).join("trace.jsonl"), "{}").unwrap();
            let record = serde_json::json!({
                "format": 1, "trial": id, "block": "b", "outcome": "measured", "epoch": "", "window": null,
                "ended_s": 1.0, "trace": {"path": "trace.jsonl", "digest": Digest::of(b"{}"), "late": 0}, "artefacts": [{
                    "path": "raw/out.txt", "digest": Digest::of(id.as_bytes()), "part": "traffic", "tool": "t",
                    "stream": "stdout", "node": "host", "role": "host", "flow": null, "command": "", "status": 0,
                    "stderr": "", "truncated": false, "started_s": 0.0, "ended_s": 1.0, "options": {},
                }],
            });
            files::write_json(&folder.join("trials").join(id).join("trial.json"), &record).unwrap();
            serde_json::json!({
                "id": id, "experiment": "e", "platform": "p", "role": "sender", "vms": 0, "repetition": 1, "boot": 1,
                "traffic": {"tool": "t"}, "load": null, "monitors": [], "warm_up": "1s", "window": "1s",
            })
        };
        let trials = [trial("one"), trial("two")];
        let env = folder.join("blocks/b/env");
        std::fs::create_dir_all(&env).unwrap();
        std::fs::write(env.join("host.txt"), "kernel").unwrap();
        std::fs::write(folder.join("blocks/b/block.json"), "{}").unwrap();
        let record = serde_json::json!({
            "format": 1, "id": "first", "vexp": "1", "started": "then", "ended": null, "controller": {},
        });
        files::write_json(&folder.join("run.json"), &record).unwrap();
        serde_json::from_value(serde_json::json!({
            "format": 1, "study": "s", "study_digest": Digest::of(b""), "testbed": "t", "effort": "e", "seed": 1,
            "calibration": null, "images": [], "deviations": [], "excluded": [],
            "estimate": {"run": "1s", "build": "1s", "disk": "1MB"},
            "blocks": [{"id": "b", "repetition": 1, "vms": 0, "boot": null, "trials": trials, "machine": {
                "platform": "p", "hardware": "h", "cpus": 1, "memory": "1GiB", "nics": [], "image": null,
                "guest_image": null, "hypervisor": "linux", "version": "1", "toolstack": null, "scheduler": null,
                "dom0_weight": null, "nic": null, "guest": null, "max_vms": 0, "peers": 1, "options": {},
            }}],
        }))
        .unwrap()
    }

    fn two() -> (tempfile::TempDir, PathBuf, PathBuf, Plan) {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        for folder in [&old, &new] {
            std::fs::create_dir(folder).unwrap();
        }
        let plan = run(&old);
        (folder, old, new, plan)
    }

    fn read(path: PathBuf) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_is_taken_over_is_the_same_bytes_with_its_machine_and_origin() {
        let (_folder, old, new, plan) = two();
        let all = BTreeSet::from([name("one"), name("two")]);
        let taken = Source::open(&old).unwrap().take(&all, &plan, &new).unwrap();
        for file in [
            "trials/one/trial.json",
            "trials/two/raw/out.txt",
            "trials/two/raw/out.txt.times",
            "trials/two/trace.jsonl",
            "blocks/b/block.json",
            "blocks/b/env/host.txt",
        ] {
            assert_eq!(read(old.join(file)), read(new.join(file)), "{file}");
        }
        assert_eq!(taken.len(), 1);
        assert_eq!(
            (taken[0].run.as_str(), taken[0].started.as_str()),
            ("first", "then")
        );
        assert_eq!(taken[0].digest, Digest::of(&read(old.join("run.json"))));
        assert_eq!(
            taken[0].trials[&name("one")],
            Digest::of(&read(old.join("trials/one/trial.json")))
        );
        // What was half copied is no trial.
        assert!(std::fs::read_dir(new.join("trials")).unwrap().count() == 2);
    }

    #[test]
    fn a_part_of_a_block_keeps_its_own_machine_and_the_first_origin() {
        let (folder, old, new, plan) = two();
        let one = BTreeSet::from([name("one")]);
        let taken = Source::open(&old).unwrap().take(&one, &plan, &new).unwrap();
        assert!(!new.join("blocks").exists() && !new.join("trials/two").exists());
        assert_eq!(read(new.join("taken/first/b/env/host.txt")), b"kernel");

        // The next run takes it over from there, and it still was measured by the first.
        let record = serde_json::json!({
            "format": 1, "id": "second", "vexp": "1", "started": "now", "ended": null, "controller": {},
            "taken": taken,
        });
        files::write_json(&new.join("run.json"), &record).unwrap();
        let third = folder.path().join("third");
        std::fs::create_dir(&third).unwrap();
        let again = Source::open(&new)
            .unwrap()
            .take(&one, &plan, &third)
            .unwrap();
        assert_eq!(again, taken);
        assert_eq!(read(third.join("taken/first/b/env/host.txt")), b"kernel");
        // It must be what was taken over then.
        std::fs::copy(
            old.join("trials/two/trial.json"),
            new.join("trials/one/trial.json"),
        )
        .unwrap();
        std::fs::write(new.join("trials/one/raw/out.txt"), "two").unwrap();
        let error = Source::open(&new)
            .unwrap()
            .take(&one, &plan, &folder.path().join("fourth"))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("not the one that was taken over from run first"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_what_was_recorded_is_not_taken_over() {
        let (_folder, old, new, plan) = two();
        std::fs::write(old.join("trials/one/raw/out.txt"), "forged").unwrap();
        let one = BTreeSet::from([name("one")]);
        let error = Source::open(&old)
            .unwrap()
            .take(&one, &plan, &new)
            .unwrap_err();
        assert!(
            error.to_string().contains("raw/out.txt of trial one"),
            "{error}"
        );
        std::os::unix::fs::symlink("/etc/passwd", old.join("link")).unwrap();
        assert!(matches!(
            Source::open(&old).unwrap_err(),
            TakeError::Strange(_)
        ));
    }
}
