//! Two sides of a comparison, measured together or apart.
//!
//! A claim `left ≥ c · right` is one about the difference `left - c · right`, which has a standard
//! error of its own: that of pairs, where a repetition's pair ran close in time, and never that of
//! two separate intervals. T. Kalibera and R. Jones, *Rigorous Benchmarking in Reasonable Time*,
//! ISMM 2013, ask for the interval of the ratio; it is the set of those c that the difference does
//! not rule out (E. Fieller, *Some Problems in Interval Estimation*, J. R. Statist. Soc. B 16(2),
//! 1954). So an interval lies inside of a region exactly if both of its borders are ruled out,
//! which is the test of equivalence of D. Schuirmann, *A Comparison of the Two One-Sided Tests
//! Procedure…*, J. Pharmacokinet. Biopharm. 15(6), 1987 (at half of the level on each side).

use super::describe::{covariance, mean};
use super::student::{t_quantile, two_sided};
use super::{Interval, LEVEL};

/// Estimates of two sides with the variances of these estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// Left side.
    pub left: f64,
    /// Right side: 1 without variance where the left is compared with numbers.
    pub right: f64,
    /// Variances of both and their covariance.
    variance: (f64, f64, f64),
    /// Degrees of freedom.
    pub freedom: f64,
}

/// Where the ratio of the sides must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Lower border.
    pub low: Option<f64>,
    /// Upper border.
    pub high: Option<f64>,
    /// Whether the borders belong to it.
    pub closed: bool,
}

/// What a contrast says about a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whether the estimate lies inside.
    pub inside: bool,
    /// The least α at which the interval at 1 - α lies wholly on that side; 1 if there is none.
    pub p: f64,
}

impl Contrast {
    /// Of independent units, a pair each; `rights` is `None` for numbers on the right. `None` of
    /// fewer than two units.
    pub fn of_units(lefts: &[f64], rights: Option<&[f64]>) -> Option<Self> {
        let n = lefts.len() as f64;
        let ones = vec![1.0; lefts.len()];
        let rights = rights.unwrap_or(&ones);
        let of = |a, b| covariance(a, b).map(|found| found / n);
        Some(Self {
            left: mean(lefts)?,
            right: mean(rights)?,
            variance: (of(lefts, lefts)?, of(rights, rights)?, of(lefts, rights)?),
            freedom: n - 1.0,
        })
    }

    /// Of bootstrap replicates of estimates that stand on so many independent units. `None` of
    /// fewer than two of either.
    pub fn of_replicates(
        (left, right): (f64, f64),
        lefts: &[f64],
        rights: &[f64],
        units: usize,
    ) -> Option<Self> {
        let variance = (
            covariance(lefts, lefts)?,
            covariance(rights, rights)?,
            covariance(lefts, rights)?,
        );
        let found = Self {
            left,
            right,
            variance,
            freedom: 0.0,
        };
        found.corrected(units)
    }

    /// Of two sides that were measured apart, each with numbers on its right: their variances add
    /// up, with the degrees of freedom of B. Welch, *The Generalization of "Student's" Problem when
    /// Several Different Population Variances are Involved*, Biometrika 34, 1947.
    pub fn between(left: &Self, right: &Self) -> Self {
        let (a, b) = (left.variance.0, right.variance.0);
        let ratio = left.left / right.left;
        // Freedom is that of the difference `left - c * right` at the ratio that was seen.
        let b_scaled = b * if ratio.is_finite() {
            ratio * ratio
        } else {
            1.0
        };
        let below = a.powi(2) / left.freedom + b_scaled.powi(2) / right.freedom;
        let freedom = (a + b_scaled).powi(2) / below;
        let sum = left.freedom + right.freedom;
        Self {
            left: left.left,
            right: right.left,
            variance: (a, b, 0.0),
            // What never varies has no Welch's freedom.
            freedom: if freedom.is_finite() { freedom } else { sum },
        }
    }

    /// Of two groups of independent units that were measured apart. Where a group has fewer than
    /// three, its units are taken to vary as the other's do (Student 1908); one of them may then be
    /// a single unit. `None` of fewer than three in all.
    pub fn of_groups(lefts: &[f64], rights: &[f64]) -> Option<Self> {
        if lefts.len() >= 3 && rights.len() >= 3 {
            let left = Self::of_units(lefts, None)?;
            return Some(Self::between(&left, &Self::of_units(rights, None)?));
        }
        let squares = |values: &[f64]| {
            let n = values.len() as f64;
            covariance(values, values).map_or(0.0, |found| found * (n - 1.0))
        };
        let (n, m) = (lefts.len() as f64, rights.len() as f64);
        let freedom = n + m - 2.0;
        let variance = (squares(lefts) + squares(rights)) / freedom;
        let found = Self {
            left: mean(lefts)?,
            right: mean(rights)?,
            variance: (variance / n, variance / m, 0.0),
            freedom,
        };
        (freedom >= 1.0).then_some(found)
    }

    /// Of estimates that nothing more is known about: without freedom there is no interval.
    pub const fn unknown(left: f64, right: f64) -> Self {
        Self {
            left,
            right,
            variance: (0.0, 0.0, 0.0),
            freedom: 0.0,
        }
    }

    /// With the variance that so many units have: a bootstrap of n units has (n-1)/n of it.
    /// `None` of fewer than two.
    fn corrected(self, units: usize) -> Option<Self> {
        let n = units as f64;
        let (left, right, both) = self.variance;
        let by = |variance: f64| variance * n / (n - 1.0);
        (units > 1).then(|| Self {
            variance: (by(left), by(right), by(both)),
            freedom: n - 1.0,
            ..self
        })
    }

    /// left / right.
    pub fn ratio(&self) -> Option<f64> {
        let ratio = self.left / self.right;
        ratio.is_finite().then_some(ratio)
    }

    /// Fieller's interval of the ratio at a level. `None` if the right side may be 0.
    pub fn interval(&self, level: f64) -> Option<Interval> {
        let t = t_quantile(self.freedom, level)?;
        let (left, right, both) = self.variance;
        let a = self.right.powi(2) - t * t * right;
        let b = self.left * self.right - t * t * both;
        let c = self.left.powi(2) - t * t * left;
        if a <= 0.0 {
            return None;
        }
        // Rounding may take the discriminant of a point just below 0.
        let root = (b * b - a * c).max(0.0).sqrt();
        Some(Interval {
            low: (b - root) / a,
            high: (b + root) / a,
        })
    }

    /// The interval at [`LEVEL`].
    pub fn usual(&self) -> Option<Interval> {
        self.interval(LEVEL)
    }

    /// Variance of `left - c · right`.
    fn variance(&self, c: f64) -> f64 {
        let (left, right, both) = self.variance;
        left + c * c * right - 2.0 * c * both
    }

    /// How probable so large a difference `left - c · right` is if there is none.
    pub fn p(&self, c: f64) -> f64 {
        let difference = self.left - c * self.right;
        match self.variance(c) {
            _ if difference == 0.0 => 1.0,
            variance if variance > 0.0 => two_sided(difference / variance.sqrt(), self.freedom),
            // What never varies is where it is, if it was seen more than once.
            _ if self.freedom > 0.0 => 0.0,
            _ => 1.0,
        }
    }

    /// The least number of independent units, but no more than `most`, with which [`Contrast::decide`]
    /// would be sure at α, if they varied as these do around the same estimates: what a second run would
    /// need. For contrasts of units.
    pub fn units_for(&self, region: Region, alpha: f64, most: u32) -> Option<u32> {
        let units = self.freedom + 1.0;
        let (left, right, both) = self.variance;
        let sure = |n: &u32| {
            let by = units / f64::from(*n);
            let more = Self {
                variance: (left * by, right * by, both * by),
                freedom: f64::from(*n) - 1.0,
                ..*self
            };
            more.decide(region).p <= alpha
        };
        (2..=most).filter(|n| f64::from(*n) >= units).find(sure)
    }

    /// Whether the ratio lies in a region, and how sure that is. The right side is not negative.
    pub fn decide(&self, region: Region) -> Decision {
        let mut violated: Option<f64> = None;
        let mut kept: f64 = 0.0;
        let borders = [(region.low, 1.0), (region.high, -1.0)];
        for (border, sign) in borders {
            let Some(c) = border else { continue };
            let room = sign * (self.left - c * self.right);
            let on_border = room == 0.0 && self.freedom > 0.0 && self.variance(c) <= 0.0;
            let p = if on_border { 0.0 } else { self.p(c) };
            if room > 0.0 || (room == 0.0 && region.closed) {
                kept = kept.max(p);
            } else {
                violated = Some(violated.map_or(p, |found| found.min(p)));
            }
        }
        Decision {
            inside: violated.is_none(),
            p: violated.unwrap_or(kept),
        }
    }
}

/// Values of units whose mean is the ratio of the sums and whose variance is that of the ratio,
/// to first order: θ + (aᵢ - θ bᵢ) / mean(b). W. Cochran, *Sampling Techniques*, 3rd ed. 1977,
/// section 6.4. Where all `below` are 1 they are the values `above` themselves. `None` if the sum
/// below is 0.
pub fn linearized(units: &[(f64, f64)]) -> Option<Vec<f64>> {
    let above: f64 = units.iter().map(|(a, _)| a).sum();
    let below: f64 = units.iter().map(|(_, b)| b).sum();
    let theta = above / below;
    let scale = below / units.len() as f64;
    theta.is_finite().then(|| {
        units
            .iter()
            .map(|(a, b)| theta + (a - theta * b) / scale)
            .collect()
    })
}

#[cfg(test)]
#[path = "contrast_tests.rs"]
mod tests;
