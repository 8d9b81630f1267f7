//! The lab's networks: one for control, one for each data NIC with the NIC's link rate.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use vexp_api::plan::Link;

use super::address::{Who, cidr, control_cidr, network};
use super::run::{LabError, run};

/// The machine's tap on the control network.
pub(super) const CONTROL_TAP: &str = "m-ctl";
/// The lab's control bridge.
const CONTROL_BRIDGE: &str = "ctl";
/// What a switch holds back before it drops, as time at the link's rate.
const QUEUE_MS: u32 = 20;
/// What a frame takes on an Ethernet beside what the kernel counts: preamble and start of frame 8,
/// check sequence 4, gap 12 bytes (IEEE 802.3, clauses 3.1.1 and 4.4.2).
const OVERHEAD: u32 = 24;
/// A full frame with its header, as the kernel counts it.
const FRAME: u64 = 1514;
/// What a peer's NIC holds: more than the send buffers of several sockets, so that a sender waits
/// for its NIC and loses nothing there (net.core.wmem_default is 208 KiB).
const NIC_QUEUE: u32 = 4 << 20;

/// The machine's tap on data network `net`.
pub(super) fn data_tap(net: u8) -> String {
    format!("m-data{net}")
}

/// The network namespace of a peer.
pub(super) fn peer_netns(peer: u32) -> String {
    format!("peer{}", peer + 1)
}

/// The end of data network `net`'s link that frames for the machine leave from.
pub(super) fn to_machine(net: u8) -> String {
    format!("link{net}b")
}

/// The end of data network `net`'s link that frames from the machine leave from.
pub(super) fn from_machine(net: u8) -> String {
    format!("link{net}a")
}

const STEP: &str = "set up the lab's networks";

/// Makes the bridges, taps and links that the machine needs. All names are the lab's own.
pub(super) fn set_up(nics: &[Link]) -> Result<(), LabError> {
    // Neighbour discovery of IPv6 would be traffic that no study asks for.
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        if Path::new(&path).exists() {
            std::fs::write(&path, "1").map_err(LabError::io(STEP))?;
        }
    }
    run(STEP, "ip", &["-batch", "-"], &links(nics))?;
    if !nics.is_empty() {
        run(STEP, "tc", &["-batch", "-"], &rates(nics))?;
    }
    Ok(())
}

/// A peer: its number, and its data network with its link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) peer: u32,
    pub(super) data: Option<(u8, &'a Link)>,
}

/// Where each peer sits: `peers` on each data network, those of the first one first. Without data
/// networks they are reached by the control network only.
pub(super) fn places(nics: &[Link], peers: u32) -> Vec<Place<'_>> {
    let mut nets: Vec<_> = networks(nics).zip(nics).map(Some).collect();
    if nets.is_empty() {
        nets.push(None);
    }
    let data = nets
        .into_iter()
        .flat_map(|net| (0..peers).map(move |_| net));
    (0..)
        .zip(data)
        .map(|(peer, data)| Place { peer, data })
        .collect()
}

/// Joins the peers' networks, which are shown to ip-netns(8), to the bridges.
pub(super) fn add_peers(places: &[Place<'_>]) -> Result<(), LabError> {
    if places.is_empty() {
        return Ok(());
    }
    run(STEP, "ip", &["-batch", "-"], &peer_cables(places)).map(drop)
}

/// Where ip-netns(8) finds a peer's network.
pub(super) fn peer_network(peer: u32) -> PathBuf {
    Path::new("/run/netns").join(peer_netns(peer))
}

/// Puts this thread, and what it starts, into a peer's network.
pub(super) fn enter(peer: u32) -> Result<(), LabError> {
    let path = peer_network(peer);
    let namespace = File::open(path).map_err(LabError::io(STEP))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| LabError::io(STEP)(error.into()))
}

/// What a peer's TCP is, below `/proc/sys/net/ipv4`: Linux's own defaults, as the guests have them (the
/// kernel's Documentation/networking/ip-sysctl.rst). Peers run on the user's kernel, whose settings are
/// no part of a study. Its congestion control can't be set here, where an algorithm may be restricted to
/// the first network namespace; a route can say which (ip-route(8), `congctl`).
const PEER_TCP: &[(&str, &str)] = &[
    ("tcp_rmem", "4096 131072 6291456"),
    ("tcp_wmem", "4096 16384 4194304"),
    ("tcp_ecn", "2"),
    ("tcp_mtu_probing", "0"),
    ("tcp_sack", "1"),
    ("tcp_slow_start_after_idle", "1"),
    ("tcp_timestamps", "1"),
    ("tcp_window_scaling", "1"),
];

/// Gives the peer whose network this thread is in its addresses, its NIC its rate, and its TCP the
/// settings of [`PEER_TCP`].
pub(super) fn set_up_peer(place: &Place<'_>) -> Result<(), LabError> {
    for (name, value) in PEER_TCP {
        let path = Path::new("/proc/sys/net/ipv4").join(name);
        std::fs::write(&path, value)
            .map_err(|error| LabError::new(STEP, format!("set {name} to {value}: {error}")))?;
    }
    let run = |program: &str, batch: &str| run(STEP, program, &["-batch", "-"], batch).map(drop);
    run("ip", &peer_links(place))?;
    match place.data {
        Some((net, link)) => run("tc", &nic_rate(net, link)),
        None => Ok(()),
    }
}

/// For `ip -batch` in the lab's namespace.
fn links(nics: &[Link]) -> String {
    let mut batch = Batch::default();
    batch.add("link set lo up");
    batch.bridge(CONTROL_BRIDGE);
    batch.add(&format!(
        "addr add {} dev {CONTROL_BRIDGE}",
        control_cidr(Who::Lab)
    ));
    batch.tap(CONTROL_TAP, CONTROL_BRIDGE);
    for net in networks(nics) {
        let (near, far) = (format!("near{net}"), far(net));
        batch.bridge(&near);
        batch.bridge(&far);
        batch.tap(&data_tap(net), &near);
        batch.cable(&from_machine(net), &to_machine(net), "", &near);
        batch.join(&to_machine(net), &far);
    }
    batch.0
}

/// The bridge that the peers of data network `net` are joined to.
fn far(net: u8) -> String {
    format!("far{net}")
}

/// For `ip -batch` in the lab's namespace.
fn peer_cables(places: &[Place<'_>]) -> String {
    let mut batch = Batch::default();
    for Place { peer, data } in places {
        let netns = peer_netns(*peer);
        let control = Who::Peer(*peer).control_mac();
        let at = format!(" address {control} netns {netns}");
        batch.cable(&format!("p{peer}-ctl"), "ctl0", &at, CONTROL_BRIDGE);
        if let Some((net, _)) = data {
            let mac = Who::Peer(*peer).mac(*net);
            // Full frames and no larger segments, as they leave a NIC: then each is counted as
            // one.
            let at = format!(" address {mac} gso_max_segs 1 netns {netns}");
            batch.cable(
                &format!("p{peer}-d"),
                &format!("data{net}"),
                &at,
                &far(*net),
            );
        }
    }
    batch.0
}

/// For `ip -batch` in a peer's namespace.
fn peer_links(place: &Place<'_>) -> String {
    let mut batch = Batch::default();
    let who = Who::Peer(place.peer);
    batch.add("link set lo up");
    let mut nic = |name: &str, address: &str| {
        // No address of IPv6, and so none of its neighbour discovery.
        batch.add(&format!("link set {name} addrgenmode none"));
        batch.add(&format!("addr add {address} dev {name}"));
        batch.add(&format!("link set {name} up"));
    };
    nic("ctl0", &control_cidr(who));
    if let Some((net, _)) = place.data {
        let (name, data) = (format!("data{net}"), who.data(net));
        nic(&name, &cidr(data));
        batch.add(&format!(
            "route replace {} dev {name} proto kernel scope link src {} congctl cubic",
            network(net),
            data.address
        ));
    }
    batch.0
}

/// For `tc -batch`: each direction of a link leaves one end of its cable, and is shaped there.
fn rates(nics: &[Link]) -> String {
    let mut batch = Batch::default();
    for (net, nic) in networks(nics).zip(nics) {
        for end in [from_machine(net), to_machine(net)] {
            batch.rate(&end, nic, &format!("latency {QUEUE_MS}ms"));
        }
    }
    batch.0
}

/// For `tc -batch` in a peer's namespace: what it sends leaves at its NIC's rate, and waits.
fn nic_rate(net: u8, link: &Link) -> String {
    let mut batch = Batch::default();
    batch.rate(&format!("data{net}"), link, &format!("limit {NIC_QUEUE}b"));
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

    /// A veth pair whose first end is joined to a bridge; the other is as `more` says.
    fn cable(&mut self, name: &str, other: &str, more: &str, bridge: &str) {
        self.add(&format!(
            "link add {name} type veth peer name {other}{more}"
        ));
        self.join(name, bridge);
    }

    /// A rate on the wire, and how much may wait.
    fn rate(&mut self, interface: &str, link: &Link, queue: &str) {
        let rate = link.rate.bits_per_second();
        // Burst: what passes in 1 ms, so that a timer that is late costs nothing, but no less than
        // a few frames.
        let burst = (rate / 8 / 1000).max(8 * FRAME);
        self.add(&format!(
            "qdisc add dev {interface} root tbf rate {rate}bit overhead {OVERHEAD} burst {burst}b {queue}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nics(rate: &str, number: usize) -> Vec<Link> {
        let nic = Link {
            model: "e1000".parse().unwrap(),
            rate: rate.parse().unwrap(),
        };
        vec![nic; number]
    }

    #[test]
    fn a_link_has_its_rate_on_the_wire_in_both_directions() {
        assert_eq!(
            rates(&nics("200Mb/s", 1)),
            "qdisc add dev link0a root tbf rate 200000000bit overhead 24 burst 25000b latency 20ms\n\
             qdisc add dev link0b root tbf rate 200000000bit overhead 24 burst 25000b latency 20ms\n"
        );
    }

    #[test]
    fn a_peer_cannot_send_faster_than_its_nic_and_waits() {
        assert_eq!(
            nic_rate(1, &nics("20Mb/s", 1)[0]),
            "qdisc add dev data1 root tbf rate 20000000bit overhead 24 burst 12112b limit 4194304b\n"
        );
    }

    #[test]
    fn no_peer_is_on_two_data_networks() {
        let nics = nics("1Gb/s", 2);
        let places = places(&nics, 2);
        let nets: Vec<_> = places
            .iter()
            .map(|place| (place.peer, place.data.map(|(net, _)| net)))
            .collect();
        assert_eq!(
            nets,
            [(0, Some(0)), (1, Some(0)), (2, Some(1)), (3, Some(1))]
        );
        assert_eq!(
            peer_links(&places[2]),
            "link set lo up\n\
             link set ctl0 addrgenmode none\naddr add 198.19.255.102/24 dev ctl0\nlink set ctl0 up\n\
             link set data1 addrgenmode none\naddr add 198.18.1.102/24 dev data1\nlink set data1 up\n\
             route replace 198.18.1.0/24 dev data1 proto kernel scope link src 198.18.1.102 congctl cubic\n"
        );
        let cables = peer_cables(&places);
        // A guest that is restored still knows them.
        assert!(cables.contains("address 52:54:00:00:01:66 gso_max_segs 1 netns peer3\n"));
        assert!(cables.contains("link set p2-d master far1\n"));
        let without = super::places(&[], 1);
        assert!(without.len() == 1 && without[0].data.is_none());
    }

    #[test]
    fn interface_names_fit() {
        // IFNAMSIZ is 16 with the final NUL.
        let nics = nics("1Gb/s", 2);
        let text = links(&nics) + &peer_cables(&places(&nics, 64));
        let words = text.lines().flat_map(|line| line.split(' '));
        for word in words.filter(|w| w.chars().any(|c| c.is_ascii_digit())) {
            assert!(word.len() < 16 || word.contains(['.', ':']), "{word}");
        }
    }
}
