//! What is said between the parent and the child that evaluates. One JSON document each way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vexp_api::diagnostic::Diagnostic;
use vexp_api::registry::Registry;

use super::path::{FieldPath, Spot};

/// What is to be evaluated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The folder that files may be read from, canonical.
    pub(super) root: PathBuf,
    /// The file below it.
    pub(super) main: String,
    /// Whether the value is a study, with the plugins' contracts.
    pub(super) study: Option<Contracts>,
    /// Limits that the child sets for itself.
    pub(super) limits: Limits,
}

/// Contracts of plugins' options, Nickel source by plugin name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Contracts {
    pub(super) hypervisors: BTreeMap<String, String>,
    pub(super) measures: BTreeMap<String, String>,
    pub(super) testbeds: BTreeMap<String, String>,
    pub(super) batch: BTreeMap<String, String>,
}

impl Contracts {
    pub(super) fn of(registry: &Registry) -> Self {
        let own = |(name, source): (&&str, &str)| ((*name).to_owned(), source.to_owned());
        Self {
            hypervisors: registry
                .hypervisors()
                .iter()
                .map(|(name, plugin)| own((name, plugin.contract())))
                .collect(),
            measures: registry
                .measures()
                .iter()
                .map(|(name, plugin)| own((name, plugin.contract())))
                .collect(),
            batch: registry
                .batch_engines()
                .iter()
                .map(|(name, plugin)| own((name, plugin.contract())))
                .collect(),
            testbeds: registry
                .testbeds()
                .iter()
                .map(|(name, plugin)| own((name, plugin.contract())))
                .collect(),
        }
    }
}

/// What an evaluation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space of the child, bytes.
    pub memory: u64,
    /// Processor time of the child, seconds.
    pub cpu_s: u64,
    /// Wall time, seconds.
    pub wall_s: u64,
}

impl Default for Limits {
    /// 2 GiB, 20 s and 30 s: far more than any study needs, little enough for a laptop.
    fn default() -> Self {
        Self {
            memory: 2 << 30,
            cpu_s: 20,
            wall_s: 30,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Reply {
    /// The value; `None` if it could not be evaluated.
    pub(super) value: Option<Value>,
    /// Where its fields stand.
    pub(super) spans: Vec<(FieldPath, Spot)>,
    /// Why there is no value.
    pub(super) fatal: Vec<Diagnostic>,
    /// The contract library's finding, if it has one.
    pub(super) contract: Option<Diagnostic>,
    /// Findings of plugins' contracts about options.
    pub(super) options: Vec<Diagnostic>,
    /// The files that were read, by path below the folder.
    pub(super) sources: BTreeMap<String, String>,
    /// How the child was confined, for the record.
    pub(super) sandbox: String,
}
