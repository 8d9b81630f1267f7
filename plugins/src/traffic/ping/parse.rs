//! iputils' ping with `-n -D`.
//!
//! Times: `-D` gives each reply's time on the prober's clock. Lines arrive late and never early,
//! so that the two clocks' difference is the least `arrival - stamp` of all replies. Without
//! arrival times the first reply is put at the program's start.

use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{LOSS, RTT};
use crate::text::{Line, Maker, at, decimal, lines, whole};

/// One reply.
struct Reply {
    line: usize,
    arrival: Option<f64>,
    stamp: f64,
    sequence: u64,
    rtt_ms: f64,
}

/// The line `N packets transmitted, M received, …`.
struct Summary {
    line: usize,
    sent: u64,
    received: u64,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    if raw.artefact.stream == "warm-up" {
        return Ok(Vec::new());
    }
    let mut replies: Vec<Reply> = Vec::new();
    let mut summary: Option<Summary> = None;
    let mut begun = false;
    for line in lines(raw)? {
        let text = line.text.trim_end();
        if text.starts_with("PING ") {
            if begun {
                let message = "a second run begins here: two runs went into one file";
                return Err(at(raw, line.number, message));
            }
            begun = true;
        } else if text.contains(" packets transmitted, ") {
            summary = Some(self::summary(raw, &line)?);
        } else if text.contains(" bytes from ") {
            if text.ends_with("(DUP!)") {
                // A second copy of a reply: neither a probe nor a round trip of its own.
                continue;
            }
            let reply = self::reply(raw, &line)?;
            if replies.iter().any(|seen| seen.sequence == reply.sequence) {
                let message = format!("probe {} is answered twice", reply.sequence);
                return Err(at(raw, line.number, message));
            }
            replies.push(reply);
        } else if !ignorable(text) {
            let message = format!("`{}` is not a line of ping's", text.escape_debug());
            return Err(at(raw, line.number, message));
        }
    }
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
    if summary.sent == 0 || summary.received != replies.len() as u64 {
        let message = format!(
            "{} of {} probes answered by the summary, but {} replies are listed",
            summary.received,
            summary.sent,
            replies.len()
        );
        return Err(at(raw, summary.line, message));
    }
    samples(raw, &replies, &summary)
}

/// Lines without a measurement: headings, the statistics, and errors about lost probes, which the
/// summary counts.
fn ignorable(text: &str) -> bool {
    text.is_empty()
        || text.starts_with("--- ")
        || text.starts_with("rtt min/avg/max")
        || text.starts_with("pipe ")
        || text.contains("no answer yet for icmp_seq=")
        || (text.contains("From ") && text.contains("icmp_seq="))
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
        .and_then(|(stamp, _)| decimal(stamp))
        .ok_or_else(|| bad("a time stamp: ping must be run with -D"))?;
    let rtt_ms = field("time=")
        .and_then(decimal)
        .filter(|_| line.text.trim_end().ends_with(" ms"))
        .ok_or_else(|| bad("a round-trip time in ms"))?;
    if rtt_ms <= 0.0 {
        return Err(at(
            raw,
            line.number,
            "a round-trip time that is not positive: the prober's clock was set back; run the trial again",
        ));
    }
    Ok(Reply {
        line: line.number,
        arrival: line.time,
        stamp,
        sequence: field("icmp_seq=")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad("a sequence number"))?,
        rtt_ms,
    })
}

fn summary(raw: &Raw<'_>, line: &Line<'_>) -> Result<Summary, ParseError> {
    let count = |part: &str, word: &str| -> Option<u64> {
        part.trim().strip_suffix(word)?.trim().parse().ok()
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
        }),
        _ => Err(at(raw, line.number, "the summary can't be read")),
    }
}

fn samples(raw: &Raw<'_>, replies: &[Reply], summary: &Summary) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of_subject(raw);
    let first = replies.first().map_or(0.0, |reply| reply.stamp);
    let offset = replies
        .iter()
        .filter_map(|reply| Some(reply.arrival? - reply.stamp))
        .reduce(f64::min)
        .unwrap_or(raw.artefact.started_s - first);
    let mut out = Vec::with_capacity(replies.len() + 1);
    for reply in replies {
        let time = (reply.stamp + offset, 0.0);
        out.push(maker.sample(reply.line, RTT, time, reply.rtt_ms)?);
    }
    let lost = (summary.sent - summary.received) as f64;
    let time = (
        raw.artefact.started_s,
        (raw.artefact.ended_s - raw.artefact.started_s).max(0.0),
    );
    let percent = 100.0 * lost / summary.sent as f64;
    out.push(maker.sample(summary.line, LOSS, time, percent)?);
    Ok(out)
}
