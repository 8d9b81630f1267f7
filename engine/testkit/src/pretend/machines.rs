//! Machines that are always there, and their hypervisors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::ids::{BadName, Name};
use vexp_api::plan::Machine;
use vexp_api::plugin::{
    Context, Guest, HostSeen, Hypervisor, HypervisorTraits, Lease, MachineRequest, Node, Plugin,
    PluginError, Testbed,
};
use vexp_api::sample::NodeRole;
use vexp_api::site::{DataAddress, GuestFiles, GuestSlot, KeyedTarget, NodeInfo, Site, SshTarget};
use vexp_api::units::ByteSize;

use super::Pretend;

/// The testbed.
pub(super) struct Machines(pub(super) Pretend);

impl Plugin for Machines {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Testbed for Machines {
    fn boots_images(&self) -> bool {
        false
    }

    fn needs_root(&self) -> bool {
        false
    }

    async fn acquire(
        &self,
        request: &MachineRequest,
        _: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        let platform = &request.machine.platform;
        if self
            .0
            .fault("lost-host")
            .is_some_and(|lost| *platform == *lost)
        {
            let message = "no answer from 10.0.0.7 port 22";
            return Err(PluginError::new("connect", platform.as_str(), message));
        }
        let site = site(request)
            .map_err(|error| PluginError::new("acquire", platform.as_str(), error.to_string()))?;
        self.0.did("acquired");
        let world = self.0.clone();
        Ok(Box::new(Taken { site, world }))
    }
}

fn site(request: &MachineRequest) -> Result<Site, BadName> {
    let slot = |number: u32| {
        Ok::<_, BadName>(GuestSlot {
            node: node(&format!("vm{number}"), NodeRole::Guest)?,
            nics: Vec::new(),
            seed: PathBuf::new(),
            files: GuestFiles::default(),
        })
    };
    let peer = |number: u32| node(&format!("peer{number}"), NodeRole::Peer);
    let peers = (1..=request.machine.peers).map(peer);
    Ok(Site {
        host: node("host", NodeRole::Host)?,
        host_nics: vexp_api::ids::Interface::new("eth1").into_iter().collect(),
        guests: (1..=request.vms).map(slot).collect::<Result<_, _>>()?,
        peers: vec![peers.collect::<Result<_, _>>()?],
        running: 0,
        restored: false,
        // Guests are stopped one by one.
        disposable: false,
        emulator: None,
        links: BTreeMap::new(),
        scratch: std::env::temp_dir(),
        facts: BTreeMap::from([("machine.host".to_owned(), "pretended".to_owned())]),
    })
}

fn node(name: &str, role: NodeRole) -> Result<NodeInfo, BadName> {
    let address = [198, 18, 0, 1].into();
    let name = Name::new(name)?;
    Ok(NodeInfo {
        ssh: SshTarget::Keyed(KeyedTarget {
            address,
            port: 22,
            user: Name::new("root")?,
            identity: PathBuf::new(),
            known_hosts: PathBuf::new(),
        }),
        name,
        role,
        data: vec![DataAddress {
            address,
            prefix: 24,
        }],
    })
}

struct Taken {
    site: Site,
    world: Pretend,
}

#[async_trait]
impl Lease for Taken {
    fn site(&self) -> &Site {
        &self.site
    }

    fn enter(&self, argv: &[String]) -> std::process::Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new(argv.first().map_or("", String::as_str));
        command.args(argv.iter().skip(1)).process_group(0);
        command
    }

    async fn release(self: Box<Self>) -> Result<(), PluginError> {
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(seconds) = self.world.fault("slow-cleanup") {
            self.world.did("releasing");
            std::thread::sleep(Duration::from_secs(seconds.parse().unwrap_or(60)));
        }
        self.world.did("released");
    }
}

/// Classical Linux, or a hypervisor with guests.
pub(super) struct Fakevisor {
    pub(super) world: Pretend,
    pub(super) guests: bool,
}

impl Plugin for Fakevisor {
    fn name(&self) -> &'static str {
        if self.guests { "fakevisor" } else { "linux" }
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Hypervisor for Fakevisor {
    fn traits(&self) -> HypervisorTraits {
        HypervisorTraits {
            guests: self.guests,
            nics: &["any"],
            toolstacks: &[],
            schedulers: &[],
            weighted: &[],
            monitors: &[],
            host_memory: ByteSize::new(1 << 20),
            guests_are_processes: false,
            nested: false,
        }
    }

    async fn look(&self, _: &Node, _: &Machine) -> Result<HostSeen, PluginError> {
        Ok(HostSeen::default())
    }

    async fn prepare(
        &self,
        _: &Node,
        _: &[vexp_api::ids::Interface],
        _: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        Ok(BTreeMap::new())
    }

    async fn verify(
        &self,
        _: &Node,
        _: &[Name],
        _: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        Ok(BTreeMap::new())
    }

    fn adopt(
        &self,
        _: &Node,
        slot: &GuestSlot,
        _: &Machine,
    ) -> Result<Box<dyn Guest>, PluginError> {
        Ok(Box::new(Booted(slot.node.clone(), self.world.clone())))
    }

    async fn boot(
        &self,
        _: &Node,
        slot: &GuestSlot,
        _: &Machine,
        _: &Context,
    ) -> Result<Box<dyn Guest>, PluginError> {
        self.world.did(&format!("booted {}", slot.node.name));
        Ok(Box::new(Booted(slot.node.clone(), self.world.clone())))
    }
}

struct Booted(NodeInfo, Pretend);

#[async_trait]
impl Guest for Booted {
    fn ssh(&self) -> &SshTarget {
        &self.0.ssh
    }

    async fn console(&self) -> String {
        "VFS: Unable to mount root fs on unknown-block(254,0)".to_owned()
    }

    async fn stop(self: Box<Self>) -> Result<(), PluginError> {
        let name = self.0.name.as_str();
        if self.1.fault("cleanup").is_some_and(|guest| name == guest) {
            let message = "`xl destroy` ended with status 1";
            return Err(PluginError::new(
                format!("stop guest {name}"),
                "host",
                message,
            ));
        }
        self.1.did(&format!("stopped {name}"));
        Ok(())
    }
}
