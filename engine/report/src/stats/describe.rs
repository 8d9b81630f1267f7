//! What values are like.

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sum of products of the deviations of two series from their means, by one less than their
/// number: the variance of a series with itself, else the covariance. `None` of fewer than two.
pub fn covariance(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len());
    if n < 2 {
        return None;
    }
    let (mean_a, mean_b) = (mean(&a[..n])?, mean(&b[..n])?);
    let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b));
    Some(products.sum::<f64>() / (n - 1) as f64)
}

/// Jain's fairness index, (Σx)² / (n Σx²): 1 if all are equal, 1/n if one has everything. `None`
/// of nothing, and if all are 0.
///
/// R. Jain, D. Chiu, W. Hawe, *A Quantitative Measure of Fairness and Discrimination*,
/// DEC-TR-301, 1984.
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|x| x * x).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// Quantile of sorted values by linear interpolation (type 7 of R. Hyndman and Y. Fan, *Sample
/// Quantiles in Statistical Packages*, Am. Stat. 50(4), 1996); `None` of nothing.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let at = p * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(at.floor() as usize)?;
    let above = sorted.get(at.ceil() as usize)?;
    Some(below + (at - at.floor()) * (above - below))
}

/// How many values lie outside of Tukey's fences, 1.5 interquartile ranges beyond the quartiles
/// (J. Tukey, *Exploratory Data Analysis*, 1977). They are counted and kept. Fewer than four
/// values have no quartiles to speak of.
pub fn outliers(values: &[f64]) -> usize {
    if values.len() < 4 {
        return 0;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some((q1, q3)) = quantile(&sorted, 0.25).zip(quantile(&sorted, 0.75)) else {
        return 0;
    };
    let reach = 1.5 * (q3 - q1);
    sorted
        .iter()
        .filter(|x| **x < q1 - reach || **x > q3 + reach)
        .count()
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
    fn quantiles_interpolate() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.5), Some(2.5));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn outliers_are_counted() {
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 1.0, 9.0]), 1);
        assert_eq!(outliers(&[1.0, 1.1, 1.2, 1.3]), 0);
        assert_eq!(outliers(&[1.0, 100.0, 1.0]), 0);
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

        #[test]
        fn jain_lies_between_one_nth_and_one_whatever_the_unit(
            values in prop::collection::vec(0.001_f64..1e6, 1..20),
            factor in 0.001_f64..1e3,
        ) {
            let index = jain(&values).unwrap();
            prop_assert!(index <= 1.0 + 1e-12 && index >= 1.0 / values.len() as f64 - 1e-12);
            let scaled: Vec<f64> = values.iter().map(|x| x * factor).collect();
            prop_assert!(close(jain(&scaled).unwrap(), index));
        }

        /// The variance of 1, 2 … n times a factor, moved, is factor² n (n + 1) / 12.
        #[test]
        fn variance_of_an_arithmetic_series(n in 2_u32..200, factor in -50.0_f64..50.0, at in -1e3_f64..1e3) {
            let values: Vec<f64> = (1..=n).map(|i| at + factor * f64::from(i)).collect();
            let n = f64::from(n);
            let expected = factor * factor * n * (n + 1.0) / 12.0;
            prop_assert!((covariance(&values, &values).unwrap() - expected).abs() <= 1e-6 * expected.max(1.0));
            prop_assert!((mean(&values).unwrap() - (at + factor * (n + 1.0) / 2.0)).abs() < 1e-6);
        }
    }
}
