//! Means, fairness, intervals, and what follows from many of them at once.
//!
//! | module | what | source |
//! |---|---|---|
//! | [`describe`] | mean, quantiles, fences, fairness | Jain 1984, Tukey 1977 |
//! | [`student`] | intervals of means | Student 1908, Georges et al. 2007 |
//! | [`contrast`] | two sides compared, ratios | Fieller 1954, Schuirmann 1987, Cochran 1977 |
//! | [`directed`] | units of a claim, in which direction they decide it | Jones and Tukey 2000, Schuirmann 1987 |
//! | [`bootstrap`] | samples inside a trial, levels above them | Künsch 1989, Davison and Hinkley 1997 |
//! | [`holm`] | many claims at once | Holm 1979 |
//! | [`sequential`] | looks at claims while units are measured | Jennison and Turnbull 2000, Maurer and Bretz 2013 |
//! | [`aa`] | how often they are wrong | Kohavi et al. 2009 |
//! | [`steady`] | whether a series is level | Kwiatkowski et al. 1992, von Neumann et al. 1941 |
//! | [`changes`] | where a series changes | Matteson and James 2014, Fleming et al. 2023 |
//!
//! Which of them is used when, and how often each is wrong where nothing differs, stands in
//! `docs/statistics.md`.

pub mod aa;
pub mod bootstrap;
pub mod changes;
pub mod contrast;
pub mod describe;
pub mod directed;
mod divisive;
pub mod holm;
pub mod sequential;
#[cfg(test)]
pub(crate) mod simulate;
pub mod steady;
pub mod student;

pub use bootstrap::{Bootstrap, Draw, block_length, percentile_interval};
pub use contrast::{Contrast, Region};
pub use describe::{jain, mean, outliers, quantile};
pub use student::t_interval;

/// Confidence level of intervals that nothing else is said about.
pub const LEVEL: f64 = 0.95;

/// Bootstrap replicates. They give a standard error with an error of its own of
/// 1 / sqrt(2 * 400), 3.5 %; no percentile far out in the tails is read off them.
pub const REPLICATES: usize = 400;

/// A two-sided confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound; none (null) where there is no bound.
    #[schemars(with = "Option<f64>")]
    pub high: f64,
}

impl Interval {
    /// Itself, extended to a value.
    #[must_use]
    pub fn reaching(self, value: f64) -> Self {
        Self {
            low: self.low.min(value),
            high: self.high.max(value),
        }
    }

    /// The part of it in which the metric can lie at all.
    #[must_use]
    pub fn clipped(self, (least, most): (f64, f64)) -> Self {
        Self {
            low: self.low.clamp(least, most),
            high: self.high.clamp(least, most),
        }
    }
}
