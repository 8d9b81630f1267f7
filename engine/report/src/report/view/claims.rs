//! Claims as templates see them.

use serde::Serialize;
use vexp_api::metric;
use vexp_api::sample::Unit;
use vexp_api::spec::Relation;

use crate::judge::{ClaimVerdict, Side, Test, TestOutcome, Verdict};
use crate::report::format;

#[derive(Debug, Serialize)]
pub(super) struct Count {
    verdict: &'static str,
    class: &'static str,
    n: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Claim {
    name: String,
    statement: String,
    place: String,
    note: Option<String>,
    verdict: &'static str,
    class: &'static str,
    reason: String,
    tests: Vec<TestRow>,
    untested: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct TestRow {
    left: String,
    left_value: String,
    relation: &'static str,
    right: String,
    margin: String,
    outcome: &'static str,
    class: &'static str,
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "good",
        Verdict::NotReproduced => "bad",
        Verdict::Inconclusive => "open",
        Verdict::NotTested => "none",
    }
}

pub(super) fn counts(claims: &[ClaimVerdict]) -> Vec<Count> {
    let all = [
        Verdict::Reproduced,
        Verdict::NotReproduced,
        Verdict::Inconclusive,
        Verdict::NotTested,
    ];
    all.into_iter()
        .map(|verdict| Count {
            verdict: verdict.as_str(),
            class: class(verdict),
            n: claims
                .iter()
                .filter(|claim| claim.verdict == verdict)
                .count(),
        })
        .collect()
}

pub(super) fn claim(claim: &ClaimVerdict) -> Claim {
    let untested = |test: &Test| match &test.outcome {
        TestOutcome::Untested { reason } => Some(reason.clone()),
        _ => None,
    };
    Claim {
        name: claim.claim.to_string(),
        statement: claim.statement.clone(),
        place: claim.place.clone(),
        note: claim.note.clone(),
        verdict: claim.verdict.as_str(),
        class: class(claim.verdict),
        reason: claim.reason.clone(),
        tests: claim.tests.iter().filter_map(test).collect(),
        untested: claim.tests.iter().filter_map(untested).collect(),
    }
}

fn test(test: &Test) -> Option<TestRow> {
    let (outcome, class) = match test.outcome {
        TestOutcome::Holds => ("holds", "good"),
        TestOutcome::Fails => ("contradicts", "bad"),
        TestOutcome::Open { .. } => ("can't be told", "open"),
        TestOutcome::Untested { .. } => return None,
    };
    let unit = test
        .left
        .of
        .as_ref()
        .and_then(|of| metric::find(of.metric.as_str()));
    let unit = unit.map_or(Unit::One, |metric| metric.unit);
    let percent = format!("{} %", round(test.margin * 100.0));
    let (relation, margin) = match (test.relation, test.margin > 0.0) {
        (Relation::About, _) => ("≈", format!("± {percent}")),
        (Relation::AtLeast, true) => ("≥", format!("− {percent}")),
        (Relation::AtMost, true) => ("≤", format!("+ {percent}")),
        (Relation::GreaterThan, true) => (">", format!("+ {percent}")),
        (Relation::LessThan, true) => ("<", format!("− {percent}")),
        (Relation::AtLeast, false) => ("≥", String::new()),
        (Relation::AtMost, false) => ("≤", String::new()),
        (Relation::GreaterThan, false) => (">", String::new()),
        (Relation::LessThan, false) => ("<", String::new()),
    };
    let right = match &test.right.of {
        None => format::as_printed(test.right.times),
        Some(of) => {
            let times = match test.right.times {
                1.0 => String::new(),
                // Factors may be ratios; the product beside it was made with all of their digits.
                times => format!("{} × ", (times * 1e4).round() / 1e4),
            };
            format!(
                "{times}{} = {}",
                crate::judge::describe(of),
                measured(&test.right, unit)
            )
        }
    };
    Some(TestRow {
        left: test
            .left
            .of
            .as_ref()
            .map_or_else(String::new, crate::judge::describe),
        left_value: measured(&test.left, unit),
        relation,
        right,
        margin,
        outcome,
        class,
    })
}

/// A percentage without the noise of its binary form.
fn round(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e6
}

fn measured(side: &Side, unit: Unit) -> String {
    let value = side
        .value
        .map_or_else(|| "—".to_owned(), |value| format::number(value, unit));
    match side.interval {
        Some(interval) => format!("{value} {}", format::interval(interval, unit)),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_readable() {
        assert_eq!(round(0.07 * 100.0).to_string(), "7");
    }
}
