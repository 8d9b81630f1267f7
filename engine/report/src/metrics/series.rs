//! Series of a trial and what is estimated from one or several.

use std::collections::BTreeMap;

use vexp_api::ids::Name;

use crate::frame::Row;
use crate::stats::{self, Draw};

/// An estimate of a metric in one trial, as a ratio: the sums above and below are what is added up
/// over trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Above.
    pub above: f64,
    /// Below; 1 where the metric is no ratio.
    pub below: f64,
    /// Samples of the shortest series that it stands on.
    pub samples: usize,
}

impl Estimate {
    pub(super) const fn new(above: f64, samples: usize) -> Self {
        Self {
            above,
            below: 1.0,
            samples,
        }
    }

    /// above / below.
    pub fn value(&self) -> f64 {
        self.above / self.below
    }

    pub(super) fn scaled(self, by: f64) -> Self {
        Self {
            above: self.above * by,
            ..self
        }
    }

    /// Of two that are no ratios.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            above: self.above + other.above,
            below: 1.0,
            samples: self.samples.min(other.samples),
        }
    }
}

/// The ratio of two that are none; `None` where there is nothing below.
pub(super) fn ratio(above: Option<Estimate>, below: Option<Estimate>) -> Option<Estimate> {
    let (above, below) = (above?, below?);
    (below.above != 0.0).then(|| Estimate {
        above: above.above,
        below: below.above,
        samples: above.samples.min(below.samples),
    })
}

/// The sum of all, if all are there.
pub(super) fn sum(estimates: impl Iterator<Item = Option<Estimate>>) -> Option<Estimate> {
    let estimates: Option<Vec<Estimate>> = estimates.collect();
    estimates?.into_iter().reduce(Estimate::plus)
}

/// Values with the lengths of their intervals, in order of time.
pub(super) type Series = Vec<(f64, f64)>;

/// A series of each node.
pub(super) type Nodes = BTreeMap<Name, Series>;

pub(super) fn by_node<'a>(rows: impl Iterator<Item = &'a Row>) -> Nodes {
    let mut nodes = Nodes::new();
    for row in rows {
        let value = (row.sample.value, row.sample.dt);
        nodes
            .entry(row.sample.node.clone())
            .or_default()
            .push(value);
    }
    nodes
}

/// The values of a series, or of a resampling.
pub(super) fn values(series: &Series, draw: Option<&Draw>) -> Vec<f64> {
    match draw.and_then(|draw| draw.indexes(series.len())) {
        Some(indexes) => {
            let found = indexes.iter().filter_map(|i| series.get(*i));
            found.map(|(value, _)| *value).collect()
        }
        None => series.iter().map(|(value, _)| *value).collect(),
    }
}

/// The mean of a series, weighted by the lengths of the intervals; points weigh the same.
pub(super) fn estimate(series: &Series, draw: Option<&Draw>) -> Option<Estimate> {
    let points = series.iter().any(|(_, dt)| *dt <= 0.0);
    let weigh = |(sum, weight): (f64, f64), &(value, dt): &(f64, f64)| {
        let dt = if points { 1.0 } else { dt };
        (sum + value * dt, weight + dt)
    };
    let (sum, weight) = match draw.and_then(|draw| draw.indexes(series.len())) {
        Some(indexes) => indexes
            .iter()
            .filter_map(|i| series.get(*i))
            .fold((0.0, 0.0), weigh),
        None => series.iter().fold((0.0, 0.0), weigh),
    };
    (weight > 0.0).then(|| Estimate::new(sum / weight, series.len()))
}

/// A quantile of the values of a series.
pub(super) fn quantile(series: &Series, draw: Option<&Draw>, p: f64) -> Option<Estimate> {
    let mut values = values(series, draw);
    values.sort_by(f64::total_cmp);
    Some(Estimate::new(stats::quantile(&values, p)?, series.len()))
}

/// A function of the estimates of several series.
pub(super) fn each(estimates: &[Estimate], of: impl Fn(&[f64]) -> Option<f64>) -> Option<Estimate> {
    let values: Vec<f64> = estimates.iter().map(Estimate::value).collect();
    let samples = estimates.iter().map(|estimate| estimate.samples).min()?;
    Some(Estimate::new(of(&values)?, samples))
}
