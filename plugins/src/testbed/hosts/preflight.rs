//! What is looked at on each machine before a run, and how it compares with what the plan asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use vexp_api::ids::Name;
use vexp_api::plan::{Machine, Plan};
use vexp_api::plugin::{PluginError, Preflight, PreflightState};
use vexp_api::registry::Registry;
use vexp_api::shell::{Cmd, ShellError};
use vexp_api::spec::MeasureUse;

use super::far::Rack;
use super::inventory::{Entry, EntryRole, Inventory};
use super::probe::{self, Seen};
use super::{CONNECT, Hosts, Hypervisors, allocation, config, plugin_of, state, way};
use crate::hypervisor;

/// Programs that the testbed itself runs on each machine.
const OWN: &[&str] = &["ip", "tc", "sysctl", "flock", "timeout"];
/// And on hosts with guests.
const OWN_WITH_GUESTS: &[&str] = &["losetup", "sha256sum", "dd"];
/// Most that a machine's clock may differ from this one's: times of events on several machines are
/// set beside each other, to a fraction of a second.
const SKEW: Duration = Duration::from_millis(500);
/// Least that must be free for programs and their output, bytes.
const FREE_MEMORY: u64 = 64 << 20;
/// Least that must be free for a guest image and its successor, bytes.
const FREE_DISK: u64 = 512 << 20;
/// Processes that may be running or waiting for a processor on a machine that is to be idle.
const LOAD: f64 = 1.0;
/// A probe is some dozen processes.
const PROBING: Duration = Duration::from_secs(60);

/// A machine, and what the plan wants of it.
#[derive(Clone)]
struct Wanted {
    name: Name,
    entry: Entry,
    /// Machines that it is to be; none for a peer.
    machines: Vec<Machine>,
    /// Programs that it must have.
    programs: BTreeSet<String>,
}

/// Looks at all machines at the same time.
pub(super) async fn run(
    hosts: &Hosts,
    plan: &Plan,
    measures: &Registry,
) -> Result<Vec<Preflight>, PluginError> {
    let mut inventory = hosts.inventory(&plan.testbed_options).await?;
    let allocation = inventory.allocation.as_ref();
    let allocation = allocation
        .map(|allocation| allocation::finding(allocation, hosts.allocated().as_ref(), plan));
    let mut wanted = wanted(&inventory, plan, measures)?;
    // Machines of an allocation that is not granted yet are looked at when it is.
    wanted.retain(|wanted| !wanted.entry.is_nameless());
    inventory.machines.retain(|_, entry| !entry.is_nameless());
    let inventory = Arc::new(inventory);
    let folder = super::folder::PrivateFolder::new()?;
    let config = config::write(&inventory, &[], folder.path())?;
    let mut looks = JoinSet::new();
    for (index, wanted) in wanted.into_iter().enumerate() {
        let (connect, inventory) = (Arc::clone(&hosts.connect), Arc::clone(&inventory));
        let hypervisors = hosts.hypervisors.clone();
        let (config, sockets) = (config.clone(), folder.path().join("ssh"));
        looks.spawn(async move {
            let report = Report::new(&inventory, &wanted.name);
            let target = match config::target(&wanted.name, &wanted.entry, &config) {
                Ok(target) => target.into(),
                Err(error) => return (index, report.unreachable(&error), Vec::new()),
            };
            match connect
                .connect(&wanted.name, &target, &sockets, CONNECT)
                .await
            {
                Ok(shell) => {
                    let rack = Rack {
                        name: wanted.name.clone(),
                        entry: wanted.entry.clone(),
                        shell,
                    };
                    let (found, tools) = look(report, (&rack, &hypervisors), &wanted).await;
                    (index, found, tools)
                }
                Err(error) => (index, report.unreachable(&error), Vec::new()),
            }
        });
    }
    let mut all = looks.join_all().await;
    all.sort_by_key(|(index, ..)| *index);
    let versions = same_versions(&inventory, &all);
    let found = all.into_iter().flat_map(|(_, found, _)| found);
    Ok(allocation
        .into_iter()
        .chain(found)
        .chain(versions)
        .collect())
}

/// The machines that the plan's blocks take.
fn wanted(
    inventory: &Inventory,
    plan: &Plan,
    measures: &Registry,
) -> Result<Vec<Wanted>, PluginError> {
    let programs = |used: &MeasureUse| {
        let measure = measures.measures().get(used.tool.as_str());
        let programs = measure.map_or(&[][..], |measure| measure.programs());
        programs.iter().map(|name| (*name).to_owned())
    };
    let mut all: BTreeMap<&Name, Wanted> = BTreeMap::new();
    let new = |name: &Name, entry: &Entry| Wanted {
        name: name.clone(),
        entry: entry.clone(),
        machines: Vec::new(),
        programs: OWN.iter().map(|name| (*name).to_owned()).collect(),
    };
    for block in &plan.blocks {
        let machine = &block.machine;
        let (name, entry) = inventory.host_for(machine)?;
        let traffic: Vec<_> = (block.trials.iter())
            .flat_map(|trial| std::iter::once(&trial.traffic).chain(&trial.load))
            .flat_map(programs)
            .collect();
        let host = all.entry(name).or_insert_with(|| new(name, entry));
        if !host.machines.contains(machine) {
            host.machines.push(machine.clone());
        }
        let monitors = block.trials.iter().flat_map(|trial| &trial.monitors);
        host.programs.extend(monitors.flat_map(programs));
        if machine.max_vms == 0 {
            host.programs.extend(traffic.iter().cloned());
        } else {
            host.programs
                .extend(OWN_WITH_GUESTS.iter().map(|name| (*name).to_owned()));
        }
        for (name, entry) in inventory.peers_for(machine)?.into_iter().flatten() {
            let peer = all.entry(name).or_insert_with(|| new(name, entry));
            peer.programs.extend(traffic.iter().cloned());
        }
    }
    // Hosts first, as the plan has them first.
    let (hosts, peers): (Vec<_>, Vec<_>) =
        (all.into_values()).partition(|wanted| wanted.entry.role == EntryRole::Host);
    Ok(hosts.into_iter().chain(peers).collect())
}

/// Findings about one machine.
struct Report<'a> {
    inventory: &'a Inventory,
    node: &'a Name,
    found: Vec<Preflight>,
}

impl<'a> Report<'a> {
    fn new(inventory: &'a Inventory, node: &'a Name) -> Self {
        Self {
            inventory,
            node,
            found: Vec::new(),
        }
    }

    /// Adds a finding; `help` is for one that is not as asked.
    fn add(
        &mut self,
        what: &str,
        asked: impl Into<String>,
        seen: impl Into<String>,
        fine: bool,
        help: &str,
    ) {
        let state = match (fine, self.inventory.allows(what)) {
            (true, _) => PreflightState::Fine,
            (false, Some(reason)) => PreflightState::Allowed(reason.to_owned()),
            (false, None) => PreflightState::Wrong(help.to_owned()),
        };
        self.found.push(Preflight {
            node: self.node.to_string(),
            what: what.to_owned(),
            asked: asked.into(),
            seen: seen.into(),
            state,
        });
    }

    fn unreachable(mut self, error: &dyn std::error::Error) -> Vec<Preflight> {
        let mut text = error.to_string();
        if let Some(source) = error.source() {
            text = format!("{text}: {source}");
        }
        let help = help_for(&text);
        self.add("reachability", "an answer over SSH", text, false, help);
        self.found
    }

    /// A step of looking that has failed.
    fn failed(&mut self, what: &str, error: &PluginError) {
        let cause = error.source.as_ref().map(|source| format!(": {source}"));
        let seen = format!("{}{}", error.message, cause.unwrap_or_default());
        self.add(
            what,
            "an answer",
            seen,
            false,
            "see what the machine says to this by hand",
        );
    }
}

/// The way out of what ssh says, whose texts have no translations.
fn help_for(reason: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        (
            "Bad owner or permissions",
            "ssh reads configuration of its own user or of root alone: run vexp as the user that the \
             file belongs to, or name a copy in `ssh_config`",
        ),
        (
            "ost key verification failed",
            "ssh to it once by hand, as the user that runs vexp, and check the key; or name a file in \
             `known_hosts`",
        ),
        (
            "Permission denied (",
            "see that the key of the user that runs vexp is in the machine's authorized_keys, or name \
             one in `identity`; an agent must have it unlocked",
        ),
        (
            "Could not resolve hostname",
            "name the machine in `ssh` by an address or by an alias of your ssh configuration",
        ),
        (
            "Connection refused",
            "see that sshd runs there, on that port",
        ),
        (
            "too long for Unix domain socket",
            "set TMPDIR to a folder with a short path: a socket's has at most 107 bytes",
        ),
        (
            "Bad configuration option",
            "mend that line of the ssh configuration",
        ),
        (
            "it runs no programs",
            "see that the user has a login shell and no forced command",
        ),
    ];
    let known = KNOWN.iter().find(|(words, _)| reason.contains(words));
    known.map_or(
        "see that `ssh` reaches it from here without asking anything",
        |(_, help)| help,
    )
}

/// The way to root.
const AS_ROOT: &str = "give it a root user, or `\"sudo\": true` in your machines file and a rule with NOPASSWD in its sudoers";

/// Name and version of each program that was found.
type Tools = Vec<(String, String)>;

async fn look(
    mut report: Report<'_>,
    (rack, hypervisors): (&Rack, &Hypervisors),
    wanted: &Wanted,
) -> (Vec<Preflight>, Tools) {
    report.add("reachability", "an answer over SSH", "answers", true, "");
    if let Err(found) = way::tried(rack).await {
        report.add(found.what, found.asked, found.seen, false, &found.help);
        return (report.found, Vec::new());
    }
    let probe = probe::command(&rack.entry, &wanted.programs).deadline(PROBING);
    let text = match rack.check("look at the machine", probe).await {
        Ok(text) => text,
        Err(error) => {
            let help = "see what the machine says to this by hand";
            report.add(
                "look at the machine",
                "an answer",
                cause(&error),
                false,
                help,
            );
            return (report.found, Vec::new());
        }
    };
    let seen = match probe::parse(&text) {
        Ok(seen) => seen,
        Err(message) => {
            let help = "see that its `sh` is a POSIX shell, and that /proc is mounted";
            report.add("look at the machine", "facts", message, false, help);
            return (report.found, Vec::new());
        }
    };
    let uid = format!("uid {}", seen.uid);
    report.add("privileges", "root", uid, seen.uid == 0, AS_ROOT);
    clock(&mut report, rack).await;
    idle(&mut report, &seen, wanted, hypervisors);
    tools(&mut report, &seen, wanted);
    nics(&mut report, &seen, rack, wanted).await;
    for machine in &wanted.machines {
        platform(&mut report, &seen, (rack, hypervisors), machine).await;
    }
    let tools = seen.tools.into_iter();
    let tools = tools
        .filter_map(|(name, version)| Some((name, version?)))
        .collect();
    (report.found, tools)
}

/// Why a machine could not be looked at. A program's own words say it; the whole script would hide them.
fn cause(error: &PluginError) -> String {
    let source = error.source.as_deref();
    match source.and_then(|source| source.downcast_ref::<ShellError>()) {
        Some(ShellError::Failed { stderr, .. }) if !stderr.trim().is_empty() => {
            stderr.trim().to_owned()
        }
        _ => source.map_or_else(|| error.to_string(), ToString::to_string),
    }
}

/// Both clocks, with half of the answer's way as the error.
async fn clock(report: &mut Report<'_>, rack: &Rack) {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
    };
    let before = now();
    let said = rack
        .check("read its clock", Cmd::new("date").args(["-u", "+%s.%N"]))
        .await;
    let after = now();
    match said.map(|text| text.trim().parse::<f64>()) {
        Ok(Ok(there)) => {
            let (skew, error) = (there - (before + after) / 2.0, (after - before) / 2.0);
            let fine = skew.abs() <= SKEW.as_secs_f64() + error;
            let asked = format!("within {} s of this computer's", SKEW.as_secs_f64());
            let seen = format!("{skew:+.3} s (±{error:.3})");
            report.add(
                "clock",
                asked,
                seen,
                fine,
                "run chrony or another NTP client on both",
            );
        }
        Ok(Err(_)) => report.add("clock", "a time", "no time", false, "it needs GNU date"),
        Err(error) => report.failed("clock", &error),
    }
}

/// What would disturb, and what is left.
fn idle(report: &mut Report<'_>, seen: &Seen, wanted: &Wanted, hypervisors: &Hypervisors) {
    let asked = format!("below {LOAD:.1}");
    let help = "end what runs there";
    report.add(
        "load",
        asked,
        format!("{:.2}", seen.load),
        seen.load < LOAD,
        help,
    );
    let fine = seen.governors.iter().all(|name| name == "performance");
    let governors: Vec<_> = seen.governors.iter().map(String::as_str).collect();
    let shown = match governors.as_slice() {
        [] => "none: its processors have one speed, or it is not ours to see".to_owned(),
        all => all.join(", "),
    };
    let help = "cpupower frequency-set --governor performance";
    report.add("CPU governor", "performance", shown, fine, help);
    let guests = wanted.machines.iter().filter(|machine| {
        let plugin = hypervisors.get(machine.hypervisor.as_str());
        plugin.is_some_and(|plugin| plugin.traits().guests_are_processes)
    });
    let guests = guests.filter_map(|m| Some(m.guest?.memory.bytes() * u64::from(m.max_vms)));
    let least = FREE_MEMORY + guests.max().unwrap_or(0);
    let help = "end what takes it";
    let free = seen.memory_available;
    report.add("free memory", mib(least), mib(free), free >= least, help);
    if wanted.machines.iter().any(|machine| machine.max_vms > 0) {
        let fine = seen.disk >= FREE_DISK;
        report.add(
            "free disk",
            mib(FREE_DISK),
            mib(seen.disk),
            fine,
            "make room below /var/lib/vexp",
        );
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn tools(report: &mut Report<'_>, seen: &Seen, wanted: &Wanted) {
    let lacks: Vec<_> = (wanted.programs.iter())
        .filter(|name| seen.tools.get(*name).is_none_or(Option::is_none))
        .cloned()
        .collect();
    let path = match seen.path.as_str() {
        "" => String::new(),
        path => format!("; commands over SSH have PATH={path}"),
    };
    let help =
        format!("install them, or say in `tools` of your machines file where they are{path}");
    let shown = match lacks.as_slice() {
        [] => "all there".to_owned(),
        lacks => format!("lacks {}", lacks.join(", ")),
    };
    let asked: Vec<_> = wanted.programs.iter().cloned().collect();
    report.add("programs", asked.join(", "), shown, lacks.is_empty(), &help);
}

/// The data NICs: there, at the right speed, with the right addresses.
async fn nics(report: &mut Report<'_>, seen: &Seen, rack: &Rack, wanted: &Wanted) {
    let show = Cmd::new("ip").args(["-json", "address", "show"]);
    let links = match rack.check("look at its NICs", show).await {
        Ok(text) => state::parse_links(&text).unwrap_or_default(),
        Err(error) => return report.failed("NICs", &error),
    };
    for data in &rack.entry.data {
        let nic = data.nic.as_str();
        let Some(link) = links.get(nic) else {
            let names: Vec<_> = links.keys().map(String::as_str).collect();
            let seen = format!("there are {}", names.join(", "));
            report.add(
                "NIC",
                nic,
                seen,
                false,
                "name the interface as `ip link` does",
            );
            continue;
        };
        let cidr = data.address.to_string();
        if wanted.entry.role == EntryRole::Peer {
            let fine = link.up && link.addresses.contains(&cidr);
            let seen = format!(
                "{}, {}",
                if link.up { "up" } else { "down" },
                shown(&link.addresses)
            );
            let help = "a peer has its address on the data network for good";
            report.add(
                "data address",
                format!("{nic} up with {cidr}"),
                seen,
                fine,
                help,
            );
        }
        let bridged = wanted.machines.iter().any(|machine| machine.max_vms > 0);
        let others: Vec<_> = (link.addresses.iter())
            .filter(|address| **address != cidr && !address.starts_with("fe80:"))
            .cloned()
            .collect();
        if bridged && link.master.is_none() {
            let help = "as a port of a bridge the NIC would lose them: give the data network a NIC of its own";
            let fine = others.is_empty();
            report.add(
                "data NIC",
                format!("{nic} for data alone"),
                shown(&others),
                fine,
                help,
            );
        }
        let network = data.network as usize;
        for machine in &wanted.machines {
            let Some(link) = machine.nics.get(network) else {
                continue;
            };
            let speed = seen.nics.get(nic).copied().flatten();
            let bits = speed.map(|mbps| mbps.saturating_mul(1_000_000));
            let fine = bits == Some(link.rate.bits_per_second());
            let seen = speed.map_or_else(|| "not known".to_owned(), |mbps| format!("{mbps} Mb/s"));
            let help =
                "set it with ethtool or on the switch, or say in testbeds.hosts.link what it is";
            report.add(
                "NIC speed",
                format!("{nic} at {}", link.rate),
                seen,
                fine,
                help,
            );
        }
    }
}

fn shown(addresses: &[String]) -> String {
    match addresses {
        [] => "no address".to_owned(),
        all => all.join(", "),
    }
}

/// The hypervisor that runs, and what it has.
async fn platform(
    report: &mut Report<'_>,
    seen: &Seen,
    (rack, hypervisors): (&Rack, &Hypervisors),
    machine: &Machine,
) {
    let node = rack.node();
    let found = match plugin_of(hypervisors, rack, machine) {
        Ok(plugin) => plugin.look(&node, machine).await,
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return report.failed("hypervisor", &error),
    };
    if let (Some(asked), Some(seen)) = (&machine.scheduler, &found.scheduler) {
        let help = format!("boot it with the scheduler {asked}");
        report.add("scheduler", asked.as_str(), seen, *asked == **seen, &help);
    }
    let guests = found.guests;
    let (version, cpus, memory) = match found.version {
        Some(version) => (version, found.cpus, found.memory),
        None => (
            format!("Linux {}", seen.kernel),
            Some(seen.cpus),
            Some(seen.memory),
        ),
    };
    let fine = version
        .split_once(' ')
        .is_some_and(|(_, seen)| hypervisor::version::is(&machine.version, seen));
    let help = "boot the version that the study asks for, or name this one by a rule in \
                testbeds.hosts.software, with a reason";
    let asked = format!("{} {}", machine.hypervisor, machine.version);
    report.add("version", asked, version, fine, help);
    if let Some(cpus) = cpus {
        let help = "a rule in testbeds.hosts.hardware says what there is";
        report.add(
            "processors",
            machine.cpus.to_string(),
            cpus.to_string(),
            cpus == machine.cpus,
            help,
        );
    }
    if let Some(memory) = memory {
        // Firmware and kernel keep some of it to themselves.
        let asked = machine.memory.bytes();
        let fine = memory >= asked / 10 * 8 && memory <= asked / 10 * 11;
        let help = "a rule in testbeds.hosts.hardware says what there is";
        report.add("memory", mib(asked), mib(memory), fine, help);
    }
    let ours = match rack.taken().await {
        Ok(taken) => taken,
        Err(error) => return report.failed("leftovers", &error),
    };
    if let Some(taken) = &ours {
        let seen = format!(
            "of run {} from {}: put right when the machine is taken",
            taken.run, taken.controller
        );
        report.add("leftovers", "none, or ours", seen, true, "");
    }
    let known = ours
        .and_then(|taken| taken.guests)
        .map(|(_, slots)| slots)
        .unwrap_or_default();
    let strange: Vec<_> = (guests.into_iter())
        .filter(|name| !known.iter().any(|slot| slot.node.name == *name.as_str()))
        .collect();
    let seen = if strange.is_empty() {
        "none".to_owned()
    } else {
        strange.join(", ")
    };
    report.add(
        "running guests",
        "none",
        seen,
        strange.is_empty(),
        "shut them down: they would take processor time",
    );
}

/// The same programs on several machines should be the same versions.
fn same_versions(inventory: &Inventory, all: &[(usize, Vec<Preflight>, Tools)]) -> Vec<Preflight> {
    let mut by_tool: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (_, found, tools) in all {
        let node = found.first().map_or("", |one| one.node.as_str());
        for (tool, version) in tools {
            // Of others than a measure's it makes no difference.
            if !OWN.contains(&tool.as_str()) && version != probe::THERE {
                by_tool.entry(tool).or_default().push((node, version));
            }
        }
    }
    let mut found = Vec::new();
    for (tool, seen) in by_tool {
        let Some((first, rest)) = seen.split_first() else {
            continue;
        };
        let mut differs = false;
        for (node, version) in rest.iter().filter(|(_, version)| *version != first.1) {
            differs = true;
            let node = Name::new(*node).ok();
            if let Some(node) = node {
                let mut report = Report::new(inventory, &node);
                let asked = format!("{tool}: {} as on {}", first.1, first.0);
                report.add(
                    "tool versions",
                    asked,
                    *version,
                    false,
                    "install the same version",
                );
                found.extend(report.found);
            }
        }
        if !differs
            && !rest.is_empty()
            && let Ok(node) = Name::new(first.0)
        {
            let mut report = Report::new(inventory, &node);
            report.add(
                "tool versions",
                format!("{tool}: the same on all"),
                first.1,
                true,
                "",
            );
            found.extend(report.found);
        }
    }
    found
}
