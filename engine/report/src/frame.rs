//! Trials → one tidy table: a row a sample.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use vexp_api::ids::Name;
use vexp_api::plan::{Plan, Trial};
use vexp_api::plugin::{Loop, Raw};
use vexp_api::record::{Artefact, Outcome, Part, TrialRecord, Window};
use vexp_api::registry::Registry;
use vexp_api::sample::{Sample, Unit};
use vexp_api::units::BitRate;

use crate::files::{self, WriteError};
use crate::raw::{self, RawError, TamperError};
use crate::run::{Run, RunError};
use crate::table::{self, Format, TableError};
use crate::window::{self, Place};

/// Samples of a run.
pub const MOST_SAMPLES: usize = 20_000_000;

/// Why a run gives no frames at all.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The run's records can't be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Raw data are not those that were recorded.
    #[error("trial {trial} can't be trusted")]
    Tampered {
        /// Trial.
        trial: Name,
        /// What is wrong.
        source: TamperError,
    },
    /// It has more samples than can be judged at once.
    #[error(
        "the run has more than {MOST_SAMPLES} samples: give `vexp parse` and `vexp report` runs of fewer trials (--only)"
    )]
    Samples,
    /// The table could not be made.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The table could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// All samples of a run, by trial.
#[derive(Clone, Debug)]
pub struct Frames {
    /// The run's records.
    pub run: Run,
    /// Trials that can be used, sorted by name.
    pub trials: Vec<TrialFrame>,
    /// Trials that can't, sorted by name.
    pub unusable: Vec<Unusable>,
}

/// The samples of a trial's window.
#[derive(Clone, Debug)]
pub struct TrialFrame {
    /// The point of the matrix.
    pub trial: Trial,
    /// Samples in a fixed order.
    pub rows: Vec<Row>,
    /// Mb/s of payload that each flow's source was told to send; `None` where it went as fast as it could.
    pub asked: Option<f64>,
    /// How its round-trip times came about; `None` where the traffic's plugin doesn't say.
    pub traffic_loop: Option<Loop>,
}

/// A sample with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the tool was part of.
    pub part: Part,
    /// Tool.
    pub tool: Name,
    /// The sample; its time counts from the window's start.
    pub sample: Sample,
}

/// A trial that gives no samples, and why.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Unusable {
    /// Trial.
    pub trial: Name,
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
    /// VM count.
    pub vms: u32,
    /// Repetition.
    #[serde(skip)]
    pub repetition: u32,
    /// `not run`, `failed`, `invalid` or `unreadable`.
    pub kind: &'static str,
    /// Why, naming the file and place where it is about one.
    pub reason: String,
}

/// Why the samples of a trial can't be used.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("it is recorded as measured, but without a window")]
    NoWindow,
    #[error(transparent)]
    Raw(#[from] RawError),
    #[error(
        "{file}: no sample of {metric} on {node} lies in the measured window \
         ({start:.2} s to {end:.2} s)"
    )]
    NoneInWindow {
        file: String,
        metric: Name,
        node: Name,
        start: f64,
        end: f64,
    },
    #[error(
        "{file}: {metric} on {node} covers {covered:.2} s of a window of {window:.2} s: \
         the tool stopped or paused in it"
    )]
    Gap {
        file: String,
        metric: Name,
        node: Name,
        covered: f64,
        window: f64,
    },
    #[error("{metric} is there of {found} only, but {expected} flows were planned")]
    FlowsMissing {
        metric: String,
        found: String,
        expected: u32,
    },
    #[error("{0} left no sample in the window")]
    TrafficMissing(Name),
    #[error("monitor {0} left no sample")]
    MonitorMissing(Name),
}

/// Reads a run, checks and parses its raw data, and writes `RUN/frames/samples.parquet`.
///
/// A trial that can't be used does not stop the others; raw data that are not those that were
/// recorded stop everything, since then nothing in the run can be trusted.
pub fn frame(run_dir: &Path, registry: &Registry) -> Result<Frames, FrameError> {
    let frames = read(run_dir, registry)?;
    let bytes = table::frames_to(&frames, Format::Parquet)?;
    let out = files::below(run_dir)?;
    out.create_dir("frames")
        .and_then(|()| out.write("frames/samples.parquet", &bytes))
        .map_err(files::WriteError::from)?;
    Ok(frames)
}

/// As [`frame`], without writing.
pub fn read(run_dir: &Path, registry: &Registry) -> Result<Frames, FrameError> {
    let run = Run::load(run_dir)?;
    let mut planned: Vec<Trial> = run.plan.trials().cloned().collect();
    planned.sort_by(|a, b| a.id.cmp(&b.id));
    let (mut trials, mut unusable) = (Vec::new(), Vec::new());
    let links = slowest_links(&run.plan);
    let mut left = MOST_SAMPLES;
    for trial in planned {
        let link = links.get(&trial.id).copied();
        match framed(&run, trial, link, registry)? {
            Ok(frame) => {
                left = (left.checked_sub(frame.rows.len())).ok_or(FrameError::Samples)?;
                trials.push(frame);
            }
            Err(why) => unusable.push(why),
        }
    }
    Ok(Frames {
        run,
        trials,
        unusable,
    })
}

/// The samples of one planned trial, or why it can't be used.
///
/// # Errors
/// Its raw data are not those that were recorded.
pub fn one(
    run: &Run,
    trial: Trial,
    registry: &Registry,
) -> Result<Result<TrialFrame, Unusable>, FrameError> {
    let link = slowest_links(&run.plan).get(&trial.id).copied();
    framed(run, trial, link, registry)
}

fn framed(
    run: &Run,
    trial: Trial,
    link: Option<BitRate>,
    registry: &Registry,
) -> Result<Result<TrialFrame, Unusable>, FrameError> {
    let reject = |trial: &Trial, kind, reason| {
        Ok(Err(Unusable {
            trial: trial.id.clone(),
            experiment: trial.experiment.clone(),
            platform: trial.platform.clone(),
            vms: trial.vms,
            repetition: trial.repetition,
            kind,
            reason,
        }))
    };
    let Some(record) = run.trials.get(&trial.id) else {
        let why = match run.plan.looks.is_empty() {
            true => "the run ended before it",
            false => "no look has asked for it, or the run ended before it",
        };
        return reject(&trial, "not run", why.to_owned());
    };
    // Also those of failed trials: a changed file is a changed run.
    let dir = run.dir.join("trials").join(trial.id.as_str());
    let tampered = |source| FrameError::Tampered {
        trial: trial.id.clone(),
        source,
    };
    once(record).map_err(tampered)?;
    let artefacts = record.artefacts.iter();
    let bytes = artefacts.map(|artefact| raw::read(&dir, artefact));
    let bytes = bytes.collect::<Result<Vec<_>, _>>().map_err(tampered)?;
    if let Some(trace) = &record.trace {
        raw::read_trace(&dir, trace).map(drop).map_err(tampered)?;
    }
    match &record.outcome {
        Outcome::Failed { error } => reject(&trial, "failed", error.clone()),
        Outcome::Invalid { reason, .. } => reject(&trial, "invalid", reason.clone()),
        Outcome::Measured => match samples(&trial, record, &dir, &bytes, registry) {
            Ok(rows) => Ok(Ok(TrialFrame {
                asked: asked(link, &trial, registry),
                traffic_loop: traffic_loop(&trial, registry),
                trial,
                rows,
            })),
            Err(error) => reject(&trial, "unreadable", chain(&error)),
        },
    }
}

/// The rate of the slowest link of each trial's machine.
fn slowest_links(plan: &Plan) -> BTreeMap<Name, BitRate> {
    let blocks = plan.blocks.iter().filter_map(|block| {
        let link = block.machine.nics.iter().map(|nic| nic.rate).min()?;
        Some(
            block
                .trials
                .iter()
                .map(move |trial| (trial.id.clone(), link)),
        )
    });
    blocks.flatten().collect()
}

/// A trial has each of its files once: a record that lists one again and again would have it read as often.
fn once(record: &TrialRecord) -> Result<(), TamperError> {
    let mut paths = BTreeSet::new();
    let twice = (record.artefacts.iter()).find(|artefact| !paths.insert(&artefact.path));
    match twice {
        None => Ok(()),
        Some(artefact) => Err(TamperError::Twice(artefact.path.clone())),
    }
}

/// What each source of a trial was told to send on the slowest link, Mb/s.
fn asked(link: Option<BitRate>, trial: &Trial, registry: &Registry) -> Option<f64> {
    let link = link?;
    let plugin = registry.measures().get(trial.traffic.tool.as_str())?;
    let offer = plugin.offers(&trial.traffic.options, link)?;
    Some(offer.bits_per_second as f64 / 1e6)
}

fn traffic_loop(trial: &Trial, registry: &Registry) -> Option<Loop> {
    let plugin = registry.measures().get(trial.traffic.tool.as_str())?;
    plugin.traffic_loop(&trial.traffic.options)
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn samples(
    trial: &Trial,
    record: &TrialRecord,
    dir: &Path,
    bytes: &[Vec<u8>],
    registry: &Registry,
) -> Result<Vec<Row>, TrialError> {
    let window = record.window.ok_or(TrialError::NoWindow)?;
    let mut rows = Vec::new();
    for (artefact, bytes) in record.artefacts.iter().zip(bytes) {
        let raw = Raw {
            artefact,
            bytes,
            line_times: &raw::read_times(dir, artefact)?,
        };
        rows.extend(
            cut(raw::parse(&raw, registry)?, artefact, window)?
                .into_iter()
                .map(|sample| Row {
                    part: artefact.part,
                    tool: artefact.tool.clone(),
                    sample,
                }),
        );
    }
    complete(trial, &rows)?;
    rows.sort_by(|a, b| order(a).cmp(&order(b)).then(time_order(a, b)));
    Ok(rows)
}

fn order(row: &Row) -> (&Name, Part, &Name, &Name) {
    (&row.tool, row.part, &row.sample.node, &row.sample.metric)
}

fn time_order(a: &Row, b: &Row) -> std::cmp::Ordering {
    let (a, b) = (&a.sample, &b.sample);
    a.t.total_cmp(&b.t)
        .then(a.dt.total_cmp(&b.dt))
        .then(a.value.total_cmp(&b.value))
}

/// The samples that belong to the window, with times from its start. Every series that an
/// artefact has must have some: a series that is missing is never a 0.
fn cut(
    samples: Vec<Sample>,
    artefact: &Artefact,
    window: Window,
) -> Result<Vec<Sample>, TrialError> {
    let mut series: BTreeMap<(Name, Name), Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        let key = (sample.node.clone(), sample.metric.clone());
        series.entry(key).or_default().push(sample);
    }
    let mut kept = Vec::new();
    for ((node, metric), samples) in series {
        let of = |place| {
            let samples = samples.iter();
            let mut found: Vec<Sample> = samples
                .filter(|sample| window::place(sample, window) == place)
                .cloned()
                .collect();
            for sample in &mut found {
                sample.t -= window.start_s;
            }
            found
        };
        let inside = of(Place::Inside);
        // A summary of a whole flow stands for its window, since the flow is the same before; a
        // monitor's long interval does not, since it also saw the machine at rest. Totals are no
        // means: they are of the whole traffic, and its metrics say so.
        let total = |s: &Sample| matches!(s.unit, Unit::Count | Unit::Bytes);
        let found = match (inside.is_empty(), artefact.part) {
            (true, Part::Traffic | Part::Load) => of(Place::Around),
            (true, Part::Monitor) if samples.iter().all(total) => of(Place::Around),
            _ => inside,
        };
        let file = artefact.path.clone();
        if found.is_empty() {
            return Err(TrialError::NoneInWindow {
                file,
                metric,
                node,
                start: window.start_s,
                end: window.end_s,
            });
        }
        let length = window.end_s - window.start_s;
        let covered: f64 = found.iter().map(|sample| sample.dt).sum();
        // Points (dt = 0) cover nothing and say nothing about gaps.
        if found.iter().all(|sample| sample.dt > 0.0) && covered < window::COVERAGE * length {
            return Err(TrialError::Gap {
                file,
                metric,
                node,
                covered,
                window: length,
            });
        }
        kept.extend(found);
    }
    Ok(kept)
}

/// Whether every flow and every monitor left something. What one flow says, all must say: else a
/// sum over flows would silently be one over some of them. Round-trip times are an exception,
/// since a flow that lost every packet has none; its loss says so.
fn complete(trial: &Trial, rows: &[Row]) -> Result<(), TrialError> {
    let mut flows: BTreeMap<&str, BTreeSet<&Name>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.part == Part::Traffic) {
        let nodes = flows.entry(row.sample.metric.as_str()).or_default();
        nodes.insert(&row.sample.node);
    }
    if flows.is_empty() {
        return Err(TrialError::TrafficMissing(trial.traffic.tool.clone()));
    }
    for (metric, nodes) in flows {
        if metric != "rtt" && u32::try_from(nodes.len()) != Ok(trial.flows()) {
            return Err(TrialError::FlowsMissing {
                metric: metric.to_owned(),
                found: nodes
                    .into_iter()
                    .map(Name::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
                expected: trial.flows(),
            });
        }
    }
    let silent = trial
        .monitors
        .iter()
        .find(|monitor| !rows.iter().any(|row| row.tool == monitor.tool));
    match silent {
        Some(monitor) => Err(TrialError::MonitorMissing(monitor.tool.clone())),
        None => Ok(()),
    }
}
