//! A comparison as JUnit XML: a test suite an experiment, a test case a metric of a point.
//!
//! Only what is worse is a failure. What is inconclusive or missing is skipped: a CI system that
//! counts failures then says what the exit code says. Where nothing could be judged, one test case
//! is an error with the reason. Runs that were left out are skipped test cases of the suite `runs`. Numbers are plain decimals, since the schema
//! has no exponents.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::words::significant;
use super::{Comparison, Missing, Row, Verdict};
use crate::metrics::Point;
use crate::summary::LeftOut;
use crate::svg::Svg;

/// One test case.
enum Case<'a> {
    Row(&'a Row),
    Missing(&'a Missing),
    LeftOut(&'a LeftOut),
    /// Nothing was judged, for this reason.
    Refused(&'a str),
}

/// The suite of what is about whole runs. Experiments' names have no blanks.
const RUNS: &str = "the runs";

/// The document.
pub fn junit(comparison: &Comparison) -> String {
    let mut suites: BTreeMap<&str, Vec<Case<'_>>> = BTreeMap::new();
    for row in &comparison.rows {
        let suite = suites.entry(row.point.experiment.as_str()).or_default();
        suite.push(Case::Row(row));
    }
    for missing in comparison.missing.iter().filter(|one| one.in_base) {
        let suite = suites.entry(missing.point.experiment.as_str()).or_default();
        suite.push(Case::Missing(missing));
    }
    let whole = comparison.left_out.iter().map(Case::LeftOut);
    let refused = comparison.refused.iter().map(|why| Case::Refused(why));
    for case in whole.chain(refused) {
        suites.entry(RUNS).or_default().push(case);
    }
    let mut xml = Svg::new();
    let all: Vec<&Case<'_>> = suites.values().flatten().collect();
    counted(&mut xml, "testsuites", "vexp compare", &all);
    for (name, cases) in &suites {
        counted(
            &mut xml,
            "testsuite",
            name,
            &cases.iter().collect::<Vec<_>>(),
        );
        properties(&mut xml, comparison);
        for one in cases {
            case(&mut xml, one);
        }
        xml.close("testsuite");
    }
    xml.close("testsuites");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
        xml.finish()
    )
}

fn counted(xml: &mut Svg, element: &str, name: &str, cases: &[&Case<'_>]) {
    let of =
        |verdict| move |case: &&&Case<'_>| matches!(case, Case::Row(row) if row.verdict == verdict);
    let worse = cases.iter().filter(of(Verdict::Worse)).count();
    let open = cases.iter().filter(of(Verdict::Inconclusive)).count();
    let absent = |case: &&&Case<'_>| matches!(case, Case::Missing(_) | Case::LeftOut(_));
    let skipped = open + cases.iter().filter(absent).count();
    let refused = |case: &&&Case<'_>| matches!(case, Case::Refused(_));
    let errors = cases.iter().filter(refused).count();
    xml.open(
        element,
        &[
            ("name", &name),
            ("tests", &cases.len()),
            ("failures", &worse),
            ("errors", &errors),
            ("skipped", &skipped),
        ],
    );
}

fn properties(xml: &mut Svg, comparison: &Comparison) {
    let list = |runs: &[vexp_api::ids::Name]| {
        let names: Vec<&str> = runs.iter().map(vexp_api::ids::Name::as_str).collect();
        names.join(" ")
    };
    let mut all = vec![
        ("base".to_owned(), list(&comparison.base)),
        ("new".to_owned(), list(&comparison.new)),
        ("margin".to_owned(), comparison.margin.to_string()),
        ("alpha".to_owned(), format!("{:.4}", comparison.alpha)),
    ];
    for one in &comparison.differences {
        let words = format!("{} -> {}", one.base.join(", "), one.new.join(", "));
        all.push((format!("differs: {}", one.property), words));
    }
    xml.open("properties", &[]);
    for (name, value) in &all {
        xml.element("property", &[("name", name), ("value", value)]);
    }
    xml.close("properties");
}

fn case(xml: &mut Svg, case: &Case<'_>) {
    let name = |point: &Point, what: &str| format!("{}.v{} {what}", point.platform, point.vms);
    let (class, name): (&dyn Display, String) = match case {
        Case::Row(row) => (&row.point.experiment, name(&row.point, row.metric)),
        Case::Missing(missing) => {
            let what = match &missing.metrics[..] {
                [] => "all metrics".to_owned(),
                metrics => metrics.join(", "),
            };
            (&missing.point.experiment, name(&missing.point, &what))
        }
        Case::LeftOut(run) => (&RUNS, format!("{} can be used", run.folder)),
        Case::Refused(_) => (&RUNS, "the runs can be compared".to_owned()),
    };
    xml.open("testcase", &[("classname", class), ("name", &name)]);
    match case {
        Case::LeftOut(run) => xml.element("skipped", &[("message", &run.reason)]),
        Case::Refused(reason) => {
            let attributes: [(&str, &dyn Display); 2] =
                [("type", &"not-judged"), ("message", reason)];
            xml.element("error", &attributes);
        }
        Case::Missing(missing) => xml.element("skipped", &[("message", &missing.words())]),
        Case::Row(row) => {
            let words = format!(
                "{}: {} to {} {}, ratio {} over {}: {}",
                row.verdict.as_str(),
                significant(row.base),
                significant(row.new),
                row.unit,
                row.ratio_words(),
                row.level_words(),
                row.reason
            );
            match row.verdict {
                Verdict::Worse => {
                    let attributes: [(&str, &dyn Display); 2] =
                        [("type", &"regression"), ("message", &words)];
                    xml.element("failure", &attributes);
                }
                Verdict::Inconclusive => xml.element("skipped", &[("message", &words)]),
                Verdict::Better | Verdict::Equal => xml.text("system-out", &[], &words),
            }
        }
    }
    xml.close("testcase");
}
