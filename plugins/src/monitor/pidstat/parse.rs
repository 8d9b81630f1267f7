//! `pidstat -u -h -H -l -p ALL -C '^qemu-system' SECONDS N`: a header line and a line for each
//! QEMU, once an interval, with the time in seconds since 1970.
//!
//! The guest's name is what follows `-name` on QEMU's command line, with or without `guest=`. Each value
//! covers the interval before its header arrived. Without arrival times, pidstat's own clock counts from
//! the program's start on. It tells lengths too, as processors' samples have them: see
//! [`crate::monitor`]'s `processors`.
//!
//! A file that stands alone may list other programs, which are left out, and threads of vhost, which
//! are QEMU's before Linux 6.4: their time is their guest's.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample};

use super::{CPU, GUEST};
use crate::monitor;
use crate::text::{Line, Maker, alone, at, decimal, lines, whole};

/// Columns before the command line, as the header names them.
const COLUMNS: [&str; 10] = [
    "Time", "UID", "PID", "%usr", "%system", "%guest", "%wait", "%CPU", "CPU", "Command",
];

/// The column that versions before 11.5.5 do not have.
const WAIT: usize = 6;

/// Most that the parts of a process's time may differ from its sum: pidstat rounds.
const SLACK: f64 = 2.0;

/// The lines below one header.
struct Moment {
    line: usize,
    arrival: Option<f64>,
    clock: Option<u64>,
    processes: Vec<Process>,
    guests: BTreeSet<Name>,
    /// Threads of vhost, by the process that they work for.
    vhost: Vec<(u64, f64)>,
}

/// The columns of a line.
struct Shares {
    clock: u64,
    pid: u64,
    cpu: f64,
    guest_time: f64,
}

struct Process {
    line: usize,
    pid: u64,
    guest: Name,
    cpu: f64,
    guest_time: f64,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let mut moments: Vec<Moment> = Vec::new();
    let (mut processors, mut wait) = (None, true);
    for line in lines(raw)? {
        let words: Vec<&str> = line.text.split_ascii_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["Linux", .., count, "CPU)"] if moments.is_empty() => {
                processors = count.strip_prefix('(').and_then(|n| n.parse::<u32>().ok());
            }
            ["#", columns @ ..] => {
                let older = COLUMNS.iter().enumerate().filter(|(n, _)| *n != WAIT);
                wait = *columns == COLUMNS;
                if !wait && !columns.iter().eq(older.map(|(_, column)| column)) {
                    let message = "not the columns of pidstat -u -h -H";
                    return Err(at(raw, line.number, message));
                }
                moments.push(Moment {
                    line: line.number,
                    arrival: line.time,
                    clock: None,
                    processes: Vec::new(),
                    guests: BTreeSet::new(),
                    vhost: Vec::new(),
                });
            }
            words => {
                let Some(moment) = moments.last_mut() else {
                    let message =
                        "not what pidstat prints with -u -h -H -l: values before any header";
                    return Err(at(raw, line.number, message));
                };
                let clock = add(raw, &line, (words, wait), processors, moment)?;
                if moment.clock.replace(clock).is_some_and(|c| c != clock) {
                    return Err(at(raw, line.number, "two times below one header"));
                }
            }
        }
    }
    for moment in &mut moments {
        moment.share_out();
    }
    samples(raw, moments)
}

impl Moment {
    /// Adds the time of vhost's threads to their guests.
    fn share_out(&mut self) {
        let mut vhost: BTreeMap<u64, f64> = BTreeMap::new();
        for (pid, cpu) in &self.vhost {
            *vhost.entry(*pid).or_default() += cpu;
        }
        for process in &mut self.processes {
            process.cpu += vhost.get(&process.pid).copied().unwrap_or_default();
        }
    }
}

/// Reads one process's line into `moment` and gives its time.
fn add(
    raw: &Raw<'_>,
    line: &Line<'_>,
    (words, wait): (&[&str], bool),
    processors: Option<u32>,
    moment: &mut Moment,
) -> Result<u64, ParseError> {
    let shares = shares(raw, line, (words, wait), processors)?;
    let command = if wait {
        COLUMNS.len() - 1
    } else {
        COLUMNS.len() - 2
    };
    let command = &words[command..];
    let program = command
        .first()
        .map_or("", |path| path.rsplit('/').next().unwrap_or(path));
    let vhost = program
        .strip_prefix("vhost-")
        .and_then(|pid| pid.parse::<u64>().ok());
    if let Some(pid) = vhost.filter(|_| alone(raw)) {
        moment.vhost.push((pid, shares.cpu));
        return Ok(shares.clock);
    }
    let qemu = program.starts_with("qemu-system") || matches!(program, "qemu-kvm" | "kvm");
    if alone(raw) && !qemu {
        return Ok(shares.clock);
    }
    let guest = node(raw, line, command)?;
    if !moment.guests.insert(guest.clone()) {
        return Err(at(raw, line.number, format!("{guest} is listed twice")));
    }
    moment.processes.push(Process {
        line: line.number,
        pid: shares.pid,
        guest,
        cpu: shares.cpu,
        guest_time: shares.guest_time,
    });
    Ok(shares.clock)
}

fn shares(
    raw: &Raw<'_>,
    line: &Line<'_>,
    (words, wait): (&[&str], bool),
    processors: Option<u32>,
) -> Result<Shares, ParseError> {
    let damaged = |what: &str| at(raw, line.number, format!("{what}: the line is damaged"));
    let (time, pid, user, system, guest, waited, cpu) = match (words, wait) {
        (&[time, _, pid, user, system, guest, waited, cpu, _, _, ..], true) => {
            (time, pid, user, system, guest, Some(waited), cpu)
        }
        (&[time, _, pid, user, system, guest, cpu, _, _, ..], false) => {
            (time, pid, user, system, guest, None, cpu)
        }
        _ => return Err(damaged("columns are missing")),
    };
    let share = |column: &str, word: &str| {
        let value = decimal(word).filter(|value| *value >= 0.0);
        value.ok_or_else(|| {
            let message = format!("{column} is `{}`, not a share", word.escape_debug());
            at(raw, line.number, message)
        })
    };
    let clock: u64 = time.parse().map_err(|_| {
        damaged("it does not begin with seconds since 1970, as pidstat -H prints them")
    })?;
    let pid: u64 = pid.parse().map_err(|_| damaged("no PID"))?;
    if let Some(waited) = waited {
        share("%wait", waited)?;
    }
    let (cpu, guest_time) = (share("%CPU", cpu)?, share("%guest", guest)?);
    let (user, system) = (share("%usr", user)?, share("%system", system)?);
    let parts = user + system + guest_time;
    let slack = SLACK.max(0.02 * cpu);
    // The kernel books a guest's time by ticks, and shares the sum out between user and system
    // otherwise (cputime_adjust). Where the guest has more than the user's share that it is a part of,
    // pidstat prints 0 for the rest, and the parts are too much by what is missing there.
    let more_guest = user == 0.0 && system <= cpu + slack;
    if parts < cpu - slack || (parts > cpu + slack && !more_guest) {
        let message = format!("the parts add up to {parts:.2} %, but %CPU is {cpu:.2}");
        return Err(at(raw, line.number, message));
    }
    // Ticks that are booked late make an interval's share a little more than there is.
    if let Some(n) = processors.filter(|n| cpu > 110.0 * f64::from(*n) + SLACK) {
        let message = format!("%CPU is {cpu:.2}, but there are {n} processors");
        return Err(at(raw, line.number, message));
    }
    Ok(Shares {
        clock,
        pid,
        cpu,
        guest_time,
    })
}

/// The guest that a QEMU runs: of `-name guest=vm1,debug-threads=on`, `vm1`.
fn node(raw: &Raw<'_>, line: &Line<'_>, command: &[&str]) -> Result<Name, ParseError> {
    let name = command.iter().skip_while(|word| **word != "-name").nth(1);
    let name = name.ok_or_else(|| {
        let message = "a QEMU without a name: something else ran beside the trial, or pidstat was run \
                       without -l";
        at(raw, line.number, message)
    })?;
    let parts = || name.split(',');
    let name = parts()
        .find_map(|part| part.strip_prefix("guest="))
        .or_else(|| parts().next());
    let name = name.unwrap_or_default();
    monitor::guest(raw, name).ok_or_else(|| {
        let message = format!(
            "`{}` is not a guest of this trial: something else ran beside it",
            name.escape_debug()
        );
        at(raw, line.number, message)
    })
}

/// Seconds of each moment, and of all as they were asked for.
fn lengths(raw: &Raw<'_>, moments: &[Moment]) -> Result<(f64, Vec<f64>), ParseError> {
    let mut steps: Vec<Option<u64>> = Vec::new();
    let mut before: Option<u64> = None;
    for moment in moments {
        let set_back = || {
            at(
                raw,
                moment.line,
                "the clock was set back: run the trial again",
            )
        };
        let passed = match (before, moment.clock) {
            (Some(before), Some(now)) => Some(now.checked_sub(before).ok_or_else(set_back)?),
            _ => None,
        };
        steps.push(passed);
        before = moment.clock.or(before);
    }
    let known: Vec<u64> = steps.iter().flatten().copied().collect();
    let delay = match (monitor::asked(raw)?, known.len()) {
        (Some(asked), _) => asked,
        (None, 0) => return Err(monitor::unknown_length(raw, None)),
        (None, n) => (known.iter().sum::<u64>() as f64 / n as f64)
            .round()
            .max(1.0),
    };
    // The clock is cut to seconds.
    let length = |step: &Option<u64>| match step.map(|step| step as f64) {
        Some(passed) if (passed - delay).abs() > 1.0 => passed,
        _ => delay,
    };
    let lengths = steps.iter().map(length).collect();
    Ok((delay, lengths))
}

fn samples(raw: &Raw<'_>, mut moments: Vec<Moment>) -> Result<Vec<Sample>, ParseError> {
    let about = raw.artefact.about.iter();
    let mut guests: BTreeSet<Name> = about
        .filter(|(_, role)| **role == NodeRole::Guest)
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(first) = moments.first().filter(|_| guests.is_empty()) {
        guests.extend(first.processes.iter().map(|process| process.guest.clone()));
    }
    // A file that was cut ends in the middle of a moment.
    if moments
        .last()
        .is_some_and(|last| last.processes.len() < guests.len())
    {
        moments.pop();
    }
    let Some(first) = moments.first().filter(|_| !guests.is_empty()) else {
        let said = raw.artefact.stderr.trim();
        let message = format!("pidstat printed no complete sample of any QEMU; it said: {said:?}");
        return Err(whole(raw, message));
    };
    let begin = first.clock;
    let (delay, lengths) = lengths(raw, &moments)?;
    let first_length = lengths.first().copied().unwrap_or(delay);
    let arrivals: Vec<Option<f64>> = moments.iter().map(|moment| moment.arrival).collect();
    monitor::unbuffered(raw, &arrivals, delay)?;
    let mut out = Vec::with_capacity(2 * moments.len() * guests.len());
    for (moment, length) in moments.iter().zip(lengths) {
        if moment.processes.len() != guests.len() {
            let message = format!(
                "{} of {} guests have a QEMU at this moment",
                moment.processes.len(),
                guests.len()
            );
            return Err(at(raw, moment.line, message));
        }
        let elapsed = moment.clock.zip(begin);
        let elapsed = elapsed.and_then(|(now, begin)| now.checked_sub(begin));
        let elapsed = elapsed.ok_or_else(|| {
            let message = "the clock was set back: run the trial again";
            at(raw, moment.line, message)
        })?;
        let end = moment
            .arrival
            .unwrap_or(raw.artefact.started_s + first_length + elapsed as f64);
        for process in &moment.processes {
            let maker = Maker::of(raw, process.guest.clone(), NodeRole::Guest);
            let time = (end - length, length);
            out.push(maker.sample(process.line, CPU, time, process.cpu)?);
            out.push(maker.sample(process.line, GUEST, time, process.guest_time)?);
        }
    }
    Ok(out)
}
