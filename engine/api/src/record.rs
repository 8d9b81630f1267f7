//! The run directory: what is written where, and in which format.
//!
//! ```text
//! RUN/run.json                     RunRecord
//! RUN/study.json  RUN/plan.json    canonical JSON of Study and Plan
//! RUN/source/                      the spec's own files
//! RUN/images.json                  manifests of the images that were used, by name
//! RUN/events.jsonl                 one Event a line
//! RUN/blocks/BLOCK/block.json      BlockRecord
//! RUN/blocks/BLOCK/load.json       in virtual time: how busy the computer was, see `compared`
//! RUN/blocks/BLOCK/console.log     serial console of the machine
//! RUN/blocks/BLOCK/environment.json Environment: what nodes were before the trials and after them
//! RUN/blocks/BLOCK/env/NODE.txt    what each node answered before, raw; after: env-after/NODE.txt
//! RUN/trials/TRIAL/trial.json      TrialRecord; its presence means that the trial has ended
//! RUN/trials/TRIAL/trace.jsonl     in virtual time: what links carried and vexp ran, see `trace`
//! RUN/trials/TRIAL/raw/*           raw artefacts as they came, and FILE.times beside FILE: see
//!                                  write_line_times
//! RUN/compared.json                what its results were compared with, if they were: see `compared`
//! RUN/failed/ATTEMPT/TRIAL/        trials that failed, or that instruments spoiled, and that were tried
//!                                  again, as they were recorded
//! RUN/failed/ATTEMPT/blocks/BLOCK/ console and record of the machine that they were tried on
//! RUN/taken/RUN/BLOCK/             what an earlier run recorded of a machine of which this one took some trials
//!                                  over, and measured others again
//! RUN/batch/                       on a batch engine: what dispatcher and tasks tell each other; in no bundle
//! RUN/frames/*.parquet RUN/frames/*.json  derived; may be deleted and made again
//! RUN/report/                      derived as well
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::Name;
use crate::sample::NodeRole;
use crate::spec::Options;

/// The version of the run directory's format. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// `STUDY-YYYYMMDD-HHMMSS-xxxx`.
    pub id: Name,
    /// Version of vexp.
    pub vexp: String,
    /// The study's main file below `source/`, where the others are its imports.
    #[serde(default)]
    pub main: Option<String>,
    /// The pattern that selected its trials, if one did.
    #[serde(default)]
    pub only: Option<String>,
    /// When it was started, RFC 3339 in UTC.
    pub started: String,
    /// When it ended; `None` while it runs or if it was killed.
    pub ended: Option<String>,
    /// What the run was expected to take when it was started, in seconds; `None` if it was resumed,
    /// for then `started` and `ended` do not say what it took.
    #[serde(default)]
    pub estimate_s: Option<f64>,
    /// What the controller is: kernel, processors, memory, emulator.
    pub controller: BTreeMap<String, String>,
    /// Which computer the controller is: a digest of its processor's model and of its machine-id(5). `None` where it has no
    /// such id, or where the run was finished on another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computer: Option<Digest>,
    /// Deviations that were only known at run time, beside the plan's.
    #[serde(default)]
    pub deviations: Vec<crate::plan::Deviation>,
    /// Trials that earlier runs measured and that were taken over, by the run that measured them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<Taken>,
    /// SHA-256 of the bundle that this run measures again, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
}

impl RunRecord {
    /// The earlier run that measured a trial of this one.
    pub fn origin(&self, trial: &Name) -> Option<&Taken> {
        self.taken
            .iter()
            .find(|taken| taken.trials.contains_key(trial))
    }
}

/// Trials that were taken over from an earlier run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Taken {
    /// The run that measured them.
    pub run: Name,
    /// SHA-256 of its `run.json`.
    pub digest: Digest,
    /// Version of vexp that measured them.
    pub vexp: String,
    /// When that run was started, RFC 3339 in UTC.
    pub started: String,
    /// SHA-256 of each one's `trial.json`, which has those of its raw artefacts.
    pub trials: BTreeMap<Name, Digest>,
}

/// `block.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlockRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Block.
    pub block: Name,
    /// What the testbed says: accelerator, emulator …
    pub site: BTreeMap<String, String>,
    /// What the hypervisor plugin saw when it prepared the host: version, scheduler, weights …
    pub host: BTreeMap<String, String>,
    /// Seconds from the acquisition to a host that answers.
    pub boot_s: f64,
    /// Guests that were there already because a snapshot was restored; `None` if the machine was
    /// booted.
    #[serde(default)]
    pub restored: Option<u32>,
    /// Seconds of each guest's boot, in order of the boots.
    pub guest_boots: Vec<GuestBoot>,
    /// What was another after the trials than before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<crate::environment::Difference>,
    /// Nodes that did not say what they were: the block's trials are invalid then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<crate::environment::Unread>,
}

/// One boot of a guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GuestBoot {
    /// Guest.
    pub guest: Name,
    /// Seconds until it answered.
    pub seconds: f64,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Measured as planned.
    Measured,
    /// Something ran, but not as planned: its data are kept and not used.
    Invalid {
        /// Why.
        reason: String,
        /// Whether instruments spoiled it, and not what was measured: such a trial is measured again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        instruments: bool,
    },
    /// It could not be measured.
    Failed {
        /// The error with its causes: step, node, command, standard error's tail, log path.
        error: String,
    },
}

/// `trial.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrialRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Trial.
    pub trial: Name,
    /// Block.
    pub block: Name,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When its epoch was, RFC 3339 in UTC. All other times are seconds since the epoch on the
    /// worker's monotonic clock.
    pub epoch: String,
    /// The measured window.
    pub window: Option<Window>,
    /// What the hypervisor plugin read back before the trial: scheduler, weights, guests …
    #[serde(default)]
    pub setup: BTreeMap<String, String>,
    /// When it was over, all artefacts being written.
    pub ended_s: f64,
    /// Raw artefacts, sorted by path.
    pub artefacts: Vec<Artefact>,
    /// What was traced of it, where time is virtual. Results don't stand on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceFile>,
    /// The computer that measured it, where that is a node of a batch engine and not the run's controller. No digest
    /// of results has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computer: Option<Computer>,
}

/// A computer that measured trials of a run.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Computer {
    /// Its name as the batch engine has it.
    pub node: String,
    /// What it is, with the same names as [`RunRecord::controller`]. Empty where time is virtual, as nothing depends on
    /// it there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// Of a computer's facts those that make its kind: two computers with the same ones can be set beside each other.
/// Memory is not among them: firmware takes more of it on one computer than on the next of the same model.
const KIND: [&str; 3] = ["processor", "processors", "kernel"];

/// The kind of a computer with these facts; `None` where nothing is known of it.
pub fn kind(facts: &BTreeMap<String, String>) -> Option<String> {
    let known = KIND
        .iter()
        .filter_map(|name| Some((name, facts.get(*name)?)));
    let known: Vec<String> = known
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    (!known.is_empty()).then(|| known.join(", "))
}

/// The file with a trial's trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TraceFile {
    /// Path below the trial's folder.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Borders and frames of the lockstep that were late in the trial: with one it is invalid.
    pub late: u64,
}

/// A stretch of time in seconds since the trial's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Window {
    /// First moment.
    pub start_s: f64,
    /// Last moment.
    pub end_s: f64,
}

/// What an artefact is part of.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Measured traffic.
    Traffic,
    /// Load on other guests.
    Load,
    /// A monitor.
    Monitor,
}

/// A raw file and what one must know to parse it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Artefact {
    /// Path below the trial's folder: `raw/vm1.iperf3.client.json`.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// What it is part of.
    pub part: Part,
    /// Plugin that made it and can parse it.
    pub tool: Name,
    /// What it is to the plugin: `client`, `server`, `stdout`.
    pub stream: Name,
    /// Node that it came from.
    pub node: Name,
    /// Where that node stands.
    pub role: NodeRole,
    /// For traffic: the node under test that the flow is accounted to (`vm1`, or `host`).
    pub flow: Option<Name>,
    /// The command, for the record.
    pub command: String,
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Standard error's tail.
    pub stderr: String,
    /// Whether output was cut at the cap.
    pub truncated: bool,
    /// When the program was started.
    pub started_s: f64,
    /// When it had ended.
    pub ended_s: f64,
    /// Seconds at the beginning of the test that are not measured: parsers leave out what began in
    /// them. Counted from the test's first packet, not from `started_s`.
    #[serde(default)]
    pub warm_up_s: f64,
    /// Options of the measure.
    pub options: Options,
    /// Roles of nodes by name that the tool may report on: `xentop` reports on guests.
    #[serde(default)]
    pub about: BTreeMap<Name, NodeRole>,
}

/// Text of a `FILE.times`: when each line of FILE had arrived, seconds since the trial's epoch,
/// one number a line with nine decimals.
pub fn write_line_times(times: &[f64]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for time in times {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{time:.9}");
    }
    text
}

/// A line of a `FILE.times` is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{}` is not a finite number of seconds", .text.escape_debug())]
pub struct BadLineTime {
    /// Line, from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

/// Reads what [`write_line_times`] wrote.
pub fn read_line_times(text: &str) -> Result<Vec<f64>, BadLineTime> {
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            line.parse::<f64>()
                .ok()
                .filter(|time| time.is_finite())
                .ok_or_else(|| BadLineTime {
                    line: i + 1,
                    text: line.to_owned(),
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_s_kind_is_what_results_depend_on() {
        let facts = |memory: &str, kernel: &str| {
            let pairs = [
                ("memory", memory),
                ("kernel", kernel),
                ("processor", "Xeon"),
            ];
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        let one = kind(&facts("8 GB", "6.1")).unwrap();
        assert_eq!(one, "processor Xeon, kernel 6.1");
        assert_eq!(kind(&facts("9 GB", "6.1")).unwrap(), one);
        assert_ne!(kind(&facts("8 GB", "6.12")).unwrap(), one);
        assert_eq!(kind(&BTreeMap::new()), None);
    }

    #[test]
    fn line_times_round_trip_and_refuse_what_is_no_time() {
        let times = [0.0, 1.25, 12.000_000_001];
        assert_eq!(read_line_times(&write_line_times(&times)).unwrap(), times);
        assert_eq!(read_line_times("").unwrap(), [0.0; 0]);
        assert_eq!(read_line_times("1.0\nnan\n").unwrap_err().line, 2);
    }
}
