//! Processor time of every domain with xentop in dom0.

mod parse;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, Node, ParseError, Plugin,
    PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::{Sample, Unit};
use vexp_api::shell::Cmd;

pub(crate) const CPU: MetricInfo = MetricInfo {
    name: "cpu",
    unit: Unit::CpuPercent,
    about: "processor time of the domain, summed over its virtual processors",
};

/// The step that errors name.
const STEP: &str = "start xentop";

/// xentop asks xenstored for each domain's name in each iteration, and waits for it as long as that
/// waits for its turn (sched(7)).
async fn put_store_first(host: &Node) -> Result<(), PluginError> {
    let failed = |error| PluginError::shell(STEP, &host.name, error);
    let find = Cmd::new("pgrep").args(["-x", "o?xenstored"]);
    let found = host.shell.check(find).await.map_err(failed)?.text();
    for pid in found.split_ascii_whitespace() {
        if pid.parse::<u32>().is_err() {
            let message = format!("`pgrep` printed {:?}, which is no process", pid);
            return Err(PluginError::new(STEP, host.name.as_str(), message));
        }
        let first = Cmd::new("chrt").args(["--fifo", "--pid", "15", pid]);
        host.shell.check(first).await.map_err(failed)?;
    }
    Ok(())
}

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

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        super::refusals(intent)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chrt", "pgrep", "xentop"]
    }

    /// Starts it in dom0, which is `request.host`; domains must be named like `request.guests`.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        put_store_first(&request.host).await?;
        super::start(self, request, |seconds, samples| {
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
