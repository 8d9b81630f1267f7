//! Path → value with the place of every field, evaluated in a bounded child.
//!
//! A spec is somebody else's program. It is read and evaluated in a process of its own that may
//! use so much memory and time and no more, reads nothing but the study's folder and the library
//! (`import "vexp.ncl"`, always the one in this crate's `contracts/`), and after reading can open
//! no file at all.

mod cache;
mod child;
mod convert;
pub mod docs;
mod eval;
mod parent;
pub mod path;
mod protocol;
mod sources;
pub(crate) mod uses;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vexp_api::diagnostic::Diagnostic;
use vexp_api::registry::Registry;

pub use child::child_main;
pub use path::{FieldPath, SpanIndex, Spot, Step};
pub use protocol::Limits;

/// The hidden verb with which the binary is to call [`child_main`].
pub const VERB: &str = "eval-spec";

/// How to start the child.
#[derive(Clone, Debug)]
pub struct Loader {
    /// An executable that calls [`child_main`] when its first argument is [`VERB`]: usually
    /// `/proc/self/exe`.
    pub executable: PathBuf,
    /// What the child may use.
    pub limits: Limits,
    /// A folder for replies whose inputs have not changed; private to this user.
    pub cache: Option<PathBuf>,
}

impl Loader {
    /// With the default limits.
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            limits: Limits::default(),
            cache: None,
        }
    }

    /// Keeps replies in `folder`, and evaluates nothing again whose inputs have not changed.
    #[must_use]
    pub fn cached(mut self, folder: Option<PathBuf>) -> Self {
        self.cache = folder;
        self
    }

    /// Evaluates a study. Whatever its contracts find is in the result for [`crate::check`].
    ///
    /// # Errors
    /// [`LoadError::Findings`] if it can't be evaluated at all: syntax, imports, limits.
    pub fn study(&self, path: &Path, registry: &Registry) -> Result<Loaded, LoadError> {
        let contracts = protocol::Contracts::of(registry);
        parent::load(self, path, Some(contracts))
    }

    /// Evaluates any file, e.g. an image's definition. `Loaded::contract` and `Loaded::options`
    /// are empty.
    ///
    /// # Errors
    /// As [`Loader::study`].
    pub fn value(&self, path: &Path) -> Result<Loaded, LoadError> {
        parent::load(self, path, None)
    }
}

/// An evaluated file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The value.
    pub value: Value,
    /// Where its fields stand.
    pub spans: SpanIndex,
    /// The files that were used, text by path below the study's folder: what findings refer to,
    /// and what is copied into the run directory.
    pub sources: BTreeMap<String, String>,
    /// The main file's path in `sources`.
    pub main: String,
    /// The first thing that the contract library refuses, if any.
    pub contract: Option<Diagnostic>,
    /// What plugins' contracts refuse.
    pub options: Vec<Diagnostic>,
    /// How the child was confined: for the record.
    pub sandbox: String,
}

/// Findings with the sources that they refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The findings.
    pub findings: Vec<Diagnostic>,
    /// Text by the name that places use.
    pub sources: BTreeMap<String, String>,
}

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Something is wrong with the file.
    #[error("{} cannot be evaluated", .0.display())]
    Findings(PathBuf, Box<Findings>),
    /// There is no such file.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The path names no file, or not in UTF-8.
    #[error("{} is not the path of a file (in UTF-8)", .0.display())]
    Path(PathBuf),
    /// The child could not be started.
    #[error("cannot start the process that evaluates specs")]
    Spawn(#[source] std::io::Error),
    /// Parent and child could not talk.
    #[error("lost contact with the process that evaluates specs")]
    Pipe(#[source] std::io::Error),
    /// One of them said something that the other does not understand.
    #[error("the process that evaluates specs does not speak this version's language")]
    Protocol(#[source] serde_json::Error),
    /// A limit could not be set.
    #[error("cannot limit the process that evaluates specs")]
    Limit(#[source] std::io::Error),
    /// A bug in the evaluator.
    #[error("the evaluator panicked")]
    Panicked,
    /// The child ended without a reply.
    #[error("the process that evaluates specs ended with {status}: {stderr}")]
    Died {
        /// How.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
}
