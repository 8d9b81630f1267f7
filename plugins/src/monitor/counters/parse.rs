//! Two readings → their differences.
//!
//! A difference covers the time from the first reading's last line to the second reading's first.
//! Without arrival times it is that from the first program's start to the second's end. A counter
//! that went back, and an interface or a queue that came, went or was replaced, are errors: what
//! happened to it in between can't be known.

use std::collections::BTreeMap;

use vexp_api::plugin::{MetricInfo, ParseError, Raw};
use vexp_api::sample::Sample;

use super::METRICS;
use super::snapshot::{Link, Queue, Snapshot, both};
use crate::text::{Maker, at, of_part, whole};

/// Counters of protocols: metric, protocol, and its name there.
const PROTOCOLS: [(&str, &str, &str); 15] = [
    ("ip_received", "Ip", "InReceives"),
    ("ip_forwarded", "Ip", "ForwDatagrams"),
    ("ip_delivered", "Ip", "InDelivers"),
    ("ip_sent", "Ip", "OutRequests"),
    ("ip_in_discards", "Ip", "InDiscards"),
    ("ip_out_discards", "Ip", "OutDiscards"),
    ("udp_received", "Udp", "InDatagrams"),
    ("udp_sent", "Udp", "OutDatagrams"),
    ("udp_no_ports", "Udp", "NoPorts"),
    ("udp_in_errors", "Udp", "InErrors"),
    ("udp_rcvbuf_errors", "Udp", "RcvbufErrors"),
    ("udp_sndbuf_errors", "Udp", "SndbufErrors"),
    ("tcp_received", "Tcp", "InSegs"),
    ("tcp_sent", "Tcp", "OutSegs"),
    ("tcp_retransmitted", "Tcp", "RetransSegs"),
];

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    if raw.artefact.status != Some(0) {
        let said = raw.artefact.stderr.trim();
        let message = format!("a tool failed, so that counters are missing; it said: {said:?}");
        return Err(whole(raw, message));
    }
    let (before, after) = both(raw)?;
    let begin = before.arrival.1.unwrap_or(raw.artefact.started_s);
    let end = after.arrival.0.unwrap_or(raw.artefact.ended_s);
    let difference = Difference {
        raw,
        line: after.line,
        maker: Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role),
        time: (begin, end - begin),
    };
    let mut out = difference.links(&before, &after)?;
    out.extend(difference.protocols(&before, &after)?);
    out.extend(difference.softnet(&before, &after)?);
    Ok(out)
}

struct Difference<'r, 'a> {
    raw: &'r Raw<'a>,
    line: usize,
    maker: Maker<'r, 'a>,
    time: (f64, f64),
}

impl Difference<'_, '_> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        at(self.raw, self.line, message)
    }

    /// The sample of a counter that was `before` and is `after`.
    fn sample(&self, metric: &str, before: u64, after: u64) -> Result<Sample, ParseError> {
        let info: &MetricInfo = METRICS
            .iter()
            .find(|info| info.name == metric)
            .ok_or_else(|| self.error(format!("{metric} is no metric")))?;
        let difference = after.checked_sub(before).ok_or_else(|| {
            self.error(format!(
                "{metric} went back from {before} to {after}: it was set back or ran over"
            ))
        })?;
        self.maker
            .sample(self.line, *info, self.time, difference as f64)
    }

    fn links(&self, before: &Snapshot, after: &Snapshot) -> Result<Vec<Sample>, ParseError> {
        self.same("interface", &before.links, &after.links)?;
        self.same("queue of", &before.queues, &after.queues)?;
        let mut parts = BTreeMap::new();
        let mut out = Vec::new();
        for ((interface, was), is) in before.links.iter().zip(after.links.values()) {
            let part = part(interface);
            if let Some(other) = parts.insert(part.clone(), interface) {
                let message = format!("{other} and {interface} would both be called {part}");
                return Err(self.error(message));
            }
            if was.ifindex != is.ifindex {
                return Err(self.error(format!("{interface} was replaced by another interface")));
            }
            let mut values = link(was).into_iter().zip(link(is)).collect::<Vec<_>>();
            let queues = before
                .queues
                .get(interface)
                .zip(after.queues.get(interface));
            if let Some((was, is)) = queues {
                if (&was.kind, &was.handle) != (&is.kind, &is.handle) {
                    return Err(self.error(format!("the queue of {interface} was replaced")));
                }
                values.extend(queue(was).into_iter().zip(queue(is)));
            }
            for ((metric, was), (_, is)) in values {
                let sample = self.sample(metric, was, is).map_err(|error| ParseError {
                    message: format!("{interface}: {}", error.message),
                    ..error
                })?;
                out.push(of_part(self.raw, &part, sample)?);
            }
        }
        Ok(out)
    }

    /// Refuses names that are on one side only.
    fn same<T>(
        &self,
        what: &str,
        before: &BTreeMap<String, T>,
        after: &BTreeMap<String, T>,
    ) -> Result<(), ParseError> {
        let lost = before.keys().find(|name| !after.contains_key(*name));
        if let Some(name) = lost {
            return Err(self.error(format!("{what} {name} is gone at the end")));
        }
        let new = after.keys().find(|name| !before.contains_key(*name));
        match new {
            Some(name) => Err(self.error(format!("{what} {name} was not there at the start"))),
            None => Ok(()),
        }
    }

    fn protocols(&self, before: &Snapshot, after: &Snapshot) -> Result<Vec<Sample>, ParseError> {
        if before.protocols.is_empty() && after.protocols.is_empty() {
            return Ok(Vec::new());
        }
        let value = |snapshot: &Snapshot, protocol: &str, name: &str| {
            let key = (protocol.to_owned(), name.to_owned());
            let text = snapshot.protocols.get(&key);
            let value = text.and_then(|text| text.parse::<u64>().ok());
            value.ok_or_else(|| {
                let message = format!("/proc/net/snmp has no count of {protocol} {name}");
                at(self.raw, snapshot.line, message)
            })
        };
        PROTOCOLS
            .iter()
            .map(|(metric, protocol, name)| {
                let was = value(before, protocol, name)?;
                self.sample(metric, was, value(after, protocol, name)?)
            })
            .collect()
    }

    fn softnet(&self, before: &Snapshot, after: &Snapshot) -> Result<Vec<Sample>, ParseError> {
        let (was, is) = (&before.softnet, &after.softnet);
        if was.len() != is.len() {
            let message = format!(
                "{} processors at the start and {} at the end: one was switched, or lines are missing",
                was.len(),
                is.len()
            );
            return Err(self.error(message));
        }
        if was.is_empty() {
            return Ok(Vec::new());
        }
        let sum = |of: &[(u64, u64)]| {
            let add = |sum: (u64, u64), one: &(u64, u64)| (sum.0 + one.0, sum.1 + one.1);
            of.iter().fold((0, 0), add)
        };
        let ((dropped, squeezed), (dropped_now, squeezed_now)) = (sum(was), sum(is));
        Ok(vec![
            self.sample("softnet_dropped", dropped, dropped_now)?,
            self.sample("softnet_squeezed", squeezed, squeezed_now)?,
        ])
    }
}

/// An interface's name as the first part of a metric's.
fn part(interface: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
        _ => '_',
    };
    interface.chars().map(plain).collect()
}

fn link(link: &Link) -> [(&'static str, u64); 10] {
    let (rx, tx) = (&link.stats64.rx, &link.stats64.tx);
    [
        ("rx_packets", rx.packets),
        ("rx_bytes", rx.bytes),
        ("rx_errors", rx.errors),
        ("rx_dropped", rx.dropped),
        ("rx_over_errors", rx.over_errors),
        ("rx_missed_errors", rx.missed_errors),
        ("tx_packets", tx.packets),
        ("tx_bytes", tx.bytes),
        ("tx_errors", tx.errors),
        ("tx_dropped", tx.dropped),
    ]
}

fn queue(queue: &Queue) -> [(&'static str, u64); 3] {
    [
        ("qdisc_packets", queue.packets),
        ("qdisc_dropped", queue.drops),
        ("qdisc_overlimits", queue.overlimits),
    ]
}
