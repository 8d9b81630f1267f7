//! Bulk traffic with iperf3 3.18 or newer (`--json-stream` appeared in 3.17).
//!
//! Each flow has a one-off server on its sink and a client on its source. The servers are up
//! before the first client is started, and all clients are started together. Both sides' output
//! is kept: the server's is read for what arrived (`throughput`, `loss`, `packets_per_second`),
//! the client's for what was sent (`throughput_sent`,
//! `packets_sent_per_second`, `retransmits`). A flow whose connection was made and that then moved
//! nothing, as both sides say, has 0 Mb/s; one that was never made is an error.

mod options;
mod parse;
mod samples;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Flow, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, Offer, ParseError,
    Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::{Sample, Unit};
use vexp_api::shell::Cmd;
use vexp_api::spec::Options;
use vexp_api::units::BitRate;

use super::ports::{Protocol, wait_for_ports};
use crate::capture::{Batch, Job, Jobs, MARGIN};
use options::Iperf3Options;

/// Seconds that a server waits for its client.
const IDLE: u64 = 30;

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

pub(crate) const PACKETS_SENT: MetricInfo = MetricInfo {
    name: "packets_sent_per_second",
    unit: Unit::PacketsPerS,
    about: "datagrams that the source handed to its network stack, per interval",
};

/// Samples that tools for bulk traffic give of a protocol: datagrams are lost, segments are sent again.
pub(super) fn given(protocol: Protocol) -> Vec<String> {
    let only: &[MetricInfo] = match protocol {
        Protocol::Tcp => &[RETRANSMITS],
        Protocol::Udp => &[LOSS, PACKETS, PACKETS_SENT],
    };
    let both = [THROUGHPUT, SENT];
    let all = both.iter().chain(only);
    all.map(|metric| metric.name.to_owned()).collect()
}

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
        const { &[THROUGHPUT, SENT, RETRANSMITS, LOSS, PACKETS, PACKETS_SENT] }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["iperf3"]
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        match crate::options::intended::<Iperf3Options>(intent) {
            Ok(options) => options.refusals(intent),
            Err(refusal) => vec![refusal],
        }
    }

    fn gives(&self, options: &Options) -> Option<Vec<String>> {
        let options: Iperf3Options = crate::options::read(options).ok()?;
        Some(given(options.protocol))
    }

    fn offers(&self, options: &Options, link: BitRate) -> Option<Offer> {
        let options: Iperf3Options = crate::options::read(options).ok()?;
        options.offer(link)
    }

    /// Starts servers, waits until all listen, then starts all clients together. The first
    /// measured packet is sent `warm_up` after this returns. Nothing else may use ports
    /// `port..port + flows` on the sinks.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let options: Iperf3Options = crate::options::of_request("iperf3", request)?;
        let seconds = (request.warm_up + request.window).as_secs();
        let deadline = request.warm_up + request.window + MARGIN;
        let batch = Batch::new("iperf3", request);
        let flows: Vec<(Flow, u16)> = request.flows.iter().cloned().zip(options.port..).collect();
        let job = |flow: &Flow, cmd: Cmd, stream| {
            Job::of_flow(flow, cmd.deadline(deadline), stream, "json", request)
        };

        wait_for_ports("iperf3", &flows, Protocol::Tcp, false).await?;
        let servers = flows
            .iter()
            .map(|(flow, port)| job(flow, options.server(*port, IDLE), "server"))
            .collect();
        let mut launched = batch.launch(servers).await?;
        wait_for_ports("iperf3", &flows, Protocol::Tcp, true).await?;
        let clients = flows
            .iter()
            .map(|(flow, port)| {
                let cmd = options.client(flow.to, *port, seconds, request.link_rate);
                job(flow, cmd, "client")
            })
            .collect();
        launched.extend(batch.launch_together(clients).await?);
        Ok(Box::new(Jobs { batch, launched }))
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
