//! Who used how much processor time.

use vexp_api::ids::Name;
use vexp_api::record::Part;
use vexp_api::sample::NodeRole;

use super::series::{Estimate, Nodes, Series, by_node, estimate, sum};
use crate::frame::Row;
use crate::stats::Draw;

/// Tools that measure the host's idle time, where others look at each tick what a processor does: what
/// they say of the whole host stands in place of the others'.
const EXACT: [&str; 1] = ["uptime"];

/// Who accounts processor time, and how.
#[derive(Clone, Debug, Default)]
pub(super) enum Cpu {
    /// Nobody.
    #[default]
    Unknown,
    /// The host's time only (sar on classical Linux, where that is all).
    Host(Series),
    /// The host's time with the guests' in it, and the guests' as a sum (sar under KVM: all busy
    /// time, and `%guest`).
    Nested { all: Series, guests: Series },
    /// The host's time with the guests' in it, and each guest's (sar under KVM, and pidstat of the
    /// guests' processes).
    Processes { all: Series, guests: Nodes },
    /// Each domain's own time (xentop).
    Domains { host: Series, guests: Nodes },
}

impl Cpu {
    /// A tool that tells domains apart is preferred, since sar in dom0 sees dom0 alone; then one
    /// that sees everything, with another's account of the guests, or its own of all guests.
    pub(super) fn new(rows: &[Row], vms: u32) -> Self {
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
        let complete = |guests: &Nodes| vms > 0 && guests.len() == vms as usize;
        // Each guest's time from a tool that leaves the host's to another.
        let processes = tools.iter().find_map(|tool| {
            let alone = of(tool, "cpu", NodeRole::Host).is_empty();
            Some(of(tool, "cpu", NodeRole::Guest)).filter(|found| alone && complete(found))
        });
        let exact = tools.iter().find(|tool| EXACT.contains(&tool.as_str()));
        let exact = exact.and_then(|tool| of(tool, "cpu", NodeRole::Host).pop_first());
        let mut best = Self::Unknown;
        for tool in tools {
            let Some((_, host)) = of(tool, "cpu", NodeRole::Host).pop_first() else {
                continue;
            };
            let guests = of(tool, "cpu", NodeRole::Guest);
            let time = of(tool, "cpu_guest_time", NodeRole::Host).pop_first();
            let found = match (time, &processes) {
                (Some(_), Some(guests)) if vms > 0 => Self::Processes {
                    all: host,
                    guests: guests.clone(),
                },
                (Some((_, guests)), None) if vms > 0 => Self::Nested { all: host, guests },
                (None, _) if complete(&guests) => Self::Domains { host, guests },
                _ => Self::Host(host),
            };
            if found.detail() > best.detail() {
                best = found;
            }
        }
        match exact {
            Some((_, exact)) => best.with_exact(exact, processes.filter(|_| vms > 0)),
            None => best,
        }
    }

    /// With an exact account of the host. Where domains are told apart, it is of dom0 alone, as sar's is.
    fn with_exact(self, all: Series, processes: Option<Nodes>) -> Self {
        match (self, processes) {
            (Self::Unknown | Self::Host(_), Some(guests)) => Self::Processes { all, guests },
            (Self::Unknown | Self::Host(_), None) => Self::Host(all),
            (Self::Nested { guests, .. }, _) => Self::Nested { all, guests },
            (Self::Processes { guests, .. }, _) => Self::Processes { all, guests },
            (domains @ Self::Domains { .. }, _) => domains,
        }
    }

    fn detail(&self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Host(_) => 1,
            Self::Nested { .. } => 2,
            Self::Processes { .. } => 3,
            Self::Domains { .. } => 4,
        }
    }

    pub(super) fn series(&self) -> Vec<&Series> {
        match self {
            Self::Unknown => Vec::new(),
            Self::Host(host) => vec![host],
            Self::Nested { all, guests } => vec![all, guests],
            Self::Processes { all: one, guests } | Self::Domains { host: one, guests } => {
                std::iter::once(one).chain(guests.values()).collect()
            }
        }
    }

    /// Each guest's time, where guests are told apart.
    pub(super) fn guests(&self, draw: Option<&Draw>) -> Vec<(&Name, Option<Estimate>)> {
        match self {
            Self::Processes { guests, .. } | Self::Domains { guests, .. } => guests
                .iter()
                .map(|(node, series)| (node, estimate(series, draw)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The time of the host and all guests together. The host's alone is all there is where nobody else
    /// runs; with guests that nobody accounted for, the total is unknown.
    pub(super) fn total(&self, vms: u32, draw: Option<&Draw>) -> Option<Estimate> {
        match self {
            Self::Unknown => None,
            Self::Host(host) => estimate(host, draw).filter(|_| vms == 0),
            Self::Nested { all, .. } | Self::Processes { all, .. } => estimate(all, draw),
            Self::Domains { host, guests } => {
                let all = guests.values().chain(std::iter::once(host));
                sum(all.map(|series| estimate(series, draw)))
            }
        }
    }

    /// The host's own time, and the sum of the guests' where it is known.
    pub(super) fn host_and_guests(
        &self,
        draw: Option<&Draw>,
    ) -> (Option<Estimate>, Option<Estimate>) {
        let of_all = |all: &Series, guests: Option<Estimate>| {
            let host = estimate(all, draw).zip(guests);
            let host = host.map(|(all, guests)| all.plus(guests.scaled(-1.0)));
            // One account is sampled and the other is not: where they contradict each other, what is
            // left for the host is not known.
            (host.filter(|host| host.above >= 0.0), guests)
        };
        let summed = |guests: &Nodes| sum(guests.values().map(|series| estimate(series, draw)));
        match self {
            Self::Unknown => (None, None),
            Self::Host(host) => (estimate(host, draw), None),
            Self::Nested { all, guests } => of_all(all, estimate(guests, draw)),
            Self::Processes { all, guests } => of_all(all, summed(guests)),
            Self::Domains { host, guests } => (estimate(host, draw), summed(guests)),
        }
    }
}
