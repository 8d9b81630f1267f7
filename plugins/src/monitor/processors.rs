//! What sar and mpstat print: a header line and a line for each processor, once an interval; or JSON.
//!
//! Each value covers the interval before its line arrived. Without arrival times, the tool's own
//! clock counts from the program's start on. The clock tells lengths too: the header has the time at
//! which the first interval began. It is cut to seconds, so that a length that is at most a second off
//! the interval that was asked for is that interval.

mod columns;
mod json;

use vexp_api::plugin::{ParseError, Raw};

use crate::text::{Line, Words, at, lines, whole};
use columns::{Column, Header, Values};

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
    /// By the processor's number, in order.
    pub(super) shares: Vec<(u32, Shares)>,
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
    shares: Vec<(u32, Shares)>,
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

/// The intervals of a file; at least one, and all of the same processors.
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
    let mut all = lines(raw)?;
    let Some(first) = all.next() else {
        let said = raw.artefact.stderr.trim();
        let message = format!("{tool} printed nothing; it said: {said:?}");
        return Err(whole(raw, message));
    };
    let mut file = File {
        processors: processors(raw, &first)?,
        began: None,
        groups: Vec::new(),
    };
    let mut header: Option<Header<'_>> = None;
    for line in all {
        let mut words = Words::of(line.text);
        let time = match words.next() {
            None | Some("Average:") => {
                end(&mut file.groups);
                continue;
            }
            Some(time) => time,
        };
        let clock = clock(time, &mut words);
        let rest = words.rest().trim_ascii_start();
        if (clock.is_none() || rest.starts_with("LINUX")) && line.text.contains("LINUX RESTART") {
            let message = "the machine was restarted here: split the file, or run the trial again";
            return Err(at(raw, line.number, message));
        }
        let clock = clock.ok_or_else(|| {
            let message = "the line does not begin with a time of day";
            at(raw, line.number, message)
        })?;
        let first = words.next();
        if first == Some("CPU") {
            end(&mut file.groups);
            file.began.get_or_insert(clock);
            // As a rule it is the one before.
            if header.as_ref().is_none_or(|header| header.text != rest) {
                header = Some(Header::of(rest));
            }
            continue;
        }
        let header = header
            .as_ref()
            .ok_or_else(|| at(raw, line.number, "values before any header"))?;
        let values = header.values(raw, &line, words)?;
        let group = Group::new(clock, line.number, line.time);
        let processor = first.unwrap_or_default();
        add(raw, &mut file.groups, group, (processor, &values))?;
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
            shares: Vec::new(),
            ended: false,
        }
    }
}

/// Adds a processor's values to the last group; those of `all`, which come first, begin `group`.
fn add(
    raw: &Raw<'_>,
    groups: &mut Vec<Group>,
    group: Group,
    (processor, values): (&str, &Values),
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
    // They are printed in order.
    let place = match group.shares.last() {
        Some((last, _)) if *last >= processor => group
            .shares
            .binary_search_by_key(&processor, |(number, _)| *number),
        _ => Err(group.shares.len()),
    };
    let Err(place) = place else {
        let message = format!("processor {processor} twice at one moment");
        return Err(at(raw, line, message));
    };
    group.shares.insert(place, (processor, shares));
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

/// A time in seconds, on a 24-hour or a 12-hour clock or since 1970. Takes the half of the day off the
/// front of `words`.
fn clock(time: &str, words: &mut Words<'_>) -> Option<i64> {
    let digits = |digits: [u8; 2]| {
        let plain = digits.iter().all(u8::is_ascii_digit);
        plain.then(|| i64::from(10 * (digits[0] - b'0') + digits[1] - b'0'))
    };
    let &[a, b, b':', c, d, b':', e, f] = time.as_bytes() else {
        // Seconds since 1970, as mpstat can print them.
        let plain = time.len() >= 9 && time.bytes().all(|b| b.is_ascii_digit());
        return plain.then(|| time.parse().ok()).flatten();
    };
    let (hours, minutes, seconds) = (digits([a, b])?, digits([c, d])?, digits([e, f])?);
    let hours = match words.rest().trim_ascii_start().as_bytes() {
        [half @ (b'A' | b'P'), b'M', b' ' | b'\t', ..] => {
            words.next();
            let half = if *half == b'P' { 12 } else { 0 };
            // 12:30 AM is half past midnight.
            (1..=12).contains(&hours).then_some(hours % 12 + half)?
        }
        _ => hours,
    };
    let valid = hours < 24 && minutes < 60 && seconds <= 60;
    valid.then_some(hours * 3600 + minutes * 60 + seconds)
}

/// A processor's shares; `None` for one that is switched off, whose columns are all 0.
fn shares(raw: &Raw<'_>, line: usize, values: &Values) -> Result<Option<Shares>, ParseError> {
    let value = |column: Column| {
        values.get(column).ok_or_else(|| {
            let message = format!(
                "no column {}: not the processors' time of sar -u, sar -u ALL or mpstat",
                column.name()
            );
            at(raw, line, message)
        })
    };
    let steal = value(Column::Steal)?;
    let idle = value(Column::Idle)? + value(Column::Wait)? + steal;
    let shares = Shares {
        busy: (100.0 - idle).max(0.0),
        user: value(Column::User)? + value(Column::Nice)?,
        system: value(Column::System)?,
        irq: values.get(Column::Irq),
        soft: values.get(Column::Soft),
        steal,
        // Versions before 10.1.4 have no %gnice.
        guest: (values.get(Column::Guest))
            .map(|guest| guest + values.get(Column::GuestNice).unwrap_or_default()),
    };
    // All columns share out the time: anything else is damage. The kernel books guest time twice (as
    // user and as guest time) and sysstat takes the one from the other, which on a loaded KVM host was
    // seen to miss 0.6 %.
    let sum = values.sum();
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
    let same = group.shares.iter().map(|(number, _)| number).eq(on);
    let busy: f64 = group.shares.iter().map(|(_, shares)| shares.busy).sum();
    let mean = busy / on.len() as f64;
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
    let known = || steps.iter().flatten();
    let said = file.groups.iter().find_map(|group| group.length);
    let delay = match (super::asked(raw)?, said, known().count()) {
        (Some(asked), _, _) => asked,
        (None, Some(said), _) => said,
        (None, None, 0) => return Err(super::unknown_length(raw, None)),
        (None, None, n) => (known().sum::<i64>() as f64 / n as f64).round().max(1.0),
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
    super::unbuffered(raw, groups.iter().map(|group| group.arrival), delay)?;
    let on: Vec<u32> = (groups.iter().max_by_key(|group| group.shares.len()))
        .map(|group| group.shares.iter().map(|(number, _)| *number).collect())
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
