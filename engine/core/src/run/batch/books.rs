//! What the dispatcher writes down of a run on a batch engine, so that another one can take it up again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::batch::{JobId, Pace};
use vexp_api::ids::Name;
use vexp_api::plugin::ImageFiles;
use vexp_api::run_dir::RECORD_BYTES;
use vexp_api::spec::Options;

use super::super::dispatch::now_rfc3339;
use super::super::files::{self, FileError, io};
use super::{Batch, BatchError, folder};

/// The version of all files below `batch/`.
const FORMAT: u32 = 1;
const ORDER: &str = "engine.json";
const JOBS: &str = "jobs.jsonl";

/// `batch/engine.json`: the engine, and what tasks need beside the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    format: u32,
    /// The engine, as `--on` names it.
    pub engine: Name,
    /// What it is made of.
    pub options: Options,
    /// Where the images lie, as nodes see them.
    pub images: BTreeMap<Name, ImageFiles>,
    /// The store, as nodes see it.
    pub store: PathBuf,
    /// A store of each node's own, which is filled from that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<PathBuf>,
    /// How often tasks give signs of life.
    pub pace: Pace,
    /// Tasks at the same time at most, if the user has said so.
    pub tasks: Option<NonZeroUsize>,
}

impl Order {
    pub(super) fn new(batch: &Batch, images: BTreeMap<Name, ImageFiles>, pace: Pace) -> Self {
        Self {
            format: FORMAT,
            engine: batch.name.clone(),
            options: batch.options.clone(),
            images,
            store: batch.store.clone(),
            local: batch.local.clone(),
            pace,
            tasks: batch.tasks,
        }
    }

    pub(super) fn write(&self, run: &Path) -> Result<(), FileError> {
        files::write_json(&folder(run).join(ORDER), self)
    }
}

/// Reads `batch/engine.json`; `None` where the run was never on an engine.
///
/// # Errors
/// It can't be read, or is of another version.
pub fn order(run: &Path) -> Result<Option<Order>, BatchError> {
    let path = folder(run).join(ORDER);
    if !path.exists() {
        return Ok(None);
    }
    let order: Order = files::read_json(&path)?;
    if order.format != FORMAT {
        return Err(BatchError::Books(format!(
            "{} has format {}; this vexp reads format {FORMAT}",
            path.display(),
            order.format
        )));
    }
    Ok(Some(order))
}

/// A line of `batch/jobs.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Line {
    /// An array is about to be submitted.
    Submit {
        array: Name,
        tasks: u32,
        stage: u32,
        at: String,
    },
    /// The engine has accepted it.
    Job { array: Name, job: JobId },
    /// The engine has not accepted it, or does not know it: nothing of it runs.
    Not { array: Name, said: String },
    /// All of its tasks have ended.
    Over { array: Name },
    /// Nothing more runs on a node.
    LeftOut { node: String, why: String },
}

/// Tasks that were submitted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The array's name, which is the job's.
    pub array: Name,
    /// How many tasks.
    pub tasks: u32,
    /// The stage that they were submitted for.
    pub stage: u32,
    /// The engine's name for it, once it is known.
    pub job: Option<JobId>,
    /// Whether the engine has not accepted it.
    pub not: bool,
    /// Whether all of its tasks have ended.
    pub over: bool,
}

impl Submission {
    /// Whether tasks of it may wait or run.
    pub fn is_out(&self) -> bool {
        !self.over && !self.not
    }
}

/// A node on which nothing more is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub node: String,
    /// What happened there.
    pub why: String,
}

/// All that was submitted, in order.
///
/// # Errors
/// It can't be read. A line that was torn when its writer died is left out.
pub fn submissions(run: &Path) -> Result<Vec<Submission>, FileError> {
    Ok(Jobs::read(run)?.submissions)
}

/// What may still wait or run.
///
/// # Errors
/// As for [`submissions`].
pub fn out(run: &Path) -> Result<Vec<Submission>, FileError> {
    let mut all = submissions(run)?;
    all.retain(Submission::is_out);
    Ok(all)
}

/// Nodes that were left out of submissions, and why.
///
/// # Errors
/// As for [`submissions`].
pub fn left_out(run: &Path) -> Result<Vec<LeftOut>, FileError> {
    Ok(Jobs::read(run)?.left_out)
}

/// `batch/jobs.jsonl` as it stands.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub(super) submissions: Vec<Submission>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Jobs {
    pub(super) fn read(run: &Path) -> Result<Self, FileError> {
        let path = folder(run).join(JOBS);
        let mut jobs = Self::default();
        if !path.exists() {
            return Ok(jobs);
        }
        let bytes = files::read(&path, RECORD_BYTES)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice(line) {
                jobs.take(line);
            }
        }
        Ok(jobs)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Submit {
                array,
                tasks,
                stage,
                ..
            } => self.submissions.push(Submission {
                array,
                tasks,
                stage,
                job: None,
                not: false,
                over: false,
            }),
            Line::Job { array, job } => self.of(&array, |one| {
                one.job = Some(job);
                one.not = false;
            }),
            Line::Not { array, .. } => self.of(&array, |one| one.not = true),
            Line::Over { array } => self.of(&array, |one| one.over = true),
            Line::LeftOut { node, why } => self.left_out.push(LeftOut { node, why }),
        }
    }

    fn of(&mut self, array: &Name, change: impl FnOnce(&mut Submission)) {
        if let Some(one) = self.submissions.iter_mut().find(|one| one.array == *array) {
            change(one);
        }
    }

    /// Writes a line down for good, and takes note of it.
    pub(super) fn add(&mut self, run: &Path, line: Line) -> Result<(), FileError> {
        let path = folder(run).join(JOBS);
        append(&path, &line)?;
        self.take(line);
        Ok(())
    }

    /// What is about to be submitted.
    pub(super) fn submit(
        &mut self,
        run: &Path,
        array: &Name,
        (tasks, stage): (u32, u32),
    ) -> Result<(), FileError> {
        let line = Line::Submit {
            array: array.clone(),
            tasks,
            stage,
            at: now_rfc3339(),
        };
        self.add(run, line)
    }

    pub(super) fn excluded(&self) -> BTreeSet<String> {
        self.left_out.iter().map(|one| one.node.clone()).collect()
    }
}

/// Adds a line of JSON to a file, after the end of one that was torn. It is on the disk, and on an NFS server, when this
/// returns.
pub(super) fn append<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    use std::os::unix::fs::FileExt as _;
    let mut text = serde_json::to_string(value).map_err(|source| FileError::Json {
        path: path.to_owned(),
        source,
    })?;
    text.push('\n');
    let written = || {
        let mut file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(path)?;
        let len = file.metadata()?.len();
        let mut last = [b'\n'];
        if len > 0 {
            file.read_exact_at(&mut last, len - 1)?;
        }
        if last != [b'\n'] {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()
    };
    let mut written = written;
    written().map_err(io("write", path))
}

/// A stage's blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Blocks {
    format: u32,
    /// In the order in which they are begun.
    pub(super) blocks: Vec<Wanted>,
}

/// A block that is to be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) block: Name,
    /// Its trials that are wanted.
    pub(super) trials: BTreeSet<Name>,
    /// Blocks of one number are compared: where time is real, nodes of one kind measure them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<usize>,
    /// For so long it may take, in seconds: a task with less time does not begin it.
    pub(super) seconds: u64,
}

impl Blocks {
    pub(super) fn new(blocks: Vec<Wanted>) -> Self {
        Self {
            format: FORMAT,
            blocks,
        }
    }

    pub(super) fn read(stage: &Path) -> Result<Self, BatchError> {
        let path = stage.join("blocks.json");
        let blocks: Self = files::read_json(&path)?;
        match blocks.format {
            FORMAT => Ok(blocks),
            other => Err(BatchError::Books(format!(
                "{} has format {other}; this vexp reads format {FORMAT}",
                path.display()
            ))),
        }
    }

    pub(super) fn write(&self, stage: &Path) -> Result<(), FileError> {
        files::write_json(&stage.join("blocks.json"), self)
    }
}

/// A stage's folder.
pub(super) fn stage(run: &Path, number: u32) -> PathBuf {
    folder(run).join(format!("stage-{number}"))
}

/// The last stage that was begun, from 1; 0 if none was.
pub(super) fn last_stage(run: &Path) -> u32 {
    (1..)
        .take_while(|number| stage(run, *number).join("blocks.json").exists())
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_submission_without_an_answer_is_out_until_it_is_known_not_to_be() {
        let run = tempfile::tempdir().unwrap();
        files::create_dir(&folder(run.path())).unwrap();
        let mut jobs = Jobs::read(run.path()).unwrap();
        let states = |run: &Path| -> Vec<(bool, Option<String>)> {
            let all = submissions(run).unwrap();
            all.iter()
                .map(|one| (one.is_out(), one.job.as_ref().map(ToString::to_string)))
                .collect()
        };
        jobs.submit(run.path(), &name("r-1"), (3, 1)).unwrap();
        assert_eq!(states(run.path()), [(true, None)]);
        let job = JobId::parse("77").unwrap();
        let array = name("r-1");
        jobs.add(run.path(), Line::Job { array, job }).unwrap();
        jobs.submit(run.path(), &name("r-2"), (1, 1)).unwrap();
        let said = "no".to_owned();
        let array = name("r-2");
        jobs.add(run.path(), Line::Not { array, said }).unwrap();
        let expected = [(true, Some("77".to_owned())), (false, None)];
        assert_eq!(states(run.path()), expected);
        // Whoever wrote it has died in the middle of a line.
        let path = folder(run.path()).join(JOBS);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"what\":\"ov").unwrap();
        let mut jobs = Jobs::read(run.path()).unwrap();
        let array = name("r-1");
        jobs.add(run.path(), Line::Over { array }).unwrap();
        assert!(out(run.path()).unwrap().is_empty());
        assert_eq!(submissions(run.path()).unwrap().len(), 2);
    }
}
