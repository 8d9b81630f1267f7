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

use std::collections::BTreeMap;
use std::ops::Range;

use vexp_api::ids::Name;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample};

use super::{CPU, GUEST};
use crate::monitor;
use crate::text::{Line, Maker, Series, Words, alone, at, comma, decimal, lines, whole};

/// Columns before the command line, as the header names them.
const COLUMNS: [&str; 10] = [
    "Time", "UID", "PID", "%usr", "%system", "%guest", "%wait", "%CPU", "CPU", "Command",
];

/// The column that versions before 11.5.5 do not have.
const WAIT: usize = 6;

/// Most that the parts of a process's time may differ from its sum: pidstat rounds.
const SLACK: f64 = 2.0;

/// What has been read so far.
struct Reader<'r, 'a> {
    raw: &'r Raw<'a>,
    /// Of the computer.
    processors: Option<u32>,
    /// The header last seen, and whether it has `%wait`.
    header: (&'a str, bool),
    moments: Vec<Moment>,
    processes: Vec<Process>,
    vhost: Vec<Vhost>,
    guests: Vec<Guest>,
    /// Places in `guests` by what stands behind `-name`.
    names: BTreeMap<&'a str, usize>,
    /// The command lines of the last moment, in order, and their places in `guests`: as a rule the next moment has
    /// the same.
    commands: Vec<(&'a str, usize)>,
}

/// A guest that a line was about.
struct Guest {
    name: Name,
    /// The moment in which it was seen last.
    seen: usize,
}

/// The lines below one header.
struct Moment {
    line: usize,
    arrival: Option<f64>,
    clock: Option<u64>,
    /// Places in the reader's processes.
    processes: Range<usize>,
}

/// A thread of vhost.
struct Vhost {
    /// Its moment's place.
    moment: usize,
    /// The process that it works for.
    pid: u64,
    cpu: f64,
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
    /// Place in the reader's guests.
    guest: usize,
    cpu: f64,
    guest_time: f64,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let mut reader = Reader {
        raw,
        processors: None,
        header: ("", true),
        moments: Vec::new(),
        processes: Vec::new(),
        vhost: Vec::new(),
        guests: Vec::new(),
        names: BTreeMap::new(),
        commands: Vec::new(),
    };
    for line in lines(raw)? {
        reader.line(&line)?;
    }
    reader.share_out();
    reader.samples()
}

impl<'a> Reader<'_, 'a> {
    fn line(&mut self, line: &Line<'a>) -> Result<(), ParseError> {
        let mut words = Words::of(line.text);
        match words.next() {
            None => {}
            Some("Linux") if self.moments.is_empty() && line.text.trim_end().ends_with(" CPU)") => {
                let count = line.text.split_ascii_whitespace().rev().nth(1);
                let count = count.and_then(|count| count.strip_prefix('('));
                self.processors = count.and_then(|count| count.parse().ok());
            }
            Some("#") => self.header(line, words)?,
            Some(time) => self.values(line, time, words)?,
        }
        Ok(())
    }

    /// Begins a moment.
    fn header(&mut self, line: &Line<'a>, columns: Words<'a>) -> Result<(), ParseError> {
        // As a rule it is the one before.
        if line.text != self.header.0 {
            let wait = columns.clone().eq(COLUMNS);
            let older = COLUMNS.iter().enumerate().filter(|(n, _)| *n != WAIT);
            if !wait && !columns.eq(older.map(|(_, column)| *column)) {
                let message = "not the columns of pidstat -u -h -H";
                return Err(at(self.raw, line.number, message));
            }
            self.header = (line.text, wait);
        }
        let next = self.processes.len();
        self.moments.push(Moment {
            line: line.number,
            arrival: line.time,
            clock: None,
            processes: next..next,
        });
        Ok(())
    }

    /// A process's line.
    fn values(
        &mut self,
        line: &Line<'a>,
        time: &str,
        mut words: Words<'a>,
    ) -> Result<(), ParseError> {
        let raw = self.raw;
        let now = self.moments.len();
        if now == 0 {
            let message = "not what pidstat prints with -u -h -H -l: values before any header";
            return Err(at(raw, line.number, message));
        }
        let shares = shares(
            raw,
            line,
            (time, &mut words),
            (self.header.1, self.processors),
        )?;
        let process = self.process(line, &shares, words)?;
        let Some(moment) = self.moments.last_mut() else {
            return Ok(());
        };
        match process {
            Some(Time::Guest(process)) => {
                self.processes.push(process);
                moment.processes.end += 1;
            }
            Some(Time::Vhost(pid)) => self.vhost.push(Vhost {
                moment: now - 1,
                pid,
                cpu: shares.cpu,
            }),
            None => {}
        }
        let before = moment.clock.replace(shares.clock);
        if before.is_some_and(|before| before != shares.clock) {
            return Err(at(raw, line.number, "two times below one header"));
        }
        Ok(())
    }

    /// Whose time a line is: a QEMU's, a vhost thread's, or of no interest.
    fn process(
        &mut self,
        line: &Line<'a>,
        shares: &Shares,
        mut command: Words<'a>,
    ) -> Result<Option<Time>, ParseError> {
        let path = command.next().ok_or_else(|| missing(self.raw, line))?;
        let name = path.bytes().rposition(|byte| byte == b'/');
        let program = &path[name.map_or(0, |slash| slash + 1)..];
        let vhost = program
            .strip_prefix("vhost-")
            .and_then(|pid| pid.parse::<u64>().ok());
        if let Some(pid) = vhost.filter(|_| alone(self.raw)) {
            return Ok(Some(Time::Vhost(pid)));
        }
        let qemu = program.starts_with("qemu-system") || matches!(program, "qemu-kvm" | "kvm");
        if !qemu && alone(self.raw) {
            return Ok(None);
        }
        let guest = self.guest(line, command)?;
        Ok(Some(Time::Guest(Process {
            line: line.number,
            pid: shares.pid,
            guest,
            cpu: shares.cpu,
            guest_time: shares.guest_time,
        })))
    }

    /// The guest that a QEMU runs, which may be listed once a moment.
    fn guest(&mut self, line: &Line<'a>, command: Words<'a>) -> Result<usize, ParseError> {
        let now = self.moments.len();
        let nth = self
            .moments
            .last()
            .map_or(0, |moment| moment.processes.len());
        let text = command.rest();
        let place = match self.commands.get(nth) {
            Some((same, place)) if *same == text => *place,
            _ => self.named(line, command)?,
        };
        match self.commands.get_mut(nth) {
            Some(known) => *known = (text, place),
            None => self.commands.push((text, place)),
        }
        let guest = &mut self.guests[place];
        if std::mem::replace(&mut guest.seen, now) == now {
            let message = format!("{} is listed twice", guest.name);
            return Err(at(self.raw, line.number, message));
        }
        Ok(place)
    }

    /// The place in `guests` of what a command line names.
    fn named(&mut self, line: &Line<'a>, command: Words<'a>) -> Result<usize, ParseError> {
        let name = command.skip_while(|word| *word != "-name").nth(1);
        let name = name.ok_or_else(|| {
            let message = "a QEMU without a name: something else ran beside the trial, or pidstat was \
                           run without -l";
            at(self.raw, line.number, message)
        })?;
        if let Some(place) = self.names.get(name) {
            return Ok(*place);
        }
        let node = node(self.raw, line, name)?;
        // Two texts may stand for one node.
        let known = self.guests.iter().position(|guest| guest.name == node);
        let place = known.unwrap_or(self.guests.len());
        if known.is_none() {
            let seen = 0;
            self.guests.push(Guest { name: node, seen });
        }
        self.names.insert(name, place);
        Ok(place)
    }

    /// Adds the time of vhost's threads to their guests.
    fn share_out(&mut self) {
        for threads in self.vhost.chunk_by(|a, b| a.moment == b.moment) {
            let mut vhost: BTreeMap<u64, f64> = BTreeMap::new();
            for thread in threads {
                *vhost.entry(thread.pid).or_default() += thread.cpu;
            }
            let processes = self.moments[threads[0].moment].processes.clone();
            for process in &mut self.processes[processes] {
                process.cpu += vhost.get(&process.pid).copied().unwrap_or_default();
            }
        }
    }
}

/// Whose time a line is.
enum Time {
    Guest(Process),
    /// A thread that works for the process with this PID.
    Vhost(u64),
}

fn damaged(raw: &Raw<'_>, line: &Line<'_>, what: &str) -> ParseError {
    at(raw, line.number, format!("{what}: the line is damaged"))
}

fn missing(raw: &Raw<'_>, line: &Line<'_>) -> ParseError {
    damaged(raw, line, "columns are missing")
}

/// Takes the columns off the front of a line's words, of which the first is taken already.
fn shares(
    raw: &Raw<'_>,
    line: &Line<'_>,
    (time, words): (&str, &mut Words<'_>),
    (wait, processors): (bool, Option<u32>),
) -> Result<Shares, ParseError> {
    let damaged = |what: &str| damaged(raw, line, what);
    let mut column = || words.next().ok_or_else(|| missing(raw, line));
    let (_, pid) = (column()?, column()?);
    let mut share = |column: &str| {
        if let Some(value) = words.number() {
            return Ok(value);
        }
        let word = words.next().ok_or_else(|| missing(raw, line))?;
        let value = decimal(word).filter(|value| *value >= 0.0);
        value.ok_or_else(|| {
            let (shown, why) = (word.escape_debug(), comma(word));
            let message = format!("{column} is `{shown}`, not a share{why}");
            at(raw, line.number, message)
        })
    };
    let (user, system, guest_time) = (share("%usr")?, share("%system")?, share("%guest")?);
    if wait {
        share("%wait")?;
    }
    let cpu = share("%CPU")?;
    // The processor it was on last.
    words.next().ok_or_else(|| missing(raw, line))?;
    let clock: u64 = time.parse().map_err(|_| {
        damaged("it does not begin with seconds since 1970, as pidstat -H prints them")
    })?;
    let pid: u64 = pid.parse().map_err(|_| damaged("no PID"))?;
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

/// The node that QEMU's option `-name` stands for: of `guest=vm1,debug-threads=on`, `vm1`.
fn node(raw: &Raw<'_>, line: &Line<'_>, option: &str) -> Result<Name, ParseError> {
    let parts = || option.split(',');
    let name = parts().find_map(|part| part.strip_prefix("guest="));
    let name = name.or_else(|| parts().next()).unwrap_or_default();
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
    let known = || steps.iter().flatten();
    let delay = match (monitor::asked(raw)?, known().count()) {
        (Some(asked), _) => asked,
        (None, 0) => return Err(monitor::unknown_length(raw, None)),
        (None, n) => (known().sum::<u64>() as f64 / n as f64).round().max(1.0),
    };
    // The clock is cut to seconds.
    let length = |step: &Option<u64>| match step.map(|step| step as f64) {
        Some(passed) if (passed - delay).abs() > 1.0 => passed,
        _ => delay,
    };
    let lengths = steps.iter().map(length).collect();
    Ok((delay, lengths))
}

impl<'r, 'a> Reader<'r, 'a> {
    fn samples(mut self) -> Result<Vec<Sample>, ParseError> {
        let raw = self.raw;
        let about = raw.artefact.about.values();
        let mut guests = about.filter(|role| **role == NodeRole::Guest).count();
        if let Some(first) = self.moments.first().filter(|_| guests == 0) {
            guests = first.processes.len();
        }
        // A file that was cut ends in the middle of a moment.
        let cut = |last: &Moment| last.processes.len() < guests;
        if self.moments.last().is_some_and(cut) {
            self.moments.pop();
        }
        let Some(first) = self.moments.first().filter(|_| guests > 0) else {
            let said = raw.artefact.stderr.trim();
            let message =
                format!("pidstat printed no complete sample of any QEMU; it said: {said:?}");
            return Err(whole(raw, message));
        };
        let begin = first.clock;
        let (delay, lengths) = lengths(raw, &self.moments)?;
        let first_length = lengths.first().copied().unwrap_or(delay);
        monitor::unbuffered(raw, self.moments.iter().map(|m| m.arrival), delay)?;
        let series = self.series()?;
        let mut out = Vec::with_capacity(2 * self.moments.len() * guests);
        for (moment, length) in self.moments.iter().zip(lengths) {
            if moment.processes.len() != guests {
                let message = format!(
                    "{} of {guests} guests have a QEMU at this moment",
                    moment.processes.len()
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
            let time = (end - length, length);
            for process in &self.processes[moment.processes.clone()] {
                let (cpu, guest) = &series[process.guest];
                out.push(cpu.sample(process.line, time, process.cpu)?);
                out.push(guest.sample(process.line, time, process.guest_time)?);
            }
        }
        Ok(out)
    }

    /// Those of each guest: all its time, and what its processors had.
    fn series(&self) -> Result<Vec<(Series<'r, 'a>, Series<'r, 'a>)>, ParseError> {
        let series = |guest: &Guest| {
            let maker = Maker::of(self.raw, guest.name.clone(), NodeRole::Guest);
            Ok((maker.series(CPU)?, maker.series(GUEST)?))
        };
        self.guests.iter().map(series).collect()
    }
}
