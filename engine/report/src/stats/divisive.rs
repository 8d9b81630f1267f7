//! Where a series is best divided in two: the statistic of E-divisive.
//!
//! D. Matteson and N. James, *A Nonparametric Approach for Multiple Change Point Analysis of
//! Multivariate Data*, J. Am. Stat. Assoc. 109, 2014, equations 5 to 7 with α = 1: the energy
//! distance of two neighbouring stretches, in which the right one may end before the series does.

/// A stretch of a series, `[start, end)`.
pub(super) type Stretch = (usize, usize);

/// A place to divide at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// The first value of the right part.
    pub(super) index: usize,
    /// How different both parts are, Q.
    pub(super) q: f64,
}

/// The best place in a stretch; the first of several. `None` of fewer than two values.
///
/// Q(τ, κ) = 2/(n+m) Σ|x-y| - 2m/((n+m)(n-1)) Σ|x-x'| - 2n/((n+m)(m-1)) Σ|y-y'| over
/// X = [start, τ) with n values and Y = [τ, κ) with m values. Where all Q are negative, the place
/// of Q = 0 is the third value, as it is in Apache Otava.
pub(super) fn candidate(series: &[f64], (start, end): Stretch) -> Option<Candidate> {
    let x = &series[start..end];
    let len = x.len();
    let within = within(x);
    let mut best: Option<Candidate> = None;
    let mut consider = |index: usize, q: f64| {
        if best.is_none_or(|best| q > best.q) {
            let index = start + index;
            best = Some(Candidate { index, q });
        }
    };
    for tau in 1..len {
        if tau > 1 {
            consider(tau, 0.0);
        }
        let n = tau as f64;
        let left = within[0][tau];
        for kappa in tau + 1..=len {
            let m = (kappa - tau) as f64;
            let right = within[tau][kappa - tau];
            let between = within[0][kappa] - left - right;
            let mut q = 2.0 / (n + m) * between;
            if tau > 1 {
                q -= 2.0 * m / ((n + m) * (n - 1.0)) * left;
            }
            if kappa > tau + 1 {
                q -= 2.0 * n / ((n + m) * (m - 1.0)) * right;
            }
            consider(tau, q);
        }
    }
    best
}

/// `within[a][l]`: the sum of the distances of all pairs in the l values from a on.
fn within(x: &[f64]) -> Vec<Vec<f64>> {
    // What the value at k adds to those from a on, for each a.
    let mut adds: Vec<Vec<f64>> = Vec::with_capacity(x.len());
    for (k, value) in x.iter().enumerate() {
        let mut sums = vec![0.0; k + 1];
        for a in (0..k).rev() {
            sums[a] = sums[a + 1] + (value - x[a]).abs();
        }
        adds.push(sums);
    }
    let from = |a: usize| {
        let mut sum = 0.0;
        let all = adds[a..].iter().map(|adds| {
            sum += adds[a];
            sum
        });
        std::iter::once(0.0).chain(all).collect()
    };
    (0..x.len()).map(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Q as it is written in the paper.
    fn q(x: &[f64], y: &[f64]) -> f64 {
        let (n, m) = (x.len() as f64, y.len() as f64);
        let pairs = |a: &[f64]| -> f64 {
            let each = (0..a.len()).flat_map(|i| (0..i).map(move |k| (i, k)));
            each.map(|(i, k)| (a[i] - a[k]).abs()).sum()
        };
        let between: f64 = x
            .iter()
            .flat_map(|x| y.iter().map(move |y| (x - y).abs()))
            .sum();
        let inner = |a: &[f64]| {
            let n = a.len() as f64;
            if a.len() > 1 {
                pairs(a) * 2.0 / (n * (n - 1.0))
            } else {
                0.0
            }
        };
        n * m / (n + m) * (2.0 / (n * m) * between - inner(x) - inner(y))
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

        #[test]
        fn it_is_the_largest_of_all(x in prop::collection::vec(-100.0_f64..100.0, 2..20)) {
            let found = candidate(&x, (0, x.len())).unwrap();
            let mut best: f64 = 0.0;
            for tau in 1..x.len() {
                for kappa in tau + 1..=x.len() {
                    best = best.max(q(&x[..tau], &x[tau..kappa]));
                }
            }
            prop_assert!((found.q.max(0.0) - best).abs() < 1e-6, "{found:?} {best}");
        }
    }
}
