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
    Context, Flow, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, Offer, ParseError,
    Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::Sample;
use vexp_api::shell::Cmd;
use vexp_api::spec::Options;
use vexp_api::units::BitRate;

use super::iperf3::{LOSS, PACKETS, PACKETS_SENT, RETRANSMITS, SENT, THROUGHPUT, given};
use super::ports::{Protocol, wait_for_ports};
use crate::capture::{Batch, Job, Jobs, MARGIN};
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

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        match crate::options::intended::<IperfOptions>(intent) {
            Ok(options) => options.refusals(intent),
            Err(refusal) => vec![refusal],
        }
    }

    fn gives(&self, options: &Options) -> Option<Vec<String>> {
        let options: IperfOptions = crate::options::read(options).ok()?;
        Some(given(options.protocol))
    }

    fn offers(&self, options: &Options, link: BitRate) -> Option<Offer> {
        let options: IperfOptions = crate::options::read(options).ok()?;
        options.offer(link)
    }

    /// Starts servers, waits until all listen, then starts all clients together. Nothing else may
    /// use ports `port..port + flows` on the sinks.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let options: IperfOptions = crate::options::of_request("iperf", request)?;
        let seconds = (request.warm_up + request.window).as_secs();
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
                let client = options.client(flow.to, *port, seconds, link);
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
