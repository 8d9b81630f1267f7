//! Processor time of every domain with xentop in dom0.

mod parse;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError, Plugin, PluginError,
    Raw, Running,
};
use vexp_api::sample::{Sample, Unit};

pub(crate) const CPU: MetricInfo = MetricInfo {
    name: "cpu",
    unit: Unit::CpuPercent,
    about: "processor time of the domain, summed over its virtual processors",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Xentop;

impl Plugin for Xentop {
    fn name(&self) -> &'static str {
        "xentop"
    }

    fn contract(&self) -> &'static str {
        include_str!("../contract.ncl")
    }
}

#[async_trait]
impl Measure for Xentop {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[CPU] }
    }

    /// Starts it in dom0, which is `request.host`; domains must be named like `request.guests`.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        super::start("xentop", request, |seconds, samples| {
            // xentop 4.17 and 4.20 flush after each iteration, which lines' times rely on.
            super::first("xentop").args(["-b", "-f"]).args([
                "-d",
                &seconds.to_string(),
                "-i",
                &samples.to_string(),
            ])
        })
        .await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
