//! The lab inside of a machine in virtual time: what its first processes do.
//!
//! The machine under test and its traffic peers are one computer. A second network namespace, `lab`,
//! has the far ends of the machine's wires, and everything that testbed `emulated` has around a machine.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Error, Read, Result};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use vexp_api::plan::Machine;
use vexp_api::site::Site;

use super::super::keys::{KeyPair, Keys};
use super::super::lab;
use super::super::network::{self, Attachment};
use super::super::nodes::Nodes;
use super::super::run::{LabError, run};
use super::courier::RUN;
use super::mailbox::{Inside, Word};
use super::seed::SEED;

/// The lab's own folder.
const LAB: &str = "/run/lab";
/// Where the guest image is mounted on every host.
const GUEST_ROOT: &str = "/srv/guest";
/// The namespace of the far ends.
const NETNS: &str = "lab";
/// Time before it is stopped, in which nothing happens, so that it costs nothing: QEMU's e1000 takes no
/// frames for a second after its mode was changed (`flush_queue_timer`, hw/net/e1000.c), Linux changes
/// it up to two seconds after a link has come up, and a snapshot does not have that timer.
const REST: Duration = Duration::from_secs(4);
/// Where control groups are mounted.
const CGROUPS: &str = "/run/lab/cgroup";
/// That of the traffic peers.
const PEERS_GROUP: &str = "/run/lab/cgroup/peers";
/// How much processor time it has had: cgroup-v2's `cpu.stat`.
pub const PEERS_CPU: &str = "/run/lab/cgroup/peers/cpu.stat";
/// What its networks are made of.
const MODULES: [&str; 3] = ["bridge", "veth", "sch_tbf"];
/// The port of QEMU's `pvpanic`, and what stops the machine (docs/specs/pvpanic).
const PANIC: (u64, u8) = (0x505, 1);

/// What the machine is told about itself: `request.json` in its seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InsideRequest {
    /// The machine.
    pub(super) machine: Machine,
    /// What is to be said of it in the records.
    pub(super) facts: std::collections::BTreeMap<String, String>,
}

fn request() -> Result<InsideRequest> {
    let text = std::fs::read(Path::new(SEED).join("request.json"))?;
    Ok(serde_json::from_slice(&text)?)
}

fn other(error: LabError) -> Error {
    Error::other(error.to_string())
}

/// Before the machine is set up: makes the keys of all nodes, and the identity of this one. The random
/// numbers of a machine that no chance reaches are the same each time.
///
/// # Errors
/// What it is told can't be read, or keys can't be made.
pub fn prepare() -> Result<()> {
    let request = request()?;
    let lab = Path::new(LAB);
    for folder in ["keys", "ssh"] {
        std::fs::create_dir_all(lab.join(folder))?;
    }
    let keys = Keys::generate(&lab.join("keys"), request.machine.max_vms).map_err(other)?;
    std::fs::write(lab.join("keys.json"), serde_json::to_vec(&keys)?)?;
    let peer_key = KeyPair::generate(&lab.join("keys"), "peer").map_err(other)?;
    std::fs::write(lab.join("peer.json"), serde_json::to_vec(&peer_key)?)?;
    let nodes = Nodes {
        machine: &request.machine,
        lab,
        keys: &keys,
        peer_key: &peer_key,
    };
    for (name, content) in nodes.host_files() {
        let path = Path::new(SEED).join(name);
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Once the machine is ready: sets the lab up, then stops the machine's time and does what it is told
/// when time goes on, again and again.
///
/// # Errors
/// There is no mailbox, or time can't be stopped.
pub fn agent() -> Result<()> {
    let mut mailbox = Inside::open()?;
    mailbox.clear();
    mailbox.say(&match request().map_err(LabError::io("read the seed")) {
        Ok(request) => match set_up(&request) {
            Ok(site) => Word::Ready(Box::new(site)),
            Err(LabError { step, message }) => Word::Failed { step, message },
        },
        Err(LabError { step, message }) => Word::Failed { step, message },
    })?;
    loop {
        std::thread::sleep(REST);
        stop_time()?;
        mailbox.clear();
        let code = match work(&mut mailbox) {
            Ok(code) => code,
            Err(error) => {
                mailbox.say(&Word::Said(error.to_string()))?;
                1
            }
        };
        let left = mailbox.leave(|to| {
            let mut archive = tar::Builder::new(to);
            archive.append_dir_all(".", RUN)?;
            archive.finish()
        });
        if let Err(error) = left {
            mailbox.say(&Word::Said(format!(
                "what was measured can't be handed out: {error}"
            )))?;
        }
        mailbox.say(&Word::Ended(code))?;
    }
}

/// Returns when this computer lets time go on.
fn stop_time() -> Result<()> {
    let (port, value) = PANIC;
    let ports = File::options().write(true).open("/dev/port")?;
    ports.write_all_at(&[value], port)
}

/// Runs a worker; gives its exit code.
fn work(mailbox: &mut Inside) -> Result<i32> {
    let letter = mailbox.letter()?;
    let run = Path::new(RUN);
    if run.exists() {
        std::fs::remove_dir_all(run)?;
    }
    std::fs::create_dir_all(run)?;
    let manifest = Path::new(LAB).join("manifest.json");
    std::fs::write(&manifest, serde_json::to_vec(&letter.manifest)?)?;
    let (program, args) = super::seed::worker_command();
    let mut child = Command::new(program)
        .args(args)
        .arg("worker")
        .arg(&manifest)
        // A worker lives as long as this is open.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let _lifeline = child.stdin.take();
    let stderr = child.stderr.take();
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        // What could be read before an error is what there is to show.
        let _ = stderr.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    });
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            mailbox.say(&Word::Event(line?))?;
        }
    }
    let status = child.wait()?;
    for line in complaints.join().unwrap_or_default().lines() {
        mailbox.say(&Word::Said(line.to_owned()))?;
    }
    Ok(status.code().unwrap_or(1))
}

fn set_up(request: &InsideRequest) -> std::result::Result<Site, LabError> {
    let machine = &request.machine;
    let places = lab::check(machine)?;
    // Images have no table of aliases from which the kernel could find them itself.
    for module in MODULES {
        run("load the lab's modules", "modprobe", &[module], "")?;
    }
    enter_lab(machine)?;
    network::set_up(&machine.nics, Attachment::Wires)?;
    let lab = Path::new(LAB);
    let keys: Keys = read(&lab.join("keys.json"))?;
    let peer_key: KeyPair = read(&lab.join("peer.json"))?;
    let nodes = Nodes {
        machine,
        lab,
        keys: &keys,
        peer_key: &peer_key,
    };
    let logs = lab.join("logs");
    std::fs::create_dir_all(&logs).map_err(LabError::io("make the lab's folder"))?;
    make_peers_group()?;
    let group = Some(Path::new(PEERS_GROUP));
    let peers = lab::make_peers(&nodes, &places, Path::new(GUEST_ROOT), &logs, 1, group)?;
    lab::site(&nodes, peers, None, request.facts.clone())
}

/// Makes the control group of the traffic peers.
fn make_peers_group() -> std::result::Result<(), LabError> {
    const STEP: &str = "make the peers' control group";
    std::fs::create_dir(CGROUPS).map_err(LabError::io(STEP))?;
    run(STEP, "mount", &["-t", "cgroup2", "none", CGROUPS], "")?;
    std::fs::create_dir(PEERS_GROUP).map_err(LabError::io(STEP))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> std::result::Result<T, LabError> {
    let step = || format!("read {}", path.display());
    let text = std::fs::read(path).map_err(|error| LabError::new(step(), error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| LabError::new(step(), error.to_string()))
}

/// Moves the wires' far ends into a network of their own, and this process after them.
fn enter_lab(machine: &Machine) -> std::result::Result<(), LabError> {
    const STEP: &str = "make the lab's network";
    run(STEP, "ip", &["netns", "add", NETNS], "")?;
    let found = interfaces(Path::new("/sys/class/net")).map_err(LabError::io(STEP))?;
    for (mac, name) in network::wires(&machine.nics) {
        let device = found.iter().find(|(address, _)| *address == mac);
        let (_, device) =
            device.ok_or_else(|| LabError::new(STEP, format!("there is no NIC {mac}")))?;
        run(STEP, "ip", &["link", "set", "dev", device, "down"], "")?;
        run(
            STEP,
            "ip",
            &["link", "set", "dev", device, "netns", NETNS, "name", &name],
            "",
        )?;
    }
    let namespace = File::open(Path::new("/run/netns").join(NETNS)).map_err(LabError::io(STEP))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| LabError::io(STEP)(error.into()))
}

/// Addresses and names of network interfaces.
fn interfaces(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Bridges have the address of one of their ports.
        if entry.path().join("bridge").exists() {
            continue;
        }
        if let Ok(address) = std::fs::read_to_string(entry.path().join("address")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            all.push((address.trim().to_owned(), name));
        }
    }
    Ok(all)
}
