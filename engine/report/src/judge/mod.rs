//! Metrics → verdicts on claims.
//!
//! An assertion says where a value, or the ratio of two, must lie. It holds if the interval of that
//! very value or ratio lies inside, fails if it lies wholly outside, and is open otherwise.
//!
//! Before that it is asked whether the claim could be seen in the run at all ([`regime`]).
//!
//! Only units decide: boots of the machine, or seeds in virtual time ([`crate::stats::directed`]). What
//! differs inside trials, or between repetitions of one boot, says nothing about the next machine.
//!
//! Many claims are judged at once. So tests are not at 5 %, but at the level that Holm's
//! procedure leaves to each claim: the probability that *any* verdict of the run is wrong is then
//! at most 5 %. Inside a claim, all assertions must
//! hold for it to be reproduced, which needs no correction (R. Berger, *Multiparameter Hypothesis
//! Testing and Acceptance Sampling*, Technometrics 24(4), 1982: an intersection-union test), while
//! any one that fails contradicts it, which needs one (Bonferroni: its level is divided by the
//! number of assertions).

mod assertion;
mod looks;
mod margins;
pub mod needs;
pub mod range;
mod reason;
pub mod regime;

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::digest::canonical_json;
use vexp_api::ids::Name;
use vexp_api::looks::Design;
use vexp_api::spec::{Claim, MetricRef, Relation};

use crate::files::{self, WriteError};
use crate::frame::Frames;
use crate::metrics::{Basis, MetricValue, Metrics, TrialSteady};
use crate::stats::Interval;
use crate::stats::holm::{Corrected, holm};
use crate::stats::sequential::Seen;
use assertion::{Judged, Lookup, Prospect};
pub use looks::LooksTaken;
pub use margins::AtMargin;
pub use reason::describe;
pub(crate) use reason::digits;
pub use regime::{Cause, CauseKind};

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
    /// An interval is too wide to tell, or there is none, or a point is missing.
    Inconclusive,
    /// The run could not show it, whichever way it is: see [`ClaimVerdict::causes`].
    OutOfRegime,
    /// No point could be tested.
    NotTested,
}

impl Verdict {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::Reproduced,
        Self::NotReproduced,
        Self::Inconclusive,
        Self::OutOfRegime,
        Self::NotTested,
    ];

    /// As printed: `reproduced`, `not reproduced`, `inconclusive`, `out of regime`, `not tested`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::Inconclusive => "inconclusive",
            Self::OutOfRegime => "out of regime",
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
    /// Interval of the value at 95 %, not corrected. Without units that could decide, that of what there
    /// is: samples inside the trials, or repetitions of too few boots.
    pub interval: Option<Interval>,
    /// Interval on which the outcome stands: no test of one side at the corrected level rules it out.
    pub adjusted: Option<Interval>,
    /// Its level, that of two sides.
    pub level: f64,
    /// The least α at which a test of one side decides it; not corrected. `None` where nothing could.
    pub p: Option<f64>,
    /// What the intervals stand on.
    pub basis: Basis,
    /// How many units of that.
    pub units: usize,
    /// Whether the value lies inside, where that can be decided.
    #[serde(skip)]
    pub inside: Option<bool>,
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
    /// What keeps it from being seen in this run, sorted; empty where nothing does.
    pub causes: Vec<Cause>,
    /// What it would be at half and twice its margins; empty where it has none, or nothing decides.
    pub margins: Vec<AtMargin>,
    /// Assertions that were measured in this run.
    pub tested: usize,
    /// The least α at which it would be decided if it were the only claim.
    pub p: Option<f64>,
    /// The same with all claims of the run that could be tested, and all looks.
    pub adjusted_p: Option<f64>,
    /// The last look at which it was judged, from 1, where the run has looks: it was decided or given up
    /// then, or is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look: Option<usize>,
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
    /// What came of the run's looks, if its plan has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks: Option<LooksTaken>,
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
    let declared = &frames.run.plan.looks;
    // Looks that can't be are refused when the run is read.
    let (claims, looks) = match Design::try_from(declared.clone()) {
        Ok(design) => {
            let (claims, looks) = looks::judge(frames, design);
            (claims, Some(looks))
        }
        Err(_) => {
            let lookup = Lookup::first(&metrics, &values, frames, u32::MAX);
            (judge_claims(&frames.run.study.claims, &lookup), None)
        }
    };
    Verdicts {
        format: FORMAT,
        steady: metrics.steady(),
        metrics: values,
        claims,
        looks,
    }
}

/// `claims.json`.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ClaimsFile<'a> {
    /// [`FORMAT`].
    format: u32,
    /// As [`Verdicts::claims`].
    claims: &'a [ClaimVerdict],
    /// As [`Verdicts::looks`].
    #[serde(skip_serializing_if = "Option::is_none")]
    looks: Option<&'a LooksTaken>,
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
            looks: self.looks.as_ref(),
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
        let folder = files::below(folder)?;
        for (file, bytes) in self.files()? {
            folder.write(file, &bytes).map_err(WriteError::from)?;
        }
        Ok(())
    }
}

/// A claim before the level is known at which it is decided.
struct Opened<'a> {
    name: &'a Name,
    claim: &'a Claim,
    tests: Vec<Judged>,
    controls: Vec<Judged>,
    causes: Vec<Cause>,
}

fn judge_claims(claims: &BTreeMap<Name, Claim>, lookup: &Lookup<'_>) -> Vec<ClaimVerdict> {
    let opened: Vec<Opened<'_>> = claims
        .iter()
        .map(|(name, claim)| open(name, claim, lookup))
        .collect();
    // The family: what could be decided at all. What can't be takes nothing away from it.
    let family: Vec<Option<f64>> = opened.iter().map(Opened::p).collect();
    let p: Vec<f64> = family.iter().copied().flatten().collect();
    let mut corrected = holm(&p, ALPHA).into_iter();
    opened
        .into_iter()
        .zip(family)
        .map(|(opened, p)| {
            let level = p.and_then(|p| Some((p, corrected.next()?)));
            opened.verdict(level)
        })
        .collect()
}

fn open<'a>(name: &'a Name, claim: &'a Claim, lookup: &Lookup<'_>) -> Opened<'a> {
    let judge = |tests: &[vexp_api::spec::Assertion]| -> Vec<Judged> {
        tests.iter().map(|test| lookup.judge(test)).collect()
    };
    let controls = judge(&claim.needs.controls);
    let mut causes = regime::causes(claim, lookup);
    causes.extend(controls.iter().filter_map(regime::failed_control));
    Opened {
        name,
        claim,
        tests: judge(&claim.tests),
        controls,
        causes,
    }
}

/// The verdict that outcomes give: any that fails contradicts the claim, and all must hold.
fn verdict_of(outcomes: &[Outcome]) -> Verdict {
    let any = |wanted| outcomes.contains(&wanted);
    if outcomes.iter().all(|outcome| *outcome == Outcome::Untested) {
        Verdict::NotTested
    } else if any(Outcome::Fails) {
        Verdict::NotReproduced
    } else if any(Outcome::Open) || any(Outcome::Untested) {
        Verdict::Inconclusive
    } else {
        Verdict::Reproduced
    }
}

/// What became of an assertion, without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Holds,
    Fails,
    Open,
    Untested,
}

impl From<&TestOutcome> for Outcome {
    fn from(outcome: &TestOutcome) -> Self {
        match outcome {
            TestOutcome::Holds => Self::Holds,
            TestOutcome::Fails => Self::Fails,
            TestOutcome::Open { .. } => Self::Open,
            TestOutcome::Untested { .. } => Self::Untested,
        }
    }
}

impl Opened<'_> {
    /// How many of its assertions have units that could decide them.
    fn decidable(&self) -> usize {
        self.tests.iter().filter_map(Judged::decision).count()
    }

    /// The least α at which it is decided; `None` if nothing could decide it. Where an assertion has no
    /// units, another may still contradict the claim.
    fn p(&self) -> Option<f64> {
        let (holds, fails) = self.sides()?;
        match self.held_back() {
            // Nothing decides it.
            true => Some(1.0),
            false => Some(holds.min(fails).min(1.0)),
        }
    }

    /// Whether a positive control could not be told.
    fn held_back(&self) -> bool {
        self.controls.iter().any(|c| regime::control_p(c) > ALPHA)
    }

    /// What a look sees of it; `last` are the units of the last one and the level that it leaves.
    fn seen(&self, last: (u32, f64)) -> Seen {
        if !self.causes.is_empty() {
            return Seen::OutOfRegime;
        }
        let (Some((holds, fails)), Some(p)) = (self.sides(), self.p()) else {
            return Seen::Undecidable;
        };
        Seen::Decidable {
            p,
            reproduced: holds <= fails,
            futile: self.is_futile(last),
        }
    }

    /// Whether it would not be decided by the last look, though its estimates lay a standard error further
    /// from their borders than they do.
    fn is_futile(&self, last: (u32, f64)) -> bool {
        let prospects: Vec<Prospect> = self.tests.iter().map(|test| test.prospect(last)).collect();
        // One that may yet fail is enough to go on; to hold, all must.
        let may_fail = |p: &Prospect| matches!(p, Prospect::MayFail | Prospect::Unknown);
        let may_hold = |p: &Prospect| matches!(p, Prospect::MayHold | Prospect::Unknown);
        !prospects.iter().any(may_fail) && !prospects.iter().all(may_hold)
    }

    /// The least α at which all of its assertions hold, and at which one fails.
    fn sides(&self) -> Option<(f64, f64)> {
        let decisions: Vec<_> = self.tests.iter().map(Judged::decision).collect();
        let decidable = self.decidable();
        if decidable == 0 || !self.causes.is_empty() {
            return None;
        }
        let holds = decisions.iter().map(|d| match d {
            Some(d) if d.inside => d.p,
            _ => 1.0,
        });
        let controls = self.controls.iter().map(regime::control_p);
        let holds = holds.chain(controls).fold(0.0, f64::max);
        let outside = decisions.iter().flatten().filter(|d| !d.inside);
        let fails = outside.map(|d| d.p * decidable as f64);
        Some((holds, fails.fold(1.0, f64::min)))
    }

    fn verdict(self, corrected: Option<(f64, Corrected)>) -> ClaimVerdict {
        let alpha = corrected.map_or(ALPHA, |(_, corrected)| corrected.alpha);
        let decidable = self.decidable();
        let tested = self.tests.iter().filter(|test| test.is_measured()).count();
        let margins = match self.causes.is_empty() && decidable > 0 {
            true => margins::of(&self.tests, alpha, decidable),
            false => Vec::new(),
        };
        let held_back = self.held_back();
        let (claim, name) = (self.claim, self.name.clone());
        let tests: Vec<Test> = (self.tests.into_iter())
            .map(|test| test.at(alpha, decidable))
            .collect();
        let outcomes: Vec<Outcome> = tests.iter().map(|test| (&test.outcome).into()).collect();
        let verdict = match verdict_of(&outcomes) {
            _ if !self.causes.is_empty() => Verdict::OutOfRegime,
            Verdict::Reproduced | Verdict::NotReproduced if held_back => Verdict::Inconclusive,
            verdict => verdict,
        };
        let note = claim.note.as_deref();
        ClaimVerdict {
            claim: name,
            statement: claim.statement.clone(),
            place: claim.place.clone(),
            note: claim.note.clone(),
            verdict,
            reason: reason::of(verdict, &tests, &self.causes, note, held_back),
            causes: self.causes,
            margins,
            tested,
            p: corrected.map(|(p, _)| p),
            adjusted_p: corrected.map(|(_, corrected)| corrected.p),
            look: None,
            tests,
        }
    }
}

#[cfg(test)]
mod tests;
