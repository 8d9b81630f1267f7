//! Claims as templates see them.

use std::collections::BTreeSet;

use serde::Serialize;
use vexp_api::metric;
use vexp_api::plan::Deviation;
use vexp_api::sample::Unit;
use vexp_api::spec::Relation;

use crate::judge::{CauseKind, ClaimVerdict, Compared, Side, Test, TestOutcome, Verdict};
use crate::metrics::Basis;
use crate::report::forest;
use crate::report::format;
use crate::report::index::{Index, point};

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
    /// Corrected for the number of claims.
    adjusted_p: Option<String>,
    /// What would let it be seen, where it is out of regime.
    lift: Vec<String>,
    /// Its verdicts at other margins, where they are not all the same.
    margins: Option<String>,
    /// The test that decided: the first that fails, else the first open one, else the narrowest.
    decisive: Option<TestRow>,
    tests: Vec<TestRow>,
    untested: Vec<String>,
    /// What differs from the paper at the points of its tests; only where it was refuted.
    deviations: Vec<Deviation>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct TestRow {
    left: String,
    left_value: String,
    left_link: Option<String>,
    relation: &'static str,
    right: String,
    right_link: Option<String>,
    margin: String,
    /// The ratio or value that was held against the claim, with its interval.
    compared: Option<String>,
    /// How many times the right side the left one is, where they were compared by that.
    times: Option<String>,
    /// Its interval at the level that is corrected for the number of claims, and that level.
    adjusted: Option<String>,
    level: String,
    outcome: &'static str,
    class: &'static str,
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "good",
        Verdict::NotReproduced => "bad",
        Verdict::Inconclusive => "open",
        Verdict::OutOfRegime => "regime",
        Verdict::NotTested => "none",
    }
}

pub(super) fn counts(claims: &[ClaimVerdict]) -> Vec<Count> {
    Verdict::ALL
        .into_iter()
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

pub(super) fn claim(claim: &ClaimVerdict, index: &Index<'_>) -> Claim {
    let tests: Vec<TestRow> = claim.tests.iter().filter_map(|t| test(t, index)).collect();
    let decisive = forest::decisive(claim).and_then(|decisive| test(decisive, index));
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
        adjusted_p: claim.adjusted_p.map(|p| format!("{p:.4}")),
        decisive,
        lift: lift(claim),
        margins: margins(claim),
        tests,
        untested: claim.tests.iter().filter_map(untested).collect(),
        deviations: match claim.verdict {
            Verdict::NotReproduced => touching(claim, index),
            _ => Vec::new(),
        },
    }
}

fn lift(claim: &ClaimVerdict) -> Vec<String> {
    let lifts: BTreeSet<&String> = claim.causes.iter().map(|cause| &cause.lift).collect();
    lifts.into_iter().cloned().collect()
}

/// `reproduced at twice the margin, inconclusive at half`.
fn margins(claim: &ClaimVerdict) -> Option<String> {
    let mut others = claim
        .margins
        .iter()
        .filter(|at| at.verdict != claim.verdict);
    others.next()?;
    let words: Vec<String> = claim
        .margins
        .iter()
        .map(|at| format!("{} at {} its margins", at.verdict, factor(at.times)))
        .collect();
    Some(words.join(", "))
}

fn factor(times: f64) -> String {
    match times {
        0.5 => "half".to_owned(),
        1.0 => "just".to_owned(),
        2.0 => "twice".to_owned(),
        other => format!("{other} times"),
    }
}

/// Claims of a verdict under a heading: what was decided comes first.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    heading: String,
    class: &'static str,
    claims: Vec<Finding>,
}

/// A claim in a line that can be quoted.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    statement: String,
    why: String,
}

/// What a run found: decided claims, open ones, those out of regime by their first cause, and those that
/// were not tested.
pub(super) fn findings(claims: &[ClaimVerdict]) -> Vec<Section> {
    let section = |heading: String, verdict, wanted: &dyn Fn(&ClaimVerdict) -> bool| Section {
        heading,
        class: class(verdict),
        claims: claims
            .iter()
            .filter(|claim| claim.verdict == verdict && wanted(claim))
            .map(|claim| Finding {
                name: claim.claim.to_string(),
                statement: claim.statement.clone(),
                why: claim.reason.clone(),
            })
            .collect(),
    };
    let all = |_: &ClaimVerdict| true;
    let mut sections = vec![
        section("Reproduced".to_owned(), Verdict::Reproduced, &all),
        section("Not reproduced".to_owned(), Verdict::NotReproduced, &all),
        section(
            "Open: this run can't tell yet".to_owned(),
            Verdict::Inconclusive,
            &all,
        ),
    ];
    for kind in CauseKind::ALL {
        let heading = format!("Out of regime: {}", kind.describe());
        let of_kind = |claim: &ClaimVerdict| claim.causes.first().map(|c| c.kind) == Some(kind);
        sections.push(section(heading, Verdict::OutOfRegime, &of_kind));
    }
    sections.push(section("Not tested".to_owned(), Verdict::NotTested, &all));
    sections.retain(|section| !section.claims.is_empty());
    sections
}

/// The deviations of the platforms and machines that a claim's tests are about.
fn touching(claim: &ClaimVerdict, index: &Index<'_>) -> Vec<Deviation> {
    let tested = claim.tests.iter().filter(|test| test.left.value.is_some());
    let sides = tested.flat_map(|test| [&test.left.of, &test.right.of]);
    let mut subjects = BTreeSet::new();
    for of in sides.flatten() {
        subjects.insert(format!("platform {}", of.platform));
        let machine = index.machine(&of.experiment, &of.platform);
        subjects.extend(machine.map(|machine| format!("hardware {}", machine.hardware)));
    }
    let mut all = crate::report::deviations(index.frames);
    all.retain(|deviation| subjects.contains(&deviation.subject));
    all
}

fn test(test: &Test, index: &Index<'_>) -> Option<TestRow> {
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
        left_link: link(&test.left, index),
        relation,
        right,
        right_link: link(&test.right, index),
        margin,
        compared: test.compared.as_ref().map(|found| compared(found, unit)),
        times: test.compared.as_ref().and_then(|found| {
            let ratio = format::number(found.value?, Unit::One);
            let of = crate::judge::describe(test.right.of.as_ref()?);
            Some(format!("{ratio} times {of}"))
        }),
        adjusted: test.compared.as_ref().and_then(|found| {
            let unit = compared_unit(found, unit);
            Some(format::interval(found.adjusted?, unit))
        }),
        level: test.compared.as_ref().map_or_else(String::new, level),
        outcome,
        class,
    })
}

/// A ratio has no unit.
fn compared_unit(found: &Compared, unit: Unit) -> Unit {
    if found.what == "ratio" {
        Unit::One
    } else {
        unit
    }
}

/// What was held against the claim: `ratio 1.31 [1.12, 1.49] over 5 boots`.
fn compared(found: &Compared, unit: Unit) -> String {
    let unit = compared_unit(found, unit);
    let number = |value| format::number(value, unit);
    let value = found.value.map_or_else(|| "none".to_owned(), number);
    let mut words = format!("{} {value}", found.what);
    if let Some(interval) = found.interval {
        words += &format!(" {}", format::interval(interval, unit));
    }
    let units = match found.basis {
        Basis::Boots => "boots",
        Basis::Repetitions => "repetitions",
        Basis::WithinTrial | Basis::None => "samples inside the trials",
    };
    words + &format!(" over {} {units}", found.units)
}

/// The corrected level in percent.
fn level(found: &Compared) -> String {
    format!("{} %", (found.level * 1e4).round() / 100.0)
}

/// The section on the trials that a side stands on.
fn link(side: &Side, index: &Index<'_>) -> Option<String> {
    index.link(point(side.of.as_ref()?))
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
