//! Comparisons of what does not differ: how often a difference is found all the same. R. Kohavi
//! et al., *Controlled Experiments on the Web: Survey and Practical Guide*, Data Min. Knowl.
//! Discov. 18, 2009, section 3.3 (A/A tests).

use super::bootstrap::{Bootstrap, independent};
use super::{Contrast, REPLICATES, mean};

/// Two series compared inside their trials, as metrics of single repetitions are. `None` if they
/// are too short.
pub fn series(left: &[f64], right: &[f64], random: &mut Bootstrap) -> Option<Contrast> {
    let mut replicates = |series: &[f64]| -> Option<Vec<f64>> {
        (0..REPLICATES)
            .map(|_| {
                let draw = random.draw([series.len()].into_iter());
                let drawn = draw.indexes(series.len())?.iter();
                mean(
                    &drawn
                        .filter_map(|i| series.get(*i).copied())
                        .collect::<Vec<_>>(),
                )
            })
            .collect()
    };
    let units = independent(left.len()).min(independent(right.len()));
    let estimates = (mean(left)?, mean(right)?);
    Contrast::of_replicates(estimates, &replicates(left)?, &replicates(right)?, units)
}

/// Comparisons, and alarms among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Comparisons that were made.
    pub comparisons: u32,
    /// How many of them found a difference.
    pub alarms: u32,
}

impl Count {
    /// Counts a comparison: whether its ratio is said not to be 1.
    pub fn add(&mut self, contrast: &Contrast, alpha: f64) {
        self.comparisons += 1;
        self.alarms += u32::from(contrast.p(1.0) <= alpha);
    }

    /// Alarms by comparisons.
    pub fn rate(self) -> f64 {
        f64::from(self.alarms) / f64::from(self.comparisons.max(1))
    }

    /// The largest rate that is still no evidence of more alarms than α: three standard deviations
    /// of a binomial share above it.
    pub fn tolerated(self, alpha: f64) -> f64 {
        let n = f64::from(self.comparisons.max(1));
        alpha + 3.0 * (alpha * (1.0 - alpha) / n).sqrt()
    }
}

#[cfg(test)]
#[path = "aa_tests.rs"]
mod tests;
