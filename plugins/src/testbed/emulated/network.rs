//! The lab's networks: one for control, one for each data NIC with the NIC's link rate.

use vexp_api::plan::Link;

use super::address::{Who, cidr, control_cidr};
use super::run::{LabError, run};

/// The machine's tap on the control network.
pub(super) const CONTROL_TAP: &str = "m-ctl";
/// The lab's control bridge.
const CONTROL_BRIDGE: &str = "ctl";
/// What a switch holds back before it drops, as time at the link's rate.
const QUEUE_MS: u32 = 20;

/// The machine's tap on data network `net`.
pub(super) fn data_tap(net: u8) -> String {
    format!("m-data{net}")
}

/// The network namespace of a peer.
pub(super) fn peer_netns(peer: u32) -> String {
    format!("peer{}", peer + 1)
}

/// Makes bridges, taps, links and the peers' namespaces. All names are the lab's own.
pub(super) fn set_up(nics: &[Link], peers: u32) -> Result<(), LabError> {
    const STEP: &str = "set up the lab's networks";
    // Neighbour discovery of IPv6 would be traffic that no study asks for.
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        if std::path::Path::new(&path).exists() {
            std::fs::write(&path, "1").map_err(LabError::io(STEP))?;
        }
    }
    for peer in 0..peers {
        run(STEP, "ip", &["netns", "add", &peer_netns(peer)], "")?;
    }
    run(STEP, "ip", &["-batch", "-"], &links(nics, peers))?;
    for peer in 0..peers {
        run(
            STEP,
            "ip",
            &["-n", &peer_netns(peer), "-batch", "-"],
            &peer_links(nics.len(), peer),
        )?;
    }
    if !nics.is_empty() {
        run(STEP, "tc", &["-batch", "-"], &rates(nics))?;
    }
    Ok(())
}

/// For `ip -batch` in the lab's namespace.
fn links(nics: &[Link], peers: u32) -> String {
    let mut batch = Batch::default();
    batch.add("link set lo up");
    batch.bridge(CONTROL_BRIDGE);
    batch.add(&format!(
        "addr add {} dev {CONTROL_BRIDGE}",
        control_cidr(Who::Lab)
    ));
    batch.tap(CONTROL_TAP, CONTROL_BRIDGE);
    for peer in 0..peers {
        batch.cable(
            &format!("p{peer}-ctl"),
            "ctl0",
            Some(&peer_netns(peer)),
            CONTROL_BRIDGE,
        );
    }
    for net in networks(nics) {
        let (near, far) = (format!("near{net}"), format!("far{net}"));
        batch.bridge(&near);
        batch.bridge(&far);
        batch.tap(&data_tap(net), &near);
        batch.cable(&format!("link{net}a"), &format!("link{net}b"), None, &near);
        batch.join(&format!("link{net}b"), &far);
        for peer in 0..peers {
            batch.cable(
                &format!("p{peer}-d{net}"),
                &format!("data{net}"),
                Some(&peer_netns(peer)),
                &far,
            );
        }
    }
    batch.0
}

/// For `ip -batch` in a peer's namespace.
fn peer_links(nets: usize, peer: u32) -> String {
    let mut batch = Batch::default();
    let who = Who::Peer(peer);
    batch.add("link set lo up");
    batch.add(&format!("addr add {} dev ctl0", control_cidr(who)));
    batch.add("link set ctl0 up");
    for net in (0..=u8::MAX).take(nets) {
        batch.add(&format!("addr add {} dev data{net}", cidr(who.data(net))));
        batch.add(&format!("link set data{net} up"));
    }
    batch.0
}

/// For `tc -batch`: each direction of a link leaves one end of its cable, and is shaped there.
fn rates(nics: &[Link]) -> String {
    let mut batch = Batch::default();
    for (net, nic) in networks(nics).zip(nics) {
        let rate = nic.rate.bits_per_second();
        // Burst: 1 ms at the link's rate, but no less than the largest segment that a TCP stack
        // hands over at once (64 KiB), so that a burst is a segment and not a queue.
        let burst = (rate / 8 / 1000).max(65_536);
        for end in ["a", "b"] {
            batch.add(&format!(
                "qdisc add dev link{net}{end} root tbf rate {rate}bit burst {burst}b latency {QUEUE_MS}ms"
            ));
        }
    }
    batch.0
}

fn networks(nics: &[Link]) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).take(nics.len())
}

#[derive(Default)]
struct Batch(String);

impl Batch {
    fn add(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn bridge(&mut self, name: &str) {
        // Forwarding delay is for networks with loops.
        self.add(&format!(
            "link add {name} type bridge forward_delay 0 mcast_snooping 0"
        ));
        self.add(&format!("link set {name} up"));
    }

    fn join(&mut self, interface: &str, bridge: &str) {
        self.add(&format!("link set {interface} master {bridge}"));
        self.add(&format!("link set {interface} up"));
    }

    fn tap(&mut self, name: &str, bridge: &str) {
        self.add(&format!("tuntap add dev {name} mode tap"));
        self.join(name, bridge);
    }

    /// A veth pair whose first end is joined to a bridge; the other goes to a namespace.
    fn cable(&mut self, name: &str, other: &str, netns: Option<&str>, bridge: &str) {
        let place = netns.map(|n| format!(" netns {n}")).unwrap_or_default();
        self.add(&format!(
            "link add {name} type veth peer name {other}{place}"
        ));
        self.join(name, bridge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_its_rate_in_both_directions() {
        let nics = [Link {
            model: "e1000".parse().unwrap(),
            rate: "200Mb/s".parse().unwrap(),
        }];
        assert_eq!(
            rates(&nics),
            "qdisc add dev link0a root tbf rate 200000000bit burst 65536b latency 20ms\n\
             qdisc add dev link0b root tbf rate 200000000bit burst 65536b latency 20ms\n"
        );
    }

    #[test]
    fn interface_names_fit() {
        // IFNAMSIZ is 16 with the final NUL.
        let nics = vec![
            Link {
                model: "e1000".parse().unwrap(),
                rate: "1Gb/s".parse().unwrap()
            };
            2
        ];
        for line in links(&nics, 64).lines() {
            for word in line
                .split(' ')
                .filter(|w| w.chars().any(|c| c.is_ascii_digit()))
            {
                assert!(word.len() < 16 || word.contains('.'), "{word}");
            }
        }
    }
}
