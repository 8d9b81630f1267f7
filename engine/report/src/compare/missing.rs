//! What only one side has.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Options;
use crate::metrics::Point;
use crate::summary::Summary;

/// A metric of a point that only one side has.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Missing {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// The metrics; empty for all of the point.
    pub metrics: Vec<String>,
    /// Whether the base has it: then it may have been lost.
    pub in_base: bool,
    /// Why the other side does not, where it says.
    pub reason: Option<String>,
}

type Found<'a> = BTreeSet<(&'a Point, &'static str)>;

/// All of them, those of the base first.
pub(super) fn of(base: &[Summary], new: &[Summary], options: &Options<'_>) -> Vec<Missing> {
    let (in_base, in_new) = (has(base, options), has(new, options));
    let mut missing = without(&in_base, &in_new, new, true);
    missing.extend(without(&in_new, &in_base, base, false));
    missing
}

fn has<'a>(runs: &'a [Summary], options: &Options<'_>) -> Found<'a> {
    let points = runs.iter().flat_map(|run| &run.points);
    let metrics = points.flat_map(|(point, of)| of.metrics.keys().map(move |name| (point, *name)));
    metrics
        .filter(|(point, name)| (options.wanted)(point, name))
        .collect()
}

fn without(here: &Found<'_>, there: &Found<'_>, runs: &[Summary], in_base: bool) -> Vec<Missing> {
    let points: BTreeSet<&Point> = here.iter().map(|(point, _)| *point).collect();
    let mut missing = Vec::new();
    for point in points {
        let all: Vec<_> = here.iter().filter(|(other, _)| *other == point).collect();
        let lost: Vec<_> = all.iter().filter(|one| !there.contains(**one)).collect();
        if lost.is_empty() {
            continue;
        }
        let whole = lost.len() == all.len();
        let names = lost.iter().map(|(_, name)| (*name).to_owned());
        missing.push(Missing {
            point: point.clone(),
            metrics: if whole { Vec::new() } else { names.collect() },
            in_base,
            reason: if whole { reason(point, runs) } else { None },
        });
    }
    missing
}

fn reason(point: &Point, runs: &[Summary]) -> Option<String> {
    let mut unusable = runs.iter().flat_map(|run| &run.unusable);
    let found = unusable.find(|trial| {
        (&trial.experiment, &trial.platform, trial.vms)
            == (&point.experiment, &point.platform, point.vms)
    })?;
    Some(format!("{} {}: {}", found.trial, found.kind, found.reason))
}
