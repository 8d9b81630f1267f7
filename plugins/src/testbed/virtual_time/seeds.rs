//! What the machines of a lockstep are told: identities, and the disks that they have in memory.

use std::io::Result;
use std::path::Path;

use vexp_api::site::NodeInfo;
use vexp_lockstep::ssh::key::KeyPair as SshKey;

use super::super::emulated::address::{Who, cidr, control_cidr};
use super::super::emulated::keys::{KeyPair, Keys};
use super::super::emulated::seed::{Archive, Identity, NetLine};

/// Keys in virtual time are no secrets: nobody but vexp reaches the machines. They are the same each time, since
/// another key costs a machine other instructions.
const SEED: u64 = 1;

/// What an emulator of peers does once it is ready: a line of `peers` becomes a network namespace with an SSH server.
/// Each has a data NIC of its own, named after it; the control NIC is shared by macvlan.
pub(super) const PEERS: &str = r#"export PATH=/usr/sbin:/usr/bin:/sbin:/bin
modprobe macvlan || { echo "vexp: failed module macvlan"; exit 1; }
key=/run/vexp/dropbear_ed25519_host_key
while read -r name ctl_mac ctl_cidr data_cidr; do
    ip netns add "$name" || exit
    ip -batch - <<BATCH || exit
link add link ctl0 name c-$name address $ctl_mac netns $name type macvlan mode bridge
link set dev d-$name netns $name
BATCH
    ip -netns "$name" -batch - <<BATCH || exit
link set lo up
link set dev c-$name name ctl0
link set dev d-$name name data0
addr add $ctl_cidr dev ctl0
addr add $data_cidr dev data0
link set dev ctl0 up
link set dev data0 up
BATCH
    ip netns exec "$name" sh -c 'for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done
        exec dropbear -F -E -s -k -m -r "$1" -p 22' peer $key &
done < /run/vexp/peers
"#;

fn key(owner: &str) -> KeyPair {
    let pair = SshKey::from_seed(SEED, owner);
    KeyPair {
        private: pair.private_file(owner),
        public: format!("{} {owner}\n", pair.public().line()),
    }
}

/// The keys of a machine and its guests.
pub(super) fn keys(guests: u32) -> Keys {
    Keys {
        client: key("client"),
        host: key("host"),
        guests: (1..=guests).map(|n| key(&format!("vm{n}"))).collect(),
    }
}

/// The key of all peers.
pub(super) fn peer_key() -> KeyPair {
    key("peer")
}

/// What is appended to a machine's initramfs: its disks by name, and the files of its seed.
pub(super) fn archive(disks: &[(&str, &Path)], files: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("disks");
    for (name, path) in disks {
        archive.file(&format!("disks/{name}"), &std::fs::read(path)?);
    }
    archive.folder("vexp");
    for (name, content) in files {
        archive.file(&format!("vexp/{name}"), content.as_bytes());
    }
    Ok(archive.end())
}

/// The files of the seed of an emulator that has these peers, on data network `net`.
pub(super) fn peers(
    net: u8,
    peers: &[(Who, &NodeInfo)],
    host_key: &KeyPair,
    client: &KeyPair,
) -> Vec<(&'static str, String)> {
    let nic = |mac: String, interface: &str| NetLine {
        mac,
        interface: interface.to_owned(),
        cidr: None,
        bridge: None,
    };
    let whole = Who::Peers(net);
    let mut lines = vec![nic(whole.control_mac(), "ctl0")];
    lines.extend((peers.iter()).map(|(who, info)| nic(who.mac(net), &format!("d-{}", info.name))));
    let hostname = format!("peers{net}");
    let identity = Identity {
        hostname: &hostname,
        net: &lines,
        host_key: &host_key.private,
        host_key_public: &host_key.public,
        authorized: &client.public,
        features_off: &[],
    };
    let mut files = identity.files();
    let each = peers.iter().map(|(who, info)| {
        let (name, data) = (&info.name, cidr(who.data(net)));
        let (control_mac, control) = (who.control_mac(), control_cidr(*who));
        format!("{name} {control_mac} {control} {data}\n")
    });
    files.push(("peers", each.collect()));
    files.push(("agent", PEERS.to_owned()));
    files
}
