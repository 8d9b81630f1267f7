//! `pidstat -u -h -H -l -p ALL -C '^qemu-system' SECONDS N`: a header line and a line for each
//! QEMU, once an interval, with the time in seconds since 1970.
//!
//! The guest's name is what follows `-name` on QEMU's command line. Each value covers the interval
//! before its header arrived. Without arrival times, pidstat's own clock counts from the program's
//! start on.

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample};

use super::{CPU, GUEST};
use crate::monitor;
use crate::text::{Line, Maker, at, decimal, lines, whole};

/// Columns before the command line, as the header names them.
const COLUMNS: [&str; 10] = [
    "Time", "UID", "PID", "%usr", "%system", "%guest", "%wait", "%CPU", "CPU", "Command",
];

/// Most that the parts of a process's time may differ from its sum: pidstat rounds.
const SLACK: f64 = 2.0;

/// The lines below one header.
struct Moment {
    line: usize,
    arrival: Option<f64>,
    clock: Option<u64>,
    processes: Vec<Process>,
}

struct Process {
    line: usize,
    guest: Name,
    cpu: f64,
    guest_time: f64,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let delay = monitor::delay(raw)?;
    let mut moments: Vec<Moment> = Vec::new();
    for line in lines(raw)? {
        let words: Vec<&str> = line.text.split_ascii_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["Linux", ..] if moments.is_empty() => {}
            ["#", columns @ ..] => {
                if *columns != COLUMNS {
                    let message = "not the columns of pidstat -u -h -H";
                    return Err(at(raw, line.number, message));
                }
                moments.push(Moment {
                    line: line.number,
                    arrival: line.time,
                    clock: None,
                    processes: Vec::new(),
                });
            }
            words => {
                let Some(moment) = moments.last_mut() else {
                    let message = "not pidstat's output: values before any header";
                    return Err(at(raw, line.number, message));
                };
                let clock = add(raw, &line, words, moment)?;
                if moment.clock.replace(clock).is_some_and(|c| c != clock) {
                    return Err(at(raw, line.number, "two times below one header"));
                }
            }
        }
    }
    samples(raw, moments, delay)
}

/// Reads one process's line into `moment` and gives its time.
fn add(
    raw: &Raw<'_>,
    line: &Line<'_>,
    words: &[&str],
    moment: &mut Moment,
) -> Result<u64, ParseError> {
    let damaged = |what: &str| at(raw, line.number, format!("{what}: the line is damaged"));
    let &[time, _, _, user, system, guest, wait, cpu, _, _, ..] = words else {
        return Err(damaged("columns are missing"));
    };
    let share = |column: &str, word: &str| {
        let value = decimal(word).filter(|value| *value >= 0.0);
        value.ok_or_else(|| {
            let message = format!("{column} is `{}`, not a share", word.escape_debug());
            at(raw, line.number, message)
        })
    };
    let clock: u64 = time
        .parse()
        .map_err(|_| damaged("it does not begin with seconds since 1970"))?;
    share("%wait", wait)?;
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
    let guest = node(raw, line, words)?;
    if moment.processes.iter().any(|other| other.guest == guest) {
        return Err(at(raw, line.number, format!("{guest} is listed twice")));
    }
    moment.processes.push(Process {
        line: line.number,
        guest,
        cpu,
        guest_time,
    });
    Ok(clock)
}

/// The guest that a QEMU runs.
fn node(raw: &Raw<'_>, line: &Line<'_>, words: &[&str]) -> Result<Name, ParseError> {
    let name = words.iter().skip_while(|word| **word != "-name").nth(1);
    let name = name.ok_or_else(|| {
        let message = "a QEMU without a name: something else ran beside the trial";
        at(raw, line.number, message)
    })?;
    let about = &raw.artefact.about;
    let known = Name::new(*name).ok().filter(|name| {
        // A file that stands alone says nothing about nodes.
        about.is_empty() || about.get(name) == Some(&NodeRole::Guest)
    });
    known.ok_or_else(|| {
        let message = format!(
            "`{}` is not a guest of this trial: something else ran beside it",
            name.escape_debug()
        );
        at(raw, line.number, message)
    })
}

fn samples(raw: &Raw<'_>, mut moments: Vec<Moment>, delay: f64) -> Result<Vec<Sample>, ParseError> {
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
    let arrivals: Vec<Option<f64>> = moments.iter().map(|moment| moment.arrival).collect();
    monitor::unbuffered(raw, &arrivals, delay)?;
    let begin = first.clock;
    let mut out = Vec::with_capacity(2 * moments.len() * guests.len());
    for moment in &moments {
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
            .unwrap_or(raw.artefact.started_s + delay + elapsed as f64);
        for process in &moment.processes {
            let maker = Maker::of(raw, process.guest.clone(), NodeRole::Guest);
            let time = (end - delay, delay);
            out.push(maker.sample(process.line, CPU, time, process.cpu)?);
            out.push(maker.sample(process.line, GUEST, time, process.guest_time)?);
        }
    }
    Ok(out)
}
