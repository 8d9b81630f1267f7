//! A `vexp` with a monitor of one's own: processes that wait for a processor, from `vmstat`.
//!
//! A plugin needs the crate `vexp-api`; the binary needs `vexp` as well, whose built-in plugins it
//! adds its own to:
//!
//! ```text
//! cargo run --example own_plugin -- check engine/cli/tests/data/own_plugin.ncl
//! ```

use std::process::ExitCode;

use async_trait::async_trait;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{
    Captured, Context, Finished, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError,
    Plugin, PluginError, Raw, Running,
};
use vexp_api::record::Artefact;
use vexp_api::sample::{Sample, Unit};
use vexp_api::shell::{Cmd, Process};

const RUNNABLE: MetricInfo = MetricInfo {
    name: "runnable",
    unit: Unit::Count,
    about: "processes that run or wait for a processor, at a moment",
};

/// The plugin.
struct Runnable;

impl Plugin for Runnable {
    fn name(&self) -> &'static str {
        "runnable"
    }

    /// It has no options.
    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Measure for Runnable {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[RUNNABLE] }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["vmstat"]
    }

    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        // A program and its arguments, never a line of shell. It is stopped at the end; the
        // deadline is for the case that nobody does.
        let cmd = Cmd::new("vmstat")
            .args(["-n", "1"])
            .deadline(2 * (request.warm_up + request.window) + std::time::Duration::from_secs(60))
            .stoppable();
        let host = &request.host;
        let process = host.shell.start(cmd.clone()).await;
        Ok(Box::new(Watching {
            process: process.map_err(|e| PluginError::shell("start runnable", &host.name, e))?,
            command: cmd.to_string(),
            request: request.clone(),
        }))
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        let wrong = |line: usize, message: &str| ParseError {
            file: raw.artefact.path.clone(),
            line: Some(line + 1),
            message: message.to_owned(),
        };
        let text = std::str::from_utf8(raw.bytes).map_err(|_| wrong(0, "not UTF-8"))?;
        // Two headings. A last line without its end was cut.
        let lines = text.split_inclusive('\n').enumerate().skip(2);
        let whole = lines.filter(|(_, line)| line.ends_with('\n'));
        whole
            .map(|(i, line)| {
                let value = line.split_ascii_whitespace().next();
                let value = value.and_then(|word| word.parse::<u32>().ok());
                let time = raw.line_times.get(i);
                Ok(Sample {
                    node: raw.artefact.node.clone(),
                    role: raw.artefact.role,
                    metric: name(RUNNABLE.name).map_err(|e| wrong(i, &e.message))?,
                    unit: RUNNABLE.unit,
                    t: *time.ok_or_else(|| wrong(i, "when it was printed is not known"))?,
                    dt: 0.0,
                    value: f64::from(value.ok_or_else(|| wrong(i, "not a line of vmstat's"))?),
                })
            })
            .collect()
    }
}

/// A `vmstat` that runs.
struct Watching {
    process: Box<dyn Process>,
    command: String,
    request: MeasureRequest,
}

#[async_trait]
impl Running for Watching {
    async fn finish(self: Box<Self>) -> Result<Finished, PluginError> {
        let host = &self.request.host;
        let output = self.process.stop().await;
        let output = output.map_err(|e| PluginError::shell("stop runnable", &host.name, e))?;
        let seconds = |at: std::time::Instant| {
            let since = at.saturating_duration_since(self.request.epoch);
            since.as_secs_f64()
        };
        let artefact = Artefact {
            path: format!("raw/{}.runnable.stdout.txt", host.name),
            digest: Digest::of(&output.stdout),
            part: self.request.part,
            tool: name("runnable")?,
            stream: name("stdout")?,
            node: host.name.clone(),
            role: host.role,
            flow: None,
            command: self.command,
            status: output.status,
            stderr: output.stderr_tail(),
            truncated: output.truncated,
            started_s: seconds(output.started),
            ended_s: seconds(output.ended),
            warm_up_s: 0.0,
            options: self.request.options.clone(),
            about: std::collections::BTreeMap::new(),
        };
        Ok(Finished {
            artefacts: vec![Captured {
                artefact,
                line_times: output.line_times.iter().map(|at| seconds(*at)).collect(),
                bytes: output.stdout,
            }],
        })
    }
}

fn name(text: &str) -> Result<Name, PluginError> {
    Name::new(text).map_err(|error| PluginError::new("run runnable", "worker", error.to_string()))
}

fn main() -> ExitCode {
    vexp::run(vexp::registry().measure(Runnable))
}
