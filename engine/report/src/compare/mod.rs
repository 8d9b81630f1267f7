//! Two runs, or two series of runs → what became better or worse, metric by metric.
//!
//! An interval of the ratio new / base stands on the highest level that has three units or more on
//! a side: runs, boots of the machine, repetitions. Sides are apart, not pairs: nothing makes a
//! repetition of one run belong to one of another. Whether the ratio lies within the margin, above
//! or below it is decided as claims are (see [`crate::stats::contrast`]), at levels that Holm's
//! procedure gives to all comparisons together. Samples inside trials decide nothing: they don't see
//! how runs differ, and that is all that is asked here.

mod environment;
mod judge;
mod junit;
mod markdown;
mod missing;
mod units;
pub mod words;

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::sample::Unit;

use crate::metrics::Point;
use crate::stats::{Interval, LEVEL};
use crate::summary::{LeftOut, Summary};
pub use environment::{Difference, differences};
pub use junit::junit;
pub use markdown::markdown;
pub use missing::Missing;
pub use units::Level;

/// The version of the format of a comparison as JSON.
pub const FORMAT: u32 = 1;

/// Relative margin where none is asked for: changes of less are of no interest.
pub const MARGIN: f64 = 0.05;

/// The probability of any wrong `better`, `worse` or `equal` in a comparison that is accepted.
pub const ALPHA: f64 = 1.0 - LEVEL;

/// What became of a metric.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It changed for the worse by more than the margin.
    Worse,
    /// It changed for the better by more than the margin.
    Better,
    /// The interval is too wide to tell, or there is none.
    Inconclusive,
    /// It did not change by more than the margin.
    Equal,
}

impl Verdict {
    /// All of them, worst first.
    pub const ALL: [Self; 4] = [Self::Worse, Self::Better, Self::Inconclusive, Self::Equal];

    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Inconclusive => "inconclusive",
            Self::Equal => "equal",
        }
    }
}

/// A metric of a point in both runs.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Row {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// Metric: see [`vexp_api::metric::METRICS`].
    pub metric: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// `higher` or `lower`: which is better.
    pub better: &'static str,
    /// Its estimate in the base.
    pub base: f64,
    /// Its estimate in the new runs.
    pub new: f64,
    /// new / base; `None` where the base is 0.
    pub ratio: Option<f64>,
    /// Interval of the ratio at 95 %, not corrected. On [`Level::Samples`] it is too narrow for
    /// what runs differ in.
    pub interval: Option<Interval>,
    /// The interval that the verdict stands on.
    pub adjusted: Option<Interval>,
    /// The least α at which it is decided; not corrected. `None` where no level can decide it.
    pub p: Option<f64>,
    /// The same with all comparisons.
    pub adjusted_p: Option<f64>,
    /// What the interval stands on.
    pub level: Level,
    /// How many units of that: base and new.
    pub units: (usize, usize),
    /// Verdict.
    pub verdict: Verdict,
    /// Why, in a few words.
    pub reason: String,
}

/// Two series of runs, compared.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Comparison {
    /// [`FORMAT`].
    pub format: u32,
    /// Runs of the base, oldest first.
    pub base: Vec<Name>,
    /// New runs, oldest first.
    pub new: Vec<Name>,
    /// Relative margin.
    pub margin: f64,
    /// [`ALPHA`].
    pub alpha: f64,
    /// Where the environments of what is compared differ. If there is any, a change may be its.
    pub differences: Vec<Difference>,
    /// Metrics, in order of point and metric.
    pub rows: Vec<Row>,
    /// Points of one side alone.
    pub missing: Vec<Missing>,
    /// Runs that can't be used, and were not compared.
    pub left_out: Vec<LeftOut>,
    /// Why nothing was judged; `None` where something was. There are no rows then.
    pub refused: Option<String>,
}

impl Comparison {
    /// Rows with a verdict.
    pub fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.verdict == verdict)
    }

    /// A comparison in which nothing was judged.
    pub fn refused(reason: impl Into<String>, margin: f64) -> Self {
        Self {
            format: FORMAT,
            base: Vec::new(),
            new: Vec::new(),
            margin,
            alpha: ALPHA,
            differences: Vec::new(),
            rows: Vec::new(),
            missing: Vec::new(),
            left_out: Vec::new(),
            refused: Some(reason.into()),
        }
    }

    /// The same without its verdicts, which must not be used for this reason.
    #[must_use]
    pub fn refuse(mut self, reason: impl Into<String>) -> Self {
        self.rows.clear();
        self.missing.clear();
        self.refused = Some(reason.into());
        self
    }

    /// Whether something that the base has can't be told: then no regression is no proof of none.
    pub fn is_incomplete(&self) -> bool {
        self.rows.is_empty()
            || self.of(Verdict::Inconclusive).next().is_some()
            || self.missing.iter().any(|missing| missing.in_base)
    }
}

/// What is compared, and how.
pub struct Options<'a> {
    /// Relative margin, from 0 to below 1.
    pub margin: f64,
    /// Which metrics of which points. All comparisons are corrected for each other, so that fewer
    /// ones find smaller changes.
    pub wanted: &'a dyn Fn(&Point, &str) -> bool,
}

/// Compares new runs with a base; neither is empty.
pub fn compare(base: &[Summary], new: &[Summary], options: &Options<'_>) -> Comparison {
    let ids = |runs: &[Summary]| runs.iter().map(|run| run.run.clone()).collect();
    let rows = judge::rows(base, new, options);
    Comparison {
        format: FORMAT,
        base: ids(base),
        new: ids(new),
        margin: options.margin,
        alpha: ALPHA,
        differences: differences(base, new, &rows),
        missing: missing::of(base, new, options),
        left_out: Vec::new(),
        refused: None,
        rows,
    }
}

#[cfg(test)]
pub(crate) mod tests;
