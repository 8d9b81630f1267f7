//! Repetitions → an estimate with its variance, for one metric or two together.

use std::collections::BTreeMap;

use super::observed::Key;
use super::repetition::Repetition;
use super::series::Estimate;
use crate::stats::bootstrap::{Bootstrap, independent};
use crate::stats::contrast::{Contrast, linearized};
use crate::stats::directed::{Scale, Side, Units};
use crate::stats::{self};

/// Units of a level from which on an interval stands on it.
pub(super) const ENOUGH: usize = 3;

/// What an interval stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Boots of the machine: it sees all that differs between one boot and the next.
    Boots,
    /// Repetitions in too few boots: it does not see how boots differ.
    Repetitions,
    /// Samples inside the trials: it sees neither how boots nor how repetitions differ.
    WithinTrial,
    /// There are too few samples for an interval.
    None,
}

impl Basis {
    /// As written in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::Repetitions => "repetitions",
            Self::WithinTrial => "within-trial",
            Self::None => "none",
        }
    }

    /// What it means, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Boots => "over boots of the machine",
            Self::Repetitions => "over repetitions; how boots differ is not in it",
            Self::WithinTrial => "inside the trials; how repetitions and boots differ is not in it",
            Self::None => "too few samples for an interval",
        }
    }
}

/// An estimate of one side or of two, and what its variance stands on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inference {
    /// The sides.
    pub contrast: Contrast,
    /// What the variance stands on.
    pub basis: Basis,
    /// Units of that: boots, repetitions, or independent samples.
    pub units: usize,
    /// Boots of the machine (pairs of boots, of two machines).
    pub boots: usize,
}

/// A metric in one repetition.
#[derive(Clone, Copy)]
pub(super) struct Sampled<'p> {
    pub(super) repetition: &'p Repetition<'p>,
    pub(super) key: &'p Key,
    pub(super) estimate: Estimate,
}

/// A metric in one repetition, and another in the same one.
type Pair<'p> = (Sampled<'p>, Option<Sampled<'p>>);

/// What a metric is, or what it is by another.
pub(super) fn infer(
    left: &[Sampled<'_>],
    right: Option<&[Sampled<'_>]>,
    seed: u64,
) -> Option<Inference> {
    let pairs = paired(left, right);
    let boots = by_boot(&pairs);
    let found = |contrast, basis, units| Inference {
        contrast,
        basis,
        units,
        boots: boots.len(),
    };
    let each: Vec<Vec<usize>> = (0..pairs.len()).map(|i| vec![i]).collect();
    if boots.len() >= ENOUGH {
        let contrast = over_units(&pairs, &boots)?;
        return Some(found(contrast, Basis::Boots, boots.len()));
    }
    if pairs.len() >= ENOUGH {
        let contrast = over_units(&pairs, &each)?;
        return Some(found(contrast, Basis::Repetitions, pairs.len()));
    }
    let (left, right) = estimates(&pairs)?;
    if let Some((contrast, units)) = inside_trials(&pairs, &boots, (left, right), seed) {
        return Some(found(contrast, Basis::WithinTrial, units));
    }
    Some(found(Contrast::unknown(left, right), Basis::None, 0))
}

fn paired<'p>(left: &[Sampled<'p>], right: Option<&[Sampled<'p>]>) -> Vec<Pair<'p>> {
    let Some(right) = right else {
        return left.iter().map(|left| (*left, None)).collect();
    };
    let pair = |one: &Sampled<'p>| {
        let repetition = one.repetition.trial.repetition;
        let mut others = right.iter();
        let other = others.find(|other| other.repetition.trial.repetition == repetition)?;
        Some((*one, Some(*other)))
    };
    left.iter().filter_map(pair).collect()
}

/// The pairs of each boot (of two machines).
fn by_boot(pairs: &[Pair<'_>]) -> Vec<Vec<usize>> {
    let mut boots: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, (left, right)) in pairs.iter().enumerate() {
        let boot = (
            left.repetition.trial.boot,
            right.map(|r| r.repetition.trial.boot),
        );
        boots.entry(boot).or_default().push(i);
    }
    boots.into_values().collect()
}

/// What a metric is, or is by another, unit by unit: boots if there are three or more, else repetitions.
/// One that is another to the last bit is none. `None` of fewer than three units.
pub(super) fn units(
    left: &[Sampled<'_>],
    right: Option<&[Sampled<'_>]>,
    scale: Scale,
) -> Option<(Units, Basis)> {
    let mut pairs = paired(left, right);
    pairs.retain(|(left, right)| {
        !left.repetition.is_copy() || right.is_some_and(|right| !right.repetition.is_copy())
    });
    let boots = by_boot(&pairs);
    let (groups, basis) = match boots.len() >= ENOUGH {
        true => (boots, Basis::Boots),
        false => (
            (0..pairs.len()).map(|i| vec![i]).collect(),
            Basis::Repetitions,
        ),
    };
    if groups.len() < ENOUGH {
        return None;
    }
    let left = side(&pairs, &groups, scale, &|(left, _)| Some(*left))?;
    let right = match pairs.first()?.1 {
        None => None,
        Some(_) => Some(side(&pairs, &groups, scale, &|(_, right)| *right)?),
    };
    Some((Units::new(&left, right.as_ref(), scale)?, basis))
}

/// A side in each group of pairs: the mean of what stands above by that of what stands below.
fn side<'p>(
    pairs: &[Pair<'p>],
    groups: &[Vec<usize>],
    scale: Scale,
    of: &dyn Fn(&Pair<'p>) -> Option<Sampled<'p>>,
) -> Option<Side> {
    let means: Option<Vec<(f64, f64)>> = groups
        .iter()
        .map(|group| {
            let found = group.iter().filter_map(|i| of(pairs.get(*i)?));
            let (above, below): (Vec<f64>, Vec<f64>) = found.map(|s| parts(&s)).unzip();
            Some((stats::mean(&above)?, stats::mean(&below)?))
        })
        .collect();
    let means = means?;
    let steps = pairs.iter().filter_map(of);
    Some(Side {
        values: match scale {
            Scale::Log => means.iter().map(|(above, below)| above / below).collect(),
            Scale::Linear => linearized(&means)?,
        },
        step: steps.map(|s| s.estimate.resolution()).fold(0.0, f64::max),
    })
}

/// The ratio of the sums on both sides; 1 where there is no right side.
fn estimates(pairs: &[Pair<'_>]) -> Option<(f64, f64)> {
    let lefts: Vec<_> = pairs.iter().map(|(left, _)| parts(left)).collect();
    let rights: Vec<_> = pairs
        .iter()
        .filter_map(|(_, r)| r.as_ref().map(parts))
        .collect();
    let left = stats::mean(&linearized(&lefts)?)?;
    match rights.is_empty() {
        true => Some((left, 1.0)),
        false => Some((left, stats::mean(&linearized(&rights)?)?)),
    }
}

fn parts(sampled: &Sampled<'_>) -> (f64, f64) {
    (sampled.estimate.above, sampled.estimate.below)
}

/// Each unit is the mean of its repetitions, and all units weigh the same.
fn over_units(pairs: &[Pair<'_>], units: &[Vec<usize>]) -> Option<Contrast> {
    let unit = |side: &dyn Fn(&Pair<'_>) -> Option<(f64, f64)>| -> Option<Vec<f64>> {
        let means: Option<Vec<(f64, f64)>> = units
            .iter()
            .map(|unit| {
                let values = unit.iter().filter_map(|i| side(pairs.get(*i)?));
                let (above, below): (Vec<f64>, Vec<f64>) = values.unzip();
                Some((stats::mean(&above)?, stats::mean(&below)?))
            })
            .collect();
        linearized(&means?)
    };
    let lefts = unit(&|(left, _)| Some(parts(left)))?;
    let rights = match pairs.first()?.1 {
        None => None,
        Some(_) => Some(unit(&|(_, right)| right.as_ref().map(parts))?),
    };
    Contrast::of_units(&lefts, rights.as_deref())
}

/// The hierarchical bootstrap: boots, repetitions in them, blocks of samples in these.
fn inside_trials(
    pairs: &[Pair<'_>],
    boots: &[Vec<usize>],
    estimates: (f64, f64),
    seed: u64,
) -> Option<(Contrast, usize)> {
    // Drawn for the run and not for the point, so that sides that share a repetition share it.
    let mut bootstrap = Bootstrap::new(seed, "levels");
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    for replicate in 0..stats::REPLICATES {
        let drawn = bootstrap.levels(boots);
        let side = |of: &dyn Fn(&Pair<'_>) -> Option<(f64, f64)>| {
            let drawn = drawn.iter().filter_map(|i| pairs.get(*i)).map(of);
            drawn.collect::<Option<Vec<_>>>().map(|found| {
                let (above, below): (Vec<f64>, Vec<f64>) = found.into_iter().unzip();
                above.iter().sum::<f64>() / below.iter().sum::<f64>()
            })
        };
        let at = |sampled: &Sampled<'_>| {
            let replicates = sampled.repetition.replicates(sampled.key)?;
            replicates.get(replicate).copied()
        };
        let left = side(&|(left, _)| at(left))?;
        let right = match pairs.first()?.1 {
            None => 1.0,
            Some(_) => side(&|(_, right)| at(right.as_ref()?))?,
        };
        if left.is_finite() && right.is_finite() {
            lefts.push(left);
            rights.push(right);
        }
    }
    let enough = lefts.len() * 2 > stats::REPLICATES;
    let count = |samples: usize| independent(samples).saturating_sub(1);
    let of_left: usize = pairs.iter().map(|(l, _)| count(l.estimate.samples)).sum();
    let of_right = pairs
        .iter()
        .filter_map(|(_, r)| *r)
        .map(|r| count(r.estimate.samples));
    let of_right: usize = of_right.sum();
    let units = match pairs.first()?.1 {
        None => of_left + 1,
        Some(_) => of_left.min(of_right) + 1,
    };
    let contrast = Contrast::of_replicates(estimates, &lefts, &rights, units)?;
    enough.then_some((contrast, units))
}
