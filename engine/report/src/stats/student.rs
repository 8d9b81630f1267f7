//! Student's t distribution and intervals of means.
//!
//! R. Jain, *The Art of Computer Systems Performance Analysis*, 1991, section 13.2; Georges,
//! Buytaert, Eeckhout, *Statistically Rigorous Java Performance Evaluation*, OOPSLA 2007, section
//! 3.2.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::Interval;
use super::describe::{covariance, mean};

/// The value that t exceeds in either direction with probability 1 - `level`; `None` with less
/// than no freedom, or if the level is none.
pub fn t_quantile(freedom: f64, level: f64) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let at = t.inverse_cdf((1.0 + level) / 2.0);
    (level < 1.0 && at.is_finite()).then_some(at)
}

/// How probable it is that |t| is as large as that: 1 where the freedom is none.
pub fn two_sided(t: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(_) if t.is_infinite() => 0.0,
        Ok(distribution) => (2.0 * distribution.cdf(-t.abs())).min(1.0),
        Err(_) => 1.0,
    }
}

/// Student's t interval of the mean of independent values at [`super::LEVEL`]; `None` of fewer
/// than two.
pub fn t_interval(values: &[f64]) -> Option<Interval> {
    let n = values.len() as f64;
    let mean = mean(values)?;
    let half = t_quantile(n - 1.0, super::LEVEL)? * (covariance(values, values)? / n).sqrt();
    Some(Interval {
        low: mean - half,
        high: mean + half,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn probabilities_of_a_t_table() {
        for (freedom, t, p) in [
            (1.0, 12.706_2, 0.05),
            (2.0, 9.924_8, 0.01),
            (9.0, 1.833_1, 0.1),
        ] {
            assert!((two_sided(t, freedom) - p).abs() < 1e-5);
            assert!((t_quantile(freedom, 1.0 - p).unwrap() - t).abs() < 1e-3);
        }
        assert_eq!(two_sided(f64::INFINITY, 3.0), 0.0);
        assert_eq!(two_sided(0.0, 3.0), 1.0);
        assert_eq!(two_sided(9.0, 0.0), 1.0);
        assert_eq!(t_quantile(0.0, 0.95), None);
        assert_eq!(t_quantile(2.0, 1.0), None);
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

        /// With two values the quantile is tan(0.475 π), so that half the width is known.
        #[test]
        fn two_values_have_a_closed_form(a in -1e3_f64..1e3, b in -1e3_f64..1e3) {
            let found = t_interval(&[a, b]).unwrap();
            let half = (0.475 * std::f64::consts::PI).tan() * (a - b).abs() / 2.0;
            prop_assert!((found.high - found.low - 2.0 * half).abs() < 1e-6 * half.max(1.0));
        }
    }
}
