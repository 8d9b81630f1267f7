//! How often known slowdowns are found in recorded series, and how often one is found where there is
//! none: the tables of `docs/statistics.md`.
//!
//! ```text
//! cargo run -p vexp-report --example power_study [COMPARISONS]
//! ```
//!
//! Two recorded series stand in `tests/data/series`: 153 nightly results of a benchmark, and the
//! round-trip times of a trial, whose runs are means of 8 in a row. Runs are drawn from them at
//! random, with replacement, and those of a slowdown are divided by it. So the runs' values are real, and
//! what differs between them is known. It ends with 1 if there are more alarms than three standard
//! deviations above the stated level.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use vexp_api::ids::Name;
use vexp_api::metric::METRICS;
use vexp_report::compare::{ALPHA, Options, Verdict, compare};
use vexp_report::metrics::{Estimate, Measured, Point};
use vexp_report::stats::Bootstrap;
use vexp_report::stats::aa::Count;
use vexp_report::stats::changes::{Method, Settings, change_points};
use vexp_report::summary::{MetricSummary, PointSummary, Summary};

const SLOWDOWNS: [f64; 5] = [0.0, 0.01, 0.02, 0.05, 0.10];

/// A recorded series, and how many of its values in a row are a run.
struct Recorded {
    name: &'static str,
    values: Vec<f64>,
    row: usize,
}

impl Recorded {
    fn of(name: &'static str, text: &str, from: usize, row: usize) -> Result<Self, Box<dyn Error>> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values: Result<Vec<f64>, _> = lines
            .flat_map(str::split_whitespace)
            .map(str::parse)
            .collect();
        let values = values?.split_off(from);
        Ok(Self { name, values, row })
    }

    /// A run's value.
    fn draw(&self, random: &mut Bootstrap) -> f64 {
        let first = random.below(self.values.len());
        let row = (0..self.row).map(|i| self.values[(first + i) % self.values.len()]);
        row.sum::<f64>() / self.row as f64
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wanted: u32 = std::env::args().nth(1).map_or(Ok(400), |n| n.parse())?;
    let nightly = include_str!("../tests/data/series/tigerbeetle.txt");
    let rtt = include_str!("../tests/data/series/rtt.txt");
    let recorded = [
        Recorded::of("nightly", nightly, 212, 1)?,
        Recorded::of("round trips", rtt, 0, 8)?,
    ];
    let mut fine = true;
    header(
        "compare: recorded series, runs of base and new, metrics, margin",
        ALPHA,
        wanted,
    );
    for series in &recorded {
        for (base, new, metrics, margin) in [
            (5, 5, 1, 0.0),
            (5, 5, 1, 0.02),
            (5, 5, 1, 0.05),
            (10, 1, 1, 0.02),
            (10, 3, 1, 0.02),
            (10, 10, 1, 0.02),
            (5, 5, 20, 0.02),
            (10, 10, 20, 0.02),
        ] {
            let percent = 100.0 * margin;
            let name = format!("{}, {base} and {new}, {metrics}, {percent} %", series.name);
            let count = |slowdown| compared(series, (base, new, metrics), margin, slowdown, wanted);
            fine &= line(&name, ALPHA, count);
        }
    }
    let alpha = 0.01;
    header(
        "trend: recorded series, runs before and after",
        alpha,
        wanted,
    );
    for series in &recorded {
        for (before, after) in [(10, 3), (20, 5), (20, 10), (40, 10), (40, 40)] {
            let name = format!("{}, {before} and {after}", series.name);
            let count = |slowdown| changed(series, (before, after), alpha, slowdown, wanted);
            fine &= line(&name, alpha, count);
        }
    }
    Ok(match fine {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn header(what: &str, alpha: f64, wanted: u32) {
    println!("\n{wanted} times each, level {:.0} %\n", 100.0 * alpha);
    println!("| {what} | none | 1 % | 2 % | 5 % | 10 % |");
    println!("|---|---|---|---|---|---|");
}

/// Prints a line, and says whether alarms without a slowdown are no more than stated.
fn line(name: &str, alpha: f64, count: impl Fn(f64) -> Count) -> bool {
    let counts = SLOWDOWNS.map(count);
    let shares = counts.map(|count| format!("{:.1} %", 100.0 * count.rate()));
    println!("| {name} | {} |", shares.join(" | "));
    counts[0].rate() <= counts[0].tolerated(alpha)
}

/// How often the first of the metrics is said to be worse; without a slowdown, how often any is said
/// to have changed.
fn compared(
    series: &Recorded,
    (base, new, metrics): (usize, usize, usize),
    margin: f64,
    slowdown: f64,
    wanted: u32,
) -> Count {
    let mut random = Bootstrap::new(1, "power of compare");
    let mut count = Count::default();
    // The first one, throughput, is better when there is more: a slowdown is a smaller value.
    let names: Vec<&'static str> = METRICS.iter().map(|m| m.name).take(metrics).collect();
    for _ in 0..wanted {
        let mut side = |side: &str, runs: usize, slower: f64| -> Vec<Summary> {
            let mut values = || -> BTreeMap<&'static str, f64> {
                let of = |(k, name): (usize, &&'static str)| {
                    let factor = if k == 0 { 1.0 - slower } else { 1.0 };
                    (*name, factor * series.draw(&mut random))
                };
                names.iter().enumerate().map(of).collect()
            };
            (0..runs)
                .filter_map(|i| run(&format!("{side}{i}"), values()))
                .collect()
        };
        let (base, new) = (side("base", base, 0.0), side("new", new, slowdown));
        let options = Options {
            margin,
            wanted: &|_, _| true,
        };
        let found = compare(&base, &new, &options);
        let changed = |verdict| [Verdict::Worse, Verdict::Better].contains(&verdict);
        let hit = match slowdown > 0.0 {
            true => found
                .rows
                .first()
                .is_some_and(|row| row.verdict == Verdict::Worse),
            false => found.rows.iter().any(|row| changed(row.verdict)),
        };
        count.comparisons += 1;
        count.alarms += u32::from(hit);
    }
    count
}

/// How often a change is found within two runs of where it is; without a slowdown, how often any is.
fn changed(
    series: &Recorded,
    (before, after): (usize, usize),
    alpha: f64,
    slowdown: f64,
    wanted: u32,
) -> Count {
    let settings = Settings {
        method: Method::Corrected,
        window: 50,
        alpha,
        magnitude: 0.0,
        persistence: 3,
    };
    let mut random = Bootstrap::new(1, "power of trend");
    let mut count = Count::default();
    for _ in 0..wanted {
        let value = |i: usize, random: &mut Bootstrap| {
            let slower = if i < before { 0.0 } else { slowdown };
            series.draw(random) * (1.0 - slower)
        };
        let values: Vec<f64> = (0..before + after).map(|i| value(i, &mut random)).collect();
        let points = change_points(&values, &settings);
        let near = |index: usize| index.abs_diff(before) <= 2;
        let hit = match slowdown > 0.0 {
            true => points.iter().any(|point| near(point.index)),
            false => !points.is_empty(),
        };
        count.comparisons += 1;
        count.alarms += u32::from(hit);
    }
    count
}

/// A run of one repetition at one point.
fn run(id: &str, values: BTreeMap<&'static str, f64>) -> Option<Summary> {
    let name = |text: &str| Name::new(text).ok();
    let point = Point {
        experiment: name("recorded")?,
        platform: name("recorded")?,
        vms: 0,
    };
    let metric = |(metric, value): (&'static str, f64)| {
        let estimate = Estimate {
            above: value,
            below: 1.0,
            samples: 1,
            step: 0.0,
        };
        let measured = vec![Measured {
            boot: 1,
            repetition: 1,
            estimate,
        }];
        (
            metric,
            MetricSummary {
                measured,
                inside: None,
            },
        )
    };
    let summary = PointSummary {
        facts: BTreeMap::new(),
        metrics: values.into_iter().map(metric).collect(),
    };
    Some(Summary {
        run: name(id)?,
        dir: id.into(),
        started: id.to_owned(),
        ended: true,
        vexp: String::new(),
        virtual_time: false,
        points: BTreeMap::from([(point, summary)]),
        unusable: Vec::new(),
    })
}
