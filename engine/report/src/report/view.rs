//! What templates see. All numbers are text already, so that templates only lay out.

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::metric::{self, METRICS};
use vexp_api::plan::{Deviation, Excluded};
use vexp_api::record::Outcome;
use vexp_api::sample::Unit;
use vexp_api::spec::Relation;

use super::figures::{Figure, title_of};
use super::format;
use crate::frame::{Frames, Unusable};
use crate::judge::{ClaimVerdict, Side, Test, TestOutcome, Verdict, Verdicts};
use crate::metrics::{Basis, ENOUGH_REPETITIONS, MetricValue};
use crate::{stats, window};

/// The whole of a report.
#[derive(Debug, Serialize)]
pub(super) struct View {
    title: String,
    paper: Option<Paper>,
    run: Run,
    counts: Vec<Count>,
    trials_measured: usize,
    trials_planned: usize,
    claims: Vec<Claim>,
    experiments: Vec<Experiment>,
    printed: Vec<Printed>,
    printed_elsewhere: usize,
    deviations: Vec<Deviation>,
    excluded: Vec<Excluded>,
    unusable: Vec<Unusable>,
    controller: BTreeMap<String, String>,
    blocks: Vec<Block>,
    formulas: Vec<Formula>,
    method: Method,
    trials: Vec<Trial>,
}

#[derive(Debug, Serialize)]
struct Paper {
    title: String,
    authors: String,
    year: u32,
}

#[derive(Debug, Serialize)]
struct Run {
    id: String,
    started: String,
    ended: Option<String>,
    vexp: String,
    testbed: String,
    emulated: bool,
    effort: String,
    seed: String,
    study_digest: String,
}

#[derive(Debug, Serialize)]
struct Count {
    verdict: &'static str,
    class: &'static str,
    n: usize,
}

#[derive(Debug, Serialize)]
struct Claim {
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
struct TestRow {
    left: String,
    left_value: String,
    relation: &'static str,
    right: String,
    margin: String,
    outcome: &'static str,
    class: &'static str,
}

#[derive(Debug, Serialize)]
struct Experiment {
    name: String,
    title: String,
    role: &'static str,
    traffic: String,
    of_paper: String,
    figures: Vec<FigureView>,
    columns: Vec<Column>,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct FigureView {
    file: String,
    alt: String,
    svg: String,
}

#[derive(Debug, Serialize)]
struct Column {
    label: &'static str,
    unit: &'static str,
}

#[derive(Debug, Serialize)]
struct Group {
    label: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    platform: String,
    missing: Option<String>,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    label: &'static str,
    unit: &'static str,
    value: Option<String>,
    interval: Option<String>,
    detail: Option<String>,
    paper: Option<String>,
    outliers: usize,
}

/// A value that the paper prints, beside ours.
#[derive(Debug, Serialize)]
struct Printed {
    metric: String,
    point: String,
    unit: &'static str,
    paper: String,
    place: String,
    note: Option<String>,
    ours: Option<String>,
    interval: Option<String>,
}

#[derive(Debug, Serialize)]
struct Block {
    id: String,
    boot_s: String,
    guests: Vec<String>,
    site: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
    console: String,
}

#[derive(Debug, Serialize)]
struct Formula {
    name: &'static str,
    unit: &'static str,
    formula: &'static str,
    better: &'static str,
}

#[derive(Debug, Serialize)]
struct Method {
    level: String,
    replicates: usize,
    enough: usize,
    inside: String,
    coverage: String,
    within_trial: bool,
    over_repetitions: bool,
    outliers: usize,
}

#[derive(Debug, Serialize)]
struct Trial {
    id: String,
    outcome: &'static str,
    record: String,
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct File {
    name: String,
    href: String,
    tool: String,
    node: String,
}

/// Columns of the results, in order: metric, heading, and the metric of single VMs if it is worth
/// showing beside.
const COLUMNS: [(&str, &str, Option<&str>); 12] = [
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
    ("loss", "Loss", Some("loss")),
    ("cpu_host", "CPU host", None),
    ("cpu_guest", "CPU per VM", Some("cpu_guest")),
    ("cpu_total", "CPU total", None),
    ("cpu_per_mbps", "CPU per Mb/s", None),
    ("jain_cpu", "Jain, CPU", None),
];

impl View {
    pub(super) fn new(
        frames: &Frames,
        verdicts: &Verdicts,
        figures: &BTreeMap<Name, Vec<Figure>>,
    ) -> Self {
        let run = &frames.run;
        let (plan, record, study) = (&run.plan, &run.record, &run.study);
        let results = Results {
            frames,
            metrics: &verdicts.metrics,
        };
        let (printed, printed_elsewhere) = results.printed();
        Self {
            title: study.title.clone(),
            paper: study.paper.as_ref().map(|paper| Paper {
                title: paper.title.clone(),
                authors: paper.authors.join(", "),
                year: paper.year,
            }),
            run: Run {
                id: record.id.to_string(),
                started: record.started.clone(),
                ended: record.ended.clone(),
                vexp: record.vexp.clone(),
                testbed: plan.testbed.to_string(),
                emulated: plan.testbed == "emulated" || plan.testbed == "virtual",
                effort: plan.effort.to_string(),
                seed: plan.seed.to_string(),
                study_digest: plan.study_digest.to_string(),
            },
            counts: counts(&verdicts.claims),
            trials_measured: frames.trials.len(),
            trials_planned: plan.trials().count(),
            claims: verdicts.claims.iter().map(claim).collect(),
            experiments: results.experiments(figures),
            printed,
            printed_elsewhere,
            deviations: super::deviations(frames),
            excluded: plan.excluded.clone(),
            unusable: frames.unusable.clone(),
            controller: record.controller.clone(),
            blocks: blocks(frames),
            formulas: METRICS.iter().map(formula).collect(),
            method: method(&verdicts.metrics),
            trials: trials(frames),
        }
    }
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "good",
        Verdict::NotReproduced => "bad",
        Verdict::Inconclusive => "open",
        Verdict::NotTested => "none",
    }
}

fn counts(claims: &[ClaimVerdict]) -> Vec<Count> {
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

fn claim(claim: &ClaimVerdict) -> Claim {
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
                times => format!("{times} × "),
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

/// Looks metrics up.
struct Results<'a> {
    frames: &'a Frames,
    metrics: &'a [MetricValue],
}

impl Results<'_> {
    fn find(
        &self,
        metric: &str,
        experiment: &Name,
        platform: &Name,
        vms: u32,
    ) -> Option<&MetricValue> {
        self.metrics.iter().find(|value| {
            let point = &value.point;
            value.metric == metric
                && value.node.is_none()
                && (&point.experiment, &point.platform, point.vms) == (experiment, platform, vms)
        })
    }

    /// Published values of points of this run, and how many are about other points.
    fn printed(&self) -> (Vec<Printed>, usize) {
        let run = &self.frames.run;
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
                let ours = self.find(of.metric.as_str(), &of.experiment, &of.platform, of.vms);
                let vms = match of.vms {
                    0 => String::new(),
                    n => format!(", {}", format::vms(n)),
                };
                Printed {
                    metric: of.metric.to_string(),
                    point: format!(
                        "{}{vms}, {}",
                        title_of(self.frames, &of.platform),
                        of.experiment
                    ),
                    unit: value.unit.as_str(),
                    paper: format::as_printed(value.value),
                    place: value.place.clone(),
                    note: value.note.clone(),
                    ours: ours.map(|ours| format::number(ours.value, ours.unit)),
                    interval: ours.and_then(|v| Some(format::interval(v.interval?, v.unit))),
                }
            })
            .collect();
        let elsewhere = all.len() - rows.len();
        (rows, elsewhere)
    }

    fn experiments(&self, figures: &BTreeMap<Name, Vec<Figure>>) -> Vec<Experiment> {
        let study = &self.frames.run.study;
        let mut planned: Vec<&Name> = study
            .experiments
            .keys()
            .filter(|name| {
                self.frames
                    .run
                    .plan
                    .trials()
                    .any(|trial| trial.experiment == **name)
            })
            .collect();
        // Throughput first, sending before receiving before forwarding.
        planned.sort_by_key(|name| {
            let mut metrics = self.metrics.iter().filter(|v| v.point.experiment == **name);
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
                    traffic: experiment.traffic.tool.to_string(),
                    of_paper: experiment.figures.join(", "),
                    figures: figures
                        .iter()
                        .map(|figure| FigureView {
                            file: figure.file.clone(),
                            alt: figure.alt.clone(),
                            svg: figure.svg.clone(),
                        })
                        .collect(),
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
            self.metrics.iter().any(|value| {
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
            self.frames
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
                        platform: title_of(self.frames, platform),
                        missing: self.missing(experiment, platform, vms),
                        cells: columns
                            .iter()
                            .map(|column| self.cell(*column, experiment, platform, vms))
                            .collect(),
                    })
                    .collect(),
            })
            .collect()
    }

    /// Why a point has no value at all.
    fn missing(&self, experiment: &Name, platform: &Name, vms: u32) -> Option<String> {
        let measured = self.frames.trials.iter().any(|frame| {
            let trial = &frame.trial;
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        });
        let mut lost = self.frames.unusable.iter().filter(|trial| {
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        });
        (!measured).then(|| lost.next().map(|trial| trial.kind.to_owned()))?
    }

    fn cell(
        &self,
        (metric, label, nodes): (&'static str, &'static str, Option<&'static str>),
        experiment: &Name,
        platform: &Name,
        vms: u32,
    ) -> Cell {
        let found = self
            .find(metric, experiment, platform, vms)
            .filter(|_| vms >= least(metric));
        let each = self.metrics.iter().filter(|value| {
            let point = &value.point;
            Some(value.metric) == nodes
                && (&point.experiment, &point.platform, point.vms) == (experiment, platform, vms)
        });
        let each: Vec<String> = each
            .filter_map(|v| {
                Some(format!(
                    "{}\u{a0}{}",
                    v.node.as_ref()?,
                    format::number(v.value, v.unit)
                ))
            })
            .collect();
        let published = self.frames.run.study.published.iter().find(|value| {
            let of = &value.of;
            (of.metric.as_str(), &of.experiment, &of.platform, of.vms)
                == (metric, experiment, platform, vms)
        });
        Cell {
            label,
            unit: metric::find(metric).map_or("", |metric| metric.unit.as_str()),
            value: found.map(|v| format::number(v.value, v.unit)),
            interval: found.and_then(|v| Some(format::interval(v.interval?, v.unit))),
            detail: (vms > 1 && !each.is_empty()).then(|| each.join(" · ")),
            paper: published.map(|value| format::as_printed(value.value)),
            // Elsewhere they are the same samples again.
            outliers: found.filter(|_| nodes.is_some()).map_or(0, |v| v.outliers),
        }
    }
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

fn blocks(frames: &Frames) -> Vec<Block> {
    let blocks = frames.run.blocks.values();
    blocks
        .map(|block| Block {
            id: block.block.to_string(),
            boot_s: format!("{:.1}", block.boot_s),
            guests: block
                .guest_boots
                .iter()
                .map(|boot| format!("{} {:.1} s", boot.guest, boot.seconds))
                .collect(),
            site: block.site.clone(),
            host: block.host.clone(),
            console: format!("../blocks/{}/console.log", block.block),
        })
        .collect()
}

fn formula(metric: &metric::Metric) -> Formula {
    Formula {
        name: metric.name,
        unit: metric.unit.as_str(),
        formula: metric.formula,
        better: match metric.better {
            metric::Better::Higher => "higher",
            metric::Better::Lower => "lower",
        },
    }
}

fn method(metrics: &[MetricValue]) -> Method {
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let stands_on = |basis| metrics.iter().any(|value| value.basis == basis);
    // Every other metric is made of these, and would count the same samples again.
    let own = |value: &&MetricValue| value.node.is_some();
    Method {
        level: percent(stats::LEVEL),
        replicates: stats::REPLICATES,
        enough: ENOUGH_REPETITIONS,
        inside: percent(window::INSIDE),
        coverage: percent(window::COVERAGE),
        within_trial: stands_on(Basis::WithinTrial),
        over_repetitions: stands_on(Basis::Repetitions),
        outliers: metrics.iter().filter(own).map(|value| value.outliers).sum(),
    }
}

fn trials(frames: &Frames) -> Vec<Trial> {
    let records = frames.run.trials.values();
    records
        .map(|record| Trial {
            id: record.trial.to_string(),
            outcome: match record.outcome {
                Outcome::Measured => "measured",
                Outcome::Invalid { .. } => "invalid",
                Outcome::Failed { .. } => "failed",
            },
            record: format!("../trials/{}/trial.json", record.trial),
            files: record
                .artefacts
                .iter()
                .map(|artefact| File {
                    name: artefact.path.clone(),
                    href: format!("../trials/{}/{}", record.trial, encode(&artefact.path)),
                    tool: artefact.tool.to_string(),
                    node: artefact.node.to_string(),
                })
                .collect(),
        })
        .collect()
}

/// Percent-encodes what must not stand in the path of a relative reference (RFC 3986, 3.3).
fn encode(path: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            other => drop(write!(encoded, "%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_for_links() {
        assert_eq!(encode("raw/a b\"?#.json"), "raw/a%20b%22%3F%23.json");
    }

    #[test]
    fn margins_are_readable() {
        assert_eq!(round(0.07 * 100.0).to_string(), "7");
    }
}
