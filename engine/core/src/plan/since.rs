//! Two plans → which trials of the new one an earlier run has already measured, and which field made the others
//! stale. Pure: the caller says what was measured.
//!
//! A trial is valid if everything that its result depends on is the same: the trial, its machine, the testbed with
//! its options, the seed, images, vexp and, where time is real, the computer. In virtual time the trials of a block
//! run on one machine whose state depends on what ran before, so a block is valid as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use vexp_api::diagnostic::Place;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plan::{Block, Plan, Trial};

use crate::load::path::{FieldPath, SpanIndex, Step};

/// A plan, with what its trials depend on beside it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The study that it is of, as JSON.
    pub study: &'a Value,
    /// Version of vexp that measures.
    pub vexp: &'a str,
    /// Digests of images by name; one that is unknown on either side is not compared.
    pub images: &'a BTreeMap<Name, Digest>,
    /// Facts of the computer that measures, where they matter.
    pub controller: &'a BTreeMap<String, String>,
}

/// What became of a trial in the earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// It was measured.
    Measured,
    /// It was not, and why.
    NotMeasured(String),
}

/// A field on which a trial depends, and that is another one now.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Change {
    /// What is another one: `trial.traffic.options.rate`, `machine.memory`, `images.guest`.
    pub field: String,
    /// Before; `null` where it was not there.
    pub before: Value,
    /// Now.
    pub now: Value,
    /// The fields of the study that were edited and that it follows from, if any were.
    pub study: Vec<Edited>,
}

/// A field of the study that was edited.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Edited {
    /// The field.
    pub field: String,
    /// Where it stands, or the nearest field above it.
    pub place: Option<Place>,
    #[serde(skip)]
    path: FieldPath,
}

/// A trial that must be measured again.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Stale {
    /// The trial.
    pub trial: Name,
    /// Why.
    pub changes: Vec<Change>,
}

/// A trial that is the same, and must be measured all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Missing {
    /// The trial.
    pub trial: Name,
    /// Why.
    pub why: String,
}

/// What an edit means for a run. Trials are in the order of the new plan, those that are gone in that of the old.
#[derive(Clone, Debug, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Since {
    /// Trials that were measured and are still valid.
    pub valid: Vec<Name>,
    /// Trials that the edit made stale.
    pub stale: Vec<Stale>,
    /// Trials that are the same but must be measured: they were not, or share a machine with one that must be.
    pub missing: Vec<Missing>,
    /// Trials that the earlier run did not plan.
    pub new: Vec<Name>,
    /// Trials that are not planned any more.
    pub gone: Vec<Name>,
}

impl Since {
    /// Trials that are to be measured.
    pub fn rest(&self) -> BTreeSet<Name> {
        let stale = self.stale.iter().map(|stale| &stale.trial);
        let missing = self.missing.iter().map(|missing| &missing.trial);
        stale.chain(missing).chain(&self.new).cloned().collect()
    }

    /// Says where the fields stand that were edited.
    pub fn locate(&mut self, spans: &SpanIndex) {
        let changes = self.stale.iter_mut().flat_map(|stale| &mut stale.changes);
        for edited in changes.flat_map(|change| &mut change.study) {
            edited.place = spans.value(&edited.path).cloned();
        }
    }
}

/// Compares two plans. `before` says what became of a trial of the old one; `whole` is whether blocks are valid only
/// as a whole, which is so in virtual time.
pub fn since(
    old: &Side<'_>,
    new: &Side<'_>,
    before: &dyn Fn(&Name) -> Before,
    whole: bool,
) -> Since {
    let known = index(old.plan);
    let planned = index(new.plan);
    let edits = differences(old.study, new.study);
    let edited: Vec<FieldPath> = edits.into_iter().map(|edit| edit.0).collect();
    let mut found = Since::default();
    for block in &new.plan.blocks {
        let mut valid = Vec::new();
        let mut reason = None;
        for trial in &block.trials {
            let Some((old_block, old_trial)) = known.get(&trial.id) else {
                found.new.push(trial.id.clone());
                reason = Some(&trial.id);
                continue;
            };
            let one = depends(old, old_block, old_trial, whole);
            let other = depends(new, block, trial, whole);
            let changes = differences(&one, &other).into_iter();
            let changes: Vec<Change> = changes
                .filter(|(path, before, now)| !is_unknown(path, before, now))
                .map(|difference| change(difference, new.plan, block, trial, &edited))
                .collect();
            if !changes.is_empty() {
                reason = Some(&trial.id);
                let trial = trial.id.clone();
                found.stale.push(Stale { trial, changes });
                continue;
            }
            match before(&trial.id) {
                Before::Measured => valid.push(trial.id.clone()),
                Before::NotMeasured(why) => {
                    let missing = trial.id.clone();
                    found.missing.push(Missing {
                        trial: missing,
                        why,
                    });
                    reason = Some(&trial.id);
                }
            }
        }
        match reason.filter(|_| whole) {
            None => found.valid.extend(valid),
            Some(other) => found.missing.extend(valid.into_iter().map(|trial| Missing {
                trial,
                why: format!(
                    "in virtual time it shares its machine with {other}, which must be measured"
                ),
            })),
        }
    }
    let gone = old.plan.trials().map(|trial| &trial.id);
    found.gone = gone
        .filter(|id| !planned.contains_key(id))
        .cloned()
        .collect();
    found
}

/// Blocks and trials by the trial's id.
fn index(plan: &Plan) -> BTreeMap<&Name, (&Block, &Trial)> {
    let pairs = all(plan);
    pairs
        .map(|(block, trial)| (&trial.id, (block, trial)))
        .collect()
}

fn all(plan: &Plan) -> impl Iterator<Item = (&Block, &Trial)> {
    let blocks = plan.blocks.iter();
    blocks.flat_map(|block| block.trials.iter().map(move |trial| (block, trial)))
}

/// Everything that a trial's result depends on.
fn depends(side: &Side<'_>, block: &Block, trial: &Trial, whole: bool) -> Value {
    let plan = side.plan;
    let of_machines: BTreeSet<&Name> = (plan.blocks.iter())
        .flat_map(|block| [&block.machine.image, &block.machine.guest_image])
        .flatten()
        .collect();
    let own = [&block.machine.image, &block.machine.guest_image];
    let own: Vec<&Name> = own.into_iter().flatten().collect();
    // An image that no machine names is the testbed's own tool.
    let images =
        (plan.images.iter()).filter(|name| own.contains(name) || !of_machines.contains(name));
    let images: Map<String, Value> = images
        .filter_map(|name| Some((name.to_string(), json!(side.images.get(name)?))))
        .collect();
    let mut all = json!({
        "format": plan.format,
        "vexp": side.vexp,
        "seed": plan.seed,
        "testbed": plan.testbed,
        "testbed_options": plan.testbed_options,
        "images": images,
        "controller": side.controller,
        "machine": block.machine,
        "boot": block.boot,
        "trial": trial,
    });
    if whole {
        let order: Vec<&Name> = block.trials.iter().map(|trial| &trial.id).collect();
        all["order"] = json!(order);
    }
    all
}

/// Whether it is about an image that only one side knows.
fn is_unknown(path: &FieldPath, before: &Value, now: &Value) -> bool {
    path.starts_with(&FieldPath::of(&["images"])) && (before.is_null() || now.is_null())
}

/// A field, its value before, and its value now.
type Difference = (FieldPath, Value, Value);

/// Where two values differ, as deep as both have the same shape.
fn differences(one: &Value, other: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    descend(&FieldPath::top(), one, other, &mut found);
    found
}

fn descend(path: &FieldPath, one: &Value, other: &Value, found: &mut Vec<Difference>) {
    match (one, other) {
        _ if one == other => {}
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let at = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                descend(&path.key(key.clone()), &at(a), &at(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                descend(&path.index(i), a, b, found);
            }
        }
        _ => found.push((path.clone(), one.clone(), other.clone())),
    }
}

fn change(
    (path, before, now): Difference,
    plan: &Plan,
    block: &Block,
    trial: &Trial,
    edited: &[FieldPath],
) -> Change {
    let sources = sources(&path, plan, block, trial);
    let touches = |edit: &&FieldPath| {
        sources
            .iter()
            .any(|of| edit.starts_with(of) || of.starts_with(edit))
    };
    Change {
        field: path.to_string(),
        before,
        now,
        study: (edited.iter().filter(touches))
            .map(|path| Edited {
                field: path.to_string(),
                place: None,
                path: path.clone(),
            })
            .collect(),
    }
}

/// The fields of a study from which a field of [`depends`] can follow.
fn sources(path: &FieldPath, plan: &Plan, block: &Block, trial: &Trial) -> Vec<FieldPath> {
    let keys: Vec<&str> = (path.0.iter())
        .map_while(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    let experiment = ["experiments", trial.experiment.as_str()];
    let effort = ["efforts", plan.effort.as_str()];
    let platform = ["platforms", block.machine.platform.as_str()];
    let hardware = ["hardware", block.machine.hardware.as_str()];
    let testbed = ["testbeds", plan.testbed.as_str()];
    let below = |above: &[&str], more: &[&str]| FieldPath::of(&[above, more].concat());
    let rule = |field| {
        below(
            &[testbed.as_slice(), hardware.as_slice()].concat(),
            &[field],
        )
    };
    match keys.as_slice() {
        ["seed", ..] => vec![FieldPath::of(&["seed"])],
        ["testbed_options", rest @ ..] => vec![below(&testbed, &[&["options"], rest].concat())],
        ["order", ..] => vec![FieldPath::of(&["experiments"]), below(&effort, &[])],
        ["boot", ..] | ["trial", "boot"] => vec![below(&effort, &["boots"])],
        ["trial", field @ ("warm_up" | "window")] => vec![below(&effort, &[field])],
        ["trial", "measured"] => vec![below(&experiment, &["flows"])],
        ["trial", field, rest @ ..] => vec![below(&experiment, &[&[*field], rest].concat())],
        ["machine", field @ ("cpus" | "memory")] => vec![rule(field), below(&hardware, &[field])],
        ["machine", "nics", ..] => {
            vec![
                below(&testbed, &["link"]),
                rule("nic"),
                below(&hardware, &["nics"]),
            ]
        }
        ["machine", "image" | "guest_image"] => vec![below(&testbed, &["software"])],
        ["machine", field @ ("version" | "toolstack")] => {
            vec![below(&testbed, &["software"]), below(&platform, &[field])]
        }
        ["machine", "guest", ..] => vec![below(&testbed, &["guest"]), below(&platform, &["guest"])],
        ["machine", "max_vms" | "peers"] => {
            vec![FieldPath::of(&["experiments"]), below(&effort, &["vms"])]
        }
        ["machine", rest @ ..] => vec![below(&platform, rest)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
