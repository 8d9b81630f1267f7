//! The enhanced report of iperf 2.1 and 2.2 (`-e -i 1 -f b`): one line an interval, then one of the whole
//! test. Streams (`-P`) are added up, interval by interval; lines `[SUM]` are not read, which lack parts.
//!
//! Times: each interval's end is `base + end`, with one base for the file. Lines arrive late and
//! never early, so that the base is the least `arrival - end` of all intervals. Without arrival
//! times it is the program's start.

use std::collections::BTreeMap;

use vexp_api::plugin::{MetricInfo, ParseError, Raw};
use vexp_api::sample::Sample;

use super::{LOSS, PACKETS, PACKETS_SENT, RETRANSMITS, SENT, THROUGHPUT};
use crate::text::{Line, Maker, alone, at, decimal, lines, plausible, whole};

/// What the lines below a heading are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    ServerTcp,
    ServerUdp,
    ClientTcp,
    ClientUdp,
}

/// An interval.
#[derive(Clone, Copy, Debug)]
struct Seen {
    line: usize,
    arrival: Option<f64>,
    start: f64,
    end: f64,
    bytes: u64,
    bits_per_second: u64,
    /// TCP client: segments sent again. UDP client: datagrams sent. UDP server: datagrams lost.
    count: u64,
    /// UDP server: datagrams that were sent.
    total: u64,
}

/// Interval's length that a run's programs are told.
const NOMINAL: f64 = 1.0;

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let (table, streams) = read(raw)?;
    let stream = raw.artefact.stream.as_str();
    let server = matches!(table, Table::ServerTcp | Table::ServerUdp);
    if (stream == "client" && server) || (stream == "server" && !server) {
        let message = format!("described as the {stream}'s output, but the other side's");
        return Err(whole(raw, message));
    }
    let mut all: Vec<Seen> = Vec::new();
    for (number, mut seen) in streams.into_values().enumerate() {
        // The last line is of the whole test. Without it the output is cut.
        let summary = seen.pop().filter(|last| last.start == 0.0);
        let Some(summary) = summary.filter(|_| !seen.is_empty()) else {
            return Err(whole(
                raw,
                "the output is cut: it has no line for the whole test; run the trial again",
            ));
        };
        check(raw, &seen, &summary, table)?;
        if number == 0 {
            all = seen;
        } else {
            all = beside(&all, &seen);
        }
    }
    if all.is_empty() {
        return Err(whole(raw, "no interval that all streams have: see -P"));
    }
    samples(raw, table, &all)
}

/// The intervals that two streams both have, added up.
fn beside(all: &[Seen], more: &[Seen]) -> Vec<Seen> {
    let pairs = all.iter().zip(more);
    let same =
        pairs.take_while(|(a, b)| (a.start - b.start).abs() < 0.01 && (a.end - b.end).abs() < 0.01);
    same.map(|(a, b)| Seen {
        line: b.line,
        arrival: b.arrival.or(a.arrival),
        bytes: a.bytes.saturating_add(b.bytes),
        bits_per_second: a.bits_per_second.saturating_add(b.bits_per_second),
        count: a.count.saturating_add(b.count),
        total: a.total.saturating_add(b.total),
        ..*a
    })
    .collect()
}

/// The heading's kind and all lines with numbers below it, by stream.
fn read<'a>(raw: &Raw<'a>) -> Result<(Table, BTreeMap<&'a str, Vec<Seen>>), ParseError> {
    let mut table = None;
    let mut streams: BTreeMap<&str, Vec<Seen>> = BTreeMap::new();
    for line in lines(raw)? {
        let text = line.text.trim();
        if text.starts_with("[ ID] ") {
            // Above lines of all streams together stands one of their own.
            if table.is_some() && streams.len() > 1 {
                continue;
            }
            if table.is_some() {
                let message = "a second heading: was iperf run twice into one file?";
                return Err(at(raw, line.number, message));
            }
            table = Some(heading(raw, &line)?);
        } else if text.contains("] Server Report") {
            // The server's own file has it, interval by interval.
            break;
        } else if text.contains(" failed") || text.contains("error") {
            let message = format!("iperf reports an error: {}", text.escape_debug());
            return Err(at(raw, line.number, message));
        } else if text.starts_with("[SUM") || text.ends_with("datagrams received out-of-order") {
            if !alone(raw) && text.starts_with("[SUM") {
                let message = "several streams, of which a run has one: run the trial again";
                return Err(at(raw, line.number, message));
            }
        } else if let (Some(table), true) = (table, text.contains(" sec ")) {
            let (id, _) = text.split_once(']').unwrap_or_default();
            let seen = interval(raw, &line, table)?;
            streams.entry(id).or_default().push(seen);
        } else if table.is_none() && is_csv(text) {
            let message =
                "iperf's CSV does not say which side counted: run iperf with -e -i 1 -f b";
            return Err(at(raw, line.number, message));
        }
    }
    match table {
        Some(table) => Ok((table, streams)),
        None => {
            let said = match raw.artefact.stderr.trim() {
                "" => "nothing on standard error",
                stderr => stderr,
            };
            let message = format!(
                "iperf reports no connection ({said}): see whether source and sink reach each other"
            );
            Err(whole(raw, message))
        }
    }
}

/// A line of `-y C`: `20261130104705,198.18.5.1,56484,…`.
fn is_csv(text: &str) -> bool {
    let mut fields = text.split(',');
    let date = fields.next().unwrap_or_default();
    date.starts_with(|c: char| c.is_ascii_digit()) && fields.count() >= 7
}

fn heading(raw: &Raw<'_>, line: &Line<'_>) -> Result<Table, ParseError> {
    let columns: Vec<&str> = line.text.split_ascii_whitespace().skip(5).collect();
    match columns.as_slice() {
        ["Reads=Dist", ..] => Ok(Table::ServerTcp),
        // With --trip-times.
        ["Burst", "Latency", .., "Reads=Dist"] => Ok(Table::ServerTcp),
        ["Jitter", "Lost/Total", ..] => Ok(Table::ServerUdp),
        ["Write/Err", "Rtry", ..] => Ok(Table::ClientTcp),
        ["Write/Err/Timeo" | "Write/Err", "PPS", ..] => Ok(Table::ClientUdp),
        _ => Err(at(
            raw,
            line.number,
            "not a heading of iperf's enhanced report: run iperf with -e -i 1 -f b",
        )),
    }
}

/// `[  1] 0.0000-1.0000 sec  8388672 Bytes  67109376 bits/sec  …`
fn interval(raw: &Raw<'_>, line: &Line<'_>, table: Table) -> Result<Seen, ParseError> {
    let bad = || at(raw, line.number, "not an interval of iperf's report");
    let (_, rest) = line.text.split_once(']').ok_or_else(bad)?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let [times, "sec", bytes, "Bytes", rate, "bits/sec", more @ ..] = words.as_slice() else {
        let rounded = words
            .get(3)
            .is_some_and(|unit| *unit != "Bytes" && unit.ends_with("Bytes"));
        if rounded {
            let message = "the numbers are rounded, so that nothing can be held against them: run iperf \
                           with -f b";
            return Err(at(raw, line.number, message));
        }
        return Err(bad());
    };
    let (start, end) = times.split_once('-').ok_or_else(bad)?;
    let count = |text: &str| text.parse::<u64>().ok();
    let first = |text: &str| count(text.split('/').next()?);
    let (n, total) = match (table, more) {
        (Table::ServerTcp, _) => Some((0, 0)),
        (Table::ServerUdp, [_, "ms", lost, ..]) => lost
            .split_once('/')
            .and_then(|(lost, total)| Some((count(lost)?, count(total)?))),
        (Table::ClientTcp, [_, again, ..]) => count(again).map(|n| (n, 0)),
        (Table::ClientUdp, [writes, ..]) => first(writes).map(|n| (n, 0)),
        _ => None,
    }
    .ok_or_else(bad)?;
    Ok(Seen {
        line: line.number,
        arrival: line.time,
        start: decimal(start).ok_or_else(bad)?,
        end: decimal(end).ok_or_else(bad)?,
        bytes: whole_number(bytes).ok_or_else(bad)?,
        bits_per_second: whole_number(rate).ok_or_else(bad)?,
        count: n,
        total,
    })
}

/// A count of bytes; nothing is printed as `0.000000`.
fn whole_number(text: &str) -> Option<u64> {
    let zero = text.starts_with("0.") && decimal(text) == Some(0.0);
    if zero { Some(0) } else { text.parse().ok() }
}

/// Refuses intervals that contradict themselves, each other or the whole.
fn check(raw: &Raw<'_>, seen: &[Seen], summary: &Seen, table: Table) -> Result<(), ParseError> {
    let mut before = 0.0;
    let mut bytes = 0_u64;
    for one in seen {
        let wrong = |message: String| Err(at(raw, one.line, message));
        let seconds = one.end - one.start;
        if (one.start - before).abs() > 0.01 {
            let start = one.start;
            return wrong(format!(
                "the interval begins at {start} s, but the one before ended at {before} s"
            ));
        }
        if !(seconds > 0.0 && seconds < 100.0 * NOMINAL) {
            return wrong("the interval has no sensible length".to_owned());
        }
        let bits = one.bytes as f64 * 8.0;
        let said = one.bits_per_second as f64 * seconds;
        if (said - bits).abs() > 0.01 * bits + 8000.0 {
            return wrong("the interval's rate is not its bytes over its length".to_owned());
        }
        plausible(
            raw,
            one.line,
            "the count",
            one.count.max(one.total) as f64,
            seconds,
        )?;
        if table == Table::ServerUdp && one.count > one.total {
            return wrong(format!("{} of {} datagrams lost", one.count, one.total));
        }
        before = one.end;
        bytes = bytes.saturating_add(one.bytes);
    }
    // The last part of a second may be in the summary only, and so may a client's wait for a
    // connection over which nothing goes any more.
    let lost = summary.bytes > bytes && summary.end - before > 1.5 * NOMINAL;
    if bytes > summary.bytes || lost {
        let message = format!(
            "intervals to {before} s add up to {bytes} B, but the whole to {} s has {} B",
            summary.end, summary.bytes
        );
        return Err(at(raw, summary.line, message));
    }
    Ok(())
}

fn samples(raw: &Raw<'_>, table: Table, all: &[Seen]) -> Result<Vec<Sample>, ParseError> {
    let base = all
        .iter()
        .filter_map(|seen| Some(seen.arrival? - seen.end))
        .reduce(f64::min)
        .unwrap_or(raw.artefact.started_s);
    let nominal = match all.first() {
        Some(first) if alone(raw) => first.end - first.start,
        _ => NOMINAL,
    };
    // What began in the warm-up is not measured, and neither is the rest of a second after the
    // test, when what was on its way arrives.
    let begins = raw.artefact.warm_up_s - 0.1 * nominal;
    let measured: Vec<&Seen> = all
        .iter()
        .filter(|seen| seen.start >= begins && seen.end - seen.start >= 0.5 * nominal)
        .collect();
    let (Some(first), Some(last)) = (measured.first(), measured.last()) else {
        return Err(whole(raw, "the test was over before its warm-up was"));
    };
    let maker = Maker::of_subject(raw);
    let mut out = Vec::new();
    for seen in &measured {
        let seconds = seen.end - seen.start;
        let mut add = |metric: MetricInfo, value: f64| {
            let time = (base + seen.start, seconds);
            out.push(maker.sample(seen.line, metric, time, value)?);
            Ok(())
        };
        let rate = seen.bytes as f64 * 8.0 / 1e6 / seconds;
        match table {
            Table::ServerTcp => add(THROUGHPUT, rate)?,
            Table::ServerUdp => {
                add(THROUGHPUT, rate)?;
                add(PACKETS, (seen.total - seen.count) as f64 / seconds)?;
            }
            Table::ClientTcp => {
                add(SENT, rate)?;
                add(RETRANSMITS, seen.count as f64)?;
            }
            Table::ClientUdp => {
                add(SENT, rate)?;
                add(PACKETS_SENT, seen.count as f64 / seconds)?;
            }
        }
    }
    if table == Table::ServerUdp {
        let lost: u64 = measured.iter().map(|seen| seen.count).sum();
        let total: u64 = measured.iter().map(|seen| seen.total).sum();
        if total == 0 {
            return Err(at(
                raw,
                last.line,
                "not one datagram was sent in the window",
            ));
        }
        let time = (base + first.start, last.end - first.start);
        let percent = 100.0 * lost as f64 / total as f64;
        out.push(maker.sample(last.line, LOSS, time, percent)?);
    }
    Ok(out)
}
