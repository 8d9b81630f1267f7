//! ping's lines: those of iputils with `-n -D`, as vexp orders them, and those of others.
//!
//! Times: `-D` gives each reply's time on the prober's clock. Lines arrive late and never early,
//! so that the two clocks' difference is the least `arrival - stamp` of all replies. Without
//! arrival times the first reply is put at the program's start.
//!
//! A file that stands alone may also be of busybox, inetutils or BSD, without stamps, or without a line
//! for each reply (`-q`, `-f`). Without a stamp, a line's arrival is its time, or its probe's number times
//! the option `interval`; otherwise the time is unknown.

use vexp_api::plugin::{MetricInfo, ParseError, Raw};
use vexp_api::sample::Sample;
use vexp_api::units::TimeSpan;

use super::{LOSS, RTT, RTT_MAX, RTT_MEAN, RTT_MIN};
use crate::text::{Line, Maker, alone, at, decimal, lines, whole};

/// Probes are numbered with 16 bits.
const NUMBERS: usize = 1 << 16;

/// Longest round trip that is believed, ms: no ping waits for an hour.
const LONGEST_MS: f64 = 3.6e6;

/// One reply.
struct Reply {
    line: usize,
    arrival: Option<f64>,
    /// Only with `-D`.
    stamp: Option<f64>,
    sequence: u16,
    rtt_ms: f64,
}

/// The line `N packets transmitted, M received, …`.
struct Summary {
    line: usize,
    sent: u64,
    received: u64,
    /// Least, mean and greatest round-trip time, ms.
    rtt_ms: Option<[f64; 3]>,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    if raw.artefact.stream == "warm-up" {
        return Ok(Vec::new());
    }
    let (replies, summary) = read(raw)?;
    let Some(summary) = summary else {
        let said = raw.artefact.stderr.trim();
        let said = if said.is_empty() {
            "it was cut short"
        } else {
            said
        };
        return Err(whole(
            raw,
            format!("ping printed no summary ({said}): run the trial again"),
        ));
    };
    if alone(raw) && summary.sent > 0 && replies.is_empty() {
        return summed_up(raw, &summary);
    }
    if summary.sent == 0 || summary.received != replies.len() as u64 {
        let message = format!(
            "{} of {} probes answered by the summary, but {} replies are listed",
            summary.received,
            summary.sent,
            replies.len()
        );
        return Err(at(raw, summary.line, message));
    }
    once(raw, &replies, &summary)?;
    samples(raw, &replies, &summary)
}

/// Sorts lines into replies and the summary; refuses all others.
fn read(raw: &Raw<'_>) -> Result<(Vec<Reply>, Option<Summary>), ParseError> {
    let mut replies: Vec<Reply> = Vec::new();
    let mut summary: Option<Summary> = None;
    let mut begun = false;
    for line in lines(raw)? {
        if let Some(reply) = usual(&line) {
            replies.push(reply);
            continue;
        }
        let text = line.text.trim_end();
        if text.starts_with("PING") {
            if begun {
                let message = "a second run begins here: two runs went into one file";
                return Err(at(raw, line.number, message));
            }
            begun = true;
        } else if text.contains(" packets transmitted, ") {
            summary = Some(self::summary(raw, &line)?);
        } else if text.contains("min/avg/max") {
            if let Some(summary) = &mut summary {
                summary.rtt_ms = extremes(text);
            }
        } else if error_of_others(raw, text) {
            continue;
        } else if text.contains(" bytes from ") {
            if text.ends_with("(DUP!)") {
                // A second copy of a reply: neither a probe nor a round trip of its own.
                continue;
            }
            replies.push(reply(raw, &line)?);
        } else if !(ignorable(text) || alone(raw) && ignorable_of_others(text)) {
            let message = format!("`{}` is not a line of ping's", text.escape_debug());
            return Err(at(raw, line.number, message));
        }
    }
    Ok((replies, summary))
}

/// Lines without a measurement: headings, the statistics, and errors about lost probes, which the
/// summary counts.
fn ignorable(text: &str) -> bool {
    text.is_empty()
        || text.starts_with("--- ")
        || text.starts_with("pipe ")
        || text.contains("no answer yet for icmp_seq=")
        || (text.contains("From ") && text.contains("icmp_seq="))
}

/// Lines of options that vexp does not order: `-p`, `-R`, `-T`, `-f`; and BSD's words for lost probes,
/// with what it shows of the packet.
fn ignorable_of_others(text: &str) -> bool {
    let begins = [
        "PATTERN: ",
        "RR: ",
        "TS: ",
        "\t",
        "WARNING: ",
        "Request timeout for icmp_seq ",
        "Vr HL TOS ",
        " 4  5 ",
    ];
    begins.iter().any(|begin| text.starts_with(begin))
        || text.chars().all(|c| matches!(c, '.' | ' ' | '\u{8}'))
}

/// BSD's and inetutils' words for another node's error, `92 bytes from 192.0.2.1: Destination Host
/// Unreachable`: no reply.
fn error_of_others(raw: &Raw<'_>, text: &str) -> bool {
    let reply = text.contains("seq=") || text.contains("time=");
    alone(raw) && text.contains(" bytes from ") && !reply
}

/// A reply as iputils prints nearly all with `-n -D`, read in one pass:
/// `[1795381321.252524] 64 bytes from 198.18.77.2: icmp_seq=1 ttl=64 time=0.242 ms`. `None` for any line
/// that is not of this very form, which is looked at word by word.
fn usual(line: &Line<'_>) -> Option<Reply> {
    let text = line.text.strip_prefix('[')?;
    let (stamp, text) = before(text, b']')?;
    let (size, text) = before(text.strip_prefix(' ')?, b' ')?;
    let (address, text) = before(text.strip_prefix("bytes from ")?, b' ')?;
    let (sequence, text) = before(text.strip_prefix("icmp_seq=")?, b' ')?;
    let (ttl, text) = before(text.strip_prefix("ttl=")?, b' ')?;
    let (rtt, text) = before(text.strip_prefix("time=")?, b' ')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let rtt_ms = decimal(rtt).filter(|rtt| *rtt > 0.0 && *rtt <= LONGEST_MS)?;
    let plain = text == "ms" && number(size) && number(ttl) && address.ends_with(':');
    plain.then_some(Reply {
        line: line.number,
        arrival: line.time,
        stamp: Some(decimal(stamp)?),
        sequence: sequence.parse().ok()?,
        rtt_ms,
    })
}

/// What stands before the first `byte`, which is of ASCII, and what stands behind it.
fn before(text: &str, byte: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|other| other == byte)?;
    Some((&text[..place], &text[place + 1..]))
}

fn reply(raw: &Raw<'_>, line: &Line<'_>) -> Result<Reply, ParseError> {
    let bad = |what: &str| at(raw, line.number, format!("a reply without {what}"));
    let field = |key: &str| {
        line.text
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key))
    };
    let stamp = line
        .text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(stamp, _)| decimal(stamp));
    let stamp = match stamp {
        Some(Some(stamp)) => Some(stamp),
        None if alone(raw) => None,
        _ => return Err(bad("a time stamp: ping must be run with -D")),
    };
    if !line.text.contains("time=") {
        return Err(bad(
            "a round-trip time: ping measures one only with a payload of 16 bytes or more (-s)",
        ));
    }
    let unit = line.text.split_once("time=");
    let unit = unit
        .and_then(|(_, rest)| rest.split_once(' '))
        .map(|(_, unit)| unit.trim_end());
    let rtt_ms = field("time=")
        .and_then(decimal)
        .filter(|_| matches!(unit, Some("ms" | "ms\t(same route)")))
        .ok_or_else(|| bad("a round-trip time in ms"))?;
    if rtt_ms <= 0.0 {
        return Err(at(
            raw,
            line.number,
            "a round-trip time that is not positive: the prober's clock was set back; run the trial again",
        ));
    }
    if rtt_ms > LONGEST_MS {
        let message = format!("a round-trip time of {rtt_ms} ms, longer than any ping waits");
        return Err(at(raw, line.number, message));
    }
    Ok(Reply {
        line: line.number,
        arrival: line.time,
        stamp,
        sequence: field("icmp_seq=")
            .or_else(|| field("seq="))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad("a sequence number"))?,
        rtt_ms,
    })
}

fn summary(raw: &Raw<'_>, line: &Line<'_>) -> Result<Summary, ParseError> {
    let count = |part: &str, word: &str| -> Option<u64> {
        let number = part.trim().strip_suffix(word)?.trim();
        number
            .strip_suffix(" packets")
            .unwrap_or(number)
            .parse()
            .ok()
    };
    let mut parts = line.text.split(',');
    let sent = parts
        .next()
        .and_then(|part| count(part, "packets transmitted"));
    let received = parts.next().and_then(|part| count(part, "received"));
    match (sent, received) {
        (Some(sent), Some(received)) if received <= sent => Ok(Summary {
            line: line.number,
            sent,
            received,
            rtt_ms: None,
        }),
        _ => Err(at(raw, line.number, "the summary can't be read")),
    }
}

/// Least, mean and greatest of `rtt min/avg/max/mdev = 0.028/0.055/0.068/0.015 ms`.
fn extremes(text: &str) -> Option<[f64; 3]> {
    let (_, values) = text.split_once(" = ")?;
    let (values, _) = values.split_once(" ms")?;
    let values: Vec<f64> = values.split('/').map(decimal).collect::<Option<_>>()?;
    let &[least, mean, most, ..] = values.as_slice() else {
        return None;
    };
    let sane = 0.0 <= least && least <= mean && mean <= most && most <= LONGEST_MS;
    sane.then_some([least, mean, most])
}

/// Refuses probes that were answered twice. Their numbers wrap: after 65,536 probes each may be there
/// once more.
fn once(raw: &Raw<'_>, replies: &[Reply], summary: &Summary) -> Result<(), ParseError> {
    let most = summary.sent.div_ceil(NUMBERS as u64);
    let mut seen = vec![0_u64; NUMBERS];
    for reply in replies {
        let count = &mut seen[usize::from(reply.sequence)];
        *count += 1;
        if *count > most {
            let message = format!("probe {} is answered twice", reply.sequence);
            return Err(at(raw, reply.line, message));
        }
    }
    Ok(())
}

/// What a summary without lines for replies says.
fn summed_up(raw: &Raw<'_>, summary: &Summary) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of_subject(raw);
    let unknown = (f64::NAN, f64::NAN);
    let mut values: Vec<(MetricInfo, f64)> = Vec::new();
    match summary.rtt_ms {
        Some([least, mean, most]) => {
            values.extend([(RTT_MIN, least), (RTT_MEAN, mean), (RTT_MAX, most)]);
        }
        None if summary.received == 0 => {}
        None => {
            let message = "neither replies nor a line with min/avg/max: the output is cut";
            return Err(at(raw, summary.line, message));
        }
    }
    values.push((LOSS, lost_percent(summary)));
    let sample = |(metric, value)| maker.of_unknown_time(summary.line, metric, unknown, value);
    values.into_iter().map(sample).collect()
}

fn lost_percent(summary: &Summary) -> f64 {
    100.0 * (summary.sent - summary.received) as f64 / summary.sent as f64
}

fn samples(raw: &Raw<'_>, replies: &[Reply], summary: &Summary) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of_subject(raw);
    let mut out = Vec::with_capacity(replies.len() + 1);
    let times = times(raw, replies)?;
    let rtts = maker.series(RTT)?;
    for (reply, t) in replies.iter().zip(&times) {
        out.push(rtts.of_unknown_time(reply.line, (*t, 0.0), reply.rtt_ms)?);
    }
    let (begin, end) = match (times.first(), times.last()) {
        (Some(first), Some(last)) if alone(raw) => (*first, *last),
        _ => (raw.artefact.started_s, raw.artefact.ended_s),
    };
    let time = (begin, (end - begin).clamp(0.0, f64::MAX));
    out.push(maker.of_unknown_time(summary.line, LOSS, time, lost_percent(summary))?);
    Ok(out)
}

/// When each reply arrived; NaN where nothing tells.
fn times(raw: &Raw<'_>, replies: &[Reply]) -> Result<Vec<f64>, ParseError> {
    let Some(first) = replies.first() else {
        return Ok(Vec::new());
    };
    if let Some(begin) = first.stamp {
        let offset = replies
            .iter()
            .filter_map(|reply| Some(reply.arrival? - reply.stamp?))
            .reduce(f64::min)
            .unwrap_or(raw.artefact.started_s - begin);
        let stamped = |reply: &Reply| reply.stamp.map(|stamp| stamp + offset);
        let times: Option<Vec<f64>> = replies.iter().map(stamped).collect();
        return times.ok_or_else(|| whole(raw, "only some of the replies have a time stamp"));
    }
    if replies.iter().all(|reply| reply.arrival.is_some()) {
        return Ok(replies.iter().filter_map(|reply| reply.arrival).collect());
    }
    let interval = raw.artefact.options.get("interval");
    let Some(interval) = interval.and_then(|value| value.as_str()) else {
        return Ok(vec![f64::NAN; replies.len()]);
    };
    let interval: TimeSpan = interval
        .parse()
        .map_err(|_| whole(raw, format!("`{interval}` is no time, such as \"200ms\"")))?;
    let interval = interval.nanos() as f64 / 1e9;
    let (mut number, mut before) = (0_i64, first.sequence);
    let numbered = replies.iter().map(|reply| {
        // The nearest number that ends in these 16 bits.
        number += i64::from(reply.sequence.wrapping_sub(before) as i16);
        before = reply.sequence;
        number as f64 * interval
    });
    Ok(numbered.collect())
}

#[cfg(test)]
mod tests {
    use vexp_api::sample::NodeRole;

    use super::*;

    /// All that the one pass reads, the words say too.
    #[test]
    fn both_ways_of_reading_a_reply_agree() {
        let artefact = crate::testing::artefact("ping", "stdout", ("vm1", NodeRole::Guest));
        let recorded = [
            include_str!("../../../testdata/iputils-20240905/ok.txt"),
            include_str!("../../../testdata/iputils-20240905/lossy.txt"),
            include_str!("../../../testdata/iputils-20221126/plain.txt"),
            include_str!("../../../testdata/iputils-20221126/route.txt"),
            include_str!("../../../testdata/busybox-1.35.0/reply.txt"),
            include_str!("../../../testdata/inetutils-2.4/reply.txt"),
        ];
        let mut count = 0;
        for text in recorded {
            let raw = Raw {
                artefact: &artefact,
                bytes: text.as_bytes(),
                line_times: &[],
            };
            for line in lines(&raw).unwrap() {
                let Some(one) = usual(&line) else { continue };
                let other = reply(&raw, &line).unwrap();
                assert_eq!(
                    (one.line, one.stamp, one.sequence, one.rtt_ms),
                    (other.line, other.stamp, other.sequence, other.rtt_ms)
                );
                count += 1;
            }
        }
        assert_eq!(count, 36);
    }
}
