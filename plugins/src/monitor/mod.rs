//! Monitors. Both run for a bounded number of samples that covers the warm-up, the window and a
//! margin on either side, so that they end by themselves.

pub mod sar;
pub mod xentop;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use vexp_api::ids::Name;
use vexp_api::plugin::{MeasureRequest, PluginError, Running};
use vexp_api::sample::NodeRole;
use vexp_api::shell::Cmd;
use vexp_api::units::TimeSpan;

use crate::capture::{Batch, Job, Jobs, MARGIN};

/// Time beyond warm-up and window that a monitor covers: servers and clients are started after it,
/// and its own first sample is of no use.
const SURPLUS: Duration = Duration::from_secs(8);

/// Options of a monitor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MonitorOptions {
    /// Time between two samples, in whole seconds.
    pub(crate) interval: TimeSpan,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            interval: TimeSpan::from_secs(1),
        }
    }
}

impl MonitorOptions {
    /// The interval in seconds, which must be whole and at least 1: the tools take nothing else.
    pub(crate) fn seconds(&self) -> Result<u64, &'static str> {
        let nanos = self.interval.nanos();
        if nanos == 0 || !nanos.is_multiple_of(1_000_000_000) {
            return Err("`interval` must be whole seconds, at least 1s");
        }
        Ok(nanos / 1_000_000_000)
    }
}

/// Starts a monitor on the host; `command` gets the interval in seconds and the number of samples.
async fn start(
    tool: &'static str,
    request: &MeasureRequest,
    command: impl FnOnce(u64, u64) -> Cmd,
) -> Result<Box<dyn Running>, PluginError> {
    let options: MonitorOptions = crate::options::of_request(tool, request)?;
    let seconds = options.seconds().map_err(|message| {
        PluginError::new(format!("start {tool}"), request.host.name.as_str(), message)
    })?;
    let cover = request.warm_up + request.window + SURPLUS;
    let samples = cover.as_secs().div_ceil(seconds) + 1;
    let deadline = Duration::from_secs(samples.saturating_mul(seconds)) + MARGIN;
    let about: BTreeMap<Name, NodeRole> = request
        .guests
        .iter()
        .chain([&request.host])
        .map(|node| (node.name.clone(), node.role))
        .collect();
    let job = Job {
        node: request.host.clone(),
        cmd: command(seconds, samples).deadline(deadline),
        stream: "stdout",
        extension: "txt",
        flow: None,
        about,
    };
    let batch = Batch::new(tool, request);
    let launched = batch.launch(vec![job]).await?;
    Ok(Box::new(Jobs { batch, launched }))
}
