//! One trial: monitors, traffic, and what they left.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vexp_api::event::Event;
use vexp_api::ids::Name;
use vexp_api::plan::Trial;
use vexp_api::plugin::{
    Captured, Context, Flow, Measure, MeasureRequest, Node, PluginError, Raw, Running,
};
use vexp_api::record::{Artefact, Outcome, Part, Window};
use vexp_api::registry::Registry;
use vexp_api::sample::Sample;
use vexp_api::spec::{MeasureUse, Role};
use vexp_api::units::BitRate;
use vexp_api::window::{self, Place};

use super::clock::Clock;
use super::ssh::chain;

/// The machines, as a trial needs them.
pub(super) struct Bench<'a> {
    pub(super) host: &'a Node,
    pub(super) guests: &'a [Node],
    /// By data network.
    pub(super) peers: &'a [Vec<Node>],
    pub(super) switch: Option<&'a Node>,
    pub(super) link_rate: BitRate,
    /// The process that is the machine, where it is emulated.
    pub(super) emulator: Option<u32>,
    /// Whose time it is.
    pub(super) clock: &'a Clock,
}

/// How much longer load runs than the traffic that is measured and that starts after it.
const LOAD_LONGER: Duration = Duration::from_secs(2);

/// What a trial gave.
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) window: Option<Window>,
    pub(super) captured: Vec<Captured>,
    pub(super) summary: String,
}

impl Seen {
    /// A trial that left nothing.
    pub(super) fn nothing(outcome: Outcome) -> Self {
        Self {
            outcome,
            window: None,
            captured: Vec::new(),
            summary: String::new(),
        }
    }
}

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("there is no traffic generator or monitor `{0}` in this binary")]
    NoPlugin(Name),
    #[error("{0}")]
    Unfit(String),
    #[error("`{tool}` refuses what the plan asks of it: {why}")]
    Refused { tool: Name, why: String },
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// Runs a trial. Never fails: what went wrong is its outcome.
pub(super) async fn run(
    trial: &Trial,
    bench: &Bench<'_>,
    registry: &Registry,
    epoch: Instant,
    cx: &Context,
) -> Seen {
    let mut captured = Vec::new();
    let lookout = bench.clock.watch(bench.emulator);
    let outcome = match measure(trial, bench, registry, epoch, cx, &mut captured).await {
        Ok(()) => Outcome::Measured,
        // On no machine would it be started: it is not retried.
        Err(error @ TrialError::Refused { .. }) => Outcome::Invalid {
            reason: error.to_string(),
            instruments: false,
        },
        Err(error) => Outcome::Failed {
            error: chain(&error),
        },
    };
    let spoiled = lookout.end();
    let mut seen = Seen {
        captured,
        ..Seen::nothing(outcome)
    };
    if seen.outcome == Outcome::Measured {
        match look(trial, bench.link_rate, registry, &seen.captured) {
            Ok((window, summary)) => {
                seen.window = Some(window);
                seen.summary = summary;
            }
            Err(Spoiled {
                reason,
                instruments,
            }) => {
                seen.outcome = Outcome::Invalid {
                    reason,
                    instruments,
                };
            }
        }
    }
    if let (Some(reason), Outcome::Measured) = (spoiled, &seen.outcome) {
        seen.outcome = Outcome::Invalid {
            reason,
            instruments: true,
        };
    }
    seen
}

async fn measure(
    trial: &Trial,
    bench: &Bench<'_>,
    registry: &Registry,
    epoch: Instant,
    cx: &Context,
    captured: &mut Vec<Captured>,
) -> Result<(), TrialError> {
    let request = |part, used: &MeasureUse, flows: Vec<Flow>| MeasureRequest {
        part,
        options: used.options.clone(),
        role: trial.role,
        flows,
        host: bench.host.clone(),
        guests: bench.guests.to_vec(),
        peers: bench.peers.concat(),
        switch: bench.switch.cloned(),
        link_rate: bench.link_rate,
        warm_up: trial.warm_up.duration(),
        window: window_of(part, trial.window.duration()),
        epoch,
    };
    let traffic = plugin(registry, &trial.traffic.tool)?;
    let all = flows(trial, bench)?;
    // With load, the first guest is measured while the others are loaded.
    let (measured, loaded) = match &trial.load {
        Some(_) => (all[..1].to_vec(), all[1..].to_vec()),
        None => {
            let mut measured = all;
            measured.truncate(trial.flows() as usize);
            (measured, Vec::new())
        }
    };
    fit(
        registry,
        &request(Part::Traffic, &trial.traffic, measured.clone()),
        &trial.traffic,
    )?;
    if let Some(load) = &trial.load {
        fit(registry, &request(Part::Load, load, loaded.clone()), load)?;
    }
    for monitor in &trial.monitors {
        fit(
            registry,
            &request(Part::Monitor, monitor, measured.clone()),
            monitor,
        )?;
    }
    let mut running: Vec<Box<dyn Running>> = Vec::new();
    for monitor in &trial.monitors {
        let plugin = plugin(registry, &monitor.tool)?;
        let request = request(Part::Monitor, monitor, measured.clone());
        running.push(plugin.start(&request, cx).await?);
    }
    if let Some(load) = trial.load.as_ref().filter(|_| !loaded.is_empty()) {
        let plugin = plugin(registry, &load.tool)?;
        running.push(plugin.start(&request(Part::Load, load, loaded), cx).await?);
    }
    let started = traffic
        .start(&request(Part::Traffic, &trial.traffic, measured), cx)
        .await?;
    cx.events.event(&Event::TrialMeasuring {
        trial: trial.id.clone(),
    });
    let mut failure = keep(started.finish().await, captured);
    // Monitors stop last and in reverse order, also when the traffic has failed.
    while let Some(monitor) = running.pop() {
        let result = keep(monitor.finish().await, captured);
        failure = failure.or(result);
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// How long a part of a trial runs.
pub(crate) fn window_of(part: Part, window: Duration) -> Duration {
    match part {
        Part::Load => window + LOAD_LONGER,
        Part::Traffic | Part::Monitor => window,
    }
}

/// Whether a measure can be started so at all. A study that was checked asks for nothing else; a plan
/// that was written by hand may.
fn fit(registry: &Registry, request: &MeasureRequest, used: &MeasureUse) -> Result<(), TrialError> {
    let refused = plugin(registry, &used.tool)?.refuses(&request.intent());
    match refused.into_iter().next() {
        None => Ok(()),
        Some(refusal) => Err(TrialError::Refused {
            tool: used.tool.clone(),
            why: refusal.message,
        }),
    }
}

fn keep(
    finished: Result<vexp_api::plugin::Finished, PluginError>,
    captured: &mut Vec<Captured>,
) -> Option<PluginError> {
    match finished {
        Ok(finished) => {
            captured.extend(finished.artefacts);
            None
        }
        Err(error) => Some(error),
    }
}

fn plugin(registry: &Registry, name: &Name) -> Result<Arc<dyn Measure>, TrialError> {
    let found = registry.measures().get(name.as_str());
    found
        .cloned()
        .ok_or_else(|| TrialError::NoPlugin(name.clone()))
}

/// One flow for each guest, or one for the host where there are none, each with peers of its own: a
/// router's flow goes from a peer on the first data network to one on the second.
fn flows(trial: &Trial, bench: &Bench<'_>) -> Result<Vec<Flow>, TrialError> {
    let subjects = subjects(bench);
    let peers = |net: usize, index: usize| {
        let all = bench.peers.get(net).map_or(&[][..], Vec::as_slice);
        all.get(index).ok_or_else(|| {
            let (need, have) = (subjects.len(), all.len());
            TrialError::Unfit(format!(
                "{need} peers are needed on data network {net} and there are {have}"
            ))
        })
    };
    subjects
        .iter()
        .enumerate()
        .map(|(index, subject)| {
            let (source, sink) = match trial.role {
                Role::Sender => (subject, peers(0, index)?),
                Role::Receiver => (peers(0, index)?, subject),
                Role::Router => (peers(0, index)?, peers(1, index)?),
            };
            Ok(Flow {
                source: source.clone(),
                sink: sink.clone(),
                to: first_address(sink)?,
                subject: subject.name.clone(),
            })
        })
        .collect()
}

/// The nodes that are measured: the guests, or the machine itself where there are none.
pub(super) fn subjects<'a>(bench: &Bench<'a>) -> &'a [Node] {
    if bench.guests.is_empty() {
        std::slice::from_ref(bench.host)
    } else {
        bench.guests
    }
}

fn first_address(node: &Node) -> Result<IpAddr, TrialError> {
    let none = || TrialError::Unfit(format!("{} has no address on a data network", node.name));
    node.data.first().map(|data| data.address).ok_or_else(none)
}

/// Why a trial is invalid.
#[derive(Debug, PartialEq)]
struct Spoiled {
    reason: String,
    /// Whether a monitor is to blame. Traffic that can't be read may be what the machine made of it: to
    /// measure that again until it can would favour what is easy to measure.
    instruments: bool,
}

impl Spoiled {
    fn by(part: Part, reason: String) -> Self {
        Self {
            reason,
            instruments: part == Part::Monitor,
        }
    }
}

/// Parses everything once, so that a trial whose raw data can't be read is known as such at once,
/// and finds the window that all flows have in common.
fn look(
    trial: &Trial,
    link: BitRate,
    registry: &Registry,
    captured: &[Captured],
) -> Result<(Window, String), Spoiled> {
    let traffic = parsed(registry, captured)?;
    let none = |reason: &str| Spoiled::by(Part::Traffic, reason.to_owned());
    let mut by_flow: BTreeMap<&Name, Window> = BTreeMap::new();
    for sample in &traffic {
        let (start, end) = (sample.t, sample.t + sample.dt);
        let window = by_flow.entry(&sample.node).or_insert(Window {
            start_s: start,
            end_s: end,
        });
        window.start_s = window.start_s.min(start);
        window.end_s = window.end_s.max(end);
    }
    let window = by_flow
        .into_values()
        .reduce(|a, b| Window {
            start_s: a.start_s.max(b.start_s),
            end_s: a.end_s.min(b.end_s),
        })
        .ok_or_else(|| none("the traffic generator gave no samples"))?;
    if window.end_s <= window.start_s {
        return Err(none(
            "the flows have no time in common in which all were measured",
        ));
    }
    let mut summary = summary(&traffic, window);
    let plugin = registry.measures().get(trial.traffic.tool.as_str());
    let offer = plugin.and_then(|plugin| plugin.offers(&trial.traffic.options, link));
    if let Some(offer) = offer {
        summary.push_str(&lag(&traffic, window, offer.bits_per_second as f64 / 1e6));
    }
    Ok((window, summary))
}

/// The part of what it is told to send that a source must reach, not to be said to lag.
const KEEPS_UP: f64 = 0.95;

/// What is to be said of sources that sent less than the `asked` Mb/s; nothing where none did.
fn lag(samples: &[Sample], window: Window, asked: f64) -> String {
    let mut by_node: BTreeMap<&Name, Vec<&Sample>> = BTreeMap::new();
    let sent = samples.iter().filter(|s| s.metric == *"throughput_sent");
    for sample in sent.filter(|sample| window::place(sample, window) == Place::Inside) {
        by_node.entry(&sample.node).or_default().push(sample);
    }
    let means = by_node.values().map(|samples| mean(samples));
    let least = means.fold(f64::INFINITY, f64::min);
    match least < KEEPS_UP * asked {
        true => format!("; a source sent {least:.1} of {asked:.1} Mb/s"),
        false => String::new(),
    }
}

/// The samples of the measured traffic; the rest is parsed to see that it can be.
fn parsed(registry: &Registry, captured: &[Captured]) -> Result<Vec<Sample>, Spoiled> {
    let mut traffic: Vec<Sample> = Vec::new();
    for item in captured {
        let part = item.artefact.part;
        ended_early(&item.artefact).map_err(|reason| Spoiled::by(part, reason))?;
        let Some(plugin) = registry.measures().get(item.artefact.tool.as_str()) else {
            continue;
        };
        let raw = Raw {
            artefact: &item.artefact,
            bytes: &item.bytes,
            line_times: &item.line_times,
        };
        let samples = plugin.parse(&raw);
        let samples = samples.map_err(|error| Spoiled::by(part, error.to_string()))?;
        if part == Part::Traffic {
            traffic.extend(samples);
        }
    }
    Ok(traffic)
}

/// Monitors and load go on until they are stopped, and end with status 0 then. One that ended before,
/// of itself, may not have seen or loaded all of the window, however good what it left looks.
fn ended_early(artefact: &Artefact) -> Result<(), String> {
    if artefact.part == Part::Traffic || artefact.status == Some(0) {
        return Ok(());
    }
    let (file, node) = (&artefact.path, &artefact.node);
    let how = match artefact.status {
        Some(status) => format!("with status {status}"),
        None => "by a signal or its deadline".to_owned(),
    };
    let (command, said) = (&artefact.command, artefact.stderr.trim());
    Err(format!(
        "{file}: `{command}` on {node} ended early, {how}: {said}"
    ))
}

/// The main number of a trial, for people who watch: as the report has it, of the window's samples,
/// each weighted by its length.
fn summary(samples: &[Sample], window: Window) -> String {
    let inside = |sample: &&Sample| window::place(sample, window) == Place::Inside;
    for metric in ["throughput", "rtt"] {
        let mut by_node: BTreeMap<&Name, Vec<&Sample>> = BTreeMap::new();
        for sample in samples
            .iter()
            .filter(|s| s.metric == *metric)
            .filter(inside)
        {
            by_node.entry(&sample.node).or_default().push(sample);
        }
        let means: Vec<f64> = by_node.values().map(|samples| mean(samples)).collect();
        match (metric, means.is_empty()) {
            ("throughput", false) => return format!("{:.1} Mb/s", means.iter().sum::<f64>()),
            ("rtt", false) => {
                return format!("{:.3} ms", means.iter().sum::<f64>() / means.len() as f64);
            }
            _ => {}
        }
    }
    String::new()
}

/// Weighted by the lengths of the intervals; points weigh the same.
fn mean(samples: &[&Sample]) -> f64 {
    let points = samples.iter().any(|sample| sample.dt <= 0.0);
    let weight = |sample: &Sample| if points { 1.0 } else { sample.dt };
    let sum: f64 = samples.iter().map(|s| s.value * weight(s)).sum();
    sum / samples.iter().map(|s| weight(s)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use vexp_api::sample::{NodeRole, Unit};

    use super::*;

    #[test]
    fn the_main_number_is_that_of_the_window() {
        let name = |text: &str| Name::new(text).unwrap();
        let sample = |node: &str, t, dt, value| Sample {
            node: name(node),
            role: NodeRole::Guest,
            metric: name("throughput"),
            unit: Unit::MbPerS,
            t,
            dt,
            value,
        };
        let window = Window {
            start_s: 1.0,
            end_s: 3.5,
        };
        let samples = [
            sample("vm1", 0.0, 1.0, 900.0),
            sample("vm1", 1.0, 2.0, 100.0),
            sample("vm1", 3.0, 0.5, 150.0),
            sample("vm2", 1.0, 2.5, 10.0),
            sample("vm2", 3.5, 1.0, 900.0),
        ];
        assert_eq!(summary(&samples, window), "120.0 Mb/s");
        assert_eq!(summary(&samples[..1], window), "");
    }

    #[test]
    fn a_source_that_lags_is_told() {
        let sent = |value| Sample {
            node: Name::new("vm1").unwrap(),
            role: NodeRole::Guest,
            metric: Name::new("throughput_sent").unwrap(),
            unit: Unit::MbPerS,
            t: 0.0,
            dt: 1.0,
            value,
        };
        let window = Window {
            start_s: 0.0,
            end_s: 1.0,
        };
        assert_eq!(
            lag(&[sent(8.6)], window, 100.0),
            "; a source sent 8.6 of 100.0 Mb/s"
        );
        assert_eq!(lag(&[sent(99.0)], window, 100.0), "");
        assert_eq!(lag(&[], window, 100.0), "");
    }
}
