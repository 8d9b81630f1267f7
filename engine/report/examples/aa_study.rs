//! An A/A study on recorded series: halves of what is the same are compared, and how often a
//! difference is found.
//!
//! ```text
//! vexp report RUN                                            # writes RUN/frames/samples.parquet
//! cargo run -p vexp-report --example aa_study -- RUN [COMPARISONS]
//! ```
//!
//! Inside trials: a series of a second each is cut at a random place, joined end to start, and its
//! halves are compared as metrics of single repetitions are. Over repetitions: those of a point (six
//! or more) are dealt into two halves at random, and compared as pairs. It ends with 1 if there are
//! more alarms than three standard deviations above 5 %.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use polars::prelude::{ParquetReader, SerReader as _};
use vexp_report::stats::aa::{Count, series};
use vexp_report::stats::steady::{ALPHA, LEAST, p_value, statistic};
use vexp_report::stats::{Bootstrap, Contrast, LEVEL, mean};

/// Series by (point, repetition and node, metric).
type Recorded = BTreeMap<(String, String, String), Vec<f64>>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let run = args.next().ok_or("usage: aa_study RUN [COMPARISONS]")?;
    let wanted: u32 = args.next().map_or(Ok(200), |n| n.parse())?;
    let recorded = read(&Path::new(&run).join("frames/samples.parquet"))?;
    let mut random = Bootstrap::new(1, "aa");
    let (level, moving): (Vec<_>, Vec<_>) = recorded
        .values()
        .filter(|values| values.len() >= 2 * LEAST)
        .partition(|values| p_value(statistic(values)) > ALPHA);
    println!(
        "{} series of at least {} samples, {} of them without a steady state",
        level.len() + moving.len(),
        2 * LEAST,
        moving.len()
    );
    let inside = halves_of_series(&level, wanted, &mut random);
    let without = halves_of_series(&moving, wanted, &mut random);
    let over = halves_of_repetitions(&recorded, wanted, &mut random);
    let fine = tell("inside trials, steady", inside) & tell("over repetitions", over);
    tell("inside trials, no steady state (for the record)", without);
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(what: &str, count: Count) -> bool {
    if count.comparisons == 0 {
        println!("{what}: nothing recorded that could be compared");
        return true;
    }
    let tolerated = count.tolerated(1.0 - LEVEL);
    println!(
        "{what}: {} alarms in {} comparisons, {:.1} %; tolerated {:.1} %",
        count.alarms,
        count.comparisons,
        100.0 * count.rate(),
        100.0 * tolerated
    );
    count.rate() <= tolerated
}

fn halves_of_series(all: &[&Vec<f64>], wanted: u32, random: &mut Bootstrap) -> Count {
    let mut count = Count::default();
    while count.comparisons < wanted && !all.is_empty() {
        let before = count.comparisons;
        for values in all {
            let mut turned = (*values).clone();
            turned.rotate_left(random.below(values.len()));
            let (left, right) = turned.split_at(turned.len() / 2);
            if let Some(contrast) = series(left, right, random) {
                count.add(&contrast, 1.0 - LEVEL);
            }
        }
        if count.comparisons == before {
            break;
        }
    }
    count
}

fn halves_of_repetitions(recorded: &Recorded, wanted: u32, random: &mut Bootstrap) -> Count {
    let mut points: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for ((point, node, metric), values) in recorded {
        // The first machine's: those of a repetition are not independent.
        if let Some(mean) = mean(values).filter(|_| node.ends_with("vm1") || node.ends_with("host"))
        {
            points.entry((point, metric)).or_default().push(mean);
        }
    }
    points.retain(|_, means| means.len() >= 6);
    let mut count = Count::default();
    while count.comparisons < wanted && !points.is_empty() {
        for means in points.values_mut() {
            for i in (1..means.len()).rev() {
                means.swap(i, random.below(i + 1));
            }
            let half = means.len() / 2;
            let (left, right) = (&means[..half], &means[half..2 * half]);
            if let Some(contrast) = Contrast::of_units(left, Some(right)) {
                count.add(&contrast, 1.0 - LEVEL);
            }
        }
    }
    count
}

fn read(path: &Path) -> Result<Recorded, Box<dyn Error>> {
    let table = ParquetReader::new(std::fs::File::open(path)?).finish()?;
    let text = |name: &str| table.column(name)?.str().cloned();
    let (trials, nodes, metrics) = (text("trial")?, text("node")?, text("metric")?);
    let values = table.column("value")?.f64()?.clone();
    let mut recorded = Recorded::new();
    for i in 0..table.height() {
        let row = trials
            .get(i)
            .zip(nodes.get(i))
            .zip(metrics.get(i).zip(values.get(i)));
        let Some(((trial, node), (metric, value))) = row else {
            continue;
        };
        if ["throughput", "rtt", "cpu"].contains(&metric) {
            let (point, repetition) = trial.rsplit_once(".r").unwrap_or((trial, ""));
            let key = (
                point.to_owned(),
                format!("{repetition} {node}"),
                metric.to_owned(),
            );
            recorded.entry(key).or_default().push(value);
        }
    }
    Ok(recorded)
}
