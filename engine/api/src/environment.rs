//! What a node is, as facts that can be compared: before a run and after it, or of two runs.
//!
//! A node is asked once, by one script; its answer is kept raw, in sections. [`facts`] reads what
//! says something about results, and leaves out what changes by itself (counters, free memory,
//! clocks).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of `environment.json`. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// Facts about a node: `kernel`, `cpu.model`, `nic.eth1.driver`, `sysctl.net.core.rmem_max` …
pub type Facts = BTreeMap<String, String>;

/// `blocks/BLOCK/environment.json`: the nodes of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Environment {
    /// [`FORMAT`].
    pub format: u32,
    /// Nodes by name, as they were before the block's first trial.
    pub before: BTreeMap<String, Facts>,
    /// And after its last one.
    pub after: BTreeMap<String, Facts>,
}

/// When nodes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the block's first trial.
    Before,
    /// After its last one.
    After,
}

/// A node that did not say what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Unread {
    /// Its name.
    pub node: String,
    /// When it was asked.
    pub when: When,
    /// What came instead.
    pub why: String,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let when = match self.when {
            When::Before => "before",
            When::After => "after",
        };
        let Self { node, why, .. } = self;
        write!(
            f,
            "what {node} was {when} the block's trials could not be read: {why}"
        )
    }
}

/// A fact that is not the same on both sides.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Difference {
    /// Node.
    pub node: String,
    /// Fact.
    pub fact: String,
    /// On one side; `None` if it is not known there.
    pub one: Option<String>,
    /// On the other.
    pub other: Option<String>,
    /// Whether results are expected to depend on it.
    pub matters: bool,
}

/// What two environments differ in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Comparison {
    /// All differences, by node and fact.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether results can be set beside each other: nothing differs that they depend on.
    pub fn comparable(&self) -> bool {
        !self.differences.iter().any(|difference| difference.matters)
    }
}

/// Compares nodes by their names. A node that one side lacks differs in its presence.
pub fn compare(one: &BTreeMap<String, Facts>, other: &BTreeMap<String, Facts>) -> Comparison {
    let mut differences = Vec::new();
    let nodes: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for node in nodes {
        match (one.get(node), other.get(node)) {
            (Some(one), Some(other)) => differences.extend(between(node, one, other)),
            (one, _) => {
                let there = |is: bool| Some(if is { "there" } else { "not there" }.to_owned());
                differences.push(Difference {
                    node: node.clone(),
                    fact: "node".to_owned(),
                    one: there(one.is_some()),
                    other: there(one.is_none()),
                    matters: true,
                });
            }
        }
    }
    Comparison { differences }
}

fn between(node: &str, one: &Facts, other: &Facts) -> Vec<Difference> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differs = keys
        .into_iter()
        .filter(|key| one.get(*key) != other.get(*key));
    differs
        .map(|key| Difference {
            node: node.to_owned(),
            fact: key.clone(),
            one: one.get(key).cloned(),
            other: other.get(key).cloned(),
            matters: matters(key),
        })
        .collect()
}

/// Facts that results depend on, by the beginnings of their names.
const MATTERS: &[&str] = &[
    "kernel",
    "cmdline",
    "clocksource",
    "cpu.",
    "governor",
    "image",
    "memory",
    "nic.",
    "qdisc.",
    "sysctl.",
    "thp",
    "tool.",
    "vulnerability.",
    "xen.",
];

fn matters(fact: &str) -> bool {
    MATTERS.iter().any(|start| fact.starts_with(start))
}

/// Sections of what a node has answered: a section begins with a line `== NAME`.
pub fn sections(text: &str) -> BTreeMap<String, String> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("== ") {
            name = Some(next.to_owned());
            sections.entry(next.to_owned()).or_default();
        } else if let Some(text) = name.as_ref().and_then(|name| sections.get_mut(name)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// Reads facts out of sections. What a node does not say is no fact.
pub fn facts(sections: &BTreeMap<String, String>) -> Facts {
    let mut facts = Facts::new();
    for (name, text) in sections {
        let mut words = name.split_whitespace();
        let (kind, of) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        match kind {
            "kernel" | "cmdline" | "clocksource" | "governor" | "thp" | "image" => {
                let all: BTreeSet<&str> = text.lines().map(str::trim).collect();
                let all: Vec<&str> = all.into_iter().filter(|line| !line.is_empty()).collect();
                set(&mut facts, kind, &all.join(", "));
            }
            "cpuinfo" => cpus(text, &mut facts),
            "meminfo" => {
                let total = pairs(text, ':').find(|(key, _)| *key == "MemTotal");
                set(&mut facts, "memory", total.map_or("", |(_, value)| value));
            }
            "os-release" => {
                let name = pairs(text, '=').find(|(key, _)| *key == "PRETTY_NAME");
                let name = name.map_or("", |(_, value)| value.trim_matches('"'));
                set(&mut facts, "os", name);
            }
            "vulnerabilities" => prefixed(text, ':', "vulnerability", &mut facts),
            "sysctl" => prefixed(text, '=', "sysctl", &mut facts),
            "packages" => prefixed(text, '=', "package", &mut facts),
            "tool" => set(
                &mut facts,
                &format!("tool.{of}"),
                text.lines().next().unwrap_or_default(),
            ),
            // `ethtool -X NIC`, its first line being a heading.
            "driver" | "offload" | "ring" | "channels" | "coalesce" => {
                nic(kind, of, text, &mut facts);
            }
            "links" => links(text, &mut facts),
            "qdiscs" => qdiscs(text, &mut facts),
            "xen" => xen(text, &mut facts),
            "weights" => weights(text, &mut facts),
            _ => {}
        }
    }
    facts
}

fn set(facts: &mut Facts, key: &str, value: &str) {
    if !value.is_empty() {
        facts.insert(key.to_owned(), value.to_owned());
    }
}

/// Lines of `KEY separator VALUE`.
fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    let pair = move |line: &'_ str| line.find(separator);
    text.lines().filter_map(move |line| {
        let at = pair(line)?;
        Some((line[..at].trim(), line[at + 1..].trim()))
    })
}

fn prefixed(text: &str, separator: char, prefix: &str, facts: &mut Facts) {
    for (key, value) in pairs(text, separator) {
        facts.insert(format!("{prefix}.{key}"), value.to_owned());
    }
}

/// /proc/cpuinfo: what all processors are.
fn cpus(text: &str, facts: &mut Facts) {
    let count = pairs(text, ':')
        .filter(|(key, _)| *key == "processor")
        .count();
    facts.insert("cpu.count".to_owned(), count.to_string());
    for (key, fact) in [
        ("model name", "cpu.model"),
        ("microcode", "cpu.microcode"),
        ("cache size", "cpu.cache"),
        ("flags", "cpu.flags"),
    ] {
        let values: BTreeSet<&str> = pairs(text, ':')
            .filter(|(found, _)| *found == key)
            .map(|(_, value)| value)
            .collect();
        let values: Vec<&str> = values.into_iter().collect();
        set(facts, fact, &values.join(" | "));
    }
}

/// What ethtool(8) prints of a NIC.
fn nic(kind: &str, nic: &str, text: &str, facts: &mut Facts) {
    let mut part = "";
    for (key, value) in pairs(text, ':') {
        if value.is_empty() {
            // `Current hardware settings:` and the like.
            part = match key {
                key if key.starts_with("Pre-set") => "most.",
                _ => "",
            };
            continue;
        }
        let known = ["driver", "version", "firmware-version", "bus-info"];
        if kind == "driver" && !known.contains(&key) {
            continue;
        }
        let key = key.to_lowercase().replace(' ', "-");
        facts.insert(format!("nic.{nic}.{kind}.{part}{key}"), value.to_owned());
    }
}

/// What `ip -json address show` says of links, without addresses and counters.
fn links(text: &str, facts: &mut Facts) {
    let Ok(Value::Array(all)) = serde_json::from_str(text) else {
        return;
    };
    for link in &all {
        let Some(name) = link.get("ifname").and_then(Value::as_str) else {
            continue;
        };
        for field in [
            "mtu",
            "txqlen",
            "operstate",
            "master",
            "gso_max_size",
            "num_tx_queues",
        ] {
            let value = match link.get(field) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => continue,
            };
            facts.insert(format!("link.{name}.{field}"), value);
        }
    }
}

/// What `tc -json qdisc show` says: each with its options, without counters.
fn qdiscs(text: &str, facts: &mut Facts) {
    let Ok(Value::Array(all)) = serde_json::from_str(text) else {
        return;
    };
    for qdisc in &all {
        let word = |field: &str| qdisc.get(field).and_then(Value::as_str);
        let (Some(kind), Some(dev)) = (word("kind"), word("dev")) else {
            continue;
        };
        let parent = word("parent").unwrap_or("root");
        let options = qdisc
            .get("options")
            .map(Value::to_string)
            .unwrap_or_default();
        facts.insert(
            format!("qdisc.{dev}.{parent}"),
            format!("{kind} {options}").trim().to_owned(),
        );
    }
}

/// What `xl info` says of the machine, without what is free.
fn xen(text: &str, facts: &mut Facts) {
    let known = [
        "xen_version",
        "xen_scheduler",
        "xen_commandline",
        "xen_changeset",
        "xen_caps",
        "virt_caps",
        "cc_compiler",
        "cc_compile_date",
        "nr_cpus",
        "nr_nodes",
        "cores_per_socket",
        "threads_per_core",
        "total_memory",
    ];
    for (key, value) in pairs(text, ':').filter(|(key, _)| known.contains(key)) {
        facts.insert(format!("xen.{key}"), value.to_owned());
    }
}

/// Weights and caps of what `xl sched-credit` lists.
fn weights(text: &str, facts: &mut Facts) {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, id, weight, cap] = words.as_slice()
            && [id, weight, cap]
                .iter()
                .all(|word| word.parse::<u32>().is_ok())
        {
            facts.insert(format!("xen.weight.{name}"), format!("{weight}, cap {cap}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = include_str!("../testdata/environment-debian13.txt");

    fn of(text: &str) -> BTreeMap<String, Facts> {
        BTreeMap::from([("host".to_owned(), facts(&sections(text)))])
    }

    #[test]
    fn the_same_node_is_comparable_with_itself() {
        let one = of(ANSWER);
        for fact in [
            "kernel",
            "cmdline",
            "cpu.count",
            "cpu.model",
            "memory",
            "os",
        ] {
            assert!(one["host"].contains_key(fact), "{fact}");
        }
        assert!(
            one["host"]
                .keys()
                .any(|fact| fact.starts_with("sysctl.net.ipv4.tcp_"))
        );
        assert!(one["host"].keys().any(|fact| fact.starts_with("qdisc.")));
        let comparison = compare(&one, &one);
        assert!(comparison.comparable() && comparison.differences.is_empty());
    }

    #[test]
    fn what_matters_makes_the_difference() {
        let one = of(ANSWER);
        let mut other = one.clone();
        let host = other.get_mut("host").unwrap();
        host.insert("package.nano".to_owned(), "8.4-1".to_owned());
        let packages = compare(&one, &other);
        assert!(packages.comparable());
        assert_eq!(packages.differences.len(), 1);
        assert_eq!(packages.differences[0].one, None);
        let host = other.get_mut("host").unwrap();
        host.insert("kernel".to_owned(), "another".to_owned());
        assert!(!compare(&one, &other).comparable());
        let alone = compare(&one, &BTreeMap::new());
        assert!(!alone.comparable());
        assert_eq!(alone.differences[0].fact, "node");
    }

    #[test]
    fn garbled_answers_are_no_facts() {
        assert_eq!(facts(&sections("no section\n")), Facts::new());
        let text =
            "== links\n{\"cut\n== qdiscs\nnull\n== weights\nName ID Weight Cap\nvm1 x 256 0\n";
        assert_eq!(facts(&sections(text)), Facts::new());
        let weights = facts(&sections(
            "== weights\nName  ID Weight Cap\nDomain-0  0  512  0\n",
        ));
        assert_eq!(weights["xen.weight.Domain-0"], "512, cap 0");
    }
}
