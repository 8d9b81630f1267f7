//! What a batch engine is: Slurm, or another by its commands. vexp hands it arrays of tasks and keeps its own books in the
//! run's folder: what an engine says is a hint, and an end is believed only where a task has written it down itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::Name;
use crate::plugin::{Plugin, PluginError};
use crate::spec::Options;

/// A job as its engine names it: digits in Slurm, `1234.server` in PBS. Never shell text: it is handed over as one
/// argument, and [`JobId::parse`] takes letters, digits and `.-_[]` only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// A text that is no job's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no job's name: 1 to 64 letters, digits or .-_[]")]
pub struct BadJobId(String);

impl JobId {
    /// Reads what an engine has printed.
    ///
    /// # Errors
    /// Other characters, nothing, more than 64 of them, or an option.
    pub fn parse(text: &str) -> Result<Self, BadJobId> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_[]".contains(c);
        if text.is_empty() || text.len() > 64 || text.starts_with('-') || !text.chars().all(fits) {
            return Err(BadJobId(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// As the engine names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = BadJobId;

    fn try_from(text: String) -> Result<Self, BadJobId> {
        Self::parse(&text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One element of a job's array.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job.
    pub job: JobId,
    /// Its index in the array, from 0.
    pub index: u32,
}

impl std::fmt::Display for TaskId {
    /// `1234_5`, as Slurm writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.job, self.index)
    }
}

/// Tasks that are submitted together: the same program, told apart by their index.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The job's name: unique, so that a submission of which no answer came is looked up ([`BatchEngine::find`]) before it is
    /// repeated.
    pub name: Name,
    /// How many tasks, ≥ 1 and ≤ [`Limits::array`].
    pub tasks: u32,
    /// The program of each and its arguments. A task finds its index and job by [`BatchEngine::here`].
    pub argv: Vec<String>,
    /// Where it starts: a folder that all nodes see.
    pub folder: PathBuf,
    /// Where standard output and error of the tasks go, a file each.
    pub logs: PathBuf,
    /// What each of them needs.
    pub needs: Needs,
    /// Nodes on which nothing is to run: a task died there.
    pub exclude: BTreeSet<String>,
}

/// What a task needs of its node.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// After this time the engine may end it.
    pub time: Duration,
    /// How long before that it is told to stop (SIGTERM).
    pub grace: Duration,
    /// Whether nobody else may use its node meanwhile.
    pub exclusive: bool,
}

/// What an engine accepts at most; `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Tasks in an array.
    pub array: Option<u32>,
    /// Tasks of a user that wait or run.
    pub queued: Option<u32>,
}

/// What an engine says of a task that it still knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It waits, with the engine's reason.
    Waiting(String),
    /// It runs on this node.
    Running(String),
    /// The engine has ended it, in its own words: `COMPLETED`, `NODE_FAIL`, `TIMEOUT` … A hint only.
    Over {
        /// In the engine's words.
        state: String,
        /// Where it ran, if that is known.
        node: Option<String>,
    },
}

/// A task, seen from inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Which task this is; `None` in a job that vexp did not submit as an array.
    pub task: Option<TaskId>,
    /// The job.
    pub job: JobId,
    /// How often the engine has started it anew, from 0.
    pub restart: u32,
    /// The node's name as the engine has it.
    pub node: String,
}

/// Why a submission was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The engine says no, and would again: an unknown account, a limit on arrays. Its own words.
    #[error("{engine} refuses the job: {said}")]
    Refused {
        /// Engine.
        engine: &'static str,
        /// What it said.
        said: String,
    },
    /// The engine can't take it now: queue full, controller away. To be tried again later.
    #[error("{engine} can't take the job now: {said}")]
    Later {
        /// Engine.
        engine: &'static str,
        /// What it said.
        said: String,
    },
    /// No answer: the job may have been submitted all the same.
    #[error("{engine} has not answered: {said}")]
    Unknown {
        /// Engine.
        engine: &'static str,
        /// What is known.
        said: String,
    },
    /// The engine's commands can't be run.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// How often the dispatcher and the tasks look, and how long they wait before they believe something. The default is for
/// clusters: engines throttle, and a shared file system shows what was written elsewhere within a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From one look at the run's folder to the next. No engine is asked for it.
    pub look: Duration,
    /// From one sign of life of a task to the next.
    pub beat: Duration,
    /// From a submission to the first time that the engine is asked.
    pub ask: Duration,
    /// How much longer each pause between two such questions is than the one before.
    pub ask_longer: Duration,
    /// The longest of these pauses.
    pub ask_most: Duration,
    /// For so long a task gives no sign of life before it is taken for dead, if its engine says so too.
    pub silence: Duration,
    /// How late files of a task may be seen here.
    pub late: Duration,
    /// From a submission to the first sign of life, if the engine does not say that the task waits.
    pub first: Duration,
    /// For so long a task gives no sign of life before it is taken for dead though its engine says that it runs.
    pub hung: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(2),
            beat: Duration::from_secs(5),
            ask: Duration::from_secs(60),
            ask_longer: Duration::from_secs(10),
            ask_most: Duration::from_secs(300),
            silence: Duration::from_secs(180),
            late: Duration::from_secs(60),
            first: Duration::from_secs(600),
            hung: Duration::from_secs(900),
        }
    }
}

/// Makes an engine of what a study or a user says of it. The name is what `--on` takes.
pub trait BatchPlugin: Plugin {
    /// The engine with its options: partition, account, time limit …
    ///
    /// # Errors
    /// An option that would be refused, in one sentence with the option's name; nothing is submitted to find out.
    fn engine(&self, options: &Options) -> Result<Arc<dyn BatchEngine>, String>;
}

/// Runs tasks on other computers that share a file system with this one.
#[async_trait]
pub trait BatchEngine: Send + Sync {
    /// The name that `--on` takes.
    fn name(&self) -> &'static str;

    /// The time limit that each task gets whatever it needs: the user's option. A task begins no block that would end
    /// later.
    fn time(&self) -> Option<Duration> {
        None
    }

    /// How often it may be asked, and how soon its tasks are believed to be dead.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Reads the limits. Where they can't be told, none.
    ///
    /// # Errors
    /// The engine's commands are missing, or it does not answer.
    async fn limits(&self) -> Result<Limits, PluginError>;

    /// Submits an array, once.
    ///
    /// # Errors
    /// See [`SubmitError`]: whether it is worth trying again, and whether it may have been submitted all the same.
    async fn submit(&self, array: &Array) -> Result<JobId, SubmitError>;

    /// The job of this name, if the engine knows one.
    ///
    /// # Errors
    /// It does not answer.
    async fn find(&self, name: &Name) -> Result<Option<JobId>, PluginError>;

    /// What it says of the jobs' tasks, in one call. A task that it no longer knows is left out, and that is no end.
    ///
    /// # Errors
    /// It does not answer.
    async fn status(&self, jobs: &[JobId]) -> Result<BTreeMap<TaskId, TaskState>, PluginError>;

    /// Ends tasks. Those that it doesn't know any more are no error.
    ///
    /// # Errors
    /// It does not answer.
    async fn cancel(&self, tasks: &[TaskId]) -> Result<(), PluginError>;

    /// Which task this process is, by its environment; `None` outside of a job.
    fn here(&self) -> Option<Here>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_s_name_is_no_option_and_no_shell_text() {
        for good in ["1234", "77.server-1", "12[].pbs"] {
            assert_eq!(JobId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-1", "1 2", "1;ls", "$(x)", &"1".repeat(65)] {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
        let read: Result<JobId, _> = serde_json::from_str("\"a b\"");
        assert!(read.is_err());
    }
}
