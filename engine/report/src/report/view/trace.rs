//! From a number to the command lines that made it: points, their trials, and the files of those.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::plan::{self, Block};
use vexp_api::record::{Artefact, Part, TrialRecord};
use vexp_api::sample::Unit;

use super::encode;
use crate::frame::TrialFrame;
use crate::judge::Verdicts;
use crate::metrics::{Classical, Estimates, FlowSteady, Observed, TrialSteady};
use crate::report::format;
use crate::report::index::{Index, point_id};
use crate::stats::steady::State;

/// A point of the matrix with its trials.
#[derive(Debug, Serialize)]
pub(super) struct Point {
    id: String,
    experiment: String,
    platform: String,
    vms: String,
    /// The section on classical Linux that its efficiency is relative to.
    classical: Option<String>,
    trials: Vec<Trial>,
}

#[derive(Debug, Serialize)]
struct Trial {
    id: String,
    outcome: &'static str,
    class: &'static str,
    /// Why nothing stands on it.
    reason: Option<String>,
    /// What it gave, in words.
    values: Vec<String>,
    /// Whether it was steady in the window, and what each flow was like.
    steady: Option<&'static str>,
    flows: Vec<String>,
    started: Option<String>,
    window: Option<String>,
    block: String,
    machine: String,
    /// The batch engine's node that measured it.
    computer: Option<String>,
    /// The earlier run that measured it, and when that was started.
    origin: Option<String>,
    setup: BTreeMap<String, String>,
    record: Option<String>,
    files: Vec<File>,
}

/// A raw file and the command that printed it.
#[derive(Debug, Serialize)]
struct File {
    name: String,
    href: String,
    part: &'static str,
    tool: String,
    node: String,
    flow: Option<String>,
    command: String,
    status: String,
    ok: bool,
    time: String,
    stderr: String,
}

/// Experiment, platform, VM count.
type Key<'a> = (&'a Name, &'a Name, u32);

/// All planned points in the order of their names.
pub(super) fn points(index: &Index<'_>, verdicts: &Verdicts) -> Vec<Point> {
    let run = &index.frames.run;
    let mut points: BTreeMap<Key<'_>, Vec<(&Block, &plan::Trial)>> = BTreeMap::new();
    for block in &run.plan.blocks {
        for trial in &block.trials {
            let point = (&trial.experiment, &trial.platform, trial.vms);
            points.entry(point).or_default().push((block, trial));
        }
    }
    let frames: BTreeMap<&Name, &TrialFrame> = index
        .frames
        .trials
        .iter()
        .map(|frame| (&frame.trial.id, frame))
        .collect();
    let steady: BTreeMap<&Name, &TrialSteady> = verdicts
        .steady
        .iter()
        .map(|steady| (&steady.trial, steady))
        .collect();
    let classical: BTreeMap<&Name, &Name> = points
        .keys()
        .filter(|(_, platform, _)| run.is_classical(platform))
        .map(|(experiment, platform, _)| (*experiment, *platform))
        .collect();
    points
        .iter()
        .map(|(point, trials)| {
            let (experiment, platform, vms) = *point;
            let titles = &run.study.experiments;
            let linux = classical
                .get(experiment)
                .filter(|linux| **linux != platform);
            let mut trials: Vec<Trial> = trials
                .iter()
                .map(|(block, planned)| {
                    let (frame, steady) = (frames.get(&planned.id), steady.get(&planned.id));
                    trial(index, block, planned, (frame.copied(), steady.copied()))
                })
                .collect();
            trials.sort_by(|a, b| (a.id.len(), &a.id).cmp(&(b.id.len(), &b.id)));
            Point {
                id: point_id(*point),
                experiment: titles
                    .get(experiment)
                    .map_or_else(|| experiment.to_string(), |found| found.title.clone()),
                platform: index.platform(platform),
                vms: format::vms(vms),
                classical: linux.map(|linux| point_id((experiment, linux, 0))),
                trials,
            }
        })
        .collect()
}

fn trial(
    index: &Index<'_>,
    block: &Block,
    planned: &plan::Trial,
    (frame, steady): (Option<&TrialFrame>, Option<&TrialSteady>),
) -> Trial {
    let run = &index.frames.run;
    let record = run.trials.get(&planned.id);
    let mut unusable = index.frames.unusable.iter();
    let unusable = unusable.find(|trial| trial.trial == planned.id);
    Trial {
        id: planned.id.to_string(),
        outcome: unusable.map_or("measured", |trial| trial.kind),
        class: if unusable.is_none() { "good" } else { "open" },
        reason: unusable.map(|trial| trial.reason.clone()),
        values: frame.map(values).unwrap_or_default(),
        steady: steady.map(|steady| state(steady.state)),
        flows: steady
            .map(|steady| steady.flows.iter().map(flow).collect())
            .unwrap_or_default(),
        started: record.map(|record| record.epoch.clone()),
        window: record.and_then(window),
        block: block.id.to_string(),
        machine: machine(index, block),
        computer: record
            .and_then(|record| record.computer.as_ref())
            .map(|computer| computer.node.clone()),
        origin: run.record.origin(&planned.id).map(|taken| {
            format!(
                "run {}, started {}, by vexp {}",
                taken.run, taken.started, taken.vexp
            )
        }),
        setup: record
            .map(|record| record.setup.clone())
            .unwrap_or_default(),
        record: record.map(|_| format!("../trials/{}/trial.json", encode(planned.id.as_str()))),
        files: record
            .map(|record| record.artefacts.iter().map(|a| file(record, a)).collect())
            .unwrap_or_default(),
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Steady => "steady",
        State::NoSteadyState => "no steady state",
        State::Unknown => "too short to tell whether it was steady",
    }
}

/// What a flow's series is like.
fn flow(flow: &FlowSteady) -> String {
    let mut words = format!(
        "{} of {}: {}, {} samples",
        flow.metric,
        flow.node,
        state(flow.state),
        flow.samples
    );
    if let Some(shift) = flow.shift {
        words += &format!(", second half {:+.1} %", shift * 100.0);
    }
    if let Some(p) = flow.p {
        words += &format!(", p {p:.3}");
    }
    words
}

/// How the machine of a trial came to be.
fn machine(index: &Index<'_>, block: &Block) -> String {
    let boot = block
        .boot
        .map(|boot| format!(" from boot {boot}"))
        .unwrap_or_default();
    match index.frames.run.blocks.get(&block.id) {
        None => "did not come up".to_owned(),
        Some(record) => match record.restored {
            Some(guests) => format!(
                "restored{boot} {} in {:.1} s",
                format::with_vms(guests),
                record.boot_s
            ),
            None => format!("booted in {:.1} s", record.boot_s),
        },
    }
}

fn window(record: &TrialRecord) -> Option<String> {
    let window = record.window?;
    Some(format!("{:.2} s to {:.2} s", window.start_s, window.end_s))
}

/// What a trial gave, before anything is averaged over trials. Metrics of single virtual machines
/// stand behind those of all.
fn values(frame: &TrialFrame) -> Vec<String> {
    let estimates: Estimates = Observed::new(frame).estimates(None, Classical::default());
    let metrics: BTreeSet<&str> = estimates.keys().map(|key| key.metric).collect();
    let known = metric::METRICS.iter().filter(|m| metrics.contains(m.name));
    known
        .filter_map(|metric| {
            let of = |node: bool| {
                let found = estimates.iter();
                found
                    .filter(move |(key, _)| key.metric == metric.name && key.node.is_some() == node)
            };
            let number = |value| format::number(value, metric.unit);
            let mut each: Vec<(&str, String)> = of(true)
                .filter_map(|(key, found)| {
                    Some((key.node.as_ref()?.as_str(), number(found.value())))
                })
                .collect();
            each.sort_by_key(|(node, _)| (node.len(), *node));
            let each: Vec<String> = each.iter().map(|(node, n)| format!("{node} {n}")).collect();
            let all = of(false).next().map(|(_, found)| number(found.value()));
            let unit = match metric.unit {
                Unit::One => String::new(),
                unit => format!(" {unit}"),
            };
            Some(match (all, each.len()) {
                (Some(all), 0 | 1) => format!("{} {all}{unit}", metric.name),
                (Some(all), _) => format!("{} {all}{unit} ({})", metric.name, each.join(", ")),
                (None, 0) => return None,
                (None, _) => format!("{} {}{unit}", metric.name, each.join(", ")),
            })
        })
        .collect()
}

fn file(record: &TrialRecord, artefact: &Artefact) -> File {
    File {
        name: artefact.path.clone(),
        href: format!(
            "../trials/{}/{}",
            encode(record.trial.as_str()),
            encode(&artefact.path)
        ),
        part: match artefact.part {
            Part::Traffic => "traffic",
            Part::Load => "load",
            Part::Monitor => "monitor",
        },
        tool: artefact.tool.to_string(),
        node: artefact.node.to_string(),
        flow: artefact
            .flow
            .as_ref()
            .filter(|flow| **flow != artefact.node)
            .map(ToString::to_string),
        command: artefact.command.clone(),
        status: match artefact.status {
            Some(status) => format!("exit {status}"),
            None => "ended by a signal".to_owned(),
        },
        ok: artefact.status == Some(0),
        time: format!("{:.2} s to {:.2} s", artefact.started_s, artefact.ended_s),
        stderr: artefact.stderr.trim().to_owned(),
    }
}
