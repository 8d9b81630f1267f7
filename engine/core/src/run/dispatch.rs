//! The dispatcher: takes machines from a testbed, block by block, and starts a worker for each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use vexp_api::compared;
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plan::{Block, Plan, Trial};
use vexp_api::plugin::{Context, ImageFiles, Lease, MachineRequest, Testbed};
use vexp_api::record::{Computer, Outcome, TrialRecord};
use vexp_api::registry::Registry;
use vexp_api::site::Site;
use vexp_api::spec::Options;

use crate::plan::estimate::{self, BlockCost};

use super::attempts::{Again, set_aside};
use super::batch::{self, Batch, BatchError};
use super::files::{self, FileError};
use super::inline::{self, Inline};
use super::load::Moment;
use super::log::{Log, LogError};
use super::ssh::chain;
use super::{side_by_side, spawn, worker};

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A result can't be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The event log can't be gone on with.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A worker can't write what it measured.
    #[error("results of block {block} can't be written: {said}")]
    NotWritten {
        /// Block.
        block: Name,
        /// What the worker said.
        said: String,
    },
    /// An image that the plan needs was not built.
    #[error("image `{0}` was not built")]
    NoImage(Name),
    /// What was measured can't be looked at.
    #[error("the claims can't be looked at")]
    Look(#[source] BlockError),
    /// Blocks can't be run on a batch engine.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Decides which trials of a plan are run: looks at what was measured so far.
pub trait Stages {
    /// The trials of the next stage; none after the last.
    ///
    /// # Errors
    /// What was measured can't be read.
    fn next(&self, events: &dyn EventSink) -> Result<BTreeSet<Name>, BlockError>;

    /// Whether no further block is to be begun.
    fn is_over(&self, events: &dyn EventSink) -> bool;
}

/// What a run needs.
pub struct RunRequest<'a> {
    /// The trials.
    pub plan: &'a Plan,
    /// Built images by name.
    pub images: &'a BTreeMap<Name, ImageFiles>,
    /// The run's folder; `plan.json`, `study.json` and `run.json` are there already.
    pub run: &'a Path,
    /// The run's id.
    pub id: &'a Name,
    /// Testbed.
    pub testbed: Arc<dyn Testbed>,
    /// The executable that has the verb `worker`, as it is seen where workers stand.
    pub executable: PathBuf,
    /// How many blocks run at the same time; of one machine, one.
    pub jobs: usize,
    /// Plugins for workers in this process.
    pub registry: Registry,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Which trials are run, one stage after the other; without it, all at once.
    pub stages: Option<&'a dyn Stages>,
    /// Blocks are run by tasks of a batch engine, and not by this process.
    pub batch: Option<&'a Batch>,
    /// This computer, where it is a node of a batch engine: trials are recorded with it.
    pub computer: Option<Computer>,
    /// Becomes true when the user asks to stop.
    pub cancel: watch::Receiver<bool>,
}

impl RunRequest<'_> {
    /// What the testbed is asked for by a block.
    fn machine(&self, block: &Block) -> Result<MachineRequest, BlockError> {
        let options = &self.plan.testbed_options;
        let plugins = (&*self.testbed, &self.registry);
        machine(block, self.images, plugins, options, self.id)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Trials that were measured.
    pub measured: usize,
    /// Trials that were not.
    pub not_measured: usize,
}

/// Runs all trials that have no record yet.
///
/// # Errors
/// [`RunError::Interrupted`] with everything released, or results that can't be written. A block
/// that fails is recorded and the next one is run.
pub async fn run(request: &RunRequest<'_>) -> Result<RunSummary, RunError> {
    let events: Arc<dyn EventSink> = Arc::new(Log::open(request.run, Arc::clone(&request.events))?);
    let unwanted = match request.stages {
        None => {
            run_blocks(request, &request.plan.blocks, &events).await?;
            BTreeSet::new()
        }
        Some(stages) => run_stages(request, stages, &events).await?,
    };
    let summary = count(request.run, request.plan, &unwanted)?;
    events.event(&Event::RunEnded {
        run: request.id.clone(),
        measured: summary.measured,
        not_measured: summary.not_measured,
    });
    Ok(summary)
}

/// Runs stage after stage. Gives the trials that no stage has asked for.
async fn run_stages(
    request: &RunRequest<'_>,
    stages: &dyn Stages,
    events: &Arc<dyn EventSink>,
) -> Result<BTreeSet<Name>, RunError> {
    let all = request.plan.trials().map(|trial| trial.id.clone());
    let mut unwanted: BTreeSet<Name> = all.collect();
    loop {
        let wanted = stages.next(&**events).map_err(RunError::Look)?;
        if wanted.is_empty() {
            return Ok(unwanted);
        }
        unwanted.retain(|trial| !wanted.contains(trial));
        let of_stage = |block: &Block| {
            let mut block = block.clone();
            block.trials.retain(|trial| wanted.contains(&trial.id));
            block
        };
        let blocks: Vec<Block> = request.plan.blocks.iter().map(of_stage).collect();
        run_blocks(request, &blocks, events).await?;
        if stages.is_over(&**events) {
            return Ok(unwanted);
        }
    }
}

async fn run_blocks(
    request: &RunRequest<'_>,
    blocks: &[Block],
    events: &Arc<dyn EventSink>,
) -> Result<(), RunError> {
    let mut cancel = request.cancel.clone();
    if let Some(batch) = request.batch {
        return tokio::select! {
            done = batch::run(request, batch, blocks, events) => done,
            _ = cancel.wait_for(|stop| *stop) => Err(RunError::Interrupted),
        };
    }
    let one = async |block| {
        if (request.stages).is_some_and(|stages| stages.is_over(&**events)) {
            return Ok(());
        }
        run_to_the_end(request, block, events).await
    };
    tokio::select! {
        done = side_by_side::run(blocks, request.jobs, |block| is_kept(request, block), one) => done,
        _ = cancel.wait_for(|stop| *stop) => Err(RunError::Interrupted),
    }
}

/// Whether the snapshot is there that a block starts from.
pub(super) fn is_kept(request: &RunRequest<'_>, block: &Block) -> bool {
    // A machine that can't be named is refused when the block starts.
    let machine = request.machine(block).ok();
    machine.is_some_and(|machine| request.testbed.kept(&machine) == Some(block.vms))
}

/// The block with the trials that have no record yet. Where results are to be the same each time, it is
/// run as a whole or not at all: what is measured depends on what was done with the machine before.
pub(super) fn missing(run: &Path, block: &Block, whole: bool) -> Block {
    let mut left = block.clone();
    left.trials
        .retain(|trial| !files::trial_record(run, &trial.id).exists());
    if whole && !left.trials.is_empty() {
        return block.clone();
    }
    left
}

/// Runs a block until all of its trials have a record. If its machine could not be had, or was lost,
/// what failed is tried once more on a new machine: an emulated machine that dies is the testbed's
/// failure and no result. Trials that instruments spoiled are measured again, twice at most. Trials that were
/// measured, whatever they gave, are never run again.
pub(super) async fn run_to_the_end(
    request: &RunRequest<'_>,
    block: &Block,
    events: &Arc<dyn EventSink>,
) -> Result<(), RunError> {
    loop {
        let again = set_aside(request.run, block)?;
        let missing = missing(request.run, block, request.testbed.virtual_time());
        if missing.trials.is_empty() {
            return Ok(());
        }
        if again.failed > 0 {
            forget_machine(request, block);
        }
        if !again.is_none() {
            let text = in_words(again, block, missing.trials.len());
            events.event(&Event::Note { text });
        }
        let done = run_block(request, &missing, events).await;
        let error = match done {
            Ok(()) => "the worker has ended without a record of this trial".to_owned(),
            // No trial has failed where there is no place for results: it is run when there is some.
            Err(error) => match error.downcast::<RunError>() {
                Ok(error) => return Err(*error),
                Err(error) => with_cause(request, chain(&*error)).await,
            },
        };
        let unrecorded = |trial: &Trial| !files::trial_record(request.run, &trial.id).exists();
        let is_cut = request.computer.is_some() && missing.trials.iter().any(unrecorded);
        if is_cut && is_told_to_stop(request).await {
            // Whoever waits for the block sees it, too.
            std::future::pending::<()>().await;
        }
        // Whatever came of it, each trial then has a record: the next round has fewer to try.
        if worker::fail_rest(request.run, &missing, &error, request.computer.as_ref())? > 0 {
            events.event(&Event::BlockFailed {
                block: block.id.clone(),
                error,
            });
        }
    }
}

/// An error of a block, behind the reason why its machines are gone, if they are.
async fn with_cause(request: &RunRequest<'_>, error: String) -> String {
    match request.testbed.lost().await {
        Some(lost) if !error.contains(&lost) => format!("{lost}; {error}"),
        _ => error,
    }
}

/// How long after its worker a task may hear that it is to end.
const HEARS: Duration = Duration::from_secs(2);

/// Whether a task's worker has ended because all of the task is to end: batch engines tell all of its processes at once.
/// Then the block has not failed.
async fn is_told_to_stop(request: &RunRequest<'_>) -> bool {
    let mut cancel = request.cancel.clone();
    let told = tokio::time::timeout(HEARS, cancel.wait_for(|stop| *stop)).await;
    told.is_ok_and(|told| told.is_ok())
}

/// What is tried again.
fn in_words(again: Again, block: &Block, missing: usize) -> String {
    let Again { failed, spoiled } = again;
    let mut parts = Vec::new();
    if failed > 0 {
        let of = block.trials.len();
        let tried = missing.saturating_sub(spoiled);
        parts.push(format!(
            "what failed is tried once more on a new machine ({tried} of {of} trials)"
        ));
    }
    if spoiled > 0 {
        parts.push(format!(
            "{spoiled} of {} trials are measured again: their instruments have spoiled them",
            block.trials.len()
        ));
    }
    format!("{}: {}", block.id, parts.join("; "))
}

/// Sees to it that the next try boots its machine: a snapshot may have the fault in it.
fn forget_machine(request: &RunRequest<'_>, block: &Block) {
    // If it can't be named, the next try says so.
    if let Ok(machine) = request.machine(block) {
        request.testbed.forget(&machine);
    }
}

/// Why a block could not be run to its end: its own failure, or a [`RunError`] that ends the run.
pub type BlockError = Box<dyn std::error::Error + Send + Sync>;

async fn run_block(
    request: &RunRequest<'_>,
    block: &Block,
    events: &Arc<dyn EventSink>,
) -> Result<(), BlockError> {
    let (started, moment) = (Instant::now(), Moment::now());
    events.event(&Event::BlockStarted {
        block: block.id.clone(),
    });
    let folder = files::block_dir(request.run, &block.id);
    files::create_dir(&folder).map_err(RunError::from)?;
    let machine = request.machine(block)?;
    let cx = Context {
        events: Arc::clone(events),
        logs: folder.clone(),
    };
    let lease = request.testbed.acquire(&machine, &cx).await?;
    let mut work = Work {
        request,
        block,
        running: lease.site().running,
        kept: false,
        lease,
        boot_s: started.elapsed().as_secs_f64(),
        folder: &folder,
        events,
    };
    events.event(&Event::HostReady {
        block: block.id.clone(),
        seconds: work.boot_s,
    });
    let mut worked = work.keep().await;
    if worked.is_ok() {
        worked = work.worker(None).await;
    }
    let released = work.lease.release().await;
    if request.testbed.virtual_time() {
        let path = folder.join(compared::LOAD);
        files::write_json(&path, &moment.since()).map_err(RunError::from)?;
    }
    worked?;
    released?;
    events.event(&Event::BlockEnded {
        block: block.id.clone(),
        seconds: started.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// What the testbed is asked for by a block.
fn machine(
    block: &Block,
    images: &BTreeMap<Name, ImageFiles>,
    (testbed, registry): (&dyn Testbed, &Registry),
    options: &Options,
    run: &Name,
) -> Result<MachineRequest, BlockError> {
    let image = |name: &Name| {
        let files = images.get(name).cloned();
        files.ok_or_else(|| RunError::NoImage(name.clone()))
    };
    let mut tools = BTreeMap::new();
    for tool in testbed.images() {
        let name = Name::new(*tool)?;
        tools.insert(name.clone(), image(&name)?);
    }
    Ok(MachineRequest {
        tools,
        options: options.clone(),
        run: run.clone(),
        image: block.machine.image.as_ref().map(image).transpose()?,
        guest_image: block.machine.guest_image.as_ref().map(image).transpose()?,
        // Without a plugin the worker says so.
        needs: (registry
            .hypervisors()
            .get(block.machine.hypervisor.as_str()))
        .map(|plugin| plugin.needs(&block.machine))
        .unwrap_or_default(),
        machine: block.machine.clone(),
        vms: block.vms,
        boot: block.boot,
    })
}

/// What a plan's blocks are expected to take, with the snapshots that the testbed has of them now.
pub fn expected(
    plan: &Plan,
    images: &BTreeMap<Name, ImageFiles>,
    plugins: (&dyn Testbed, &Registry),
    run: &Name,
) -> Vec<BlockCost> {
    let testbed = plugins.0;
    estimate::blocks(plan, testbed.virtual_time(), |block| {
        let machine = machine(block, images, plugins, &plan.testbed_options, run);
        testbed.kept(&machine.ok()?)
    })
}

/// A block on its machine.
pub(super) struct Work<'a> {
    pub(super) request: &'a RunRequest<'a>,
    pub(super) block: &'a Block,
    pub(super) lease: Box<dyn Lease>,
    /// Guests that run on it.
    running: u32,
    /// Whether it was kept, or could have been: its next worker treats it as one that was restored, so
    /// that it makes no difference which of them it is.
    kept: bool,
    /// Seconds from the acquisition to a host that answered.
    pub(super) boot_s: f64,
    pub(super) folder: &'a Path,
    pub(super) events: &'a Arc<dyn EventSink>,
}

impl Work<'_> {
    /// Grows a machine that is to be kept, and keeps it with each number of guests that the plan
    /// needs of it on the way, so that it is booted once for all of them.
    async fn keep(&mut self) -> Result<(), BlockError> {
        // In virtual time what a machine is depends on nothing but what was done with it. Each guest is
        // booted by a worker of its own, so that a machine with so many guests is always the same,
        // whatever else a plan asks for.
        let one_by_one = self.request.testbed.virtual_time();
        if self.block.boot.is_none() && !one_by_one {
            return Ok(());
        }
        let site = self.lease.site();
        let have = site.restored.then_some(site.running);
        let needed = steps(self.request.plan, self.block, have);
        let all = if one_by_one {
            (have.map_or(0, |have| have + 1)..=self.block.vms).collect()
        } else {
            needed.clone()
        };
        for guests in all {
            self.worker(Some(guests)).await?;
            self.running = guests;
            let keep = needed.contains(&guests);
            let save = self.block.boot.is_some() && (keep || one_by_one);
            let kept = save && self.lease.save(guests, keep).await?;
            self.kept = kept || one_by_one;
            if !self.kept {
                // It goes on as it is, with all guests that the worker boots.
                return Ok(());
            }
        }
        Ok(())
    }

    async fn worker(&mut self, grow: Option<u32>) -> Result<(), BlockError> {
        let site = Site {
            running: self.running,
            restored: self.kept || self.lease.site().restored,
            ..self.lease.site().clone()
        };
        let manifest = spawn::manifest(self, site, grow);
        let Some(workplace) = self.lease.workplace()? else {
            return spawn::run(self, &manifest).await;
        };
        inline::run(Inline {
            manifest,
            registry: self.request.registry.clone(),
            workplace,
            events: Arc::clone(self.events),
            seed: self.seed(),
        })
        .await
    }

    /// The seed of the block's repetition: what chance decides on real machines follows from it where time is
    /// virtual. The same for all platforms and VM counts, so that what is compared meets the same.
    fn seed(&self) -> u64 {
        let repetition = u64::from(self.block.repetition);
        self.request.plan.seed.wrapping_add(repetition)
    }
}

/// With how many guests a machine is kept on its way from `have` to a block's number.
fn steps(plan: &Plan, block: &Block, have: Option<u32>) -> BTreeSet<u32> {
    let same = |other: &&Block| {
        let (a, b) = (&other.machine, &block.machine);
        (&a.platform, &a.hardware) == (&b.platform, &b.hardware)
    };
    let counts = plan.blocks.iter().filter(same).map(|other| other.vms);
    counts
        .filter(|vms| *vms <= block.vms && have.is_none_or(|have| *vms > have))
        .collect()
}

/// Counts trials by their records. Those that nobody wanted count as little as those that are not planned.
fn count(run: &Path, plan: &Plan, unwanted: &BTreeSet<Name>) -> Result<RunSummary, FileError> {
    let mut summary = RunSummary {
        measured: 0,
        not_measured: 0,
    };
    for trial in plan.trials() {
        let path = files::trial_record(run, &trial.id);
        if unwanted.contains(&trial.id) && !path.exists() {
            continue;
        }
        let measured =
            path.exists() && files::read_json::<TrialRecord>(&path)?.outcome == Outcome::Measured;
        if measured {
            summary.measured += 1;
        } else {
            summary.not_measured += 1;
        }
    }
    Ok(summary)
}

/// The present time as RFC 3339 in UTC with milliseconds.
pub fn now_rfc3339() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
pub(super) mod tests;
