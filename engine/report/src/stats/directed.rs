//! Units of a claim → in which direction they decide it.
//!
//! A verdict has a direction: a truth on one side of a border can be told wrongly in one way only.
//! So each border has a test of one side (L. Jones and J. Tukey, *A Sensible Formulation of the
//! Significance Test*, Psychol. Methods 5(4), 2000); a region with two borders is left by either, and
//! held where both are ruled out (D. Schuirmann, J. Pharmacokinet. Biopharm. 15(6), 1987).
//!
//! - **Scale.** Rates, times and processor time are positive and skewed: their logarithms are compared,
//!   and what is estimated is the geometric mean of the units' ratios. With lognormal noise t is then
//!   exact. Shares and indexes, which have a largest value, stay as they are.
//! - **Steps.** An instrument counts in steps (blocks of 128 KiB, packets). A step adds the variance of
//!   a value that may lie anywhere in it, a twelfth of its square, and no repetition takes that away
//!   (JCGM 100:2008, *Guide to the Expression of Uncertainty in Measurement*, 4.3.7).
//! - **Signs.** A t far out in the tail of few units says something about the normal distribution and
//!   nothing about the machine, which may have a second state that none of the units was in. So no p is
//!   less than that of n equal signs, 2⁻ⁿ (W. Dixon and A. Mood, *The Statistical Sign Test*, J. Am.
//!   Stat. Assoc. 41, 1946). Units that don't differ at all have no other p than that.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::Interval;
use super::contrast::{Decision, Region};
use super::describe::{covariance, mean};
use super::student::t_quantile;

/// How units are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Logarithms, where all values are positive.
    Log,
    /// The values themselves.
    Linear,
}

/// A side of a comparison, unit by unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Values of the units.
    pub values: Vec<f64>,
    /// The step in which they were counted, in their unit; 0 where none is known.
    pub step: f64,
}

/// Independent units: boots, or seeds of a machine in virtual time.
#[derive(Clone, Debug, PartialEq)]
pub struct Units {
    scale: Scale,
    lefts: Vec<f64>,
    /// All 1 where the left side is compared with numbers.
    rights: Vec<f64>,
    /// Variances that the steps add.
    steps: (f64, f64),
}

impl Units {
    /// Pairs of units; without a right side, values that are compared with numbers. `None` of fewer
    /// than two units, or if a value is no number.
    pub fn new(left: &Side, right: Option<&Side>, scale: Scale) -> Option<Self> {
        let rights = right.map_or_else(|| vec![1.0; left.values.len()], |r| r.values.clone());
        let values = || left.values.iter().chain(&rights);
        if left.values.len() < 2
            || left.values.len() != rights.len()
            || values().any(|value| !value.is_finite())
        {
            return None;
        }
        let positive = values().all(|value| *value > 0.0);
        let variance = |step: f64| step * step / 12.0;
        Some(Self {
            scale: if positive { scale } else { Scale::Linear },
            steps: (
                variance(left.step),
                right.map_or(0.0, |right| variance(right.step)),
            ),
            lefts: left.values.clone(),
            rights,
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.lefts.len()
    }

    /// Never: there are two or more.
    pub fn is_empty(&self) -> bool {
        self.lefts.is_empty()
    }

    /// The first units.
    #[must_use]
    pub fn first(&self, n: usize) -> Option<Self> {
        (2..=self.len()).contains(&n).then(|| Self {
            lefts: self.lefts[..n].to_vec(),
            rights: self.rights[..n].to_vec(),
            ..*self
        })
    }

    /// left / right: the geometric mean of the units' ratios, or the ratio of the means.
    pub fn ratio(&self) -> Option<f64> {
        let ratio = match self.scale {
            Scale::Log => self.log_ratio()?.0.exp(),
            Scale::Linear => mean(&self.lefts)? / mean(&self.rights)?,
        };
        ratio.is_finite().then_some(ratio)
    }

    /// Mean and variance of the logarithms of the units' ratios.
    fn log_ratio(&self) -> Option<(f64, f64)> {
        let pairs = self.lefts.iter().zip(&self.rights);
        let logs: Vec<f64> = pairs.map(|(l, r)| l.ln() - r.ln()).collect();
        let relative = |variance: f64, values: &[f64]| Some(variance / mean(values)?.powi(2));
        let steps = relative(self.steps.0, &self.lefts)? + relative(self.steps.1, &self.rights)?;
        let n = logs.len() as f64;
        Some((mean(&logs)?, covariance(&logs, &logs)? / n + steps))
    }

    /// How far the left side lies above `c` times the right one, and the variance of that.
    fn above(&self, c: f64) -> Option<(f64, f64)> {
        match self.scale {
            Scale::Log if c > 0.0 => {
                let (middle, variance) = self.log_ratio()?;
                Some((middle - c.ln(), variance))
            }
            // What is positive lies above it, however large it is.
            Scale::Log => Some((f64::INFINITY, 0.0)),
            Scale::Linear => {
                let pairs = self.lefts.iter().zip(&self.rights);
                let differences: Vec<f64> = pairs.map(|(l, r)| l - c * r).collect();
                let n = differences.len() as f64;
                let steps = self.steps.0 + c * c * self.steps.1;
                let variance = covariance(&differences, &differences)? / n + steps;
                Some((mean(&differences)?, variance))
            }
        }
    }

    /// Where the ratio lies to a border, in standard errors: infinite where nothing varies, and 0 on
    /// the border.
    fn t(&self, c: f64) -> f64 {
        // What rounding leaves of a difference is none either.
        let size = match self.scale {
            Scale::Log => 1.0,
            Scale::Linear => {
                mean(&self.lefts).unwrap_or(0.0).abs()
                    + (c * mean(&self.rights).unwrap_or(0.0)).abs()
            }
        };
        match self.above(c) {
            None => 0.0,
            Some((difference, _)) if difference.abs() <= 1e-12 * size => 0.0,
            Some((difference, variance)) if negligible(difference, variance) => {
                f64::INFINITY.copysign(difference)
            }
            Some((difference, variance)) => difference / variance.sqrt(),
        }
    }

    /// Whether the ratio lies in a region, and how sure that is: p is the least α at which it is
    /// decided. A region with two borders is left at either, which costs little where it is wide.
    pub fn decide(&self, region: Region) -> Decision {
        let freedom = self.len() as f64 - 1.0;
        let floor = signs(self.len());
        let tail = |t: f64| tail(t, freedom);
        let low = region.low.map(|c| self.t(c));
        let high = region.high.map(|c| -self.t(c));
        let kept = |t: f64| t > 0.0 || (t == 0.0 && region.closed);
        let borders = [low, high].into_iter().flatten();
        let inside = borders.clone().all(kept);
        let p = match (inside, low, high) {
            (true, ..) => borders.map(tail).fold(0.0, f64::max),
            // Beyond one border, and seen from the other as far again as the region is wide.
            (false, Some(low), Some(high)) => tail(-low.min(high)) + tail(low.max(high)),
            (false, low, high) => tail(-low.or(high).unwrap_or(0.0)),
        };
        Decision {
            inside,
            p: p.max(floor).min(1.0),
        }
    }

    /// The ratios that no test at α of one side rules out; unbounded above where the right side may be
    /// nothing. `None` where none is ruled out.
    pub fn interval(&self, alpha: f64) -> Option<Interval> {
        let freedom = self.len() as f64 - 1.0;
        let t = t_quantile(freedom, 1.0 - 2.0 * alpha)?;
        match self.scale {
            Scale::Log => {
                let (middle, variance) = self.log_ratio()?;
                let half = t * variance.sqrt();
                Some(Interval {
                    low: (middle - half).exp(),
                    high: (middle + half).exp(),
                })
            }
            Scale::Linear => self.fieller(t),
        }
    }

    fn fieller(&self, t: f64) -> Option<Interval> {
        let n = self.len() as f64;
        let of = |a: &[f64], b: &[f64]| covariance(a, b).map(|found| found / n);
        let left_variance = of(&self.lefts, &self.lefts)? + self.steps.0;
        let right_variance = of(&self.rights, &self.rights)? + self.steps.1;
        let both = of(&self.lefts, &self.rights)?;
        let (left, right) = (mean(&self.lefts)?, mean(&self.rights)?);
        let a = right * right - t * t * right_variance;
        let b = left * right - t * t * both;
        let c = left * left - t * t * left_variance;
        // Rounding may take the discriminant of a point just below 0.
        let discriminant = b * b - a * c;
        if a > 0.0 {
            let root = discriminant.max(0.0).sqrt();
            return Some(Interval {
                low: (b - root) / a,
                high: (b + root) / a,
            });
        }
        if discriminant <= 0.0 {
            return None;
        }
        // The right side may be nothing. What is left are ratios beyond two roots; neither side is
        // negative, so that there is one piece if the lower root is.
        let root = discriminant.sqrt();
        let roots = match a == 0.0 {
            true => (f64::NEG_INFINITY, c / (2.0 * b)),
            false => ((b + root) / a, (b - root) / a),
        };
        (roots.0 < 0.0 && roots.1 > 0.0).then_some(Interval {
            low: roots.1,
            high: f64::INFINITY,
        })
    }

    /// Whether so many units would decide it at α if its estimate lay a standard error further on its side
    /// than it does.
    pub fn reach(&self, region: Region, units: u32, alpha: f64) -> bool {
        let units = f64::from(units);
        let low = region.low.map(|c| self.t(c));
        let high = region.high.map(|c| -self.t(c));
        let nearest = [low, high]
            .into_iter()
            .flatten()
            .fold(f64::INFINITY, f64::min);
        let t = (nearest.abs() + 1.0) * (units / self.len() as f64).sqrt();
        tail(t, units - 1.0) <= alpha
    }

    /// The least number of units, but no more than `most`, with which [`Units::decide`] would be sure
    /// at α, if they varied as these do around the same estimates.
    pub fn units_for(&self, region: Region, alpha: f64, most: u32) -> Option<u32> {
        let inside = self.decide(region).inside;
        let own = self.len() as f64;
        let borders = [(region.low, 1.0), (region.high, -1.0)];
        let sure = |n: &u32| {
            let units = f64::from(*n);
            let at = |c: f64| {
                let (difference, variance) = self.above(c)?;
                let steps = match self.scale {
                    Scale::Log => 0.0,
                    Scale::Linear => self.steps.0 + c * c * self.steps.1,
                };
                let variance = (variance - steps) * own / units + steps;
                Some(match negligible(difference, variance) {
                    true => f64::INFINITY.copysign(difference),
                    false => difference / variance.sqrt(),
                })
            };
            let found = borders
                .iter()
                .filter_map(|(c, sign)| Some(sign * at((*c)?)?));
            let t = match inside {
                true => found.fold(f64::INFINITY, f64::min),
                false => -found.fold(f64::INFINITY, f64::min),
            };
            tail(t, units - 1.0).max(signs(*n as usize)) <= alpha
        };
        (2..=most).filter(|n| *n as usize >= self.len()).find(sure)
    }
}

/// What rounding leaves of the variance of equal values is none.
fn negligible(difference: f64, variance: f64) -> bool {
    variance <= 1e-24 * difference * difference
}

/// How probable a t of at least so much is; 1 where nothing is known.
fn tail(t: f64, freedom: f64) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |student| student.cdf(-t))
}

/// The p of n equal signs: 2⁻ⁿ.
pub fn signs(n: usize) -> f64 {
    0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX))
}

/// The least number of units whose equal signs have a p of at most α.
pub fn least_units(alpha: f64) -> u32 {
    (1..=1000)
        .find(|n| signs(*n as usize) <= alpha)
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "directed_tests.rs"]
mod tests;
