//! iperf3's JSON, as `--json-stream` (one event a line) or as `-J` (one document).
//!
//! Only the measured part is read; what `-O` leaves out is marked `omitted` there. iperf3 3.6 and older
//! do not mark which side sent, and 3.7 to 3.11 give only one sum where data went both ways (`--bidir`):
//! there the streams are added up.

use serde::Deserialize;
use serde_json::Value;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::samples::samples;
use crate::text::{at, lines, text, whole};

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
pub(super) struct Start {
    pub(super) test_start: TestStart,
    /// Only clients have it.
    pub(super) connecting_to: Option<Value>,
    /// Only servers have it.
    pub(super) accepted_connection: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct TestStart {
    /// Seconds; 0 where a number of bytes or blocks ended the test.
    pub(super) duration: f64,
    /// Seconds; iperf3 3.16 and older do not say it.
    pub(super) interval: Option<f64>,
    /// Bytes that were to be sent (`-n`), else 0.
    #[serde(default)]
    pub(super) bytes: u64,
    /// Blocks that were to be sent (`-k`), else 0.
    #[serde(default)]
    pub(super) blocks: u64,
    /// 1 if the server sent (`-R`).
    #[serde(default)]
    pub(super) reverse: u8,
}

#[derive(Deserialize)]
struct Interval {
    #[serde(default)]
    streams: Vec<Sum>,
    sum: Sum,
    sum_bidir_reverse: Option<Sum>,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Sum {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    pub(super) bits_per_second: f64,
    pub(super) omitted: bool,
    /// iperf3 3.6 and older do not say it.
    pub(super) sender: Option<bool>,
    pub(super) retransmits: Option<u64>,
    pub(super) lost_packets: Option<i64>,
    pub(super) packets: Option<i64>,
}

impl Interval {
    /// The sums of the streams of one way and of the other.
    fn sums(&self) -> Vec<Sum> {
        if let Some(reverse) = self.sum_bidir_reverse {
            return vec![self.sum, reverse];
        }
        let of = |sender| {
            let streams = self.streams.iter();
            streams
                .filter(move |stream| stream.sender == Some(sender))
                .copied()
                .reduce(Sum::beside)
        };
        match (of(true), of(false)) {
            (Some(sent), Some(received)) => vec![sent, received],
            _ => vec![self.sum],
        }
    }
}

impl Sum {
    /// Two streams of the same time.
    fn beside(self, other: Self) -> Self {
        let bytes = self.bytes.saturating_add(other.bytes);
        Self {
            bytes,
            bits_per_second: bytes as f64 * 8.0 / self.seconds,
            retransmits: (self.retransmits.zip(other.retransmits))
                .map(|(a, b)| a.saturating_add(b)),
            lost_packets: (self.lost_packets.zip(other.lost_packets))
                .map(|(a, b)| a.saturating_add(b)),
            packets: (self.packets.zip(other.packets)).map(|(a, b)| a.saturating_add(b)),
            ..self
        }
    }
}

/// An interval of one way and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) line: usize,
    pub(super) arrival: Option<f64>,
    pub(super) sum: Sum,
}

/// The parts of a test, whichever way they were printed.
pub(super) struct Test {
    pub(super) start: Start,
    pub(super) intervals: Vec<Seen>,
    pub(super) end: Value,
    pub(super) last_line: usize,
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
    if !all.trim_start().starts_with('{') {
        let message = "not iperf3's JSON: run iperf3 with -J or --json-stream";
        return Err(at(raw, 1, message));
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
                intervals.extend(interval.sums().into_iter().map(|sum| Seen {
                    line: line.number,
                    arrival: line.time,
                    sum,
                }));
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
        end,
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
    let mut intervals = Vec::new();
    for (index, value) in document.intervals.into_iter().enumerate() {
        let what = format!("interval {index}");
        let interval: Interval = convert(raw, last_line, &what, value)?;
        intervals.extend(interval.sums().into_iter().map(|sum| Seen {
            line: last_line,
            arrival: None,
            sum,
        }));
    }
    Ok(Test {
        start: convert(raw, 1, "start", document.start)?,
        intervals,
        end: document.end,
        last_line,
    })
}
