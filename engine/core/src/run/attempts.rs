//! What failed is tried once more: how often a trial was tried, and what is kept of each failure.

use std::path::{Path, PathBuf};

use vexp_api::ids::Name;
use vexp_api::plan::Block;
use vexp_api::record::{Outcome, TrialRecord};

use super::files::{self, FileError};

/// How often a trial is tried before it counts as failed.
const ATTEMPTS: u32 = 2;

/// Moves the records of trials that failed, and may be tried again, to `failed/ATTEMPT/`, where they are
/// kept with what is known of their machine. How often a trial was tried is seen there, so that a run
/// that is resumed goes on in the middle. Says whether there were any.
pub(super) fn set_failed_aside(run: &Path, block: &Block) -> Result<bool, FileError> {
    let mut any = false;
    for trial in &block.trials {
        let path = files::trial_record(run, &trial.id);
        let Some(attempt) = next_attempt(run, &trial.id) else {
            continue;
        };
        if !path.exists() {
            continue;
        }
        let record: TrialRecord = files::read_json(&path)?;
        if matches!(record.outcome, Outcome::Failed { .. }) {
            if !any {
                keep_machine(run, block, attempt)?;
            }
            let folder = failed(run, attempt);
            files::create_dir(&folder)?;
            let from = files::trial_dir(run, &trial.id);
            files::rename(&from, &folder.join(trial.id.as_str()))?;
            any = true;
        }
    }
    Ok(any)
}

/// Which attempt it is whose failure would be set aside now; `None` after the last but one.
fn next_attempt(run: &Path, trial: &Name) -> Option<u32> {
    (1..ATTEMPTS).find(|attempt| !failed(run, *attempt).join(trial.as_str()).exists())
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
        // It may have died before it left anything.
        if from.join(name).exists() {
            files::copy(&from.join(name), &to.join(name))?;
        }
    }
    Ok(())
}
