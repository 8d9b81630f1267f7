//! A task: takes one missing block after the other, and measures each as a run on one computer does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use vexp_api::batch::{Here, Needs, Pace};
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plan::Block;
use vexp_api::record;

use super::super::dispatch::{RunError, RunRequest, is_kept, now_rfc3339, run_to_the_end};
use super::super::files;
use super::super::ssh::chain;
use super::beats::{self, Beat, Heart, Over};
use super::books::{Blocks, stage};
use super::claims::{Claim, Claims, End};
use super::pick::{Candidate, Next, Picker};
use super::tail::Told;
use super::{BatchError, folder, needs};

/// What a task was started for.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// Its array.
    pub array: Name,
    /// The stage whose blocks it takes.
    pub stage: u32,
    /// For how long it may run.
    pub limit: Duration,
    /// Where it is.
    pub here: Here,
    /// How often it gives signs of life.
    pub pace: Pace,
    /// When it was started.
    pub began: Instant,
}

/// The block that a task has now.
type Current = Arc<Mutex<Option<(Name, u32)>>>;

/// Takes blocks until none is left, time is short, or it is told to stop.
///
/// # Errors
/// It can't read what it is to do, or can't write what it has measured: the dispatcher is told, too.
pub async fn run(request: &RunRequest<'_>, assigned: &Assigned) -> Result<(), BatchError> {
    let Some(index) = assigned.here.task.as_ref().map(|task| task.index) else {
        let said = "this is no task of an array: `vexp task` is started by a batch engine";
        return Err(BatchError::Books(said.to_owned()));
    };
    let place = folder(request.run);
    let file = beats::file(&assigned.array, index);
    let told = Told::new(place.join("events").join(format!("{file}.jsonl")));
    let events: Arc<dyn EventSink> = Arc::new(told);
    let claims = Claims::open(&stage(request.run, assigned.stage))?;
    let current = Current::default();
    let (lost, is_lost) = watch::channel(false);
    let watched = (claims.clone(), Arc::clone(&current));
    let beat = Beat {
        job: assigned.here.job.clone(),
        restart: assigned.here.restart,
        count: 0,
        node: assigned.here.node.clone(),
        over: None,
    };
    let path = place.join("beats").join(&file);
    let heart = Heart::start(path, beat, assigned.pace.beat, move || {
        let (claims, current) = &watched;
        let now = current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((block, attempt)) = &*now
            && claims.has_ended(block, *attempt)
        {
            // Nobody waits for it once the task has ended.
            let _ = lost.send(true);
        }
    })?;
    let mut task = Task {
        request,
        assigned,
        index,
        events,
        picker: picker(request, assigned, claims.clone(), index)?,
        kind: (request.computer.as_ref()).and_then(|computer| record::kind(&computer.facts)),
        claims,
        current,
        lost: is_lost,
        blocks: 0,
    };
    let ended = task.blocks().await;
    match ended {
        Ok(over) => Ok(heart.end(over)?),
        Err(error) => {
            let said = chain(&error);
            // If nobody can be told, the engine says how it ended.
            let _ = heart.end(Over::Failed { said: said.clone() });
            let task = file;
            let node = assigned.here.node.clone();
            Err(BatchError::Task { task, node, said })
        }
    }
}

/// The blocks of the task's stage.
fn picker(
    request: &RunRequest<'_>,
    assigned: &Assigned,
    claims: Claims,
    index: u32,
) -> Result<Picker, BatchError> {
    let wanted = Blocks::read(&stage(request.run, assigned.stage))?.blocks;
    let blocks = request.plan.blocks.iter();
    let planned: BTreeMap<&Name, &Block> = blocks.map(|block| (&block.id, block)).collect();
    let mut candidates = Vec::new();
    for one in wanted {
        let Some(block) = planned.get(&one.block) else {
            let said = format!("block {} is not in the run's plan", one.block);
            return Err(BatchError::Books(said));
        };
        let mut block = (*block).clone();
        block.trials.retain(|trial| one.trials.contains(&trial.id));
        candidates.push(Candidate {
            block,
            group: one.group,
            seconds: one.seconds,
        });
    }
    Ok(Picker::new(claims, candidates, index)?)
}

struct Task<'a> {
    request: &'a RunRequest<'a>,
    assigned: &'a Assigned,
    index: u32,
    events: Arc<dyn EventSink>,
    picker: Picker,
    claims: Claims,
    /// What kind of node it is on, where time is real.
    kind: Option<String>,
    current: Current,
    lost: watch::Receiver<bool>,
    /// How many it has begun.
    blocks: usize,
}

impl Task<'_> {
    fn claim(&self) -> Claim {
        Claim {
            array: self.assigned.array.clone(),
            index: self.index,
            restart: self.assigned.here.restart,
            node: self.assigned.here.node.clone(),
            kind: self.kind.clone(),
            pid: std::process::id(),
            at: now_rfc3339(),
        }
    }

    fn note(&self, text: String) {
        self.events.event(&Event::Note { text });
    }

    async fn blocks(&mut self) -> Result<Over, RunError> {
        let now = self.claim();
        let taken = self.picker.take_over(&now).map_err(RunError::File)?;
        if taken > 0 {
            self.note(format!(
                "task {} is started anew on node {}: {taken} block that it had begun is free again",
                beats::file(&now.array, now.index),
                now.node
            ));
        }
        let stop = folder(self.request.run).join("stop");
        let mut cancel = self.request.cancel.clone();
        loop {
            if *cancel.borrow() || stop.exists() {
                return Ok(Over::Stopped);
            }
            match self.next()? {
                Next::Nothing => return Ok(Over::Done),
                Next::Short => return Ok(Over::Time),
                Next::Wait => {
                    tokio::select! {
                        () = tokio::time::sleep(self.assigned.pace.look) => {}
                        _ = cancel.wait_for(|stop| *stop) => {}
                    }
                }
                Next::Block(at, attempt) => {
                    self.blocks += 1;
                    if let Some(over) = self.block(at, attempt).await? {
                        return Ok(over);
                    }
                }
            }
        }
    }

    fn next(&mut self) -> Result<Next, RunError> {
        let claim = self.claim();
        let request = self.request;
        // `self.picker` is changed meanwhile.
        let (blocks, began, limit) = (self.blocks, self.assigned.began, self.assigned.limit);
        let fits = |seconds: u64| {
            let left = limit.saturating_sub(began.elapsed() + needs::GRACE);
            // No other task would have more time for the first one.
            blocks == 0 || left >= Duration::from_secs(seconds)
        };
        let next = self.picker.next(
            || Claim {
                at: now_rfc3339(),
                ..claim.clone()
            },
            // Where time is real, some machines are never kept, and waiting for that would leave nodes idle.
            |block| !request.testbed.virtual_time() || is_kept(request, block),
            fits,
        );
        Ok(next?)
    }

    /// Measures a block; gives how the task ends, if it does.
    async fn block(&mut self, at: usize, attempt: u32) -> Result<Option<Over>, RunError> {
        let block = self.picker.block(at).clone();
        let mine = (block.id.clone(), attempt);
        self.lost.mark_unchanged();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(mine);
        let mut cancel = self.request.cancel.clone();
        let (done, over) = tokio::select! {
            done = run_to_the_end(self.request, &block, &self.events) => (Some(done), None),
            _ = cancel.wait_for(|stop| *stop) => (None, Some(Over::Stopped)),
            _ = self.lost.changed() => (None, None),
        };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (end, error) = match (done, &over) {
            (Some(Ok(())), _) => (End::Measured, None),
            (Some(Err(error)), _) => {
                let why = chain(&error);
                (End::GivenBack { why }, Some(error))
            }
            (None, Some(_)) => {
                let why = "the task was told to stop".to_owned();
                (End::GivenBack { why }, None)
            }
            (None, None) => {
                let why = "the task had been taken for dead".to_owned();
                (End::GivenBack { why }, None)
            }
        };
        let ours = self.claims.end(&block.id, attempt, &end);
        if let Some(error) = error {
            return Err(error);
        }
        if !ours? {
            self.note(format!(
                "{}: the task on node {} had been taken for dead, and another one has the block",
                block.id, self.assigned.here.node
            ));
        }
        Ok(over)
    }
}

/// The folder that a run has for tasks.
pub(super) fn make_folders(run: &Path) -> Result<(), BatchError> {
    for name in ["beats", "events", "logs"] {
        files::create_dir(&folder(run).join(name))?;
    }
    Ok(())
}

/// What the engine is asked for a task.
pub(super) fn arguments(
    program: &[String],
    run: &Path,
    (array, stage, needs): (&Name, u32, &Needs),
) -> Vec<String> {
    let mut argv = program.to_vec();
    argv.extend([
        "task".to_owned(),
        run.display().to_string(),
        "--array".to_owned(),
        array.to_string(),
        "--stage".to_owned(),
        stage.to_string(),
        "--limit".to_owned(),
        needs.time.as_secs().to_string(),
    ]);
    argv
}
