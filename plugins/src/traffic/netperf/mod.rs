//! Bulk traffic with netperf 2.7: `UDP_STREAM` and `TCP_STREAM` with omni's output selectors.
//!
//! Each flow has a server on its sink and a client on its source, which prints what both sides
//! counted. netperf's summary is of a whole test, so that the warm-up is a test of its own: the
//! measured test follows when the warm-up's time is over. A client waits up to 4 s after its test
//! for datagrams that were lost.

mod options;
mod parse;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Flow, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError, Plugin,
    PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::{Sample, Unit};
use vexp_api::shell::Cmd;
use vexp_api::spec::Options;

use super::iperf3::given;
use super::ports::{Protocol, wait_for_ports};
use crate::capture::{Batch, Job, MARGIN, Phases};
use options::NetperfOptions;

/// What a client is asked to print.
const KEYS: &[&str] = &[
    "PROTOCOL",
    "ELAPSED_TIME",
    "LOCAL_SEND_CALLS",
    "LOCAL_BYTES_SENT",
    "LOCAL_SEND_SIZE",
    "REMOTE_RECV_CALLS",
    "REMOTE_BYTES_RECVD",
    "THROUGHPUT",
    "THROUGHPUT_UNITS",
    "LOCAL_TRANSPORT_RETRANS",
];

pub(crate) const THROUGHPUT: MetricInfo = MetricInfo {
    name: "throughput",
    unit: Unit::MbPerS,
    about: "payload that arrived at the sink, over the whole test",
};
pub(crate) const SENT: MetricInfo = MetricInfo {
    name: "throughput_sent",
    unit: Unit::MbPerS,
    about: "payload that the source handed to its network stack, over the whole test",
};
pub(crate) const RETRANSMITS: MetricInfo = MetricInfo {
    name: "retransmits",
    unit: Unit::Count,
    about: "TCP segments sent again, over the whole test",
};
pub(crate) const PACKETS: MetricInfo = MetricInfo {
    name: "packets_per_second",
    unit: Unit::PacketsPerS,
    about: "datagrams that arrived at the sink, over the whole test",
};
pub(crate) const PACKETS_SENT: MetricInfo = MetricInfo {
    name: "packets_sent_per_second",
    unit: Unit::PacketsPerS,
    about: "datagrams that the source handed to its network stack, over the whole test",
};
pub(crate) const LOSS: MetricInfo = MetricInfo {
    name: "loss",
    unit: Unit::Percent,
    about: "datagrams that never arrived, over the whole test",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Netperf;

impl Plugin for Netperf {
    fn name(&self) -> &'static str {
        "netperf"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Netperf {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Traffic
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[THROUGHPUT, SENT, RETRANSMITS, PACKETS, PACKETS_SENT, LOSS] }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["netperf", "netserver"]
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        match crate::options::intended::<NetperfOptions>(intent) {
            Ok(options) => options.refusals(intent),
            Err(refusal) => vec![refusal],
        }
    }

    fn gives(&self, options: &Options) -> Option<Vec<String>> {
        let options: NetperfOptions = crate::options::read(options).ok()?;
        Some(given(options.protocol))
    }

    /// Starts servers, waits until all listen, then starts all clients together. Nothing else may
    /// use ports `port..port + flows` on the sinks.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let options: NetperfOptions = crate::options::of_request("netperf", request)?;
        let (warm_up, window) = (request.warm_up.as_secs(), request.window.as_secs());
        let batch = Batch::new("netperf", request);
        let flows: Vec<(Flow, u16)> = request.flows.iter().cloned().zip(options.port..).collect();
        let deadline = request.warm_up + request.window + MARGIN;
        let job = |flow: &Flow, cmd: Cmd, stream| Job {
            // The warm-up goes to a file of its own.
            warm_up: std::time::Duration::ZERO,
            ..Job::of_flow(flow, cmd.deadline(deadline), stream, "txt", request)
        };
        let clients = |stream, seconds| {
            let flows = flows.iter().filter(|_| seconds > 0);
            flows
                .map(|(flow, port)| job(flow, options.client(flow, *port, seconds), stream))
                .collect::<Vec<Job>>()
        };

        wait_for_ports("netperf", &flows, Protocol::Tcp, false).await?;
        let servers = flows
            .iter()
            .map(|(flow, port)| {
                // Stopped at the end; the extra time is for programs that are held.
                let server = NetperfOptions::server(flow, *port).stoppable();
                let mut job = job(flow, server, "server");
                job.cmd.deadline += 2 * MARGIN;
                job
            })
            .collect();
        let servers = batch.launch(servers).await?;
        wait_for_ports("netperf", &flows, Protocol::Tcp, true).await?;
        let phases = Phases {
            batch,
            servers,
            warm_up: clients("warm-up", warm_up),
            measured: clients("client", window),
            lead: Some(request.warm_up),
        };
        phases.start().await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        match raw.artefact.stream.as_str() {
            // What arrived is in the client's file.
            "server" | "warm-up" => Ok(Vec::new()),
            _ => parse::parse(raw),
        }
    }
}
