//! Many claims at once.
//!
//! S. Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scand. J. Statist. 6(2),
//! 1979: with m tests, the smallest p is held against α/m, the next one against α/(m-1), and so on
//! up to the first that is not below. The probability that any test is decided wrongly is then at
//! most α, however the tests depend on each other.

/// A test after the correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// Its p, corrected: the least α at which it is decided.
    pub p: f64,
    /// The α that its own p is held against. After the first test that is not decided, that test's.
    pub alpha: f64,
    /// Whether it is decided.
    pub decided: bool,
}

/// Corrects p values for each other, in the order in which they come.
pub fn holm(p: &[f64], alpha: f64) -> Vec<Corrected> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![
        Corrected {
            p: 1.0,
            alpha,
            decided: false
        };
        p.len()
    ];
    let (mut largest, mut stopped): (f64, Option<f64>) = (0.0, None);
    for (rank, at) in order.into_iter().enumerate() {
        let left = (p.len() - rank) as f64;
        largest = largest.max((p[at] * left).min(1.0));
        let own = alpha / left;
        let decided = stopped.is_none() && p[at] <= own;
        if !decided && stopped.is_none() {
            stopped = Some(own);
        }
        corrected[at] = Corrected {
            p: largest,
            alpha: stopped.unwrap_or(own),
            decided,
        };
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_worked_example() {
        // Four tests at 0.05: 0.005 <= 0.0125, 0.01 <= 0.0167, 0.03 > 0.025 stops it.
        let found = holm(&[0.01, 0.04, 0.03, 0.005], 0.05);
        assert_eq!(
            found.iter().map(|c| c.decided).collect::<Vec<_>>(),
            [true, false, false, true]
        );
        let p: Vec<f64> = found.iter().map(|c| c.p).collect();
        for (found, expected) in p.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert!(
            (found[1].alpha - 0.025).abs() < 1e-12 && (found[0].alpha - 0.05 / 3.0).abs() < 1e-12
        );
        assert_eq!(holm(&[], 0.05), []);
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

        #[test]
        fn it_keeps_the_order_and_lies_between_none_and_bonferroni(
            p in prop::collection::vec(0.0_f64..=1.0, 1..30),
        ) {
            let found = holm(&p, 0.05);
            let m = p.len() as f64;
            for (i, one) in found.iter().enumerate() {
                prop_assert!(one.p >= p[i] && one.p <= (p[i] * m).min(1.0).max(one.p.min(1.0)));
                prop_assert_eq!(one.decided, p[i] <= one.alpha && one.p <= 0.05);
                // What Bonferroni decides, Holm does; what Holm decides, no correction would.
                prop_assert!(p[i] > 0.05 / m || one.decided);
                prop_assert!(!one.decided || p[i] <= 0.05);
                for (j, other) in found.iter().enumerate() {
                    prop_assert!(p[i] > p[j] || one.p <= other.p);
                }
            }
        }
    }
}
