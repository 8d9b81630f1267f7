//! Routers: machines or guests that forward, and peers that send by way of them.

use std::net::IpAddr;

use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;

use super::together::each;
use super::trial::{Bench, subjects};

/// What a forwarder must not do on its own: tell hosts of better ways, or drop what comes from an
/// unexpected side.
const SETTINGS: &[&str] = &[
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
];

/// What the kernel sets itself when `net.ipv4.ip_forward` becomes 1 (`inet_forward_change`).
const FOLLOWING: &[&str] = &[
    "net.ipv4.conf.all.forwarding=1",
    "net.ipv4.conf.default.forwarding=1",
    "net.ipv4.conf.all.accept_redirects=0",
    "net.ipv4.conf.default.accept_redirects=0",
];

/// Whether a node's fact ([`vexp_api::environment::Facts`]) has this value because [`set_up`] has set
/// it: that is no change of the environment.
pub(super) fn has_set(fact: &str, value: Option<&str>) -> bool {
    let (Some(name), Some(value)) = (fact.strip_prefix("sysctl."), value) else {
        return false;
    };
    let own = format!("{name}={value}");
    SETTINGS.iter().chain(FOLLOWING).any(|set| *set == own)
}

/// Lets each subject forward between the first and the second data network, and sends each pair of
/// peers by way of its own subject, in both directions.
pub(super) async fn set_up(bench: &Bench<'_>) -> Result<(), PluginError> {
    let mut commands = Vec::new();
    for (index, forwarder) in subjects(bench).iter().enumerate() {
        let sysctl = Cmd::new("sysctl").arg("-w").args(SETTINGS.iter().copied());
        commands.push((forwarder.clone(), sysctl));
        let ends = [0, 1].map(|net: usize| bench.peers.get(net).and_then(|all| all.get(index)));
        let [Some(source), Some(sink)] = ends else {
            let message = "a router needs a peer on each of two data networks";
            return Err(PluginError::new(STEP, forwarder.name.as_str(), message));
        };
        let (near, far) = (address(forwarder, 0)?, address(forwarder, 1)?);
        commands.push((source.clone(), route(address(sink, 0)?, near)));
        commands.push((sink.clone(), route(address(source, 0)?, far)));
    }
    let done = each(commands, |(node, cmd)| async move {
        let result = node.shell.check(cmd).await;
        result.map_err(|error| PluginError::shell(STEP, &node.name, error))
    });
    done.await
        .into_iter()
        .try_for_each(|result| result.map(drop))
}

const STEP: &str = "set up routes";

fn route(to: IpAddr, by_way_of: IpAddr) -> Cmd {
    Cmd::new("ip").args([
        "route",
        "replace",
        &to.to_string(),
        "via",
        &by_way_of.to_string(),
        // As the guests have it: a peer's own kernel may have another.
        "congctl",
        "cubic",
    ])
}

fn address(node: &Node, index: usize) -> Result<IpAddr, PluginError> {
    let data = node.data.get(index).map(|data| data.address);
    data.ok_or_else(|| {
        let message = format!("it has no address on its data network {index}");
        PluginError::new(STEP, node.name.as_str(), message)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vexp_api::ids::Name;
    use vexp_api::sample::NodeRole;
    use vexp_api::site::DataAddress;
    use vexp_api::units::BitRate;
    use vexp_testkit::FakeShell;

    use super::*;

    #[test]
    fn own_settings_are_no_changes_and_others_are() {
        assert!(has_set("sysctl.net.ipv4.ip_forward", Some("1")));
        assert!(has_set(
            "sysctl.net.ipv4.conf.all.accept_redirects",
            Some("0")
        ));
        assert!(!has_set("sysctl.net.ipv4.ip_forward", Some("0")));
        assert!(!has_set("sysctl.net.ipv4.ip_forward", None));
        assert!(!has_set("sysctl.net.core.rmem_max", Some("1")));
    }

    const FORWARD: &str = "$ sysctl -w net.ipv4.ip_forward=1 \
                           net.ipv4.conf.all.send_redirects=0 \
                           net.ipv4.conf.default.send_redirects=0 \
                           net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0\n";

    fn node(name: &str, transcript: &str, addresses: &[&str]) -> (FakeShell, Node) {
        let name = Name::new(name).unwrap();
        let shell = FakeShell::replay(name.clone(), transcript);
        let node = Node {
            name,
            role: NodeRole::Guest,
            shell: Arc::new(shell.clone()),
            data: (addresses.iter())
                .map(|address| DataAddress {
                    address: address.parse().unwrap(),
                    prefix: 24,
                })
                .collect(),
        };
        (shell, node)
    }

    #[tokio::test]
    async fn each_pair_of_peers_goes_by_way_of_its_own_router() {
        let (host_shell, host) = node("host", "", &[]);
        let (vm1_shell, vm1) = node("vm1", FORWARD, &["198.18.0.10", "198.18.1.10"]);
        let (vm2_shell, vm2) = node("vm2", FORWARD, &["198.18.0.11", "198.18.1.11"]);
        let route =
            |to: &str, via: &str| format!("$ ip route replace {to} via {via} congctl cubic\n");
        let peers = [
            (
                "peer1",
                "198.18.0.100",
                route("198.18.1.102", "198.18.0.10"),
            ),
            (
                "peer2",
                "198.18.0.101",
                route("198.18.1.103", "198.18.0.11"),
            ),
            (
                "peer3",
                "198.18.1.102",
                route("198.18.0.100", "198.18.1.10"),
            ),
            (
                "peer4",
                "198.18.1.103",
                route("198.18.0.101", "198.18.1.11"),
            ),
        ]
        .map(|(name, address, transcript)| node(name, &transcript, &[address]));
        let nodes: Vec<Node> = peers.iter().map(|(_, node)| node.clone()).collect();
        let bench = Bench {
            host: &host,
            guests: &[vm1, vm2],
            peers: &[nodes[..2].to_vec(), nodes[2..].to_vec()],
            switch: None,
            link_rate: BitRate::new(1),
            emulator: None,
            clock: &crate::run::clock::Clock::Computer,
        };
        set_up(&bench).await.unwrap();
        let peers = peers.iter().map(|(shell, _)| shell);
        for shell in [&host_shell, &vm1_shell, &vm2_shell]
            .into_iter()
            .chain(peers)
        {
            shell.finish().unwrap();
        }

        let one = Bench {
            peers: &[nodes[..2].to_vec()],
            ..bench
        };
        let error = set_up(&one).await.unwrap_err().to_string();
        assert!(
            error.contains("a peer on each of two data networks"),
            "{error}"
        );
    }
}
