//! `sar -u ALL -P ALL SECONDS N`.
//!
//! Per processor, busy is what is neither idle, nor waiting for a disk (`%iowait` is idle time
//! with a request outstanding), nor taken away by a hypervisor (`%steal` is time that another
//! domain ran). `%usr` and `%nice` leave out `%guest` and `%gnice`, so that busy includes them
//! once: see sar(1), option `-u ALL`. Processors are added up; the line `all` is their mean and
//! isn't used.
//!
//! Each value covers the interval before its line arrived. Without arrival times, sar's own clock
//! counts from the program's start on.

use std::collections::BTreeMap;

use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{CPU, GUEST};
use crate::monitor::MonitorOptions;
use crate::text::{Line, Maker, at, decimal, lines, whole};

const DAY: i64 = 86_400;

/// Columns of a header line, by what they are.
struct Header {
    columns: Vec<String>,
}

/// One processor's line.
#[derive(Clone, Copy)]
struct Row {
    busy: f64,
    guest: f64,
}

/// The lines of one moment.
struct Moment {
    clock: i64,
    line: usize,
    arrival: Option<f64>,
    rows: BTreeMap<u32, Row>,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let options: MonitorOptions =
        crate::options::read(&raw.artefact.options).map_err(|e| whole(raw, e.to_string()))?;
    let delay = options.seconds().map_err(|e| whole(raw, e))? as f64;
    let all = lines(raw)?;
    let Some(first) = all.first() else {
        let said = raw.artefact.stderr.trim();
        return Err(whole(
            raw,
            format!("sar printed nothing; it said: {said:?}"),
        ));
    };
    let processors = processors(raw, first)?;
    let mut header: Option<Header> = None;
    let mut moments: Vec<Moment> = Vec::new();
    for line in &all[1..] {
        let words: Vec<&str> = line.text.split_ascii_whitespace().collect();
        if words.is_empty() || words[0] == "Average:" {
            continue;
        }
        if line.text.contains("LINUX RESTART") {
            let message = "the machine was restarted in the middle of the trial: run it again";
            return Err(at(raw, line.number, message));
        }
        let (clock, rest) = clock(&words).ok_or_else(|| {
            at(
                raw,
                line.number,
                "the line does not begin with a time of day",
            )
        })?;
        if rest.first() == Some(&"CPU") {
            header = Some(Header {
                columns: rest.iter().map(ToString::to_string).collect(),
            });
            continue;
        }
        let header = header
            .as_ref()
            .ok_or_else(|| at(raw, line.number, "values before any header"))?;
        let Some((processor, row)) = row(raw, line, header, rest)? else {
            moments.push(Moment {
                clock,
                line: line.number,
                arrival: line.time,
                rows: BTreeMap::new(),
            });
            continue;
        };
        let moment = moments
            .last_mut()
            .filter(|moment| moment.clock == clock)
            .ok_or_else(|| at(raw, line.number, "a processor's line outside its group"))?;
        if moment.rows.insert(processor, row).is_some() {
            let message = format!("processor {processor} twice at one moment");
            return Err(at(raw, line.number, message));
        }
    }
    samples(raw, &mut moments, processors, delay)
}

/// The number of processors in `Linux 6.12 (host)  2026-11-22  _x86_64_  (2 CPU)`.
fn processors(raw: &Raw<'_>, line: &Line<'_>) -> Result<usize, ParseError> {
    let count = line
        .text
        .strip_prefix("Linux ")
        .and_then(|text| text.trim_end().strip_suffix(" CPU)"))
        .and_then(|text| text.rsplit_once('('))
        .and_then(|(_, count)| count.parse().ok())
        .filter(|count| *count > 0);
    count.ok_or_else(|| {
        let message = "not sar's output: the first line does not say how many processors there are";
        at(raw, line.number, message)
    })
}

/// A time of day in seconds, on a 24-hour or a 12-hour clock, and the words after it.
fn clock<'w, 'a>(words: &'w [&'a str]) -> Option<(i64, &'w [&'a str])> {
    let (time, rest) = words.split_first()?;
    let parts: Vec<i64> = time
        .split(':')
        .map(|part| {
            let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        })
        .collect::<Option<_>>()?;
    let &[hours, minutes, seconds] = parts.as_slice() else {
        return None;
    };
    let half = match rest.first() {
        Some(&"AM") => Some(0),
        Some(&"PM") => Some(12),
        _ => None,
    };
    let (hours, rest) = match half {
        // 12:30 AM is half past midnight.
        Some(half) => (
            (1..=12).contains(&hours).then_some(hours % 12 + half)?,
            &rest[1..],
        ),
        None => (hours, rest),
    };
    let valid = hours < 24 && minutes < 60 && seconds <= 60;
    valid.then_some((hours * 3600 + minutes * 60 + seconds, rest))
}

/// A processor's number and values; `None` for the line `all`.
fn row(
    raw: &Raw<'_>,
    line: &Line<'_>,
    header: &Header,
    words: &[&str],
) -> Result<Option<(u32, Row)>, ParseError> {
    if words.len() != header.columns.len() {
        let message = format!(
            "{} columns where the header has {}: the line is damaged",
            words.len(),
            header.columns.len()
        );
        return Err(at(raw, line.number, message));
    }
    let mut values = BTreeMap::new();
    for (column, word) in header.columns.iter().zip(words).skip(1) {
        let value = decimal(word).filter(|value| (0.0..=100.0).contains(value));
        let value = value.ok_or_else(|| {
            let message = format!("{column} is `{}`, not 0 to 100", word.escape_debug());
            at(raw, line.number, message)
        })?;
        values.insert(column.as_str(), value);
    }
    let value = |column: &str| {
        values.get(column).copied().ok_or_else(|| {
            let message = format!("no column {column}: sar must be run with -u ALL");
            at(raw, line.number, message)
        })
    };
    let idle = value("%idle")? + value("%iowait")? + value("%steal")?;
    let guest = value("%guest")? + value("%gnice")?;
    // All columns share out the time: anything else is damage, or a processor that is switched
    // off, which sar prints as zeros. The kernel books guest time twice (as user and as guest time)
    // and sar takes the one from the other, which on a loaded KVM host was seen to miss 0.6 %.
    let sum: f64 = values.values().sum();
    if (sum - 100.0).abs() > 2.0 {
        let message = format!("the shares add up to {sum:.2} %, not 100 %");
        return Err(at(raw, line.number, message));
    }
    if words[0] == "all" {
        return Ok(None);
    }
    let processor = words[0].parse().map_err(|_| {
        let message = format!("`{}` is not a processor", words[0].escape_debug());
        at(raw, line.number, message)
    })?;
    let row = Row {
        busy: (100.0 - idle).max(0.0),
        guest,
    };
    Ok(Some((processor, row)))
}

fn samples(
    raw: &Raw<'_>,
    moments: &mut Vec<Moment>,
    processors: usize,
    delay: f64,
) -> Result<Vec<Sample>, ParseError> {
    // A file that was cut ends in the middle of a group.
    if moments
        .last()
        .is_some_and(|last| last.rows.len() < processors)
    {
        moments.pop();
    }
    let Some((first, last)) = moments.first().zip(moments.last()) else {
        let said = raw.artefact.stderr.trim();
        return Err(whole(
            raw,
            format!("sar printed no complete sample; it said: {said:?}"),
        ));
    };
    if let (Some(begin), Some(end)) = (first.arrival, last.arrival)
        && end - begin < 0.5 * delay * (moments.len() - 1) as f64
    {
        let message = format!(
            "{} samples {delay} s apart arrived within {:.1} s: the output was buffered, so that their times are unknown",
            moments.len(),
            end - begin
        );
        return Err(whole(raw, message));
    }
    let maker = Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role);
    let mut out = Vec::with_capacity(2 * moments.len());
    // Seconds on sar's clock since its first line; midnight may pass.
    let (mut elapsed, mut clock) = (0, first.clock);
    for moment in moments.iter() {
        if moment.rows.len() != processors {
            let message = format!(
                "{} of {processors} processors at this moment: one was switched off, or lines are missing",
                moment.rows.len()
            );
            return Err(at(raw, moment.line, message));
        }
        let step = (moment.clock - clock).rem_euclid(DAY);
        if step > DAY / 2 {
            return Err(at(
                raw,
                moment.line,
                "sar's clock was set back: run the trial again",
            ));
        }
        elapsed += step;
        clock = moment.clock;
        let end = moment
            .arrival
            .unwrap_or(raw.artefact.started_s + delay + elapsed as f64);
        let time = (end - delay, delay);
        let busy: f64 = moment.rows.values().map(|row| row.busy).sum();
        let guest: f64 = moment.rows.values().map(|row| row.guest).sum();
        out.push(maker.sample(moment.line, CPU, time, busy)?);
        out.push(maker.sample(moment.line, GUEST, time, guest)?);
    }
    Ok(out)
}
