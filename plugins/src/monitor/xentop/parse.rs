//! `xentop -b -f`: a header line and a line for each domain, once an interval.
//!
//! A domain's first value is left out: it is 0 whatever the domain did, as there is nothing to
//! compare with. dom0's memory limit is printed as two words, `no limit`, which shifts what is
//! right of it.
//!
//! Each value covers the time since the iteration before: longer than the delay that was asked for,
//! as xentop sleeps that long between two iterations and takes its own time for each (1.07 s seen
//! for 1 s, 1.5 s under load). Hence the arrival of the headers, which come first, tells the
//! interval; without arrival times the delay must do. A line that arrived late would be taken for a
//! value of another time: so each value times its interval is held against the seconds that xentop
//! counts itself.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample};

use super::CPU;
use crate::monitor;
use crate::text::{Line, Maker, at, decimal, lines, whole};

/// How far the time between two arrivals may be off that between two readings, as a share of it.
const LATE: f64 = 0.2;

/// What xentop calls the control domain.
const DOM0: &str = "Domain-0";

/// Columns as the header names them.
struct Header {
    columns: usize,
    name: usize,
    state: usize,
    seconds: usize,
    cpu: usize,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let delay = monitor::delay(raw)?;
    let mut header: Option<Header> = None;
    // Domains of the iteration before this one, and of this one.
    let (mut before, mut now) = (BTreeSet::new(), BTreeSet::new());
    let mut counted: BTreeMap<&str, f64> = BTreeMap::new();
    let mut iterations: Vec<Option<f64>> = Vec::new();
    let mut out = Vec::new();
    let all = lines(raw)?;
    for line in &all {
        let words = words(line.text);
        if words.is_empty() {
            continue;
        }
        if words[0] == "NAME" {
            header = Some(self::header(raw, line, &words)?);
            before = std::mem::take(&mut now);
            iterations.push(line.time);
            continue;
        }
        let Some(header) = &header else {
            let message = "not xentop's output: it does not begin with the header line";
            return Err(at(raw, line.number, message));
        };
        if words.len() != header.columns {
            let message = format!(
                "{} columns where the header has {}: the line is damaged",
                words.len(),
                header.columns
            );
            return Err(at(raw, line.number, message));
        }
        // A domain that is being torn down has no name any more.
        if words[header.state].starts_with('d') {
            continue;
        }
        let domain = words[header.name];
        if !now.insert(domain) {
            return Err(at(raw, line.number, format!("{domain} is listed twice")));
        }
        let cpu = decimal(words[header.cpu]).filter(|cpu| *cpu >= 0.0);
        let Some(cpu) = cpu else {
            let message = format!("CPU(%) is `{}`, not a number", words[header.cpu]);
            return Err(at(raw, line.number, message.escape_debug().to_string()));
        };
        let seconds = decimal(words[header.seconds]).filter(|seconds| *seconds >= 0.0);
        let Some(seconds) = seconds else {
            let message = format!("CPU(sec) is `{}`, not a number", words[header.seconds]);
            return Err(at(raw, line.number, message.escape_debug().to_string()));
        };
        let earlier = counted.insert(domain, seconds);
        if !before.contains(domain) {
            continue;
        }
        if let (Some(earlier), [.., Some(_), Some(_)]) = (earlier, iterations.as_slice()) {
            let (_, length) = interval(raw, &iterations, delay);
            on_time(cpu, length, seconds - earlier)
                .map_err(|message| at(raw, line.number, format!("{domain}: {message}")))?;
        }
        let (node, role) = node(raw, line, domain)?;
        let maker = Maker::of(raw, node, role);
        out.push(maker.sample(line.number, CPU, interval(raw, &iterations, delay), cpu)?);
    }
    if out.is_empty() {
        let said = raw.artefact.stderr.trim();
        return Err(whole(
            raw,
            format!("xentop printed no second sample of any domain; it said: {said:?}"),
        ));
    }
    monitor::unbuffered(raw, &iterations, delay)?;
    Ok(out)
}

/// Whether `cpu` percent over `length` seconds are about the `counted` seconds, both of whose ends
/// were cut to whole ones.
fn on_time(cpu: f64, length: f64, counted: f64) -> Result<(), String> {
    let used = cpu / 100.0 * length;
    if (used - counted).abs() <= 1.0 + LATE * length {
        return Ok(());
    }
    Err(format!(
        "{cpu} % over {length:.2} s is {used:.1} s, but it counts {counted} s: the line arrived \
         late, so that the time of its value is unknown"
    ))
}

/// The time from the last iteration but one to the last, as start and length.
fn interval(raw: &Raw<'_>, iterations: &[Option<f64>], delay: f64) -> (f64, f64) {
    match iterations {
        [.., Some(before), Some(now)] => (*before, (now - before).max(0.0)),
        _ => {
            let before = iterations.len().saturating_sub(2);
            (raw.artefact.started_s + delay * before as f64, delay)
        }
    }
}

/// Words of a line, with dom0's `no limit` as one.
fn words(line: &str) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_ascii_whitespace() {
        if word == "limit" && words.last() == Some(&"no") {
            continue;
        }
        words.push(word);
    }
    words
}

fn header(raw: &Raw<'_>, line: &Line<'_>, words: &[&str]) -> Result<Header, ParseError> {
    let find = |column: &str| {
        let place = words.iter().position(|word| *word == column);
        place.ok_or_else(|| at(raw, line.number, format!("the header has no {column}")))
    };
    // The last column: without it the header itself was cut.
    find("SSID")?;
    Ok(Header {
        columns: words.len(),
        name: find("NAME")?,
        state: find("STATE")?,
        seconds: find("CPU(sec)")?,
        cpu: find("CPU(%)")?,
    })
}

/// The node that a domain is.
fn node(raw: &Raw<'_>, line: &Line<'_>, domain: &str) -> Result<(Name, NodeRole), ParseError> {
    if domain == DOM0 {
        return Ok((raw.artefact.node.clone(), NodeRole::Host));
    }
    let about = &raw.artefact.about;
    let known = Name::new(domain).ok().filter(|name| {
        // A file that stands alone says nothing about nodes.
        about.is_empty() || about.get(name) == Some(&NodeRole::Guest)
    });
    known.map(|name| (name, NodeRole::Guest)).ok_or_else(|| {
        let message = format!(
            "`{}` is not a guest of this trial: something else ran beside it",
            domain.escape_debug()
        );
        at(raw, line.number, message)
    })
}
