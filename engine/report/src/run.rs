//! Run directory → typed records. The layout is [`vexp_api::record`]'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::looks::{BadDesign, Design};
use vexp_api::plan::{self, Plan};
use vexp_api::record::{self, BlockRecord, RunRecord, TrialRecord};
use vexp_api::run_dir::{RECORD_BYTES, RunDir, RunDirError};
use vexp_api::spec::{self, Study};

/// Why a run directory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file is missing or can't be read.
    #[error("cannot read {}", vexp_api::shown::path(.path))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is none of a run's files.
    #[error(transparent)]
    Strange(RunDirError),
    /// A file is not what it should be.
    #[error("{} is damaged or was written by another version", vexp_api::shown::path(.path))]
    Json {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file has a format that this version does not know.
    #[error(
        "{} has format {found}, and this vexp reads format {known}: use the version that wrote it",
        vexp_api::shown::path(.path)
    )]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format, as written.
        found: String,
        /// The format that is known.
        known: u32,
    },
    /// The plan's looks can't be.
    #[error("the looks in {} can't be taken", vexp_api::shown::path(.path))]
    Looks {
        /// `plan.json`.
        path: PathBuf,
        /// Why not.
        source: BadDesign,
    },
    /// A trial that was taken over from an earlier run is another one.
    #[error("{} is not the record that was taken over from run {run}", vexp_api::shown::path(.path))]
    NotTaken {
        /// Which.
        path: PathBuf,
        /// The earlier run.
        run: Name,
    },
    /// A record stands in a folder of another name.
    #[error("{} says that it is `{says}`", vexp_api::shown::path(.path))]
    Misplaced {
        /// Which.
        path: PathBuf,
        /// The name in it.
        says: Name,
    },
}

impl From<RunDirError> for RunError {
    fn from(error: RunDirError) -> Self {
        match error {
            RunDirError::Io { path, source, .. } => Self::Read { path, source },
            other => Self::Strange(other),
        }
    }
}

/// The records of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The directory.
    pub dir: PathBuf,
    /// `run.json`.
    pub record: RunRecord,
    /// `study.json`.
    pub study: Study,
    /// `plan.json`.
    pub plan: Plan,
    /// `block.json` of the blocks whose machine came up.
    pub blocks: BTreeMap<Name, BlockRecord>,
    /// `trial.json` of the trials that have ended.
    pub trials: BTreeMap<Name, TrialRecord>,
    /// Records of trials that were tried again, in the plan's order, and the first try first.
    pub set_aside: Vec<TrialRecord>,
}

/// Below `failed/`: as often as a trial is tried again at most.
const ATTEMPTS: [&str; 2] = ["1", "2"];

impl Run {
    /// Reads all records of a run directory, but no artefact.
    pub fn load(dir: &Path) -> Result<Self, RunError> {
        let run = RunDir::checked(dir)?;
        let record: RunRecord = read(&run, "run.json".as_ref(), record::FORMAT)?;
        let study: Study = read(&run, "study.json".as_ref(), spec::FORMAT)?;
        let plan: Plan = read(&run, "plan.json".as_ref(), plan::FORMAT)?;
        if !plan.looks.is_empty() {
            let looks = Design::try_from(plan.looks.clone());
            looks.map_err(|source| RunError::Looks {
                path: dir.join("plan.json"),
                source,
            })?;
        }
        let mut blocks = BTreeMap::new();
        let mut trials = BTreeMap::new();
        for block in &plan.blocks {
            let path = Path::new("blocks")
                .join(block.id.as_str())
                .join("block.json");
            if let Some(found) = read_if_there::<BlockRecord>(&run, &path, record::FORMAT)? {
                expect(&dir.join(&path), &found.block, &block.id)?;
                blocks.insert(block.id.clone(), found);
            }
        }
        for trial in plan.trials() {
            let path = Path::new("trials")
                .join(trial.id.as_str())
                .join("trial.json");
            if let Some(found) = read_if_there::<TrialRecord>(&run, &path, record::FORMAT)? {
                expect(&dir.join(&path), &found.trial, &trial.id)?;
                trials.insert(trial.id.clone(), found);
            }
        }
        are_those_taken(&run, &record)?;
        let mut set_aside = Vec::new();
        for trial in plan.trials() {
            for attempt in ATTEMPTS {
                let folder = Path::new("failed").join(attempt).join(trial.id.as_str());
                let path = folder.join("trial.json");
                if let Some(found) = read_if_there::<TrialRecord>(&run, &path, record::FORMAT)? {
                    expect(&dir.join(&path), &found.trial, &trial.id)?;
                    set_aside.push(found);
                }
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            record,
            study,
            plan,
            blocks,
            trials,
            set_aside,
        })
    }

    /// A run of a plan that has not begun: it has no folder, and nothing is measured.
    pub fn planned(study: Study, plan: Plan) -> Self {
        Self {
            dir: PathBuf::new(),
            record: RunRecord {
                format: record::FORMAT,
                id: plan.study.clone(),
                vexp: String::new(),
                main: None,
                only: None,
                started: String::new(),
                ended: None,
                estimate_s: None,
                controller: BTreeMap::new(),
                computer: None,
                deviations: Vec::new(),
                taken: Vec::new(),
                bundle: None,
            },
            study,
            plan,
            blocks: BTreeMap::new(),
            trials: BTreeMap::new(),
            set_aside: Vec::new(),
        }
    }

    /// Whether its testbed's time is virtual.
    pub fn is_virtual(&self) -> bool {
        self.plan
            .deviations
            .iter()
            .any(|deviation| deviation.property == "time")
    }

    /// Whether a platform is classical Linux, the reference of efficiencies.
    pub fn is_classical(&self, platform: &Name) -> bool {
        self.study
            .platforms
            .get(platform)
            .is_some_and(|platform| platform.hypervisor == "linux")
    }
}

/// Trials that were taken over are still those of the run that measured them.
fn are_those_taken(run: &RunDir, record: &RunRecord) -> Result<(), RunError> {
    for taken in &record.taken {
        for (trial, digest) in &taken.trials {
            let name = Path::new("trials").join(trial.as_str()).join("trial.json");
            if Digest::of(&run.read(&name, RECORD_BYTES)?) != *digest {
                return Err(RunError::NotTaken {
                    path: run.path().join(name),
                    run: taken.run.clone(),
                });
            }
        }
    }
    Ok(())
}

fn expect(path: &Path, says: &Name, folder: &Name) -> Result<(), RunError> {
    if says == folder {
        return Ok(());
    }
    Err(RunError::Misplaced {
        path: path.to_owned(),
        says: says.clone(),
    })
}

fn read<T: DeserializeOwned>(run: &RunDir, name: &Path, known: u32) -> Result<T, RunError> {
    let bytes = run.read(name, RECORD_BYTES)?;
    parse(&run.path().join(name), &bytes, known)
}

fn read_if_there<T: DeserializeOwned>(
    run: &RunDir,
    name: &Path,
    known: u32,
) -> Result<Option<T>, RunError> {
    match read(run, name, known) {
        Err(RunError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The format is looked at before anything else, since an unknown one may mean anything.
fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8], known: u32) -> Result<T, RunError> {
    let damaged = |source| RunError::Json {
        path: path.to_owned(),
        source,
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
    let format = value.get("format");
    if format.and_then(serde_json::Value::as_u64) != Some(u64::from(known)) {
        return Err(RunError::Format {
            path: path.to_owned(),
            found: format.map_or("none".to_owned(), ToString::to_string),
            known,
        });
    }
    serde_json::from_value(value).map_err(damaged)
}
