//! Metrics → verdicts on claims.
//!
//! An assertion says where a value, or the ratio of two, must lie. It holds if the interval of that
//! very value or ratio lies inside, fails if it lies wholly outside, and is open otherwise.
//!
//! Many claims are judged at once. So intervals are not at 95 %, but at the level that Holm's
//! procedure leaves to each claim: the probability that *any* verdict of the run is wrong is then
//! at most 5 %, as far as what the intervals stand on goes. Inside a claim, all assertions must
//! hold for it to be reproduced, which needs no correction (R. Berger, *Multiparameter Hypothesis
//! Testing and Acceptance Sampling*, Technometrics 24(4), 1982: an intersection-union test), while
//! any one that fails contradicts it, which needs one (Bonferroni: its level is divided by the
//! number of assertions).

mod assertion;
mod reason;

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::digest::canonical_json;
use vexp_api::ids::Name;
use vexp_api::spec::{Claim, MetricRef, Relation};

use crate::files::{self, WriteError};
use crate::frame::Frames;
use crate::metrics::{Basis, MetricValue, Metrics, TrialSteady};
use crate::stats::Interval;
use crate::stats::holm::{Corrected, holm};
use assertion::{Judged, Lookup};
pub use reason::describe;

/// The version of the format of `claims.json`, `metrics.json` and `steady.json`.
pub const FORMAT: u32 = 1;

/// The probability of any wrong verdict in a run that is accepted.
pub const ALPHA: f64 = 1.0 - crate::stats::LEVEL;

/// Past this number of units nobody is told how many would be enough.
pub const MOST_UNITS: u32 = 1000;

/// What became of a claim.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All points that could be tested agree with it.
    Reproduced,
    /// A point contradicts it.
    NotReproduced,
    /// An interval is too wide to tell, or there is none.
    Inconclusive,
    /// No point could be tested.
    NotTested,
}

impl Verdict {
    /// As printed: `reproduced`, `not reproduced`, `inconclusive`, `not tested`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::Inconclusive => "inconclusive",
            Self::NotTested => "not tested",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of one assertion.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum TestOutcome {
    /// It holds all over the interval.
    Holds,
    /// It holds nowhere in it.
    Fails,
    /// It holds in a part of it, or there is no interval.
    Open {
        /// Why it can't be told.
        reason: String,
    },
    /// A point is not in this run.
    Untested {
        /// Which, and why.
        reason: String,
    },
}

/// A side of an assertion with its measured value.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Side {
    /// Metric; `None` for a number.
    pub of: Option<MetricRef>,
    /// Factor on it, or the number.
    pub times: f64,
    /// Value with the factor, if it was measured.
    pub value: Option<f64>,
    /// Interval with the factor, of this side alone.
    pub interval: Option<Interval>,
}

/// What an assertion is judged on: the left side's value, or the ratio of both sides.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Compared {
    /// `value` or `ratio`.
    pub what: &'static str,
    /// What was measured; none for a ratio to nothing.
    pub value: Option<f64>,
    /// What is claimed: the number, or the factor.
    pub claimed: f64,
    /// Lower border of what relation and margin allow.
    pub low: Option<f64>,
    /// Upper border.
    pub high: Option<f64>,
    /// Interval of the value at 95 %, not corrected.
    pub interval: Option<Interval>,
    /// Interval at the corrected level, on which the outcome stands.
    pub adjusted: Option<Interval>,
    /// The corrected level.
    pub level: f64,
    /// The least α at which the interval lies wholly on the side of its estimate; not corrected.
    pub p: f64,
    /// What the intervals stand on.
    pub basis: Basis,
    /// How many units of that.
    pub units: usize,
    /// Whether the value lies inside.
    #[serde(skip)]
    pub inside: bool,
    /// How many units would decide it, if they varied as these do: where these don't, and no more than
    /// [`MOST_UNITS`] would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enough: Option<u32>,
}

/// One assertion, judged.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Test {
    /// Left side.
    pub left: Side,
    /// Relation.
    pub relation: Relation,
    /// Right side.
    pub right: Side,
    /// Relative margin.
    pub margin: f64,
    /// What it is judged on; `None` if it could not be tested.
    pub compared: Option<Compared>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: TestOutcome,
}

/// A claim, judged.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct ClaimVerdict {
    /// Name.
    pub claim: Name,
    /// The claim in words.
    pub statement: String,
    /// Where it stands in the publication.
    pub place: String,
    /// The study's remark.
    pub note: Option<String>,
    /// Verdict.
    pub verdict: Verdict,
    /// One sentence: what was measured against what is claimed where that decided, and how many
    /// points were tested.
    pub reason: String,
    /// Assertions that could be tested in this run.
    pub tested: usize,
    /// The least α at which it would be decided if it were the only claim.
    pub p: Option<f64>,
    /// The same with all claims of the run that could be tested.
    pub adjusted_p: Option<f64>,
    /// Its assertions.
    pub tests: Vec<Test>,
}

/// Metrics of a run and the verdicts that follow from them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Verdicts {
    /// [`FORMAT`].
    pub format: u32,
    /// Metrics in order.
    pub metrics: Vec<MetricValue>,
    /// Claims, sorted by name.
    pub claims: Vec<ClaimVerdict>,
    /// Which trials reached a steady state, sorted by name.
    pub steady: Vec<TrialSteady>,
}

/// `claims.json`, `metrics.json` or `steady.json` could not be made.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// Not representable.
    #[error("cannot represent the verdicts as JSON")]
    Json(#[from] serde_json::Error),
    /// Not writable.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Computes the metrics and judges every claim of the study.
pub fn judge(frames: &Frames) -> Verdicts {
    let metrics = Metrics::new(frames);
    let values = metrics.values();
    let claims = {
        let lookup = Lookup::new(&metrics, &values, frames);
        judge_claims(&frames.run.study.claims, &lookup)
    };
    Verdicts {
        format: FORMAT,
        steady: metrics.steady(),
        metrics: values,
        claims,
    }
}

/// `claims.json`.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ClaimsFile<'a> {
    /// [`FORMAT`].
    format: u32,
    /// As [`Verdicts::claims`].
    claims: &'a [ClaimVerdict],
}

/// `metrics.json`.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct MetricsFile<'a> {
    /// [`FORMAT`].
    format: u32,
    /// As [`Verdicts::metrics`].
    metrics: &'a [MetricValue],
}

/// `steady.json`.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct SteadyFile<'a> {
    /// [`FORMAT`].
    format: u32,
    /// As [`Verdicts::steady`].
    trials: &'a [TrialSteady],
}

impl Verdicts {
    /// `claims.json`, `metrics.json` and `steady.json`: canonical JSON with a format each.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, JudgeError> {
        let format = FORMAT;
        let claims = ClaimsFile {
            format,
            claims: &self.claims,
        };
        let metrics = MetricsFile {
            format,
            metrics: &self.metrics,
        };
        let steady = SteadyFile {
            format,
            trials: &self.steady,
        };
        Ok(vec![
            ("claims.json", canonical_json(&claims)?.into_bytes()),
            ("metrics.json", canonical_json(&metrics)?.into_bytes()),
            ("steady.json", canonical_json(&steady)?.into_bytes()),
        ])
    }

    /// Writes [`Verdicts::files`] into a folder.
    pub fn write(&self, folder: &Path) -> Result<(), JudgeError> {
        for (file, bytes) in self.files()? {
            files::write(&folder.join(file), &bytes)?;
        }
        Ok(())
    }
}

fn judge_claims(claims: &BTreeMap<Name, Claim>, lookup: &Lookup<'_>) -> Vec<ClaimVerdict> {
    let judged: Vec<(&Name, &Claim, Vec<Judged>)> = claims
        .iter()
        .map(|(name, claim)| {
            let tests = claim.tests.iter().map(|test| lookup.judge(test)).collect();
            (name, claim, tests)
        })
        .collect();
    // The family: what could be tested at all.
    let family: Vec<Option<f64>> = judged.iter().map(|(_, _, tests)| claim_p(tests)).collect();
    let p: Vec<f64> = family.iter().copied().flatten().collect();
    let mut corrected = holm(&p, ALPHA).into_iter();
    judged
        .into_iter()
        .zip(family)
        .map(|((name, claim, tests), p)| {
            let level = p.and_then(|p| Some((p, corrected.next()?)));
            verdict(name, claim, tests, level)
        })
        .collect()
}

/// The least α at which a claim is decided; `None` if nothing of it could be tested.
fn claim_p(tests: &[Judged]) -> Option<f64> {
    let decisions: Vec<_> = tests.iter().filter_map(Judged::decision).collect();
    let tested = decisions.len() as f64;
    let most = |p: f64, other: f64| p.max(other);
    let holds = decisions.iter().map(|d| if d.inside { d.p } else { 1.0 });
    let fails = decisions.iter().filter(|d| !d.inside).map(|d| d.p * tested);
    Some(fails.fold(holds.reduce(most)?, f64::min).min(1.0))
}

fn verdict(
    name: &Name,
    claim: &Claim,
    tests: Vec<Judged>,
    corrected: Option<(f64, Corrected)>,
) -> ClaimVerdict {
    let tested = tests.iter().filter_map(Judged::decision).count();
    let alpha = corrected.map_or(ALPHA, |(_, corrected)| corrected.alpha);
    let tests: Vec<Test> = tests
        .into_iter()
        .map(|test| test.at(alpha, tested))
        .collect();
    let any = |wanted: fn(&TestOutcome) -> bool| tests.iter().any(|test| wanted(&test.outcome));
    let verdict = if tested == 0 {
        Verdict::NotTested
    } else if any(|outcome| *outcome == TestOutcome::Fails) {
        Verdict::NotReproduced
    } else if any(|outcome| matches!(outcome, TestOutcome::Open { .. })) {
        Verdict::Inconclusive
    } else {
        Verdict::Reproduced
    };
    ClaimVerdict {
        claim: name.clone(),
        statement: claim.statement.clone(),
        place: claim.place.clone(),
        note: claim.note.clone(),
        verdict,
        reason: reason::of(verdict, &tests, claim.note.as_deref()),
        tested,
        p: corrected.map(|(p, _)| p),
        adjusted_p: corrected.map(|(_, corrected)| corrected.p),
        tests,
    }
}

#[cfg(test)]
mod tests;
