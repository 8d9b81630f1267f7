//! iperf3's JSON, as `--json-stream` (one event a line) or as `-J` (one document).
//!
//! Only the measured part is read; what `-O` leaves out is marked `omitted` there. Times: each
//! interval's end is `base + end`, with one base for the file. Lines arrive late and never early,
//! so that the base is the least `arrival - end` of all measured intervals. Without arrival times
//! (`-J` prints everything at the end) the base is the program's end less the last interval's.

use serde::Deserialize;
use serde_json::Value;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{LOSS, PACKETS, PACKETS_SENT, RETRANSMITS, SENT, THROUGHPUT};
use crate::text::{Maker, at, lines, text, whole};

#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    data: Value,
}

/// What `-J` prints.
#[derive(Deserialize)]
struct Document {
    start: Value,
    intervals: Vec<Value>,
    end: Value,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Start {
    test_start: TestStart,
    /// Only clients have it.
    connecting_to: Option<Value>,
    /// Only servers have it.
    accepted_connection: Option<Value>,
}

#[derive(Deserialize)]
struct TestStart {
    duration: f64,
    interval: Option<f64>,
}

#[derive(Deserialize)]
struct Interval {
    sum: Sum,
}

#[derive(Clone, Copy, Deserialize)]
struct Sum {
    start: f64,
    end: f64,
    seconds: f64,
    bytes: u64,
    bits_per_second: f64,
    omitted: bool,
    sender: bool,
    retransmits: Option<u64>,
    lost_packets: Option<i64>,
    packets: Option<i64>,
}

/// An interval and where it stands.
#[derive(Clone, Copy)]
struct Seen {
    line: usize,
    arrival: Option<f64>,
    sum: Sum,
}

/// The parts of a test, whichever way they were printed.
struct Test {
    start: Start,
    intervals: Vec<Seen>,
    /// Bytes over the whole test at this side, where it says so.
    total: Option<u64>,
    last_line: usize,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let all = text(raw)?;
    if all.trim().is_empty() {
        let said = match raw.artefact.stderr.trim() {
            "" => "and nothing on standard error",
            stderr => stderr,
        };
        return Err(whole(
            raw,
            format!(
                "iperf3 printed nothing ({said}): see the other side's file and the trial's log"
            ),
        ));
    }
    let streamed = all.trim_start().starts_with("{\"event\"");
    let test = if streamed {
        stream(raw)?
    } else {
        document(raw, all)?
    };
    samples(raw, &test)
}

/// Converts a JSON value, blaming `line`.
fn convert<T: serde::de::DeserializeOwned>(
    raw: &Raw<'_>,
    line: usize,
    what: &str,
    value: Value,
) -> Result<T, ParseError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        at(
            raw,
            line,
            format!("{what}: `{place}`: {}", error.into_inner()),
        )
    })
}

fn failed(raw: &Raw<'_>, line: usize, message: &str) -> ParseError {
    at(
        raw,
        line,
        format!("iperf3 reports an error, so there is nothing to read: {message}"),
    )
}

fn total(end: &Value) -> Option<u64> {
    end.get("sum_received")?.get("bytes")?.as_u64()
}

fn stream(raw: &Raw<'_>) -> Result<Test, ParseError> {
    let mut start: Option<Start> = None;
    let mut intervals = Vec::new();
    let mut end: Option<Value> = None;
    let mut last_line = 0;
    for line in lines(raw)? {
        last_line = line.number;
        if line.text.trim().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_str(line.text)
            .map_err(|error| at(raw, line.number, format!("not a JSON event: {error}")))?;
        if end.is_some() {
            let message = "text after the `end` event: was iperf3 run twice into one file?";
            return Err(at(raw, line.number, message));
        }
        match event.event.as_str() {
            "start" if start.is_some() => {
                let message = "a second `start` event: was iperf3 run twice into one file?";
                return Err(at(raw, line.number, message));
            }
            "start" => start = Some(convert(raw, line.number, "start", event.data)?),
            "interval" => {
                let interval: Interval = convert(raw, line.number, "interval", event.data)?;
                intervals.push(Seen {
                    line: line.number,
                    arrival: line.time,
                    sum: interval.sum,
                });
            }
            "end" => end = Some(event.data),
            "error" => {
                let message = event.data.as_str().unwrap_or("unknown error");
                return Err(failed(raw, line.number, message));
            }
            // What a client repeats of its server's output with `--get-server-output`.
            "server_output_json" | "server_output_text" => {}
            other => {
                let message = format!("`{}` is not an iperf3 event", other.escape_debug());
                return Err(at(raw, line.number, message));
            }
        }
    }
    let (Some(start), Some(end)) = (start, end) else {
        let message =
            "the output is cut: it has no complete `start` and `end`; run the trial again";
        return Err(at(raw, last_line.max(1), message));
    };
    Ok(Test {
        start,
        intervals,
        total: total(&end),
        last_line,
    })
}

fn document(raw: &Raw<'_>, all: &str) -> Result<Test, ParseError> {
    let document: Document = serde_json::from_str(all).map_err(|error| {
        let hint = match error.classify() {
            serde_json::error::Category::Eof => " (the output is cut: run the trial again)",
            _ if error.to_string().starts_with("trailing characters") => {
                " (was iperf3 run twice into one file?)"
            }
            _ => "",
        };
        at(
            raw,
            error.line().max(1),
            format!("not iperf3's JSON: {error}{hint}"),
        )
    })?;
    let last_line = all.lines().count().max(1);
    if let Some(message) = document.error {
        return Err(failed(raw, last_line, &message));
    }
    let intervals = document
        .intervals
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let what = format!("interval {index}");
            let interval: Interval = convert(raw, last_line, &what, value)?;
            Ok(Seen {
                line: last_line,
                arrival: None,
                sum: interval.sum,
            })
        })
        .collect::<Result<_, ParseError>>()?;
    Ok(Test {
        start: convert(raw, 1, "start", document.start)?,
        intervals,
        total: total(&document.end),
        last_line,
    })
}

/// Whether the file is the server's; refuses one that says otherwise than its description.
fn is_server(raw: &Raw<'_>, start: &Start) -> Result<bool, ParseError> {
    let server = match (&start.connecting_to, &start.accepted_connection) {
        (Some(_), None) => false,
        (None, Some(_)) => true,
        _ => {
            let message = "can't tell whether a client or a server printed this";
            return Err(at(raw, 1, message));
        }
    };
    let stream = raw.artefact.stream.as_str();
    if (stream == "client" && server) || (stream == "server" && !server) {
        let message = format!("described as the {stream}'s output, but the other side's");
        return Err(at(raw, 1, message));
    }
    Ok(server)
}

/// Refuses intervals that contradict themselves.
fn check(raw: &Raw<'_>, seen: &Seen, nominal: f64) -> Result<(), ParseError> {
    let sum = &seen.sum;
    // On loaded machines the printed bounds and the printed length come from different readings
    // of the clock.
    let slack = 0.05 * sum.seconds + 0.05;
    let bits = sum.bytes as f64 * 8.0;
    let wrong = if sum.start < 0.0 {
        "it begins before the test"
    } else if sum.seconds <= 0.0 || sum.end <= sum.start {
        "it has no positive length"
    } else if (sum.end - sum.start - sum.seconds).abs() > slack {
        "its length is not its end less its start"
    } else if sum.bits_per_second < 0.0
        || (sum.bits_per_second * sum.seconds - bits).abs() > 0.01 * bits + 8.0
    {
        "its rate is not its bytes over its length"
    } else if sum.seconds > 100.0 * nominal {
        "it is far longer than iperf3 was told to report in"
    } else {
        return Ok(());
    };
    let message = format!(
        "the interval from {} s to {} s makes no sense: {wrong}; run the trial again",
        sum.start, sum.end
    );
    Err(at(raw, seen.line, message))
}

/// iperf3 ends with an interval of some milliseconds, whose rate by itself says nothing. Less than
/// half as long as was asked for, it becomes part of the one before.
fn join_fragment(measured: &mut Vec<Seen>, nominal: f64) {
    let [.., before, last] = measured.as_mut_slice() else {
        return;
    };
    if last.sum.seconds >= nominal / 2.0 {
        return;
    }
    let (a, b) = (&before.sum, &last.sum);
    let (seconds, bytes) = (a.seconds + b.seconds, a.bytes + b.bytes);
    let add = |x: Option<i64>, y: Option<i64>| Some(x? + y?);
    before.sum = Sum {
        end: b.end,
        seconds,
        bytes,
        bits_per_second: bytes as f64 * 8.0 / seconds,
        retransmits: a.retransmits.zip(b.retransmits).map(|(x, y)| x + y),
        lost_packets: add(a.lost_packets, b.lost_packets),
        packets: add(a.packets, b.packets),
        ..*a
    };
    before.arrival = last.arrival;
    measured.pop();
}

fn samples(raw: &Raw<'_>, test: &Test) -> Result<Vec<Sample>, ParseError> {
    let server = is_server(raw, &test.start)?;
    let asked = test.start.test_start.duration;
    let nominal = test.start.test_start.interval.unwrap_or(1.0);
    if !(asked > 0.0 && nominal > 0.0) {
        return Err(at(
            raw,
            1,
            "a test of no length: give iperf3 a time with -t",
        ));
    }
    let mut measured: Vec<Seen> = Vec::new();
    for seen in &test.intervals {
        check(raw, seen, nominal)?;
        if seen.sum.sender == server {
            let message = "data went the other way (-R or --bidir), which is not supported";
            return Err(at(raw, seen.line, message));
        }
        if seen.sum.omitted {
            continue;
        }
        let before = measured.last().map_or(0.0, |last| last.sum.end);
        if (seen.sum.start - before).abs() > 0.1 * nominal {
            let message = format!(
                "interval begins at {} s, but the one before ended at {before} s: lines are missing or twice there",
                seen.sum.start
            );
            return Err(at(raw, seen.line, message));
        }
        measured.push(*seen);
    }
    join_fragment(&mut measured, nominal);
    let seconds: f64 = measured.iter().map(|seen| seen.sum.seconds).sum();
    let bytes: u64 = measured.iter().map(|seen| seen.sum.bytes).sum();
    let Some(last) = measured.last() else {
        return Err(at(
            raw,
            test.last_line,
            "no measured interval: the test never got that far",
        ));
    };
    if seconds < 0.9 * asked {
        let message =
            format!("only {seconds:.1} s of {asked} s were measured: run the trial again");
        return Err(at(raw, last.line, message));
    }
    // The summary is there only if both sides told each other what they counted.
    if bytes == 0 && test.total != Some(0) {
        let message = "not one byte was transferred, but the summary does not say so: see whether \
                       source and sink reach each other";
        return Err(at(raw, last.line, message));
    }
    // What was still on its way when the last interval ended is in the summary only, and on slow
    // guests that is much.
    if let Some(total) = test.total.filter(|_| server)
        && (total as f64) < 0.95 * bytes as f64
    {
        let message = format!("intervals add up to {bytes} B, but the summary says {total} B");
        return Err(at(raw, last.line, message));
    }
    let base = measured
        .iter()
        .filter_map(|seen| Some(seen.arrival? - seen.sum.end))
        .reduce(f64::min)
        .unwrap_or(raw.artefact.ended_s - last.sum.end);

    // What began in the warm-up is not measured; a late line must not cost a whole interval.
    let begins = raw.artefact.warm_up_s - 0.1 * nominal;
    measured.retain(|seen| seen.sum.start >= begins);
    let seconds: f64 = measured.iter().map(|seen| seen.sum.seconds).sum();
    let (Some(first), Some(last)) = (measured.first(), measured.last()) else {
        let message = "the test was over before its warm-up was";
        return Err(at(raw, test.last_line, message));
    };

    let maker = Maker::of_subject(raw);
    let mut out = Vec::new();
    for seen in &measured {
        let (line, sum) = (seen.line, &seen.sum);
        let time = (base + sum.end - sum.seconds, sum.seconds);
        let rate = if server { THROUGHPUT } else { SENT };
        out.push(maker.sample(line, rate, time, sum.bits_per_second / 1e6)?);
        if let (false, Some(n)) = (server, sum.retransmits) {
            out.push(maker.sample(line, RETRANSMITS, time, n as f64)?);
        }
        if let (false, Some(packets)) = (server, sum.packets) {
            let rate = packets as f64 / sum.seconds;
            out.push(maker.sample(line, PACKETS_SENT, time, rate)?);
        }
        if let (true, Some(packets), Some(lost)) = (server, sum.packets, sum.lost_packets) {
            let rate = (packets - lost) as f64 / sum.seconds;
            if rate < 0.0 {
                return Err(at(raw, line, "more datagrams lost than sent"));
            }
            out.push(maker.sample(line, PACKETS, time, rate)?);
        }
    }
    if server && let Some((lost, packets)) = loss(&measured) {
        // Late datagrams make single intervals negative; over the whole window they cancel out.
        if lost < 0 || packets <= 0 || lost > packets {
            let message = format!("{lost} of {packets} datagrams lost makes no sense");
            return Err(at(raw, last.line, message));
        }
        let percent = 100.0 * lost as f64 / packets as f64;
        out.push(maker.sample(last.line, LOSS, (base + first.sum.start, seconds), percent)?);
    }
    Ok(out)
}

/// Datagrams lost and sent over all intervals; `None` for TCP.
fn loss(measured: &[Seen]) -> Option<(i64, i64)> {
    let mut sum = (0_i64, 0_i64);
    for seen in measured {
        sum.0 = sum.0.checked_add(seen.sum.lost_packets?)?;
        sum.1 = sum.1.checked_add(seen.sum.packets?)?;
    }
    Some(sum)
}
