//! What the parsers share: numbered lines, strict numbers, errors with a place.

use vexp_api::ids::Name;
use vexp_api::plugin::{MetricInfo, ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample, Unit};

/// One line of a raw file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// Number, from 1.
    pub(crate) number: usize,
    /// Text without the newline.
    pub(crate) text: &'a str,
    /// When it had arrived, seconds since the epoch, if that was recorded.
    pub(crate) time: Option<f64>,
}

/// An error at a line of `raw`.
pub(crate) fn at(raw: &Raw<'_>, line: usize, message: impl Into<String>) -> ParseError {
    ParseError {
        file: raw.artefact.path.clone(),
        line: Some(line),
        message: message.into(),
    }
}

/// An error about the whole of `raw`.
pub(crate) fn whole(raw: &Raw<'_>, message: impl Into<String>) -> ParseError {
    ParseError {
        file: raw.artefact.path.clone(),
        line: None,
        message: message.into(),
    }
}

/// All of a file's lines. A last line without a newline was cut and is left out: its last number
/// may lack digits, so that no parser may look at it.
pub(crate) fn lines<'a>(raw: &Raw<'a>) -> Result<Vec<Line<'a>>, ParseError> {
    let text = text(raw)?;
    Ok(text
        .split_inclusive('\n')
        .enumerate()
        .filter_map(|(index, line)| {
            Some(Line {
                number: index + 1,
                text: line.strip_suffix('\n')?.trim_end_matches('\r'),
                time: raw.line_times.get(index).copied(),
            })
        })
        .collect())
}

/// The file as text; refuses what was cut at the cap or is not UTF-8.
pub(crate) fn text<'a>(raw: &Raw<'a>) -> Result<&'a str, ParseError> {
    if raw.artefact.truncated {
        return Err(whole(
            raw,
            "the output was longer than the cap and was cut: shorten the window or raise the cap",
        ));
    }
    // An editor, or a shell on Windows, may have put a byte-order mark before the tool's text.
    let bytes = raw.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw.bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        at(
            raw,
            line,
            "not UTF-8: the file is damaged or not this tool's",
        )
    })
}

/// Whether a file is none of a run's, whose record says when its command began and ended.
pub(crate) fn alone(raw: &Raw<'_>) -> bool {
    raw.artefact.ended_s <= raw.artefact.started_s
}

/// Most frames that a network interface moves in a second: Ethernet at 800 Gb/s, 84 bytes each on the wire.
const MOST_FRAMES_PER_SECOND: f64 = 1.2e9;

/// Where a negative number that was printed as an unsigned one of 32 bits begins.
const NEGATIVE: f64 = (1_u64 << 31) as f64;

/// Refuses a count of packets, or of segments, that no network interface could have moved in the time.
pub(crate) fn plausible(
    raw: &Raw<'_>,
    line: usize,
    what: &str,
    count: f64,
    seconds: f64,
) -> Result<(), ParseError> {
    let most = (MOST_FRAMES_PER_SECOND * seconds.max(0.001)).min(NEGATIVE);
    if count < most {
        return Ok(());
    }
    let message = format!(
        "{what} is {count} in {seconds:.3} s, more than any network interface moves: a counter went wrong"
    );
    Err(at(raw, line, message))
}

/// A sample about a part of its node, such as an interface: `eth1.rx_packets`.
pub(crate) fn of_part(raw: &Raw<'_>, part: &str, sample: Sample) -> Result<Sample, ParseError> {
    let metric = Name::new(format!("{part}.{}", sample.metric));
    Ok(Sample {
        metric: metric.map_err(|error| whole(raw, error.to_string()))?,
        ..sample
    })
}

/// A number in plain decimal notation: no sign but a leading minus, no exponent, no `nan`.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit());
    let value: f64 = plain.then(|| text.parse().ok()).flatten()?;
    value.is_finite().then_some(value)
}

/// The node that a file of traffic is accounted to, and where it stands.
pub(crate) fn subject(raw: &Raw<'_>) -> (Name, NodeRole) {
    let artefact = raw.artefact;
    let node = artefact.flow.as_ref().unwrap_or(&artefact.node);
    let role = artefact.about.get(node).copied().unwrap_or(artefact.role);
    (node.clone(), role)
}

/// The most that a sample can plausibly be, over `dt` seconds: what passes it is a counter that has
/// wrapped, or was reset, or a file of something else. Links of 10 Tb/s with the smallest frames give the
/// bounds of rates; a count has at most as many events a second as a link of 100 Gb/s has frames.
fn most(unit: Unit, dt: f64) -> f64 {
    let seconds = dt.max(1.0);
    match unit {
        Unit::MbPerS => 1e7,
        Unit::PacketsPerS => 1.5e10,
        Unit::Bytes => 1.25e12 * seconds,
        Unit::Count => 1.5e8 * seconds,
        Unit::Ms => 86_400e3,
        Unit::Percent => 100.0,
        Unit::CpuPercent => 100.0 * 8192.0,
        Unit::One | Unit::CpuPercentPerMbPerS => f64::MAX,
    }
}

/// Whether a count is a small negative number in 32 bits.
fn wrapped(unit: Unit, value: f64) -> bool {
    const TOP: f64 = 4_294_967_296.0;
    unit == Unit::Count && (TOP - 65_536.0..TOP).contains(&value)
}

/// Makes samples of one node.
pub(crate) struct Maker<'r, 'a> {
    raw: &'r Raw<'a>,
    node: Name,
    role: NodeRole,
}

impl<'r, 'a> Maker<'r, 'a> {
    /// For samples of the node that the file is accounted to.
    pub(crate) fn of_subject(raw: &'r Raw<'a>) -> Self {
        let (node, role) = subject(raw);
        Self { raw, node, role }
    }

    /// For samples of `node`.
    pub(crate) fn of(raw: &'r Raw<'a>, node: Name, role: NodeRole) -> Self {
        Self { raw, node, role }
    }

    /// A sample of `metric` from `t` on for `dt` seconds; refuses what is not finite.
    pub(crate) fn sample(
        &self,
        line: usize,
        metric: MetricInfo,
        (t, dt): (f64, f64),
        value: f64,
    ) -> Result<Sample, ParseError> {
        if !(t.is_finite() && dt.is_finite()) {
            let message = format!("{} is not a finite number at a finite time", metric.name);
            return Err(at(self.raw, line, message));
        }
        self.of_unknown_time(line, metric, (t, dt), value)
    }

    /// A sample whose time may be unknown, which is NaN: only files that stand alone have such.
    pub(crate) fn of_unknown_time(
        &self,
        line: usize,
        metric: MetricInfo,
        (t, dt): (f64, f64),
        value: f64,
    ) -> Result<Sample, ParseError> {
        let known = alone(self.raw) || (t.is_finite() && dt.is_finite());
        if !value.is_finite() || !known || dt < 0.0 {
            let message = format!("{} is not a finite number at a finite time", metric.name);
            return Err(at(self.raw, line, message));
        }
        let least = match metric.unit {
            Unit::One => f64::MIN,
            // What is left of rounded shares.
            Unit::CpuPercent => -1.0,
            _ => 0.0,
        };
        if value < least || value > most(metric.unit, dt) || wrapped(metric.unit, value) {
            let message = format!(
                "{} is {value} {} over {dt} s, which can't be: a counter has wrapped or was reset, or \
                 the tool has a bug",
                metric.name, metric.unit
            );
            return Err(at(self.raw, line, message));
        }
        let name = Name::new(metric.name).map_err(|error| whole(self.raw, error.to_string()))?;
        Ok(Sample {
            node: self.node.clone(),
            role: self.role,
            metric: name,
            unit: metric.unit,
            t,
            dt,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_counter_can_be_is_refused_with_its_place() {
        let artefact = crate::testing::artefact("t", "client", ("vm1", NodeRole::Guest));
        let raw = Raw {
            artefact: &artefact,
            bytes: b"",
            line_times: &[],
        };
        let maker = Maker::of_subject(&raw);
        let sample = |unit, dt, value| {
            let metric = MetricInfo {
                name: "m",
                unit,
                about: "",
            };
            maker.sample(7, metric, (0.0, dt), value)
        };
        for (unit, dt, good, bad) in [
            (Unit::Count, 1.0, 12_000.0, 4_294_967_294.0),
            (Unit::Count, 600.0, 4_294_000_000.0, 4_294_967_294.0),
            (Unit::MbPerS, 1.0, 400_000.0, 18_446_744_073_709.0),
            (Unit::PacketsPerS, 1.0, 1e8, 1.8e19),
            (Unit::Bytes, 1.0, 1e11, 1.8e19),
            (Unit::Percent, 1.0, 100.0, 100.1),
            (Unit::Ms, 0.0, 0.0, -0.1),
        ] {
            assert!(sample(unit, dt, good).is_ok(), "{good} {unit}");
            let error = sample(unit, dt, bad).unwrap_err();
            assert_eq!(
                (error.file.as_str(), error.line),
                (artefact.path.as_str(), Some(7))
            );
            assert!(error.message.contains("can't be"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let artefact = crate::testing::artefact("t", "client", ("vm1", NodeRole::Guest));
        let raw = |bytes| Raw {
            artefact: &artefact,
            bytes,
            line_times: &[],
        };
        assert_eq!(text(&raw(b"\xef\xbb\xbf{}\r\n")).unwrap(), "{}\r\n");
        assert_eq!(lines(&raw(b"\xef\xbb\xbfa\r\n")).unwrap()[0].text, "a");
        assert!(text(&raw(b"\xff\xfe{\0")).is_err());
    }

    #[test]
    fn decimal_takes_no_shortcuts() {
        assert_eq!(decimal("12.50"), Some(12.5));
        assert_eq!(decimal("-0.1"), Some(-0.1));
        for bad in [
            "", "-", "nan", "-nan", "inf", "1e3", "1.", ".5", "1.2.3", "0x10", "1,5", "+1", " 1",
        ] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }
}
