//! Whether a series is level: cumulated deviations from its mean, which grow under a trend as well
//! as under a change of the level. The statistic and its limit are those of D. Kwiatkowski et al.,
//! *Testing the Null Hypothesis of Stationarity…*, J. Econometrics 54, 1992. Its scale comes from
//! differences between neighbours, which trends and steps hardly enter (J. von Neumann et al., *The
//! Mean Square Successive Difference*, Ann. Math. Statist. 12(2), 1941): from the series itself, a
//! step would hide behind the variance that it makes.
//!
//! E. Barrett et al., *Virtual Machine Warmup Blows Hot and Cold*, OOPSLA 2017, show why one must
//! look: many benchmarks never reach a steady state, and that is a result.

use super::describe::mean;

/// Level of the test of one series.
pub const ALPHA: f64 = 0.01;

/// Series shorter than that say nothing.
pub const LEAST: usize = 8;

/// What became of a series.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing speaks against a level series.
    Steady,
    /// It has a trend, or its level changes.
    NoSteadyState,
    /// It is too short to tell.
    Unknown,
}

impl State {
    /// As printed: `steady`, `no steady state`, `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::NoSteadyState => "no steady state",
            Self::Unknown => "unknown",
        }
    }
}

/// Correlation of neighbours up to which level series are rarely suspected.
pub const PHI: f64 = 0.5;

/// The statistic; 0 for constant series.
///
/// Half of the mean square difference of neighbours is σ² (1 - φ) where each value is correlated
/// by φ with the one before; the variance that cumulated sums have is σ² (1 + φ) / (1 - φ). The
/// first gives the second for φ = [`PHI`].
pub fn statistic(values: &[f64]) -> f64 {
    let Some(level) = mean(values).filter(|_| values.len() > 1) else {
        return 0.0;
    };
    let n = values.len() as f64;
    let differences = values.windows(2).map(|pair| (pair[1] - pair[0]).powi(2));
    let noise = differences.sum::<f64>() / (2.0 * (n - 1.0));
    // What rounding leaves of a constant series is no variance.
    if noise <= 1e-18 * level * level {
        return 0.0;
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in values {
        sum += value - level;
        squares += sum * sum;
    }
    squares / (n * n * noise * (1.0 + PHI) / (1.0 - PHI).powi(2))
}

/// Upper tail of the statistic's limit: (value, probability that it is exceeded), the limit being
/// that of Cramér and von Mises' ω². T. Anderson and D. Darling, *Asymptotic Theory of Certain
/// "Goodness of Fit" Criteria*, Ann. Math. Statist. 23(2), 1952, table 1.
const TAIL: [(f64, f64); 7] = [
    (0.118_88, 0.5),
    (0.241_24, 0.2),
    (0.347_30, 0.1),
    (0.461_36, 0.05),
    (0.580_61, 0.025),
    (0.743_46, 0.01),
    (1.167_86, 0.001),
];

/// How probable so large a statistic is for a level series; at most 0.5, beyond which nobody looks.
pub fn p_value(statistic: f64) -> f64 {
    // The logarithm of the tail is nearly a line: between the values, and beyond the last one.
    let line = |pair: &[(f64, f64)]| {
        let [(x0, p0), (x1, p1)] = *pair else {
            return None;
        };
        let slope = (p1.ln() - p0.ln()) / (x1 - x0);
        let p = (p0.ln() + slope * (statistic - x0)).exp();
        Some((x1, p.min(0.5)))
    };
    let mut lines = TAIL.windows(2).filter_map(line);
    let within = lines.find(|(most, _)| statistic <= *most);
    let beyond = || TAIL.windows(2).filter_map(line).next_back();
    within.or_else(beyond).map_or(0.5, |(_, p)| p)
}

/// The mean of the second half by that of the first, less 1.
pub fn shift(values: &[f64]) -> Option<f64> {
    let (first, last) = values.split_at(values.len() / 2);
    let shift = mean(last)? / mean(first)? - 1.0;
    shift.is_finite().then_some(shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Bootstrap;
    use crate::stats::simulate::autoregressive;

    #[test]
    fn statistics_of_short_series_can_be_worked_out() {
        // Deviations -1 -1 1 1, sums -1 -2 -1 0, squares 6; noise 4 / (2 * 3), 6 times that:
        // 6 / (16 * 4)
        assert!((statistic(&[1.0, 1.0, 3.0, 3.0]) - 0.093_75).abs() < 1e-12);
        assert_eq!(statistic(&[0.1; 9]), 0.0);
        assert_eq!(statistic(&[]), 0.0);
    }

    #[test]
    fn probabilities_are_those_of_the_table_and_fall() {
        for (x, p) in TAIL {
            assert!((p_value(x) - p).abs() < 1e-9, "{x}");
        }
        let found: Vec<f64> = (0..300).map(|i| p_value(f64::from(i) / 100.0)).collect();
        assert!(found.windows(2).all(|w| w[1] <= w[0]) && found[299] > 0.0);
    }

    #[test]
    fn shifts_are_relative() {
        assert_eq!(shift(&[1.0, 1.0, 2.0, 2.0]), Some(1.0));
        assert_eq!(shift(&[0.0, 0.0]), None);
        assert_eq!(shift(&[1.0]), None);
    }

    /// How often a trend or a step is found. `cargo test -p vexp-report steady_power -- --nocapture` prints the
    /// table of docs/statistics.md.
    #[test]
    fn steady_power() {
        const ROUNDS: u32 = 1000;
        let mut random = Bootstrap::new(3, "power");
        let mut found = |n: usize, bend: fn(f64) -> f64| {
            let suspected = (0..ROUNDS).filter(|_| {
                let series = autoregressive(&mut random, n, 0.0);
                let bent = |(i, x): (usize, &f64)| x + bend(i as f64 / n as f64);
                let series: Vec<f64> = series.iter().enumerate().map(bent).collect();
                p_value(statistic(&series)) <= ALPHA
            });
            suspected.count() as f64 / f64::from(ROUNDS)
        };
        let bends: [fn(f64) -> f64; 4] = [
            |_| 0.0,
            |at| 3.0 * at,
            |at| 6.0 * at,
            |at| if at < 0.5 { 0.0 } else { 4.0 },
        ];
        for (n, least) in [(8, 0.05), (20, 0.7), (40, 0.95)] {
            let rates = bends.map(|bend| found(n, bend));
            let [level, small, large, step] = rates.map(|rate| 100.0 * rate);
            println!("| {n} | {level:.0} % | {small:.0} % | {large:.0} % | {step:.0} % |");
            assert!(rates[0] <= ALPHA && rates[2] >= least, "{n}: {rates:?}");
        }
    }

    /// With neighbours' correlations of up to [`PHI`], level series are suspected no more often than
    /// [`ALPHA`] says; trends and steps are found.
    #[test]
    fn level_series_are_rarely_suspected_and_others_mostly() {
        let mut random = Bootstrap::new(1, "steady");
        let rounds = 1000;
        let mut suspected = |n: usize, phi: f64, bend: fn(f64) -> f64| {
            let found = (0..rounds).filter(|_| {
                let series = autoregressive(&mut random, n, phi);
                let at = |i: usize| bend(i as f64 / n as f64);
                let series: Vec<f64> = series.iter().enumerate().map(|(i, x)| x + at(i)).collect();
                p_value(statistic(&series)) <= ALPHA
            });
            found.count() as f64 / f64::from(rounds)
        };
        let tolerated = ALPHA + 3.0 * (ALPHA * (1.0 - ALPHA) / f64::from(rounds)).sqrt();
        for n in [8, 30, 150] {
            for phi in [0.0, 0.3, PHI] {
                let rate = suspected(n, phi, |_| 0.0);
                assert!(rate <= tolerated, "{n} {phi}: {rate}");
            }
        }
        // A rise by 6 standard deviations, and a step by 4 in the middle.
        assert!(suspected(30, 0.3, |at| 6.0 * at) > 0.5);
        assert!(suspected(30, 0.3, |at| if at < 0.5 { 0.0 } else { 4.0 }) > 0.5);
    }
}
