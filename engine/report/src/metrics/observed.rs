//! One trial: its series, and the metrics that follow from them (Table I, equations 1 and 2).

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::record::Part;
use vexp_api::sample::NodeRole;

use crate::frame::{Row, TrialFrame};
use crate::stats::{self, Draw};

/// A metric of a trial, or of one virtual machine in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Metric.
    pub metric: &'static str,
    /// Virtual machine; `None` for the trial.
    pub node: Option<Name>,
}

/// An estimate of a metric in one trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Value.
    pub value: f64,
    /// Samples of the shortest series that it stands on.
    pub samples: usize,
}

/// All metrics of a trial.
pub type Estimates = BTreeMap<Key, Estimate>;

/// Values with the lengths of their intervals, in order of time.
type Series = Vec<(f64, f64)>;

/// The series of a trial by what they say.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    vms: u32,
    throughput: BTreeMap<Name, Series>,
    packets: BTreeMap<Name, Series>,
    loss: BTreeMap<Name, Series>,
    rtt: BTreeMap<Name, Series>,
    cpu: Cpu,
}

/// Who accounts processor time, and how.
#[derive(Clone, Debug, Default)]
enum Cpu {
    /// Nobody.
    #[default]
    Unknown,
    /// The host's time only (sar on classical Linux, where that is all).
    Host(Series),
    /// The host's time with the guests' in it, and the guests' as a sum (sar under KVM: all busy
    /// time, and `%guest`).
    Nested { all: Series, guests: Series },
    /// Each domain's own time (xentop).
    Domains {
        host: Series,
        guests: BTreeMap<Name, Series>,
    },
}

impl Observed {
    /// The series of a trial.
    pub fn new(frame: &TrialFrame) -> Self {
        let traffic = |metric: &str| {
            let rows = frame.rows.iter().filter(|row| row.part == Part::Traffic);
            by_node(rows.filter(|row| row.sample.metric == *metric))
        };
        Self {
            vms: frame.trial.vms,
            throughput: traffic("throughput"),
            packets: traffic("packets_per_second"),
            loss: traffic("loss"),
            rtt: traffic("rtt"),
            cpu: Cpu::new(&frame.rows, frame.trial.vms),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Series> {
        let cpu: Vec<&Series> = match &self.cpu {
            Cpu::Unknown => Vec::new(),
            Cpu::Host(host) => vec![host],
            Cpu::Nested { all, guests } => vec![all, guests],
            Cpu::Domains { host, guests } => std::iter::once(host).chain(guests.values()).collect(),
        };
        let traffic = [&self.throughput, &self.packets, &self.loss, &self.rtt];
        traffic.into_iter().flat_map(BTreeMap::values).chain(cpu)
    }

    /// Lengths of all series, for drawing.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.all().map(Vec::len)
    }

    fn flows(&self) -> usize {
        self.vms.max(1) as usize
    }

    /// R_aggregate, Mb/s.
    pub fn aggregate(&self, draw: Option<&Draw>) -> Option<Estimate> {
        sum(self
            .throughput
            .values()
            .map(|series| estimate(series, draw)))
    }

    /// All metrics; the efficiency only against a reference.
    pub fn estimates(&self, draw: Option<&Draw>, classical: Option<Estimate>) -> Estimates {
        let mut found = Estimates::new();
        let mut put = |metric, node: Option<&Name>, estimate: Option<Estimate>| {
            if let Some(estimate) = estimate.filter(|estimate| estimate.value.is_finite()) {
                let node = node.cloned();
                found.insert(Key { metric, node }, estimate);
            }
        };
        for (metric, nodes) in [
            ("throughput", &self.throughput),
            ("packets_per_second", &self.packets),
            ("loss", &self.loss),
            ("latency", &self.rtt),
        ] {
            for (node, series) in nodes {
                put(metric, Some(node), estimate(series, draw));
            }
            // A flow that lost every packet has no round-trip time, and no mean is taken of the
            // others.
            let all = nodes.len() == self.flows();
            put(metric, None, each(nodes, draw, stats::mean).filter(|_| all));
        }
        let aggregate = self.aggregate(draw);
        put("throughput_aggregate", None, aggregate);
        put(
            "fair_share",
            None,
            each(&self.throughput, draw, stats::mean),
        );
        put(
            "jain_throughput",
            None,
            each(&self.throughput, draw, stats::jain),
        );
        put("efficiency", None, ratio(aggregate, classical));

        let (host, guests) = self.cpu.host_and_guests(draw);
        // The host's time alone is all there is where nobody else runs. With guests that nobody
        // accounted for, the total is unknown.
        let total = match guests {
            Some(guests) => host.map(|host| plus(host, guests)),
            None => host.filter(|_| self.vms == 0),
        };
        put("cpu_host", None, host);
        put("cpu_total", None, total);
        put("cpu_per_mbps", None, ratio(total, aggregate));
        if self.vms > 0 {
            let each_guest = guests.map(|guests| scaled(guests, 1.0 / f64::from(self.vms)));
            put("cpu_guest", None, each_guest);
        }
        if let Cpu::Domains { guests, .. } = &self.cpu {
            for (node, series) in guests {
                put("cpu_guest", Some(node), estimate(series, draw));
            }
            put("jain_cpu", None, each(guests, draw, stats::jain));
        }
        found
    }

    /// How many samples of the series that a metric is about lie outside of Tukey's fences.
    pub fn outliers(&self, key: &Key) -> usize {
        let nodes = match key.metric {
            "throughput"
            | "throughput_aggregate"
            | "fair_share"
            | "jain_throughput"
            | "efficiency" => &self.throughput,
            "packets_per_second" => &self.packets,
            "loss" => &self.loss,
            "latency" => &self.rtt,
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

impl Cpu {
    /// A tool that tells domains apart is preferred, since sar in dom0 sees dom0 alone; then one
    /// that tells guest time apart.
    fn new(rows: &[Row], vms: u32) -> Self {
        let of = |tool: &Name, metric: &str, role| {
            let rows = rows.iter().filter(|row| row.part == Part::Monitor);
            by_node(rows.filter(|row| {
                row.tool == *tool && row.sample.metric == *metric && row.sample.role == role
            }))
        };
        let mut tools: Vec<&Name> = rows
            .iter()
            .filter(|row| row.part == Part::Monitor)
            .map(|row| &row.tool)
            .collect();
        tools.dedup();
        let mut best = Self::Unknown;
        for tool in tools {
            let Some((_, host)) = of(tool, "cpu", NodeRole::Host).pop_first() else {
                continue;
            };
            let guests = of(tool, "cpu", NodeRole::Guest);
            let time = of(tool, "cpu_guest_time", NodeRole::Host).pop_first();
            let found = match time {
                Some((_, guests)) if vms > 0 => Self::Nested { all: host, guests },
                None if vms > 0 && guests.len() == vms as usize => Self::Domains { host, guests },
                _ => Self::Host(host),
            };
            if found.detail() > best.detail() {
                best = found;
            }
        }
        best
    }

    fn detail(&self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Host(_) => 1,
            Self::Nested { .. } => 2,
            Self::Domains { .. } => 3,
        }
    }

    /// The host's own time, and the sum of the guests' where it is known.
    fn host_and_guests(&self, draw: Option<&Draw>) -> (Option<Estimate>, Option<Estimate>) {
        match self {
            Self::Unknown => (None, None),
            Self::Host(host) => (estimate(host, draw), None),
            Self::Nested { all, guests } => {
                let guests = estimate(guests, draw);
                let host = estimate(all, draw)
                    .zip(guests)
                    .map(|(all, guests)| plus(all, scaled(guests, -1.0)));
                (host, guests)
            }
            Self::Domains { host, guests } => {
                let guests = sum(guests.values().map(|series| estimate(series, draw)));
                (estimate(host, draw), guests)
            }
        }
    }
}

fn by_node<'a>(rows: impl Iterator<Item = &'a Row>) -> BTreeMap<Name, Series> {
    let mut nodes: BTreeMap<Name, Series> = BTreeMap::new();
    for row in rows {
        let value = (row.sample.value, row.sample.dt);
        nodes
            .entry(row.sample.node.clone())
            .or_default()
            .push(value);
    }
    nodes
}

/// The mean of a series, weighted by the lengths of the intervals; points weigh the same.
fn estimate(series: &Series, draw: Option<&Draw>) -> Option<Estimate> {
    let points = series.iter().any(|(_, dt)| *dt <= 0.0);
    let weigh = |(sum, weight): (f64, f64), &(value, dt): &(f64, f64)| {
        let dt = if points { 1.0 } else { dt };
        (sum + value * dt, weight + dt)
    };
    let (sum, weight) = match draw.and_then(|draw| draw.indexes(series.len())) {
        Some(indexes) => indexes
            .iter()
            .filter_map(|i| series.get(*i))
            .fold((0.0, 0.0), weigh),
        None => series.iter().fold((0.0, 0.0), weigh),
    };
    (weight > 0.0).then(|| Estimate {
        value: sum / weight,
        samples: series.len(),
    })
}

/// A function of the means of several series.
fn each(
    nodes: &BTreeMap<Name, Series>,
    draw: Option<&Draw>,
    of: impl Fn(&[f64]) -> Option<f64>,
) -> Option<Estimate> {
    let means: Option<Vec<Estimate>> = nodes
        .values()
        .map(|series| estimate(series, draw))
        .collect();
    let means = means?;
    let values: Vec<f64> = means.iter().map(|mean| mean.value).collect();
    Some(Estimate {
        value: of(&values)?,
        samples: means.iter().map(|mean| mean.samples).min()?,
    })
}

fn sum(estimates: impl Iterator<Item = Option<Estimate>>) -> Option<Estimate> {
    let estimates: Option<Vec<Estimate>> = estimates.collect();
    estimates?.into_iter().reduce(plus)
}

fn plus(a: Estimate, b: Estimate) -> Estimate {
    Estimate {
        value: a.value + b.value,
        samples: a.samples.min(b.samples),
    }
}

fn scaled(a: Estimate, by: f64) -> Estimate {
    Estimate {
        value: a.value * by,
        ..a
    }
}

fn ratio(above: Option<Estimate>, below: Option<Estimate>) -> Option<Estimate> {
    let (above, below) = (above?, below?);
    (below.value != 0.0).then(|| Estimate {
        value: above.value / below.value,
        samples: above.samples.min(below.samples),
    })
}
