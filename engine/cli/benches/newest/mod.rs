//! What the newest complete run has cost, from its own records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vexp_api::event::Event;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::record::{Outcome, RunRecord, TrialRecord};
use vexp_engine::run::files;

use crate::Failed;

/// A line of `events.jsonl`.
#[derive(serde::Deserialize)]
struct Line {
    at: String,
    #[serde(flatten)]
    event: Event,
}

/// Times in seconds.
pub(crate) struct Costs {
    /// From the run's start to the first measured packet.
    pub(crate) first: f64,
    /// The same from the start of each of a platform's machines.
    pub(crate) platforms: BTreeMap<Name, Vec<f64>>,
    /// All of the run.
    pub(crate) wall: f64,
    /// Measured windows, added up.
    pub(crate) windows: f64,
    /// How many there are.
    pub(crate) measured: usize,
    /// Of a platform's trials: their own time, and how long this computer took for them.
    pub(crate) trials: BTreeMap<Name, (f64, f64)>,
}

/// The newest run of effort quick on a testbed in a folder that has ended with all of its trials.
pub(crate) fn complete(runs: &Path, testbed: &str) -> Result<PathBuf, Failed> {
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(runs)
        .map_err(|error| format!("{}: {error}", runs.display()))?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // Runs of another format or that are being written are passed over.
            let record: RunRecord = files::read_json(&path.join("run.json")).ok()?;
            let plan: Plan = files::read_json(&path.join("plan.json")).ok()?;
            let trial = |id| files::trial_dir(&path, id).join("trial.json").exists();
            let whole = record.ended.is_some() && plan.trials().all(|one| trial(&one.id));
            let asked = plan.effort == *"quick" && plan.testbed == *testbed;
            (whole && asked).then_some((record.started, path))
        })
        .collect();
    // Times in UTC sort as text.
    found.sort();
    let newest = found.pop();
    newest.map(|(_, path)| path).ok_or_else(|| {
        let runs = runs.display();
        format!("{runs} has no complete run of effort quick on {testbed}").into()
    })
}

impl Costs {
    /// Reads a run's folder. Of a run that was resumed, only the last part counts.
    pub(crate) fn read(run: &Path) -> Result<Self, Failed> {
        let plan: Plan = files::read_json(&run.join("plan.json"))?;
        let of_trial: BTreeMap<_, _> = plan
            .blocks
            .iter()
            .flat_map(|block| block.trials.iter().map(move |trial| (&trial.id, block)))
            .collect();
        let text = std::fs::read_to_string(run.join("events.jsonl"))?;
        let mut lines = Vec::new();
        for line in text.lines() {
            let Line { at, event } = serde_json::from_str(line)?;
            let at: jiff::Timestamp = at.parse()?;
            let at = at.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64();
            if matches!(event, Event::RunStarted { .. }) {
                lines.clear();
            }
            lines.push((at, event));
        }
        let (Some((start, _)), Some((end, Event::RunEnded { .. }))) = (lines.first(), lines.last())
        else {
            return Err("events.jsonl has no run from start to end".into());
        };
        let mut costs = Self {
            first: f64::NAN,
            platforms: BTreeMap::new(),
            wall: end - start,
            windows: 0.0,
            measured: 0,
            trials: BTreeMap::new(),
        };
        let (mut booting, mut running) = (BTreeMap::new(), BTreeMap::new());
        for (at, event) in &lines {
            match event {
                Event::BlockStarted { block } => {
                    booting.insert(block, *at);
                }
                Event::TrialStarted { trial, .. } => {
                    running.insert(trial, *at);
                }
                Event::TrialMeasuring { trial } => {
                    costs.first = costs.first.min(at - start);
                    let Some(block) = of_trial.get(trial) else {
                        continue;
                    };
                    if let Some(began) = booting.remove(&block.id) {
                        let platform = block.machine.platform.clone();
                        costs
                            .platforms
                            .entry(platform)
                            .or_default()
                            .push(at - began);
                    }
                }
                Event::TrialEnded {
                    trial,
                    outcome: Outcome::Measured,
                    seconds,
                    ..
                } => {
                    if let (Some(began), Some(block)) = (running.remove(trial), of_trial.get(trial))
                    {
                        let platform = block.machine.platform.clone();
                        let (own, took) = costs.trials.entry(platform).or_default();
                        *own += seconds;
                        *took += at - began;
                    }
                    let path = files::trial_dir(run, trial).join("trial.json");
                    let record: TrialRecord = files::read_json(&path)?;
                    costs.windows += record.window.map_or(0.0, |w| w.end_s - w.start_s);
                    costs.measured += 1;
                }
                _ => {}
            }
        }
        for times in costs.platforms.values_mut() {
            times.sort_by(f64::total_cmp);
        }
        Ok(costs)
    }
}

/// The middle of sorted values.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    match n {
        0 => f64::NAN,
        _ => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}
