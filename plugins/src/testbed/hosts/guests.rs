//! The guests that a host may boot: who they are, and how they are reached, which is by way of
//! their host, on a network that it has for them alone.

use std::path::Path;

use vexp_api::ids::{Interface, Name};
use vexp_api::plan::Machine;
use vexp_api::plugin::PluginError;
use vexp_api::sample::NodeRole;
use vexp_api::shell::Cmd;
use vexp_api::site::{ConfiguredTarget, GuestFiles, GuestNic, GuestSlot, NodeInfo};

use super::config::GuestHost;
use super::far::Rack;
use super::inventory::{Inventory, wrong};
use super::state::State;
use crate::testbed::emulated::keys::Keys;
use crate::testbed::emulated::seed::{Identity, NetLine};

/// Bridge that a host makes for itself and its guests.
pub(super) const CONTROL_BRIDGE: &str = "vexp-ctl";
const STEP: &str = "prepare guests";

/// What guests are made of.
pub(super) struct Making<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) host: &'a Rack,
    pub(super) machine: &'a Machine,
    /// How the host's network is before the run.
    pub(super) before: &'a State,
    /// The run's private folder.
    pub(super) folder: &'a Path,
    pub(super) keys: &'a Keys,
}

fn name(text: impl Into<String>) -> Result<Name, PluginError> {
    Name::new(text).map_err(|e| wrong(e.to_string()))
}

fn interface(text: impl Into<String>) -> Result<Interface, PluginError> {
    Interface::new(text).map_err(|e| wrong(e.to_string()))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> PluginError + '_ {
    move |e| PluginError::new(STEP, "controller", format!("{}: {e}", path.display()))
}

impl Making<'_> {
    /// How ssh is told of them; writes the key that logs in and the keys that answer.
    pub(super) fn hosts(&self) -> Result<Vec<GuestHost>, PluginError> {
        let client = self.folder.join("client");
        let wrote = self.keys.client.write(&client);
        wrote.map_err(|e| PluginError::new(STEP, "controller", e.to_string()))?;
        let by_way_of = self.host.entry.host(&self.host.name)?;
        let (mut known, mut hosts) = (String::new(), Vec::new());
        for (n, key) in (0..).zip(&self.keys.guests) {
            let address = self.inventory.guest_control(Some(n))?.address;
            known.push_str(&key.known_host(address));
            hosts.push(GuestHost {
                address,
                by_way_of: by_way_of.clone(),
            });
        }
        let path = self.folder.join("known");
        std::fs::write(&path, known).map_err(io(&path))?;
        Ok(hosts)
    }

    /// The guests; writes their seeds.
    pub(super) fn slots(
        &self,
        config: &Path,
        files: &GuestFiles,
    ) -> Result<Vec<GuestSlot>, PluginError> {
        let guests = (0..).zip(&self.keys.guests);
        guests
            .map(|(n, key)| {
                let node = name(format!("vm{}", n + 1))?;
                let control = self.inventory.guest_control(Some(n))?;
                let mut net = vec![NetLine {
                    mac: self.mac(0xff, n),
                    interface: "ctl0".to_owned(),
                    cidr: Some(format!("{}/{}", control.address, control.prefix)),
                    bridge: None,
                }];
                let mut nics = vec![GuestNic {
                    mac: self.mac(0xff, n),
                    bridge: interface(CONTROL_BRIDGE)?,
                }];
                let mut data = Vec::new();
                for network in 0..u8::try_from(self.machine.nics.len()).unwrap_or(u8::MAX) {
                    let entry = &self.host.entry;
                    let address = self.inventory.guest_data(entry, network.into(), n)?;
                    net.push(NetLine {
                        mac: self.mac(network, n),
                        interface: format!("data{network}"),
                        cidr: Some(format!("{}/{}", address.address, address.prefix)),
                        bridge: None,
                    });
                    nics.push(GuestNic {
                        mac: self.mac(network, n),
                        bridge: self.bridge(network.into())?,
                    });
                    data.push(address);
                }
                let identity = Identity {
                    hostname: node.as_str(),
                    net: &net,
                    host_key: &key.private,
                    host_key_public: &key.public,
                    authorized: &self.keys.client.public,
                    features_off: &[],
                };
                let seed = self.folder.join(format!("{node}.seed.cpio"));
                std::fs::write(&seed, identity.cpio()).map_err(io(&seed))?;
                let host = vexp_api::ids::HostName::new(control.address.to_string())
                    .map_err(|e| wrong(e.to_string()))?;
                Ok(GuestSlot {
                    node: NodeInfo {
                        name: node,
                        role: NodeRole::Guest,
                        ssh: ConfiguredTarget {
                            host,
                            config: config.to_owned(),
                            // Nobody but their host can reach them there.
                            control: None,
                            sudo: false,
                            tools: std::collections::BTreeMap::new(),
                        }
                        .into(),
                        data,
                    },
                    nics,
                    seed,
                    files: files.clone(),
                })
            })
            .collect()
    }

    /// The bridge that the hypervisor's plugin joins a data NIC to, or that it is a port of.
    fn bridge(&self, network: u32) -> Result<Interface, PluginError> {
        let nic = self
            .host
            .entry
            .data
            .iter()
            .find(|data| data.network == network);
        let nic = nic.ok_or_else(|| wrong(format!("no NIC on data network {network}")))?;
        let link = self.before.links.get(nic.nic.as_str());
        match link.and_then(|link| link.master.clone()) {
            Some(bridge) => interface(bridge),
            None => interface(crate::hypervisor::default_bridge(&nic.nic)),
        }
    }

    /// `52:54:00` is QEMU's prefix of locally administered addresses; the fourth byte keeps guests of
    /// several hosts on one network apart.
    fn mac(&self, network: u8, guest: u32) -> String {
        let digest = vexp_api::digest::Digest::of(self.host.name.as_str().as_bytes());
        let rack = &digest.hex()[..2];
        format!("52:54:00:{rack}:{network:02x}:{:02x}", guest.min(245) + 10)
    }
}

/// Makes the bridge for guests' control NICs, with the host's own address.
pub(super) async fn make_bridge(host: &Rack, inventory: &Inventory) -> Result<(), PluginError> {
    const STEP: &str = "make the guests' control network";
    let own = inventory.guest_control(None)?;
    let cidr = format!("{}/{}", own.address, own.prefix);
    for args in [
        &["link", "add", "name", CONTROL_BRIDGE, "type", "bridge"][..],
        &["address", "add", &cidr, "dev", CONTROL_BRIDGE],
        &["link", "set", "dev", CONTROL_BRIDGE, "up"],
    ] {
        let cmd = Cmd::new("ip").args(args.iter().copied());
        host.check(STEP, cmd).await?;
    }
    Ok(())
}
