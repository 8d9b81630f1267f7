//! Bulk traffic with iperf 2.2, the version 2 that the paper's authors had a forerunner of.
//!
//! Each flow has a server on its sink, which ends after its one client, and a client on its
//! source. The server's output is read for what arrived (`throughput`, `loss`,
//! `packets_per_second`), the client's for what was sent (`throughput_sent`,
//! `packets_sent_per_second`, `retransmits`).

mod options;
mod parse;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Flow, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError, Plugin,
    PluginError, Raw, Running,
};
use vexp_api::sample::Sample;
use vexp_api::shell::Cmd;

use super::iperf3::{LOSS, PACKETS, PACKETS_SENT, RETRANSMITS, SENT, THROUGHPUT};
use super::ports::{Protocol, wait_for_ports};
use crate::capture::{Batch, Job, Jobs, MARGIN, whole_times};
use options::IperfOptions;

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Iperf;

impl Plugin for Iperf {
    fn name(&self) -> &'static str {
        "iperf"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Iperf {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Traffic
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[THROUGHPUT, SENT, RETRANSMITS, LOSS, PACKETS, PACKETS_SENT] }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["iperf"]
    }

    /// Starts servers, waits until all listen, then starts all clients together. Nothing else may
    /// use ports `port..port + flows` on the sinks.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        let options: IperfOptions = crate::options::of_request("iperf", request)?;
        let host = request.host.name.as_str();
        let wrong = |message: &str| PluginError::new("start iperf", host, message);
        options.check().map_err(wrong)?;
        let (warm_up, window) = whole_times("iperf", request)?;
        let batch = Batch::new("iperf", request);
        let flows: Vec<(Flow, u16)> = request.flows.iter().cloned().zip(options.port..).collect();
        let job = |flow: &Flow, cmd: Cmd, stream| Job::of_flow(flow, cmd, stream, "txt", request);

        let protocol = options.protocol;
        wait_for_ports("iperf", &flows, protocol, false).await?;
        let planned = request.warm_up + request.window + MARGIN;
        let servers = flows
            .iter()
            .map(|(flow, port)| {
                // Held clients may take as long as the margin to start.
                let server = options.server(*port, planned.as_secs());
                job(flow, server.deadline(planned + MARGIN), "server")
            })
            .collect();
        let mut launched = batch.launch(servers).await?;
        wait_for_ports("iperf", &flows, protocol, true).await?;
        let clients = flows
            .iter()
            .map(|(flow, port)| {
                let link = request.link_rate;
                let client = options.client(flow.to, *port, warm_up + window, link);
                job(flow, client.deadline(planned), "client")
            })
            .collect();
        launched.extend(batch.launch_together(clients).await?);
        Ok(Box::new(Jobs { batch, launched }))
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
