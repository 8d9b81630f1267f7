//! What sar and mpstat print: a header line and a line for each processor, once an interval; or JSON.
//!
//! Each value covers the interval before its line arrived. Without arrival times, the tool's own
//! clock counts from the program's start on. The clock tells lengths too: the header has the time at
//! which the first interval began. It is cut to seconds, so that a length that is at most a second off
//! the interval that was asked for is that interval.

mod json;

use std::collections::BTreeMap;

use vexp_api::plugin::{ParseError, Raw};

use crate::text::{Line, at, decimal, lines, whole};

const DAY: i64 = 86_400;

/// One processor's shares of an interval, in percent of it.
///
/// Busy is what is neither idle, nor waiting for a disk (`%iowait` is idle time with a request
/// outstanding), nor taken away by a hypervisor (`%steal` is time that another domain ran). `%usr`
/// and `%nice` leave out `%guest` and `%gnice`, so that busy includes them once: see sar(1), option
/// `-u ALL`, and mpstat(1). Without `-u ALL`, sar's `%user` has the guests' time in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    pub(super) busy: f64,
    /// In programs, also those with a lower priority.
    pub(super) user: f64,
    /// In the kernel, interrupts apart.
    pub(super) system: f64,
    /// `None` where sar was run without `-u ALL`, as are the next and the last.
    pub(super) irq: Option<f64>,
    pub(super) soft: Option<f64>,
    pub(super) steal: f64,
    pub(super) guest: Option<f64>,
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
    /// Seconds, where the tool says it.
    length: Option<f64>,
    line: usize,
    arrival: Option<f64>,
    /// Mean of all processors' busy time.
    mean: f64,
    shares: BTreeMap<u32, Shares>,
    /// Whether something stands after it, so that no line of it was cut off.
    ended: bool,
}

/// What a file says.
struct File {
    /// Processors of the computer, also those that are switched off.
    processors: usize,
    /// When the first interval began.
    began: Option<i64>,
    groups: Vec<Group>,
}

/// The intervals of a file; at least one.
pub(super) fn read(raw: &Raw<'_>) -> Result<Vec<Moment>, ParseError> {
    let text = crate::text::text(raw)?;
    let file = if text.trim_start().starts_with('{') {
        json::read(raw, text)?
    } else {
        plain(raw)?
    };
    moments(raw, file)
}

/// sar's and mpstat's lines.
fn plain(raw: &Raw<'_>) -> Result<File, ParseError> {
    let tool = &raw.artefact.tool;
    let all = lines(raw)?;
    let Some(first) = all.first() else {
        let said = raw.artefact.stderr.trim();
        let message = format!("{tool} printed nothing; it said: {said:?}");
        return Err(whole(raw, message));
    };
    let mut file = File {
        processors: processors(raw, first)?,
        began: None,
        groups: Vec::new(),
    };
    let mut header: Option<Vec<&str>> = None;
    for line in &all[1..] {
        let words: Vec<&str> = line.text.split_ascii_whitespace().collect();
        if words.is_empty() || words[0] == "Average:" {
            end(&mut file.groups);
            continue;
        }
        if line.text.contains("LINUX RESTART") {
            let message = "the machine was restarted here: split the file, or run the trial again";
            return Err(at(raw, line.number, message));
        }
        let (clock, rest) = clock(&words).ok_or_else(|| {
            let message = "the line does not begin with a time of day";
            at(raw, line.number, message)
        })?;
        if rest.first() == Some(&"CPU") {
            end(&mut file.groups);
            file.began.get_or_insert(clock);
            header = Some(rest.to_vec());
            continue;
        }
        let header = header
            .as_ref()
            .ok_or_else(|| at(raw, line.number, "values before any header"))?;
        let values = columns(raw, line, header, rest)?;
        let group = Group::new(clock, line.number, line.time);
        add(raw, &mut file.groups, group, (rest[0], &values))?;
    }
    Ok(file)
}

/// Says that the last group is whole.
fn end(groups: &mut [Group]) {
    if let Some(last) = groups.last_mut() {
        last.ended = true;
    }
}

impl Group {
    fn new(clock: i64, line: usize, arrival: Option<f64>) -> Self {
        Self {
            clock,
            length: None,
            line,
            arrival,
            mean: 0.0,
            shares: BTreeMap::new(),
            ended: false,
        }
    }
}

/// Adds a processor's values to the last group; those of `all`, which come first, begin `group`.
fn add(
    raw: &Raw<'_>,
    groups: &mut Vec<Group>,
    group: Group,
    (processor, values): (&str, &BTreeMap<&str, f64>),
) -> Result<(), ParseError> {
    let (clock, line) = (group.clock, group.line);
    let shares = shares(raw, line, values)?;
    if processor == "all" {
        end(groups);
        let mean = shares.map_or(0.0, |shares| shares.busy);
        groups.push(Group { mean, ..group });
        return Ok(());
    }
    let processor: u32 = processor.parse().map_err(|_| {
        let message = format!("`{}` is not a processor", processor.escape_debug());
        at(raw, line, message)
    })?;
    let group = groups
        .last_mut()
        .filter(|group| group.clock == clock)
        .ok_or_else(|| {
            let message =
                "a processor's line outside its group, which begins with `all`: -P ALL prints them";
            at(raw, line, message)
        })?;
    // One that is switched off has no time.
    let Some(shares) = shares else {
        return Ok(());
    };
    if group.shares.insert(processor, shares).is_some() {
        let message = format!("processor {processor} twice at one moment");
        return Err(at(raw, line, message));
    }
    Ok(())
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
        let sadf = line.text.starts_with("# hostname;")
            || line.text.starts_with("<?xml")
            || line.text.split('\t').count() == 6;
        if sadf {
            let message =
                "a table or XML of sadf, which is not read: `sadf -j FILE -- -u ALL -P ALL` is";
            return at(raw, line.number, message);
        }
        let message = format!(
            "not {}'s output: the first line does not say how many processors there are",
            raw.artefact.tool
        );
        at(raw, line.number, message)
    })
}

/// A time in seconds, on a 24-hour or a 12-hour clock or since 1970, and the words after it.
fn clock<'w, 'a>(words: &'w [&'a str]) -> Option<(i64, &'w [&'a str])> {
    let (time, rest) = words.split_first()?;
    // Seconds since 1970, as mpstat can print them.
    if time.len() >= 9 && time.bytes().all(|b| b.is_ascii_digit()) {
        return Some((time.parse().ok()?, rest));
    }
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

/// The values of a line by their columns' names.
fn columns<'a>(
    raw: &Raw<'_>,
    line: &Line<'_>,
    header: &[&'a str],
    words: &[&str],
) -> Result<BTreeMap<&'a str, f64>, ParseError> {
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
    Ok(values)
}

/// A processor's shares; `None` for one that is switched off, whose columns are all 0.
fn shares(
    raw: &Raw<'_>,
    line: usize,
    values: &BTreeMap<&str, f64>,
) -> Result<Option<Shares>, ParseError> {
    let value = |columns: [&str; 2]| {
        let found = columns.iter().find_map(|column| values.get(column));
        found.copied().ok_or_else(|| {
            let message = format!(
                "no column {}: not the processors' time of sar -u, sar -u ALL or mpstat",
                columns[0]
            );
            at(raw, line, message)
        })
    };
    let maybe = |column: &str| values.get(column).copied();
    let steal = value(["%steal"; 2])?;
    let idle = value(["%idle"; 2])? + value(["%iowait"; 2])? + steal;
    let shares = Shares {
        busy: (100.0 - idle).max(0.0),
        user: value(["%usr", "%user"])? + value(["%nice"; 2])?,
        system: value(["%sys", "%system"])?,
        irq: maybe("%irq"),
        soft: maybe("%soft"),
        steal,
        // Versions before 10.1.4 have no %gnice.
        guest: maybe("%guest").map(|guest| guest + maybe("%gnice").unwrap_or_default()),
    };
    // All columns share out the time: anything else is damage. The kernel books guest time twice (as
    // user and as guest time) and sysstat takes the one from the other, which on a loaded KVM host was
    // seen to miss 0.6 %.
    let sum: f64 = values.values().sum();
    if sum == 0.0 {
        return Ok(None);
    }
    if (sum - 100.0).abs() > 2.0 {
        let message = format!("the shares add up to {sum:.2} %, not 100 %");
        return Err(at(raw, line, message));
    }
    Ok(Some(shares))
}

/// Seconds on the tool's clock from one moment to the next; midnight may pass.
fn step(raw: &Raw<'_>, line: usize, before: i64, now: i64) -> Result<i64, ParseError> {
    let step = now - before;
    let step = if before < DAY && now < DAY {
        step.rem_euclid(DAY)
    } else {
        step
    };
    if !(0..=DAY / 2).contains(&step) {
        let message = "the clock was set back: run the trial again";
        return Err(at(raw, line, message));
    }
    Ok(step)
}

/// Drops a last group of which lines may have been cut off, and refuses a file without any other.
fn drop_cut(raw: &Raw<'_>, file: &mut File) -> Result<(), ParseError> {
    let groups = &mut file.groups;
    let usual = groups
        .iter()
        .map(|group| group.shares.len())
        .max()
        .unwrap_or_default();
    let several = groups.len() > 1;
    let enough = |last: &Group| {
        let found = last.shares.len();
        found >= file.processors || last.ended || (several && found > 0 && found == usual)
    };
    if groups.last().is_some_and(|last| !enough(last)) {
        groups.pop();
    }
    if groups.is_empty() {
        let said = raw.artefact.stderr.trim();
        let message = format!(
            "{} printed no complete sample; it said: {said:?}",
            raw.artefact.tool
        );
        return Err(whole(raw, message));
    }
    if groups.iter().all(|group| group.shares.is_empty()) {
        let message = format!(
            "only the mean of all processors, of which the number that was on is not said: {} -P ALL prints each",
            raw.artefact.tool
        );
        return Err(at(raw, groups[0].line, message));
    }
    Ok(())
}

/// Refuses a moment that lacks processors, other than those that are switched off all the time.
fn whole_group(raw: &Raw<'_>, group: &Group, on: &[u32], all: usize) -> Result<(), ParseError> {
    let same = group.shares.keys().eq(on.iter());
    let mean = group.shares.values().map(|shares| shares.busy).sum::<f64>() / on.len() as f64;
    if same && (group.shares.len() == all || (mean - group.mean).abs() <= 2.0) {
        return Ok(());
    }
    let message = format!(
        "{} of {all} processors at this moment, of which {} are on: one was switched off or on, or \
         lines are missing",
        group.shares.len(),
        on.len()
    );
    Err(at(raw, group.line, message))
}

/// Seconds of each group, and of all of them as they were asked for.
fn lengths(raw: &Raw<'_>, file: &File) -> Result<(f64, Vec<f64>), ParseError> {
    let mut steps: Vec<Option<i64>> = Vec::new();
    let mut before = file.began;
    for group in &file.groups {
        let passed = before.map(|before| step(raw, group.line, before, group.clock));
        steps.push(passed.transpose()?);
        before = Some(group.clock);
    }
    if let (Some(Some(0)), Some(first)) = (steps.first(), file.groups.first()) {
        let message = format!(
            "a mean since the machine was started, not of an interval: give {} one",
            raw.artefact.tool
        );
        return Err(at(raw, first.line, message));
    }
    let known: Vec<i64> = steps.iter().flatten().copied().collect();
    let said = file.groups.iter().find_map(|group| group.length);
    let delay = match (super::asked(raw)?, said, known.len()) {
        (Some(asked), _, _) => asked,
        (None, Some(said), _) => said,
        (None, None, 0) => return Err(super::unknown_length(raw, None)),
        (None, None, n) => (known.iter().sum::<i64>() as f64 / n as f64)
            .round()
            .max(1.0),
    };
    let lengths = steps.iter().zip(&file.groups).map(|(step, group)| {
        let passed = step.map(|step| step as f64);
        match (group.length, passed) {
            (Some(length), _) => length,
            (None, Some(passed)) if (passed - delay).abs() > 1.0 => passed,
            _ => delay,
        }
    });
    let lengths = lengths.collect();
    Ok((delay, lengths))
}

fn moments(raw: &Raw<'_>, mut file: File) -> Result<Vec<Moment>, ParseError> {
    drop_cut(raw, &mut file)?;
    let (delay, lengths) = lengths(raw, &file)?;
    let File {
        processors, groups, ..
    } = file;
    let arrivals: Vec<Option<f64>> = groups.iter().map(|group| group.arrival).collect();
    super::unbuffered(raw, &arrivals, delay)?;
    let on: Vec<u32> = (groups.iter().max_by_key(|group| group.shares.len()))
        .map(|group| group.shares.keys().copied().collect())
        .unwrap_or_default();
    let mut out: Vec<Moment> = Vec::with_capacity(groups.len());
    let mut end = raw.artefact.started_s;
    let mut clock = None;
    for (group, length) in groups.into_iter().zip(lengths) {
        whole_group(raw, &group, &on, processors)?;
        end += match clock.replace(group.clock) {
            Some(before) => step(raw, group.line, before, group.clock)? as f64,
            None => length,
        };
        let ended = group.arrival.unwrap_or(end);
        out.push(Moment {
            line: group.line,
            time: (ended - length, length),
            shares: group.shares,
        });
    }
    Ok(out)
}
