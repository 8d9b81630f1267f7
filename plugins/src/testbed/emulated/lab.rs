//! The lab's first process: sets everything up from the inside, then waits for its end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::ImageFiles;
use vexp_api::sample::NodeRole;
use vexp_api::shell::tail;
use vexp_api::site::{DataAddress, GuestNic, GuestSlot, NodeInfo, Site, SshTarget};

use super::address::{MOST, Who, cidr, control_cidr};
use super::keys::{self, KeyPair};
use super::probe::Accelerator;
use super::run::{LabError, run};
use super::seed::{Identity, NetLine};
use super::{network, peers, probe, qemu};

/// The lab's own folder, on a tmpfs that only the lab sees.
const LAB: &str = "/run/vexp";
/// Bridge that the machine's control NIC is joined to, for guests.
const CONTROL_BRIDGE: &str = "ctlbr";
/// How long a machine may take to say that it is ready, under full emulation.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);

/// What a lab is asked for: one line of JSON on standard input. The input then stays open for as
/// long as the lab is to live.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabRequest {
    /// The machine.
    pub machine: Machine,
    /// Its image.
    pub image: ImageFiles,
    /// Guest image, and the peers' root.
    pub guest_image: ImageFiles,
    /// What to run it with; probed if it is not known yet.
    pub accelerator: Option<Accelerator>,
    /// Folder for logs, outside the lab.
    pub logs: PathBuf,
}

/// What a lab answers: one line of JSON on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabAnswer {
    /// All is up.
    Ready(Box<Site>),
    /// It is not.
    Failed {
        /// What was being done.
        step: String,
        /// Why it failed.
        message: String,
        /// A log to look at.
        log: Option<PathBuf>,
    },
}

/// Runs as the first process of the lab's namespaces. Returns when standard input ends, which
/// ends the lab.
///
/// # Errors
/// What was read is no request, or the answer can't be written.
pub fn main() -> std::io::Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let request: LabRequest = match lines.next() {
        Some(line) => serde_json::from_str(&line?)?,
        None => return Ok(()),
    };
    // The set-up has a thread of its own, so that the end of standard input ends the lab at any
    // moment: when this function returns, the process ends, and with it the namespaces.
    let _set_up = std::thread::spawn(move || set_up_and_answer(&request));
    for line in lines {
        drop(line?);
    }
    Ok(())
}

fn set_up_and_answer(request: &LabRequest) {
    let mut children = Vec::new();
    let answer = match set_up(request, &mut children) {
        Ok(site) => LabAnswer::Ready(Box::new(site)),
        Err(error) => LabAnswer::Failed {
            step: error.step,
            message: error.message,
            log: Some(request.logs.join("console.log")),
        },
    };
    if let Ok(mut line) = serde_json::to_string(&answer) {
        line.push('\n');
        let mut out = std::io::stdout();
        // If nobody reads, the lab is about to end anyway.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
    for child in &mut children {
        // Their end changes nothing here: whoever talks to them notices.
        let _ = child.wait();
    }
}

/// The key that may log in everywhere, and where the nodes' own keys are made known.
struct Keys {
    client: KeyPair,
    known_hosts: PathBuf,
}

fn set_up(request: &LabRequest, children: &mut Vec<Child>) -> Result<Site, LabError> {
    let machine = &request.machine;
    if machine.max_vms > MOST || machine.peers > MOST || machine.nics.len() > 200 {
        return Err(LabError::new(
            "set up the lab",
            format!("a lab has at most {MOST} guests and peers"),
        ));
    }
    let lab = Path::new(LAB);
    private_folder(lab)?;
    let keys = lab.join("keys");
    let sockets = lab.join("ssh");
    for folder in [&keys, &sockets] {
        std::fs::create_dir(folder).map_err(LabError::io("set up the lab"))?;
    }
    network::set_up(&machine.nics, machine.peers)?;
    let client = keys::generate(&keys, "client")?;
    let keys = Keys {
        client,
        known_hosts: keys.join("known_hosts"),
    };
    let mut nodes = Nodes {
        machine,
        lab,
        keys: &keys,
        known: String::new(),
    };

    let (host, seed) = nodes.host()?;
    let accelerator =
        (request.accelerator.clone()).unwrap_or_else(|| probe::probe(&request.guest_image, lab));
    let start = qemu::Start {
        machine,
        image: &request.image,
        guest_image: &request.guest_image,
        seed: &seed,
        lab,
        logs: &request.logs,
        accelerator: &accelerator.name,
    };
    let booting = Instant::now();
    let mut qemu = start.spawn()?;
    // The machine boots while its peers are made.
    let image_root = peers::mount_image(&request.guest_image.root, lab)?;
    let mut peer_infos = Vec::new();
    for peer in 0..machine.peers {
        let (info, child) = nodes.peer(peer, &image_root, &request.logs)?;
        peer_infos.push(info);
        children.push(child);
    }
    let guests = (0..machine.max_vms)
        .map(|n| nodes.guest(n))
        .collect::<Result<Vec<_>, _>>()?;
    std::fs::write(&keys.known_hosts, &nodes.known).map_err(LabError::io("write known_hosts"))?;
    await_ready(&start.console(), &request.logs, &mut qemu, booting)?;
    children.push(qemu);
    Ok(Site {
        host,
        host_nics: data_networks(machine)
            .map(|net| name(&format!("data{net}")))
            .collect::<Result<_, _>>()?,
        guests,
        peers: data_networks(machine).map(|_| peer_infos.clone()).collect(),
        running: 0,
        restored: false,
        links: BTreeMap::new(),
        scratch: sockets,
        facts: facts(&accelerator, machine)?,
    })
}

/// A tmpfs over `/run`: what the lab writes ends with it, and the host's sockets there are out of
/// its reach.
fn private_folder(lab: &Path) -> Result<(), LabError> {
    run(
        "make the lab's folder",
        "mount",
        &["-t", "tmpfs", "-o", "mode=755", "vexp-lab", "/run"],
        "",
    )?;
    for folder in [lab, Path::new("/run/netns"), Path::new("/run/lock")] {
        std::fs::create_dir(folder).map_err(LabError::io("make the lab's folder"))?;
    }
    Ok(())
}

fn data_networks(machine: &Machine) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).take(machine.nics.len())
}

fn name(text: &str) -> Result<Name, LabError> {
    Name::new(text).map_err(|e| LabError::new("name the lab's nodes", e.to_string()))
}

/// Makes nodes' identities and remembers their keys.
struct Nodes<'a> {
    machine: &'a Machine,
    lab: &'a Path,
    keys: &'a Keys,
    known: String,
}

impl Nodes<'_> {
    fn info(
        &mut self,
        who: Who,
        node: &str,
        role: NodeRole,
    ) -> Result<(NodeInfo, KeyPair), LabError> {
        let key = keys::generate(&self.lab.join("keys"), node)?;
        self.known
            .push_str(&keys::known_host(who.control(), &key.public));
        let info = NodeInfo {
            name: name(node)?,
            role,
            ssh: SshTarget {
                address: who.control(),
                port: 22,
                user: name("root")?,
                identity: self.keys.client.file.clone(),
                known_hosts: self.keys.known_hosts.clone(),
            },
            data: data_networks(self.machine)
                .map(|net| who.data(net))
                .collect::<Vec<DataAddress>>(),
        };
        Ok((info, key))
    }

    fn identity<'k>(&'k self, node: &'k str, net: &'k [NetLine], key: &'k KeyPair) -> Identity<'k> {
        Identity {
            hostname: node,
            net,
            host_key: &key.private,
            host_key_public: &key.public,
            authorized: &self.keys.client.public,
        }
    }

    /// The machine. Its data NICs get no address: the hypervisor plugin gives them one, or a
    /// bridge.
    fn host(&mut self) -> Result<(NodeInfo, Vec<u8>), LabError> {
        let (info, key) = self.info(Who::Host, "host", NodeRole::Host)?;
        let mut net = vec![NetLine {
            mac: Who::Host.control_mac(),
            interface: "ctl0".to_owned(),
            cidr: Some(control_cidr(Who::Host)),
            bridge: Some(CONTROL_BRIDGE.to_owned()),
        }];
        net.extend(data_networks(self.machine).map(|n| NetLine {
            mac: Who::Host.mac(n),
            interface: format!("data{n}"),
            cidr: None,
            bridge: None,
        }));
        let seed = self.identity("host", &net, &key).cpio();
        Ok((info, seed))
    }

    fn guest(&mut self, n: u32) -> Result<GuestSlot, LabError> {
        let (who, node) = (Who::Guest(n), format!("vm{}", n + 1));
        let (info, key) = self.info(who, &node, NodeRole::Guest)?;
        let mut net = vec![NetLine {
            mac: who.control_mac(),
            interface: "ctl0".to_owned(),
            cidr: Some(control_cidr(who)),
            bridge: None,
        }];
        let mut nics = vec![GuestNic {
            mac: who.control_mac(),
            bridge: name(CONTROL_BRIDGE)?,
        }];
        for i in data_networks(self.machine) {
            net.push(NetLine {
                mac: who.mac(i),
                interface: format!("data{i}"),
                cidr: Some(cidr(who.data(i))),
                bridge: None,
            });
            nics.push(GuestNic {
                mac: who.mac(i),
                bridge: name(&format!("br-data{i}"))?,
            });
        }
        let seed = self.lab.join(format!("{node}.seed.cpio"));
        std::fs::write(&seed, self.identity(&node, &net, &key).cpio())
            .map_err(LabError::io("write a guest's seed"))?;
        Ok(GuestSlot {
            node: info,
            nics,
            seed,
        })
    }

    fn peer(
        &mut self,
        n: u32,
        image_root: &Path,
        logs: &Path,
    ) -> Result<(NodeInfo, Child), LabError> {
        let node = format!("peer{}", n + 1);
        let (info, key) = self.info(Who::Peer(n), &node, NodeRole::Peer)?;
        let identity = self.identity(&node, &[], &key);
        let child = peers::start(n, image_root, self.lab, logs, &identity)?;
        Ok((info, child))
    }
}

/// Waits until the machine says on its console that it is ready.
fn await_ready(
    console: &Path,
    logs: &Path,
    qemu: &mut Child,
    since: Instant,
) -> Result<(), LabError> {
    const STEP: &str = "boot the machine";
    loop {
        let text = std::fs::read(console).unwrap_or_default();
        let said = String::from_utf8_lossy(&text);
        // The console's lines end with CR LF, and the kernel may write in the middle of ours.
        if said.contains("vexp: ready host") {
            return Ok(());
        }
        if let Some((_, reason)) = said.split_once("vexp: failed ") {
            let reason = reason.lines().next().unwrap_or_default().trim_end();
            return Err(LabError::new(STEP, format!("its set-up failed: {reason}")));
        }
        if let Some(status) = qemu.try_wait().map_err(LabError::io(STEP))? {
            let words = std::fs::read(logs.join("qemu.log")).unwrap_or_default();
            let message = format!(
                "QEMU ended with {status}: {}\nlast lines of the console:\n{}",
                tail(&words, 2000),
                tail(&text, 2000)
            );
            return Err(LabError::new(STEP, message));
        }
        if since.elapsed() > BOOT_DEADLINE {
            let message = format!(
                "it was not ready within {} s; last lines of its console:\n{}",
                BOOT_DEADLINE.as_secs(),
                tail(&text, 2000)
            );
            return Err(LabError::new(STEP, message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn facts(
    accelerator: &Accelerator,
    machine: &Machine,
) -> Result<BTreeMap<String, String>, LabError> {
    let output = Command::new(qemu::PROGRAM).arg("--version").output();
    let output = output.map_err(LabError::io("ask QEMU for its version"))?;
    let version = String::from_utf8_lossy(&output.stdout);
    let version = version.lines().next().unwrap_or_default();
    Ok([
        ("emulator", version),
        ("accelerator", &accelerator.name),
        ("accelerator_why", &accelerator.why),
        ("cpu", &qemu::cpu(machine, &accelerator.name)),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into())
}
