//! Options of `netperf`, and the command lines that they make.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use vexp_api::plugin::{Flow, Intent, Refusal};
use vexp_api::shell::Cmd;

use super::{KEYS, Protocol};
use crate::capture::{ports, whole_seconds};

/// Payload of a UDP datagram that makes an IPv4 packet of 1500 bytes.
const FULL_PACKET: u32 = 1472;

/// See `contract.ncl`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetperfOptions {
    pub(super) protocol: Protocol,
    pub(super) length: Option<u32>,
    pub(super) port: u16,
    pub(super) rate: Option<Value>,
}

impl Default for NetperfOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::Udp,
            length: None,
            port: 12865,
            rate: None,
        }
    }
}

impl NetperfOptions {
    /// What the contract says, for options that never met it.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        // Its `-b` and `-w` exist only where it was built with `--enable-intervals`; Debian's was
        // not.
        if self.rate.is_some() {
            let message = "netperf sends as fast as it can: the one in the images is built without \
                           pacing; leave `rate` out, or use iperf or iperf3";
            return Err(Refusal::option("rate", message));
        }
        if self.length.is_some_and(|n| n == 0 || n > 65507) {
            return Err(Refusal::option(
                "length",
                "`length` must be 1 to 65507 bytes",
            ));
        }
        if !(1024..=65000).contains(&self.port) {
            return Err(Refusal::option("port", "`port` must be 1024 to 65000"));
        }
        Ok(())
    }

    /// All that is refused before anything is started.
    pub(super) fn refusals(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        let mut refused: Vec<Refusal> = self.check().err().into_iter().collect();
        refused.extend(whole_seconds("netperf", intent));
        refused.extend(ports(self.port, intent));
        refused
    }

    /// A server in the foreground that writes no files of its own.
    pub(super) fn server(flow: &Flow, port: u16) -> Cmd {
        let family = match control(flow) {
            IpAddr::V4(_) => "-4",
            IpAddr::V6(_) => "-6",
        };
        Cmd::new("netserver").args(["-D", "-N", family, "-p", &port.to_string()])
    }

    /// A client that sends for so many seconds. Its own connection to the server, over which the
    /// results come, goes over the control network where there is one: a data network that is
    /// flooded would lose it. `-D` makes it say each second what time it is, so that the test's
    /// place in time is known.
    pub(super) fn client(&self, flow: &Flow, port: u16, seconds: u64) -> Cmd {
        let test = match self.protocol {
            Protocol::Udp => "UDP_STREAM",
            Protocol::Tcp => "TCP_STREAM",
        };
        let mut cmd = Cmd::new("netperf")
            .args(["-H", &with_family(control(flow)), "-p", &port.to_string()])
            .args(["-t", test, "-l", &seconds.to_string()])
            .args(["-f", "m", "-D", "1", "--", "-H", &with_family(flow.to)]);
        if let Some(from) = source_address(flow) {
            cmd = cmd.args(["-L", &with_family(from)]);
        }
        let length = match self.protocol {
            // Without `-R 1` netperf's datagrams never pass a router.
            Protocol::Udp => {
                cmd = cmd.args(["-R", "1"]);
                Some(self.length.unwrap_or(FULL_PACKET))
            }
            Protocol::Tcp => self.length,
        };
        if let Some(length) = length {
            cmd = cmd.args(["-m", &length.to_string()]);
        }
        cmd.args(["-k", &KEYS.join(",")])
    }
}

/// Where the server is asked for tests.
fn control(flow: &Flow) -> IpAddr {
    flow.sink.shell.control().unwrap_or(flow.to)
}

/// The source's own address on a data network, in the family of the sink's. The kernel of a node
/// on several networks would choose one as well; netperf does not let it.
fn source_address(flow: &Flow) -> Option<IpAddr> {
    let addresses = flow.source.data.iter().map(|data| data.address);
    addresses
        .into_iter()
        .find(|from| from.is_ipv4() == flow.to.is_ipv4())
}

fn with_family(address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => format!("{address},4"),
        IpAddr::V6(_) => format!("{address},6"),
    }
}
