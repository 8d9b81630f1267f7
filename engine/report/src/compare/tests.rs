use std::collections::BTreeMap;
use std::slice::from_ref;

use proptest::prelude::*;
use vexp_api::ids::Name;

use super::*;
use crate::frame::Unusable;
use crate::metrics::{Estimate, Measured};
use crate::stats::aa::Count;
use crate::stats::simulate::normal;
use crate::stats::{Bootstrap, Contrast};
use crate::summary::{MetricSummary, PointSummary};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn a_point(vms: u32) -> Point {
    Point {
        experiment: name("send-tcp"),
        platform: name("xen-3.1"),
        vms,
    }
}

/// Repetitions, each in a boot of its own.
fn measured(values: &[f64]) -> Vec<Measured> {
    let each = values.iter().zip(1..);
    each.map(|(value, i)| Measured {
        boot: i,
        repetition: i,
        estimate: Estimate {
            above: *value,
            below: 1.0,
            samples: 8,
            step: 0.0,
        },
    })
    .collect()
}

/// A run with one point.
pub(crate) fn run(id: &str, metrics: &[(&'static str, &[f64])]) -> Summary {
    let metrics = metrics.iter().map(|(metric, values)| {
        let inside = Contrast::of_units(&[values[0], values[0] * 1.01, values[0] * 0.99], None);
        let measured = measured(values);
        (*metric, MetricSummary { measured, inside })
    });
    let facts = [("machine nics 1 rate".to_owned(), "130Mb/s".to_owned())];
    let point = PointSummary {
        facts: facts.into(),
        metrics: metrics.collect(),
    };
    Summary {
        run: name(id),
        dir: id.into(),
        started: format!("2026-01-02T03:04:05Z {id}"),
        ended: true,
        vexp: "0.1.0".to_owned(),
        virtual_time: false,
        points: BTreeMap::from([(a_point(2), point)]),
        unusable: Vec::new(),
    }
}

/// Runs with one value each.
fn runs(id: &str, metrics: &[(&'static str, &[f64])]) -> Vec<Summary> {
    let n = metrics.iter().map(|(_, values)| values.len()).max();
    let one = |i: usize| {
        let metrics: Vec<_> = metrics
            .iter()
            .map(|(name, values)| (*name, &values[i..=i]))
            .collect();
        run(&format!("{id}{i}"), &metrics)
    };
    (0..n.unwrap_or(0)).map(one).collect()
}

fn compared(base: &[Summary], new: &[Summary], margin: f64) -> Comparison {
    let wanted = |_: &Point, _: &str| true;
    let options = Options {
        margin,
        wanted: &wanted,
    };
    compare(base, new, &options)
}

const BASE: [f64; 5] = [100.0, 100.4, 99.7, 100.2, 99.9];

fn scaled(by: f64) -> Vec<f64> {
    BASE.iter().map(|value| value * by).collect()
}

/// The verdicts on throughput and on latency that both changed by a factor.
fn verdicts(by: f64) -> Vec<Verdict> {
    let of =
        |id, values: &[f64]| runs(id, &[("throughput_aggregate", values), ("latency", values)]);
    let found = compared(&of("a", &BASE), &of("b", &scaled(by)), 0.05);
    found.rows.iter().map(|row| row.verdict).collect()
}

#[test]
fn the_direction_of_the_metric_decides_what_is_worse() {
    use Verdict::{Better, Equal, Inconclusive, Worse};
    assert_eq!(verdicts(0.9), [Worse, Better]);
    assert_eq!(verdicts(1.1), [Better, Worse]);
    assert_eq!(verdicts(1.03), [Equal, Equal]);
    assert_eq!(verdicts(1.05), [Inconclusive, Inconclusive]);
}

#[test]
fn intervals_stand_on_the_highest_level_that_has_three() {
    let of = |id: &str, values: &[f64]| run(id, &[("throughput_aggregate", values)]);
    let level = |base: &[Summary], new: &[Summary]| {
        let row = compared(base, new, 0.05).rows.remove(0);
        (row.level, row.units, row.verdict)
    };
    let (three, one) = ([100.0, 101.0, 100.5], [100.2]);
    let few = [of("a", &one), of("b", &[100.3])];
    let many: Vec<Summary> = ["a", "b", "c", "d"].map(|id| of(id, &one)).into();
    // What differs between one run and the next is not seen by the boots of two.
    let found = level(&[of("a", &three)], &[of("b", &[90.1, 90.9, 90.4])]);
    assert_eq!(found, (Level::Boots, (3, 3), Verdict::Inconclusive));
    let found = level(&many, &[of("e", &[100.3, 100.4])]);
    assert_eq!(found.0, Level::Runs);
    // One new run is held against what three say about how runs vary.
    let of_runs = |id: &str, values: &[f64]| runs(id, &[("throughput_aggregate", values)]);
    let found = level(&of_runs("a", &three), &[of("b", &[90.0])]);
    assert_eq!(found, (Level::Runs, (3, 1), Verdict::Worse));
    // In virtual time nothing but seeds can differ.
    let seeds = |id: &str, values: &[f64]| Summary {
        virtual_time: true,
        ..of(id, values)
    };
    let found = level(&[seeds("a", &three)], &[seeds("b", &[90.1, 90.9, 90.4])]);
    assert_eq!(found, (Level::Boots, (3, 3), Verdict::Worse));
    let found = level(&[seeds("a", &three)], &[of("b", &[90.1, 90.9, 90.4])]);
    assert_eq!(found.2, Verdict::Inconclusive);
    let found = level(&few, &[of("c", &[50.0])]);
    assert_eq!(found, (Level::Samples, (2, 1), Verdict::Inconclusive));
    let row = compared(&few[..1], &[of("c", &[50.0])], 0.05)
        .rows
        .remove(0);
    assert_eq!(row.verdict, Verdict::Inconclusive);
    assert!(row.interval.is_some() && row.p.is_none(), "{row:?}");

    let mut same_boot = of("a", &three);
    let point = same_boot.points.get_mut(&a_point(2)).unwrap();
    for one in &mut point
        .metrics
        .get_mut("throughput_aggregate")
        .unwrap()
        .measured
    {
        one.boot = 1;
    }
    let found = level(&[same_boot], &[of("b", &one)]);
    assert_eq!((found.0, found.1), (Level::Repetitions, (3, 1)));
}

#[test]
fn nothing_lost_is_equal_and_something_lost_once_is_no_regression() {
    let of = |values: &[f64]| {
        let row = compared(
            &runs("a", &[("loss", &[0.0, 0.0, 0.0])]),
            &runs("b", &[("loss", values)]),
            0.05,
        );
        let row = row.rows.into_iter().next().unwrap();
        (row.verdict, row.ratio)
    };
    assert_eq!(of(&[0.0]), (Verdict::Equal, None));
    assert_eq!(of(&[0.1]), (Verdict::Inconclusive, None));
    assert_eq!(of(&[5.0, 5.1, 4.9]), (Verdict::Worse, None));
    assert_eq!(of(&[0.0, 0.1, 0.0]), (Verdict::Inconclusive, None));
}

#[test]
fn what_is_not_the_same_is_named() {
    let base = run("a", &[("loss", &[0.0])]);
    let mut new = run("b", &[("loss", &[0.0])]);
    assert_eq!(
        compared(from_ref(&base), from_ref(&new), 0.05).differences,
        []
    );
    let facts = &mut new.points.get_mut(&a_point(2)).unwrap().facts;
    facts.insert("machine nics 1 rate".to_owned(), "200Mb/s".to_owned());
    facts.insert("site emulator".to_owned(), "QEMU 10".to_owned());
    let found = compared(&[base], &[new], 0.05).differences;
    let told: Vec<_> = found
        .iter()
        .map(|d| (d.property.as_str(), d.base[0].as_str(), d.new[0].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("machine nics 1 rate", "130Mb/s", "200Mb/s"),
            ("site emulator", "-", "QEMU 10")
        ]
    );
}

#[test]
fn what_was_lost_is_incomplete_and_what_is_more_is_not() {
    let base = run("a", &[("loss", &[0.0]), ("latency", &[1.0])]);
    let mut new = run("b", &[("loss", &[0.0])]);
    let found = compared(from_ref(&base), from_ref(&new), 0.05);
    assert_eq!(
        found.missing[0].words(),
        "send-tcp.xen-3.1.v2 latency: not in new"
    );
    assert!(found.is_incomplete());
    let found = compared(from_ref(&new), from_ref(&base), 0.05);
    assert!(!found.missing[0].in_base && !found.is_incomplete());
    new.points.clear();
    new.unusable.push(Unusable {
        trial: name("send-tcp.xen-3.1.v2.r1"),
        experiment: name("send-tcp"),
        platform: name("xen-3.1"),
        vms: 2,
        repetition: 1,
        kind: "failed",
        reason: "it <hung> | there".to_owned(),
    });
    let found = compared(&[base], &[new], 0.05);
    assert!(found.rows.is_empty() && found.is_incomplete());
    let words = found.missing[0].words();
    assert!(words.ends_with("not in new (send-tcp.xen-3.1.v2.r1 failed: it <hung> | there)"));
    assert!(markdown(&found).contains("it &lt;hung&gt; \\| there"));
    let xml = junit(&found);
    let xml = roxmltree::Document::parse(&xml).unwrap();
    let skipped = xml.descendants().find(|node| node.has_tag_name("skipped"));
    assert!(
        skipped
            .unwrap()
            .attribute("message")
            .unwrap()
            .contains("<hung> |")
    );
}

#[test]
fn junit_counts_what_is_worse_as_failures_and_has_no_exponents() {
    let values = |by: f64| [1e-9, 1.01e-9, 0.99e-9].map(|value| value * by);
    let of = |id, by| {
        runs(
            id,
            &[
                ("latency", &values(by)),
                ("jitter", &values(1.0)),
                ("loss", &[0.0; 3]),
            ],
        )
    };
    let found = compared(&of("a", 1.0), &of("b", 1e9), 0.05);
    let xml = junit(&found);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    let count = |name| root.attribute(name).unwrap().parse::<usize>().unwrap();
    let of = |name| {
        document
            .descendants()
            .filter(|n| n.has_tag_name(name))
            .count()
    };
    assert_eq!((count("tests"), of("testcase")), (3, 3));
    assert_eq!((count("failures"), of("failure")), (1, 1));
    assert_eq!((count("skipped"), of("skipped")), (0, 0));
    let exponent = |text: &str| {
        let mut parts = text.split(['e', 'E']);
        let digit = |part: &str, at: Option<char>| {
            at.is_some_and(|c| c.is_ascii_digit()) && !part.is_empty()
        };
        let first = parts.next().unwrap_or_default();
        digit(first, first.chars().last())
            && parts.next().is_some_and(|p| {
                let rest = p.trim_start_matches(['-', '+']);
                digit(rest, rest.chars().next())
            })
    };
    let words = xml.split([' ', '"', '[', ']', ',', '<', '>']);
    assert!(
        words.clone().count() > 50 && !words.clone().any(exponent),
        "{xml}"
    );
}

proptest! {
    #![proptest_config(vexp_testkit::cases(256))]

    /// Names come from study files and from machines, and mean nothing in any format.
    #[test]
    fn hostile_texts_stay_texts(text in any::<String>(), other in "[\\x00-\\x7f<>&\"'|`\\]\u{fffe}\u{ffff}]{0,40}") {
        let base = run("a", &[("loss", &[0.0])]);
        let mut new = run("b", &[("loss", &[0.0])]);
        let facts = &mut new.points.get_mut(&a_point(2)).unwrap().facts;
        facts.insert(other, text);
        let found = compared(&[base], &[new], 0.05);
        let xml = junit(&found);
        prop_assert!(roxmltree::Document::parse(&xml).is_ok(), "{}", xml);
        for line in markdown(&found).lines().filter(|line| line.starts_with("| ")) {
            // Bars that are not escaped separate cells.
            let bars = line.replace("\\\\", "").replace("\\|", "").matches('|').count();
            prop_assert!([5, 8].contains(&bars), "{}", line);
        }
    }
}

#[test]
fn what_was_not_judged_is_a_valid_document_with_an_error() {
    let reason = "the run in <here> | can't be \"used\"\u{7}";
    let mut found = Comparison::refused(reason, 0.05);
    found.left_out.push(crate::summary::LeftOut {
        folder: "ni ght/<a>".to_owned(),
        reason: "it is & was empty".to_owned(),
    });
    let xml = junit(&found);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    let of = |name| root.attribute(name).unwrap();
    assert_eq!(
        [of("tests"), of("errors"), of("skipped"), of("failures")],
        ["2", "1", "1", "0"]
    );
    let error = document
        .descendants()
        .find(|node| node.has_tag_name("error"));
    assert!(
        error
            .unwrap()
            .attribute("message")
            .unwrap()
            .starts_with("the run in <here> |")
    );
    let text = markdown(&found);
    assert!(
        text.starts_with("### nothing was judged: the run in &lt;here&gt; \\| can't"),
        "{text}"
    );
    assert!(
        text.contains("- left out: ni ght/&lt;a&gt;: it is &amp; was empty"),
        "{text}"
    );
    assert!(!text.contains("equal inside"), "{text}");
}

#[test]
fn a_comment_is_never_longer_than_its_consumer_takes() {
    let metrics = vexp_api::metric::METRICS.iter().map(|metric| metric.name);
    let names: Vec<&'static str> = metrics.collect();
    let side = |id: &str, by: f64| {
        let values = [1.0 * by, 1.01 * by, 0.99 * by];
        let metrics: Vec<(&'static str, &[f64])> =
            names.iter().map(|name| (*name, &values[..])).collect();
        let mut run = run(id, &metrics);
        let one = run.points.values().next().unwrap().clone();
        run.points = (1..200).map(|vms| (a_point(vms), one.clone())).collect();
        run
    };
    let found = compared(&[side("a", 1.0)], &[side("b", 1.0)], 0.05);
    assert!(found.rows.len() > 1000);
    let text = markdown(&found);
    assert!(
        text.len() < markdown::LIMIT && text.len() > markdown::LIMIT - 4_000,
        "{}",
        text.len()
    );
    assert_eq!(
        text.matches("<details>").count(),
        text.matches("</details>").count()
    );
    let shown = text.lines().filter(|line| line.starts_with("| ")).count() - 1;
    let hidden = format!("{} more lines are left out", found.rows.len() - shown);
    assert!(text.contains(&hidden), "{hidden}");
    assert!(text.ends_with(&format!("{}\n", found.legend())));
}

/// Comparisons of 20 metrics that did not change: how many of them find anything else than `equal`
/// or `inconclusive`. Runs differ by 1 % and more where `runs` asks.
fn alarms(base: usize, new: usize, repetitions: usize, comparisons: u32) -> Count {
    let mut random = Bootstrap::new(11, "compare");
    let mut count = Count::default();
    let names: Vec<&'static str> = vexp_api::metric::METRICS
        .iter()
        .map(|m| m.name)
        .take(20)
        .collect();
    for _ in 0..comparisons {
        let mut side = |prefix: &str, runs: usize| -> Vec<Summary> {
            let one = |i: usize, random: &mut Bootstrap| {
                let metrics: Vec<(&'static str, Vec<f64>)> = names
                    .iter()
                    .map(|name| {
                        // Also where there is one run only: nobody could tell that they were alike.
                        let of_run = normal(random);
                        let values = (0..repetitions).map(|_| 100.0 + of_run + normal(random));
                        (*name, values.collect())
                    })
                    .collect();
                let metrics: Vec<_> = metrics.iter().map(|(n, v)| (*n, v.as_slice())).collect();
                run(&format!("{prefix}{i}"), &metrics)
            };
            (0..runs).map(|i| one(i, &mut random)).collect()
        };
        let found = compared(&side("a", base), &side("b", new), 0.0);
        count.comparisons += 1;
        let changed = [Verdict::Better, Verdict::Worse];
        let any = found.rows.iter().any(|row| changed.contains(&row.verdict));
        count.alarms += u32::from(any);
    }
    count
}

/// Of comparisons of what does not differ, margin 0, at most 5 % find any of 20 metrics changed.
#[test]
fn alarms_where_nothing_differs() {
    for (base, new, repetitions) in [(1, 1, 5), (7, 1, 1), (5, 5, 2), (3, 2, 1)] {
        let count = alarms(base, new, repetitions, 400);
        let tolerated = count.tolerated(ALPHA);
        println!(
            "| {base} and {new} runs of {repetitions} | {} | {:.1} % | {:.1} % |",
            count.comparisons,
            100.0 * count.rate(),
            100.0 * tolerated
        );
        assert!(count.rate() <= tolerated, "{base} {new} {repetitions}");
    }
}
