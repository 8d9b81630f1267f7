//! Counters of interfaces, queues and protocols on every hop, before the traffic and after it:
//! where packets were sent, handed on, and dropped.
//!
//! Each node is asked once before and once after, all nodes at the same time, by one program that
//! runs the tools one after another, so that it costs each connection one command. The artefact is
//! what the tools printed, first before, then after, as it came.
//!
//! Differences are over the whole traffic, warm-up included, with what begins and ends it (address
//! resolution, a test's control connection): counts of it, never rates of the measured window.

mod parse;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::digest::Digest;
use vexp_api::plugin::{
    Captured, Context, Finished, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, Node,
    ParseError, Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::{NodeRole, Sample, Unit};
use vexp_api::shell::Cmd;

use crate::capture::{Batch, Job, MARGIN};

/// What every node is asked: interfaces and queues.
const LINKS: &str = "ip -s -s -json link show\ntc -s -json qdisc show\n";
/// A machine with protocols.
const MACHINE: &str = "tail -v -n +1 /proc/net/snmp /proc/net/softnet_stat\n";
/// A peer, which may be a name space of a kernel whose processors are not its own.
const PEER: &str = "tail -v -n +1 /proc/net/snmp\n";
/// Links between others: what the kernel there dropped, but no protocols.
const SWITCH: &str = "tail -v -n +1 /proc/net/softnet_stat\n";

const fn count(name: &'static str, about: &'static str) -> MetricInfo {
    MetricInfo {
        name,
        unit: Unit::Count,
        about,
    }
}

const fn bytes(name: &'static str, about: &'static str) -> MetricInfo {
    MetricInfo {
        name,
        unit: Unit::Bytes,
        about,
    }
}

/// All metrics; those of an interface come as `INTERFACE.NAME`, say `eth1.rx_packets`, and lo has
/// none. See `struct rtnl_link_stats64` in Linux's `if_link.h`, and RFC 4293, 4113 and 4022.
const METRICS: &[MetricInfo] = &[
    count("rx_packets", "packets received on an interface"),
    bytes("rx_bytes", "bytes received on an interface"),
    count("rx_errors", "damaged packets on an interface"),
    count("rx_dropped", "packets received and not taken by the kernel"),
    count(
        "rx_over_errors",
        "packets lost in the interface's own buffer",
    ),
    count(
        "rx_missed_errors",
        "packets lost for want of a place in the host's memory",
    ),
    count("tx_packets", "packets sent on an interface"),
    bytes("tx_bytes", "bytes sent on an interface"),
    count("tx_errors", "packets that an interface failed to send"),
    count(
        "tx_dropped",
        "packets dropped on the way to an interface, its queue apart",
    ),
    count("qdisc_packets", "packets that left an interface's queue"),
    count("qdisc_dropped", "packets that an interface's queue dropped"),
    count(
        "qdisc_overlimits",
        "times that an interface's queue held packets back",
    ),
    count("ip_received", "packets that IP received"),
    count(
        "ip_forwarded",
        "packets that IP forwarded, also those that a queue then dropped",
    ),
    count("ip_delivered", "packets that IP gave to TCP, UDP …"),
    count("ip_sent", "packets that TCP, UDP … gave to IP"),
    count(
        "ip_in_discards",
        "received packets that IP dropped for want of memory",
    ),
    count(
        "ip_out_discards",
        "packets that IP dropped on their way out",
    ),
    count("udp_received", "datagrams that programs were given"),
    count("udp_sent", "datagrams that programs sent"),
    count("udp_no_ports", "datagrams to a port without a program"),
    count(
        "udp_in_errors",
        "datagrams not given to programs, full buffers included",
    ),
    count(
        "udp_rcvbuf_errors",
        "datagrams dropped because a program's buffer was full",
    ),
    count(
        "udp_sndbuf_errors",
        "datagrams not sent because a buffer was full",
    ),
    count("tcp_received", "segments received"),
    count("tcp_sent", "segments sent, retransmissions apart"),
    count("tcp_retransmitted", "segments sent again"),
    count(
        "softnet_dropped",
        "packets dropped because a processor's backlog was full",
    ),
    count(
        "softnet_squeezed",
        "times that a processor had no time left for packets that wait",
    ),
];

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Counters;

impl Plugin for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Measure for Counters {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        METRICS
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        let options = crate::options::intended::<NoOptions>(intent);
        options.err().into_iter().collect()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["ip", "nice", "tc", "xargs"]
    }

    /// Reads all nodes of the request, and returns when it has.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let batch = Batch::new("counters", request);
        let jobs: Vec<Job> = nodes(request).into_iter().map(job).collect();
        let before = batch.collect(batch.launch(jobs.clone()).await?).await?;
        Ok(Box::new(Counting {
            batch,
            jobs,
            before,
        }))
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// Each node once.
fn nodes(request: &MeasureRequest) -> Vec<Node> {
    let nodes = std::iter::once(&request.host)
        .chain(&request.guests)
        .chain(&request.peers)
        .chain(&request.switch);
    let by_name: BTreeMap<_, _> = nodes.map(|node| (&node.name, node)).collect();
    by_name.into_values().cloned().collect()
}

/// The commands that a node runs, a line each.
fn commands(role: NodeRole) -> String {
    let own = match role {
        NodeRole::Host | NodeRole::Guest => MACHINE,
        NodeRole::Peer => PEER,
        NodeRole::Switch => SWITCH,
    };
    format!("{LINKS}{own}")
}

fn job(node: Node) -> Job {
    Job {
        // xargs runs each of the constant lines as a program with arguments.
        cmd: Cmd::new("nice")
            .args(["-n", "-15", "xargs"])
            .args(["-L", "1", "env"])
            .stdin(commands(node.role))
            .deadline(MARGIN),
        node,
        stream: "stdout",
        extension: "txt",
        flow: None,
        warm_up: Duration::ZERO,
        about: BTreeMap::new(),
    }
}

/// The time between the two readings.
struct Counting {
    batch: Batch,
    jobs: Vec<Job>,
    before: Vec<Captured>,
}

#[async_trait]
impl Running for Counting {
    async fn finish(self: Box<Self>) -> Result<Finished, PluginError> {
        let after = self
            .batch
            .collect(self.batch.launch(self.jobs).await?)
            .await?;
        let both = self.before.into_iter().zip(after);
        Ok(Finished {
            artefacts: both.map(|(before, after)| join(before, after)).collect(),
        })
    }
}

/// One artefact of a node's two.
fn join(before: Captured, after: Captured) -> Captured {
    let mut both = before;
    both.bytes.extend(after.bytes);
    both.line_times.extend(after.line_times);
    let artefact = &mut both.artefact;
    artefact.digest = Digest::of(&both.bytes);
    // The first that failed tells.
    if artefact.status == Some(0) {
        artefact.status = after.artefact.status;
    }
    artefact.stderr.push_str(&after.artefact.stderr);
    artefact.truncated |= after.artefact.truncated;
    artefact.ended_s = after.artefact.ended_s;
    // Standard input, which says what was run, is kept nowhere else.
    let commands = commands(artefact.role);
    let commands = commands.trim_end().replace('\n', "; ");
    artefact.command = format!("{} ({commands})", artefact.command);
    both
}
