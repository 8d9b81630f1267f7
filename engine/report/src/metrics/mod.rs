//! Trials → metrics of each point of the matrix, each with an interval, and comparisons of two.
//!
//! An interval is Student's t over the highest level of the run that has at least
//! [`ENOUGH_REPETITIONS`] units: boots of the machine, else repetitions. With fewer repetitions it comes from
//! the samples inside the trials. What an interval stands on is its [`Basis`], because it does not
//! see what the levels above differ in, and is too narrow for statements about these.

mod counters;
mod cpu;
mod infer;
mod observed;
mod repetition;
mod series;
mod steady;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::plan::Trial;
use vexp_api::sample::Unit;
use vexp_api::spec::MetricRef;

use crate::frame::{Frames, TrialFrame};
use crate::stats::directed::{Scale, Units};
use crate::stats::{self, Interval};
pub use infer::{Basis, Inference};
use infer::{Sampled, infer, units};
pub use observed::{Classical, Estimates, Key, Observed};
use repetition::Repetition;
pub use series::Estimate;
pub use steady::{FlowSteady, TrialSteady};

/// Units of a level (boots, repetitions) from which on an interval stands on it.
pub const ENOUGH_REPETITIONS: usize = infer::ENOUGH;

/// A point of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
pub struct Point {
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
    /// VM count; 0 where there are no guests.
    pub vms: u32,
}

/// A metric of a point, or of one virtual machine in it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct MetricValue {
    /// Name: see [`vexp_api::metric::METRICS`].
    pub metric: &'static str,
    /// Point.
    #[serde(flatten)]
    pub point: Point,
    /// The virtual machine; `None` for the whole point. A metric of virtual machines is, for the
    /// whole point, its mean over them.
    pub node: Option<Name>,
    /// Unit.
    pub unit: Unit,
    /// Estimate.
    pub value: f64,
    /// Interval at the level [`stats::LEVEL`].
    pub interval: Option<Interval>,
    /// What the interval stands on.
    pub basis: Basis,
    /// Repetitions that the estimate stands on.
    pub repetitions: usize,
    /// Boots of the machine that these were made in.
    pub boots: usize,
    /// Samples of the shortest series that it stands on, in the repetition with the fewest. Of a percentile, all
    /// samples that it was taken from.
    pub samples: usize,
    /// Values (of repetitions, or samples inside the trials) outside of Tukey's fences; kept.
    pub outliers: usize,
    /// Trials among those that it stands on that reached no steady state; kept.
    pub unsteady: usize,
}

/// A metric in one repetition of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Which of the machine's boots it was made in.
    pub boot: u32,
    /// Repetition.
    pub repetition: u32,
    /// The estimate.
    pub estimate: Estimate,
}

/// All trials of a run by point, ready for questions.
pub struct Metrics<'a> {
    points: BTreeMap<Point, Vec<Repetition<'a>>>,
    /// Processors of an experiment's machine, by the experiment and its platform.
    processors: BTreeMap<(&'a Name, &'a Name), u32>,
    seed: u64,
}

impl<'a> Metrics<'a> {
    /// Of a run. Classical Linux of the same experiment and repetition is what relative metrics
    /// are relative to: repetitions are randomised blocks, so that the pair ran close in time.
    pub fn new(frames: &'a Frames) -> Self {
        Self::first(frames, u32::MAX)
    }

    /// Of the first repetitions of a run.
    pub fn first(frames: &'a Frames, most: u32) -> Self {
        let seed = frames.run.study.seed;
        let trials: Vec<&TrialFrame> = (frames.trials.iter())
            .filter(|frame| frame.trial.repetition <= most)
            .collect();
        let observed: Vec<_> = trials
            .iter()
            .map(|frame| (&frame.trial, Rc::new(Observed::new(frame))))
            .collect();
        let copies = copies(&trials);
        let mut points: BTreeMap<Point, Vec<Repetition<'a>>> = BTreeMap::new();
        for (trial, own) in &observed {
            let classical = observed.iter().find(|(other, _)| {
                (&other.experiment, other.repetition, other.vms)
                    == (&trial.experiment, trial.repetition, 0)
                    && other.platform != trial.platform
                    && frames.run.is_classical(&other.platform)
            });
            let classical = classical.map(|(trial, observed)| (*trial, Rc::clone(observed)));
            let is_copy = |trial: &Trial| copies.contains(&trial.id);
            let copy = is_copy(trial) && classical.as_ref().is_none_or(|(other, _)| is_copy(other));
            let point = Point {
                experiment: trial.experiment.clone(),
                platform: trial.platform.clone(),
                vms: trial.vms,
            };
            let repetition = Repetition::new(trial, Rc::clone(own), classical, copy, seed);
            points.entry(point).or_default().push(repetition);
        }
        for repetitions in points.values_mut() {
            repetitions.sort_by_key(|repetition| repetition.trial.repetition);
        }
        let processors = frames.run.plan.blocks.iter().flat_map(|block| {
            let cpus = block.machine.cpus;
            let points = block.trials.iter();
            points.map(move |trial| ((&trial.experiment, &trial.platform), cpus))
        });
        Self {
            points,
            processors: processors.collect(),
            seed,
        }
    }

    /// All metrics, in order of point, metric (as reports show them) and node.
    pub fn values(&self) -> Vec<MetricValue> {
        let mut values = Vec::new();
        for (point, repetitions) in &self.points {
            let keys: BTreeSet<&Key> = repetitions
                .iter()
                .flat_map(|r| r.estimates.keys())
                .collect();
            let mut found: Vec<MetricValue> = keys
                .into_iter()
                .filter_map(|key| self.value(point, key, &sampled(repetitions, key)))
                .collect();
            found.sort_by_key(|value| rank(value.metric));
            values.extend(found);
        }
        values
    }

    fn value(&self, point: &Point, key: &Key, sampled: &[Sampled<'_>]) -> Option<MetricValue> {
        let info = metric::find(key.metric)?;
        let found = infer(sampled, None, self.seed)?;
        let values: Vec<f64> = sampled.iter().map(|s| s.estimate.value()).collect();
        let outliers = match found.basis {
            Basis::Boots | Basis::Repetitions => stats::outliers(&values),
            _ => sampled.iter().map(|s| s.repetition.outliers(key)).sum(),
        };
        let interval = found.contrast.usual();
        let possible = self.possible(info, point);
        let fewest = sampled.iter().map(|s| s.estimate.samples).min()?;
        let merged = info.percentile().and_then(|p| merged(sampled, p));
        // The interval is about the repetitions' own percentiles, whose mean the percentile of all is not.
        let (value, interval, samples) = match merged {
            Some((value, samples)) => (value, interval.map(|i| i.reaching(value)), samples),
            None => (found.contrast.left, interval, fewest),
        };
        Some(MetricValue {
            metric: info.name,
            point: point.clone(),
            node: key.node.clone(),
            unit: info.unit,
            value,
            interval: interval.map(|interval| interval.clipped(possible)),
            basis: found.basis,
            repetitions: values.len(),
            boots: found.boots,
            samples,
            outliers,
            unsteady: sampled
                .iter()
                .filter(|s| s.repetition.is_unsteady())
                .count(),
        })
    }

    /// Least and most that a metric can be at a point: no machine's time is more than that of all its
    /// processors.
    fn possible(&self, info: &metric::Metric, point: &Point) -> (f64, f64) {
        let (least, most) = info.possible();
        let processors = self.processors.get(&(&point.experiment, &point.platform));
        let all = processors.map(|n| 100.0 * f64::from(*n));
        match all.filter(|_| info.unit == Unit::CpuPercent) {
            Some(all) => (least, most.min(all)),
            None => (least, most),
        }
    }

    /// A metric against numbers, or against another metric: in the repetitions in which both were
    /// measured. `None` if there are none.
    pub fn compare(&self, left: &MetricRef, right: Option<&MetricRef>) -> Option<Inference> {
        let left = self.find(left)?;
        let right = match right {
            Some(right) => Some(self.find(right)?),
            None => None,
        };
        infer(&left, right.as_deref(), self.seed)
    }

    /// The same unit by unit, for verdicts; `None` of fewer than [`ENOUGH_REPETITIONS`] units.
    pub fn units(&self, left: &MetricRef, right: Option<&MetricRef>) -> Option<(Units, Basis)> {
        let both = [Some(left), right].into_iter().flatten();
        let skewed = |of: &MetricRef| metric::find(of.metric.as_str()).is_some_and(|m| m.skewed());
        let scale = match both.into_iter().all(skewed) {
            true => Scale::Log,
            false => Scale::Linear,
        };
        let right = match right {
            Some(right) => Some(self.find(right)?),
            None => None,
        };
        units(&self.find(left)?, right.as_deref(), scale)
    }

    /// The points that were measured, in order.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.keys()
    }

    /// A metric in each repetition of a point, in order.
    pub fn measured(&self, point: &Point, key: &Key) -> Vec<Measured> {
        let found = self.sampled(point, key).into_iter();
        found
            .map(|sampled| Measured {
                boot: sampled.repetition.trial.boot,
                repetition: sampled.repetition.trial.repetition,
                estimate: sampled.estimate,
            })
            .collect()
    }

    /// A metric of a point by itself.
    pub fn alone(&self, point: &Point, key: &Key) -> Option<Inference> {
        infer(&self.sampled(point, key), None, self.seed)
    }

    fn sampled(&self, point: &Point, key: &Key) -> Vec<Sampled<'_>> {
        let repetitions = self.points.get(point).map(Vec::as_slice);
        sampled(repetitions.unwrap_or_default(), key)
    }

    fn find(&self, of: &MetricRef) -> Option<Vec<Sampled<'_>>> {
        let point = Point {
            experiment: of.experiment.clone(),
            platform: of.platform.clone(),
            vms: of.vms,
        };
        let key = Key {
            metric: metric::find(of.metric.as_str())?.name,
            node: of.node.clone(),
        };
        let found = self.sampled(&point, &key);
        (!found.is_empty()).then_some(found)
    }

    /// Which trials reached a steady state, sorted by name.
    pub fn steady(&self) -> Vec<TrialSteady> {
        let repetitions = self.points.values().flatten();
        let mut found: Vec<TrialSteady> = repetitions.map(|r| r.steady.clone()).collect();
        found.sort_by(|a, b| a.trial.cmp(&b.trial));
        found
    }
}

/// Trials whose samples are to the last bit those of an earlier repetition of their point.
fn copies<'f>(trials: &[&'f TrialFrame]) -> BTreeSet<&'f Name> {
    let mut points: BTreeMap<(&Name, &Name, u32), Vec<&'f TrialFrame>> = BTreeMap::new();
    for frame in trials.iter().copied() {
        let trial = &frame.trial;
        let point = (&trial.experiment, &trial.platform, trial.vms);
        points.entry(point).or_default().push(frame);
    }
    let mut found = BTreeSet::new();
    for repetitions in points.values_mut() {
        repetitions.sort_by_key(|frame| frame.trial.repetition);
        for (i, frame) in repetitions.iter().enumerate() {
            let mut earlier = repetitions.iter().take(i);
            if earlier.any(|other| other.rows == frame.rows) {
                found.insert(&frame.trial.id);
            }
        }
    }
    found
}

fn sampled<'p>(repetitions: &'p [Repetition<'p>], key: &Key) -> Vec<Sampled<'p>> {
    let found = repetitions.iter().filter_map(|repetition| {
        let (key, estimate) = repetition.estimates.get_key_value(key)?;
        Some(Sampled {
            repetition,
            key,
            estimate: *estimate,
        })
    });
    found.collect()
}

/// A percentile of all round trips of all repetitions together, and how many these are.
fn merged(sampled: &[Sampled<'_>], p: f64) -> Option<(f64, usize)> {
    let all = sampled.iter().flat_map(|s| s.repetition.round_trips(s.key));
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    Some((stats::quantile(&all, p)?, all.len()))
}

fn rank(name: &str) -> usize {
    let at = metric::METRICS
        .iter()
        .position(|metric| metric.name == name);
    at.unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
