//! What intervals say: checked, then as samples.
//!
//! Times: each interval's end is `base + end`, with one base for the file. Lines arrive late and never
//! early, so that the base is the least `arrival - end` of all measured intervals. Without arrival times
//! (`-J` prints everything at the end) the base is the program's end less the last interval's; a file
//! that stands alone begins at 0.
//!
//! What went from the server to the client in a test of both ways (`--bidir`) has names of its own:
//! `reverse.throughput`.

use serde_json::Value;
use vexp_api::plugin::{MetricInfo, ParseError, Raw};
use vexp_api::sample::Sample;

use super::parse::{Seen, Start, Sum, Test};
use super::{LOSS, PACKETS, PACKETS_SENT, RETRANSMITS, SENT, THROUGHPUT};
use crate::text::{Maker, alone, at, of_part, plausible};

/// What names of metrics begin with that are about the way from server to client.
const REVERSE: &str = "reverse";

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
        let counts = [
            ("retransmits", sum.retransmits.map(|n| n as f64)),
            ("packets", sum.packets.map(|n| n as f64)),
            (
                "lost_packets",
                sum.lost_packets.map(|n| n.unsigned_abs() as f64),
            ),
        ];
        for (what, count) in counts {
            plausible(raw, seen.line, what, count.unwrap_or_default(), sum.seconds)?;
        }
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

pub(super) fn samples(raw: &Raw<'_>, test: &Test) -> Result<Vec<Sample>, ParseError> {
    let server = is_server(raw, &test.start)?;
    let asked = &test.start.test_start;
    let counted = asked.bytes > 0 || asked.blocks > 0;
    if !(asked.duration > 0.0 || (asked.duration == 0.0 && counted)) {
        let message = "a test of no length: give iperf3 a time (-t), bytes (-n) or blocks (-k)";
        return Err(at(raw, 1, message));
    }
    let unmarked = server == (asked.reverse != 0);
    let sends = |seen: &&Seen| seen.sum.sender.unwrap_or(unmarked);
    let (sent, received): (Vec<&Seen>, Vec<&Seen>) = test.intervals.iter().partition(sends);
    // A run's flows go from client to server only.
    let (forward, back) = if server {
        (&received, &sent)
    } else {
        (&sent, &received)
    };
    if let Some(seen) = back.first().filter(|_| !alone(raw)) {
        let message = "data went the other way (-R or --bidir), which no run asks for";
        return Err(at(raw, seen.line, message));
    }
    if test.intervals.is_empty() {
        let message = "no measured interval: the test never got that far";
        return Err(at(raw, test.last_line, message));
    }
    let mut out = Vec::new();
    for (intervals, reverse) in [(forward, false), (back, true)] {
        if intervals.is_empty() {
            continue;
        }
        let way = Way {
            sends: reverse == server,
            bidir: !forward.is_empty() && !back.is_empty(),
            reverse,
        };
        out.extend(samples_of(raw, test, intervals, way)?);
    }
    Ok(out)
}

/// One way of a test.
#[derive(Clone, Copy)]
struct Way {
    /// Whether the side that printed the file sent.
    sends: bool,
    /// Whether data went both ways.
    bidir: bool,
    /// Whether this is the way from server to client.
    reverse: bool,
}

impl Way {
    /// Bytes that arrived over the whole test, where the summary says so.
    fn total(self, end: &Value) -> Option<u64> {
        let reverse = end.get("sum_received_bidir_reverse");
        let sum = match (self.bidir, self.reverse) {
            (true, true) => reverse?,
            // iperf3 3.7 to 3.11 have one sum, of one of the ways.
            (true, false) => reverse.and_then(|_| end.get("sum_received"))?,
            (false, _) => end.get("sum_received")?,
        };
        sum.get("bytes")?.as_u64()
    }
}

/// The measured intervals of one way, each held against itself and the one before.
fn measured(raw: &Raw<'_>, intervals: &[&Seen], nominal: f64) -> Result<Vec<Seen>, ParseError> {
    let mut measured: Vec<Seen> = Vec::new();
    for seen in intervals {
        check(raw, seen, nominal)?;
        if seen.sum.omitted {
            continue;
        }
        let before = measured.last().map_or(0.0, |last| last.sum.end);
        if (seen.sum.start - before).abs() > (0.1 * nominal).max(0.05) {
            let message = format!(
                "interval begins at {} s, but the one before ended at {before} s: lines are missing or twice there",
                seen.sum.start
            );
            return Err(at(raw, seen.line, message));
        }
        measured.push(**seen);
    }
    join_fragment(&mut measured, nominal);
    Ok(measured)
}

/// How long an interval was to be, seconds: as iperf3 says, as vexp orders it, or as long as the first.
fn nominal(raw: &Raw<'_>, test: &Test, intervals: &[&Seen]) -> f64 {
    let said = test.start.test_start.interval.filter(|said| *said > 0.0);
    let said = said.or_else(|| ordered(&raw.artefact.command));
    match (said, intervals.first()) {
        (Some(said), _) => said,
        (None, Some(first)) if alone(raw) && first.sum.seconds > 0.0 => first.sum.seconds,
        _ => 1.0,
    }
}

/// The interval in a command line of iperf3, seconds.
fn ordered(command: &str) -> Option<f64> {
    let mut words = command.split_whitespace();
    words.find(|word| *word == "-i")?;
    words.next()?.parse().ok().filter(|seconds| *seconds > 0.0)
}

/// Refuses what is less than was asked for, or is not what the summary says.
fn complete(raw: &Raw<'_>, test: &Test, measured: &[Seen], way: Way) -> Result<(), ParseError> {
    let seconds: f64 = measured.iter().map(|seen| seen.sum.seconds).sum();
    let bytes: u64 = (measured.iter()).fold(0, |sum, seen| seen.sum.bytes.saturating_add(sum));
    let Some(last) = measured.last() else {
        let message = "no measured interval: the test never got that far";
        return Err(at(raw, test.last_line, message));
    };
    let (asked, total) = (&test.start.test_start, way.total(&test.end));
    if seconds < 0.9 * asked.duration {
        let asked = asked.duration;
        let message =
            format!("only {seconds:.1} s of {asked} s were measured: run the trial again");
        return Err(at(raw, last.line, message));
    }
    if way.sends && (bytes as f64) < 0.9 * asked.bytes as f64 {
        let message = format!("only {bytes} B of {} B were sent", asked.bytes);
        return Err(at(raw, last.line, message));
    }
    // The summary is there only if both sides told each other what they counted.
    if bytes == 0 && total != Some(0) {
        let message = "not one byte was transferred, but the summary does not say so: see whether \
                       source and sink reach each other";
        return Err(at(raw, last.line, message));
    }
    // What was still on its way when the last interval ended is in the summary only, and on slow
    // guests that is much.
    if let Some(total) = total.filter(|_| !way.sends)
        && (total as f64) < 0.95 * bytes as f64
    {
        let message = format!("intervals add up to {bytes} B, but the summary says {total} B");
        return Err(at(raw, last.line, message));
    }
    Ok(())
}

fn samples_of(
    raw: &Raw<'_>,
    test: &Test,
    intervals: &[&Seen],
    way: Way,
) -> Result<Vec<Sample>, ParseError> {
    let nominal = nominal(raw, test, intervals);
    let mut measured = measured(raw, intervals, nominal)?;
    complete(raw, test, &measured, way)?;
    let ended = measured.last().map_or(0.0, |last| last.sum.end);
    let base = measured
        .iter()
        .filter_map(|seen| Some(seen.arrival? - seen.sum.end))
        .reduce(f64::min)
        .unwrap_or(if alone(raw) {
            0.0
        } else {
            raw.artefact.ended_s - ended
        });

    // What began in the warm-up is not measured; a late line must not cost a whole interval.
    let begins = raw.artefact.warm_up_s - 0.1 * nominal;
    measured.retain(|seen| seen.sum.start >= begins);
    let seconds: f64 = measured.iter().map(|seen| seen.sum.seconds).sum();
    let (Some(first), Some(last)) = (measured.first(), measured.last()) else {
        let message = "the test was over before its warm-up was";
        return Err(at(raw, test.last_line, message));
    };

    let maker = Maker::of_subject(raw);
    let make = |line: usize, metric: MetricInfo, time: (f64, f64), value: f64| {
        let sample = maker.sample(line, metric, time, value)?;
        if way.bidir && way.reverse {
            return of_part(raw, REVERSE, sample);
        }
        Ok(sample)
    };
    let mut out = Vec::new();
    for seen in &measured {
        let (line, sum) = (seen.line, &seen.sum);
        let time = (base + sum.end - sum.seconds, sum.seconds);
        let rate = if way.sends { SENT } else { THROUGHPUT };
        out.push(make(line, rate, time, sum.bits_per_second / 1e6)?);
        if let (true, Some(n)) = (way.sends, sum.retransmits) {
            out.push(make(line, RETRANSMITS, time, n as f64)?);
        }
        if let (true, Some(packets)) = (way.sends, sum.packets) {
            out.push(make(
                line,
                PACKETS_SENT,
                time,
                packets as f64 / sum.seconds,
            )?);
        }
        if let (false, Some(packets), Some(lost)) = (way.sends, sum.packets, sum.lost_packets) {
            let rate = packets.saturating_sub(lost) as f64 / sum.seconds;
            if rate < 0.0 {
                return Err(at(raw, line, "more datagrams lost than sent"));
            }
            out.push(make(line, PACKETS, time, rate)?);
        }
    }
    if !way.sends
        && let Some((lost, packets)) = loss(&measured)
    {
        // Late datagrams make single intervals negative; over the whole window they cancel out.
        if lost < 0 || packets <= 0 || lost > packets {
            let message = format!("{lost} of {packets} datagrams lost makes no sense");
            return Err(at(raw, last.line, message));
        }
        let percent = 100.0 * lost as f64 / packets as f64;
        out.push(make(
            last.line,
            LOSS,
            (base + first.sum.start, seconds),
            percent,
        )?);
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
