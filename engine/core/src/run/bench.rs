//! A block's machines, connected: the host, its guests and the traffic peers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vexp_api::environment::{Environment, Unread, When, compare};
use vexp_api::event::Event;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Context, Guest, Hypervisor, Node, PluginError};
use vexp_api::record::{self, BlockRecord, GuestBoot};
use vexp_api::registry::Registry;
use vexp_api::sample::NodeRole;
use vexp_api::shell::{Connect, ShellError};
use vexp_api::site::{GuestSlot, NodeInfo, Site, SshTarget};
use vexp_api::spec::Role;
use vexp_api::units::BitRate;

use super::clock::{self, Clock};
use super::environment::Answers;
use super::files::{self, FileError};
use super::local::LocalShell;
use super::manifest::Manifest;
use super::ssh::chain;
use super::together::each;
use super::worker::{Place, WorkError};
use super::{environment, node, restored, route, trial, urgent};

/// How long a host that has said that it is ready may take to answer.
const HOST_DEADLINE: Duration = Duration::from_secs(60);
/// How long a guest may take from its start to an answer over SSH, under full emulation.
const GUEST_DEADLINE: Duration = Duration::from_secs(150);

/// A guest that answers.
struct Up {
    node: Node,
    guest: Box<dyn Guest>,
}

/// The machines of a block, connected.
pub(super) struct Bench<'a> {
    manifest: &'a Manifest,
    pub(super) cx: Context,
    pub(super) clock: Clock,
    connect: Arc<dyn Connect>,
    hypervisor: Arc<dyn Hypervisor>,
    host: Node,
    /// By data network.
    peers: Vec<Vec<Node>>,
    switch: Option<Node>,
    guests: Vec<Up>,
    record: BlockRecord,
}

impl<'a> Bench<'a> {
    /// Connects to the host, the guests that run already and, for trials, the peers; prepares the
    /// host, or puts right what being restored has upset.
    pub(super) async fn set_up(
        manifest: &'a Manifest,
        registry: &Registry,
        place: Place,
    ) -> Result<Self, WorkError> {
        let Place {
            connect,
            events,
            clock,
        } = place;
        let (machine, site) = (&manifest.block.machine, &manifest.site);
        let hypervisor = registry
            .hypervisors()
            .get(machine.hypervisor.as_str())
            .ok_or_else(|| WorkError::NoPlugin {
                kind: "hypervisor",
                name: machine.hypervisor.clone(),
            })?;
        enough(site, manifest)?;
        let folder = files::block_dir(&manifest.run, &manifest.block.id);
        files::create_dir(&folder)?;
        let cx = Context {
            events,
            logs: folder.clone(),
        };
        let running = &site.guests[..site.running as usize];
        let slots = running.iter().map(|slot| &slot.node);
        let peers = site.peers.iter().map(|all| match manifest.grow {
            Some(_) => &all[..0],
            None => &all[..machine.peers as usize],
        });
        let peers: Vec<&[NodeInfo]> = peers.collect();
        let ends = peers.iter().flat_map(|all| *all);
        let infos: Vec<&NodeInfo> = std::iter::once(&site.host)
            .chain(slots)
            .chain(ends)
            .collect();
        let mut nodes = connect_all(&connect, &infos, site).await?.into_iter();
        let host = nodes.next().ok_or(WorkError::Site {
            what: "hosts",
            have: 0,
            need: 1,
        })?;
        let guests: Vec<Node> = nodes.by_ref().take(running.len()).collect();
        let peers = peers
            .iter()
            .map(|all| nodes.by_ref().take(all.len()).collect())
            .collect();
        urgent::answers(&host).await?;
        let seen = if site.restored {
            let mut woken = guests.clone();
            woken.push(host.clone());
            restored::put_right(&woken, &clock).await?;
            let names: Vec<Name> = guests.iter().map(|node| node.name.clone()).collect();
            hypervisor.verify(&host, &names, machine, &cx).await?
        } else {
            hypervisor
                .prepare(&host, &site.host_nics, machine, &cx)
                .await?
        };
        let guests = guests
            .into_iter()
            .zip(running)
            .map(|(node, slot)| {
                let guest = hypervisor.adopt(&host, slot, machine)?;
                Ok(Up { node, guest })
            })
            .collect::<Result<_, PluginError>>()?;
        Ok(Self {
            cx,
            clock,
            connect,
            hypervisor: Arc::clone(hypervisor),
            host,
            peers,
            switch: switch(site),
            guests,
            record: BlockRecord {
                format: record::FORMAT,
                block: manifest.block.id.clone(),
                site: site.facts.clone(),
                host: seen,
                boot_s: manifest.boot_s,
                restored: site.restored.then_some(site.running),
                guest_boots: Vec::new(),
                changed: Vec::new(),
                unread: Vec::new(),
            },
            manifest,
        })
    }

    /// Asks nodes what they are; the answers go to `folder` of the block's. Where all ends with the
    /// block, the machine under test stands for what came of its image. What was restored again is
    /// what it was the first time, and is not asked. A batch engine's node is another computer each time.
    pub(super) async fn look(&self, folder: &str) -> Result<Answers, FileError> {
        let mut answers = self.look_at_machines(folder).await?;
        let computer = self.manifest.computer.as_ref();
        if computer.is_some_and(|computer| !computer.facts.is_empty()) {
            let found = node::environment();
            answers.facts.insert(node::NAME.to_owned(), found);
        }
        Ok(answers)
    }

    async fn look_at_machines(&self, folder: &str) -> Result<Answers, FileError> {
        let site = &self.manifest.site;
        if site.restored && self.manifest.block.repetition > 1 {
            return Ok(Answers::default());
        }
        let mut nodes = vec![self.host.clone()];
        if !site.disposable {
            nodes.extend(self.guests());
            nodes.extend(self.peers.iter().flatten().cloned());
        }
        let place = self.folder().join(folder);
        environment::record(&nodes, &place).await
    }

    /// Notes which nodes did not say what they were. The first of them, if there is one.
    pub(super) fn note_unread(&mut self, before: &Answers, after: &Answers) -> Option<Unread> {
        let times = [(When::Before, before), (When::After, after)];
        let unread = times.into_iter().flat_map(|(when, answers)| {
            let unread = answers.unread.iter();
            unread.map(move |(node, why)| Unread {
                node: node.clone(),
                when,
                why: why.clone(),
            })
        });
        self.record.unread = unread.collect();
        self.record.unread.first().cloned()
    }

    /// Keeps what the nodes were, what has changed about them, and which did not say.
    pub(super) fn write_environment(
        &mut self,
        before: Answers,
        after: Answers,
    ) -> Result<(), FileError> {
        if before.facts.is_empty() && self.record.unread.is_empty() {
            return Ok(());
        }
        let environment = Environment {
            format: vexp_api::environment::FORMAT,
            before: before.facts,
            after: after.facts,
        };
        files::write_json(&self.folder().join("environment.json"), &environment)?;
        let mut changed = compare(&environment.before, &environment.after).differences;
        let trials = &self.manifest.block.trials;
        if trials.iter().any(|trial| trial.role == Role::Router) {
            changed.retain(|one| !route::has_set(&one.fact, one.other.as_deref()));
        }
        self.record.changed = changed;
        self.write_record()
    }

    fn folder(&self) -> PathBuf {
        files::block_dir(&self.manifest.run, &self.manifest.block.id)
    }

    /// The guests that run.
    pub(super) fn guests(&self) -> Vec<Node> {
        self.guests.iter().map(|up| up.node.clone()).collect()
    }

    /// What a trial needs of the machines.
    pub(super) fn for_trial<'b>(&'b self, guests: &'b [Node]) -> trial::Bench<'b> {
        trial::Bench {
            host: &self.host,
            guests,
            peers: &self.peers,
            switch: self.switch.as_ref(),
            link_rate: slowest(&self.manifest.block.machine),
            emulator: self.manifest.site.emulator,
            clock: &self.clock,
        }
    }

    /// Makes the machine and its guests ready to be kept.
    pub(super) async fn warm(&self) {
        let mut nodes = self.guests();
        nodes.push(self.host.clone());
        restored::warm(&nodes).await;
    }

    /// What was seen of a restored machine when it was put right, if no guest was booted since: the
    /// first trial need not read it back a second time.
    pub(super) fn seen_restored(&self) -> Option<BTreeMap<String, String>> {
        let site = &self.manifest.site;
        let as_restored = site.restored && self.guests.len() == site.running as usize;
        as_restored.then(|| self.record.host.clone())
    }

    /// Whether everything still is as the plan says; what was seen.
    pub(super) async fn verify(&self) -> Result<BTreeMap<String, String>, PluginError> {
        let names: Vec<Name> = self.guests.iter().map(|up| up.node.name.clone()).collect();
        let machine = &self.manifest.block.machine;
        self.hypervisor
            .verify(&self.host, &names, machine, &self.cx)
            .await
    }

    /// Boots guests until `count` run.
    pub(super) async fn grow(&mut self, count: usize) -> Result<(), WorkError> {
        while self.guests.len() < count {
            let slot = &self.manifest.site.guests[self.guests.len()];
            let started = clock::now();
            let up = self.boot(slot).await?;
            let seconds = (clock::now() - started).as_secs_f64();
            let guest = slot.node.name.clone();
            self.record.guest_boots.push(GuestBoot {
                guest: guest.clone(),
                seconds,
            });
            self.cx.events.event(&Event::GuestReady {
                block: self.manifest.block.id.clone(),
                guest,
                seconds,
            });
            self.guests.push(up);
        }
        Ok(())
    }

    async fn boot(&self, slot: &GuestSlot) -> Result<Up, WorkError> {
        let machine = &self.manifest.block.machine;
        let guest = self
            .hypervisor
            .boot(&self.host, slot, machine, &self.cx)
            .await?;
        let site = &self.manifest.site;
        match connect_to(&self.connect, &slot.node, guest.ssh(), site, GUEST_DEADLINE).await {
            Ok(node) => Ok(Up { node, guest }),
            Err(error) => {
                let console = guest.console().await;
                let message = format!(
                    "{} did not answer within {} s: {}\nlast lines of its console:\n{console}",
                    slot.node.name,
                    GUEST_DEADLINE.as_secs(),
                    chain(&error)
                );
                let step = format!("boot guest {}", slot.node.name);
                Err(PluginError::new(step, self.host.name.as_str(), message).into())
            }
        }
    }

    /// Stops the guests, the last first, unless they end with the machine. What could not be stopped
    /// is said and changes no result.
    pub(super) async fn stop(self) {
        if self.manifest.site.disposable {
            return;
        }
        for up in self.guests.into_iter().rev() {
            if let Err(error) = up.guest.stop().await {
                let text = format!("{}: {}", up.node.name, chain(&error));
                self.cx.events.event(&Event::Note { text });
            }
        }
    }

    /// Writes the block's record as it is now.
    pub(super) fn write_record(&self) -> Result<(), FileError> {
        files::write_json(&self.folder().join("block.json"), &self.record)
    }
}

/// Whether the site has what the block needs.
fn enough(site: &Site, manifest: &Manifest) -> Result<(), WorkError> {
    let machine = &manifest.block.machine;
    let guests = ("guests", site.guests.len(), manifest.block.vms as usize);
    let running = ("guest slots", site.guests.len(), site.running as usize);
    let peers = site.peers.iter().map(|all| {
        let need = machine.peers as usize;
        ("peers on a data network", all.len(), need)
    });
    for (what, have, need) in [guests, running].into_iter().chain(peers) {
        if have < need {
            return Err(WorkError::Site { what, have, need });
        }
    }
    Ok(())
}

/// The testbed's links as a node, where the worker can see them.
fn switch(site: &Site) -> Option<Node> {
    let name = Name::new("switch")
        .ok()
        .filter(|_| !site.links.is_empty())?;
    Some(Node {
        name: name.clone(),
        role: NodeRole::Switch,
        shell: Arc::new(LocalShell::new(name)),
        data: Vec::new(),
    })
}

/// Rate of the slowest of the machine's links.
fn slowest(machine: &Machine) -> BitRate {
    let rates = machine.nics.iter().map(|nic| nic.rate);
    rates.min().unwrap_or(BitRate::new(0))
}

/// Connects to all nodes at the same time.
async fn connect_all(
    connect: &Arc<dyn Connect>,
    infos: &[&NodeInfo],
    site: &Site,
) -> Result<Vec<Node>, ShellError> {
    let items: Vec<_> = infos
        .iter()
        .map(|info| (Arc::clone(connect), (*info).clone(), site.clone()))
        .collect();
    let done = each(items, |(connect, info, site)| async move {
        connect_to(&connect, &info, &info.ssh, &site, HOST_DEADLINE).await
    });
    done.await.into_iter().collect()
}

async fn connect_to(
    connect: &Arc<dyn Connect>,
    info: &NodeInfo,
    target: &SshTarget,
    site: &Site,
    deadline: Duration,
) -> Result<Node, ShellError> {
    let shell = connect
        .connect(&info.name, target, &site.scratch, deadline)
        .await?;
    Ok(Node {
        name: info.name.clone(),
        role: info.role,
        shell,
        data: info.data.clone(),
    })
}
