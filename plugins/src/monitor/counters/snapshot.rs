//! What the tools of one reading printed: a line of JSON by `ip`, one by `tc`, and files of
//! `/proc/net`, each below a line with its name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use vexp_api::plugin::{ParseError, Raw};

use crate::text::{Line, at, lines, whole};

/// One reading of a node.
pub(super) struct Snapshot {
    /// First line.
    pub(super) line: usize,
    /// When its first and its last line had arrived, if that was recorded.
    pub(super) arrival: (Option<f64>, Option<f64>),
    /// Interfaces by name; lo is left out.
    pub(super) links: BTreeMap<String, Link>,
    /// Root queues by interface; none where packets don't wait.
    pub(super) queues: BTreeMap<String, Queue>,
    /// Counters of protocols, say `Udp` and `InDatagrams`.
    pub(super) protocols: BTreeMap<(String, String), String>,
    /// Packets dropped, and times squeezed, of each processor.
    pub(super) softnet: Vec<(u64, u64)>,
}

/// An interface, as `ip -s -s -json link` has it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    ifname: String,
    flags: Vec<String>,
    pub(super) stats64: Stats,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    pub(super) rx: Received,
    pub(super) tx: Sent,
}

#[derive(Debug, Deserialize)]
pub(super) struct Received {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
    pub(super) dropped: u64,
    pub(super) over_errors: u64,
    pub(super) missed_errors: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
    pub(super) dropped: u64,
}

/// A queue, as `tc -s -json qdisc` has it. A root counts what its children drop.
#[derive(Debug, Deserialize)]
pub(super) struct Queue {
    pub(super) kind: String,
    pub(super) handle: String,
    dev: String,
    #[serde(default)]
    root: bool,
    pub(super) packets: u64,
    pub(super) drops: u64,
    pub(super) overlimits: u64,
}

/// The two readings of a file.
pub(super) fn both(raw: &Raw<'_>) -> Result<(Snapshot, Snapshot), ParseError> {
    let all: Vec<Line<'_>> = lines(raw)?.collect();
    let mut rest = all.as_slice();
    let before = one(raw, &mut rest)?;
    let after = one(raw, &mut rest)?;
    match rest.first() {
        None => Ok((before, after)),
        Some(line) => Err(at(raw, line.number, "more than two readings")),
    }
}

/// Takes one reading off the front of `rest`.
fn one(raw: &Raw<'_>, rest: &mut &[Line<'_>]) -> Result<Snapshot, ParseError> {
    let mut next = || match rest {
        [line, others @ ..] => {
            *rest = others;
            Ok(*line)
        }
        [] => Err(whole(
            raw,
            "two readings are expected, and there are not two",
        )),
    };
    let (first, second) = (next()?, next()?);
    let links: Vec<Link> = json(raw, &first, "ip -s -s -json link")?;
    let queues: Vec<Queue> = json(raw, &second, "tc -s -json qdisc")?;
    let is_json = |line: &&Line<'_>| line.text.starts_with('[');
    let length = rest.iter().position(|line| is_json(&line));
    let (files, others) = rest.split_at(length.unwrap_or(rest.len()));
    *rest = others;
    let mut snapshot = Snapshot {
        line: first.number,
        arrival: (first.time, files.last().unwrap_or(&second).time),
        links: unique(raw, &first, links, |link| &link.ifname)?,
        queues: BTreeMap::new(),
        protocols: BTreeMap::new(),
        softnet: Vec::new(),
    };
    snapshot
        .links
        .retain(|_, link| !link.flags.iter().any(|flag| flag == "LOOPBACK"));
    let roots = queues.into_iter().filter(|queue| {
        queue.root && !matches!(queue.kind.as_str(), "noqueue" | "noop") && queue.dev != "lo"
    });
    snapshot.queues = unique(raw, &second, roots, |queue| &queue.dev)?;
    read_files(raw, files, &mut snapshot)?;
    Ok(snapshot)
}

fn json<T: DeserializeOwned>(raw: &Raw<'_>, line: &Line<'_>, tool: &str) -> Result<T, ParseError> {
    serde_json::from_str(line.text).map_err(|error| {
        at(
            raw,
            line.number,
            format!("not what `{tool}` prints: {error}"),
        )
    })
}

fn unique<T>(
    raw: &Raw<'_>,
    line: &Line<'_>,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> &String,
) -> Result<BTreeMap<String, T>, ParseError> {
    let mut found = BTreeMap::new();
    for item in items {
        let name = key(&item).clone();
        if found.insert(name.clone(), item).is_some() {
            let message = format!("{} is listed twice", name.escape_debug());
            return Err(at(raw, line.number, message));
        }
    }
    Ok(found)
}

/// Reads what `tail -v` printed.
fn read_files(raw: &Raw<'_>, files: &[Line<'_>], into: &mut Snapshot) -> Result<(), ParseError> {
    let mut file = "";
    let mut header: Option<&Line<'_>> = None;
    for line in files.iter().filter(|line| !line.text.is_empty()) {
        let title = line.text.strip_prefix("==> ");
        if let Some(name) = title.and_then(|name| name.strip_suffix(" <==")) {
            file = name;
            continue;
        }
        match (file, header.take()) {
            ("/proc/net/snmp", None) => header = Some(line),
            ("/proc/net/snmp", Some(names)) => protocol(raw, names, line, into)?,
            ("/proc/net/softnet_stat", None) => into.softnet.push(softnet(raw, line)?),
            _ => return Err(at(raw, line.number, "a line of no known file")),
        }
    }
    match header {
        None => Ok(()),
        Some(line) => Err(at(raw, line.number, "names without values")),
    }
}

/// A pair of lines of `/proc/net/snmp`: names, and values in the same order.
fn protocol(
    raw: &Raw<'_>,
    names: &Line<'_>,
    values: &Line<'_>,
    into: &mut Snapshot,
) -> Result<(), ParseError> {
    let words = |line: &Line<'_>| -> Vec<String> {
        let words = line.text.split_ascii_whitespace();
        words.map(str::to_owned).collect()
    };
    let (names, found) = (words(names), words(values));
    if names.first() != found.first() || names.len() != found.len() {
        let message = "names and values don't match: the file is damaged";
        return Err(at(raw, values.number, message));
    }
    let protocol = names.first().map_or("", |name| name.trim_end_matches(':'));
    for (name, value) in names.iter().zip(found).skip(1) {
        let key = (protocol.to_owned(), name.clone());
        if into.protocols.insert(key, value).is_some() {
            let message = format!("{protocol} {name} is there twice");
            return Err(at(raw, values.number, message));
        }
    }
    Ok(())
}

/// A processor's line: hexadecimal numbers, of which the second is packets dropped and the third
/// times squeezed (Linux, `softnet_seq_show`).
fn softnet(raw: &Raw<'_>, line: &Line<'_>) -> Result<(u64, u64), ParseError> {
    let number = |word: &str| {
        let plain = word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(word, 16).ok()).flatten()
    };
    let numbers: Option<Vec<u64>> = line.text.split_ascii_whitespace().map(number).collect();
    match numbers.as_deref() {
        Some([_, dropped, squeezed, ..]) => Ok((*dropped, *squeezed)),
        _ => Err(at(raw, line.number, "not a line of /proc/net/softnet_stat")),
    }
}
