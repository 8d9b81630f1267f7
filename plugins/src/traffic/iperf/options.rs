//! Options of `iperf`, and the command lines that they make.

use std::net::IpAddr;

use serde::Deserialize;
use vexp_api::plugin::{Intent, Offer, Refusal};
use vexp_api::shell::Cmd;
use vexp_api::units::BitRate;

use super::super::rate::{FULL_PACKET, Rate};
use super::Protocol;
use crate::capture::{ports, whole_seconds};

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
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match (self.protocol, self.rate) {
            // iperf sends UDP at 1 Mb/s unless told otherwise, which nobody means.
            (Protocol::Udp, None) => {
                let message = "UDP needs a `rate`, such as \"100Mb/s\" or \"50% of link\"";
                return Err(Refusal::option("", message));
            }
            (Protocol::Tcp, Some(_)) => {
                let message = "TCP goes as fast as it can: `rate` is for UDP";
                return Err(Refusal::option("rate", message));
            }
            (_, Some(Rate::Payload(rate))) if rate.bits_per_second() == 0 => {
                let message = "a `rate` of 0 sends nothing: give the rate that is meant";
                return Err(Refusal::option("rate", message));
            }
            _ => {}
        }
        // A datagram of iperf 2.2 holds at least its header.
        let most = match self.protocol {
            Protocol::Tcp => 1 << 20,
            Protocol::Udp => 65507,
        };
        if self.length.is_some_and(|n| !(36..=most).contains(&n)) {
            let message = format!("`length` of {} must be 36 to {most} bytes", self.protocol);
            return Err(Refusal::option("length", message));
        }
        if !(1024..=65000).contains(&self.port) {
            return Err(Refusal::option("port", "`port` must be 1024 to 65000"));
        }
        Ok(())
    }

    /// All that is refused before anything is started.
    pub(super) fn refusals(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        let mut refused: Vec<Refusal> = self.check().err().into_iter().collect();
        refused.extend(whole_seconds("iperf", intent));
        refused.extend(ports(self.port, intent));
        refused
    }

    /// What each flow's source is told to send.
    pub(super) fn offer(&self, link: BitRate) -> Option<Offer> {
        Some(self.rate?.offer(link, self.length.unwrap_or(FULL_PACKET)))
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
