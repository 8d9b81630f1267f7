//! netperf's `KEY=value` lines: what `-D` says during the test, then what `-k` asked for.
//!
//! Times: `NETPERF_ENDING[i]` is the client's clock at the end of interval i of the sending.
//! Lines arrive late and never early, so that the two clocks' difference is the least
//! `arrival - ending`. A test that was too short or too slow for an interval is put at the
//! program's start.

use std::collections::BTreeMap;

use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{KEYS, LOSS, PACKETS, PACKETS_SENT, RETRANSMITS, SENT, THROUGHPUT};
use crate::text::{Line, Maker, alone, at, decimal, lines, plausible, whole};

/// A value and the line where it stands.
type Found<'a> = (usize, &'a str);

/// What a test counted.
struct Counts {
    seconds: f64,
    sends: u64,
    sent_bytes: u64,
    /// Bytes of one send.
    size: u64,
    receives: u64,
    received_bytes: u64,
    line: usize,
}

/// The intervals of the sending.
#[derive(Default)]
struct Intervals {
    /// Seconds of the first.
    first_length: Option<f64>,
    /// Client's clock at the end of the first.
    first_end: Option<f64>,
    /// Least `arrival - ending`.
    offset: Option<f64>,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let (found, intervals) = read(raw)?;
    let tcp = match text(raw, &found, "PROTOCOL")? {
        (_, "TCP") => true,
        (_, "UDP") => false,
        (line, other) => {
            let message = format!("`{}` is neither TCP nor UDP", other.escape_debug());
            return Err(at(raw, line, message));
        }
    };
    let counts = counts(raw, &found)?;
    check(raw, &found, &counts, tcp)?;
    samples(raw, &found, &counts, (start(raw, &intervals), tcp))
}

/// Sorts lines into keys that were asked for and intervals; refuses all others.
fn read<'a>(raw: &Raw<'a>) -> Result<(BTreeMap<&'a str, Found<'a>>, Intervals), ParseError> {
    let mut found = BTreeMap::new();
    let mut intervals = Intervals::default();
    for line in lines(raw)? {
        let text = line.text.trim();
        // The heading, `MIGRATED UDP STREAM TEST from …`.
        let heading =
            line.number == 1 && (text.contains(" TEST from ") || text.contains(" TEST to "));
        if text.is_empty() || heading {
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            if let Some(message) = form_of_others(text) {
                return Err(at(raw, line.number, message));
            }
            let message = format!("netperf reports an error: {}", text.escape_debug());
            return Err(at(raw, line.number, message));
        };
        if let Some(key) = key.strip_prefix("NETPERF_") {
            interval(raw, &line, (key, value), &mut intervals)?;
        } else if alone(raw) && !KEYS.contains(&key) && is_key(key) {
            // Asked for by somebody else.
            continue;
        } else if !KEYS.contains(&key) {
            let message = format!("`{}` was not asked for", key.escape_debug());
            return Err(at(raw, line.number, message));
        } else if found.insert(key, (line.number, value)).is_some() {
            let message = format!("a second {key}: was netperf run twice into one file?");
            return Err(at(raw, line.number, message));
        }
    }
    if found.is_empty() {
        let said = match raw.artefact.stderr.trim() {
            "" => "nothing on standard error",
            stderr => stderr,
        };
        return Err(whole(raw, format!("netperf printed no result ({said})")));
    }
    Ok((found, intervals))
}

/// Whether a text is one of netperf's names of results: `MEAN_LATENCY`.
fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Why a line of another form of netperf's output is not read, and what is.
fn form_of_others(text: &str) -> Option<String> {
    let names = [
        "Recv   Send",
        "Socket  Message",
        "Socket Send",
        "Local /Remote",
        "Local  Local",
        "Throughput ",
    ];
    let table = names.iter().any(|name| text.starts_with(name));
    let csv = text.split(',').count() > 3;
    if !table && !csv {
        return None;
    }
    let form = if csv { "CSV (-o)" } else { "a table" };
    Some(format!(
        "{form} of netperf, whose numbers can't be held against each other: run netperf with -- -k {}",
        KEYS.join(",")
    ))
}

fn interval(
    raw: &Raw<'_>,
    line: &Line<'_>,
    (key, value): (&str, &str),
    intervals: &mut Intervals,
) -> Result<(), ParseError> {
    let (kind, _) = key.split_once('[').unwrap_or((key, ""));
    let number = || {
        decimal(value).ok_or_else(|| at(raw, line.number, format!("NETPERF_{key} is no number")))
    };
    match kind {
        "INTERIM_RESULT" | "UNITS" => {}
        "INTERVAL" => {
            let length = number()?;
            intervals.first_length.get_or_insert(length);
        }
        "ENDING" => {
            let ending = number()?;
            intervals.first_end.get_or_insert(ending);
            if let Some(offset) = line.time.map(|arrival| arrival - ending) {
                intervals.offset = Some(intervals.offset.map_or(offset, |least| least.min(offset)));
            }
        }
        _ => {
            let message = format!("NETPERF_{} is not known", key.escape_debug());
            return Err(at(raw, line.number, message));
        }
    }
    Ok(())
}

/// When the test began, seconds since the epoch.
fn start(raw: &Raw<'_>, intervals: &Intervals) -> f64 {
    match (
        intervals.first_end,
        intervals.first_length,
        intervals.offset,
    ) {
        (Some(end), Some(length), Some(offset)) => end - length + offset,
        _ => raw.artefact.started_s,
    }
}

fn text<'a>(
    raw: &Raw<'_>,
    found: &BTreeMap<&'a str, Found<'a>>,
    key: &str,
) -> Result<Found<'a>, ParseError> {
    found.get(key).copied().ok_or_else(|| {
        whole(
            raw,
            format!("the output is cut: {key} is missing; run the trial again"),
        )
    })
}

fn counts(raw: &Raw<'_>, found: &BTreeMap<&str, Found<'_>>) -> Result<Counts, ParseError> {
    let count = |key: &str| {
        let (line, value) = text(raw, found, key)?;
        value
            .parse::<u64>()
            .map_err(|_| at(raw, line, format!("{key} is no count: {value}")))
    };
    let (line, elapsed) = text(raw, found, "ELAPSED_TIME")?;
    let seconds = decimal(elapsed).filter(|seconds| *seconds > 0.0);
    let seconds = seconds.ok_or_else(|| at(raw, line, "the test has no positive length"))?;
    Ok(Counts {
        seconds,
        sends: count("LOCAL_SEND_CALLS")?,
        sent_bytes: count("LOCAL_BYTES_SENT")?,
        size: count("LOCAL_SEND_SIZE")?,
        receives: count("REMOTE_RECV_CALLS")?,
        received_bytes: count("REMOTE_BYTES_RECVD")?,
        line,
    })
}

/// Refuses what contradicts itself. Nothing received is a result, since source and sink have both
/// said what they counted; nothing sent is none.
fn check(
    raw: &Raw<'_>,
    found: &BTreeMap<&str, Found<'_>>,
    counts: &Counts,
    tcp: bool,
) -> Result<(), ParseError> {
    let wrong = |message: String| Err(at(raw, counts.line, message));
    if counts.sends == 0 {
        return wrong(
            "not one send was done: see whether source and sink reach each other".to_owned(),
        );
    }
    if counts.sends.checked_mul(counts.size) != Some(counts.sent_bytes) {
        let (n, size, all) = (counts.sends, counts.size, counts.sent_bytes);
        return wrong(format!("{n} sends of {size} B are not {all} B"));
    }
    // Of TCP the last send, which the end of the test interrupts, is not counted as sent.
    let most = counts.sent_bytes + if tcp { counts.size } else { 0 };
    if counts.received_bytes > most {
        let (received, sent) = (counts.received_bytes, counts.sent_bytes);
        return wrong(format!("{received} B received of {sent} B sent"));
    }
    // A datagram is received whole, by one call.
    if !tcp && counts.receives.checked_mul(counts.size) != Some(counts.received_bytes) {
        let (n, size, all) = (counts.receives, counts.size, counts.received_bytes);
        return wrong(format!("{n} datagrams of {size} B are not {all} B"));
    }
    let (line, unit) = text(raw, found, "THROUGHPUT_UNITS")?;
    if unit.starts_with("Trans") {
        let message = "a test of requests and responses (TCP_RR or UDP_RR), of which nothing is read: a \
                       stream is (-t OMNI without -d rr, TCP_STREAM or UDP_STREAM)";
        return Err(at(raw, line, message));
    }
    if unit != "10^6bits/s" {
        return Err(at(
            raw,
            line,
            "the throughput is not in 10^6bits/s: run netperf with -f m",
        ));
    }
    let (line, said) = text(raw, found, "THROUGHPUT")?;
    let rate = mbps(counts.received_bytes, counts.seconds);
    // ELAPSED_TIME and THROUGHPUT have two decimals.
    let slack = 0.02 + rate * 0.01 / counts.seconds.min(1.0);
    match decimal(said) {
        Some(said) if (said - rate).abs() <= slack => Ok(()),
        _ => Err(at(
            raw,
            line,
            format!("the throughput is said to be {said}, but the bytes make {rate:.2}"),
        )),
    }
}

fn mbps(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / 1e6 / seconds
}

fn samples(
    raw: &Raw<'_>,
    found: &BTreeMap<&str, Found<'_>>,
    counts: &Counts,
    (start, tcp): (f64, bool),
) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of_subject(raw);
    let seconds = counts.seconds;
    let mut values = vec![
        (THROUGHPUT, mbps(counts.received_bytes, seconds)),
        (SENT, mbps(counts.sent_bytes, seconds)),
    ];
    if tcp {
        let (line, again) = text(raw, found, "LOCAL_TRANSPORT_RETRANS")?;
        let again: u32 = again
            .parse()
            .map_err(|_| at(raw, line, "the number of retransmits is no count"))?;
        let again = f64::from(again);
        plausible(raw, line, "LOCAL_TRANSPORT_RETRANS", again, seconds)?;
        values.push((RETRANSMITS, again));
    } else {
        let (sent, received) = (counts.sends as f64, counts.receives as f64);
        values.push((PACKETS, received / seconds));
        values.push((PACKETS_SENT, sent / seconds));
        values.push((LOSS, 100.0 * (sent - received) / sent));
    }
    values
        .into_iter()
        .map(|(metric, value)| maker.sample(counts.line, metric, (start, seconds), value))
        .collect()
}
