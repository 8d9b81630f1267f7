//! Whether two runs have the same results, to the last bit.

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;

use crate::frame::{Frames, TrialFrame};

/// What the digest stands for: part of it, so that it changes when that does.
const FORMAT: u32 = 1;

/// A trial as it is hashed: all samples of its window, or why there are none.
#[derive(Serialize)]
enum Hashed<'a> {
    Samples(
        Vec<(
            vexp_api::record::Part,
            &'a Name,
            &'a vexp_api::sample::Sample,
        )>,
    ),
    Unusable(&'a str, &'a str),
}

/// The digest of a run's results: of all trials with every sample, or with the reason why they have none.
/// When and where the run took place, and what it is called, is not in it.
///
/// # Errors
/// A sample that JSON can't hold; parsers give none.
pub fn digest(frames: &Frames) -> Result<Digest, serde_json::Error> {
    Digest::of_value(&(FORMAT, hashed(frames).collect::<Vec<_>>()))
}

/// The same for each trial.
///
/// # Errors
/// As [`digest`].
pub fn each(frames: &Frames) -> Result<BTreeMap<Name, Digest>, serde_json::Error> {
    let all = hashed(frames);
    all.map(|(name, hashed)| Ok((name.clone(), Digest::of_value(&(FORMAT, hashed))?)))
        .collect()
}

fn hashed(frames: &Frames) -> impl Iterator<Item = (&Name, Hashed<'_>)> {
    let samples = frames.trials.iter().map(|trial| {
        let rows = trial.rows.iter();
        let rows = rows.map(|row| (row.part, &row.tool, &row.sample)).collect();
        (&trial.trial.id, Hashed::Samples(rows))
    });
    let unusable = frames.unusable.iter();
    let unusable = unusable.map(|one| (&one.trial, Hashed::Unusable(one.kind, &one.reason)));
    samples.chain(unusable)
}

/// What became of a trial in two runs, in words; `None` if that is the same.
pub(crate) fn states(expected: &Frames, found: &Frames, trial: &Name) -> Option<String> {
    let [one, other] = [expected, found].map(|frames| state(frames, trial).text());
    (one != other).then(|| format!("expected {one}, found {other}"))
}

enum State<'a> {
    Samples(&'a TrialFrame),
    Unusable(String),
    NotThere,
}

impl State<'_> {
    fn text(&self) -> String {
        match self {
            Self::Samples(trial) => format!("{} samples", trial.rows.len()),
            Self::Unusable(why) => why.clone(),
            Self::NotThere => "no such trial".to_owned(),
        }
    }
}

fn state<'a>(frames: &'a Frames, trial: &Name) -> State<'a> {
    if let Some(found) = frames.trials.iter().find(|one| one.trial.id == *trial) {
        return State::Samples(found);
    }
    let unusable = frames.unusable.iter().find(|one| one.trial == *trial);
    unusable.map_or(State::NotThere, |one| {
        State::Unusable(format!("{} ({})", one.kind, one.reason))
    })
}
