//! Where two runs in virtual time part: the first moment at which they are not the same.
//!
//! Two runs of one study with the same images and seed are one computation, so that anything that differs has a first
//! place. What they were *given* is looked at first, since that explains the rest. Then the first trial that differs is
//! searched: its trace (what links carried, step by step, and what vexp ran), its raw output, the consoles and the
//! environment of its block, and its samples.

mod given;
mod places;
mod text;
mod traces;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;

pub use given::Given;
pub use text::text;
pub use traces::{Apart, commands, links};

use crate::frame::Frames;
use crate::identity;
use crate::run::Run;
use places::Both;

/// A run, and the digests of its images.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its records and samples.
    pub frames: &'a Frames,
    /// Images by name.
    pub images: &'a BTreeMap<Name, Digest>,
}

/// How two runs compare.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Parting {
    /// The run that is expected.
    pub expected: Name,
    /// The run that is held against it.
    pub found: Name,
    /// What they were given, where that is not the same.
    pub given: Vec<Given>,
    /// Trials with the same results, to the last bit.
    pub same: usize,
    /// Trials with other results, or with none in one run, in the order in which they are planned.
    pub differ: Vec<Name>,
    /// Of those with the same results, trials with another trace.
    pub other_traces: Vec<Name>,
    /// The first trial that is not the same.
    pub first: Option<First>,
    /// All of it in one sentence.
    pub sentence: String,
}

/// The first trial that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct First {
    /// Trial.
    pub trial: Name,
    /// What became of it in each run, where it can't be used in one of them.
    pub state: Option<String>,
    /// Which runs have no trace of it, so that less can be said.
    pub untraced: Vec<Name>,
    /// The first difference of each kind, in the order of virtual time.
    pub places: Vec<Place>,
}

/// What kind of thing differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Frames on a link.
    Link,
    /// What vexp ran, and what came of it.
    Command,
    /// Raw output of a tool.
    Output,
    /// A console.
    Console,
    /// What nodes are.
    Environment,
    /// A sample.
    Sample,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Link => "frames",
            Self::Command => "command",
            Self::Output => "raw output",
            Self::Console => "console",
            Self::Environment => "environment",
            Self::Sample => "sample",
        }
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Place {
    /// What kind of thing it is.
    pub kind: Kind,
    /// When, where that is no moment of the trial: `before` or `after` it, or `not dated`.
    pub when: Option<String>,
    /// Virtual seconds since the trial's epoch.
    pub since_start_s: Option<f64>,
    /// Virtual seconds since the machines' power-on.
    pub since_power_on_s: Option<f64>,
    /// What differs.
    pub what: String,
    #[serde(skip)]
    sentence: String,
    #[serde(skip)]
    order: f64,
}

impl Parting {
    /// Whether results are the same to the last bit.
    pub fn is_same(&self) -> bool {
        self.differ.is_empty()
    }

    /// Whether the runs were given other things, from which other results follow.
    pub fn is_explained(&self) -> bool {
        self.given.iter().any(|given| given.explains)
    }
}

/// Compares two runs of one study.
///
/// # Errors
/// A sample that JSON can't hold; parsers give none.
pub fn between(expected: Side<'_>, found: Side<'_>) -> Result<Parting, serde_json::Error> {
    let (one, other) = (&expected.frames.run, &found.frames.run);
    let digests = (
        identity::each(expected.frames)?,
        identity::each(found.frames)?,
    );
    let mut planned: Vec<&Name> = other.plan.trials().map(|trial| &trial.id).collect();
    let only_there = one.plan.trials().map(|trial| &trial.id);
    planned.extend(only_there.filter(|id| !digests.1.contains_key(*id)));
    let (mut same, mut differ, mut other_traces) = (0, Vec::new(), Vec::new());
    for trial in planned {
        if digests.0.get(trial) != digests.1.get(trial) {
            differ.push(trial.clone());
            continue;
        }
        same += 1;
        if let (Some(a), Some(b)) = (traced(one, trial), traced(other, trial))
            && a != b
        {
            other_traces.push(trial.clone());
        }
    }
    let mut given = given::images(expected.images, found.images);
    given.extend(given::runs(one, other));
    let first = differ.first().or(other_traces.first());
    let first = first.map(|trial| {
        given.extend(given::blocks(trial, one, other));
        first_of(trial, expected.frames, found.frames)
    });
    let mut parting = Parting {
        expected: one.record.id.clone(),
        found: other.record.id.clone(),
        given,
        same,
        differ,
        other_traces,
        first,
        sentence: String::new(),
    };
    parting.sentence = text::sentence(&parting);
    Ok(parting)
}

/// The digest of a trial's trace.
fn traced<'r>(run: &'r Run, trial: &Name) -> Option<&'r Digest> {
    Some(&run.trials.get(trial)?.trace.as_ref()?.digest)
}

fn first_of(trial: &Name, expected: &Frames, found: &Frames) -> First {
    let (one, other) = (&expected.run, &found.run);
    let traces = (places::trace(one, trial), places::trace(other, trial));
    let untraced = [(one, traces.0.is_none()), (other, traces.1.is_none())]
        .into_iter()
        .filter(|(_, none)| *none)
        .map(|(run, _)| run.record.id.clone());
    let untraced: Vec<Name> = untraced.collect();
    let block = other.trials.get(trial).or_else(|| one.trials.get(trial));
    let block = block.map(|record| record.block.clone());
    let rows = |frames: &'_ Frames| {
        let mut trials = frames.trials.iter();
        trials
            .find(|one| one.trial.id == *trial)
            .map(|one| one.rows.clone())
    };
    let (ours, theirs) = (rows(expected), rows(found));
    let state = match (&ours, &theirs) {
        (Some(_), Some(_)) => None,
        _ => identity::states(expected, found, trial),
    };
    let mut places = Vec::new();
    if let Some(block) = &block {
        let both = Both {
            expected: one,
            found: other,
            trial,
            block,
            traces: traces.0.as_ref().zip(traces.1.as_ref()),
        };
        places = both.places();
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            places.extend(both.sample(ours, theirs));
        }
    }
    places.sort_by(|a, b| a.order.total_cmp(&b.order));
    First {
        trial: trial.clone(),
        state,
        untraced,
        places,
    }
}
