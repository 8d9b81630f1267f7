//! A history of runs → where each metric changed, and a site that shows it.
//!
//! A value a run: the metric's estimate over all of the run's repetitions. Runs of one environment
//! (see [`crate::summary`]) are a series of their own, since a step from one to another says nothing
//! about what is measured. Change points are those of [`crate::stats::changes`].

mod chart;
mod series;
mod site;

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::sample::Unit;

use crate::metrics::Point;
use crate::stats::changes::Settings;
use crate::summary::{LeftOut, Summary};
pub use site::site;

/// The version of the format of a trend as JSON.
pub const FORMAT: u32 = 1;

/// A history.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Trend {
    /// [`FORMAT`].
    pub format: u32,
    /// How change points were found.
    pub settings: Settings,
    /// Runs, oldest first.
    pub runs: Vec<TrendRun>,
    /// Metrics of points, in order of metric and point.
    pub series: Vec<Series>,
    /// Runs that can't be used, and are no part of the history.
    pub left_out: Vec<LeftOut>,
}

/// A run of a history.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TrendRun {
    /// Its id.
    pub run: Name,
    /// When it was started, RFC 3339 in UTC.
    pub started: String,
    /// Its folder, as it was given.
    pub folder: std::path::PathBuf,
}

/// A metric of a point over time.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Series {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// Metric: see [`vexp_api::metric::METRICS`].
    pub metric: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// One for each run that has it, oldest first.
    pub values: Vec<Value>,
    /// The environments that these were measured in, in order of appearance.
    pub environments: Vec<Environment>,
    /// Where it changed, oldest first.
    pub changes: Vec<Change>,
}

/// A metric in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Value {
    /// Which of the history's runs, from 0.
    pub run: usize,
    /// The estimate.
    pub value: f64,
    /// Which of the series' environments, from 0.
    pub environment: usize,
}

/// An environment of a series.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Environment {
    /// Digest of its properties.
    pub digest: vexp_api::digest::Digest,
    /// The first of the series' values in it.
    pub first: usize,
    /// What differs from the environment before it: `property: then → now`.
    pub differences: Vec<String>,
}

/// A change of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Change {
    /// The first of the series' values after it.
    pub at: usize,
    /// The run of that.
    pub run: Name,
    /// Mean before it, from the change before.
    pub before: f64,
    /// Mean after it, to the change after.
    pub after: f64,
    /// The test's p: see [`crate::stats::changes::ChangePoint::p`].
    pub p: f64,
    /// Whether it is for the worse.
    pub worse: bool,
}

impl Change {
    /// after / before - 1; `None` if it was 0.
    pub fn relative(&self) -> Option<f64> {
        let found = self.after / self.before - 1.0;
        found.is_finite().then_some(found)
    }

    /// `+3.1 %`; `from 0` where there is no ratio.
    pub fn words(&self) -> String {
        match self.relative() {
            Some(relative) => format!("{:+.1} %", 100.0 * relative),
            None => "from 0".to_owned(),
        }
    }
}

/// A history could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the environment of {run} can't be told from others")]
pub struct TrendError {
    /// Which run.
    run: Name,
    source: serde_json::Error,
}

/// The history of some runs, oldest first; `wanted` says which metrics of which points.
pub fn trend(
    runs: &[Summary],
    settings: Settings,
    wanted: &dyn Fn(&Point, &str) -> bool,
) -> Result<Trend, TrendError> {
    let listed = runs.iter().map(|run| TrendRun {
        run: run.run.clone(),
        started: run.started.clone(),
        folder: run.dir.clone(),
    });
    Ok(Trend {
        format: FORMAT,
        settings,
        runs: listed.collect(),
        series: series::all(runs, &settings, wanted)?,
        left_out: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
