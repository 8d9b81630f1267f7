//! Trials that are tried again: those that failed, once, and those that instruments spoiled, twice. How
//! often a trial was tried, and what is kept of each.

use std::path::{Path, PathBuf};

use vexp_api::ids::Name;
use vexp_api::plan::Block;
use vexp_api::record::{Outcome, TrialRecord};

use super::files::{self, FileError};

/// How often a trial is tried before it counts as failed.
const ATTEMPTS: u32 = 2;
/// How often a trial is measured before it counts as invalid, if instruments spoil it each time. Leaving
/// it out at once would favour what is easy to measure.
const MEASUREMENTS: u32 = 3;

/// Trials of a block that will be tried again, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Again {
    /// How many have failed.
    pub(super) failed: usize,
    /// How many instruments have spoiled.
    pub(super) spoiled: usize,
}

impl Again {
    /// Whether there are none.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Whether trials of a block would be tried again. Nothing is moved.
pub(super) fn are_left(run: &Path, block: &Block) -> Result<bool, FileError> {
    for trial in &block.trials {
        let path = files::trial_record(run, &trial.id);
        if path.exists() {
            let record: TrialRecord = files::read_json(&path)?;
            let left = most(&record.outcome).and_then(|most| next_attempt(run, &trial.id, most));
            if left.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// How often a trial with such an outcome is tried in all; `None` where it is not tried again.
fn most(outcome: &Outcome) -> Option<u32> {
    match outcome {
        Outcome::Failed { .. } => Some(ATTEMPTS),
        Outcome::Invalid {
            instruments: true, ..
        } => Some(MEASUREMENTS),
        Outcome::Invalid { .. } | Outcome::Measured => None,
    }
}

/// Moves the records of trials that may be tried again to `failed/ATTEMPT/`, where they are kept with what
/// is known of their machine. How often a trial was tried is seen there, so that a run that is resumed
/// goes on in the middle.
pub(super) fn set_aside(run: &Path, block: &Block) -> Result<Again, FileError> {
    let mut again = Again::default();
    for trial in &block.trials {
        let path = files::trial_record(run, &trial.id);
        if !path.exists() {
            continue;
        }
        let record: TrialRecord = files::read_json(&path)?;
        let attempt = most(&record.outcome).and_then(|most| next_attempt(run, &trial.id, most));
        let Some(attempt) = attempt else {
            continue;
        };
        match record.outcome {
            Outcome::Failed { .. } => again.failed += 1,
            _ => again.spoiled += 1,
        }
        keep_machine(run, block, attempt)?;
        let folder = failed(run, attempt);
        files::create_dir(&folder)?;
        let from = files::trial_dir(run, &trial.id);
        files::rename(&from, &folder.join(trial.id.as_str()))?;
    }
    Ok(again)
}

/// Which attempt it is that would be set aside now; `None` after the last but one.
fn next_attempt(run: &Path, trial: &Name, most: u32) -> Option<u32> {
    (1..most).find(|attempt| !failed(run, *attempt).join(trial.as_str()).exists())
}

fn failed(run: &Path, attempt: u32) -> PathBuf {
    run.join("failed").join(attempt.to_string())
}

/// Keeps what is known of a machine on which trials have failed: the next one writes in its place.
fn keep_machine(run: &Path, block: &Block, attempt: u32) -> Result<(), FileError> {
    let from = files::block_dir(run, &block.id);
    let to = failed(run, attempt).join("blocks").join(block.id.as_str());
    files::create_dir(&to)?;
    for name in ["block.json", "console.log", "qemu.log"] {
        // It may have died before it left anything, or be kept already.
        if from.join(name).exists() && !to.join(name).exists() {
            files::copy(&from.join(name), &to.join(name))?;
        }
    }
    Ok(())
}
