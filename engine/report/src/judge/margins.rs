//! What a claim would be with other margins. Where the paper prints no tolerance the margin is the
//! study's, and a reader must see what hangs on it.

use super::assertion::{Judged, share};
use super::{Outcome, Verdict, verdict_of};

/// Factors on all of a claim's margins.
const FACTORS: [f64; 3] = [0.5, 1.0, 2.0];

/// A claim's verdict at other margins, at the same level.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct AtMargin {
    /// Factor on every margin of its assertions.
    pub times: f64,
    /// What it would be.
    pub verdict: Verdict,
}

/// Empty where no assertion has a margin.
pub(super) fn of(tests: &[Judged], alpha: f64, decidable: usize) -> Vec<AtMargin> {
    if tests.iter().all(|test| test.margin() == 0.0) {
        return Vec::new();
    }
    let outcome = |test: &Judged, times: f64| match test.with_margin(times * test.margin()) {
        None if test.is_measured() => Outcome::Open,
        None => Outcome::Untested,
        Some(decision) if decision.p > share(Some(decision), alpha, decidable) => Outcome::Open,
        Some(decision) if decision.inside => Outcome::Holds,
        Some(_) => Outcome::Fails,
    };
    FACTORS
        .map(|times| {
            let outcomes: Vec<Outcome> = tests.iter().map(|test| outcome(test, times)).collect();
            AtMargin {
                times,
                verdict: verdict_of(&outcomes),
            }
        })
        .to_vec()
}
