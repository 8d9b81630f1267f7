//! What the parsers share: numbered lines, strict numbers, errors with a place.

use vexp_api::ids::Name;
use vexp_api::plugin::{MetricInfo, ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample, Unit};

/// One line of a raw file.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Number, from 1.
    pub number: usize,
    /// Text without the newline.
    pub text: &'a str,
    /// When it had arrived, seconds since the epoch, if that was recorded.
    pub time: Option<f64>,
}

/// An error at a line of `raw`.
pub fn at(raw: &Raw<'_>, line: usize, message: impl Into<String>) -> ParseError {
    ParseError {
        file: raw.artefact.path.clone(),
        line: Some(line),
        message: message.into(),
    }
}

/// An error about the whole of `raw`.
pub fn whole(raw: &Raw<'_>, message: impl Into<String>) -> ParseError {
    ParseError {
        file: raw.artefact.path.clone(),
        line: None,
        message: message.into(),
    }
}

/// All of a file's lines. A last line without a newline was cut and is left out: its last number
/// may lack digits, so that no parser may look at it.
pub fn lines<'a>(raw: &Raw<'a>) -> Result<impl Iterator<Item = Line<'a>>, ParseError> {
    let text = text(raw)?;
    Ok(Lines {
        rest: text,
        number: 0,
        times: raw.line_times,
    })
}

/// See [`lines`].
struct Lines<'a> {
    rest: &'a str,
    /// Of the last line.
    number: usize,
    times: &'a [f64],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let end = memchr::memchr(b'\n', self.rest.as_bytes())? + 1;
        let (mut text, rest) = self.rest.split_at_checked(end)?;
        text = &text[..text.len() - 1];
        while let Some(shorter) = text.strip_suffix('\r') {
            text = shorter;
        }
        let time = self.times.get(self.number).copied();
        self.rest = rest;
        self.number += 1;
        Some(Line {
            number: self.number,
            text,
            time,
        })
    }
}

/// The words of a line, as `split_ascii_whitespace` gives them, and what follows the last one taken.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Splits at blanks.
    pub fn of(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The next word if it is a number as [`decimal`] takes them, of up to 16 digits and without a sign.
    /// Any other is not taken. Columns of numbers take most of a monitor's file.
    #[inline]
    pub fn number(&mut self) -> Option<f64> {
        let bytes = self.rest.as_bytes();
        let start = blanks(bytes)?;
        let (value, length) = short_decimal(&bytes[start..])?;
        let end = start + length;
        let ended = bytes.get(end).is_none_or(u8::is_ascii_whitespace);
        if ended {
            self.rest = &self.rest[end..];
        }
        ended.then_some(value)
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let start = blanks(bytes)?;
        let end = start + word(&bytes[start..]);
        let (word, rest) = (&self.rest[start..end], &self.rest[end..]);
        self.rest = rest;
        Some(word)
    }
}

/// Every byte 1.
const ONES: u64 = u64::from_le_bytes([1; 8]);

/// Blanks at the front; `None` where nothing else is. Spaces are passed eight at a time.
#[inline]
fn blanks(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(eight) = bytes[start..].first_chunk::<8>() {
        let others = u64::from_le_bytes(*eight) ^ (ONES * u64::from(b' '));
        if others != 0 {
            start += others.trailing_zeros() as usize / 8;
            break;
        }
        start += 8;
    }
    while bytes.get(start)?.is_ascii_whitespace() {
        start += 1;
    }
    Some(start)
}

/// Bytes of the word at the front, which are passed eight at a time where they are above a space.
#[inline]
fn word(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(eight) = bytes[end..].first_chunk::<8>() {
        let eight = u64::from_le_bytes(*eight);
        // The lowest byte with its top bit set is the first that is less than 0x21.
        let less = eight.wrapping_sub(ONES * 0x21) & !eight & (ONES * 0x80);
        if less != 0 {
            end += less.trailing_zeros() as usize / 8;
            break;
        }
        end += 8;
    }
    // What is neither printable nor a blank is a part of the word.
    while bytes
        .get(end)
        .is_some_and(|byte| !byte.is_ascii_whitespace())
    {
        end += 1;
    }
    end
}

/// The file as text; refuses what was cut at the cap or is not UTF-8.
pub fn text<'a>(raw: &Raw<'a>) -> Result<&'a str, ParseError> {
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
pub fn alone(raw: &Raw<'_>) -> bool {
    raw.artefact.ended_s <= raw.artefact.started_s
}

/// Most frames that a network interface moves in a second: Ethernet at 800 Gb/s, 84 bytes each on the wire.
const MOST_FRAMES_PER_SECOND: f64 = 1.2e9;

/// Where a negative number that was printed as an unsigned one of 32 bits begins.
const NEGATIVE: f64 = (1_u64 << 31) as f64;

/// Refuses a count of packets, or of segments, that no network interface could have moved in the time.
pub fn plausible(
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
pub fn of_part(raw: &Raw<'_>, part: &str, sample: Sample) -> Result<Sample, ParseError> {
    let metric = Name::new(format!("{part}.{}", sample.metric));
    Ok(Sample {
        metric: metric.map_err(|error| whole(raw, error.to_string()))?,
        ..sample
    })
}

/// Powers of ten that a double has exactly, as far as they are of use here.
const TENS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A number in plain decimal notation: no sign but a leading minus, no exponent, no `nan`.
pub fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match short_decimal(digits.as_bytes()) {
        Some((value, end)) if end == digits.len() => {
            Some(if end == text.len() { value } else { -value })
        }
        _ => long_decimal(text),
    }
}

/// The number at the front, and its length: without a sign, of up to 16 digits that make a whole number
/// below 2^53, as all tools print. Such a number and a power of ten are exact, so that their quotient is
/// rounded once, as IEEE 754 asks.
#[inline]
fn short_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let (whole, rest) = digits(0, text);
    let before = text.len() - rest.len();
    let (number, rest, after) = match rest {
        [b'.', digits @ ..] => {
            let (number, rest) = self::digits(whole, digits);
            (number, rest, digits.len() - rest.len())
        }
        rest => (whole, rest, 0),
    };
    let length = text.len() - rest.len();
    // No digit before or behind a point.
    let bare = before == 0 || after == 0 && length > before;
    if bare || length > 17 || number >= 1 << 53 {
        return None;
    }
    Some((number as f64 / TENS.get(after)?, length))
}

/// Puts the digits at the front behind those of `number`, and gives what follows them. What is too much
/// for 64 bits wraps.
#[inline]
fn digits(mut number: u64, mut text: &[u8]) -> (u64, &[u8]) {
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        number = number
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'));
        text = rest;
    }
    (number, text)
}

fn long_decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit());
    let value: f64 = plain.then(|| text.parse().ok()).flatten()?;
    value.is_finite().then_some(value)
}

/// What is to be said of a word that would be a number but for a comma.
pub fn comma(word: &str) -> &'static str {
    let pointed = word.replacen(',', ".", 1);
    if pointed != word && decimal(&pointed).is_some() {
        ": a decimal comma, so that the tool must be run with LC_ALL=C"
    } else {
        ""
    }
}

/// The node that a file of traffic is accounted to, and where it stands.
pub fn subject(raw: &Raw<'_>) -> (Name, NodeRole) {
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
pub struct Maker<'r, 'a> {
    raw: &'r Raw<'a>,
    node: Name,
    role: NodeRole,
}

impl<'r, 'a> Maker<'r, 'a> {
    /// For samples of the node that the file is accounted to.
    pub fn of_subject(raw: &'r Raw<'a>) -> Self {
        let (node, role) = subject(raw);
        Self { raw, node, role }
    }

    /// For samples of `node`.
    pub fn of(raw: &'r Raw<'a>, node: Name, role: NodeRole) -> Self {
        Self { raw, node, role }
    }

    /// Samples of `metric`.
    pub fn series(&self, metric: MetricInfo) -> Result<Series<'r, 'a>, ParseError> {
        self.named(metric, metric.name)
    }

    /// Samples of `metric` about a part of the node, such as a processor: `cpu0.busy`.
    pub fn series_of_part(
        &self,
        part: &str,
        metric: MetricInfo,
    ) -> Result<Series<'r, 'a>, ParseError> {
        self.named(metric, &format!("{part}.{}", metric.name))
    }

    fn named(&self, metric: MetricInfo, name: &str) -> Result<Series<'r, 'a>, ParseError> {
        let name = Name::new(name).map_err(|error| whole(self.raw, error.to_string()))?;
        Ok(Series {
            raw: self.raw,
            node: self.node.clone(),
            role: self.role,
            name,
            metric,
        })
    }

    /// A sample of `metric` from `t` on for `dt` seconds; refuses what is not finite.
    pub fn sample(
        &self,
        line: usize,
        metric: MetricInfo,
        time: (f64, f64),
        value: f64,
    ) -> Result<Sample, ParseError> {
        self.series(metric)?.sample(line, time, value)
    }

    /// A sample whose time may be unknown, which is NaN: only files that stand alone have such.
    pub fn of_unknown_time(
        &self,
        line: usize,
        metric: MetricInfo,
        time: (f64, f64),
        value: f64,
    ) -> Result<Sample, ParseError> {
        self.series(metric)?.of_unknown_time(line, time, value)
    }
}

/// Makes samples of one metric of one node: its names are made once.
pub struct Series<'r, 'a> {
    raw: &'r Raw<'a>,
    node: Name,
    role: NodeRole,
    name: Name,
    metric: MetricInfo,
}

impl Series<'_, '_> {
    /// See [`Maker::sample`].
    pub fn sample(
        &self,
        line: usize,
        (t, dt): (f64, f64),
        value: f64,
    ) -> Result<Sample, ParseError> {
        if !(t.is_finite() && dt.is_finite()) {
            return Err(self.not_finite(line));
        }
        self.of_unknown_time(line, (t, dt), value)
    }

    /// See [`Maker::of_unknown_time`].
    pub fn of_unknown_time(
        &self,
        line: usize,
        (t, dt): (f64, f64),
        value: f64,
    ) -> Result<Sample, ParseError> {
        let unit = self.metric.unit;
        let known = (t.is_finite() && dt.is_finite()) || alone(self.raw);
        if !value.is_finite() || !known || dt < 0.0 {
            return Err(self.not_finite(line));
        }
        let least = match unit {
            Unit::One => f64::MIN,
            // What is left of rounded shares.
            Unit::CpuPercent => -1.0,
            _ => 0.0,
        };
        if value < least || value > most(unit, dt) || wrapped(unit, value) {
            let message = format!(
                "{} is {value} {unit} over {dt} s, which can't be: a counter has wrapped or was reset, \
                 or the tool has a bug",
                self.metric.name
            );
            return Err(at(self.raw, line, message));
        }
        Ok(Sample {
            node: self.node.clone(),
            role: self.role,
            metric: self.name.clone(),
            unit,
            t,
            dt,
            value,
        })
    }

    fn not_finite(&self, line: usize) -> ParseError {
        let message = format!(
            "{} is not a finite number at a finite time",
            self.metric.name
        );
        at(self.raw, line, message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vexp_api::digest::Digest;
    use vexp_api::record::{Artefact, Part};

    use super::*;

    fn artefact() -> Artefact {
        let name = |text| Name::new(text).unwrap();
        Artefact {
            path: "raw/vm1.t.client".to_owned(),
            digest: Digest::of(b""),
            part: Part::Traffic,
            tool: name("t"),
            stream: name("client"),
            node: name("vm1"),
            role: NodeRole::Guest,
            flow: None,
            command: String::new(),
            status: Some(0),
            stderr: String::new(),
            truncated: false,
            started_s: 10.0,
            ended_s: 20.0,
            warm_up_s: 0.0,
            options: serde_json::Map::new(),
            about: BTreeMap::new(),
        }
    }

    #[test]
    fn what_no_counter_can_be_is_refused_with_its_place() {
        let artefact = artefact();
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
        let artefact = artefact();
        let raw = |bytes| Raw {
            artefact: &artefact,
            bytes,
            line_times: &[],
        };
        assert_eq!(text(&raw(b"\xef\xbb\xbf{}\r\n")).unwrap(), "{}\r\n");
        let raw_line = raw(b"\xef\xbb\xbfa\r\n");
        assert_eq!(lines(&raw_line).unwrap().next().unwrap().text, "a");
        assert!(text(&raw(b"\xff\xfe{\0")).is_err());
    }

    #[test]
    fn what_follows_a_word_is_left() {
        let mut words = Words::of("a b c");
        words.next();
        assert_eq!((words.number(), words.rest()), (None, " b c"));
    }

    proptest::proptest! {
        #[test]
        fn words_are_what_the_standard_library_finds(text in "( {0,20}[a-zé\\x00-\\x21\u{a0}]{0,12}){0,5}") {
            let words: Vec<&str> = Words::of(&text).collect();
            proptest::prop_assert_eq!(words, text.split_ascii_whitespace().collect::<Vec<_>>());
        }

        #[test]
        fn short_numbers_are_the_standard_librarys_to_the_bit(text in "-?[0-9]{1,12}(\\.[0-9]{1,10})?") {
            let value = decimal(&text).unwrap();
            proptest::prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            for more in ["", " x 12345678"] {
                let line = format!("{text}{more}");
                let mut words = Words::of(&line);
                if let Some(number) = words.number() {
                    let expected = (value.to_bits(), more);
                    proptest::prop_assert_eq!((number.to_bits(), words.rest()), expected);
                }
            }
        }

        #[test]
        fn what_is_no_number_is_none_by_either_way(text in "[-0-9.e]{1,8}") {
            proptest::prop_assert_eq!(decimal(&text), long_decimal(&text));
            for line in [text.clone(), format!("{text} 12345678")] {
                if let Some(number) = Words::of(&line).number() {
                    proptest::prop_assert_eq!(Some(number), long_decimal(&text));
                }
            }
        }
    }

    #[test]
    fn decimal_takes_no_shortcuts() {
        assert_eq!(decimal("9007199254740993"), Some(9_007_199_254_740_992.0));
        assert_eq!(decimal("1796035000.123456"), Some(1_796_035_000.123_456));
        assert_eq!(decimal("12.50"), Some(12.5));
        assert_eq!(decimal("-0.1"), Some(-0.1));
        for bad in [
            "", "-", "nan", "-nan", "inf", "1e3", "1.", ".5", "1.2.3", "0x10", "1,5", "+1", " 1",
        ] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }
}
