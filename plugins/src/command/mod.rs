//! Any program as a measure, without Rust: `command` makes traffic, `command-monitor` watches.
//!
//! The study gives the program's arguments, which no shell reads, and says how values are found in
//! its output: by a regular expression, a column of comma-separated values, or a JSON pointer. See
//! `contract.ncl`. A program that fails, and an extraction that finds nothing, are errors.
//!
//! Traffic that is not told of the warm-up by `{warm_up}` runs twice: first for the warm-up's time,
//! then for the measured one.

mod options;
mod parse;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Flow, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, Node, ParseError,
    Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::Sample;
use vexp_api::spec::Options;

use crate::capture::{Batch, Job, Jobs, MARGIN, Phases, subject_role};
use options::{CommandOptions, Place, Values};

/// Any program as traffic.
#[derive(Clone, Copy, Debug)]
pub struct Command;

/// Any program as a monitor.
#[derive(Clone, Copy, Debug)]
pub struct CommandMonitor;

impl Plugin for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

impl Plugin for CommandMonitor {
    fn name(&self) -> &'static str {
        "command-monitor"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Command {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Traffic
    }

    /// None that are known beforehand: the study names them.
    fn metrics(&self) -> &'static [MetricInfo] {
        &[]
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        refusals(self.kind(), intent)
    }

    fn gives(&self, options: &Options) -> Option<Vec<String>> {
        given(options)
    }

    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let options: CommandOptions = crate::options::of_request(self.name(), request)?;
        let batch = Batch::new(self.name(), request);
        let whole = request.warm_up + request.window;
        let at_sink = options.place(self.kind()) == Place::Sink;
        let flows = || request.flows.iter();
        let client = |flow: &Flow, stream, duration, warm_up| {
            let values = Values {
                flow: Some(flow),
                duration,
                warm_up,
            };
            let node = if at_sink { &flow.sink } else { &flow.source };
            let deadline = duration + warm_up + MARGIN;
            Job {
                cmd: values.fill(&options.argv).deadline(deadline),
                flow: Some(flow.subject.clone()),
                warm_up,
                about: subject_role(flow, request),
                ..job(node, stream)
            }
        };
        let servers = options.server.iter().flat_map(|argv| {
            flows().map(|flow| {
                let values = Values {
                    flow: Some(flow),
                    duration: whole,
                    warm_up: request.warm_up,
                };
                Job {
                    cmd: values.fill(argv).stoppable().deadline(whole + 4 * MARGIN),
                    flow: Some(flow.subject.clone()),
                    about: subject_role(flow, request),
                    ..job(&flow.sink, "server")
                }
            })
        });
        let servers = batch.launch(servers.collect()).await?;
        let phases = if options.knows_warm_up() || request.warm_up.is_zero() {
            let one = |flow| client(flow, "stdout", request.window, request.warm_up);
            Phases {
                batch,
                servers,
                warm_up: Vec::new(),
                measured: flows().map(one).collect(),
                lead: None,
            }
        } else {
            let first = |flow| client(flow, "warm-up", request.warm_up, Duration::ZERO);
            let second = |flow| client(flow, "stdout", request.window, Duration::ZERO);
            Phases {
                batch,
                servers,
                warm_up: flows().map(first).collect(),
                measured: flows().map(second).collect(),
                lead: None,
            }
        };
        phases.start().await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        read_stdout(raw, self.kind())
    }
}

#[async_trait]
impl Measure for CommandMonitor {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    /// None that are known beforehand: the study names them.
    fn metrics(&self) -> &'static [MetricInfo] {
        &[]
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        refusals(self.kind(), intent)
    }

    fn gives(&self, options: &Options) -> Option<Vec<String>> {
        given(options)
    }

    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let options: CommandOptions = crate::options::of_request(self.name(), request)?;
        let values = Values {
            flow: None,
            duration: request.window,
            warm_up: request.warm_up,
        };
        let deadline = request.warm_up + request.window + 4 * MARGIN;
        let jobs = nodes(request, options.place(self.kind()))
            .into_iter()
            .map(|node| Job {
                cmd: values.fill(&options.argv).stoppable().deadline(deadline),
                ..job(node, "stdout")
            });
        let batch = Batch::new(self.name(), request);
        let launched = batch.launch(jobs.collect()).await?;
        Ok(Box::new(Jobs { batch, launched }))
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        read_stdout(raw, self.kind())
    }
}

fn read_stdout(raw: &Raw<'_>, kind: MeasureKind) -> Result<Vec<Sample>, ParseError> {
    match raw.artefact.stream.as_str() {
        "server" | "warm-up" => Ok(Vec::new()),
        _ => parse::parse(raw, kind),
    }
}

fn refusals(kind: MeasureKind, intent: &Intent<'_>) -> Vec<Refusal> {
    match crate::options::intended::<CommandOptions>(intent) {
        Ok(options) => options.refusals(kind),
        Err(refusal) => vec![refusal],
    }
}

/// Names of the values that the study extracts.
fn given(options: &Options) -> Option<Vec<String>> {
    let options: CommandOptions = crate::options::read(options).ok()?;
    let all = options.extract.iter();
    Some(all.map(|extract| extract.metric.to_string()).collect())
}

/// A job of nothing yet.
fn job(node: &Node, stream: &'static str) -> Job {
    Job {
        node: node.clone(),
        cmd: vexp_api::shell::Cmd::new("true"),
        stream,
        extension: "txt",
        flow: None,
        warm_up: Duration::ZERO,
        about: std::collections::BTreeMap::new(),
    }
}

/// The nodes that a monitor runs on, each once.
fn nodes(request: &MeasureRequest, place: Place) -> Vec<&Node> {
    let mut nodes: Vec<&Node> = match place {
        Place::Source => request.flows.iter().map(|flow| &flow.source).collect(),
        Place::Sink => request.flows.iter().map(|flow| &flow.sink).collect(),
        Place::Host => vec![&request.host],
        Place::Guests => request.guests.iter().collect(),
        Place::Peers => request.peers.iter().collect(),
    };
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes.dedup_by(|a, b| a.name == b.name);
    nodes
}
