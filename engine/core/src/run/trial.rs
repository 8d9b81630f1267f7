//! One trial: monitors, traffic, and what they left.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use vexp_api::event::Event;
use vexp_api::ids::Name;
use vexp_api::plan::Trial;
use vexp_api::plugin::{
    Captured, Context, Flow, Measure, MeasureRequest, Node, PluginError, Raw, Running,
};
use vexp_api::record::{Outcome, Part, Window};
use vexp_api::registry::Registry;
use vexp_api::sample::Sample;
use vexp_api::spec::{MeasureUse, Role};
use vexp_api::units::BitRate;

use super::ssh::chain;

/// The machines, as a trial needs them.
pub(super) struct Bench<'a> {
    pub(super) host: &'a Node,
    pub(super) guests: &'a [Node],
    pub(super) peers: &'a [Node],
    pub(super) link_rate: BitRate,
}

/// What a trial gave.
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) window: Option<Window>,
    pub(super) captured: Vec<Captured>,
    pub(super) summary: String,
}

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("there is no traffic generator or monitor `{0}` in this binary")]
    NoPlugin(Name),
    #[error("{0}")]
    Unfit(String),
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
    let outcome = match measure(trial, bench, registry, epoch, cx, &mut captured).await {
        Ok(()) => Outcome::Measured,
        Err(error) => Outcome::Failed {
            error: chain(&error),
        },
    };
    let mut seen = Seen {
        outcome,
        window: None,
        captured,
        summary: String::new(),
    };
    if seen.outcome == Outcome::Measured {
        match look(registry, &seen.captured) {
            Ok((window, summary)) => {
                seen.window = Some(window);
                seen.summary = summary;
            }
            Err(reason) => seen.outcome = Outcome::Invalid { reason },
        }
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
        peers: bench.peers.to_vec(),
        switch: None,
        link_rate: bench.link_rate,
        warm_up: trial.warm_up.duration(),
        window: trial.window.duration(),
        epoch,
    };
    let traffic = plugin(registry, &trial.traffic.tool)?;
    let all = flows(trial, bench)?;
    // With load, the first guest is measured while the others are loaded.
    let (measured, loaded) = match &trial.load {
        Some(_) => (all[..1].to_vec(), all[1..].to_vec()),
        None => (all, Vec::new()),
    };
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

/// One flow for each guest, or one for the host where there are none, each with a peer of its own.
fn flows(trial: &Trial, bench: &Bench<'_>) -> Result<Vec<Flow>, TrialError> {
    let subjects: &[Node] = if trial.vms == 0 {
        std::slice::from_ref(bench.host)
    } else {
        bench.guests
    };
    if subjects.len() > bench.peers.len() {
        let (need, have) = (subjects.len(), bench.peers.len());
        return Err(TrialError::Unfit(format!(
            "{need} peers are needed and there are {have}"
        )));
    }
    subjects
        .iter()
        .zip(bench.peers)
        .map(|(subject, peer)| {
            let (source, sink) = match trial.role {
                Role::Sender => (subject, peer),
                Role::Receiver => (peer, subject),
                Role::Router => {
                    let text = "this version of vexp does not run routers";
                    return Err(TrialError::Unfit(text.to_owned()));
                }
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

fn first_address(node: &Node) -> Result<IpAddr, TrialError> {
    let none = || TrialError::Unfit(format!("{} has no address on a data network", node.name));
    node.data.first().map(|data| data.address).ok_or_else(none)
}

/// Parses everything once, so that a trial whose raw data can't be read is known as such at once,
/// and finds the window that all flows have in common.
fn look(registry: &Registry, captured: &[Captured]) -> Result<(Window, String), String> {
    let mut traffic: Vec<Sample> = Vec::new();
    for item in captured {
        let Some(plugin) = registry.measures().get(item.artefact.tool.as_str()) else {
            continue;
        };
        let raw = Raw {
            artefact: &item.artefact,
            bytes: &item.bytes,
            line_times: &item.line_times,
        };
        let samples = plugin.parse(&raw).map_err(|error| error.to_string())?;
        if item.artefact.part == Part::Traffic {
            traffic.extend(samples);
        }
    }
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
        .ok_or("the traffic generator gave no samples")?;
    if window.end_s <= window.start_s {
        return Err("the flows have no time in common in which all were measured".to_owned());
    }
    Ok((window, summary(&traffic)))
}

/// The main number of a trial, for people who watch.
fn summary(samples: &[Sample]) -> String {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for metric in ["throughput", "rtt"] {
        let mut by_node: BTreeMap<&Name, Vec<f64>> = BTreeMap::new();
        for sample in samples.iter().filter(|s| s.metric == *metric) {
            by_node.entry(&sample.node).or_default().push(sample.value);
        }
        let means: Vec<f64> = by_node.values().map(|values| mean(values)).collect();
        match (metric, means.is_empty()) {
            ("throughput", false) => return format!("{:.1} Mb/s", means.iter().sum::<f64>()),
            ("rtt", false) => return format!("{:.3} ms", mean(&means)),
            _ => {}
        }
    }
    String::new()
}
