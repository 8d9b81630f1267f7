//! Machines of the inventory, taken for a block, and given back as they were.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use vexp_api::event::Event;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Context, Lease, MachineRequest, PluginError, Testbed as _};
use vexp_api::sample::NodeRole;
use vexp_api::shell::{Cmd, Process};
use vexp_api::site::{GuestFiles, GuestSlot, NodeInfo, Site};
use vexp_api::spec::Options;

use super::config;
use super::far::{Rack, Taken};
use super::folder::PrivateFolder;
use super::guests::{self, Making};
use super::inventory::{Entry, Inventory, wrong};
use super::state;
use super::{CONNECT, Hosts, images};
use crate::testbed::emulated::keys::Keys;

/// Machines that are held. Dropping it gives them back.
pub(super) struct Held {
    hosts: Hosts,
    racks: Vec<Locked>,
    /// Addresses that a run sets routes to.
    peers: Vec<String>,
    /// Keys, configuration and sockets.
    folder: PrivateFolder,
}

/// A machine whose lock we have.
struct Locked {
    rack: Rack,
    /// The program that holds the lock.
    lock: Mutex<Box<dyn Process>>,
}

/// A lease.
pub(super) struct HostsLease {
    site: Site,
    held: Option<Held>,
}

impl HostsLease {
    pub(super) async fn acquire(
        hosts: &Hosts,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Self, PluginError> {
        let inventory = hosts.inventory(&request.options).await?;
        if let Some(lost) = hosts.lost().await {
            // Its machines may be somebody else's by now.
            return Err(PluginError::new("take machines", "controller", lost));
        }
        let machine = &request.machine;
        let folder = PrivateFolder::new()?;
        let config = config::write(&inventory, &[], folder.path())?;
        let (host_name, host) = inventory.host_for(machine)?;
        let peers = inventory.peers_for(machine)?;
        let mut held = Held {
            hosts: hosts.clone(),
            racks: Vec::new(),
            peers: addresses(&inventory),
            folder,
        };
        // The host first: whoever has that one has the block.
        held.take(host_name, host, &config, cx).await?;
        for (name, entry) in peers.iter().flatten() {
            held.take(name, entry, &config, cx).await?;
        }
        let (files, slots) = held.prepare(&inventory, request, cx).await?;
        let site = held.site(&inventory, request, &peers, slots, files)?;
        Ok(Self {
            site,
            held: Some(held),
        })
    }
}

/// Puts right what runs that died have left on any machine of the inventory. One that can't be had does
/// not keep the others from it; the first error is told at the end.
pub(super) async fn collect(
    hosts: &Hosts,
    options: &Options,
    cx: &Context,
) -> Result<(), PluginError> {
    let mut inventory = hosts.inventory(options).await?;
    // Machines of an allocation that is over are anybody's: whoever takes one next puts it right.
    inventory.machines.retain(|_, entry| !entry.is_nameless());
    let folder = PrivateFolder::new()?;
    let config = config::write(&inventory, &[], folder.path())?;
    let mut held = Held {
        hosts: hosts.clone(),
        racks: Vec::new(),
        peers: addresses(&inventory),
        folder,
    };
    let mut result = Ok(());
    for (name, entry) in &inventory.machines {
        result = result.and(held.take(name, entry, &config, cx).await);
    }
    result.and(held.give_back().await)
}

/// Addresses of all machines, as `ip route` writes them.
fn addresses(inventory: &Inventory) -> Vec<String> {
    let data = inventory.machines.values().flat_map(|entry| &entry.data);
    data.map(|data| data.address.0.address.to_string())
        .collect()
}

impl Held {
    fn sockets(&self) -> PathBuf {
        self.folder.path().join("ssh")
    }

    /// Connects, locks, and puts right what a run has left that died.
    async fn take(
        &mut self,
        name: &Name,
        entry: &Entry,
        config: &std::path::Path,
        cx: &Context,
    ) -> Result<(), PluginError> {
        let target = config::target(name, entry, config)?.into();
        let shell = self
            .hosts
            .connect
            .connect(name, &target, &self.sockets(), CONNECT)
            .await;
        let shell = shell.map_err(|error| PluginError::shell("connect", name, error))?;
        let rack = Rack {
            name: name.clone(),
            entry: entry.clone(),
            shell,
        };
        let lock = rack.lock().await?;
        self.racks.push(Locked {
            rack: rack.clone(),
            lock: Mutex::new(lock),
        });
        if let Some(taken) = rack.taken().await? {
            self.undo(&rack, &taken).await?;
            let text = format!(
                "{name}: what run {} from {} has left is put right",
                taken.run, taken.controller
            );
            cx.events.event(&Event::Note { text });
        }
        Ok(())
    }

    /// Writes down what is taken, and then takes it.
    async fn prepare(
        &self,
        inventory: &Inventory,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<(Option<GuestFiles>, Vec<GuestSlot>), PluginError> {
        let machine = &request.machine;
        let (mut files, mut slots) = (None, Vec::new());
        for (index, Locked { rack, .. }) in self.racks.iter().enumerate() {
            let host = index == 0;
            let mut before = state::look(rack).await?;
            if host {
                let plugin = self.hosts.hypervisor(rack, machine)?;
                before.hypervisor = plugin.settings(&rack.node(), machine).await?;
            }
            let taken = |guests| {
                let controller = super::controller();
                Taken::new(request.run.clone(), controller, before.clone(), guests)
            };
            if !host || machine.max_vms == 0 {
                rack.write(&taken(None)).await?;
                continue;
            }
            let image = (request.guest_image.as_ref())
                .ok_or_else(|| wrong("the plan names no guest image"))?;
            let pushed = images::push(rack, image, cx).await?;
            let keys = Keys::generate(self.folder.path(), machine.max_vms)
                .map_err(|e| rack.fail("make SSH keys", e.to_string()))?;
            let making = Making {
                inventory,
                host: rack,
                machine,
                before: &before,
                folder: self.folder.path(),
                keys: &keys,
            };
            let config = config::write(inventory, &making.hosts()?, self.folder.path())?;
            slots = making.slots(&config, &pushed)?;
            rack.write(&taken(Some((machine.clone(), slots.clone()))))
                .await?;
            let attached = images::attach(rack, pushed).await?;
            for slot in &mut slots {
                slot.files = attached.clone();
            }
            files = Some(attached);
            guests::make_bridge(rack, inventory).await?;
        }
        Ok((files, slots))
    }

    fn site(
        &self,
        inventory: &Inventory,
        request: &MachineRequest,
        peers: &[Vec<(&Name, &Entry)>],
        guests: Vec<GuestSlot>,
        files: Option<GuestFiles>,
    ) -> Result<Site, PluginError> {
        let config = self.folder.path().join("config");
        let mut facts = std::collections::BTreeMap::new();
        let mut info = |called: String, role, name: &Name, entry: &Entry| {
            facts.insert(format!("machine.{called}"), name.to_string());
            Ok::<_, PluginError>(NodeInfo {
                name: Name::new(called).map_err(|e| wrong(e.to_string()))?,
                role,
                ssh: config::target(name, entry, &config)?.into(),
                data: entry.data.iter().map(|data| data.address.0).collect(),
            })
        };
        let (host_name, host_entry) = inventory.host_for(&request.machine)?;
        let host = info("host".to_owned(), NodeRole::Host, host_name, host_entry)?;
        let mut number = 0;
        let mut sides = Vec::new();
        for side in peers {
            let mut infos = Vec::new();
            for (name, entry) in side {
                number += 1;
                infos.push(info(format!("peer{number}"), NodeRole::Peer, name, entry)?);
            }
            sides.push(infos);
        }
        if let Some(granted) = self.hosts.allocated() {
            facts.insert("allocation".to_owned(), granted.in_words());
        }
        if let (Some(files), Some(image)) = (&files, &request.guest_image) {
            facts.insert("guest_image".to_owned(), image.digest.to_string());
            facts.insert("guest_root".to_owned(), files.root.to_string());
        }
        let nics = host_entry.data.iter().take(request.machine.nics.len());
        Ok(Site {
            host,
            host_nics: nics.map(|data| data.nic.clone()).collect(),
            guests,
            peers: sides,
            running: 0,
            restored: false,
            disposable: false,
            emulator: None,
            links: std::collections::BTreeMap::new(),
            scratch: self.sockets(),
            facts,
        })
    }

    /// Puts a machine back to what it was before a run, and forgets the run. All steps are tried; the
    /// first error is told, and the record is kept for another try.
    async fn undo(&self, rack: &Rack, taken: &Taken) -> Result<(), PluginError> {
        let mut first = None;
        let mut note = |result: Result<(), PluginError>| {
            if let Err(error) = result {
                first.get_or_insert(error);
            }
        };
        if let Some((machine, slots)) = &taken.guests {
            note(self.end_guests(rack, machine, slots).await);
            note(images::detach(rack).await);
            let settings = taken.before.of_hypervisor();
            let put_back = match self.hosts.hypervisor(rack, machine) {
                Ok(plugin) => plugin.put_back(&rack.node(), machine, &settings).await,
                Err(error) => Err(error),
            };
            note(put_back);
        }
        match state::look(rack).await {
            Ok(now) => {
                for cmd in state::way_back(rack, &taken.before, &now, &self.peers) {
                    note(rack.check("put the machine back", cmd).await.map(drop));
                }
            }
            Err(error) => note(Err(error)),
        }
        match first {
            None => rack.forget().await,
            Some(error) => Err(error),
        }
    }

    /// Ends those guests of a run that have left a trace.
    async fn end_guests(
        &self,
        rack: &Rack,
        machine: &Machine,
        slots: &[GuestSlot],
    ) -> Result<(), PluginError> {
        const STEP: &str = "end guests";
        let list = rack
            .shell
            .run(Cmd::new("ls").args(["-1", "--", super::GUESTS]))
            .await;
        let list = list.map_err(|error| PluginError::shell(STEP, &rack.name, error))?;
        let text = list.text();
        let left = slots
            .iter()
            .filter(|slot| text.lines().any(|line| slot.node.name == *line));
        let mut result = Ok(());
        for slot in left {
            let plugin = self.hosts.hypervisor(rack, machine)?;
            let ended = match plugin.adopt(&rack.node(), slot, machine) {
                Ok(guest) => guest.stop().await,
                Err(error) => Err(error),
            };
            result = result.and(ended);
        }
        result
    }

    /// Gives everything back, the last first.
    async fn give_back(&mut self) -> Result<(), PluginError> {
        let mut result = Ok(());
        while let Some(locked) = self.racks.pop() {
            let undone = match locked.rack.taken().await {
                Ok(Some(taken)) => self.undo(&locked.rack, &taken).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            result = result.and(undone);
            let lock = locked.lock.into_inner();
            let stopped = lock.unwrap_or_else(PoisonError::into_inner).stop().await;
            let stopped = stopped.map_err(|error| {
                PluginError::shell("unlock the machine", &locked.rack.name, error)
            });
            result = result.and(stopped.map(drop));
        }
        result
    }
}

impl Drop for Held {
    /// The run was interrupted, or taking the machines has failed half-way. Nobody is left to hear of
    /// an error: what could not be put back is written down on the machine, and the next run finds
    /// it there.
    fn drop(&mut self) {
        if self.racks.is_empty() {
            return;
        }
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                drop(runtime.block_on(self.give_back()));
            }
        };
        // A runtime can't be entered from within another one.
        std::thread::scope(|scope| drop(scope.spawn(work).join()));
    }
}

#[async_trait]
impl Lease for HostsLease {
    fn site(&self) -> &Site {
        &self.site
    }

    fn enter(&self, argv: &[String]) -> std::process::Command {
        use std::os::unix::process::CommandExt as _;
        let (program, args) = match argv {
            [program, args @ ..] => (program.as_str(), args),
            [] => ("", &[][..]),
        };
        let mut command = std::process::Command::new(program);
        // Ctrl-C in a terminal goes to the whole group: the worker ends when it is told to.
        command.args(args).process_group(0);
        command
    }

    async fn release(mut self: Box<Self>) -> Result<(), PluginError> {
        match self.held.take() {
            Some(mut held) => held.give_back().await,
            None => Ok(()),
        }
    }
}

/// The testbed is cheap to clone: a lease keeps what it needs of it.
impl Clone for Hosts {
    fn clone(&self) -> Self {
        Self {
            connect: Arc::clone(&self.connect),
            hypervisors: self.hypervisors.clone(),
            machines: Arc::clone(&self.machines),
            granted: Arc::clone(&self.granted),
        }
    }
}
