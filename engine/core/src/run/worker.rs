//! The worker: grows a machine or runs one block's trials, from inside the machines' network.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use vexp_api::environment::{Unread, When};
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plan::{Block, Trial};
use vexp_api::plugin::PluginError;
use vexp_api::record::{self, Computer, Outcome, TrialRecord};
use vexp_api::registry::Registry;
use vexp_api::shell::{Connect, ShellError};
use vexp_api::spec::Role;

use super::bench::Bench;
use super::clock::{self, Clock};
use super::files::{self, FileError};
use super::manifest::{self, Manifest};
use super::ssh::chain;
use super::trial::{self, Seen};
use super::{dispatch, route};

/// Why a block could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The manifest is of another version of vexp.
    #[error("the manifest has format {0}; this vexp reads format {expected}", expected = manifest::FORMAT)]
    Format(u32),
    /// A plugin that the plan names is not in this binary.
    #[error("there is no {kind} plugin `{name}` in this binary")]
    NoPlugin {
        /// `hypervisor`, `measure`.
        kind: &'static str,
        /// Its name.
        name: Name,
    },
    /// The site has fewer machines than the plan needs.
    #[error("the testbed gave {have} {what}, the plan needs {need}")]
    Site {
        /// `guests`, `peers on a data network`.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A node can't be reached.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// A result can't be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a worker has around it.
#[derive(Clone)]
pub struct Place {
    /// Reaches the nodes.
    pub connect: Arc<dyn Connect>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Whose time it keeps.
    pub clock: Clock,
}

/// Does what the manifest says: grows the machine, or has all guests of the block and runs its
/// trials, writing each as soon as it has ended.
///
/// # Errors
/// Whatever keeps the remaining trials from being run; trials that failed by themselves are
/// recorded and are no error.
pub async fn work(manifest: &Manifest, registry: &Registry, place: Place) -> Result<(), WorkError> {
    if manifest.format != manifest::FORMAT {
        return Err(WorkError::Format(manifest.format));
    }
    let mut bench = Bench::set_up(manifest, registry, place).await?;
    let grown = bench.grow(manifest.guests() as usize).await;
    // Also where it failed: what did come up is part of the story.
    bench.write_record()?;
    let result = match grown {
        Ok(()) if manifest.grow.is_some() => {
            bench.warm().await;
            return Ok(());
        }
        Ok(()) => measure(&mut bench, manifest, registry).await,
        Err(error) => Err(error),
    };
    bench.stop().await;
    result
}

/// Runs the trials, and sees what the nodes are before and after them. Where that can't be read, something
/// else may have been measured than what the record says: the trials are invalid.
async fn measure(
    bench: &mut Bench<'_>,
    manifest: &Manifest,
    registry: &Registry,
) -> Result<(), WorkError> {
    let before = bench.look("env").await?;
    let mut measured = Vec::new();
    let result = run_trials(bench, manifest, registry, &mut measured).await;
    let after = bench.look("env-after").await?;
    if let Some(unread) = bench.note_unread(&before, &after) {
        // First of all, so that a worker that is killed here leaves no trial that counts as measured.
        for trial in &measured {
            invalidate(&manifest.run, trial, &unread)?;
        }
        let block = &manifest.block.id;
        let count = measured.len();
        let text = format!("{block}: {unread}; {count} trials that were measured are invalid");
        bench.cx.events.event(&Event::Note { text });
    }
    bench.write_environment(before, after)?;
    result
}

/// Makes a trial that was measured one that can't be used. It is measured again where the node was lost after
/// it had answered once; a node that never says what it is will not say it the next time, either.
fn invalidate(run: &Path, trial: &Name, unread: &Unread) -> Result<(), FileError> {
    let path = files::trial_record(run, trial);
    let record: TrialRecord = files::read_json(&path)?;
    let outcome = Outcome::Invalid {
        reason: unread.to_string(),
        instruments: unread.when == When::After,
    };
    files::write_json(&path, &TrialRecord { outcome, ..record })
}

/// Runs the trials that have no record yet, and gives those that were measured.
async fn run_trials(
    bench: &Bench<'_>,
    manifest: &Manifest,
    registry: &Registry,
    measured: &mut Vec<Name>,
) -> Result<(), WorkError> {
    let guests = bench.guests();
    let nodes = bench.for_trial(&guests);
    let trials = &manifest.block.trials;
    if trials.iter().any(|trial| trial.role == Role::Router) {
        route::set_up(&nodes).await?;
    }
    let mut seen_restored = bench.seen_restored();
    for trial in trials {
        if files::trial_record(&manifest.run, &trial.id).exists() {
            continue;
        }
        let started = Instant::now();
        bench.cx.events.event(&Event::TrialStarted {
            block: Some(manifest.block.id.clone()),
            trial: trial.id.clone(),
        });
        bench.clock.begin_trace();
        tokio::time::sleep(bench.clock.offset(&trial.id)).await;
        let epoch = clock::now();
        let epoch_ns = bench.clock.ns();
        let epoch_text = dispatch::now_rfc3339();
        let verified = match seen_restored.take() {
            Some(setup) => Ok(setup),
            None => bench.verify().await,
        };
        let (setup, seen) = match verified {
            Ok(setup) => {
                let seen = trial::run(trial, &nodes, registry, epoch, &bench.cx).await;
                (setup, seen)
            }
            Err(error) => (BTreeMap::new(), not_as_planned(&error)),
        };
        let record = TrialRecord {
            window: seen.window,
            setup,
            ended_s: since(epoch),
            computer: manifest.computer.clone(),
            ..record_of(trial, &manifest.block, seen.outcome.clone(), epoch_text)
        };
        let trace = bench.clock.end_trace(epoch_ns);
        files::write_trial(&manifest.run, &record, seen.captured, trace.as_ref())?;
        if seen.outcome == Outcome::Measured {
            measured.push(trial.id.clone());
        }
        bench.cx.events.event(&Event::TrialEnded {
            trial: trial.id.clone(),
            outcome: seen.outcome,
            seconds: started.elapsed().as_secs_f64(),
            virtual_s: bench.clock.is_virtual().then(|| since(epoch)),
            summary: seen.summary,
        });
    }
    Ok(())
}

/// Seconds from a moment to the present one.
fn since(moment: Instant) -> f64 {
    clock::now().saturating_duration_since(moment).as_secs_f64()
}

/// A set-up that differs from the plan makes a trial invalid; one that could not be read back has
/// failed.
fn not_as_planned(error: &PluginError) -> Seen {
    let text = chain(error);
    let unreadable = error.source.as_ref().is_some_and(|s| s.is::<ShellError>());
    Seen::nothing(if unreadable {
        Outcome::Failed { error: text }
    } else {
        Outcome::Invalid {
            reason: text,
            instruments: false,
        }
    })
}

fn record_of(trial: &Trial, block: &Block, outcome: Outcome, epoch: String) -> TrialRecord {
    TrialRecord {
        format: record::FORMAT,
        trial: trial.id.clone(),
        block: block.id.clone(),
        outcome,
        epoch,
        window: None,
        setup: BTreeMap::new(),
        ended_s: 0.0,
        artefacts: Vec::new(),
        trace: None,
        computer: None,
    }
}

/// Records all trials of a block that have no record yet as failed, on `computer` where that is a node of a batch engine.
pub fn fail_rest(
    run: &Path,
    block: &Block,
    error: &str,
    computer: Option<&Computer>,
) -> Result<usize, FileError> {
    let mut failed = 0;
    for trial in &block.trials {
        if files::trial_record(run, &trial.id).exists() {
            continue;
        }
        let outcome = Outcome::Failed {
            error: error.to_owned(),
        };
        let record = TrialRecord {
            computer: computer.cloned(),
            ..record_of(trial, block, outcome, dispatch::now_rfc3339())
        };
        files::write_trial(run, &record, Vec::new(), None)?;
        failed += 1;
    }
    Ok(failed)
}
