//! Results as templates see them: a table for each experiment, and the printed values beside ours.

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::sample::Unit;
use vexp_api::spec::MeasureUse;

use super::figures::{FigureView, figure};
use crate::metrics::{Basis, MetricValue};
use crate::report::figures::Figure;
use crate::report::format;
use crate::report::index::{Index, Point, point};

#[derive(Debug, Serialize)]
pub(super) struct Experiment {
    name: String,
    title: String,
    role: &'static str,
    /// The tool and its options.
    traffic: String,
    of_paper: String,
    figures: Vec<FigureView>,
    columns: Vec<Column>,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
pub(super) struct Column {
    label: &'static str,
    unit: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Group {
    label: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(super) struct Row {
    platform: String,
    missing: Option<String>,
    link: Option<String>,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
pub(super) struct Cell {
    label: &'static str,
    unit: &'static str,
    value: Option<String>,
    interval: Option<String>,
    detail: Option<String>,
    paper: Option<String>,
    outliers: usize,
    /// Of what was sent: what the source was told to send.
    asked: Option<String>,
    /// Whether it sent less.
    lags: bool,
    /// Samples that the value stands on, where they are too few for its interval to be narrow by right.
    few: Option<usize>,
    /// Of a percentile: what is missing for it, or the loop that it was measured in.
    note: Option<String>,
}

/// Samples below which their number is said.
const FEW: usize = 10;

/// The part of what it is told to send that a source must reach, not to be said to lag.
const KEEPS_UP: f64 = 0.95;

/// A tool and its options, so that experiments of a sweep can be told apart.
fn traffic(used: &MeasureUse) -> String {
    let plain = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let options: Vec<String> = (used.options.iter())
        .filter(|(_, value)| !value.is_object() && !value.is_array())
        .map(|(name, value)| format!("{name} {}", plain(value)))
        .collect();
    match options.is_empty() {
        true => used.tool.to_string(),
        false => format!("{} ({})", used.tool, options.join(", ")),
    }
}

/// A value that the paper prints, beside ours.
#[derive(Debug, Serialize)]
pub(super) struct Printed {
    metric: String,
    point: String,
    unit: &'static str,
    paper: String,
    place: String,
    note: Option<String>,
    ours: Option<String>,
    interval: Option<String>,
    link: Option<String>,
}

/// Columns of the results, in order: metric, heading, and the metric of single VMs if it is worth
/// showing beside.
const COLUMNS: [(&str, &str, Option<&str>); 15] = [
    // What was sent, beside what arrived: a source that lags shows.
    ("offered_load", "Sent", None),
    ("throughput_aggregate", "Aggregate", None),
    ("fair_share", "Per VM", Some("throughput")),
    ("efficiency", "Efficiency", None),
    ("jain_throughput", "Jain", None),
    (
        "packets_per_second",
        "Packets per VM",
        Some("packets_per_second"),
    ),
    ("latency", "Round trip", Some("latency")),
    // A few slow ones make a mean that no probe had.
    ("latency_p50", "Median", None),
    ("latency_p99", "99 of 100", None),
    ("loss", "Loss", Some("loss")),
    ("cpu_host", "CPU host", None),
    ("cpu_guest", "CPU per VM", Some("cpu_guest")),
    ("cpu_total", "CPU total", None),
    ("cpu_per_mbps", "CPU per Mb/s", None),
    ("jain_cpu", "Jain, CPU", None),
];

/// What an experiment gave.
pub(super) struct Results<'a>(pub(super) &'a Index<'a>);

impl Results<'_> {
    /// Published values of points of this run, and how many are about other points.
    pub(super) fn printed(&self) -> (Vec<Printed>, usize) {
        let run = &self.0.frames.run;
        let all = &run.study.published;
        let rows: Vec<Printed> = all
            .iter()
            .filter(|value| {
                let of = &value.of;
                run.plan.trials().any(|trial| {
                    (&trial.experiment, &trial.platform, trial.vms)
                        == (&of.experiment, &of.platform, of.vms)
                })
            })
            .map(|value| {
                let of = &value.of;
                let ours = self.0.find(of);
                let vms = match of.vms {
                    0 => String::new(),
                    n => format!(", {}", format::vms(n)),
                };
                Printed {
                    metric: of.metric.to_string(),
                    point: format!("{}{vms}, {}", self.0.platform(&of.platform), of.experiment),
                    unit: value.unit.as_str(),
                    paper: format::as_printed(value.value),
                    place: value.place.clone(),
                    note: value.note.clone(),
                    ours: ours.map(|ours| format::number(ours.value, ours.unit)),
                    interval: ours.and_then(|v| Some(format::interval(v.interval?, v.unit))),
                    link: self.0.link(point(of)),
                }
            })
            .collect();
        let elsewhere = all.len() - rows.len();
        (rows, elsewhere)
    }

    pub(super) fn experiments(&self, figures: &BTreeMap<Name, Vec<Figure>>) -> Vec<Experiment> {
        let study = &self.0.frames.run.study;
        let mut planned: Vec<&Name> = study
            .experiments
            .keys()
            .filter(|name| {
                self.0
                    .frames
                    .run
                    .plan
                    .trials()
                    .any(|trial| trial.experiment == **name)
            })
            .collect();
        // Throughput first, sending before receiving before forwarding.
        planned.sort_by_key(|name| {
            let mut metrics = self
                .0
                .metrics
                .iter()
                .filter(|v| v.point.experiment == **name);
            let slow = !metrics.any(|value| value.metric == "throughput_aggregate");
            (
                slow,
                study
                    .experiments
                    .get(*name)
                    .map(|experiment| experiment.role),
            )
        });
        planned
            .into_iter()
            .filter_map(|name| {
                let experiment = study.experiments.get(name)?;
                let columns = self.columns(name);
                let unit = |metric| metric::find(metric).map_or("", |metric| metric.unit.as_str());
                let figures = figures.get(name).map(Vec::as_slice).unwrap_or_default();
                Some(Experiment {
                    name: name.to_string(),
                    title: experiment.title.clone(),
                    role: experiment.role.as_str(),
                    traffic: traffic(&experiment.traffic),
                    of_paper: experiment.figures.join(", "),
                    figures: figures.iter().map(figure).collect(),
                    groups: self.groups(name, &experiment.platforms, &columns),
                    columns: columns
                        .iter()
                        .map(|(metric, label, _)| Column {
                            label,
                            unit: unit(metric),
                        })
                        .collect(),
                })
            })
            .collect()
    }

    fn columns(
        &self,
        experiment: &Name,
    ) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
        let here = |metric: &str| {
            self.0.metrics.iter().any(|value| {
                value.metric == metric
                    && value.point.experiment == *experiment
                    && value.point.vms >= least(metric)
            })
        };
        COLUMNS
            .into_iter()
            .filter(|(metric, ..)| here(metric))
            .collect()
    }

    fn groups(
        &self,
        experiment: &Name,
        platforms: &[Name],
        columns: &[(&'static str, &'static str, Option<&'static str>)],
    ) -> Vec<Group> {
        let trials = || {
            self.0
                .frames
                .run
                .plan
                .trials()
                .filter(|t| t.experiment == *experiment)
        };
        let mut counts: Vec<u32> = trials().map(|trial| trial.vms).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
            .into_iter()
            .map(|vms| Group {
                label: format::vms(vms),
                rows: platforms
                    .iter()
                    .filter(|platform| trials().any(|t| t.platform == **platform && t.vms == vms))
                    .map(|platform| Row {
                        platform: self.0.platform(platform),
                        missing: self.missing((experiment, platform, vms)),
                        link: self.0.link((experiment, platform, vms)),
                        cells: columns
                            .iter()
                            .map(|column| self.cell(*column, (experiment, platform, vms)))
                            .collect(),
                    })
                    .collect(),
            })
            .collect()
    }

    /// Why a point has no value at all.
    fn missing(&self, (experiment, platform, vms): Point<'_>) -> Option<String> {
        let frames = self.0.frames;
        let measured = frames.trials.iter().any(|frame| {
            let trial = &frame.trial;
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        });
        let mut lost = frames.unusable.iter().filter(|trial| {
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        });
        (!measured).then(|| lost.next().map(|trial| trial.kind.to_owned()))?
    }

    /// What all sources of a point were told to send together, Mb/s.
    fn asked(&self, (experiment, platform, vms): Point<'_>) -> Option<f64> {
        let mut trials = self.0.frames.trials.iter();
        let frame = trials.find(|frame| {
            let trial = &frame.trial;
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        })?;
        // With load one flow is measured.
        let flows = if frame.trial.load.is_some() {
            1
        } else {
            vms.max(1)
        };
        Some(frame.asked? * f64::from(flows))
    }

    /// Points whose sources sent less than they were told to, in words.
    pub(super) fn lagging(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for value in self
            .0
            .metrics
            .iter()
            .filter(|v| v.metric == "offered_load" && v.node.is_none())
        {
            let at = &value.point;
            let asked = self.asked((&at.experiment, &at.platform, at.vms));
            if let Some(asked) = asked.filter(|asked| value.value < KEEPS_UP * asked) {
                found.push(format!(
                    "{} on {}, {}: {} of {} Mb/s",
                    at.experiment,
                    self.0.platform(&at.platform),
                    format::vms(at.vms),
                    format::number(value.value, Unit::MbPerS),
                    format::number(asked, Unit::MbPerS),
                ));
            }
        }
        found
    }

    /// What belongs beside a percentile.
    fn note(&self, value: &MetricValue, (experiment, platform, vms): Point<'_>) -> Option<String> {
        let metric = metric::find(value.metric)?;
        metric.percentile()?;
        if !enough(value) {
            let (have, need) = (value.samples, metric.least_samples());
            return Some(format!("not enough samples: {have} of {need}"));
        }
        let frame = self.0.frames.trials.iter().find(|frame| {
            let trial = &frame.trial;
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        });
        Some(match frame?.traffic_loop {
            Some(known) => known.as_str().to_owned(),
            None => "open or closed loop: not declared".to_owned(),
        })
    }

    fn cell(
        &self,
        (metric, label, nodes): (&'static str, &'static str, Option<&'static str>),
        point: Point<'_>,
    ) -> Cell {
        let (experiment, platform, vms) = point;
        let found = self.0.whole(metric, point).filter(|_| vms >= least(metric));
        let each = nodes.map(|nodes| self.0.each(nodes, point));
        let each: Vec<String> = each
            .unwrap_or_default()
            .iter()
            .map(|(node, v)| format!("{node}\u{a0}{}", format::number(v.value, v.unit)))
            .collect();
        let published = self.0.frames.run.study.published.iter().find(|value| {
            let of = &value.of;
            (of.metric.as_str(), &of.experiment, &of.platform, of.vms)
                == (metric, experiment, platform, vms)
        });
        let asked = self.asked(point).filter(|_| metric == "offered_load");
        let note = found.and_then(|value| self.note(value, point));
        let found = found.filter(|value| enough(value));
        Cell {
            note,
            label,
            unit: metric::find(metric).map_or("", |metric| metric.unit.as_str()),
            asked: asked.map(|asked| format::number(asked, Unit::MbPerS)),
            lags: asked
                .zip(found)
                .is_some_and(|(asked, v)| v.value < KEEPS_UP * asked),
            value: found.map(|v| format::number(v.value, v.unit)),
            interval: found.and_then(|v| Some(format::interval(v.interval?, v.unit))),
            detail: (vms > 1 && !each.is_empty()).then(|| each.join(" · ")),
            paper: published.map(|value| format::as_printed(value.value)),
            // Elsewhere they are the same samples again.
            outliers: found.filter(|_| nodes.is_some()).map_or(0, |v| v.outliers),
            few: found
                .filter(|v| matches!(v.basis, Basis::WithinTrial | Basis::None))
                .map(|v| v.samples)
                .filter(|samples| *samples < FEW),
        }
    }
}

/// Whether a percentile stands on as many samples as it needs.
fn enough(value: &MetricValue) -> bool {
    metric::find(value.metric).is_none_or(|metric| value.samples >= metric.least_samples())
}

/// The VM count from which on a metric says something: there is no share of nothing, and one VM is
/// always fair to itself.
fn least(metric: &str) -> u32 {
    match metric {
        "fair_share" => 1,
        "jain_throughput" | "jain_cpu" => 2,
        _ => 0,
    }
}
