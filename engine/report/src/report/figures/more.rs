//! What an experiment shows beside the figures of its publication.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::sample::Unit;

use super::{Drawn, Figure};
use crate::metrics::MetricValue;
use crate::report::chart::{Bar, Chart, Group, Reference};
use crate::report::format;
use crate::report::index::{Index, slug};

/// What a figure is about: (metric, what it is stacked of, title).
type Kind = (&'static str, Option<&'static str>, &'static str);

const KINDS: [Kind; 7] = [
    (
        "throughput_aggregate",
        Some("throughput"),
        "Aggregate throughput",
    ),
    ("efficiency", None, "Efficiency"),
    ("jain_throughput", None, "Fairness between VMs (Jain)"),
    ("cpu_total", Some("cpu_guest"), "CPU"),
    ("cpu_per_mbps", None, "CPU cost"),
    ("latency", None, "Round-trip time"),
    ("loss", None, "Loss"),
];

/// The figures of every experiment that was measured, except those that the study's own figures
/// show already.
pub(in crate::report) fn more(index: &Index<'_>) -> BTreeMap<Name, Vec<Figure>> {
    let mut figures = BTreeMap::new();
    for name in index.frames.run.study.experiments.keys() {
        let kinds = KINDS
            .into_iter()
            .filter(|(metric, ..)| worth(index, name, metric));
        let mut drawn: Vec<Figure> = kinds.filter_map(|kind| draw(index, name, kind)).collect();
        drawn.extend(super::spread::spread(index, name));
        if !drawn.is_empty() {
            figures.insert(name.clone(), drawn);
        }
    }
    figures
}

fn worth(index: &Index<'_>, experiment: &Name, metric: &str) -> bool {
    let has = |metric: &str, least: u32| {
        of_experiment(index, experiment).any(|v| v.metric == metric && v.point.vms >= least)
    };
    let shown = index.frames.run.study.figures.iter().any(|figure| {
        figure.metric == *metric && figure.series.iter().any(|s| s.experiment == *experiment)
    });
    let least = if metric == "jain_throughput" { 2 } else { 1 };
    // Idle latency is not about processors, and only datagrams are lost for good.
    let about = match metric {
        "cpu_total" => has("throughput_aggregate", 0),
        "loss" => has("packets_per_second", 0),
        _ => true,
    };
    !shown && about && has(metric, least)
}

fn of_experiment<'a>(
    index: &Index<'a>,
    experiment: &Name,
) -> impl Iterator<Item = &'a MetricValue> {
    let metrics = index.metrics.iter();
    metrics.filter(move |value| value.point.experiment == *experiment)
}

fn draw(index: &Index<'_>, experiment: &Name, (metric, parts, title): Kind) -> Option<Figure> {
    let run = &index.frames.run;
    let declared = run.study.experiments.get(experiment)?;
    let id = format!("more-{}-{}", slug(experiment.as_str()), slug(metric));
    let drawn = Drawn {
        index,
        figure: &id,
        metric,
        parts,
    };
    // The order of the study, which is that of the legend and of the colours.
    let series: Vec<&Name> = declared
        .platforms
        .iter()
        .filter(|platform| !run.is_classical(platform))
        .filter(|platform| run.plan.trials().any(|t| t.platform == **platform))
        .collect();
    let titles: Vec<String> = series.iter().map(|p| index.platform(p)).collect();
    let mut data = Vec::new();
    let groups = counts(index, experiment, metric)
        .into_iter()
        .map(|vms| Group {
            vms,
            bars: series
                .iter()
                .zip(&titles)
                .enumerate()
                .map(|(slot, (platform, title))| {
                    let at = (experiment, *platform, vms);
                    let (bar, rows) = drawn.bar((slot, title), at);
                    data.extend(rows);
                    // What is printed in another scale has no axis here.
                    let printed = bar.printed.filter(|_| drawn.unit() == Unit::One);
                    Bar { printed, ..bar }
                })
                .collect(),
        })
        .collect();
    let title = match drawn.unit() {
        Unit::One => title.to_owned(),
        unit => format!("{title}, {unit}"),
    };
    let chart = Chart {
        description: format!("{}: {title} by number of virtual machines", declared.title),
        id: id.clone(),
        title: index.titled(title.clone()),
        series: titles,
        groups,
        reference: reference(index, experiment, metric),
        printed_reference: None,
        paper_scale: None,
        most: (metric == "jain_throughput").then_some(1.0),
        whose: index.whose(),
    };
    Some(Figure::new(&chart, None, title, data))
}

/// VM counts with the metric. One VM is always fair to itself.
fn counts(index: &Index<'_>, experiment: &Name, metric: &str) -> Vec<u32> {
    let least = if metric == "jain_throughput" { 2 } else { 1 };
    let mut counts: Vec<u32> = of_experiment(index, experiment)
        .map(|value| value.point.vms)
        .filter(|vms| *vms >= least)
        .collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// Classical Linux.
fn reference(index: &Index<'_>, experiment: &Name, metric: &str) -> Option<Reference> {
    let line = |label: String, value| Reference {
        label,
        value,
        link: None,
    };
    match metric {
        "efficiency" => Some(line("classical Linux".to_owned(), 1.0)),
        "jain_throughput" => None,
        _ => {
            let found = of_experiment(index, experiment)
                .find(|v| v.metric == metric && v.point.vms == 0 && v.node.is_none())?;
            let point = (experiment, &found.point.platform, 0);
            Some(Reference {
                link: index.link(point),
                ..line(
                    format!(
                        "classical Linux {}",
                        format::number(found.value, found.unit)
                    ),
                    found.value,
                )
            })
        }
    }
}
