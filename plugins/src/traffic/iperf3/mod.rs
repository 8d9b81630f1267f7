//! Bulk traffic with iperf3 3.18 or newer (`--json-stream` appeared in 3.17).
//!
//! Each flow has a one-off server on its sink and a client on its source. The servers are up
//! before the first client is started, and all clients are started together. Both sides' output
//! is kept: the server's is read for what arrived (`throughput`, `loss`, `packets_per_second`),
//! the client's for what was sent (`throughput_sent`, `retransmits`).

mod options;
mod parse;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Flow, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError, Plugin,
    PluginError, Raw, Running,
};
use vexp_api::sample::{Sample, Unit};
use vexp_api::shell::Cmd;

use crate::capture::{Batch, Job, Jobs, MARGIN, subject_role, together, whole_seconds};
use options::Iperf3Options;

/// Seconds that a server waits for its client.
const IDLE: u64 = 30;
/// Time in which a server must listen, and in which an earlier one must have let go of the port.
const LISTEN: Duration = Duration::from_secs(40);
/// Time between two looks at a port.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) const THROUGHPUT: MetricInfo = MetricInfo {
    name: "throughput",
    unit: Unit::MbPerS,
    about: "payload that arrived at the sink, per interval",
};
pub(crate) const SENT: MetricInfo = MetricInfo {
    name: "throughput_sent",
    unit: Unit::MbPerS,
    about: "payload that the source handed to its network stack, per interval",
};
pub(crate) const RETRANSMITS: MetricInfo = MetricInfo {
    name: "retransmits",
    unit: Unit::Count,
    about: "TCP segments sent again, per interval",
};
pub(crate) const LOSS: MetricInfo = MetricInfo {
    name: "loss",
    unit: Unit::Percent,
    about: "datagrams that never arrived, over the whole window",
};
pub(crate) const PACKETS: MetricInfo = MetricInfo {
    name: "packets_per_second",
    unit: Unit::PacketsPerS,
    about: "datagrams that arrived at the sink, per interval",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Iperf3;

impl Plugin for Iperf3 {
    fn name(&self) -> &'static str {
        "iperf3"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Iperf3 {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Traffic
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[THROUGHPUT, SENT, RETRANSMITS, LOSS, PACKETS] }
    }

    /// Starts servers, waits until all listen, then starts all clients together. The first
    /// measured packet is sent `warm_up` after this returns. Nothing else may use ports
    /// `port..port + flows` on the sinks.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        let options: Iperf3Options = crate::options::of_request("iperf3", request)?;
        options.check().map_err(|message| {
            PluginError::new("start iperf3", request.host.name.as_str(), message)
        })?;
        let warm_up = whole_seconds("warm-up", "iperf3", request.warm_up, request)?;
        let window = whole_seconds("window", "iperf3", request.window, request)?;
        if window == 0 {
            let node = request.host.name.as_str();
            return Err(PluginError::new("start iperf3", node, "the window is 0 s"));
        }
        let deadline = request.warm_up + request.window + MARGIN;
        let batch = Batch::new("iperf3", request);
        let flows: Vec<(Flow, u16)> = request.flows.iter().cloned().zip(options.port..).collect();
        let job = |flow: &Flow, cmd: Cmd, stream| Job {
            node: match stream {
                "server" => flow.sink.clone(),
                _ => flow.source.clone(),
            },
            cmd: cmd.deadline(deadline),
            stream,
            extension: "json",
            flow: Some(flow.subject.clone()),
            warm_up: request.warm_up,
            about: subject_role(flow, request),
        };

        wait_for_ports(&flows, false).await?;
        let servers = flows
            .iter()
            .map(|(flow, port)| job(flow, options.server(*port, IDLE), "server"))
            .collect();
        let mut launched = batch.launch(servers).await?;
        wait_for_ports(&flows, true).await?;
        let clients = flows
            .iter()
            .map(|(flow, port)| {
                let cmd = options.client(flow.to, *port, warm_up + window);
                job(flow, cmd, "client")
            })
            .collect();
        launched.extend(batch.launch(clients).await?);
        Ok(Box::new(Jobs { batch, launched }))
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}

/// Waits until every flow's port is listened to, or until none is.
async fn wait_for_ports(flows: &[(Flow, u16)], listening: bool) -> Result<(), PluginError> {
    let waits = together(flows.to_vec(), move |(flow, port)| async move {
        wait_for_port(&flow, port, listening).await
    });
    waits.await?.into_iter().collect()
}

async fn wait_for_port(flow: &Flow, port: u16, listening: bool) -> Result<(), PluginError> {
    let sink = &flow.sink;
    let step = format!("prepare port {port} for iperf3");
    let look = Cmd::new("ss").args(["-H", "-l", "-n", "-t", "sport", "=", &format!(":{port}")]);
    let began = tokio::time::Instant::now();
    loop {
        let output = sink.shell.check(look.clone()).await;
        let output = output.map_err(|e| PluginError::shell(&step, &sink.name, e))?;
        if output.text().trim().is_empty() != listening {
            return Ok(());
        }
        if began.elapsed() > LISTEN {
            let message = if listening {
                "the server does not listen: is iperf3 installed there?"
            } else {
                "another program listens there: choose another `port`, or end it"
            };
            return Err(PluginError::new(step, sink.name.as_str(), message));
        }
        tokio::time::sleep(LOOK).await;
    }
}
