//! Blocks on a batch engine: the dispatcher submits arrays of tasks, each task takes one missing block after the other.
//!
//! Dispatcher and tasks speak by files in the run's folder only. What the engine says is a hint.
//!
//! ```text
//! RUN/batch/engine.json                 engine, its options, what tasks need: see `books`
//! RUN/batch/jobs.jsonl                  each submission: first that it is made, then what the engine answered
//! RUN/batch/stage-N/blocks.json         blocks that are to be measured, in order
//! RUN/batch/stage-N/claims/BLOCK.A/     the task that measures a block, at its Ath attempt
//! RUN/batch/stage-N/ended/BLOCK.A/      how that attempt has ended. Without it, it has not
//! RUN/batch/beats/ARRAY.INDEX           a task's counter, rewritten every few seconds
//! RUN/batch/events/ARRAY.INDEX.jsonl    what a task tells, an event a line
//! RUN/batch/logs/                       what the engine keeps of the tasks' output
//! RUN/batch/dispatcher                  the dispatcher's counter
//! RUN/batch/stop                        tasks begin no further block
//! ```
//!
//! A claim or an end is a folder that is renamed to its place with its content: rename(2) refuses a full folder there,
//! on NFS as well, so that exactly one comes first. Whatever was put is never removed. No lock is shared between hosts,
//! and nobody compares clocks: counters are held against one's own monotonic clock.

pub mod alike;
mod beats;
mod books;
pub mod cancel;
mod claims;
mod dispatcher;
mod guard;
mod judge;
pub mod needs;
mod pick;
mod submit;
mod tail;
pub mod task;
mod window;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vexp_api::batch::BatchEngine;
use vexp_api::ids::Name;
use vexp_api::plugin::PluginError;
use vexp_api::spec::Options;

use super::files::FileError;

pub use window::tasks;

pub use books::{LeftOut, Order, Submission, left_out, order, out, submissions};
pub(super) use dispatcher::run;

/// Its folder in a run's. It names hosts and people, and is left out of bundles.
pub const FOLDER: &str = "batch";

pub(super) fn folder(run: &Path) -> PathBuf {
    run.join(FOLDER)
}

/// How blocks are run elsewhere.
pub struct Batch {
    /// The engine, as `--on` names it.
    pub name: Name,
    /// The engine.
    pub engine: Arc<dyn BatchEngine>,
    /// What it was made of, so that the run can be attached to again.
    pub options: Options,
    /// Tasks at the same time at most, if the user says so.
    pub tasks: Option<NonZeroUsize>,
    /// The program of a task, as nodes see it, and all that comes before the verb.
    pub program: Vec<String>,
    /// The store, as nodes see it.
    pub store: PathBuf,
    /// A store of each node's own, which is filled from that one.
    pub local: Option<PathBuf>,
    /// Whether to return once tasks are submitted.
    pub detach: bool,
    /// This computer's name, for whoever else wants to attend the run.
    pub host: String,
}

/// Why blocks can't be run on a batch engine.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The engine says no.
    #[error("{engine} refuses the job: {said}")]
    Refused {
        /// Engine.
        engine: String,
        /// Its words.
        said: String,
    },
    /// The engine's commands can't be run.
    #[error(transparent)]
    Engine(#[from] PluginError),
    /// Tasks end, and no block gets measured.
    #[error(
        "{tasks} tasks in a row have ended without a block that is measured: {why}; what they said is in {}", .logs.display()
    )]
    NoneMeasures {
        /// How many.
        tasks: usize,
        /// What is known of the last.
        why: String,
        /// Their output.
        logs: PathBuf,
    },
    /// A task could not go on.
    #[error("task {task} on node {node}: {said}")]
    Task {
        /// `ARRAY.INDEX`.
        task: String,
        /// Node.
        node: String,
        /// Its words.
        said: String,
    },
    /// A task has ended a block, and its results are not to be seen.
    #[error(
        "block {block} was measured on node {node}, and its results can't be seen here: is the run's folder on a file system that all nodes share?"
    )]
    Unseen {
        /// Block.
        block: Name,
        /// Node.
        node: String,
    },
    /// Another dispatcher attends the run.
    #[error(
        "another vexp (process {pid} on {host}) attends this run: wait until it has ended, or end it"
    )]
    Attended {
        /// Its computer.
        host: String,
        /// Its process.
        pid: u32,
    },
    /// The user wanted to wait no longer than until tasks are submitted. No failure.
    #[error("tasks are submitted")]
    Detached,
    /// `batch/` is of another version, or not all there.
    #[error("{0}")]
    Books(String),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}
