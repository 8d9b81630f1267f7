//! One trial: its series, and the metrics that follow from them (Table I, equations 1 and 2).

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::metric::METRICS;
use vexp_api::record::Part;
use vexp_api::spec::Role;

use super::counters::Counters;
use super::cpu::Cpu;
use super::series::{
    Estimate, Nodes, Series, block_step, by_node, each, estimate, merged_quantile, quantile, ratio,
    sum,
};
use crate::frame::TrialFrame;
use crate::stats::{self, Draw};

/// A metric of a trial, or of one virtual machine in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Metric.
    pub metric: &'static str,
    /// Virtual machine; `None` for the trial.
    pub node: Option<Name>,
}

/// All metrics of a trial.
pub type Estimates = BTreeMap<Key, Estimate>;

/// The series of a trial by what they say.
#[derive(Clone, Debug)]
pub struct Observed {
    vms: u32,
    flows: u32,
    role: Role,
    throughput: Nodes,
    /// The steps in which that was counted.
    blocks: BTreeMap<Name, f64>,
    sent: Nodes,
    packets: Nodes,
    packets_sent: Nodes,
    loss: Nodes,
    rtt: Nodes,
    /// Differences between one round-trip time and the next.
    jitter: Nodes,
    cpu: Cpu,
    /// The traffic peers' processor time, where they share the machine's processor.
    cpu_peers: Nodes,
    counters: Counters,
}

/// Classical Linux in the same experiment and repetition: R, C and L.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classical {
    pub(super) throughput: Option<Estimate>,
    pub(super) cpu: Option<Estimate>,
    pub(super) latency: Option<Estimate>,
}

/// Collects what is there.
#[derive(Default)]
struct Found(Estimates);

impl Found {
    fn put(&mut self, metric: &'static str, node: Option<&Name>, estimate: Option<Estimate>) {
        if let Some(estimate) = estimate.filter(|estimate| estimate.value().is_finite()) {
            let node = node.cloned();
            self.0.insert(Key { metric, node }, estimate);
        }
    }
}

impl Observed {
    /// The series of a trial.
    pub fn new(frame: &TrialFrame) -> Self {
        let traffic = |metric: &str| {
            let rows = frame.rows.iter().filter(|row| row.part == Part::Traffic);
            by_node(rows.filter(|row| row.sample.metric == *metric))
        };
        let rtt = traffic("rtt");
        let throughput = traffic("throughput");
        Self {
            vms: frame.trial.vms,
            flows: frame.trial.flows(),
            role: frame.trial.role,
            blocks: throughput
                .iter()
                .map(|(node, series)| (node.clone(), block_step(series)))
                .collect(),
            throughput,
            packets_sent: traffic("packets_sent_per_second"),
            sent: traffic("throughput_sent"),
            packets: traffic("packets_per_second"),
            loss: traffic("loss"),
            jitter: rtt.iter().map(differences).collect(),
            rtt,
            cpu: Cpu::new(&frame.rows, frame.trial.vms),
            cpu_peers: by_node(
                frame
                    .rows
                    .iter()
                    .filter(|row| row.part == Part::Monitor && row.sample.metric == *"cpu_peers"),
            ),
            counters: Counters::new(&frame.rows),
        }
    }

    /// Lengths of all series, for drawing.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        let traffic = [
            &self.throughput,
            &self.sent,
            &self.packets,
            &self.packets_sent,
            &self.loss,
            &self.rtt,
            &self.jitter,
            &self.cpu_peers,
        ];
        let traffic = traffic.into_iter().flat_map(BTreeMap::values);
        traffic.chain(self.cpu.series()).map(Vec::len)
    }

    /// Series that should be level, by node: what arrived, or round-trip times.
    pub(super) fn steady_series(&self) -> (&'static str, &Nodes) {
        match self.throughput.is_empty() {
            true => ("rtt", &self.rtt),
            false => ("throughput", &self.throughput),
        }
    }

    /// What is divided by, if this is classical Linux.
    pub fn as_classical(&self, draw: Option<&Draw>) -> Classical {
        let mut found = Found::default();
        self.latencies(draw, &mut found);
        let latency = Key {
            metric: "latency",
            node: None,
        };
        Classical {
            throughput: self.arrived(draw),
            cpu: self.cpu_total(draw),
            latency: found.0.get(&latency).copied(),
        }
    }

    /// All metrics; the relative ones only against a reference.
    pub fn estimates(&self, draw: Option<&Draw>, classical: Classical) -> Estimates {
        let mut found = Found::default();
        self.rates(draw, classical, &mut found);
        self.losses(draw, &mut found);
        self.latencies(draw, &mut found);
        self.processor(draw, classical, &mut found);
        let key = Key {
            metric: "latency",
            node: None,
        };
        let latency = found.0.get(&key).copied();
        found.put("latency_relative", None, ratio(latency, classical.latency));
        found.0
    }

    fn aggregate(&self, nodes: &Nodes, draw: Option<&Draw>) -> Option<Estimate> {
        sum(nodes.values().map(|series| estimate(series, draw)))
    }

    /// What arrived at all nodes.
    fn arrived(&self, draw: Option<&Draw>) -> Option<Estimate> {
        sum(self.throughput.iter().map(|one| self.rate(one, draw)))
    }

    fn rate(&self, (node, series): (&Name, &Series), draw: Option<&Draw>) -> Option<Estimate> {
        let step = self.blocks.get(node).copied().unwrap_or(0.0);
        Some(estimate(series, draw)?.counted_in(step))
    }

    fn rates(&self, draw: Option<&Draw>, classical: Classical, found: &mut Found) {
        let each_rate: Vec<(&Name, Estimate)> = self
            .throughput
            .iter()
            .filter_map(|one| Some((one.0, self.rate(one, draw)?)))
            .collect();
        put_with_mean("throughput", &each_rate, self.flows(), found);
        let aggregate = self.arrived(draw);
        let rates: Vec<Estimate> = each_rate.iter().map(|(_, rate)| *rate).collect();
        found.put("throughput_aggregate", None, aggregate);
        found.put("fair_share", None, each(&rates, stats::mean));
        found.put("jain_throughput", None, each(&rates, stats::jain));
        found.put("efficiency", None, ratio(aggregate, classical.throughput));
        for (node, series) in &self.sent {
            found.put("offered_load", Some(node), estimate(series, draw));
        }
        found.put("offered_load", None, self.aggregate(&self.sent, draw));
        let packets = of_each(&self.packets, |series| estimate(series, draw));
        put_with_mean("packets_per_second", &packets, self.flows(), found);
        found.put(
            "packets_aggregate",
            None,
            self.aggregate(&self.packets, draw),
        );
    }

    /// Packets that were sent to a machine in a second: as the sender counts them, or else from those
    /// that arrived, which says nothing where all were lost.
    fn sent_to(&self, node: &Name, share: Estimate, draw: Option<&Draw>) -> Option<f64> {
        if let Some(sent) = self.packets_sent.get(node) {
            return Some(estimate(sent, draw)?.above).filter(|sent| *sent > 0.0);
        }
        let received = estimate(self.packets.get(node)?, draw)?.above;
        let sent = received / (1.0 - share.above / 100.0);
        (sent.is_finite() && sent > 0.0).then_some(sent)
    }

    /// Loss of each machine, and of all: what they lost over what was sent to them. Where no tool counts
    /// packets (ping), every machine was sent as many; where some are counted and others can't be, there
    /// is no loss of all.
    fn losses(&self, draw: Option<&Draw>, found: &mut Found) {
        let shares = of_each(&self.loss, |series| estimate(series, draw));
        if self.packets.is_empty() && self.packets_sent.is_empty() {
            return put_with_mean("loss", &shares, self.flows(), found);
        }
        let mut weighed = Vec::new();
        for (node, share) in &shares {
            let one = match self.sent_to(node, *share, draw) {
                Some(sent) => {
                    let one = Estimate {
                        above: share.above * sent,
                        below: sent,
                        ..*share
                    };
                    weighed.push(one);
                    one
                }
                None => *share,
            };
            found.put("loss", Some(node), Some(one));
        }
        if weighed.len() != self.flows() {
            return;
        }
        let of_all = |of: fn(&Estimate) -> f64| weighed.iter().map(of).sum();
        let samples = weighed.iter().map(|loss| loss.samples).min();
        let all = samples.map(|samples| Estimate {
            above: of_all(|loss| loss.above),
            below: of_all(|loss| loss.below),
            samples,
            step: 0.0,
        });
        found.put("loss", None, all);
    }

    /// A flow that lost every packet has no round-trip time, and no mean is taken of the others.
    fn latencies(&self, draw: Option<&Draw>, found: &mut Found) {
        let percentiles = METRICS
            .iter()
            .filter_map(|m| Some((m.name, m.percentile()?)));
        for (metric, p) in percentiles {
            let nodes = of_each(&self.rtt, |series| quantile(series, draw, p));
            for (node, estimate) in &nodes {
                found.put(metric, Some(node), Some(*estimate));
            }
            let all = merged_quantile(self.rtt.values(), draw, p);
            found.put(metric, None, all.filter(|_| nodes.len() == self.flows()));
        }
        for (metric, of_nodes) in [
            (
                "latency",
                of_each(&self.rtt, |series| estimate(series, draw)),
            ),
            (
                "jitter",
                of_each(&self.jitter, |series| estimate(series, draw)),
            ),
        ] {
            put_with_mean(metric, &of_nodes, self.flows(), found);
        }
    }

    /// All round-trip times of a machine, or of all.
    pub(super) fn round_trips(&self, node: Option<&Name>) -> impl Iterator<Item = f64> {
        let nodes = self.rtt.iter();
        let wanted = nodes.filter(move |(name, _)| node.is_none_or(|node| node == *name));
        wanted.flat_map(|(_, series)| series.iter().map(|(value, _)| *value))
    }

    fn cpu_total(&self, draw: Option<&Draw>) -> Option<Estimate> {
        self.cpu.total(self.vms, draw)
    }

    fn processor(&self, draw: Option<&Draw>, classical: Classical, found: &mut Found) {
        let (host, guests) = self.cpu.host_and_guests(draw);
        let total = self.cpu_total(draw);
        let aggregate = self.arrived(draw);
        found.put("cpu_host", None, host);
        found.put("cpu_total", None, total);
        found.put("cpu_peers", None, self.aggregate(&self.cpu_peers, draw));
        found.put("cpu_per_mbps", None, ratio(total, aggregate));
        found.put("cpu_relative", None, ratio(total, classical.cpu));
        if self.vms > 0 {
            let mean = guests.map(|guests| guests.scaled(1.0 / f64::from(self.vms)));
            found.put("cpu_guest", None, mean);
        }
        let each_guest = self.cpu.guests(draw);
        for (node, guest) in &each_guest {
            found.put("cpu_guest", Some(node), *guest);
        }
        let all: Option<Vec<Estimate>> = each_guest.into_iter().map(|(_, guest)| guest).collect();
        found.put(
            "jain_cpu",
            None,
            all.and_then(|all| each(&all, stats::jain)),
        );
    }

    /// Metrics of counters, which are totals and have no series to draw from.
    pub(super) fn totals(&self) -> Estimates {
        let mut found = Found::default();
        let dropped = self.counters.dropped();
        for (node, packets) in &dropped {
            found.put("dropped", Some(node), Some(*packets));
        }
        let all = dropped.into_iter().map(|(_, packets)| packets);
        found.put("dropped", None, all.reduce(Estimate::plus));
        if !self.loss.is_empty() && !self.throughput.is_empty() {
            let loss = self.counters.loss(self.role, self.vms);
            found.put("loss_counters", None, loss);
        }
        found.0
    }

    fn flows(&self) -> usize {
        self.flows as usize
    }

    /// How many samples of the series that a metric is about lie outside of Tukey's fences.
    pub fn outliers(&self, key: &Key) -> usize {
        let nodes = match key.metric {
            "throughput"
            | "throughput_aggregate"
            | "fair_share"
            | "jain_throughput"
            | "efficiency" => &self.throughput,
            "offered_load" => &self.sent,
            "packets_per_second" | "packets_aggregate" => &self.packets,
            "loss" => &self.loss,
            "latency" | "latency_relative" => &self.rtt,
            "jitter" => &self.jitter,
            _ => return 0,
        };
        nodes
            .iter()
            .filter(|(node, _)| key.node.as_ref().is_none_or(|wanted| wanted == *node))
            .map(|(_, series)| {
                let values: Vec<f64> = series.iter().map(|(value, _)| *value).collect();
                stats::outliers(&values)
            })
            .sum()
    }
}

fn differences((node, series): (&Name, &Series)) -> (Name, Series) {
    let pairs = series.windows(2);
    let differences = pairs.map(|pair| ((pair[1].0 - pair[0].0).abs(), 0.0));
    (node.clone(), differences.collect())
}

fn of_each(nodes: &Nodes, of: impl Fn(&Series) -> Option<Estimate>) -> Vec<(&Name, Estimate)> {
    let found = nodes.iter();
    found
        .filter_map(|(node, series)| Some((node, of(series)?)))
        .collect()
}

/// Each node's value, and their mean if every flow has one.
fn put_with_mean(
    metric: &'static str,
    nodes: &[(&Name, Estimate)],
    flows: usize,
    found: &mut Found,
) {
    for (node, estimate) in nodes {
        found.put(metric, Some(node), Some(*estimate));
    }
    let estimates: Vec<Estimate> = nodes.iter().map(|(_, estimate)| *estimate).collect();
    let mean = each(&estimates, stats::mean).filter(|_| nodes.len() == flows);
    found.put(metric, None, mean);
}
