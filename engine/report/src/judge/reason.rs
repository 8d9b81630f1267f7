//! Verdicts in words: what was measured, against what is claimed.

use vexp_api::spec::{MetricRef, Relation};

use super::{Cause, Compared, MOST_UNITS, Test, TestOutcome, Verdict};
use crate::metrics::Basis;

/// A metric at a point in words: `efficiency of xen-3.1 with 2 VMs in send-tcp`.
pub fn describe(of: &MetricRef) -> String {
    let node = of.node.as_ref();
    let node = node.map_or_else(String::new, |node| format!("{node} of "));
    let vms = match of.vms {
        0 => String::new(),
        1 => " with 1 VM".to_owned(),
        n => format!(" with {n} VMs"),
    };
    format!(
        "{} of {node}{}{vms} in {}",
        of.metric, of.platform, of.experiment
    )
}

/// One sentence on a verdict: the assertion that decided, and how many there are.
pub(super) fn of(
    verdict: Verdict,
    tests: &[Test],
    causes: &[Cause],
    note: Option<&str>,
    held_back: bool,
) -> String {
    let among = |wanted: fn(&TestOutcome) -> bool| {
        let tests = tests.iter().filter(move |test| wanted(&test.outcome));
        tests.filter_map(|test| Some((test, test.compared.as_ref()?)))
    };
    let untested = |outcome: &TestOutcome| matches!(outcome, TestOutcome::Untested { .. });
    let tested = tests.iter().filter(|t| !untested(&t.outcome)).count();
    let parts = format!("{tested} of {} points tested", tests.len());
    let p = |compared: &Compared| compared.p.unwrap_or(1.0);
    let by_p = |a: &(&Test, &Compared), b: &(&Test, &Compared)| p(a.1).total_cmp(&p(b.1));
    let fails = |outcome: &TestOutcome| *outcome == TestOutcome::Fails;
    let open = |outcome: &TestOutcome| matches!(outcome, TestOutcome::Open { .. });
    match verdict {
        Verdict::OutOfRegime => {
            let kinds = super::CauseKind::ALL.iter();
            let kinds: Vec<String> = kinds.filter_map(|kind| of_kind(causes, *kind)).collect();
            kinds.join("; ")
        }
        Verdict::NotTested => {
            let mut reasons = tests.iter().filter_map(|test| match &test.outcome {
                TestOutcome::Untested { reason } => Some(reason.as_str()),
                _ => None,
            });
            let reason = reasons.next().or(note);
            reason.unwrap_or("the study has no test for it").to_owned()
        }
        Verdict::Reproduced => {
            let narrowest = among(|outcome| *outcome == TestOutcome::Holds).max_by(by_p);
            format!("{parts}, all inside; the narrowest: {}", said(narrowest))
        }
        Verdict::NotReproduced => format!(
            "{}; {parts}, contradicting it: {}",
            said(among(fails).min_by(by_p)),
            among(fails).count()
        ),
        Verdict::Inconclusive if held_back => {
            format!("{parts}; a positive control could not be told, and so nothing can")
        }
        Verdict::Inconclusive if among(open).next().is_none() => {
            let missing = tests.iter().find_map(|test| match &test.outcome {
                TestOutcome::Untested { reason } => Some(reason.as_str()),
                _ => None,
            });
            format!(
                "{parts}, all inside; missing: {}",
                missing.unwrap_or("none")
            )
        }
        Verdict::Inconclusive => {
            // What can't be decided at all says more than what is not decided yet.
            let why = tests
                .iter()
                .find_map(|test| match (&test.outcome, &test.compared) {
                    (TestOutcome::Open { reason }, Some(Compared { p: None, .. })) => {
                        Some(reason.as_str())
                    }
                    _ => None,
                });
            let why = why.map_or_else(
                || {
                    let open = among(open).map(|(_, compared)| compared);
                    format!("too wide an interval to tell{}", remedy(open))
                },
                str::to_owned,
            );
            let count = among(open).count();
            format!(
                "{}; {parts}, open: {count}; {why}",
                said(among(open).max_by(by_p))
            )
        }
    }
}

/// The first cause of a kind, and how many more there are: the others stand in the report.
fn of_kind(causes: &[Cause], kind: super::CauseKind) -> Option<String> {
    let mut alike = causes.iter().filter(|cause| cause.kind == kind);
    let first = alike.next()?;
    Some(match alike.count() {
        0 => first.what.clone(),
        more => format!("{} (and {more} more like it)", first.what),
    })
}

/// How many units would tell. One that is outside is enough to contradict the claim; for it to be
/// reproduced, all must be inside.
fn remedy<'c>(open: impl Iterator<Item = &'c Compared>) -> String {
    let (inside, outside): (Vec<_>, Vec<_>) =
        open.partition(|compared| compared.inside.unwrap_or(false));
    let enough = match outside.is_empty() {
        false => outside.iter().filter_map(|compared| compared.enough).min(),
        true => (inside.iter().map(|compared| compared.enough))
            .collect::<Option<Vec<u32>>>()
            .and_then(|all| all.into_iter().max()),
    };
    let all = inside.iter().chain(&outside);
    let of_units = |basis| matches!(basis, Basis::Boots | Basis::Repetitions);
    match (
        enough,
        all.map(|compared| compared.basis)
            .find(|basis| of_units(*basis)),
    ) {
        (Some(n), Some(basis)) => {
            format!(
                "; about {n} {} would tell, if they vary as these do",
                basis.as_str()
            )
        }
        (None, Some(basis)) => format!(
            "; more than {MOST_UNITS} {} would not tell: it is too close to the border",
            basis.as_str()
        ),
        (_, None) => String::new(),
    }
}

/// `efficiency of … is 0.41 [0.40, 0.43], claimed: about 0.94 ± 5 %`.
fn said(found: Option<(&Test, &Compared)>) -> String {
    let Some((test, compared)) = found else {
        return String::new();
    };
    let left = test.left.of.as_ref().map_or_else(String::new, describe);
    let value = compared.value.map_or("undefined".to_owned(), digits);
    let interval = compared.adjusted.or(compared.interval);
    let interval = interval.map_or_else(String::new, |i| {
        format!(" [{}, {}]", digits(i.low), digits(i.high))
    });
    let of = match &test.right.of {
        Some(right) => format!(" times {}", describe(right)),
        None => String::new(),
    };
    let basis = match compared.basis {
        Basis::Boots => String::new(),
        other => format!(" ({})", other.describe()),
    };
    let claimed = claimed(test.relation, compared.claimed, test.margin);
    format!("{left} is {value}{interval}{of}{basis}, claimed: {claimed}")
}

pub(super) fn claimed(relation: Relation, claimed: f64, margin: f64) -> String {
    let (claimed, percent) = (digits(claimed), digits(margin * 100.0));
    let (words, sign) = match relation {
        Relation::About => ("about", "±"),
        Relation::AtLeast => ("at least", "−"),
        Relation::AtMost => ("at most", "+"),
        Relation::GreaterThan => ("more than", "+"),
        Relation::LessThan => ("less than", "−"),
    };
    match margin > 0.0 {
        true => format!("{words} {claimed} {sign} {percent} %"),
        false => format!("{words} {claimed}"),
    }
}

/// Four significant digits, more before the point.
pub(crate) fn digits(value: f64) -> String {
    if value.is_infinite() {
        return "∞".to_owned();
    }
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}");
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let told = [0.0, 1.0, 0.4123456, 12.5, 109_685.0, -0.05, 0.000_123_45].map(digits);
        assert_eq!(
            told,
            ["0", "1", "0.4123", "12.5", "109685", "-0.05", "0.0001234"]
        );
    }

    #[test]
    fn claims_are_put_in_words() {
        assert_eq!(claimed(Relation::About, 0.94, 0.05), "about 0.94 ± 5 %");
        assert_eq!(claimed(Relation::GreaterThan, 1.0, 0.0), "more than 1");
        assert_eq!(
            claimed(Relation::AtLeast, 100.0, 0.05),
            "at least 100 − 5 %"
        );
    }
}
