//! Interfaces, addresses and bridges of a host, by way of `ip`.

use std::collections::BTreeMap;

use serde::Deserialize;
use vexp_api::digest::Digest;
use vexp_api::ids;
use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;
use vexp_api::site::DataAddress;

/// What `ip -json address show` says of an interface.
#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    /// Name.
    pub ifname: String,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Clone, Debug, Deserialize)]
struct Address {
    local: Option<String>,
    prefixlen: Option<u8>,
}

impl Interface {
    fn has(&self, address: &DataAddress) -> bool {
        self.addr_info.iter().any(|seen| {
            seen.prefixlen == Some(address.prefix)
                && seen.local.as_deref().and_then(|text| text.parse().ok()) == Some(address.address)
        })
    }

    fn up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }
}

/// All interfaces of `host`.
pub async fn interfaces(host: &Node, step: &str) -> Result<Vec<Interface>, PluginError> {
    let output = host
        .shell
        .check(Cmd::new("ip").args(["-json", "address", "show"]))
        .await
        .map_err(|error| PluginError::shell(step, &host.name, error))?;
    serde_json::from_slice(&output.stdout).map_err(|error| PluginError {
        source: Some(Box::new(error)),
        ..PluginError::new(
            step,
            host.name.as_str(),
            "can't read what `ip -json` printed",
        )
    })
}

/// The interface `name` of `all`.
fn find<'a>(
    all: &'a [Interface],
    name: &str,
    host: &Node,
    step: &str,
) -> Result<&'a Interface, PluginError> {
    all.iter().find(|one| one.ifname == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| one.ifname.as_str()).collect();
        let message = format!("no interface {name}; there are {}", names.join(", "));
        PluginError::new(step, host.name.as_str(), message)
    })
}

async fn ip(host: &Node, step: &str, args: &[&str]) -> Result<(), PluginError> {
    host.shell
        .check(Cmd::new("ip").args(args.iter().copied()))
        .await
        .map(drop)
        .map_err(|error| PluginError::shell(step, &host.name, error))
}

/// Gives the host its own address on each data network, on the NIC itself or on the bridge that
/// the NIC is a port of, and reads everything back. Returns `data_nic.N` for the record.
pub async fn address_host(
    host: &Node,
    host_nics: &[ids::Interface],
) -> Result<BTreeMap<String, String>, PluginError> {
    let step = "set up data addresses";
    let before = interfaces(host, step).await?;
    let mut changed = false;
    for (nic, address) in host_nics.iter().zip(&host.data) {
        let own = find(&before, nic.as_str(), host, step)?;
        let at = match &own.master {
            Some(bridge) => find(&before, bridge, host, step)?,
            None => own,
        };
        if !own.up() {
            ip(host, step, &["link", "set", "dev", nic.as_str(), "up"]).await?;
            changed = true;
        }
        if !at.has(address) {
            let cidr = format!("{}/{}", address.address, address.prefix);
            ip(host, step, &["address", "add", &cidr, "dev", &at.ifname]).await?;
            changed = true;
        }
    }
    let after = if changed {
        interfaces(host, step).await?
    } else {
        before
    };
    let mut facts = BTreeMap::new();
    for (index, (nic, address)) in host_nics.iter().zip(&host.data).enumerate() {
        let own = find(&after, nic.as_str(), host, step)?;
        let at = match &own.master {
            Some(bridge) => find(&after, bridge, host, step)?,
            None => own,
        };
        let cidr = format!("{}/{}", address.address, address.prefix);
        if !(own.up() && at.has(address)) {
            let message = format!("{} is not up with {cidr} after it was set up", at.ifname);
            return Err(PluginError::new(step, host.name.as_str(), message));
        }
        facts.insert(format!("data_nic.{index}"), format!("{} {cidr}", at.ifname));
    }
    Ok(facts)
}

/// The bridge that a data NIC without one is joined to. An interface's name has at most 15
/// characters: what is too long for `br-NIC` is cut, and told from others by a digest of all of it.
pub fn default_bridge(nic: &ids::Interface) -> String {
    let nic = nic.as_str();
    if nic.len() <= 12 {
        return format!("br-{nic}");
    }
    let digest = Digest::of(nic.as_bytes());
    format!("br-{}-{}", &nic[..4], &digest.hex()[..7])
}

/// Refuses two data networks in one bridge: packets would take whichever way they like.
fn apart(
    host: &Node,
    step: &str,
    bridges: &[(&ids::Interface, String)],
) -> Result<(), PluginError> {
    let mut seen: BTreeMap<&str, &ids::Interface> = BTreeMap::new();
    for (nic, bridge) in bridges {
        if let Some(other) = seen.insert(bridge, nic) {
            let message = format!(
                "{other} and {nic} are on two data networks and in one bridge, {bridge}: take one of \
                 them out of it (`ip link set dev {nic} nomaster`)"
            );
            return Err(PluginError::new(step, host.name.as_str(), message));
        }
    }
    Ok(())
}

/// Makes sure that each data NIC is a port of a bridge and reads it back: a NIC that the machine's
/// own set-up has joined to a bridge is left there, any other is joined to `br-NIC`. Returns
/// `data_bridge.N` for the record.
pub async fn bridge_nics(
    host: &Node,
    host_nics: &[ids::Interface],
) -> Result<BTreeMap<String, String>, PluginError> {
    let step = "set up bridges";
    let before = interfaces(host, step).await?;
    let mut bridges = Vec::new();
    for nic in host_nics {
        let own = find(&before, nic.as_str(), host, step)?.master.clone();
        bridges.push((nic, own.unwrap_or_else(|| default_bridge(nic))));
    }
    apart(host, step, &bridges)?;
    let mut changed = false;
    for nic in host_nics {
        if find(&before, nic.as_str(), host, step)?.master.is_some() {
            continue;
        }
        changed = true;
        let bridge = default_bridge(nic);
        let (nic, bridge) = (nic.as_str(), bridge.as_str());
        if !before.iter().any(|one| one.ifname == bridge) {
            ip(
                host,
                step,
                &["link", "add", "name", bridge, "type", "bridge"],
            )
            .await?;
        }
        ip(
            host,
            step,
            &["link", "set", "dev", nic, "master", bridge, "up"],
        )
        .await?;
        ip(host, step, &["link", "set", "dev", bridge, "up"]).await?;
    }
    let after = if changed {
        interfaces(host, step).await?
    } else {
        before
    };
    let mut joined = Vec::new();
    let mut facts = BTreeMap::new();
    for (index, nic) in host_nics.iter().enumerate() {
        let own = find(&after, nic.as_str(), host, step)?;
        let bridge = own.master.as_deref().filter(|_| own.up());
        let bridge = bridge.ok_or_else(|| {
            let message = format!("{nic} is not up in a bridge after it was set up");
            PluginError::new(step, host.name.as_str(), message)
        })?;
        let up = find(&after, bridge, host, step)?.up();
        if !up {
            let message = format!("bridge {bridge} is down");
            return Err(PluginError::new(step, host.name.as_str(), message));
        }
        facts.insert(format!("data_bridge.{index}"), format!("{bridge} {nic}"));
        joined.push((nic, bridge.to_owned()));
    }
    // By what the kernel says that each NIC is a port of, and not by the names that were asked for.
    apart(host, step, &joined)?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vexp_testkit::FakeShell;

    use vexp_api::sample::NodeRole;

    use super::*;

    fn interface(text: &str) -> ids::Interface {
        ids::Interface::new(text).unwrap()
    }

    #[test]
    fn bridges_of_long_names_are_told_apart() {
        let of = |nic: &str| default_bridge(&interface(nic));
        assert_eq!(of("eth1"), "br-eth1");
        assert_eq!(of("enp3s0f0.100"), "br-enp3s0f0.100");
        for (one, other) in [
            ("enx00e04c6801a1", "enx00e04c6801b2"),
            ("enp3s0f0.1001", "enp3s0f0.1002"),
        ] {
            assert_ne!(of(one), of(other));
            // It is a name that the kernel takes.
            assert_eq!(interface(&of(one)).as_str().len(), 15);
        }
    }

    /// A host whose data NICs are in these bridges.
    async fn bridged(masters: [&str; 2]) -> Result<BTreeMap<String, String>, String> {
        let nic = |name: &str, master: &str| {
            format!(r#"{{"ifname":"{name}","master":"{master}","flags":["UP"]}}"#)
        };
        let bridge = |name: &str| format!(r#"{{"ifname":"{name}","flags":["UP"]}}"#);
        let all = [
            nic("eth1", masters[0]),
            nic("eth2", masters[1]),
            bridge("lan"),
            bridge("wan"),
        ];
        let transcript = format!("$ ip -json address show\n[{}]\n", all.join(","));
        let name = ids::Name::new("host").unwrap();
        let node = Node {
            name: name.clone(),
            role: NodeRole::Host,
            shell: Arc::new(FakeShell::replay(name, &transcript)),
            data: Vec::new(),
        };
        let nics = [interface("eth1"), interface("eth2")];
        let found = bridge_nics(&node, &nics).await;
        found.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn two_data_networks_in_one_bridge_are_refused() {
        assert_eq!(
            bridged(["lan", "wan"]).await.unwrap()["data_bridge.1"],
            "wan eth2"
        );
        let error = bridged(["lan", "lan"]).await.unwrap_err();
        assert!(
            error.contains("eth1 and eth2 are on two data networks and in one bridge, lan"),
            "{error}"
        );
        assert!(error.contains("nomaster"), "{error}");
    }

    #[test]
    fn changed_answers_of_ip_are_read_or_refused() {
        let whole = r#"[{"ifname":"eth1","master":"lan","flags":["UP"],
            "addr_info":[{"local":"198.18.0.1","prefixlen":24}]},{"ifname":"lan","flags":["UP"]}]"#;
        let address: DataAddress =
            serde_json::from_value(serde_json::json!({"address": "198.18.0.1", "prefix": 24}))
                .unwrap();
        vexp_testkit::hostile::on_changes(200, whole.as_bytes(), |bytes| {
            let all: Vec<Interface> = serde_json::from_slice(bytes).unwrap_or_default();
            for one in &all {
                let _ = (one.has(&address), one.up());
            }
        });
    }
}
