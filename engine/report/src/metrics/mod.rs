//! Trials → metrics of each point of the matrix, each with an interval.
//!
//! With three repetitions or more, a metric is the mean of its values in the repetitions and its
//! interval is Student's t over them: each is a machine booted anew. With fewer, the interval
//! comes from the samples inside the trials by a moving-block bootstrap. That is labelled
//! [`Basis::WithinTrial`], because it does not see how much one boot differs from the next, and is
//! too narrow for statements about boots.

mod observed;

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::sample::Unit;

use crate::frame::{Frames, TrialFrame};
use crate::stats::{self, Bootstrap, Interval};
pub use observed::{Estimates, Key, Observed};

/// Repetitions from which on an interval is one over repetitions.
pub const ENOUGH_REPETITIONS: usize = 3;

/// What an interval stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Repetitions, each in a machine booted anew.
    Repetitions,
    /// Samples inside the trials.
    WithinTrial,
    /// There are too few samples for an interval.
    None,
}

impl Basis {
    /// As written in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repetitions => "repetitions",
            Self::WithinTrial => "within-trial",
            Self::None => "none",
        }
    }
}

/// A point of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Point {
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
    /// VM count; 0 where there are no guests.
    pub vms: u32,
}

/// A metric of a point, or of one virtual machine in it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
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
    /// Samples of the shortest series that it stands on, in the repetition with the fewest.
    pub samples: usize,
    /// Values (of repetitions, or samples inside the trials) outside of Tukey's fences; kept.
    pub outliers: usize,
}

/// All metrics of a run, in order of point, metric (as reports show them) and node.
pub fn metrics(frames: &Frames) -> Vec<MetricValue> {
    let mut points: BTreeMap<Point, Vec<(&TrialFrame, Observed)>> = BTreeMap::new();
    for trial in &frames.trials {
        let point = Point {
            experiment: trial.trial.experiment.clone(),
            platform: trial.trial.platform.clone(),
            vms: trial.trial.vms,
        };
        let observed = Observed::new(trial);
        points.entry(point).or_default().push((trial, observed));
    }
    points
        .iter()
        .flat_map(|(point, trials)| {
            let classical = points
                .iter()
                .filter(|(other, _)| other.experiment == point.experiment && other.vms == 0)
                .filter(|(other, _)| frames.run.is_classical(&other.platform))
                .filter(|(other, _)| other.platform != point.platform)
                .flat_map(|(_, trials)| trials)
                .collect::<Vec<_>>();
            of_point(point, trials, &classical, frames.run.study.seed)
        })
        .collect()
}

type Observation<'a> = (&'a TrialFrame, Observed);

/// One repetition: what was observed, and classical Linux of the same repetition if there is one.
struct Repetition<'a> {
    trial: &'a Name,
    observed: &'a Observed,
    classical: Option<(&'a Name, &'a Observed)>,
}

impl Repetition<'_> {
    fn estimates(&self) -> Estimates {
        let classical = self
            .classical
            .and_then(|(_, observed)| observed.aggregate(None));
        self.observed.estimates(None, classical)
    }

    /// One value of each metric a replicate.
    fn replicates(&self, seed: u64) -> Vec<Estimates> {
        let mut own = Bootstrap::new(seed, self.trial.as_str());
        let mut reference = self
            .classical
            .map(|(trial, observed)| (Bootstrap::new(seed, trial.as_str()), observed));
        (0..stats::REPLICATES)
            .map(|_| {
                let classical = reference.as_mut().and_then(|(bootstrap, observed)| {
                    let draw = bootstrap.draw(observed.lengths());
                    observed.aggregate(Some(&draw))
                });
                let draw = own.draw(self.observed.lengths());
                self.observed.estimates(Some(&draw), classical)
            })
            .collect()
    }
}

fn of_point(
    point: &Point,
    trials: &[Observation<'_>],
    classical: &[&Observation<'_>],
    seed: u64,
) -> Vec<MetricValue> {
    let repetitions: Vec<Repetition<'_>> = trials
        .iter()
        .map(|(trial, observed)| Repetition {
            trial: &trial.trial.id,
            observed,
            // Repetitions are randomised blocks: the pair of a repetition ran close in time.
            classical: classical
                .iter()
                .find(|(other, _)| other.trial.repetition == trial.trial.repetition)
                .map(|(other, observed)| (&other.trial.id, observed)),
        })
        .collect();
    let estimates: Vec<Estimates> = repetitions.iter().map(Repetition::estimates).collect();
    let keys: BTreeSet<&Key> = estimates.iter().flat_map(BTreeMap::keys).collect();
    let few = repetitions.len() < ENOUGH_REPETITIONS;
    // Replicates are needed where some metric has too few repetitions; usually all or none has.
    let replicates: Vec<Vec<Estimates>> = if few {
        repetitions.iter().map(|r| r.replicates(seed)).collect()
    } else {
        Vec::new()
    };
    let mut values: Vec<MetricValue> = keys
        .into_iter()
        .filter_map(|key| value(point, key, &repetitions, &estimates, &replicates))
        .collect();
    values.sort_by_key(|value| rank(value.metric));
    values
}

fn rank(name: &str) -> usize {
    let at = metric::METRICS
        .iter()
        .position(|metric| metric.name == name);
    at.unwrap_or(usize::MAX)
}

fn value(
    point: &Point,
    key: &Key,
    repetitions: &[Repetition<'_>],
    estimates: &[Estimates],
    replicates: &[Vec<Estimates>],
) -> Option<MetricValue> {
    let info = metric::find(key.metric)?;
    let found: Vec<_> = estimates.iter().filter_map(|e| e.get(key)).collect();
    let values: Vec<f64> = found.iter().map(|estimate| estimate.value).collect();
    let samples = found.iter().map(|estimate| estimate.samples).min()?;
    let (interval, basis) = if values.len() >= ENOUGH_REPETITIONS {
        (stats::t_interval(&values), Basis::Repetitions)
    } else {
        let means = (0..stats::REPLICATES).filter_map(|i| {
            let values = replicates
                .iter()
                .filter_map(|r| Some(r.get(i)?.get(key)?.value));
            stats::mean(&values.collect::<Vec<f64>>())
        });
        let interval = stats::percentile_interval(means.collect(), samples);
        let basis = interval.map_or(Basis::None, |_| Basis::WithinTrial);
        (interval, basis)
    };
    let outliers = match basis {
        Basis::Repetitions => stats::outliers(&values),
        _ => repetitions.iter().map(|r| r.observed.outliers(key)).sum(),
    };
    let most = match info.name {
        "jain_throughput" | "jain_cpu" => 1.0,
        "loss" => 100.0,
        _ => f64::INFINITY,
    };
    Some(MetricValue {
        metric: info.name,
        point: point.clone(),
        node: key.node.clone(),
        unit: info.unit,
        value: stats::mean(&values)?,
        interval: interval.map(|interval| interval.clipped(0.0, most)),
        basis,
        repetitions: values.len(),
        samples,
        outliers,
    })
}

#[cfg(test)]
mod tests;
