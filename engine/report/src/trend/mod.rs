//! A history of runs → where each metric changed, and a site that shows it.
//!
//! A value a run: the metric's estimate over all of the run's repetitions. Runs of one environment
//! (see [`crate::summary`]) are a series of their own, since a step from one to another says nothing
//! about what is measured. Change points are those of [`crate::stats::changes`].

mod chart;
mod series;
mod site;
pub mod table;

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::sample::Unit;

use crate::metrics::Point;
use crate::stats::changes::Settings;
use crate::stats::mean;
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

impl Series {
    /// The values of each environment, in order.
    fn by_environment(&self) -> impl Iterator<Item = Vec<(usize, f64)>> {
        (0..self.environments.len()).map(|environment| {
            let values = self.values.iter().enumerate();
            let own = values.filter(|(_, value)| value.environment == environment);
            own.map(|(at, value)| (at, value.value)).collect()
        })
    }

    /// Whether a value says something about the next one beside its level: then runs are not independent,
    /// and change points come more often than their level says (with a correlation of 0.5, in 17 % of level
    /// series instead of 1 %). By the correlation of neighbours around the means between changes, beyond two
    /// standard errors of one that is 0 (M. Bartlett, J. R. Statist. Soc. Suppl. 8, 1946).
    fn is_correlated(&self) -> bool {
        const LEAST: usize = 10;
        self.by_environment().any(|own| {
            let segment = |at: usize| self.changes.iter().filter(|change| change.at <= at).count();
            let level = |of: usize| {
                let values = own.iter().filter(|(at, _)| segment(*at) == of);
                mean(&values.map(|(_, value)| *value).collect::<Vec<_>>())
            };
            let residuals: Option<Vec<f64>> = own
                .iter()
                .map(|(at, value)| Some(value - level(segment(*at))?))
                .collect();
            let residuals = residuals.unwrap_or_default();
            let squares: f64 = residuals.iter().map(|r| r * r).sum();
            let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
            residuals.len() >= LEAST
                && squares > 0.0
                && products / squares > 2.0 / (residuals.len() as f64).sqrt()
        })
    }
}

impl Trend {
    /// Runs of the longest series in one environment, and how many there must be for any change to be
    /// found; `None` if there are enough.
    pub fn too_few(&self) -> Option<(usize, usize)> {
        let needed = 2 * self.settings.persistence.max(2);
        let lengths = self.series.iter().flat_map(Series::by_environment);
        let longest = lengths.map(|own| own.len()).max().unwrap_or(0);
        (longest < needed).then_some((longest, needed))
    }

    /// How many series' runs are correlated with the ones before them.
    pub fn correlated(&self) -> usize {
        let series = self.series.iter();
        series.filter(|series| series.is_correlated()).count()
    }

    /// What must be known beside the changes, in sentences.
    pub fn caveats(&self) -> Vec<String> {
        let few = self.too_few().map(|(found, needed)| {
            format!(
                "Too few runs to tell: {found} in one environment, and a change needs {needed} at least."
            )
        });
        let correlated = match self.correlated() {
            0 => None,
            n => Some(format!(
                "In {n} of {} series runs are correlated with the ones before them: changes there are told \
                 more often than their level says.",
                self.series.len()
            )),
        };
        few.into_iter().chain(correlated).collect()
    }
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
