//! Options of `iperf`, and the command lines that they make.

use std::net::IpAddr;

use serde::Deserialize;
use vexp_api::shell::Cmd;
use vexp_api::units::BitRate;

use super::super::rate::{FULL_PACKET, Rate};
use super::Protocol;

/// See `contract.ncl`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IperfOptions {
    pub(super) protocol: Protocol,
    pub(super) rate: Option<Rate>,
    pub(super) length: Option<u32>,
    pub(super) port: u16,
}

impl Default for IperfOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::Tcp,
            rate: None,
            length: None,
            port: 5001,
        }
    }
}

impl IperfOptions {
    /// What the contract says, for options that never met it, and what is between two of them.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match (self.protocol, self.rate) {
            // iperf sends UDP at 1 Mb/s unless told otherwise, which nobody means.
            (Protocol::Udp, None) => {
                return Err("UDP needs a `rate`, such as \"100Mb/s\" or \"link\"");
            }
            (Protocol::Tcp, Some(_)) => {
                return Err("TCP goes as fast as it can: `rate` is for UDP");
            }
            (_, Some(Rate::Payload(rate))) if rate.bits_per_second() == 0 => {
                return Err("a `rate` of 0 sends nothing: give the rate that is meant");
            }
            _ => {}
        }
        // A datagram of iperf 2.2 holds at least its header.
        let most = match self.protocol {
            Protocol::Tcp => 1 << 20,
            Protocol::Udp => 65507,
        };
        if self.length.is_some_and(|n| !(36..=most).contains(&n)) {
            return Err("`length` must be 36 to 1048576 bytes, of UDP to 65507");
        }
        if !(1024..=65000).contains(&self.port) {
            return Err("`port` must be 1024 to 65000");
        }
        Ok(())
    }

    /// A server that ends after one client, or after so many seconds.
    pub(super) fn server(&self, port: u16, seconds: u64) -> Cmd {
        let cmd = Cmd::new("iperf").args(["-s", "-P", "1", "-t", &seconds.to_string()]);
        self.common(cmd, port)
    }

    /// A client that sends for so many seconds, warm-up included.
    pub(super) fn client(&self, to: IpAddr, port: u16, seconds: u64, link: BitRate) -> Cmd {
        let cmd = Cmd::new("iperf").args(["-c", &to.to_string(), "-t", &seconds.to_string()]);
        let mut cmd = self.common(cmd, port);
        if let Some(rate) = self.rate {
            let length = self.length.unwrap_or(FULL_PACKET);
            cmd = cmd.args(["-b", &rate.bits(link, length).max(1).to_string()]);
        }
        cmd
    }

    /// What both sides are told. `-e -f b` prints whole bytes, and times to a tenth of a
    /// millisecond, where `-y C` has tenths of seconds.
    fn common(&self, cmd: Cmd, port: u16) -> Cmd {
        let mut cmd = cmd.args(["-p", &port.to_string(), "-e", "-i", "1", "-f", "b"]);
        let length = match self.protocol {
            Protocol::Tcp => self.length,
            Protocol::Udp => {
                cmd = cmd.arg("-u");
                Some(self.length.unwrap_or(FULL_PACKET))
            }
        };
        match length {
            Some(length) => cmd.args(["-l", &length.to_string()]),
            None => cmd,
        }
    }
}
