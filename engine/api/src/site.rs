//! What a worker is told about the machines that a testbed has given it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Interface, Name, RemotePath};
use crate::sample::NodeRole;

/// How to reach a node over SSH. Host keys are known beforehand: there is no trust on first use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshTarget {
    /// A node whose keys were made with it.
    Keyed(KeyedTarget),
    /// A node that ssh finds, and logs in to, as a configuration file says.
    Configured(ConfiguredTarget),
}

impl SshTarget {
    /// Address on the control network, where it is known to other nodes too.
    pub fn control(&self) -> Option<IpAddr> {
        match self {
            Self::Keyed(target) => Some(target.address),
            Self::Configured(target) => target.control,
        }
    }
}

impl From<KeyedTarget> for SshTarget {
    fn from(target: KeyedTarget) -> Self {
        Self::Keyed(target)
    }
}

impl From<ConfiguredTarget> for SshTarget {
    fn from(target: ConfiguredTarget) -> Self {
        Self::Configured(target)
    }
}

/// A node that is reached by a key, and by nothing that the user's configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedTarget {
    /// Address on the control network.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// User.
    pub user: Name,
    /// Private key file, as the worker sees it.
    pub identity: PathBuf,
    /// File with exactly the keys that are accepted.
    pub known_hosts: PathBuf,
}

/// A node that is reached as ssh_config(5) says: users, ports, keys, agents, jump hosts and known
/// hosts all stand in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredTarget {
    /// What ssh is asked for.
    pub host: HostName,
    /// The file that ssh reads (`ssh -F`). It must be strict about host keys, and must not ask.
    pub config: PathBuf,
    /// Address on the control network that other nodes reach it by, if there is one.
    #[serde(default)]
    pub control: Option<IpAddr>,
    /// Whether programs are run by way of `sudo --non-interactive`.
    #[serde(default)]
    pub sudo: bool,
    /// Programs by name that are found elsewhere on this node.
    #[serde(default)]
    pub tools: BTreeMap<String, RemotePath>,
}

/// A node that is up, or a guest that will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Name, unique in the site: `host`, `vm1`, `peer1`.
    pub name: Name,
    /// Where it stands.
    pub role: NodeRole,
    /// How to reach it.
    pub ssh: SshTarget,
    /// Addresses on data network 0, 1, … in order; for the host those that it has when it is
    /// itself an end host.
    pub data: Vec<DataAddress>,
}

/// An address on a data network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length of its network.
    pub prefix: u8,
}

/// A network interface that a guest is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNic {
    /// MAC address, `52:54:00:…`.
    pub mac: String,
    /// Bridge on the host that it is joined to.
    pub bridge: Interface,
}

/// A guest that the worker may boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSlot {
    /// Name, addresses and keys that it will have.
    pub node: NodeInfo,
    /// NICs: control first, then data network 0, 1, …
    pub nics: Vec<GuestNic>,
    /// A newc cpio archive with the guest's identity, appended to its initramfs; a file that the
    /// worker can read.
    pub seed: PathBuf,
    /// What it boots from, on its host.
    #[serde(default)]
    pub files: GuestFiles,
}

/// Where a host has the parts of the guest image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFiles {
    /// Kernel.
    pub kernel: RemotePath,
    /// Initramfs, an uncompressed cpio archive whose length is a multiple of 512 bytes.
    pub initramfs: RemotePath,
    /// Block device with the root, a squashfs.
    pub root: RemotePath,
}

impl Default for GuestFiles {
    /// Where vexp's own host images have them: the guest image is the machine's second disk, and
    /// mounted.
    fn default() -> Self {
        let path = |text: &str| RemotePath(text.to_owned());
        Self {
            kernel: path("/srv/guest/boot/vmlinuz"),
            initramfs: path("/srv/guest/boot/initramfs.img"),
            root: path("/dev/vdb"),
        }
    }
}

/// The machines of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The machine under test.
    pub host: NodeInfo,
    /// Interfaces of the host that carry data networks 0, 1, …
    pub host_nics: Vec<Interface>,
    /// Guests that may be booted on it.
    pub guests: Vec<GuestSlot>,
    /// Traffic peers by data network: `peers[0]` sit on network 0.
    pub peers: Vec<Vec<NodeInfo>>,
    /// Guests that run already, the first of `guests`: the machine was restored with them.
    #[serde(default)]
    pub running: u32,
    /// Whether the machine was restored from a snapshot: its clock and its random numbers are
    /// those of the time when it was kept.
    #[serde(default)]
    pub restored: bool,
    /// Whether the machine and its guests end with the lease: then nobody needs to stop them.
    #[serde(default)]
    pub disposable: bool,
    /// The process that is the machine, as the worker sees it: where that is stopped, so is the machine.
    /// `None` for a machine that is no process, or whose time does not pass meanwhile.
    #[serde(default)]
    pub emulator: Option<u32>,
    /// Interfaces of the testbed's links by what they are, as the worker sees them: what it can
    /// look at between the machine and its peers. Empty where it can't.
    #[serde(default)]
    pub links: BTreeMap<String, Name>,
    /// A private folder for sockets, as the worker sees it; it lives as long as the lease.
    pub scratch: PathBuf,
    /// What was used and seen, for the record: accelerator, emulator version …
    pub facts: BTreeMap<String, String>,
}
