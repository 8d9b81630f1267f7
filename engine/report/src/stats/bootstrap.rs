//! The bootstrap on the levels of a run: boots of a machine, repetitions in a boot, samples inside
//! a trial.
//!
//! Inside a trial it draws moving blocks, since one second is much like the next: H. Künsch, *The
//! Jackknife and the Bootstrap for General Stationary Observations*, Ann. Statist. 17(3), 1989. On
//! the levels above it draws units with what is below them: A. Davison and D. Hinkley, *Bootstrap
//! Methods and their Application*, 1997, section 3.8; S. Ren et al., *Nonparametric Bootstrapping
//! for Hierarchical Data*, J. Appl. Statist. 37(9), 2010.

use std::collections::BTreeMap;

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use statrs::distribution::{ContinuousCDF as _, Normal};

use super::Interval;
use super::describe::quantile;
use super::student::t_quantile;

/// Block length of the moving-block bootstrap of `n` values: the square root of n, rounded down.
///
/// The cube root, whose order Künsch shows to be best for a mean, finds a difference where none is
/// in 10 % of the comparisons at a neighbours' correlation of 0.5, instead of 5 %: see the table in
/// `docs/statistics.md`.
pub fn block_length(n: usize) -> usize {
    n.isqrt().max(1)
}

/// How many independent values `n` successive ones count as: a block is one.
pub fn independent(n: usize) -> usize {
    n / block_length(n)
}

/// The expanded percentile interval of bootstrap replicates at [`super::LEVEL`], of an estimate
/// that stands on so many independent values.
///
/// Plain percentiles are too narrow by the factor sqrt((n-1)/n) and by that of the normal to
/// Student's t distribution; with few values that is most of the interval. The remedy is to go
/// further into the tails: the level of the percentile is Φ(-sqrt(n/(n-1)) t). T. Hesterberg,
/// *What Teachers Should Know About the Bootstrap*, Am. Stat. 69(4), 2015.
pub fn percentile_interval(mut replicates: Vec<f64>, independent: usize) -> Option<Interval> {
    let n = independent as f64;
    if independent < 2 {
        return None;
    }
    let t = t_quantile(n - 1.0, super::LEVEL)?;
    let tail = Normal::standard().cdf(-(n / (n - 1.0)).sqrt() * t);
    replicates.sort_by(f64::total_cmp);
    Some(Interval {
        low: quantile(&replicates, tail)?,
        high: quantile(&replicates, 1.0 - tail)?,
    })
}

/// Seeded draws.
pub struct Bootstrap(Pcg64);

impl Bootstrap {
    /// Draws that depend on the study's seed and on what is drawn for, and so not on the order
    /// in which things are computed.
    pub fn new(seed: u64, subject: &str) -> Self {
        let digest = vexp_api::digest::Digest::of(format!("{seed}/{subject}").as_bytes());
        let state = u64::from_str_radix(&digest.hex()[..16], 16).unwrap_or(seed);
        Self(Pcg64::seed_from_u64(state))
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The bias of the remainder is below 2^-50 for anything that fits in memory.
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    /// A number between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One resampling of a trial's series.
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
        let starts = n - block + 1;
        let mut indexes = Vec::with_capacity(n + block);
        while indexes.len() < n {
            let start = self.below(starts);
            indexes.extend(start..start + block);
        }
        indexes.truncate(n);
        indexes
    }

    /// One resampling of the levels above trials: as many boots as there are, and of each as many
    /// of its repetitions as it has. A boot is a list of repetitions; what is drawn is a list of
    /// these.
    pub fn levels(&mut self, boots: &[Vec<usize>]) -> Vec<usize> {
        let mut drawn = Vec::new();
        for _ in boots {
            let Some(boot) = boots.get(self.below(boots.len())) else {
                continue;
            };
            drawn.extend(boot.iter().filter_map(|_| boot.get(self.below(boot.len()))));
        }
        drawn
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
    use crate::stats::describe::covariance;
    use proptest::prelude::*;

    #[test]
    fn block_lengths() {
        let lengths = [0, 1, 3, 4, 30, 36].map(block_length);
        assert_eq!(lengths, [1, 1, 1, 2, 5, 6]);
    }

    #[test]
    fn percentiles_of_few_values_reach_to_the_extremes() {
        let replicates: Vec<f64> = (0..=1000).map(f64::from).collect();
        let few = percentile_interval(replicates.clone(), 3).unwrap();
        assert!(few.low < 1.0 && few.high > 999.0);
        let many = percentile_interval(replicates.clone(), 10_000).unwrap();
        assert!((20.0..26.0).contains(&many.low), "{many:?}");
        assert_eq!(percentile_interval(replicates, 1), None);
    }

    #[test]
    fn the_same_seed_and_subject_draw_the_same() {
        let draw = |seed, subject| Bootstrap::new(seed, subject).draw([10].into_iter());
        let indexes = |d: Draw| d.indexes(10).map(<[usize]>::to_vec);
        assert_eq!(indexes(draw(1, "a")), indexes(draw(1, "a")));
        assert_ne!(indexes(draw(1, "a")), indexes(draw(2, "a")));
        assert_ne!(indexes(draw(1, "a")), indexes(draw(1, "b")));
    }

    #[test]
    fn levels_draw_boots_with_their_repetitions() {
        let boots = vec![vec![0, 1, 2], vec![3, 4, 5]];
        let mut bootstrap = Bootstrap::new(1, "levels");
        for _ in 0..50 {
            let drawn = bootstrap.levels(&boots);
            assert_eq!(drawn.len(), 6);
            let same_boot = |three: &[usize]| three.iter().all(|i| i / 3 == three[0] / 3);
            assert!(drawn.chunks(3).all(same_boot), "{drawn:?}");
        }
        assert_eq!(bootstrap.levels(&[]), Vec::<usize>::new());
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

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
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(24))]

        /// The bootstrap's standard error of a mean is s sqrt((n-1)/n) / sqrt(n). 3 values are in
        /// blocks of one. With 2000 replicates its own error is 1.6 %, and 6 sigma are 10 %.
        #[test]
        fn standard_error_of_a_mean(values in prop::collection::vec(0.0_f64..100.0, 3), seed: u64) {
            let n = values.len() as f64;
            let mut bootstrap = Bootstrap::new(seed, "error");
            let replicates: Vec<f64> = (0..2000)
                .map(|_| {
                    let draw = bootstrap.draw([values.len()].into_iter());
                    let drawn = draw.indexes(3).unwrap().iter().map(|i| values[*i]);
                    drawn.sum::<f64>() / n
                })
                .collect();
            let found = covariance(&replicates, &replicates).unwrap().sqrt();
            let expected = (covariance(&values, &values).unwrap() * (n - 1.0) / n / n).sqrt();
            prop_assert!((found - expected).abs() <= 0.1 * expected, "{found} {expected}");
        }
    }
}
