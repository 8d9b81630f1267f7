//! A machine and its peers in lockstep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use vexp_api::event::Event;
use vexp_api::plan::Machine;
use vexp_api::plugin::{
    BootFiles, Context, ImageFiles, Lease, MachineRequest, PluginError, Workplace,
};
use vexp_api::site::{NodeInfo, Site};
use vexp_lockstep::side::Side;
use vexp_lockstep::topology::{End, Link, LinkSpec, Nic, Switched, Topology};

use super::super::emulated::address::Who;
use super::super::emulated::nodes::{Nodes, data_networks, interface};
use super::super::emulated::qemu;
use super::super::emulated::run::LabError;
use super::super::emulated::snapshot::{Growing, Origin, Shelf};
use super::command::{self, Shape, peers_on, with_all_peers};
use super::emulator::{self, Emulator};
use super::fleet::{Fleet, MACHINE, Start};
use super::regime::Regime;
use super::wire::{PATIENCE, Shared};
use super::{seeds, snapshot, stale};

pub(super) const STEP: &str = "set up the lockstep";

/// How far a busy machine goes between two looks at the others, in ns; see `vexp-lockstep`.
const QUANTUM: u64 = 20_000;
/// In a lease's folder: the links' files.
pub(super) const LINKS: &str = "links";
/// Most data networks: each has an emulator.
const MOST_NETWORKS: usize = 8;

/// Machines that run in lockstep. Dropping it ends them.
pub(super) struct VirtualLease {
    site: Site,
    fleet: Arc<Fleet>,
    shared: Arc<Shared>,
    /// Workers that stood here since the machines were restored or could have been: each draws random numbers of
    /// its own.
    workers: u64,
    /// Where the machines are kept, and by what.
    keeping: Option<(Shelf, Origin)>,
    /// What it was acquired by.
    store: Option<PathBuf>,
    request: MachineRequest,
    cx: Context,
    /// With all files of the machines; removed last.
    folder: tempfile::TempDir,
    /// The right to boot the machine for others of this computer, until it is kept with so many guests.
    pub(super) growing: Option<(Growing, u32)>,
    /// The store from which this computer's is filled: what is kept here is shared there.
    pub(super) from: Option<PathBuf>,
}

impl Drop for VirtualLease {
    fn drop(&mut self) {
        self.fleet.end();
    }
}

impl VirtualLease {
    /// The folder of the links' files.
    fn links(&self) -> PathBuf {
        self.folder.path().join(LINKS)
    }
}

/// An emulator of peers.
struct Peers {
    net: u8,
    nodes: Vec<(Who, NodeInfo)>,
}

impl Peers {
    fn name(&self) -> String {
        format!("peers{}", self.net)
    }
}

impl VirtualLease {
    /// Starts all machines.
    pub(super) fn acquire(
        store: Option<&Path>,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Self, PluginError> {
        acquire(store, request, cx)
            .map_err(|error| PluginError::new(error.step, "controller", error.message))
    }
}

fn fail(message: impl Into<String>) -> LabError {
    LabError::new(STEP, message)
}

fn acquire(
    store: Option<&Path>,
    request: &MachineRequest,
    cx: &Context,
) -> Result<VirtualLease, LabError> {
    let missing = || fail("the plan names no image for the machine or its guests");
    let image = request.image.as_ref().ok_or_else(missing)?;
    let guest_image = request.guest_image.as_ref().ok_or_else(missing)?;
    let emulator_image = (request.tools.get(emulator::IMAGE))
        .ok_or_else(|| fail("the emulator's image was not built"))?;
    let machine = &with_all_peers(&request.machine);
    let regime = Regime::of(&request.options).map_err(fail)?;
    if machine.nics.len() > MOST_NETWORKS {
        return Err(fail(format!(
            "a machine has at most {MOST_NETWORKS} NICs in virtual time"
        )));
    }
    let folder = folder()?;
    let unpacked = store.unwrap_or(folder.path()).join(emulator::FOLDER);
    let emulator = Emulator::unpack(emulator_image, &unpacked)?;
    let keeping = store.and_then(|store| snapshot::keeping(request, store));
    let kept = match &keeping {
        Some((shelf, origin)) => shelf.find::<()>(origin, request.vms)?,
        None => None,
    };
    let library = folder.path().join("lockstep.so");
    std::fs::write(&library, vexp_lockstep::LIBRARY).map_err(LabError::io(STEP))?;
    let links = folder.path().join(LINKS);
    for path in ["keys", "ssh", LINKS] {
        std::fs::create_dir(folder.path().join(path)).map_err(LabError::io(STEP))?;
    }
    let keys = seeds::keys(machine.max_vms);
    let peer_key = seeds::peer_key();
    let nodes = Nodes {
        machine,
        lab: folder.path(),
        keys: &keys,
        peer_key: &peer_key,
        features_off: regime.features_off(),
    };
    let peers = peers(machine, &nodes)?;
    nodes.write_keys(
        u32::try_from(peers.iter().map(|p| p.nodes.len()).sum::<usize>()).unwrap_or(0),
    )?;
    let side = match &kept {
        Some(kept) => snapshot::copy_links(kept.folder(), &links)
            .map_err(LabError::io("restore the links"))
            .and_then(|()| Side::open(&links, PATIENCE).map_err(|error| fail(error.to_string()))),
        None => Side::create(&links, &topology(machine, regime))
            .map_err(|error| fail(error.to_string())),
    }?;
    let fleet = Arc::new(Fleet::default());
    let start =
        |name: &str, shape: &Shape, boot: &BootFiles, disks: &[(&str, &Path)], files: Vec<_>| {
            // A machine that is restored has them in its memory.
            let archive = match &kept {
                Some(_) => Ok(Vec::new()),
                None => seeds::archive(disks, &files),
            };
            let archive = archive.map_err(LabError::io("write a machine's seed"))?;
            let folder = folder.path().join(name);
            lay_out(&folder, boot, &archive).map_err(LabError::io("lay out a machine's files"))?;
            let start = Start {
                name,
                shape,
                folder: &folder,
                logs: &cx.logs,
                restored: kept.is_some(),
            };
            fleet.start(&emulator, &library, &links, &start, regime.shift())
        };
    let disks = [("root", &*image.root), ("guest", &*guest_image.root)];
    let boot = bootable(image)?;
    let shape = Shape::machine(machine, boot);
    start(MACHINE, &shape, boot, &disks, nodes.host_files())?;
    let boot = bootable(guest_image)?;
    for all in &peers {
        let whom: Vec<_> = all.nodes.iter().map(|(who, info)| (*who, info)).collect();
        let files = seeds::peers(all.net, &whom, &peer_key, &keys.client);
        let disks = [("root", &*guest_image.root)];
        let shape = Shape::peers(machine, all.net);
        start(&all.name(), &shape, boot, &disks, files)?;
    }
    let running = match kept {
        Some(kept) => Some(snapshot::restore(&fleet, kept)?),
        None => None,
    };
    let nodes_of = |all: Peers| all.nodes.into_iter().map(|(_, info)| info).collect();
    let site = Site {
        host: nodes.host()?.0,
        host_nics: data_networks(machine)
            .map(|net| interface(&format!("data{net}")))
            .collect::<Result<_, _>>()?,
        guests: nodes.guests()?,
        peers: peers.into_iter().map(nodes_of).collect(),
        running: running.unwrap_or(0),
        restored: running.is_some(),
        disposable: true,
        emulator: None,
        links: BTreeMap::new(),
        scratch: folder.path().join("ssh"),
        facts: facts(machine, emulator_image, regime),
    };
    Ok(VirtualLease {
        site,
        shared: Shared::new(side, Arc::clone(&fleet)),
        fleet,
        workers: running.map_or(0, u64::from),
        // `boot` says whether it is to be kept; which boot it is makes no difference.
        keeping: keeping.filter(|_| request.boot.is_some()),
        store: store.map(Path::to_owned),
        request: request.clone(),
        cx: cx.clone(),
        folder,
        growing: None,
        from: None,
    })
}

/// Where a lease's folder may be: in memory, where there is such a place, as the links' files are written millions of
/// times; else where temporary files are.
pub(super) fn parents() -> std::io::Result<Vec<PathBuf>> {
    let all = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    Ok(all.into_iter().filter(|path| path.is_dir()).collect())
}

fn folder() -> Result<tempfile::TempDir, LabError> {
    let parents = parents().map_err(LabError::io(STEP))?;
    let parent = parents
        .first()
        .ok_or_else(|| fail("there is no folder for temporary files"))?;
    let made = tempfile::Builder::new()
        .prefix(stale::PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(parent);
    made.map_err(LabError::io(STEP))
}

pub(super) fn bootable(image: &ImageFiles) -> Result<&BootFiles, LabError> {
    let none = || fail("an image that a machine is to boot has no kernel");
    image.boot.as_ref().ok_or_else(none)
}

/// What a machine boots, in its folder under names that are the same everywhere.
fn lay_out(folder: &Path, boot: &BootFiles, archive: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir(folder)?;
    let hypervisor = boot.hypervisor.iter().map(|xen| (xen, command::HYPERVISOR));
    for (file, link) in hypervisor.chain([(&boot.kernel, command::KERNEL)]) {
        std::os::unix::fs::symlink(file, folder.join(link))?;
    }
    let mut initramfs = std::fs::File::create(folder.join(command::INITRAMFS))?;
    std::io::copy(&mut std::fs::File::open(&boot.initramfs)?, &mut initramfs)?;
    std::io::Write::write_all(&mut initramfs, archive)
}

/// The peers of each data network.
fn peers(machine: &Machine, nodes: &Nodes<'_>) -> Result<Vec<Peers>, LabError> {
    let of = |net: u8| {
        let first = u32::from(net) * machine.peers;
        let all = peers_on(machine, net)
            .zip(first..)
            .map(|(who, n)| Ok((who, nodes.peer(n, Some(net))?)));
        let nodes = all.collect::<Result<_, LabError>>()?;
        Ok(Peers { net, nodes })
    };
    data_networks(machine).map(of).collect()
}

pub(super) fn topology(machine: &Machine, regime: Regime) -> Topology {
    let nic = |machine: &str, hub, paused, switched| {
        End::Nic(Nic {
            machine: machine.to_owned(),
            hub,
            paused,
            switched,
        })
    };
    let names = data_networks(machine).map(|net| format!("peers{net}"));
    let control = std::iter::once(MACHINE.to_owned())
        .chain(names)
        .map(|name| Link {
            name: format!("control-{name}"),
            spec: LinkSpec::control(),
            ends: [End::Vexp, nic(&name, command::CONTROL_HUB, None, None)],
        });
    let data = data_networks(machine)
        .zip(&machine.nics)
        .map(|(net, nic_of)| {
            let end = |name: &str, switched| {
                nic(
                    name,
                    command::hub(net),
                    Some(command::nic_id(net)),
                    switched,
                )
            };
            let first = peers_on(machine, net).next().filter(|_| machine.peers > 1);
            let switched = first.map(|first| Switched {
                nics: machine.peers,
                first_mac: first.mac_number(net),
            });
            Link {
                name: format!("data{net}"),
                spec: LinkSpec::data(nic_of.rate.bits_per_second()),
                ends: [end(MACHINE, None), end(&format!("peers{net}"), switched)],
            }
        });
    Topology {
        start_ns: regime.start_ns(),
        quantum_ns: QUANTUM,
        patience: PATIENCE,
        links: control.chain(data).collect(),
    }
}

/// What was used. Nothing in it differs between two computers.
fn facts(machine: &Machine, emulator: &ImageFiles, regime: Regime) -> BTreeMap<String, String> {
    [
        ("emulator_image", emulator.digest.to_string()),
        ("accelerator", "tcg".to_owned()),
        ("clock", regime.clock()),
        ("cpu", qemu::cpu(machine, "tcg")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[async_trait]
impl Lease for VirtualLease {
    fn site(&self) -> &Site {
        &self.site
    }

    /// Not used: workers stand in this process.
    fn enter(&self, argv: &[String]) -> std::process::Command {
        let mut command = std::process::Command::new(PathBuf::from(&argv[0]));
        command.args(&argv[1..]);
        command
    }

    fn workplace(&mut self) -> Result<Option<Workplace>, PluginError> {
        self.workers += 1;
        Ok(Some(self.shared.workplace(self.workers)))
    }

    /// The machines are then started anew from what was kept: what comes after is the same whether they were kept
    /// now or earlier.
    async fn save(&mut self, running: u32, keep: bool) -> Result<bool, PluginError> {
        self.site.running = running;
        self.workers = u64::from(running);
        let Some((shelf, origin)) = self.keeping.clone() else {
            return Ok(false);
        };
        let (fleet, shared) = (Arc::clone(&self.fleet), Arc::clone(&self.shared));
        let links = self.links();
        let (store, cx) = (self.store.clone(), self.cx.clone());
        let request = MachineRequest {
            vms: running,
            ..self.request.clone()
        };
        let from = self.from.clone().filter(|_| keep);
        let anew = tokio::task::spawn_blocking(move || {
            snapshot::save(&shelf, &origin, running, &fleet, &shared, &links)?;
            fleet.end();
            let share = |from: &PathBuf| snapshot::share(&shelf, &origin, running, from);
            if let Some(Err(error)) = from.as_ref().map(share) {
                let text = format!(
                    "the machine is kept on this computer only, and others boot their own: {}: {}",
                    error.step, error.message
                );
                cx.events.event(&Event::Note { text });
            }
            let anew = acquire(store.as_deref(), &request, &cx);
            if !keep {
                shelf.remove(&origin, running);
            }
            anew
        });
        let anew = anew
            .await
            .map_err(|error| LabError::new("keep the machines", error.to_string()));
        let (growing, from) = (self.growing.take(), self.from.take());
        *self = anew
            .and_then(|anew| anew)
            .map_err(|error| PluginError::new(error.step, "controller", error.message))?;
        self.growing = growing.filter(|(_, until)| running < *until);
        self.from = from;
        Ok(true)
    }

    async fn release(self: Box<Self>) -> Result<(), PluginError> {
        self.fleet.end();
        Ok(())
    }
}
