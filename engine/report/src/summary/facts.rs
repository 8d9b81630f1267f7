//! The environment of each point of a run, as properties with values: runs with the same ones can
//! be compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plan::{Block, Trial};

use crate::metrics::Point;
use crate::run::Run;

/// Properties of an environment by name: `link`-like paths of the run's records, e.g.
/// `machine nics 0 rate` or `image kvm`.
pub type Facts = BTreeMap<String, String>;

/// An environment can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// `images.json` is there and can't be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A record is not what it should be.
    #[error("the run's records of its environment are damaged")]
    Json(#[from] serde_json::Error),
}

/// Of the controller, what can be seen in results: the emulator runs on it. Its memory is not, since
/// the same machine has some kB more or less of it after each boot.
const CONTROLLER: [&str; 3] = ["kernel", "processor", "processors"];
/// On these testbeds results do not depend on the controller.
const ANY_CONTROLLER: [&str; 1] = ["virtual"];
/// Words on why something is so, and not what is so.
const WORDS: [&str; 1] = ["accelerator_why"];

#[derive(serde::Deserialize)]
struct Image {
    key: Digest,
}

/// Of each point that is planned.
pub(super) fn of(run: &Run) -> Result<BTreeMap<Point, Facts>, FactsError> {
    let images = images(&run.dir.join("images.json"))?;
    let mut common = Facts::new();
    common.insert("study".to_owned(), run.plan.study.to_string());
    common.insert("testbed".to_owned(), run.plan.testbed.to_string());
    if !ANY_CONTROLLER.contains(&run.plan.testbed.as_str()) {
        for name in CONTROLLER {
            if let Some(value) = run.record.controller.get(name) {
                common.insert(format!("controller {name}"), value.clone());
            }
        }
    }
    let mut found: BTreeMap<Point, Facts> = BTreeMap::new();
    for block in &run.plan.blocks {
        let mut machine = common.clone();
        of_machine(run, block, &images, &mut machine)?;
        for trial in &block.trials {
            let mut facts = machine.clone();
            of_trial(trial, &mut facts)?;
            of_computer(run, trial, &mut facts);
            let point = Point {
                experiment: trial.experiment.clone(),
                platform: trial.platform.clone(),
                vms: trial.vms,
            };
            join(found.entry(point).or_default(), facts);
        }
    }
    Ok(found)
}

/// Repetitions of a point may stand in different environments: then all are named.
fn join(to: &mut Facts, from: Facts) {
    for (name, value) in from {
        let there = to.entry(name).or_insert_with(|| value.clone());
        if !there.split(" | ").any(|other| other == value) {
            there.push_str(" | ");
            there.push_str(&value);
        }
    }
}

fn of_machine(
    run: &Run,
    block: &Block,
    images: &BTreeMap<Name, Image>,
    facts: &mut Facts,
) -> Result<(), FactsError> {
    let machine = &block.machine;
    flatten("machine", &serde_json::to_value(machine)?, facts);
    facts.insert("machine guests".to_owned(), block.vms.to_string());
    let kept = if block.boot.is_some() { "yes" } else { "no" };
    facts.insert("machine kept between blocks".to_owned(), kept.to_owned());
    for image in [&machine.image, &machine.guest_image].into_iter().flatten() {
        let key = images.get(image).map(|image| image.key.to_string());
        let key = key.unwrap_or_else(|| "not recorded".to_owned());
        facts.insert(format!("image {image}"), key);
    }
    if let Some(record) = run.blocks.get(&block.id) {
        for (what, seen) in [("site", &record.site), ("host", &record.host)] {
            let seen = seen
                .iter()
                .filter(|(name, _)| !WORDS.contains(&name.as_str()));
            facts.extend(seen.map(|(name, value)| (format!("{what} {name}"), value.clone())));
        }
    }
    Ok(())
}

fn of_trial(trial: &Trial, facts: &mut Facts) -> Result<(), FactsError> {
    let mut value = serde_json::to_value(trial)?;
    if let Some(fields) = value.as_object_mut() {
        // The point itself, and which of its trials it is.
        for own in ["id", "experiment", "platform", "vms", "repetition", "boot"] {
            fields.remove(own);
        }
    }
    flatten("trial", &value, facts);
    Ok(())
}

/// What a node of a batch engine is stands for the controller, on which nothing was measured.
fn of_computer(run: &Run, trial: &Trial, facts: &mut Facts) {
    let record = run.trials.get(&trial.id);
    let Some(computer) = record.and_then(|record| record.computer.as_ref()) else {
        return;
    };
    for name in CONTROLLER {
        if let Some(value) = computer.facts.get(name) {
            facts.insert(format!("controller {name}"), value.clone());
        }
    }
}

/// The leaves of a value by their paths.
fn flatten(path: &str, value: &Value, facts: &mut Facts) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{path} {name}"), value, facts);
            }
        }
        Value::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                flatten(&format!("{path} {}", i + 1), value, facts);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            facts.insert(path.to_owned(), text.clone());
        }
        other => {
            facts.insert(path.to_owned(), other.to_string());
        }
    }
}

fn images(path: &Path) -> Result<BTreeMap<Name, Image>, FactsError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(FactsError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
