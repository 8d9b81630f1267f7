//! On which nodes of a batch engine a run's trials were measured.

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::record;

use crate::run::Run;

/// A node, what it is, and its trials.
#[derive(Debug, Serialize)]
pub(super) struct Computer {
    node: String,
    /// `None` in virtual time, where nothing depends on it.
    kind: Option<String>,
    trials: Vec<String>,
}

/// By name; where a node was changed between two trials, it is there twice. Empty where all was measured on the
/// controller.
pub(super) fn computers(run: &Run) -> Vec<Computer> {
    let mut found: BTreeMap<(&str, Option<String>), Vec<String>> = BTreeMap::new();
    for trial in run.trials.values() {
        if let Some(computer) = &trial.computer {
            let key = (computer.node.as_str(), record::kind(&computer.facts));
            found.entry(key).or_default().push(trial.trial.to_string());
        }
    }
    let computers = found.into_iter().map(|((node, kind), trials)| Computer {
        node: node.to_owned(),
        kind,
        trials,
    });
    computers.collect()
}
