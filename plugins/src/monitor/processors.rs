//! What sar and mpstat print: a header line and a line for each processor, once an interval.
//!
//! Each value covers the interval before its line arrived. Without arrival times, the tool's own
//! clock counts from the program's start on.

use std::collections::BTreeMap;

use vexp_api::plugin::{ParseError, Raw};

use crate::text::{Line, at, decimal, lines, whole};

const DAY: i64 = 86_400;

/// One processor's shares of an interval, in percent of it.
///
/// Busy is what is neither idle, nor waiting for a disk (`%iowait` is idle time with a request
/// outstanding), nor taken away by a hypervisor (`%steal` is time that another domain ran). `%usr`
/// and `%nice` leave out `%guest` and `%gnice`, so that busy includes them once: see sar(1), option
/// `-u ALL`, and mpstat(1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    pub(super) busy: f64,
    /// In programs, also those with a lower priority.
    pub(super) user: f64,
    /// In the kernel, interrupts apart.
    pub(super) system: f64,
    pub(super) irq: f64,
    pub(super) soft: f64,
    pub(super) steal: f64,
    pub(super) guest: f64,
}

/// All processors' shares of one interval.
pub(super) struct Moment {
    /// First line.
    pub(super) line: usize,
    /// Start and length of the interval, seconds.
    pub(super) time: (f64, f64),
    pub(super) shares: BTreeMap<u32, Shares>,
}

/// The lines of one moment.
struct Group {
    clock: i64,
    line: usize,
    arrival: Option<f64>,
    shares: BTreeMap<u32, Shares>,
}

/// The intervals of a file; at least one.
pub(super) fn read(raw: &Raw<'_>) -> Result<Vec<Moment>, ParseError> {
    let tool = &raw.artefact.tool;
    let delay = super::delay(raw)?;
    let all = lines(raw)?;
    let Some(first) = all.first() else {
        let said = raw.artefact.stderr.trim();
        let message = format!("{tool} printed nothing; it said: {said:?}");
        return Err(whole(raw, message));
    };
    let processors = processors(raw, first)?;
    let mut header: Option<Vec<&str>> = None;
    let mut groups: Vec<Group> = Vec::new();
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
            let message = "the line does not begin with a time of day";
            at(raw, line.number, message)
        })?;
        if rest.first() == Some(&"CPU") {
            header = Some(rest.to_vec());
            continue;
        }
        let header = header
            .as_ref()
            .ok_or_else(|| at(raw, line.number, "values before any header"))?;
        let Some((processor, shares)) = shares(raw, line, header, rest)? else {
            groups.push(Group {
                clock,
                line: line.number,
                arrival: line.time,
                shares: BTreeMap::new(),
            });
            continue;
        };
        let group = groups
            .last_mut()
            .filter(|group| group.clock == clock)
            .ok_or_else(|| at(raw, line.number, "a processor's line outside its group"))?;
        if group.shares.insert(processor, shares).is_some() {
            let message = format!("processor {processor} twice at one moment");
            return Err(at(raw, line.number, message));
        }
    }
    moments(raw, groups, processors, delay)
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
        let message = format!(
            "not {}'s output: the first line does not say how many processors there are",
            raw.artefact.tool
        );
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

/// A processor's number and shares; `None` for the line `all`, which is the mean.
fn shares(
    raw: &Raw<'_>,
    line: &Line<'_>,
    header: &[&str],
    words: &[&str],
) -> Result<Option<(u32, Shares)>, ParseError> {
    if words.len() != header.len() {
        let message = format!(
            "{} columns where the header has {}: the line is damaged",
            words.len(),
            header.len()
        );
        return Err(at(raw, line.number, message));
    }
    let mut values = BTreeMap::new();
    for (column, word) in header.iter().zip(words).skip(1) {
        let value = decimal(word).filter(|value| (0.0..=100.0).contains(value));
        let value = value.ok_or_else(|| {
            let message = format!("{column} is `{}`, not 0 to 100", word.escape_debug());
            at(raw, line.number, message)
        })?;
        values.insert(*column, value);
    }
    let value = |column: &str| {
        values.get(column).copied().ok_or_else(|| {
            let message = format!("no column {column}: sar must be run with -u ALL");
            at(raw, line.number, message)
        })
    };
    let steal = value("%steal")?;
    let idle = value("%idle")? + value("%iowait")? + steal;
    let shares = Shares {
        busy: (100.0 - idle).max(0.0),
        user: value("%usr")? + value("%nice")?,
        system: value("%sys")?,
        irq: value("%irq")?,
        soft: value("%soft")?,
        steal,
        guest: value("%guest")? + value("%gnice")?,
    };
    // All columns share out the time: anything else is damage, or a processor that is switched
    // off, which is printed as zeros. The kernel books guest time twice (as user and as guest time)
    // and sysstat takes the one from the other, which on a loaded KVM host was seen to miss 0.6 %.
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
    Ok(Some((processor, shares)))
}

fn moments(
    raw: &Raw<'_>,
    mut groups: Vec<Group>,
    processors: usize,
    delay: f64,
) -> Result<Vec<Moment>, ParseError> {
    // A file that was cut ends in the middle of a group.
    if groups
        .last()
        .is_some_and(|last| last.shares.len() < processors)
    {
        groups.pop();
    }
    let Some(first) = groups.first() else {
        let said = raw.artefact.stderr.trim();
        let message = format!(
            "{} printed no complete sample; it said: {said:?}",
            raw.artefact.tool
        );
        return Err(whole(raw, message));
    };
    let arrivals: Vec<Option<f64>> = groups.iter().map(|group| group.arrival).collect();
    super::unbuffered(raw, &arrivals, delay)?;
    // Seconds on the tool's clock since its first line; midnight may pass.
    let (mut elapsed, mut clock) = (0, first.clock);
    let moment = |group: Group| {
        if group.shares.len() != processors {
            let message = format!(
                "{} of {processors} processors at this moment: one was switched off, or lines are missing",
                group.shares.len()
            );
            return Err(at(raw, group.line, message));
        }
        let step = (group.clock - clock).rem_euclid(DAY);
        if step > DAY / 2 {
            let message = "the clock was set back: run the trial again";
            return Err(at(raw, group.line, message));
        }
        elapsed += step;
        clock = group.clock;
        let end = group
            .arrival
            .unwrap_or(raw.artefact.started_s + delay + elapsed as f64);
        Ok(Moment {
            line: group.line,
            time: (end - delay, delay),
            shares: group.shares,
        })
    };
    groups.into_iter().map(moment).collect()
}
