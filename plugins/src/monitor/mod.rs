//! Monitors. Those that watch all the time are told to take enough samples for the warm-up, the window and what surrounds
//! them, so that they end by themselves if nobody ends them; they are ended when the traffic is
//! over.

pub mod counters;
pub mod mpstat;
pub mod pidstat;
mod processors;
pub mod sar;
pub mod uptime;
pub mod xentop;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use vexp_api::ids::Name;
use vexp_api::plugin::{
    Blame, Intent, Measure, MeasureRequest, ParseError, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::NodeRole;
use vexp_api::shell::Cmd;
use vexp_api::units::TimeSpan;

use crate::capture::{Batch, Job, Jobs, MARGIN};
use crate::text::{alone, whole};

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

/// What is refused of a monitor that prints a sample each interval.
fn refusals(intent: &Intent<'_>) -> Vec<Refusal> {
    let options: MonitorOptions = match crate::options::intended(intent) {
        Ok(options) => options,
        Err(refusal) => return vec![refusal],
    };
    let wrong = |message: &str| Refusal::option("interval", message);
    match options.seconds() {
        Err(message) => vec![wrong(message)],
        // No sample would lie in the window, or one now and then.
        Ok(seconds) if Duration::from_secs(seconds) > intent.window => {
            let message = format!(
                "a window of {} s is shorter than the {seconds} s from one sample to the next",
                intent.window.as_secs_f64()
            );
            let of = Blame::Window;
            vec![Refusal { of, message }]
        }
        Ok(_) => Vec::new(),
    }
}

/// How long a monitor may take to print its first lines.
const READY: Duration = Duration::from_secs(30);

/// A command that goes before all others on its node, in real time: where the traffic takes all there
/// is, a monitor that waits for its turn would see nothing. In a dom0 with one emulated processor that
/// forwards at full rate, xentop's second was seen to take nine under nice(1), since what ksoftirqd does
/// comes in the same class.
fn first(program: &str) -> Cmd {
    Cmd::new("chrt").args(["--fifo", "20", program])
}

/// A tool of sysstat, with times and numbers as the parsers read them.
fn sysstat(tool: &str) -> Cmd {
    first("env").args(["LC_ALL=C", "S_TIME_FORMAT=ISO", tool])
}

/// The interval of a file's samples in seconds.
fn delay(raw: &Raw<'_>) -> Result<f64, ParseError> {
    let options: MonitorOptions =
        crate::options::read(&raw.artefact.options).map_err(|e| whole(raw, e.to_string()))?;
    let seconds = options.seconds().map_err(|e| whole(raw, e))?;
    Ok(seconds as f64)
}

/// The interval that was asked for, seconds; `None` in a file that stands alone without the option.
fn asked(raw: &Raw<'_>) -> Result<Option<f64>, ParseError> {
    if alone(raw) && !raw.artefact.options.contains_key("interval") {
        return Ok(None);
    }
    delay(raw).map(Some)
}

/// Refuses a file that stands alone and does not say how long its samples are; `about` seconds by its
/// counters.
fn unknown_length(raw: &Raw<'_>, about: Option<f64>) -> ParseError {
    let about = about.map(|seconds| format!(" (about {seconds:.1} s by its counters)"));
    let message = format!(
        "the file does not say how long {}'s samples are{}: give --interval",
        raw.artefact.tool,
        about.unwrap_or_default()
    );
    whole(raw, message)
}

/// The node of a guest that its host calls `text`; `None` for one that is not of the trial. A file that
/// stands alone says nothing about nodes: there any guest has one, whose name has `-` for what names of
/// nodes can't have, and small letters.
fn guest(raw: &Raw<'_>, text: &str) -> Option<Name> {
    let about = &raw.artefact.about;
    let name = Name::new(text).ok();
    if !about.is_empty() || !alone(raw) {
        return name.filter(|name| about.is_empty() || about.get(name) == Some(&NodeRole::Guest));
    }
    let plain = |c: char| {
        let c = c.to_ascii_lowercase();
        let known = c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if known { c } else { '-' }
    };
    name.or_else(|| {
        let text: String = text.chars().map(plain).collect();
        Name::new(text.trim_start_matches(['.', '_', '-'])).ok()
    })
}

/// Refuses samples that arrived in one lump: their arrival says nothing about their time.
fn unbuffered(
    raw: &Raw<'_>,
    mut arrivals: impl ExactSizeIterator<Item = Option<f64>> + DoubleEndedIterator,
    delay: f64,
) -> Result<(), ParseError> {
    let count = arrivals.len();
    let Some(Some(first)) = arrivals.next() else {
        return Ok(());
    };
    let Some(Some(last)) = arrivals.next_back() else {
        return Ok(());
    };
    if last - first >= 0.5 * delay * (count - 1) as f64 {
        return Ok(());
    }
    let message = format!(
        "{count} samples {delay} s apart arrived within {:.1} s: the output was buffered, so that their times are unknown",
        last - first
    );
    Err(whole(raw, message))
}

/// Starts a monitor on the host and waits until it has printed something, so that traffic never
/// starts before it watches; `command` gets the interval in seconds and the number of samples.
async fn start(
    plugin: &(impl Measure + ?Sized),
    request: &MeasureRequest,
    command: impl FnOnce(u64, u64) -> Cmd,
) -> Result<Box<dyn Running>, PluginError> {
    crate::options::fit(plugin, request)?;
    let tool = plugin.name();
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
        cmd: command(seconds, samples).deadline(deadline).stoppable(),
        stream: "stdout",
        extension: "txt",
        flow: None,
        warm_up: Duration::ZERO,
        about,
    };
    let batch = Batch::new(tool, request);
    let mut launched = batch.launch(vec![job]).await?;
    for one in &mut launched {
        // One that prints nothing ends with its reason on standard error, which is kept.
        one.process.printed(1, READY).await;
    }
    Ok(Box::new(Jobs { batch, launched }))
}

#[cfg(test)]
mod tests {
    use vexp_api::plugin::Measure;
    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use super::*;
    use crate::testing::{name, request};

    #[tokio::test]
    async fn monitors_cover_warm_up_and_window_with_a_margin() {
        let cases: [(&dyn Measure, &str); 4] = [
            (&xentop::Xentop, "chrt --fifo 20 xentop -b -f -d 1 -i 14"),
            (
                &sar::Sar,
                "chrt --fifo 20 env LC_ALL=C S_TIME_FORMAT=ISO sar -u ALL -P ALL 1 14",
            ),
            (
                &mpstat::Mpstat,
                "chrt --fifo 20 env LC_ALL=C S_TIME_FORMAT=ISO mpstat -P ALL 1 14",
            ),
            (
                &pidstat::Pidstat,
                "chrt --fifo 20 env LC_ALL=C S_TIME_FORMAT=ISO pidstat -u -h -H -l -p ALL -C \"^qemu-system\" 1 14",
            ),
        ];
        for (plugin, command) in cases {
            let before = match plugin.name() {
                "xentop" => "$ pgrep -x \"o?xenstored\"\n71\n$ chrt --fifo --pid 15 71\n",
                _ => "",
            };
            let transcript = format!("{before}$ {command}\nsome output\n");
            let shell = FakeShell::replay(name("host"), &transcript);
            let mut request = request(Role::Sender, Vec::new());
            request.host.shell = std::sync::Arc::new(shell.clone());
            request.warm_up = Duration::from_secs(2);
            request.window = Duration::from_secs(3);
            let running = plugin.start(&request, &context()).await.unwrap();
            let mut finished = running.finish().await.unwrap();
            shell.finish().unwrap();
            let captured = finished.artefacts.remove(0);
            assert_eq!(
                captured.artefact.path,
                format!("raw/host.{}.stdout.txt", plugin.name())
            );
            assert_eq!(captured.artefact.about[&name("vm1")], NodeRole::Guest);
            assert_eq!(captured.bytes, b"some output\n");
        }
    }

    #[tokio::test]
    async fn intervals_are_whole_seconds() {
        for bad in ["500ms", "1500ms", "0s"] {
            let mut request = request(Role::Sender, Vec::new());
            request.options.insert("interval".to_owned(), bad.into());
            let error = sar::Sar.start(&request, &context()).await.err().unwrap();
            assert!(
                error.to_string().contains("whole seconds"),
                "{bad}: {error}"
            );
        }
    }
}
