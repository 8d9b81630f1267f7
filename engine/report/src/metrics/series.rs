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
    /// The step in which what stands above was counted; 0 where none is known.
    pub step: f64,
}

impl Estimate {
    pub(super) const fn new(above: f64, samples: usize) -> Self {
        Self {
            above,
            below: 1.0,
            samples,
            step: 0.0,
        }
    }

    pub(super) fn counted_in(self, step: f64) -> Self {
        Self { step, ..self }
    }

    /// The step of the value.
    pub fn resolution(&self) -> f64 {
        (self.step / self.below).abs()
    }

    /// above / below.
    pub fn value(&self) -> f64 {
        self.above / self.below
    }

    pub(super) fn scaled(self, by: f64) -> Self {
        Self {
            above: self.above * by,
            step: self.step * by.abs(),
            ..self
        }
    }

    /// Of two that are no ratios.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            above: self.above + other.above,
            below: 1.0,
            samples: self.samples.min(other.samples),
            step: self.step.hypot(other.step),
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
        step: above.step.hypot(below.step * above.above / below.above),
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

/// A quantile of the values of several series together, each value counting the same: never a mean of quantiles.
pub(super) fn merged_quantile<'s>(
    all: impl Iterator<Item = &'s Series>,
    draw: Option<&Draw>,
    p: f64,
) -> Option<Estimate> {
    let (mut merged, mut shortest) = (Vec::new(), None);
    for series in all {
        merged.extend(values(series, draw));
        shortest = Some(series.len().min(shortest.unwrap_or(usize::MAX)));
    }
    merged.sort_by(f64::total_cmp);
    Some(Estimate::new(stats::quantile(&merged, p)?, shortest?))
}

/// A function of the estimates of several series.
pub(super) fn each(estimates: &[Estimate], of: impl Fn(&[f64]) -> Option<f64>) -> Option<Estimate> {
    let values: Vec<f64> = estimates.iter().map(Estimate::value).collect();
    let samples = estimates.iter().map(|estimate| estimate.samples).min()?;
    let value = of(&values)?;
    // By how much each step moves it.
    let moved = estimates.iter().enumerate().map(|(i, estimate)| {
        let mut values = values.clone();
        if let Some(value) = values.get_mut(i) {
            *value += estimate.resolution();
        }
        of(&values).map_or(0.0, |other| other - value)
    });
    let step = moved.fold(0.0, f64::hypot);
    Some(Estimate::new(value, samples).counted_in(step))
}

/// The step in which a series of Mb/s was counted, as a part of its mean: its intervals' bytes are
/// whole blocks (iperf3 counts TCP in blocks of 128 KiB). 0 where no step of a kilobyte or more shows.
pub(super) fn block_step(series: &Series) -> f64 {
    const LEAST: u64 = 1024;
    let bytes = |(rate, dt): &(f64, f64)| (rate * dt * 1e6 / 8.0).round();
    let whole = |bytes: f64| (0.0..9e15).contains(&bytes).then_some(bytes as u64);
    let length: f64 = series.iter().map(|(_, dt)| dt).sum();
    let counts: Option<Vec<u64>> = series.iter().map(|one| whole(bytes(one))).collect();
    let block = counts.map_or(0, |counts| counts.into_iter().fold(0, divisor));
    match block >= LEAST && length > 0.0 && series.len() > 1 {
        true => block as f64 * 8.0 / 1e6 / length,
        false => 0.0,
    }
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => divisor(b, a % b),
    }
}
