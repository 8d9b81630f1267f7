//! The nodes of a lab: who they are and what they are told.

use std::path::{Path, PathBuf};

use vexp_api::ids::{Interface, Name};
use vexp_api::plan::Machine;
use vexp_api::sample::NodeRole;
use vexp_api::site::{GuestFiles, GuestNic, GuestSlot, KeyedTarget, NodeInfo};

use super::address::{Who, cidr, control_cidr};
use super::keys::{KeyPair, Keys};
use super::run::LabError;
use super::seed::{Identity, NetLine};

/// Bridge that the machine's control NIC is joined to, for guests.
const CONTROL_BRIDGE: &str = "ctlbr";

/// Numbers of a machine's data networks.
pub(in crate::testbed) fn data_networks(machine: &Machine) -> impl Iterator<Item = u8> + use<> {
    (0..=u8::MAX).take(machine.nics.len())
}

/// A name that is known to be one.
pub(in crate::testbed) fn name(text: &str) -> Result<Name, LabError> {
    Name::new(text).map_err(|e| LabError::new("name the lab's nodes", e.to_string()))
}

/// An interface's name that is known to be one.
pub(in crate::testbed) fn interface(text: &str) -> Result<Interface, LabError> {
    Interface::new(text).map_err(|e| LabError::new("name the lab's interfaces", e.to_string()))
}

/// Who is who in a lab.
pub(in crate::testbed) struct Nodes<'a> {
    pub(in crate::testbed) machine: &'a Machine,
    pub(in crate::testbed) lab: &'a Path,
    pub(in crate::testbed) keys: &'a Keys,
    /// The key of all peers: they are one computer, and end with the lab.
    pub(in crate::testbed) peer_key: &'a KeyPair,
    /// Features of the data NICs of the machine and its guests that they switch off, as ethtool(8) names them.
    pub(in crate::testbed) features_off: &'a [&'a str],
}

impl Nodes<'_> {
    /// Writes what SSH clients need: the key that logs in, and the keys that answer.
    pub(in crate::testbed) fn write_keys(&self, peers: u32) -> Result<(), LabError> {
        self.keys.client.write(&self.client_file())?;
        let mut known = self.keys.host.known_host(Who::Host.control());
        for (n, key) in (0..).zip(&self.keys.guests) {
            known.push_str(&key.known_host(Who::Guest(n).control()));
        }
        for n in 0..peers {
            known.push_str(&self.peer_key.known_host(Who::Peer(n).control()));
        }
        let written = std::fs::write(self.known_hosts(), known);
        written.map_err(LabError::io("write known_hosts"))
    }

    fn client_file(&self) -> PathBuf {
        self.lab.join("keys/client")
    }

    fn known_hosts(&self) -> PathBuf {
        self.lab.join("keys/known_hosts")
    }

    fn info(
        &self,
        who: Who,
        node: &str,
        role: NodeRole,
        networks: impl Iterator<Item = u8>,
    ) -> Result<NodeInfo, LabError> {
        Ok(NodeInfo {
            name: name(node)?,
            role,
            ssh: KeyedTarget {
                address: who.control(),
                port: 22,
                user: name("root")?,
                identity: self.client_file(),
                known_hosts: self.known_hosts(),
            }
            .into(),
            data: networks.map(|net| who.data(net)).collect(),
        })
    }

    fn identity<'k>(&'k self, node: &'k str, net: &'k [NetLine], key: &'k KeyPair) -> Identity<'k> {
        Identity {
            hostname: node,
            net,
            host_key: &key.private,
            host_key_public: &key.public,
            authorized: &self.keys.client.public,
            features_off: self.features_off,
        }
    }

    /// The machine, and its seed. Its data NICs get no address: the hypervisor plugin gives them
    /// one, or a bridge.
    pub(in crate::testbed) fn host(&self) -> Result<(NodeInfo, Vec<u8>), LabError> {
        let networks = data_networks(self.machine);
        let info = self.info(Who::Host, "host", NodeRole::Host, networks)?;
        let net = self.host_net();
        let seed = self.identity("host", &net, &self.keys.host).cpio();
        Ok((info, seed))
    }

    /// Files of the machine's seed and what is in them.
    pub(in crate::testbed) fn host_files(&self) -> Vec<(&'static str, String)> {
        let net = self.host_net();
        self.identity("host", &net, &self.keys.host).files()
    }

    fn host_net(&self) -> Vec<NetLine> {
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
        net
    }

    /// All guests that the machine may have; writes their seeds.
    pub(in crate::testbed) fn guests(&self) -> Result<Vec<GuestSlot>, LabError> {
        (0..)
            .zip(&self.keys.guests)
            .map(|(n, key)| self.guest(n, key))
            .collect()
    }

    fn guest(&self, n: u32, key: &KeyPair) -> Result<GuestSlot, LabError> {
        let (who, node) = (Who::Guest(n), format!("vm{}", n + 1));
        let networks = data_networks(self.machine);
        let info = self.info(who, &node, NodeRole::Guest, networks)?;
        let mut net = vec![NetLine {
            mac: who.control_mac(),
            interface: "ctl0".to_owned(),
            cidr: Some(control_cidr(who)),
            bridge: None,
        }];
        let mut nics = vec![GuestNic {
            mac: who.control_mac(),
            bridge: interface(CONTROL_BRIDGE)?,
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
                bridge: interface(&format!("br-data{i}"))?,
            });
        }
        let seed = self.lab.join(format!("{node}.seed.cpio"));
        std::fs::write(&seed, self.identity(&node, &net, key).cpio())
            .map_err(LabError::io("write a guest's seed"))?;
        Ok(GuestSlot {
            node: info,
            nics,
            seed,
            files: GuestFiles::default(),
        })
    }

    /// A peer, on its one data network.
    pub(in crate::testbed) fn peer(&self, n: u32, net: Option<u8>) -> Result<NodeInfo, LabError> {
        let (who, node) = (Who::Peer(n), format!("peer{}", n + 1));
        self.info(who, &node, NodeRole::Peer, net.into_iter())
    }

    /// What a peer is told.
    pub(in crate::testbed) fn peer_identity<'k>(&'k self, info: &'k NodeInfo) -> Identity<'k> {
        self.identity(info.name.as_str(), &[], self.peer_key)
    }
}
