//! The lab's first process: sets everything up from the inside, does what it is told, and waits for
//! its end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::plan::Machine;
use vexp_api::plugin::{ImageFiles, MachineNeeds, MachineRequest};
use vexp_api::site::{NodeInfo, Site};

use super::super::console::Console;
use super::address::{MOST, MOST_PEERS};
use super::emulator::Emulator;
use super::enclose::Enclosed;
use super::keys::{KeyPair, Keys};
use super::nodes::{Nodes, data_networks, interface, name};
use super::probe::{self, Accelerator};
use super::qmp::Qmp;
use super::run::{LabError, run};
use super::snapshot::{Kept, Origin, Shelf};
use super::{emulator, network, peers, qemu, start};

/// The lab's own folder, on a tmpfs that only the lab sees.
pub(super) const LAB: &str = "/run/vexp";

/// What a lab is asked for: one line of JSON on standard input. The input then stays open for as
/// long as the lab is to live, and takes [`LabCommand`]s.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabRequest {
    /// The machine.
    pub machine: Machine,
    /// What its hypervisor asks of it.
    pub needs: MachineNeeds,
    /// Its image.
    pub image: ImageFiles,
    /// Guest image, and the peers' root.
    pub guest_image: ImageFiles,
    /// The image that has the emulator.
    pub emulator: ImageFiles,
    /// Most guests that may run already.
    pub vms: u32,
    /// Which kept boot it is to be; `None` if it is booted anew.
    pub boot: Option<u32>,
    /// Folder of kept machines; `None` where none is kept.
    pub snapshots: Option<PathBuf>,
    /// What to run it with; probed if it is not known yet.
    pub accelerator: Option<Accelerator>,
    /// Folder for logs, outside the lab.
    pub logs: PathBuf,
}

/// What a lab that is up can be told: a line of JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabCommand {
    /// Keep the machine as it is, with so many guests.
    Save(u32),
}

/// What a lab answers to the request and to each command: a line of JSON on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabAnswer {
    /// All is up.
    Ready(Box<Site>),
    /// Whether the machine was kept.
    Saved(bool),
    /// What was asked for failed.
    Failed {
        /// What was being done.
        step: String,
        /// Why it failed.
        message: String,
        /// A log to look at.
        log: Option<PathBuf>,
    },
}

/// How long a machine may take to say that it is ready, under full emulation.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);
/// Of the lab among the sessions of this computer, as nice(2) has it.
const SESSION_PRIORITY: &str = "-10";

/// Runs as the first process of the lab's namespaces. Returns when standard input ends, which
/// ends the lab.
///
/// # Errors
/// What was read is no request or command, or the answer can't be written.
pub fn main() -> std::io::Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let request: LabRequest = match lines.next() {
        Some(line) => serde_json::from_str(&line?)?,
        None => return Ok(()),
    };
    go_first();
    let (tell, told) = channel();
    // The work has a thread of its own, so that the end of standard input ends the lab at any
    // moment: when this function returns, the process ends, and with it the namespaces.
    let _work = std::thread::spawn(move || work(&request, &told));
    for line in lines {
        // Nobody listens any more if the set-up has failed, and then somebody was told so.
        let _ = tell.send(serde_json::from_str(&line?)?);
    }
    Ok(())
}

/// Other work on this computer should not make a machine look slow. Processes compete by sessions
/// first (sched(7), the autogroup feature), and only inside of one by their own priorities.
fn go_first() {
    // Where it can't be had, measuring goes on with a fair share.
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", SESSION_PRIORITY);
}

fn work(request: &LabRequest, told: &Receiver<LabCommand>) {
    let failed = |error: LabError| LabAnswer::Failed {
        step: error.step,
        message: error.message,
        log: Some(request.logs.join("console.log")),
    };
    let lab = match set_up(request) {
        Ok((site, lab)) => {
            answer(&LabAnswer::Ready(Box::new(site)));
            lab
        }
        Err(error) => return answer(&failed(error)),
    };
    for LabCommand::Save(running) in told {
        answer(&match lab.save(running) {
            Ok(kept) => LabAnswer::Saved(kept),
            Err(error) => failed(error),
        });
    }
}

fn answer(answer: &LabAnswer) {
    if let Ok(mut line) = serde_json::to_string(answer) {
        line.push('\n');
        let mut out = std::io::stdout();
        // If nobody reads, the lab is about to end anyway.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// A lab that is up, and what it takes to keep its machine.
struct Lab {
    socket: PathBuf,
    keeping: Option<(Shelf, Origin)>,
    keys: Keys,
    /// Whether its guests run in nested virtualization.
    nested: bool,
    _console: Console,
}

impl Lab {
    fn save(&self, running: u32) -> Result<bool, LabError> {
        let Some((shelf, origin)) = &self.keeping else {
            return Ok(false);
        };
        shelf.keep(origin, running, &self.keys, |ram| {
            Qmp::connect(&self.socket, || false)?.save(ram, self.nested)
        })?;
        Ok(true)
    }
}

fn set_up(request: &LabRequest) -> Result<(Site, Lab), LabError> {
    let machine = &request.machine;
    let places = check(machine)?;
    let lab = Path::new(LAB);
    private_folder(lab)?;
    network::set_up(&machine.nics)?;
    let shelf = request.snapshots.as_deref().map(Shelf::open).transpose()?;
    let emulator = mount_emulator(request, lab, shelf.as_ref())?;
    let accelerator = (request.accelerator.clone())
        .unwrap_or_else(|| probe::probe(&emulator, &request.guest_image, lab));
    let images = [&request.image, &request.guest_image];
    let name = &accelerator.name;
    let mut start = qemu::Start::new((machine, &request.needs), images, &request.logs, name)?;
    let digests = [&request.image, &request.guest_image, &request.emulator].map(|i| &i.digest);
    let origin = request.boot.and_then(|boot| origin(&start, boot, digests));
    let keeping = shelf.zip(origin);
    let mut kept = match &keeping {
        Some((shelf, origin)) => shelf.find::<Keys>(origin, request.vms)?,
        None => None,
    };
    let scratch = lab.join("keys");
    let keys = match &kept {
        Some(kept) => kept.known.clone(),
        None => Keys::generate(&scratch, machine.max_vms)?,
    };
    let nodes = Nodes {
        machine,
        lab,
        keys: &keys,
        peer_key: &KeyPair::generate(&scratch, "peer")?,
        features_off: &[],
    };
    let (_, seed) = nodes.host()?;
    start.seed = &seed;
    let console = Console::begin(&start.console()).map_err(LabError::io("make the console"))?;
    let qemu = start.spawn(&emulator, kept.is_some())?;
    let process = qemu.id();
    // The machine comes up while its peers are made.
    let (version, peers) = std::thread::scope(|scope| {
        let kept = kept.take();
        let coming = scope.spawn(|| come_up(&start, qemu, kept));
        let image = peers::mount_image(&request.guest_image.root, lab);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let peers =
            image.and_then(|root| make_peers(&nodes, &places, &root, &request.logs, processors));
        let version = coming
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, LabError>((version?, peers?))
    })?;
    let (version, running) = version;
    let facts = facts(&accelerator, request, version);
    let site = Site {
        emulator: Some(process),
        ..site(&nodes, peers, running, facts)?
    };
    let nested = request.needs.nested;
    let lab = Lab {
        socket: start.socket(),
        keeping,
        keys,
        nested,
        _console: console,
    };
    Ok((site, lab))
}

/// What a worker is told; `running` guests run in a machine that was restored.
fn site(
    nodes: &Nodes<'_>,
    peers: Vec<Vec<NodeInfo>>,
    running: Option<u32>,
    facts: BTreeMap<String, String>,
) -> Result<Site, LabError> {
    let machine = nodes.machine;
    Ok(Site {
        host: nodes.host()?.0,
        host_nics: data_networks(machine)
            .map(|net| interface(&format!("data{net}")))
            .collect::<Result<_, _>>()?,
        guests: nodes.guests()?,
        peers,
        running: running.unwrap_or(0),
        restored: running.is_some(),
        disposable: true,
        emulator: None,
        links: links(machine)?,
        scratch: nodes.lab.join("ssh"),
        facts,
    })
}

/// Where the peers will be, if the machine is not too large.
fn check(machine: &Machine) -> Result<Vec<network::Place<'_>>, LabError> {
    let places = network::places(&machine.nics, machine.peers.min(MOST_PEERS));
    let peers = u32::try_from(places.len()).unwrap_or(u32::MAX);
    if machine.max_vms > MOST || machine.peers > MOST_PEERS || peers > MOST_PEERS {
        return Err(LabError::new(
            "set up the lab",
            format!("a lab has at most {MOST} guests and {MOST_PEERS} peers"),
        ));
    }
    if machine.nics.len() > 200 {
        return Err(LabError::new(
            "set up the lab",
            "a machine has at most 200 NICs",
        ));
    }
    Ok(places)
}

/// A tmpfs over `/run`: what the lab writes ends with it, and the host's sockets there are out of
/// its reach.
fn private_folder(lab: &Path) -> Result<(), LabError> {
    const STEP: &str = "make the lab's folder";
    let args = ["-t", "tmpfs", "-o", "mode=755", "vexp-lab", "/run"];
    run(STEP, "mount", &args, "")?;
    let own = ["keys", "ssh"].map(|name| lab.join(name));
    let others = ["/run/netns", "/run/lock"].map(PathBuf::from);
    for folder in [lab.to_owned()].iter().chain(&own).chain(&others) {
        std::fs::create_dir(folder).map_err(LabError::io(STEP))?;
    }
    Ok(())
}

/// The emulator sees the images, the lab's folder, the logs and the kept machines.
fn mount_emulator(
    request: &LabRequest,
    lab: &Path,
    shelf: Option<&Shelf>,
) -> Result<Emulator, LabError> {
    let folder = |image: &ImageFiles| image.root.parent().map(Path::to_owned);
    let images = [folder(&request.image), folder(&request.guest_image)];
    let mut images: Vec<&Path> = images.iter().filter_map(|path| path.as_deref()).collect();
    images.dedup();
    let writable: Vec<&Path> = [lab, &request.logs]
        .into_iter()
        .chain(shelf.map(Shelf::folder))
        .collect();
    Emulator::mount(&request.emulator.root, lab, &images, &writable)
}

/// What a kept machine is found by. Under KVM none is kept: the processor's state is that of the
/// hardware, and a machine boots within seconds.
fn origin(start: &qemu::Start<'_>, boot: u32, images: [&Digest; 3]) -> Option<Origin> {
    if start.accelerator != "tcg" {
        return None;
    }
    let (machine, accelerator) = (start.machine, start.accelerator);
    Some(Origin::new(machine, boot, images, accelerator, start.key()))
}

/// Where the machines are kept from which a lab would start under TCG, and by what.
pub(super) fn keeping(request: &MachineRequest, folder: &Path) -> Option<(Shelf, Origin)> {
    let emulator = request.tools.get(emulator::IMAGE)?;
    let (image, guest_image) = (request.image.as_ref()?, request.guest_image.as_ref()?);
    let images = [image, guest_image];
    let start = qemu::Start::new((&request.machine, &request.needs), images, folder, "tcg").ok()?;
    let digests = [image, guest_image, emulator].map(|image| &image.digest);
    let origin = origin(&start, request.boot?, digests)?;
    Some((Shelf::open(folder).ok()?, origin))
}

/// Waits until the machine is up. Gives the emulator's version, and how many guests run if it was
/// restored.
fn come_up(
    start: &qemu::Start<'_>,
    mut qemu: Child,
    kept: Option<Kept<Keys>>,
) -> Result<(String, Option<u32>), LabError> {
    let mut qmp = start::connect(start, &mut qemu)?;
    let version = qmp.version()?;
    let running = match kept {
        Some(kept) => {
            let restore = |ram: &Path| qmp.restore(ram).and_then(|()| qmp.go_on());
            let (running, _) = start::restore(start, &mut qemu, kept, restore)?;
            Some(running)
        }
        None => {
            start::await_up(start, &mut qemu, BOOT_DEADLINE, |said| {
                said.contains("vexp: ready host")
            })?;
            None
        }
    };
    // Its end changes nothing here: whoever talks to it notices.
    std::thread::spawn(move || qemu.wait());
    Ok((version, running))
}

/// Makes the peers, some at once, each enclosed ([`super::enclose`]). Those of data network 0 come first.
fn make_peers(
    nodes: &Nodes<'_>,
    places: &[network::Place<'_>],
    root: &Path,
    logs: &Path,
    workers: usize,
) -> Result<Vec<Vec<NodeInfo>>, LabError> {
    nodes.write_keys(u32::try_from(places.len()).unwrap_or(u32::MAX))?;
    let enclosed: Vec<_> = places
        .iter()
        .map(|place| Ok((place, peers::enclose(place.peer, logs)?)))
        .collect::<Result<_, LabError>>()?;
    network::add_peers(places)?;
    let make = |(place, enclosed): (&network::Place<'_>, Enclosed)| {
        let info = nodes.peer(place.peer, place.data.map(|(net, _)| net))?;
        network::enter(place.peer)?;
        network::set_up_peer(place)?;
        let identity = nodes.peer_identity(&info);
        let mut child = peers::start(place.peer, enclosed, root, &identity)?;
        std::thread::spawn(move || child.wait());
        Ok(info)
    };
    let share = places.len().div_ceil(workers.max(1));
    let mut rest = enclosed.into_iter();
    let shares = std::iter::from_fn(|| {
        let share: Vec<_> = rest.by_ref().take(share).collect();
        (!share.is_empty()).then_some(share)
    });
    let infos: Vec<NodeInfo> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(|| share.into_iter().map(make).collect::<Result<Vec<_>, _>>()))
            .collect();
        let all: Result<Vec<_>, LabError> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        all.map(|all| all.concat())
    })?;
    let each = nodes.machine.peers as usize;
    Ok(infos.chunks(each.max(1)).map(<[_]>::to_vec).collect())
}

/// What a worker can look at between the machine and its peers.
fn links(machine: &Machine) -> Result<BTreeMap<String, vexp_api::ids::Name>, LabError> {
    let mut links = BTreeMap::new();
    for net in data_networks(machine) {
        for (what, interface) in [
            ("to-machine", network::to_machine(net)),
            ("from-machine", network::from_machine(net)),
            ("machine", network::data_tap(net)),
        ] {
            links.insert(format!("net{net}.{what}"), name(&interface)?);
        }
    }
    Ok(links)
}

fn facts(
    accelerator: &Accelerator,
    request: &LabRequest,
    version: String,
) -> BTreeMap<String, String> {
    [
        ("emulator", version),
        ("emulator_image", request.emulator.digest.to_string()),
        ("accelerator", accelerator.name.clone()),
        ("accelerator_why", accelerator.why.clone()),
        ("cpu", qemu::cpu(&request.needs, &accelerator.name)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
