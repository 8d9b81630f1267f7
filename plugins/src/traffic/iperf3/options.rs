//! Options of `iperf3`, and the command lines that they make.

use std::net::IpAddr;

use serde::Deserialize;
use vexp_api::plugin::{Blame, Intent, Offer, Refusal};
use vexp_api::shell::Cmd;
use vexp_api::units::BitRate;

use super::super::rate::{FULL_PACKET, Rate};
use super::Protocol;
use crate::capture::{ports, whole_seconds};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Seconds of an interval of either side's report: a window of 2 s has the 8 samples from which on it can be
/// told whether a flow reached a steady state.
const INTERVAL: &str = "0.25";

/// See `contract.ncl`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Iperf3Options {
    pub(super) protocol: Protocol,
    pub(super) rate: Option<Rate>,
    pub(super) length: Option<u32>,
    pub(super) parallel: u32,
    pub(super) port: u16,
}

impl Default for Iperf3Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::Tcp,
            rate: None,
            length: None,
            parallel: 1,
            port: 5201,
        }
    }
}

impl Iperf3Options {
    /// What the contract says, for options that never met it.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self.rate {
            // iperf3 sends UDP at 1 Mb/s unless told otherwise, which nobody means.
            None if self.protocol == Protocol::Udp => {
                let message = "UDP needs a `rate`, such as \"100Mb/s\" or \"50% of link\"";
                return Err(Refusal::option("", message));
            }
            // iperf3 takes 0 as "no limit".
            Some(Rate::Payload(rate)) if rate.bits_per_second() == 0 => {
                let message = "a `rate` of 0 would be no limit at all: give the rate that is meant";
                return Err(Refusal::option("rate", message));
            }
            _ => {}
        }
        if !(1..=128).contains(&self.parallel) {
            return Err(Refusal::option("parallel", "`parallel` must be 1 to 128"));
        }
        // iperf3's own bounds: a datagram holds at least its time and number.
        let (least, most) = match self.protocol {
            Protocol::Tcp => (1, 1 << 20),
            Protocol::Udp => (16, 65507),
        };
        if self.length.is_some_and(|n| !(least..=most).contains(&n)) {
            let message = format!(
                "`length` of {} must be {least} to {most} bytes",
                self.protocol
            );
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
        refused.extend(whole_seconds("iperf3", intent));
        refused.extend(ports(self.port, intent));
        // iperf3's MAX_TIME.
        let time = intent.warm_up + intent.window;
        if time.as_secs() > DAY {
            let message = format!(
                "warm-up and window are {} s together, and iperf3 runs for a day at most",
                time.as_secs()
            );
            let of = Blame::Window;
            refused.push(Refusal { of, message });
        }
        refused
    }

    /// What each flow's source is told to send.
    pub(super) fn offer(&self, link: BitRate) -> Option<Offer> {
        Some(
            self.paced()?
                .offer(link, self.length.unwrap_or(FULL_PACKET)),
        )
    }

    /// The rate that it is told; TCP fills the link by itself.
    fn paced(&self) -> Option<Rate> {
        self.rate.filter(|rate| match self.protocol {
            Protocol::Tcp => *rate != Rate::Link,
            Protocol::Udp => true,
        })
    }

    /// A server for one test. It gives up after `idle` seconds without a client, so that the port
    /// is free again soon after a client that could not be started.
    pub(super) fn server(&self, port: u16, idle: u64) -> Cmd {
        Cmd::new("iperf3")
            .args(["-s", "-1", "-p", &port.to_string(), "-i", INTERVAL])
            .args(["--idle-timeout", &idle.to_string(), "--json-stream"])
    }

    /// A client that sends for so many seconds. The warm-up is among them and is left out by the
    /// parser: iperf3's own `-O` restarts its clock in the middle of an interval, so that the
    /// first measured interval's bounds contradict its length (seen with 3.18 by up to half a
    /// second on a loaded machine).
    pub(super) fn client(&self, to: IpAddr, port: u16, seconds: u64, link: BitRate) -> Cmd {
        let mut cmd = Cmd::new("iperf3")
            .args(["-c", &to.to_string(), "-p", &port.to_string()])
            .args(["-t", &seconds.to_string()])
            .args(["-i", INTERVAL, "--json-stream"]);
        if self.protocol == Protocol::Udp {
            cmd = cmd.arg("-u");
        }
        let mut length = self.length;
        if let Some(rate) = self.paced() {
            if matches!(rate, Rate::Link | Rate::Share(_)) {
                length = length.or(Some(FULL_PACKET));
            }
            // `-b` is the rate of each stream.
            let all = rate.bits(link, length.unwrap_or(FULL_PACKET));
            let each = all / u64::from(self.parallel.max(1));
            cmd = cmd.args(["-b", &each.max(1).to_string()]);
        }
        if let Some(length) = length {
            cmd = cmd.args(["-l", &length.to_string()]);
        }
        if self.parallel > 1 {
            cmd = cmd.args(["-P", &self.parallel.to_string()]);
        }
        cmd
    }
}
