//! Which figures an experiment has.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::sample::Unit;

use super::chart::{Bar, Chart, ChartError, Group, Reference};
use super::format;
use crate::frame::Frames;
use crate::judge::Verdicts;
use crate::metrics::MetricValue;

/// A figure of a report.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// Name in the report's folder: `figures/send-tcp.cpu_total.svg`.
    pub(super) file: String,
    /// What it shows, for those who can't see it.
    pub(super) alt: String,
    /// For inlining: its colours are CSS variables of the page.
    pub(super) svg: String,
}

/// What a figure is about: (metric, parts stacked from the base, dots for each VM, title).
type Kind = (
    &'static str,
    &'static [&'static str],
    Option<&'static str>,
    &'static str,
);

const KINDS: [Kind; 7] = [
    ("throughput_aggregate", &[], None, "Aggregate throughput"),
    (
        "fair_share",
        &[],
        Some("throughput"),
        "Throughput per VM (dots: each)",
    ),
    ("efficiency", &[], None, "Efficiency"),
    ("jain_throughput", &[], None, "Fairness between VMs (Jain)"),
    (
        "cpu_total",
        &["cpu_host"],
        None,
        "CPU: host (solid) + guests (light)",
    ),
    ("cpu_per_mbps", &[], None, "CPU cost"),
    ("latency", &[], None, "Round-trip time"),
];

/// Draws the figures of every experiment that was measured.
pub(super) fn draw(
    frames: &Frames,
    verdicts: &Verdicts,
) -> Result<BTreeMap<Name, Vec<Figure>>, ChartError> {
    let mut figures = BTreeMap::new();
    for (name, experiment) in &frames.run.study.experiments {
        let metrics: Vec<&MetricValue> = verdicts
            .metrics
            .iter()
            .filter(|value| value.point.experiment == *name)
            .collect();
        let is_classical = |platform: &Name| frames.run.is_classical(platform);
        // The order of the study, which is that of the legend and of the colours.
        let series: Vec<&Name> = experiment
            .platforms
            .iter()
            .filter(|platform| !is_classical(platform))
            .filter(|platform| frames.run.plan.trials().any(|t| t.platform == **platform))
            .collect();
        let mut drawn = Vec::new();
        for (metric, parts, dots, title) in KINDS {
            let of_guests = metrics
                .iter()
                .any(|v| v.metric == metric && v.point.vms > 0);
            let several = metrics.iter().any(|v| v.point.vms > 1);
            // A single VM is always fair to itself.
            if !of_guests || (metric == "jain_throughput" && !several) {
                continue;
            }
            // Idle latency is not about processors.
            if metric == "cpu_total" && !metrics.iter().any(|v| v.metric == "throughput_aggregate")
            {
                continue;
            }
            let titles: Vec<String> = series.iter().map(|p| title_of(frames, p)).collect();
            let chart = chart(
                &metrics,
                (metric, parts, dots, title),
                &series,
                titles,
                frames,
                name,
            );
            drawn.push(Figure {
                file: format!("figures/{name}.{metric}.svg"),
                alt: format!(
                    "{}: {title} by platform and number of VMs",
                    experiment.title
                ),
                svg: chart.svg()?,
            });
        }
        if !drawn.is_empty() {
            figures.insert(name.clone(), drawn);
        }
    }
    Ok(figures)
}

/// A platform as in tables.
pub(super) fn title_of(frames: &Frames, platform: &Name) -> String {
    let platforms = &frames.run.study.platforms;
    platforms
        .get(platform)
        .map_or_else(|| platform.to_string(), |p| p.title.clone())
}

fn chart(
    metrics: &[&MetricValue],
    (metric, parts, dots, title): Kind,
    series: &[&Name],
    titles: Vec<String>,
    frames: &Frames,
    experiment: &Name,
) -> Chart {
    let find = |metric: &str, platform: &Name, vms: u32| {
        metrics.iter().find(|v| {
            v.metric == metric
                && v.node.is_none()
                && v.point.vms == vms
                && v.point.platform == *platform
        })
    };
    let planned = |platform: &Name, vms: u32| {
        let mut trials = frames.run.plan.trials();
        trials.any(|t| t.experiment == *experiment && t.platform == *platform && t.vms == vms)
    };
    let mut counts: Vec<u32> = metrics
        .iter()
        .map(|v| v.point.vms)
        .filter(|n| *n > 0)
        .collect();
    counts.retain(|n| metric != "jain_throughput" || *n > 1);
    counts.sort_unstable();
    counts.dedup();
    let groups = counts
        .iter()
        .map(|vms| Group {
            label: format::vms(*vms),
            bars: series
                .iter()
                .enumerate()
                .filter(|(_, platform)| planned(platform, *vms))
                .map(|(slot, platform)| {
                    let found = find(metric, platform, *vms);
                    let solid = parts.first().and_then(|part| find(part, platform, *vms));
                    let dots = metrics.iter().filter(|v| {
                        Some(v.metric) == dots
                            && v.node.is_some()
                            && v.point.vms == *vms
                            && v.point.platform == **platform
                    });
                    Bar {
                        series: slot,
                        value: found.map(|v| v.value),
                        solid: solid.map(|v| v.value),
                        interval: found.and_then(|v| v.interval),
                        dots: dots.map(|v| v.value).filter(|_| *vms > 1).collect(),
                    }
                })
                .collect(),
        })
        .collect();
    // A share of one machine's link is no reference for a share of a VM.
    let reference = metrics
        .iter()
        .filter(|_| !matches!(metric, "fair_share" | "jain_throughput"))
        .find(|v| v.metric == metric && v.point.vms == 0 && v.node.is_none())
        .map(|v| Reference {
            label: format!("classical Linux {}", format::number(v.value, v.unit)),
            value: v.value,
        });
    let reference = match metric {
        "efficiency" => Some(Reference {
            label: "classical Linux".to_owned(),
            value: 1.0,
        }),
        _ => reference,
    };
    let unit = metrics
        .iter()
        .find(|v| v.metric == metric)
        .map_or(Unit::One, |v| v.unit);
    Chart {
        title: match unit {
            Unit::One => title.to_owned(),
            unit => format!("{title}, {unit}"),
        },
        series: titles,
        groups,
        reference,
        most: (metric == "jain_throughput").then_some(1.0),
    }
}
