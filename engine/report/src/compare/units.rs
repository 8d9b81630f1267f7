//! The level of the hierarchy that a comparison stands on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::{ENOUGH_REPETITIONS, Point};
use crate::stats::contrast::linearized;
use crate::stats::{Contrast, mean};
use crate::summary::{MetricSummary, Summary};

/// What an interval stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Runs: it sees all that differs between one and the next.
    Runs,
    /// Boots of the machine: it does not see how runs differ otherwise, and decides nothing where they can.
    Boots,
    /// Repetitions in too few boots: it does not see how boots differ. Where time is virtual these are seeds,
    /// and all that can differ.
    Repetitions,
    /// Samples inside the trials: too few of all of these to tell how they differ.
    Samples,
}

impl Level {
    /// As written in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Boots => "boots",
            Self::Repetitions => "repetitions",
            Self::Samples => "samples",
        }
    }
}

/// Sums above and below the line, in each repetition by run, boot and repetition.
type Repetitions = BTreeMap<(usize, u32, u32), (f64, f64)>;

/// A metric of a point in the runs of a side.
pub(super) struct Side<'a> {
    repetitions: Repetitions,
    summaries: Vec<&'a MetricSummary>,
}

/// Two sides, and what is known of them together.
pub(super) struct Sides {
    pub(super) contrast: Contrast,
    pub(super) level: Level,
    pub(super) units: (usize, usize),
}

impl<'a> Side<'a> {
    /// `None` if no run has it.
    pub(super) fn of(runs: &'a [Summary], point: &Point, metric: &str) -> Option<Self> {
        let mut side = Self {
            repetitions: Repetitions::new(),
            summaries: Vec::new(),
        };
        for (i, run) in runs.iter().enumerate() {
            let Some(found) = run.points.get(point).and_then(|p| p.metrics.get(metric)) else {
                continue;
            };
            side.summaries.push(found);
            for one in &found.measured {
                let key = (i, one.boot, one.repetition);
                let value = (one.estimate.above, one.estimate.below);
                side.repetitions.insert(key, value);
            }
        }
        (!side.repetitions.is_empty()).then_some(side)
    }

    /// The units of a level, each the mean of what is below it, as values whose mean is the
    /// estimate. `None` for samples.
    fn units(&self, level: Level) -> Option<Vec<f64>> {
        let mut units: BTreeMap<(usize, u32, u32), Vec<(f64, f64)>> = BTreeMap::new();
        for (&(run, boot, repetition), &value) in &self.repetitions {
            let unit = match level {
                Level::Runs => (run, 0, 0),
                Level::Boots => (run, boot, 0),
                Level::Repetitions => (run, boot, repetition),
                Level::Samples => return None,
            };
            units.entry(unit).or_default().push(value);
        }
        let means: Option<Vec<(f64, f64)>> = units
            .values()
            .map(|values| {
                let (above, below): (Vec<f64>, Vec<f64>) = values.iter().copied().unzip();
                Some((mean(&above)?, mean(&below)?))
            })
            .collect();
        linearized(&means?)
    }

    /// Whether all repetitions of both sides have the same value.
    pub(super) fn is_the_same_as(&self, other: &Self) -> bool {
        let value = |(above, below): &(f64, f64)| (above / below).to_bits();
        let mut all = self.repetitions.values().chain(other.repetitions.values());
        let first = all.next().map(value);
        all.all(|one| Some(value(one)) == first)
    }
}

/// Both sides on the highest level that has enough units on one of them; the other's may be fewer,
/// and are then taken to vary as these do.
pub(super) fn sides(base: &Side<'_>, new: &Side<'_>) -> Option<Sides> {
    for level in [Level::Runs, Level::Boots, Level::Repetitions] {
        let (new, base) = (new.units(level)?, base.units(level)?);
        if new.len().max(base.len()) >= ENOUGH_REPETITIONS {
            return Some(Sides {
                contrast: Contrast::of_groups(&new, &base)?,
                level,
                units: (base.len(), new.len()),
            });
        }
    }
    let estimate = |side: &Side<'_>| mean(&side.units(Level::Runs)?);
    let (of_new, of_base) = (estimate(new)?, estimate(base)?);
    let contrast = match (&base.summaries[..], &new.summaries[..]) {
        ([base], [new]) => {
            let both = base.inside.as_ref().zip(new.inside.as_ref());
            both.map(|(base, new)| Contrast::between(new, base))
        }
        _ => None,
    };
    Some(Sides {
        contrast: contrast.unwrap_or_else(|| Contrast::unknown(of_new, of_base)),
        level: Level::Samples,
        units: (base.repetitions.len(), new.repetitions.len()),
    })
}
