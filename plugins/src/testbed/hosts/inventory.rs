//! The inventory: a study's options for this testbed, parsed into what can't be taken for anything
//! else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use vexp_api::ids::{HostName, Interface, Name, RemotePath};
use vexp_api::plan::Machine;
use vexp_api::plugin::PluginError;
use vexp_api::site::DataAddress;
use vexp_api::spec::Options;

use super::allocation::Allocation;
use super::own::{Own, OwnMachine};
use crate::options;

/// The whole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inventory {
    #[serde(rename = "inventory")]
    pub(super) machines: BTreeMap<Name, Entry>,
    /// Machines that a batch engine lends.
    #[serde(default)]
    pub(super) allocation: Option<Allocation>,
    #[serde(default)]
    pub(super) guests: Guests,
    /// The user's, not the study's.
    #[serde(skip)]
    pub(super) ssh_config: Option<LocalPath>,
    #[serde(default)]
    pub(super) allow: Vec<Allow>,
}

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) role: EntryRole,
    #[serde(default)]
    ssh: Option<HostName>,
    /// Which node of the allocation it is, from 0.
    #[serde(default)]
    node: Option<u32>,
    #[serde(default)]
    pub(super) user: Option<User>,
    #[serde(default)]
    pub(super) port: Option<std::num::NonZeroU16>,
    #[serde(default)]
    pub(super) jump: Vec<Jump>,
    #[serde(default)]
    pub(super) control: Option<IpAddr>,
    /// In the networks' order.
    pub(super) data: Vec<DataNic>,
    #[serde(default)]
    platforms: Option<Vec<Name>>,
    /// What the user says of it, not the study.
    #[serde(skip)]
    pub(super) own: OwnMachine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EntryRole {
    Host,
    Peer,
}

/// A NIC on a data network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataNic {
    pub(super) nic: Interface,
    pub(super) address: Cidr,
    #[serde(default)]
    pub(super) network: u32,
}

/// Addresses of guests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Guests {
    #[serde(default)]
    control: Option<Cidr>,
    #[serde(default)]
    pub(super) data: Vec<Ipv4Addr>,
}

/// A deviation that the study lets be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    pub(super) what: String,
    pub(super) reason: String,
}

/// An address and its network's prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cidr(pub(super) DataAddress);

/// A path on this machine, which a configuration file of ssh may name: absolute or below `~`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct LocalPath(String);

/// A user's name on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct User(String);

/// `[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Jump(String);

/// What is wrong with a text of the inventory.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not {what}", .text.escape_debug())]
pub(super) struct BadText {
    text: String,
    what: &'static str,
}

impl TryFrom<String> for Cidr {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            (1..=32).contains(&prefix).then_some(DataAddress {
                address: address.into(),
                prefix,
            })
        });
        let what = "an IPv4 address and a prefix length, such as 198.18.0.1/24";
        parsed.map(Self).ok_or(BadText { text, what })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0.address, self.0.prefix)
    }
}

impl TryFrom<String> for LocalPath {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        let below = text.strip_prefix('~').unwrap_or(&text);
        match RemotePath::new(below) {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(BadText {
                text,
                what: "an absolute path, or one that begins with ~/",
            }),
        }
    }
}

impl LocalPath {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text can be a user's name: one of the machine (useradd(8)), or one of a directory service
/// (sssd.conf(5): `jo@corp.example`, `CORP\jo`). It has nothing that means something to a shell or in
/// ssh_config(5), where a backslash stands for itself before a letter or a digit.
fn is_user(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let (domain, name) = text.split_once('\\').unwrap_or(("", text));
    let word = |part: &str| {
        part.bytes().next().is_some_and(first)
            && part.bytes().all(|b| first(b) || b".-+@".contains(&b))
    };
    text.len() <= 256 && word(name) && (!text.contains('\\') || word(domain))
}

impl TryFrom<String> for User {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        let what = "a user's name";
        if is_user(&text) {
            Ok(Self(text))
        } else {
            Err(BadText { text, what })
        }
    }
}

impl User {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Jump {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        // As ssh does: a user's name may have an @ of its own.
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text.as_str()),
        };
        let port_is_good = |port: &str| port.parse::<std::num::NonZeroU16>().is_ok();
        let host_is_good = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                let port = port.strip_prefix(':').map_or(port.is_empty(), port_is_good);
                port && address.parse::<std::net::Ipv6Addr>().is_ok()
            }
            None => {
                let (host, port) = rest.split_once(':').unwrap_or((rest, "22"));
                HostName::new(host).is_ok() && port_is_good(port)
            }
        };
        // A name on a jump host goes through a shell on its way.
        let user_is_good = |user: &str| is_user(user) && !user.contains('\\');
        let good = user.is_none_or(user_is_good) && host_is_good;
        let what = "a jump host: [user@]host[:port], an IPv6 address in [ ]";
        if good {
            Ok(Self(text))
        } else {
            Err(BadText { text, what })
        }
    }
}

impl Jump {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Entry {
    /// What ssh is asked for.
    pub(super) fn host(&self, name: &Name) -> Result<HostName, PluginError> {
        match (&self.ssh, self.node) {
            (Some(host), _) => Ok(host.clone()),
            (None, Some(node)) => Err(wrong(format!(
                "machine {name} is node {node} of an allocation, which this run does not have"
            ))),
            (None, None) => {
                HostName::new(name.as_str()).map_err(|e| wrong(format!("machine {name}: {e}")))
            }
        }
    }

    /// Whether it is a node of an allocation, and not known which.
    pub(super) fn is_nameless(&self) -> bool {
        self.ssh.is_none() && self.node.is_some()
    }

    fn serves(&self, platform: &Name) -> bool {
        let all = self.platforms.as_ref();
        self.role == EntryRole::Host && all.is_none_or(|all| all.contains(platform))
    }
}

/// An error of the inventory as a whole.
pub(super) fn wrong(message: impl Into<String>) -> PluginError {
    PluginError::new("read the inventory", "controller", message)
}

/// The control network of guests where the inventory names none: of RFC 2544's range for
/// benchmarks, as labs' are, but not theirs.
const GUEST_CONTROL: &str = "198.19.254.0/24";

impl Inventory {
    /// Reads a testbed's options, and takes what only the user may say from their own file.
    pub(super) fn read(options: &Options, own: &Own) -> Result<Self, PluginError> {
        let mut inventory: Self = options::read(options).map_err(|error| PluginError {
            source: Some(Box::new(error)),
            ..wrong("the options of testbed hosts can't be read")
        })?;
        inventory.ssh_config.clone_from(&own.ssh_config);
        inventory.allocation = inventory
            .allocation
            .map(|allocation| allocation.of_user(&own.allocation));
        inventory.check_nodes()?;
        for (name, entry) in &mut inventory.machines {
            entry.data.sort_by_key(|data| data.network);
            if entry.node.is_none() {
                entry.own = own.of(&entry.host(name)?);
            }
        }
        inventory.check()?;
        Ok(inventory)
    }

    /// With the names of the allocation's nodes.
    pub(super) fn on(mut self, hosts: &[HostName], own: &Own) -> Result<Self, PluginError> {
        for (name, entry) in &mut self.machines {
            let Some(node) = entry.node else { continue };
            let host = hosts.get(node as usize).ok_or_else(|| {
                let have = hosts.len();
                wrong(format!(
                    "{name} is node {node}, and the allocation has {have}"
                ))
            })?;
            entry.own = own.of_node(host);
            entry.ssh = Some(host.clone());
        }
        self.check()?;
        Ok(self)
    }

    /// Holds the allocation and the nodes of it against each other.
    fn check_nodes(&self) -> Result<(), PluginError> {
        if let Some(allocation) = &self.allocation {
            allocation.check().map_err(wrong)?;
        }
        let most = self.allocation.as_ref().map_or(0, |all| all.nodes);
        let mut nodes = BTreeSet::new();
        for (name, entry) in &self.machines {
            let Some(node) = entry.node else { continue };
            if entry.ssh.is_some() {
                return Err(wrong(format!(
                    "{name}: `node` and `ssh` exclude each other"
                )));
            }
            if self.allocation.is_none() {
                return Err(wrong(format!(
                    "{name} is a node, and there is no `allocation`"
                )));
            }
            if node >= most {
                return Err(wrong(format!(
                    "{name} is node {node}: the allocation has nodes 0 to {}",
                    most.saturating_sub(1)
                )));
            }
            if !nodes.insert(node) {
                return Err(wrong(format!("two machines are node {node}")));
            }
        }
        if self.allocation.is_some() && nodes.is_empty() {
            return Err(wrong("no machine is a `node` of the allocation"));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), PluginError> {
        let (mut hosts, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (name, entry) in &self.machines {
            if !entry.is_nameless() {
                let host = entry.host(name)?;
                if !hosts.insert(host.clone()) {
                    return Err(wrong(format!("two machines are reached as {host}")));
                }
            }
            let mut nics = BTreeSet::new();
            for data in &entry.data {
                let address = data.address.0.address;
                if !addresses.insert(address) {
                    return Err(wrong(format!("two machines have the address {address}")));
                }
                if !nics.insert(&data.nic) {
                    return Err(wrong(format!("{name} has {} twice", data.nic)));
                }
            }
            let networks: Vec<u32> = entry.data.iter().map(|data| data.network).collect();
            let fits = match entry.role {
                EntryRole::Host => (0..).zip(&networks).all(|(n, network)| n == *network),
                EntryRole::Peer => networks.len() == 1,
            };
            if !fits || networks.is_empty() {
                return Err(wrong(format!(
                    "{name}: a host has a NIC on each of data networks 0, 1, …, a peer has one"
                )));
            }
        }
        Ok(())
    }

    /// The machine under test for a platform: the first one by name.
    pub(super) fn host_for(&self, machine: &Machine) -> Result<(&Name, &Entry), PluginError> {
        let platform = &machine.platform;
        let found = self
            .machines
            .iter()
            .find(|(_, entry)| entry.serves(platform) && entry.data.len() >= machine.nics.len());
        found.ok_or_else(|| {
            let nics = machine.nics.len();
            wrong(format!(
                "no machine with the role host is there for platform {platform} with {nics} data NICs"
            ))
        })
    }

    /// The first peers by name on each of the machine's data networks.
    pub(super) fn peers_for(
        &self,
        machine: &Machine,
    ) -> Result<Vec<Vec<(&Name, &Entry)>>, PluginError> {
        let networks = u32::try_from(machine.nics.len()).unwrap_or(u32::MAX);
        (0..networks)
            .map(|network| {
                let peers: Vec<_> = (self.machines.iter())
                    .filter(|(_, entry)| entry.role == EntryRole::Peer)
                    .filter(|(_, entry)| entry.data.iter().any(|data| data.network == network))
                    .take(machine.peers as usize)
                    .collect();
                let (have, need) = (peers.len(), machine.peers);
                if have == need as usize {
                    return Ok(peers);
                }
                Err(wrong(format!(
                    "{} needs {need} peers on data network {network}, the inventory has {have}: each \
                     flow has a peer of its own",
                    machine.platform
                )))
            })
            .collect()
    }

    /// Address of a host on the network that it and its guests have to themselves.
    pub(super) fn guest_control(&self, guest: Option<u32>) -> Result<DataAddress, PluginError> {
        let network = match self.guests.control {
            Some(network) => network,
            None => Cidr::try_from(GUEST_CONTROL.to_owned()).map_err(|e| wrong(e.to_string()))?,
        };
        let DataAddress { address, prefix } = network.0;
        let IpAddr::V4(address) = address else {
            return Err(wrong("guests.control is not an IPv4 network"));
        };
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let last = guest.map_or(1, |guest| 10 + guest);
        if last >= !mask {
            return Err(wrong(format!(
                "guests.control has no place for guest {last}"
            )));
        }
        let address = Ipv4Addr::from((u32::from(address) & mask) | last).into();
        Ok(DataAddress { address, prefix })
    }

    /// Address of a guest, from 0, on a data network of its host.
    pub(super) fn guest_data(
        &self,
        host: &Entry,
        network: u32,
        guest: u32,
    ) -> Result<DataAddress, PluginError> {
        let first = self.guests.data.get(network as usize).ok_or_else(|| {
            wrong(format!(
                "guests.data has no address for data network {network}"
            ))
        })?;
        let nic = host.data.iter().find(|data| data.network == network);
        let prefix = nic.map_or(24, |nic| nic.address.0.prefix);
        let address = Ipv4Addr::from(u32::from(*first).saturating_add(guest));
        let taken = (self.machines.iter()).find(|(_, entry)| {
            entry
                .data
                .iter()
                .any(|data| data.address.0.address == address)
        });
        match taken {
            Some((name, _)) => Err(wrong(format!(
                "guest {} would have {address}, which is {name}'s",
                guest + 1
            ))),
            None => Ok(DataAddress {
                address: address.into(),
                prefix,
            }),
        }
    }

    /// Why a property may differ, if it may.
    pub(super) fn allows(&self, what: &str) -> Option<&str> {
        let found = self.allow.iter().find(|allow| allow.what == what);
        found.map(|allow| allow.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<Inventory, String> {
        let Value::Object(options) = value else {
            unreachable!("an object")
        };
        Inventory::read(&options, &Own::default()).map_err(|error| {
            let source = error.source.as_ref().map(|e| {
                format!(
                    "{e}: {}",
                    e.source().map(ToString::to_string).unwrap_or_default()
                )
            });
            format!("{error} {}", source.unwrap_or_default())
        })
    }

    fn rack(field: &str, value: Value) -> Value {
        let mut rack = json!({
            "role": "host", "ssh": "rack1.lab",
            "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
        });
        rack[field] = value;
        json!({"inventory": {"rack1": rack}})
    }

    #[test]
    fn what_ssh_or_a_shell_could_take_for_something_else_is_refused() {
        for good in [
            "lab_1",
            "jo@corp.example",
            "CORP\\jo",
            "2nd.user",
            "svc+vexp",
        ] {
            assert!(read(rack("user", json!(good))).is_ok(), "{good}");
        }
        for good in [
            "bastion",
            "jo@corp.example@bastion:2222",
            "root@[2001:db8::1]:22",
            "[fe80::1]",
        ] {
            assert!(read(rack("jump", json!([good]))).is_ok(), "{good}");
        }
        for good in ["enX0", "enP2p1s0f0", "enp3s0f0.1001", "eth0_1"] {
            let nic = json!([{"nic": good, "address": "198.18.0.1/24"}]);
            assert!(read(rack("data", nic)).is_ok(), "{good}");
        }
        let hostile = [
            ("ssh", json!("-oProxyCommand=id")),
            ("ssh", json!("a b")),
            ("ssh", json!("a\u{0}")),
            ("user", json!("-l")),
            ("user", json!("root x")),
            ("user", json!("$(id)")),
            ("port", json!(0)),
            ("port", json!(65536)),
            ("jump", json!(["-oX@h"])),
            ("jump", json!(["a,b"])),
            ("jump", json!(["host:0"])),
            ("jump", json!(["2001:db8::1"])),
            ("jump", json!(["[host]:22"])),
            ("jump", json!(["[::1]x"])),
            ("jump", json!(["CORP\\jo@host"])),
            ("user", json!("CORP\\")),
            ("user", json!("\\jo")),
            ("user", json!("a\\b\\c")),
            ("user", json!("jo@corp`id`")),
            ("data", json!([{"nic": "-x", "address": "198.18.0.1/24"}])),
            (
                "data",
                json!([{"nic": "a234567890123456", "address": "198.18.0.1/24"}]),
            ),
            ("control", json!("here")),
            ("data", json!([{"nic": "../x", "address": "198.18.0.1/24"}])),
            ("data", json!([{"nic": "eth1", "address": "198.18.0.1"}])),
            ("data", json!([{"nic": "eth1", "address": "198.18.0.1/33"}])),
            ("data", json!([])),
            (
                "data",
                json!([{"nic": "eth1", "address": "198.18.0.1/24", "network": 1}]),
            ),
            ("misspelt", json!(1)),
        ];
        for (field, value) in hostile {
            let error = read(rack(field, value.clone()));
            assert!(error.is_err(), "{field} {value}");
        }
        let error = read(rack("user", json!("-l"))).unwrap_err();
        assert!(
            error.contains("inventory.rack1.user") && error.contains("`-l` is not a user's name"),
            "{error}"
        );
    }

    fn two_nodes() -> Value {
        let machine = |role: &str, node: u32| {
            let data = json!([{"nic": "eth1", "address": format!("198.18.0.{}/24", node + 1)}]);
            json!({"role": role, "node": node, "data": data})
        };
        json!({
            "inventory": {"rack1": machine("host", 0), "gen1": machine("peer", 1)},
            "allocation": {"engine": "slurm", "nodes": 2, "time": "2h"},
        })
    }

    #[test]
    fn machines_of_an_allocation_get_its_names() {
        let own = Own::parse(
            r#"{"machines": {"n1": {"identity": "/k"}}, "nodes": {"sudo": true}, "allocation": {"account": "mine"}}"#,
        );
        let own = own.unwrap();
        let mut options = two_nodes();
        options["allocation"]["account"] = json!("theirs");
        let inventory = Inventory::read(options.as_object().unwrap(), &own).unwrap();
        let allocation = serde_json::to_value(inventory.allocation.as_ref().unwrap()).unwrap();
        assert_eq!(allocation["account"], "mine", "the user's word goes first");
        assert!(inventory.machines.values().all(Entry::is_nameless));
        let folder = std::path::Path::new("/f");
        let error = super::super::config::text(&inventory, &[], folder, None).unwrap_err();
        assert!(error.to_string().contains("which this run does not have"));
        let hosts = ["n1", "n2"].map(|name| HostName::new(name).unwrap());
        let named = inventory.clone().on(&hosts, &own).unwrap();
        let host = |name: &str| {
            let (name, entry) = named.machines.get_key_value(name).unwrap();
            (entry.host(name).unwrap().to_string(), entry.own.sudo)
        };
        assert_eq!(host("rack1"), ("n1".to_owned(), false));
        assert_eq!(host("gen1"), ("n2".to_owned(), true));
        assert!(inventory.on(&hosts[..1], &own).is_err());
    }

    #[test]
    fn allocations_that_make_no_sense_are_refused() {
        let all: [(&str, Value, &str); 15] = [
            ("/inventory/rack1/ssh", json!("n7"), "exclude each other"),
            ("/inventory/rack1/node", json!(2), "nodes 0 to 1"),
            ("/inventory/rack1/node", json!(1), "two machines are node 1"),
            ("/allocation", Value::Null, "there is no `allocation`"),
            ("/allocation/nodes", json!(0), "allocation.nodes"),
            ("/allocation/time", json!("0s"), "allocation.time"),
            ("/allocation/time", json!("2"), "allocation.time"),
            ("/allocation/engine", json!("lsf"), "allocation.engine"),
            ("/allocation/queue", json!("short"), "Slurm has none"),
            ("/allocation/types", json!(["deploy"]), "Slurm has none"),
            ("/allocation/partition", json!("--wrap=id"), "is not a name"),
            ("/allocation/account", json!("a b"), "is not a name"),
            ("/allocation/constraint", json!("a;b"), "is not features"),
            ("/allocation/command", json!("id"), "allocation.command"),
            (
                "/allocation/properties",
                json!({"x": "1' OR '1"}),
                "is not a name",
            ),
        ];
        for (field, value, words) in all {
            let mut options = two_nodes();
            let (parent, last) = field.rsplit_once('/').unwrap();
            options.pointer_mut(parent).unwrap()[last] = value;
            let error = read(options).unwrap_err();
            assert!(error.contains(words), "{field}: {error}");
        }
        let mut oar = two_nodes();
        oar["allocation"]["engine"] = json!("oar");
        assert!(read(oar.clone()).is_ok());
        oar["allocation"]["partition"] = json!("main");
        assert!(read(oar).unwrap_err().contains("OAR has none"));
        let mut unused = rack("port", json!(22));
        unused["allocation"] = two_nodes()["allocation"].clone();
        assert!(read(unused).unwrap_err().contains("no machine is a `node`"));
    }

    #[test]
    fn a_study_names_no_file_or_program_of_the_controller() {
        for (field, value) in [
            ("identity", json!("/home/me/.ssh/id_ed25519")),
            ("known_hosts", json!("/proc/self/cwd/known")),
            ("sudo", json!(true)),
            ("tools", json!({"iperf3": "/tmp/iperf3"})),
        ] {
            assert!(read(rack(field, value)).unwrap_err().contains(field));
        }
        let mut value = rack("port", json!(22));
        value["ssh_config"] = json!("/proc/self/cwd/ssh.conf");
        assert!(read(value).unwrap_err().contains("ssh_config"));
    }

    #[test]
    fn paths_of_the_users_file_mean_nothing_else() {
        for bad in ["relative", "/a\"b", "/%h", "/a\nProxyCommand id", "~root/x"] {
            assert!(LocalPath::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for good in ["~/.ssh/config", "/home/me/.ssh/id_ed25519"] {
            assert!(LocalPath::try_from(good.to_owned()).is_ok(), "{good}");
        }
    }

    #[test]
    fn guests_have_addresses_that_nobody_has() {
        let mut value = rack("port", json!(22));
        value["guests"] = json!({"data": ["198.18.0.10"]});
        let inventory = read(value.clone()).unwrap();
        let host = &inventory.machines["rack1"];
        let of = |guest| {
            inventory
                .guest_data(host, 0, guest)
                .map(|data| data.address.to_string())
        };
        assert_eq!(of(0).unwrap(), "198.18.0.10");
        assert_eq!(of(7).unwrap(), "198.18.0.17");
        assert!(inventory.guest_data(host, 1, 0).is_err());
        assert_eq!(
            inventory.guest_control(None).unwrap().address.to_string(),
            "198.19.254.1"
        );
        assert_eq!(
            inventory
                .guest_control(Some(0))
                .unwrap()
                .address
                .to_string(),
            "198.19.254.10"
        );
        assert!(inventory.guest_control(Some(250)).is_err());
        value["guests"] = json!({"data": ["198.18.0.0"]});
        let inventory = read(value).unwrap();
        let error = inventory
            .guest_data(&inventory.machines["rack1"], 0, 1)
            .unwrap_err();
        assert!(error.to_string().contains("which is rack1's"), "{error}");
    }

    #[test]
    fn changed_inventories_are_read_or_refused() {
        use proptest::prelude::*;
        let whole = json!({
            "inventory": {
                "rack1": {
                    "role": "host", "ssh": "rack1.lab", "user": "root", "port": 22,
                    "jump": ["root@bastion:22"], "control": "10.0.0.1",
                    "platforms": ["xen"],
                    "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
                },
                "gen1": {"role": "peer", "data": [{"nic": "eth1", "address": "198.18.0.2/24"}]},
            },
            "guests": {"data": ["198.18.0.10"]},
            "allow": [{"what": "clock", "reason": "none of our machines has one"}],
        });
        assert!(
            read(whole.clone()).is_ok(),
            "{:?}",
            read(whole.clone()).err()
        );
        let cases = vexp_testkit::cases(400);
        proptest!(cases, |(changed in vexp_testkit::hostile::changed_json(&whole))| {
            if changed.is_object() && let Ok(inventory) = read(changed) {
                let text = super::super::config::text(&inventory, &[], std::path::Path::new("/f"), None);
                let text = text.unwrap();
                for hostile in ["ProxyCommand", "$(", "`", "\0", "--help"] {
                    prop_assert!(!text.contains(hostile), "{}", text);
                }
            }
        });
    }
}
