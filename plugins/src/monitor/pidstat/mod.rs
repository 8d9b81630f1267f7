//! Processor time of each KVM guest with sysstat's pidstat on the host.
//!
//! A guest is a process: QEMU with all its threads. Its virtual processors run in it, and so does
//! the work that moves its packets, since its taps are used without vhost: QEMU's main thread reads
//! and writes them. (With vhost a kernel thread would; since Linux 6.4 that one belongs to the
//! process too.) What the host's kernel does for no process, such as bridging in a deferred
//! interrupt, is in no guest's time.
//!
//! The host's total is sar's, of which these are parts: the host's own time is the total less the
//! sum over guests. Nothing here is called `cpu` of the host.

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

const CPU: MetricInfo = MetricInfo {
    name: "cpu",
    unit: Unit::CpuPercent,
    about: "processor time of the guest's QEMU: its virtual processors and what QEMU does for it",
};
const GUEST: MetricInfo = MetricInfo {
    name: "cpu_guest_time",
    unit: Unit::CpuPercent,
    about: "processor time that the guest's virtual processors ran; part of `cpu`",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Pidstat;

impl Plugin for Pidstat {
    fn name(&self) -> &'static str {
        "pidstat"
    }

    fn contract(&self) -> &'static str {
        include_str!("../contract.ncl")
    }
}

#[async_trait]
impl Measure for Pidstat {
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

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        super::refusals(intent)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chrt", "pidstat"]
    }

    /// Starts it on `request.host`, whose QEMUs must be named like `request.guests`.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        super::start(self, request, |seconds, samples| {
            super::sysstat("pidstat")
                // Without -p ALL a guest that does nothing would not be listed. With -l the pattern
                // is held against command lines, and pidstat's own has it, but not at the start.
                .args(["-u", "-h", "-H", "-l", "-p", "ALL", "-C", "^qemu-system"])
                .args([seconds.to_string(), samples.to_string()])
        })
        .await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        parse::parse(raw)
    }
}
