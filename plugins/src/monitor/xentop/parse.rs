//! `xentop -b -f`: a header line and a line for each domain, once an interval.
//!
//! A domain's first value is left out: it is 0 whatever the domain did, as there is nothing to
//! compare with. dom0's memory limit is printed as two words, `no limit`, which shifts what is
//! right of it.
//!
//! Each value covers the time since the iteration before: longer than the delay that was asked for,
//! as xentop sleeps that long between two iterations and takes its own time for each (1.07 s seen
//! for 1 s, 1.5 s under load). Hence the arrival of the headers, which come first, tells the
//! interval; without arrival times the delay must do, and the seconds that xentop counts must agree with
//! it. A line that arrived late would be taken for a
//! value of another time: so each value times its interval is held against the seconds that xentop
//! counts itself.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::{NodeRole, Sample};

use super::CPU;
use crate::monitor;
use crate::text::{Line, Maker, alone, at, decimal, lines, whole};

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
    vcpus: usize,
}

/// What a domain has used over a file, by its two columns.
#[derive(Default)]
struct Used {
    /// Sum of CPU(%) over all its iterations but the first.
    percent: f64,
    /// CPU(sec) of the first iteration, and of the last.
    counted: Option<(f64, f64)>,
}

/// The state of a file that is being read.
struct Reader<'r, 'a> {
    raw: &'r Raw<'a>,
    /// Seconds that were asked for; 1 where nothing says it, which is then an error at the end.
    delay: f64,
    header: Option<Header>,
    /// Domains of the iteration before this one, and of this one.
    before: BTreeSet<String>,
    now: BTreeSet<String>,
    used: BTreeMap<String, Used>,
    nodes: BTreeMap<Name, String>,
    iterations: Vec<Option<f64>>,
    out: Vec<Sample>,
}

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let asked = monitor::asked(raw)?;
    let mut reader = Reader {
        raw,
        delay: asked.unwrap_or(1.0),
        header: None,
        before: BTreeSet::new(),
        now: BTreeSet::new(),
        used: BTreeMap::new(),
        nodes: BTreeMap::new(),
        iterations: Vec::new(),
        out: Vec::new(),
    };
    for line in lines(raw)? {
        reader.line(&line)?;
    }
    if reader.out.is_empty() {
        let said = raw.artefact.stderr.trim();
        return Err(whole(
            raw,
            format!("xentop printed no second sample of any domain; it said: {said:?}"),
        ));
    }
    monitor::unbuffered(raw, reader.iterations.iter().copied(), reader.delay)?;
    if alone(raw) && reader.iterations.iter().any(Option::is_none) {
        reader.agrees(asked)?;
    }
    Ok(reader.out)
}

impl Reader<'_, '_> {
    fn line(&mut self, line: &Line<'_>) -> Result<(), ParseError> {
        let raw = self.raw;
        let words = words(line.text);
        if words.is_empty() {
            return Ok(());
        }
        if words[0] == "NAME" {
            self.header = Some(header(raw, line, &words)?);
            self.before = std::mem::take(&mut self.now);
            self.iterations.push(line.time);
            return Ok(());
        }
        let Some(header) = &self.header else {
            let message = "not xentop's output: it does not begin with the header line";
            return Err(at(raw, line.number, message));
        };
        let (domain, words) = name(raw, header, &words).ok_or_else(|| {
            let message = format!(
                "{} columns where the header has {}: the line is damaged",
                words.len(),
                header.columns
            );
            at(raw, line.number, message)
        })?;
        // A domain that is being torn down has no name any more.
        if words[header.state].starts_with('d') {
            return Ok(());
        }
        if !self.now.insert(domain.clone()) {
            return Err(at(raw, line.number, format!("{domain} is listed twice")));
        }
        let (cpu, seconds) = values(raw, line, header, &words)?;
        let used = self.used.entry(domain.clone()).or_default();
        let earlier = used.counted.map(|(_, last)| last);
        used.counted = Some((used.counted.map_or(seconds, |(first, _)| first), seconds));
        if !self.before.contains(&domain) {
            // There is nothing to compare with: it counts from here on.
            *used = Used {
                percent: 0.0,
                counted: Some((seconds, seconds)),
            };
            return Ok(());
        }
        used.percent += cpu;
        let time = interval(raw, &self.iterations, self.delay);
        if let (Some(earlier), [.., Some(_), Some(_)]) = (earlier, self.iterations.as_slice()) {
            on_time(cpu, time.1, seconds - earlier)
                .map_err(|message| at(raw, line.number, format!("{domain}: {message}")))?;
        }
        let (node, role) = node(raw, line, &domain)?;
        let other = self
            .nodes
            .entry(node.clone())
            .or_insert_with(|| domain.clone());
        if *other != domain {
            let message = format!("`{other}` and `{domain}` would both be node {node}");
            return Err(at(raw, line.number, message.escape_debug().to_string()));
        }
        let maker = Maker::of(raw, node, role);
        self.out.push(maker.sample(line.number, CPU, time, cpu)?);
        Ok(())
    }

    /// Holds the interval of a file without arrival times against xentop's own seconds.
    fn agrees(&self, asked: Option<f64>) -> Result<(), ParseError> {
        let sum = |part: fn(&Used) -> f64| self.used.values().map(part).sum::<f64>();
        let counted = sum(|used| used.counted.map_or(0.0, |(first, last)| last - first));
        let percent = sum(|used| used.percent);
        // Both ends of a domain's count were cut to whole seconds.
        let about = (percent > 0.0 && counted >= 5.0).then(|| 100.0 * counted / percent);
        let Some(delay) = asked else {
            return Err(monitor::unknown_length(self.raw, about));
        };
        for (domain, used) in &self.used {
            let counted = used.counted.map_or(0.0, |(first, last)| last - first);
            let expected = used.percent / 100.0 * delay;
            // An iteration takes longer than the delay: twice as long was seen under load.
            if counted < 0.8 * expected - 1.0 || counted > 2.0 * expected + 2.0 {
                let about =
                    about.map(|about| format!(", which makes about {about:.1} s an interval"));
                let message = format!(
                    "{domain} used {expected:.1} s if each interval is {delay} s, but xentop counts \
                     {counted} s{}: the interval is another, or the file is damaged",
                    about.unwrap_or_default()
                );
                return Err(whole(self.raw, message));
            }
        }
        Ok(())
    }
}

/// CPU(%) and CPU(sec) of a line.
fn values(
    raw: &Raw<'_>,
    line: &Line<'_>,
    header: &Header,
    words: &[&str],
) -> Result<(f64, f64), ParseError> {
    let number = |column: &str, place: usize| {
        let value = decimal(words[place]).filter(|value| *value >= 0.0);
        value.ok_or_else(|| {
            let message = format!("{column} is `{}`, not a number", words[place]);
            at(raw, line.number, message.escape_debug().to_string())
        })
    };
    let cpu = number("CPU(%)", header.cpu)?;
    let seconds = number("CPU(sec)", header.seconds)?;
    let vcpus = number("VCPUS", header.vcpus)?;
    // xentop takes the time for all domains once, and a domain's a little later.
    if cpu > 120.0 * vcpus + 10.0 {
        let message = format!(
            "CPU(%) is {cpu}, but {vcpus} virtual processors have {} at most: a counter went wrong",
            100.0 * vcpus
        );
        return Err(at(raw, line.number, message));
    }
    Ok((cpu, seconds))
}

/// The domain of a line, and its words with the name as one. A file that stands alone may have blanks in
/// names; the state behind tells where the name ends.
fn name<'w>(raw: &Raw<'_>, header: &Header, words: &[&'w str]) -> Option<(String, Vec<&'w str>)> {
    let more = words.len().checked_sub(header.columns)?;
    if more == 0 {
        return Some((words[header.name].to_owned(), words.to_vec()));
    }
    let state = words.get(header.state + more)?;
    let is_state = state.len() == 6 && state.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if !alone(raw) || header.name != 0 || !is_state {
        return None;
    }
    let name = words[..=more].join(" ");
    Some((name, words[more..].to_vec()))
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
        vcpus: find("VCPUS")?,
    })
}

/// The node that a domain is.
fn node(raw: &Raw<'_>, line: &Line<'_>, domain: &str) -> Result<(Name, NodeRole), ParseError> {
    if domain == DOM0 {
        return Ok((raw.artefact.node.clone(), NodeRole::Host));
    }
    let known = monitor::guest(raw, domain);
    known.map(|name| (name, NodeRole::Guest)).ok_or_else(|| {
        let message = format!(
            "`{}` is not a guest of this trial: something else ran beside it",
            domain.escape_debug()
        );
        at(raw, line.number, message)
    })
}
