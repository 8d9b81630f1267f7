//! Metrics → verdicts on claims.
//!
//! An assertion is judged on intervals, not on estimates. It holds if it holds for every pair of
//! values out of the two sides' intervals, fails if it holds for none, and is open otherwise.
//! That is more cautious than a test of the difference: two 95 % intervals that only just touch
//! belong to a difference at a level of well under 5 %. Many claims are judged at once, and no
//! correction for that is made.

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::digest::canonical_json;
use vexp_api::ids::Name;
use vexp_api::spec::{Assertion, Claim, MetricRef, Operand, Relation};

use crate::files::{self, WriteError};
use crate::frame::Frames;
use crate::metrics::{self, MetricValue};
use crate::stats::Interval;

/// The version of the format of `claims.json` and `metrics.json`.
pub const FORMAT: u32 = 1;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
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
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum TestOutcome {
    /// It holds all over the intervals.
    Holds,
    /// It holds nowhere in them.
    Fails,
    /// It holds in a part of them, or a side has no interval.
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
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Side {
    /// Metric; `None` for a number.
    pub of: Option<MetricRef>,
    /// Factor on it, or the number.
    pub times: f64,
    /// Value with the factor, if it was measured.
    pub value: Option<f64>,
    /// Interval with the factor.
    pub interval: Option<Interval>,
}

/// One assertion, judged.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Test {
    /// Left side.
    pub left: Side,
    /// Relation.
    pub relation: Relation,
    /// Right side.
    pub right: Side,
    /// Relative margin.
    pub margin: f64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: TestOutcome,
}

/// A claim, judged.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
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
    /// One sentence: how many points were tested, and what decided.
    pub reason: String,
    /// Assertions that could be tested in this run.
    pub tested: usize,
    /// Its assertions.
    pub tests: Vec<Test>,
}

/// Metrics of a run and the verdicts that follow from them.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verdicts {
    /// [`FORMAT`].
    pub format: u32,
    /// Metrics in order.
    pub metrics: Vec<MetricValue>,
    /// Claims, sorted by name.
    pub claims: Vec<ClaimVerdict>,
}

/// `claims.json` or `metrics.json` could not be made.
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
    let metrics = metrics::metrics(frames);
    let claims = frames.run.study.claims.iter();
    let claims = claims
        .map(|(name, claim)| judge_claim(name, claim, &Lookup::new(&metrics, frames)))
        .collect();
    Verdicts {
        format: FORMAT,
        metrics,
        claims,
    }
}

impl Verdicts {
    /// Writes `claims.json` and `metrics.json` into a folder, canonical JSON with a format each.
    pub fn write(&self, folder: &Path) -> Result<(), JudgeError> {
        let value = |key: &str, list: serde_json::Value| {
            canonical_json(&serde_json::json!({ "format": FORMAT, key: list }))
        };
        let claims = value("claims", serde_json::to_value(&self.claims)?)?;
        let metrics = value("metrics", serde_json::to_value(&self.metrics)?)?;
        files::write(&folder.join("claims.json"), claims.as_bytes())?;
        Ok(files::write(
            &folder.join("metrics.json"),
            metrics.as_bytes(),
        )?)
    }
}

/// Finds the metric that an assertion is about.
struct Lookup<'a> {
    values: BTreeMap<MetricRef, &'a MetricValue>,
    frames: &'a Frames,
}

impl<'a> Lookup<'a> {
    fn new(metrics: &'a [MetricValue], frames: &'a Frames) -> Self {
        let values = metrics
            .iter()
            .filter(|value| value.node.is_none())
            .filter_map(|value| Some((reference(value)?, value)))
            .collect();
        Self { values, frames }
    }

    /// The side, and why it was not measured if it was not.
    fn side(&self, of: &MetricRef, times: f64) -> (Side, Option<String>) {
        let found = self.values.get(of);
        let side = Side {
            of: Some(of.clone()),
            times,
            value: found.map(|found| found.value * times),
            interval: found.and_then(|found| Some(scale(found.interval?, times))),
        };
        let missing = found.is_none().then(|| self.absence(of));
        (side, missing)
    }

    /// Why there is no such metric in this run.
    fn absence(&self, of: &MetricRef) -> String {
        let here = |experiment: &Name, platform: &Name, vms| {
            (experiment, platform, vms) == (&of.experiment, &of.platform, of.vms)
        };
        let point = describe(of);
        let lost = self.frames.unusable.iter();
        let lost: Vec<_> = lost
            .filter(|trial| here(&trial.experiment, &trial.platform, trial.vms))
            .collect();
        let measured = self.frames.trials.iter();
        let measured = measured
            .filter(|frame| {
                here(
                    &frame.trial.experiment,
                    &frame.trial.platform,
                    frame.trial.vms,
                )
            })
            .count();
        match (measured, lost.first()) {
            (0, Some(trial)) => format!("{point}: trial {} is {}", trial.trial, trial.kind),
            (0, None) => format!("{point} is not in this run"),
            _ => format!("{point} can't be computed from what its trials recorded"),
        }
    }
}

fn reference(value: &MetricValue) -> Option<MetricRef> {
    Some(MetricRef {
        metric: Name::new(value.metric).ok()?,
        experiment: value.point.experiment.clone(),
        platform: value.point.platform.clone(),
        vms: value.point.vms,
        node: None,
    })
}

/// A metric at a point in words: `efficiency of xen-3.1 with 2 VMs in send-tcp`.
pub fn describe(of: &MetricRef) -> String {
    let vms = match of.vms {
        0 => String::new(),
        1 => " with 1 VM".to_owned(),
        n => format!(" with {n} VMs"),
    };
    format!("{} of {}{vms} in {}", of.metric, of.platform, of.experiment)
}

fn scale(interval: Interval, times: f64) -> Interval {
    let (a, b) = (interval.low * times, interval.high * times);
    Interval {
        low: a.min(b),
        high: a.max(b),
    }
}

fn judge_claim(name: &Name, claim: &Claim, lookup: &Lookup<'_>) -> ClaimVerdict {
    let tests: Vec<Test> = claim
        .tests
        .iter()
        .map(|test| judge_test(test, lookup))
        .collect();
    let count = |wanted: fn(&TestOutcome) -> bool| {
        tests.iter().filter(|test| wanted(&test.outcome)).count()
    };
    let fails = count(|outcome| *outcome == TestOutcome::Fails);
    let open = count(|outcome| matches!(outcome, TestOutcome::Open { .. }));
    let untested = count(|outcome| matches!(outcome, TestOutcome::Untested { .. }));
    let tested = tests.len() - untested;
    let verdict = match (tested, fails, open) {
        (0, _, _) => Verdict::NotTested,
        (_, 0, 0) => Verdict::Reproduced,
        (_, 0, _) => Verdict::Inconclusive,
        _ => Verdict::NotReproduced,
    };
    let parts = format!("{tested} of {} points tested", tests.len());
    let first_missing = tests.iter().find_map(|test| match &test.outcome {
        TestOutcome::Untested { reason } => Some(reason.as_str()),
        _ => None,
    });
    let reason = match verdict {
        Verdict::NotTested => first_missing
            .or(claim.note.as_deref())
            .unwrap_or("the study has no test for it")
            .to_owned(),
        Verdict::Reproduced => format!("{parts}; contradicting it: none"),
        Verdict::NotReproduced => format!("{parts}; contradicting it: {fails}"),
        Verdict::Inconclusive => format!("{parts}; too wide an interval to tell: {open}"),
    };
    ClaimVerdict {
        claim: name.clone(),
        statement: claim.statement.clone(),
        place: claim.place.clone(),
        note: claim.note.clone(),
        verdict,
        reason,
        tested,
        tests,
    }
}

fn judge_test(test: &Assertion, lookup: &Lookup<'_>) -> Test {
    let (left, left_missing) = lookup.side(&test.left, 1.0);
    let (right, right_missing) = match &test.right {
        Operand::Metric { of, times } => lookup.side(of, *times),
        Operand::Number(number) => {
            let exactly = Interval {
                low: *number,
                high: *number,
            };
            let side = Side {
                of: None,
                times: *number,
                value: Some(*number),
                interval: Some(exactly),
            };
            (side, None)
        }
    };
    let outcome = match left_missing.or(right_missing) {
        Some(reason) => TestOutcome::Untested { reason },
        None => match (left.interval, right.interval) {
            (Some(l), Some(r)) => decide(l, test.relation, r, test.margin),
            (None, _) => no_interval(&left),
            (_, None) => no_interval(&right),
        },
    };
    Test {
        left,
        relation: test.relation,
        right,
        margin: test.margin,
        outcome,
    }
}

fn no_interval(side: &Side) -> TestOutcome {
    let what = side.of.as_ref().map_or_else(String::new, describe);
    TestOutcome::Open {
        reason: format!("{what} has too few samples for an interval"),
    }
}

/// Judges `left relation right` over all pairs of the two intervals.
pub fn decide(left: Interval, relation: Relation, right: Interval, margin: f64) -> TestOutcome {
    // How much room there is until the assertion becomes false; negative where it is false.
    let room = |l: f64, r: f64| {
        let m = margin * r.abs();
        match relation {
            Relation::About => m - (l - r).abs(),
            Relation::AtLeast => l - (r - m),
            Relation::AtMost => (r + m) - l,
            Relation::GreaterThan => l - (r + m),
            Relation::LessThan => (r - m) - l,
        }
    };
    // `room` is linear between l = r and r = 0, so its extremes over the rectangle lie at the
    // corners or where those lines cross its border.
    let inside = |x: f64, range: Interval| (range.low..=range.high).contains(&x);
    let mut rights = vec![right.low, right.high];
    rights.extend(
        [0.0, left.low, left.high]
            .into_iter()
            .filter(|r| inside(*r, right)),
    );
    let mut least = f64::INFINITY;
    let mut most = f64::NEG_INFINITY;
    for r in rights {
        let lefts = [left.low, left.high, r]
            .into_iter()
            .filter(|l| inside(*l, left));
        for value in lefts.map(|l| room(l, r)) {
            least = least.min(value);
            most = most.max(value);
        }
    }
    let strict = matches!(relation, Relation::GreaterThan | Relation::LessThan);
    let holds = |value: f64| if strict { value > 0.0 } else { value >= 0.0 };
    match (holds(least), holds(most)) {
        (true, _) => TestOutcome::Holds,
        (false, false) => TestOutcome::Fails,
        (false, true) => TestOutcome::Open {
            reason: "the interval holds values on both sides of the margin".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: f64, high: f64) -> Interval {
        Interval { low, high }
    }

    /// Short names for the outcomes.
    fn told(left: (f64, f64), relation: Relation, right: (f64, f64), margin: f64) -> char {
        match decide(
            range(left.0, left.1),
            relation,
            range(right.0, right.1),
            margin,
        ) {
            TestOutcome::Holds => 'h',
            TestOutcome::Fails => 'f',
            TestOutcome::Open { .. } => 'o',
            TestOutcome::Untested { .. } => 'u',
        }
    }

    #[test]
    fn truth_table_against_a_number() {
        use Relation as R;
        let right = (100.0, 100.0);
        for (relation, below, touching, across, equal, above) in [
            (R::About, 'f', 'o', 'o', 'h', 'f'),
            (R::AtLeast, 'f', 'o', 'o', 'h', 'h'),
            (R::AtMost, 'h', 'h', 'o', 'h', 'f'),
            (R::GreaterThan, 'f', 'f', 'o', 'f', 'h'),
            (R::LessThan, 'h', 'o', 'o', 'f', 'f'),
        ] {
            for (left, wanted) in [
                ((50.0, 80.0), below),
                ((80.0, 95.0), touching),
                ((80.0, 120.0), across),
                ((100.0, 100.0), equal),
                ((120.0, 130.0), above),
            ] {
                let found = told(left, relation, right, 0.1);
                assert_eq!(found, wanted, "{left:?} {relation:?}");
            }
        }
    }

    #[test]
    fn borders_belong_to_the_weak_relations_only() {
        use Relation as R;
        let one = (1.0, 1.0);
        for (relation, told_at_equality) in [
            (R::About, 'h'),
            (R::AtLeast, 'h'),
            (R::AtMost, 'h'),
            (R::GreaterThan, 'f'),
            (R::LessThan, 'f'),
        ] {
            assert_eq!(
                told(one, relation, one, 0.0),
                told_at_equality,
                "{relation:?}"
            );
        }
    }

    #[test]
    fn both_sides_have_intervals() {
        use Relation as R;
        assert_eq!(told((10.0, 12.0), R::GreaterThan, (7.0, 9.0), 0.0), 'h');
        assert_eq!(told((10.0, 12.0), R::GreaterThan, (7.0, 11.0), 0.0), 'o');
        assert_eq!(told((10.0, 12.0), R::GreaterThan, (13.0, 14.0), 0.0), 'f');
        // The only pairs that are about equal lie on the diagonal, inside both intervals.
        assert_eq!(told((0.0, 100.0), R::About, (40.0, 60.0), 0.01), 'o');
        // A right side that may be 0 has no relative margin there.
        assert_eq!(told((1.0, 1.0), R::About, (-1.0, 1.0), 0.5), 'o');
        assert_eq!(told((5.0, 6.0), R::About, (-1.0, 1.0), 0.5), 'f');
    }
}
