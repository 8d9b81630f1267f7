//! Processor time of the host with sysstat's sar.
//!
//! On a KVM host this is everything, QEMU and its guests too; pidstat tells the guests' parts of it
//! apart. The total is sar's, and pidstat's values are never added to it.

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

pub(crate) const CPU: MetricInfo = MetricInfo {
    name: "cpu",
    unit: Unit::CpuPercent,
    about: "busy processor time of the host, summed over processors; guests of KVM are part of it",
};
pub(crate) const GUEST: MetricInfo = MetricInfo {
    name: "cpu_guest_time",
    unit: Unit::CpuPercent,
    about: "processor time that virtual processors ran, summed over processors; part of `cpu`",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Sar;

impl Plugin for Sar {
    fn name(&self) -> &'static str {
        "sar"
    }

    fn contract(&self) -> &'static str {
        include_str!("../contract.ncl")
    }
}

#[async_trait]
impl Measure for Sar {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    /// It reads ticks.
    fn counting(&self) -> Counting {
        Counting::RealTime
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[CPU, GUEST] }
    }

    fn sees_guests(&self) -> bool {
        false
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        super::refusals(intent)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chrt", "sar"]
    }

    /// Starts it on `request.host`.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        super::start(self, request, |seconds, samples| {
            super::sysstat("sar")
                .args(["-u", "ALL", "-P", "ALL"])
                .args([seconds.to_string(), samples.to_string()])
        })
        .await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
