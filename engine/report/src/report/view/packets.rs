//! Where packets went: counters of every hop, before and after the traffic.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::record::Part;
use vexp_api::sample::{NodeRole, Unit};
use vexp_api::spec::Role;

use crate::frame::Row;
use crate::report::format;
use crate::report::index::{Index, point_id};

/// The counters of a point of a router experiment, means over its trials.
#[derive(Debug, Serialize)]
pub(super) struct Hops {
    id: String,
    title: String,
    trials: usize,
    sent: Option<String>,
    received: Option<String>,
    forwarded: Option<String>,
    drops: Vec<Drop>,
    interfaces: Vec<Interface>,
}

/// A counter of packets that went nowhere.
#[derive(Debug, Serialize)]
struct Drop {
    node: String,
    counter: String,
    packets: String,
}

#[derive(Debug, Serialize)]
struct Interface {
    node: String,
    name: String,
    received: String,
    sent: String,
    dropped: String,
}

/// Counters of packets that were given up. Some count the same packet: they are not to be added.
const DROPS: [&str; 14] = [
    "rx_dropped",
    "tx_dropped",
    "rx_errors",
    "tx_errors",
    "rx_over_errors",
    "rx_missed_errors",
    "qdisc_dropped",
    "ip_in_discards",
    "ip_out_discards",
    "udp_in_errors",
    "udp_rcvbuf_errors",
    "udp_sndbuf_errors",
    "udp_no_ports",
    "softnet_dropped",
];

/// Means by node and counter.
type Counts<'a> = BTreeMap<(&'a Name, NodeRole, &'a str), f64>;

/// The points of router experiments whose hops were counted.
pub(super) fn hops(index: &Index<'_>) -> Vec<Hops> {
    let mut points: BTreeMap<(&Name, &Name, u32), Vec<&[Row]>> = BTreeMap::new();
    for frame in &index.frames.trials {
        let trial = &frame.trial;
        if trial.role == Role::Router {
            let point = (&trial.experiment, &trial.platform, trial.vms);
            points.entry(point).or_default().push(&frame.rows);
        }
    }
    points
        .into_iter()
        .filter_map(|(point, trials)| {
            let counts = counts(&trials);
            (!counts.is_empty()).then(|| Hops {
                id: point_id(point),
                title: format!(
                    "{}, {}, {}",
                    point.0,
                    index.platform(point.1),
                    format::vms(point.2)
                ),
                trials: trials.len(),
                sent: peers(&counts, &["udp_sent", "tcp_sent"]),
                received: peers(&counts, &["udp_received", "tcp_received"]),
                forwarded: forwarded(&counts, point.2 > 0),
                drops: drops(&counts),
                interfaces: interfaces(&counts),
            })
        })
        .collect()
}

fn counts<'a>(trials: &[&'a [Row]]) -> Counts<'a> {
    let mut counts = Counts::new();
    let rows = trials.iter().flat_map(|rows| rows.iter());
    for row in rows.filter(|row| row.part == Part::Monitor && row.sample.unit == Unit::Count) {
        let sample = &row.sample;
        let key = (&sample.node, sample.role, sample.metric.as_str());
        *counts.entry(key).or_default() += sample.value / trials.len() as f64;
    }
    counts
}

fn packets(count: f64) -> String {
    format::number(count, Unit::Count)
}

/// The sum of counters over the peers, the greater of the protocols: the other one only controls.
fn peers(counts: &Counts<'_>, counters: &[&str]) -> Option<String> {
    let sums = counters.iter().filter_map(|counter| {
        let found = counts.iter();
        found
            .filter(|((_, role, name), _)| *role == NodeRole::Peer && name == counter)
            .map(|(_, count)| *count)
            .reduce(|a, b| a + b)
    });
    sums.reduce(f64::max).map(packets)
}

/// What the kernels that route forwarded: the guests', or the machine's own.
fn forwarded(counts: &Counts<'_>, guests: bool) -> Option<String> {
    let router = if guests {
        NodeRole::Guest
    } else {
        NodeRole::Host
    };
    let found = counts.iter();
    found
        .filter(|((_, role, name), _)| *role == router && *name == "ip_forwarded")
        .map(|(_, count)| *count)
        .reduce(|a, b| a + b)
        .map(packets)
}

fn drops(counts: &Counts<'_>) -> Vec<Drop> {
    let mut found: Vec<_> = counts
        .iter()
        .filter(|((_, _, name), count)| {
            let counter = name.rsplit_once('.').map_or(*name, |(_, counter)| counter);
            DROPS.contains(&counter) && **count > 0.0
        })
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    found
        .into_iter()
        .map(|((node, _, counter), count)| Drop {
            node: node.to_string(),
            counter: (*counter).to_owned(),
            packets: packets(*count),
        })
        .collect()
}

fn interfaces(counts: &Counts<'_>) -> Vec<Interface> {
    let names: BTreeSet<(NodeRole, &Name, &str)> = counts
        .keys()
        .filter_map(|(node, role, name)| Some((*role, *node, name.rsplit_once('.')?.0)))
        .collect();
    names
        .into_iter()
        .filter_map(|(role, node, name)| {
            let count = |counter: &str| {
                let metric = format!("{name}.{counter}");
                counts.get(&(node, role, metric.as_str())).copied()
            };
            let (received, sent) = (count("rx_packets")?, count("tx_packets")?);
            let dropped = count("rx_dropped").unwrap_or(0.0) + count("tx_dropped").unwrap_or(0.0);
            (received + sent > 0.0).then(|| Interface {
                node: node.to_string(),
                name: name.to_owned(),
                received: packets(received),
                sent: packets(sent),
                dropped: packets(dropped),
            })
        })
        .collect()
}
