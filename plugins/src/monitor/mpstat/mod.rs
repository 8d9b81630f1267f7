//! Time of each processor of the host with sysstat's mpstat: whether one of them is exhausted while
//! the sum is not, and by what.
//!
//! Samples are named after the processor: `cpu0.busy`, `cpu0.soft`, `cpu1.busy` … None is called
//! `cpu`, which is the host's sum by sar, so that nothing is added up twice.

mod parse;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Counting, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError,
    Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::{Sample, Unit};

const fn share(name: &'static str, about: &'static str) -> MetricInfo {
    MetricInfo {
        name,
        unit: Unit::CpuPercent,
        about,
    }
}

const BUSY: MetricInfo = share(
    "busy",
    "of one processor (`cpu0.busy`): neither idle, nor waiting for a disk, nor taken away",
);
const USER: MetricInfo = share("usr", "of one processor: programs, guests apart");
const SYSTEM: MetricInfo = share("sys", "of one processor: the kernel, interrupts apart");
const IRQ: MetricInfo = share("irq", "of one processor: interrupts");
const SOFT: MetricInfo = share(
    "soft",
    "of one processor: deferred interrupts, as NICs make",
);
const STEAL: MetricInfo = share("steal", "of one processor: other domains ran; not busy");
const GUEST: MetricInfo = share("guest", "of one processor: virtual processors of KVM ran");

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Mpstat;

impl Plugin for Mpstat {
    fn name(&self) -> &'static str {
        "mpstat"
    }

    fn contract(&self) -> &'static str {
        include_str!("../contract.ncl")
    }
}

#[async_trait]
impl Measure for Mpstat {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    /// It reads ticks.
    fn counting(&self) -> Counting {
        Counting::RealTime
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[BUSY, USER, SYSTEM, IRQ, SOFT, STEAL, GUEST] }
    }

    fn sees_guests(&self) -> bool {
        false
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        super::refusals(intent)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chrt", "mpstat"]
    }

    /// Starts it on `request.host`.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        super::start(self, request, |seconds, samples| {
            super::sysstat("mpstat")
                .args(["-P", "ALL"])
                .args([seconds.to_string(), samples.to_string()])
        })
        .await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
