//! Packets by the counters of network interfaces and of the network stack: what was sent, what
//! arrived, and where the rest was dropped. Counters are differences over the whole traffic.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::record::Part;
use vexp_api::sample::{NodeRole, Unit};
use vexp_api::spec::Role;

use super::series::Estimate;
use crate::frame::Row;

/// Counters of an interface that are packets lost in it or in its queue. Also the ones of a
/// processor's queue (`softnet_dropped`) end up in an interface's `rx_dropped`.
const OF_INTERFACE: [&str; 4] = [
    "rx_dropped",
    "tx_dropped",
    "rx_missed_errors",
    "qdisc_dropped",
];

/// Counters of a node that are packets lost above its interfaces. Full socket buffers are among
/// the errors of UDP.
const OF_NODE: [&str; 4] = [
    "ip_in_discards",
    "ip_out_discards",
    "udp_in_errors",
    "udp_sndbuf_errors",
];

/// Counters by node.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(BTreeMap<Name, (NodeRole, BTreeMap<Name, f64>)>);

impl Counters {
    pub(super) fn new(rows: &[Row]) -> Self {
        let mut nodes: BTreeMap<Name, (NodeRole, BTreeMap<Name, f64>)> = BTreeMap::new();
        let counts = rows.iter().filter(|row| {
            row.part == Part::Monitor && matches!(row.sample.unit, Unit::Count | Unit::Bytes)
        });
        for row in counts {
            let sample = &row.sample;
            let node = nodes
                .entry(sample.node.clone())
                .or_insert_with(|| (sample.role, BTreeMap::new()));
            *node.1.entry(sample.metric.clone()).or_insert(0.0) += sample.value;
        }
        Self(nodes)
    }

    /// Packets dropped at each node that counted any; control networks apart.
    pub(super) fn dropped(&self) -> Vec<(&Name, Estimate)> {
        let lost = |metric: &Name| match metric.as_str().rsplit_once('.') {
            Some((interface, name)) => {
                !interface.starts_with("ctl") && OF_INTERFACE.contains(&name)
            }
            None => OF_NODE.contains(&metric.as_str()),
        };
        let nodes = self.0.iter().filter_map(|(node, (_, counters))| {
            let found: Vec<f64> = counters
                .iter()
                .filter(|(metric, _)| lost(metric))
                .map(|(_, value)| *value)
                .collect();
            let estimate = Estimate::new(found.iter().sum(), 1);
            (!found.is_empty()).then_some((node, estimate))
        });
        nodes.collect()
    }

    /// Loss in percent: packets that left the sources' data interfaces, against those that came in
    /// at the sinks'. Only of datagrams, whose way back is empty.
    pub(super) fn loss(&self, role: Role, vms: u32) -> Option<Estimate> {
        let under_test = if vms == 0 {
            NodeRole::Host
        } else {
            NodeRole::Guest
        };
        let (sent, received) = match role {
            Role::Sender => (
                self.data(under_test, "tx_packets", |_| true),
                self.data(NodeRole::Peer, "rx_packets", |_| true),
            ),
            Role::Receiver => (
                self.data(NodeRole::Peer, "tx_packets", |_| true),
                self.data(under_test, "rx_packets", |_| true),
            ),
            // A peer sends or receives, and what does more of it than of the other is its part.
            Role::Router => (
                self.data(NodeRole::Peer, "tx_packets", sends),
                self.data(NodeRole::Peer, "rx_packets", |counters| !sends(counters)),
            ),
        };
        let (sent, received) = (sent?, received?);
        // A sum over some of the machines is not one over all.
        let tested = self.0.values().filter(|(at, _)| *at == under_test).count();
        if role != Role::Router && tested != vms.max(1) as usize {
            return None;
        }
        (sent > 0.0).then(|| Estimate {
            above: 100.0 * (sent - received).max(0.0),
            below: sent,
            samples: 1,
            step: 0.0,
        })
    }

    /// The sum of a counter over the data interfaces of nodes; `None` if there are none.
    fn data(
        &self,
        role: NodeRole,
        counter: &str,
        of: impl Fn(&BTreeMap<Name, f64>) -> bool,
    ) -> Option<f64> {
        let nodes = self.0.values().filter(|(at, _)| *at == role);
        let found: Vec<f64> = nodes
            .filter(|(_, counters)| of(counters))
            .filter_map(|(_, counters)| on_data(counters, counter))
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }
}

/// The sum of a counter over a node's data interfaces.
fn on_data(counters: &BTreeMap<Name, f64>, counter: &str) -> Option<f64> {
    let found: Vec<f64> = counters
        .iter()
        .filter(|(metric, _)| {
            let parts = metric.as_str().rsplit_once('.');
            parts.is_some_and(|(interface, name)| interface.starts_with("data") && name == counter)
        })
        .map(|(_, value)| *value)
        .collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

fn sends(counters: &BTreeMap<Name, f64>) -> bool {
    on_data(counters, "tx_bytes") > on_data(counters, "rx_bytes")
}
