//! Means, fairness and intervals.
//!
//! Sources: R. Jain, D. Chiu, W. Hawe, *A Quantitative Measure of Fairness and Discrimination*,
//! DEC-TR-301, 1984 (fairness). R. Jain, *The Art of Computer Systems Performance Analysis*, 1991,
//! section 13.2, and Georges, Buytaert, Eeckhout, *Statistically Rigorous Java Performance
//! Evaluation*, OOPSLA 2007, section 3.2 (Student's t over repetitions). H. Künsch, *The Jackknife
//! and the Bootstrap for General Stationary Observations*, Ann. Statist. 17(3), 1989 (moving
//! blocks). T. Hesterberg, *What Teachers Should Know About the Bootstrap*, Am. Stat. 69(4), 2015
//! (expanded percentiles). J. Tukey, *Exploratory Data Analysis*, 1977 (fences).

use std::collections::BTreeMap;

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// Confidence level of all intervals.
pub const LEVEL: f64 = 0.95;

/// Bootstrap replicates.
pub const REPLICATES: usize = 2000;

/// A two-sided confidence interval at [`LEVEL`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// The part of it in which the metric can lie at all.
    #[must_use]
    pub fn clipped(self, least: f64, most: f64) -> Self {
        Self {
            low: self.low.clamp(least, most),
            high: self.high.clamp(least, most),
        }
    }
}

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Jain's fairness index, (Σx)² / (n Σx²): 1 if all are equal, 1/n if one has everything. `None`
/// of nothing, and if all are 0.
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|x| x * x).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// Quantile of Student's t distribution that leaves (1 - [`LEVEL`]) / 2 above it.
fn student(freedom: f64) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some(t.inverse_cdf((1.0 + LEVEL) / 2.0))
}

/// Student's t interval of the mean of independent values; `None` of fewer than two.
pub fn t_interval(values: &[f64]) -> Option<Interval> {
    let n = values.len() as f64;
    let mean = mean(values)?;
    let t = student(n - 1.0)?;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = t * (variance / n).sqrt();
    Some(Interval {
        low: mean - half,
        high: mean + half,
    })
}

/// Block length of the moving-block bootstrap of `n` values: the cube root of n, rounded down
/// (the order that Künsch shows to be best for a mean).
pub fn block_length(n: usize) -> usize {
    (1..).take_while(|b| b * b * b <= n).last().unwrap_or(1)
}

/// The expanded percentile interval of bootstrap replicates. `n` is the number of values that the
/// estimate stands on.
///
/// Plain percentiles are too narrow by the factor sqrt((n-1)/n) and by that of the normal to
/// Student's t distribution; with few values that is most of the interval. Hesterberg's remedy is
/// to go further into the tails: the level of the percentile is Φ(-sqrt(n/(n-1)) t). Values in
/// blocks count as n / [`block_length`] independent ones.
pub fn percentile_interval(mut replicates: Vec<f64>, n: usize) -> Option<Interval> {
    let independent = (n / block_length(n)) as f64;
    if independent < 2.0 || replicates.is_empty() {
        return None;
    }
    let t = student(independent - 1.0)?;
    let tail = Normal::standard().cdf(-(independent / (independent - 1.0)).sqrt() * t);
    replicates.sort_by(f64::total_cmp);
    Some(Interval {
        low: quantile(&replicates, tail),
        high: quantile(&replicates, 1.0 - tail),
    })
}

/// Quantile of sorted values by linear interpolation (Hyndman and Fan's type 7). Not of nothing.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (at - at.floor()) * (above - below)
}

/// How many values lie outside of Tukey's fences, 1.5 interquartile ranges beyond the quartiles.
/// They are counted and kept. Fewer than four values have no quartiles to speak of.
pub fn outliers(values: &[f64]) -> usize {
    if values.len() < 4 {
        return 0;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (q1, q3) = (quantile(&sorted, 0.25), quantile(&sorted, 0.75));
    let reach = 1.5 * (q3 - q1);
    sorted
        .iter()
        .filter(|x| **x < q1 - reach || **x > q3 + reach)
        .count()
}

/// Draws of the moving-block bootstrap.
pub struct Bootstrap(Pcg64);

impl Bootstrap {
    /// Draws that depend on the study's seed and on what is drawn for, and so not on the order
    /// in which things are computed.
    pub fn new(seed: u64, subject: &str) -> Self {
        let digest = vexp_api::digest::Digest::of(format!("{seed}/{subject}").as_bytes());
        let state = u64::from_str_radix(&digest.hex()[..16], 16).unwrap_or(seed);
        Self(Pcg64::seed_from_u64(state))
    }

    /// One resampling of a trial.
    pub fn draw(&mut self, lengths: impl Iterator<Item = usize>) -> Draw {
        let mut draw = Draw::default();
        for n in lengths {
            if n > 0 && !draw.0.contains_key(&n) {
                let indexes = self.indexes(n);
                draw.0.insert(n, indexes);
            }
        }
        draw
    }

    fn indexes(&mut self, n: usize) -> Vec<usize> {
        let block = block_length(n);
        let starts = (n - block + 1) as u64;
        let mut indexes = Vec::with_capacity(n + block);
        while indexes.len() < n {
            // The bias of the remainder is below 2^-50 for any series that fits in memory.
            let start = (self.0.next_u64() % starts) as usize;
            indexes.extend(start..start + block);
        }
        indexes.truncate(n);
        indexes
    }
}

/// Which samples of a trial a replicate has. Series of the same length share their indexes, so
/// that what happened to all guests in the same second stays together.
#[derive(Clone, Debug, Default)]
pub struct Draw(BTreeMap<usize, Vec<usize>>);

impl Draw {
    /// The indexes for a series of length `n`, if it was drawn for.
    pub fn indexes(&self, n: usize) -> Option<&[usize]> {
        self.0.get(&n).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    #[test]
    fn jain_closed_forms() {
        assert_eq!(jain(&[5.0, 5.0, 5.0]), Some(1.0));
        assert_eq!(jain(&[8.0, 0.0, 0.0, 0.0]), Some(0.25));
        // (1+2+3)^2 / (3 * 14)
        assert!(close(jain(&[1.0, 2.0, 3.0]).unwrap(), 36.0 / 42.0));
        assert_eq!(jain(&[0.0, 0.0]), None);
        assert_eq!(jain(&[]), None);
    }

    #[test]
    fn t_interval_of_a_textbook_sample() {
        // Mean 3, s = sqrt(2.5), n = 5, t(0.975, 4) = 2.776445 (any t table).
        let found = t_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let half = 2.776_445_1 * (2.5_f64 / 5.0).sqrt();
        assert!((found.low - (3.0 - half)).abs() < 1e-6);
        assert!((found.high - (3.0 + half)).abs() < 1e-6);
        assert_eq!(t_interval(&[1.0]), None);
        assert_eq!(t_interval(&[]), None);
    }

    #[test]
    fn block_lengths() {
        let lengths = [1, 7, 8, 26, 27, 60, 64].map(block_length);
        assert_eq!(lengths, [1, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn percentiles_of_few_values_reach_to_the_extremes() {
        let replicates: Vec<f64> = (0..=1000).map(f64::from).collect();
        let few = percentile_interval(replicates.clone(), 3).unwrap();
        assert!(few.low < 1.0 && few.high > 999.0);
        let many = percentile_interval(replicates.clone(), 1_000_000).unwrap();
        assert!((20.0..26.0).contains(&many.low), "{many:?}");
        assert_eq!(percentile_interval(replicates, 1), None);
    }

    #[test]
    fn outliers_are_counted() {
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 1.0, 9.0]), 1);
        assert_eq!(outliers(&[1.0, 1.1, 1.2, 1.3]), 0);
        assert_eq!(outliers(&[1.0, 100.0, 1.0]), 0);
    }

    #[test]
    fn the_same_seed_and_subject_draw_the_same() {
        let draw = |seed, subject| Bootstrap::new(seed, subject).draw([10].into_iter());
        let indexes = |d: Draw| d.indexes(10).map(<[usize]>::to_vec);
        assert_eq!(indexes(draw(1, "a")), indexes(draw(1, "a")));
        assert_ne!(indexes(draw(1, "a")), indexes(draw(2, "a")));
        assert_ne!(indexes(draw(1, "a")), indexes(draw(1, "b")));
    }

    proptest! {
        #[test]
        fn draws_are_blocks_inside_the_series(n in 1_usize..200, seed: u64) {
            let draw = Bootstrap::new(seed, "x").draw([n].into_iter());
            let indexes = draw.indexes(n).unwrap();
            prop_assert_eq!(indexes.len(), n);
            for block in indexes.chunks(block_length(n)) {
                prop_assert!(block.iter().all(|i| *i < n));
                prop_assert!(block.windows(2).all(|w| w[1] == w[0] + 1));
            }
        }

        #[test]
        fn jain_lies_between_one_nth_and_one(values in prop::collection::vec(0.001_f64..1e6, 1..20)) {
            let index = jain(&values).unwrap();
            prop_assert!(index <= 1.0 + 1e-12 && index >= 1.0 / values.len() as f64 - 1e-12);
        }
    }
}
