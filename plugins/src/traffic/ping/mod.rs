//! Round-trip times with iputils' ping.
//!
//! Each flow's source probes its sink. Probes during the warm-up come from a run of their own, so
//! that address resolution is over before the first measured probe; at least one is always sent.

mod parse;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use vexp_api::plugin::{
    Blame, Context, Flow, Intent, Loop, Measure, MeasureKind, MeasureRequest, MetricInfo,
    ParseError, Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::{Sample, Unit};
use vexp_api::shell::Cmd;
use vexp_api::spec::Options;
use vexp_api::units::TimeSpan;

use crate::capture::{Batch, Job, MARGIN, Phases, subject_role};

/// Seconds that ping waits for the last replies.
const WAIT: u64 = 1;

pub(crate) const RTT: MetricInfo = MetricInfo {
    name: "rtt",
    unit: Unit::Ms,
    about: "round-trip time of one probe",
};
pub(crate) const LOSS: MetricInfo = MetricInfo {
    name: "loss",
    unit: Unit::Percent,
    about: "probes without a reply, over the whole window",
};

const RTT_MIN: MetricInfo = MetricInfo {
    name: "rtt_min",
    unit: Unit::Ms,
    about: "least round-trip time, where only a summary was printed (-q)",
};
const RTT_MEAN: MetricInfo = MetricInfo {
    name: "rtt_mean",
    unit: Unit::Ms,
    about: "mean round-trip time, where only a summary was printed (-q)",
};
const RTT_MAX: MetricInfo = MetricInfo {
    name: "rtt_max",
    unit: Unit::Ms,
    about: "greatest round-trip time, where only a summary was printed (-q)",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Ping;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PingOptions {
    interval: TimeSpan,
    size: u32,
}

impl Default for PingOptions {
    fn default() -> Self {
        Self {
            interval: TimeSpan::new(100_000_000),
            size: 56,
        }
    }
}

impl PingOptions {
    fn check(&self) -> Result<(), Refusal> {
        // ping itself refuses less than 2 ms between probes, and rounds to milliseconds.
        if self.interval.nanos() < 2_000_000 || !self.interval.nanos().is_multiple_of(1_000_000) {
            let message = "`interval` must be whole milliseconds, at least 2ms: ping takes no less";
            return Err(Refusal::option("interval", message));
        }
        // Payloads shorter than a time stamp give no round-trip times.
        if !(16..=65507).contains(&self.size) {
            return Err(Refusal::option("size", "`size` must be 16 to 65507 bytes"));
        }
        Ok(())
    }

    /// All that is refused before anything is started.
    fn refusals(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        if let Err(refusal) = self.check() {
            return vec![refusal];
        }
        // One round trip is no stretch of time that anything could be measured in.
        if intent.window >= 2 * self.interval.duration() {
            return Vec::new();
        }
        let message = format!(
            "a window of {} s has no time for two probes {} apart",
            intent.window.as_secs_f64(),
            self.interval
        );
        let of = Blame::Window;
        vec![Refusal { of, message }]
    }

    /// Probes that fit in `time`, at least one.
    fn count(&self, time: Duration) -> u128 {
        (time.as_nanos() / u128::from(self.interval.nanos())).max(1)
    }

    fn command(&self, flow: &Flow, time: Duration) -> Cmd {
        let interval = self.interval.nanos() / 1_000_000;
        Cmd::new("env")
            .args(["LC_ALL=C", "ping", "-n", "-D"])
            .args(["-i", &format!("{}.{:03}", interval / 1000, interval % 1000)])
            .args(["-c", &self.count(time).to_string(), "-W", &WAIT.to_string()])
            .args(["-s", &self.size.to_string(), &flow.to.to_string()])
            .deadline(time + MARGIN)
    }
}

impl Plugin for Ping {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Ping {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Traffic
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[RTT, LOSS, RTT_MIN, RTT_MEAN, RTT_MAX] }
    }

    /// Its probes leave on time only while replies come: what a stall hides from it, no reply tells.
    fn traffic_loop(&self, _: &Options) -> Option<Loop> {
        Some(Loop::Closed)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["ping"]
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        match crate::options::intended::<PingOptions>(intent) {
            Ok(options) => options.refusals(intent),
            Err(refusal) => vec![refusal],
        }
    }

    /// Of its own runs: extremes and means are for summaries of others.
    fn gives(&self, _: &Options) -> Option<Vec<String>> {
        Some([RTT, LOSS].map(|metric| metric.name.to_owned()).to_vec())
    }

    /// Starts the warm-up probes and returns; the measured ones follow `request.warm_up` later.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        crate::options::fit(self, request)?;
        let options: PingOptions = crate::options::of_request("ping", request)?;
        let jobs = |stream: &'static str, time: Duration| -> Vec<Job> {
            let flows = request.flows.iter();
            flows
                .map(|flow| Job {
                    node: flow.source.clone(),
                    cmd: options.command(flow, time),
                    stream,
                    extension: "txt",
                    flow: Some(flow.subject.clone()),
                    // Probes of the warm-up go to a file of their own.
                    warm_up: Duration::ZERO,
                    about: subject_role(flow, request),
                })
                .collect()
        };
        let phases = Phases {
            batch: Batch::new("ping", request),
            servers: Vec::new(),
            warm_up: jobs("warm-up", request.warm_up),
            measured: jobs("stdout", request.window),
            lead: None,
        };
        phases.start().await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
