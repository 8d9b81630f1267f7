//! The dispatcher of a run on a batch engine: submits tasks, watches them, and ends when all blocks are in.
//!
//! All that it must know stands in the run's folder: dropped or killed at any moment, another one goes on.

mod fates;
mod stages;
mod submits;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vexp_api::batch::{JobId, Limits, Needs, Pace, TaskId, TaskState};
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plan::Block;

use super::super::dispatch::{RunError, RunRequest, missing, now_rfc3339};
use super::super::files;
use super::super::ssh::chain;
use super::super::worker;
use super::beats::{self, Over};
use super::books::{self, Jobs, Line, Order, Wanted};
use super::claims::{Claim, Claims, End, Look};
use super::guard::Guard;
use super::judge::Out;
use super::pick::{Ends, MOST_LOST};
use super::submit;
use super::tail::Tails;
use super::window;
use super::{Batch, BatchError, folder, needs, task};

/// A task: its array, and its index there.
type Key = (Name, u32);

/// Has blocks measured by tasks of an engine, all that have a trial without a record.
///
/// # Errors
/// The engine refuses tasks or can't be asked, none of them begins, or their results can't be seen. What runs goes on,
/// and the run can be attached to again.
pub(in super::super) async fn run(
    request: &RunRequest<'_>,
    batch: &Batch,
    blocks: &[Block],
    events: &Arc<dyn EventSink>,
) -> Result<(), RunError> {
    let Some(mut dispatcher) = Dispatcher::open(request, batch, blocks, events).await? else {
        return Ok(());
    };
    loop {
        if dispatcher.round().await? {
            return Ok(());
        }
        tokio::time::sleep(dispatcher.pace.look).await;
    }
}

struct Dispatcher<'a> {
    request: &'a RunRequest<'a>,
    batch: &'a Batch,
    events: &'a Arc<dyn EventSink>,
    pace: Pace,
    guard: Guard,
    jobs: Jobs,
    tails: Tails,
    stage: u32,
    claims: Claims,
    /// What the stage still wants: blocks that are not known to be in.
    open: Vec<(Wanted, Block)>,
    ends: Ends,
    /// Who has claimed blocks, as far as it was read.
    claimed: BTreeMap<(Name, u32), Key>,
    /// Blocks that were ended and whose records are not seen yet, since when.
    late: BTreeMap<Name, Instant>,
    tasks: BTreeMap<Key, Out>,
    limits: Limits,
    needs: Needs,
    /// Tasks that there are to be at the same time.
    wanted: usize,
    /// When the engine is asked next, and the pause after that.
    ask: Instant,
    pause: Duration,
    /// Not before this time anything is submitted again, and the pause after the next refusal.
    submit: Instant,
    refused: Duration,
    /// Tasks that died or never began since a block was last measured.
    barren: usize,
    /// Whether nothing more is wanted: tasks are about to end.
    winding_up: Option<Instant>,
    cancelled: BTreeSet<Key>,
    said: BTreeMap<&'static str, String>,
}

impl<'a> Dispatcher<'a> {
    /// Takes the run up, with what earlier dispatchers have left. `None` where nothing is to be done.
    async fn open(
        request: &'a RunRequest<'a>,
        batch: &'a Batch,
        blocks: &[Block],
        events: &'a Arc<dyn EventSink>,
    ) -> Result<Option<Self>, BatchError> {
        let run = request.run;
        let pace = batch.engine.pace();
        let left = stages::left(request, blocks)?;
        if left.is_empty() && books::out(run)?.is_empty() {
            return Ok(None);
        }
        task::make_folders(run)?;
        let guard = Guard::take(folder(run).join("dispatcher"), &batch.host, pace).await?;
        prepare(request, batch, pace)?;
        let limits = match batch.engine.limits().await {
            Ok(limits) => limits,
            Err(error) if books::out(run)?.is_empty() => return Err(error.into()),
            Err(_) => Limits::default(),
        };
        let all: Vec<Needs> = left
            .iter()
            .map(|block| needs::needs(&*request.testbed, block))
            .collect();
        let seconds = all.iter().map(|one| needs::work(one).as_secs_f64()).sum();
        let asked = batch.tasks.map(std::num::NonZeroUsize::get);
        let wanted = window::tasks(left.len(), seconds, asked);
        let mut needs = needs::of_a_task(&all, wanted).unwrap_or(NOTHING);
        needs.time = batch.engine.time().unwrap_or(needs.time);
        let (stage, open) = stages::stage(request, left, &all)?;
        let now = Instant::now();
        let mut new = Self {
            claims: Claims::open(&books::stage(run, stage))?,
            tails: Tails::open(
                folder(run).join("events"),
                folder(run).join("read.json"),
                &run.join("events.jsonl"),
            )?,
            jobs: Jobs::read(run)?,
            open,
            ends: Ends::default(),
            claimed: BTreeMap::new(),
            late: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ask: now,
            pause: pace.ask,
            submit: now,
            refused: pace.ask,
            barren: 0,
            winding_up: None,
            cancelled: BTreeSet::new(),
            said: BTreeMap::new(),
            request,
            batch,
            events,
            pace,
            guard,
            stage,
            limits,
            needs,
            wanted,
        };
        for at in 0..new.jobs.submissions.len() {
            new.adopt(at);
        }
        new.ended_before()?;
        if new.tasks.values().any(|out| !out.over) {
            let jobs = new
                .job_ids()
                .iter()
                .map(JobId::to_string)
                .collect::<Vec<_>>();
            new.note(format!(
                "attached to {} tasks that were submitted before{}",
                new.tasks.values().filter(|out| !out.over).count(),
                if jobs.is_empty() {
                    String::new()
                } else {
                    format!(": job {}", jobs.join(", "))
                }
            ));
        }
        Ok(Some(new))
    }

    /// Watches the tasks of a submission.
    fn adopt(&mut self, at: usize) {
        let one = &self.jobs.submissions[at];
        if one.is_out() {
            let now = Instant::now();
            for index in 0..one.tasks {
                self.tasks
                    .entry((one.array.clone(), index))
                    .or_insert_with(|| Out::new(now));
            }
        }
    }

    /// Tasks that had ended when the run was taken up: whatever they met then, it may be mended now.
    fn ended_before(&mut self) -> Result<(), BatchError> {
        self.read_beats()?;
        let look = self.claims.look()?;
        let had = self.had(&look)?;
        let ended = |out: &Out| out.beat.as_ref().is_some_and(|beat| beat.over.is_some());
        let ended: Vec<Key> = (self.tasks.iter())
            .filter(|(_, out)| ended(out))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            let why = "the task has ended".to_owned();
            let had = had.get(&key).map_or(&[][..], Vec::as_slice);
            self.free(had, &End::GivenBack { why })?;
            if let Some(out) = self.tasks.get_mut(&key) {
                out.over = true;
            }
        }
        self.close()
    }

    fn note(&self, text: String) {
        self.events.event(&Event::Note { text });
    }

    /// A note that is not repeated as long as it stays the same.
    fn once(&mut self, about: &'static str, text: String) {
        if self.said.get(about) != Some(&text) {
            self.note(text.clone());
            self.said.insert(about, text);
        }
    }

    fn run(&self) -> &Path {
        self.request.run
    }

    fn is_over(&self) -> bool {
        let stages = self.request.stages;
        stages.is_some_and(|stages| stages.is_over(&**self.events))
    }

    /// Looks once at everything; whether the stage is at its end.
    async fn round(&mut self) -> Result<bool, BatchError> {
        self.guard.beat()?;
        self.read_beats()?;
        let look = self.claims.look()?;
        self.tails.pass_on(&**self.events)?;
        self.take_in(&look)?;
        self.ask().await?;
        self.judge(&look).await?;
        self.close()?;
        if self.winding_up.is_none() && (self.open.is_empty() || self.is_over()) {
            self.winding_up = Some(Instant::now());
            if !self.open.is_empty() {
                let stop = folder(self.run()).join("stop");
                files::write_atomic(&stop, b"no further block\n")?;
            }
        }
        if let Some(since) = self.winding_up {
            return self.wind_up(since, &look).await;
        }
        let window = self.window(&look)?;
        self.tell(&window);
        self.submit(&window).await?;
        Ok(false)
    }

    fn read_beats(&mut self) -> Result<(), BatchError> {
        let now = Instant::now();
        for (file, beat) in beats::read(&folder(self.run()).join("beats"))? {
            let Some((array, index)) = file.rsplit_once('.') else {
                continue;
            };
            let (Ok(array), Ok(index)) = (Name::new(array), index.parse::<u32>()) else {
                continue;
            };
            let key = (array.clone(), index);
            if let Some(out) = self.tasks.get_mut(&key) {
                out.beats(&beat, now);
            } else if beat.over.is_none() {
                self.came_after_all(&array, &beat.job)?;
            }
        }
        Ok(())
    }

    /// A submission that was taken for none has a task that lives.
    fn came_after_all(&mut self, array: &Name, job: &JobId) -> Result<(), BatchError> {
        let all = &self.jobs.submissions;
        let Some(at) = all.iter().position(|one| one.array == *array && one.not) else {
            return Ok(());
        };
        let line = Line::Job {
            array: array.clone(),
            job: job.clone(),
        };
        let run = self.request.run;
        self.jobs.add(run, line)?;
        self.note(format!("job {job} ({array}) was submitted all the same"));
        self.adopt(at);
        Ok(())
    }

    /// Takes note of blocks that are in, and gives those up that were lost too often.
    fn take_in(&mut self, look: &Look) -> Result<(), BatchError> {
        let mut open = Vec::with_capacity(self.open.len());
        for (wanted, block) in std::mem::take(&mut self.open) {
            if !self.is_in(look, &block)? {
                open.push((wanted, block));
            } else {
                self.barren = 0;
            }
        }
        self.open = open;
        Ok(())
    }

    fn is_in(&mut self, look: &Look, block: &Block) -> Result<bool, BatchError> {
        let Some(attempt) = look.over(&block.id) else {
            return Ok(false);
        };
        let end = self.ends.of(&self.claims, &block.id, attempt)?;
        let run = self.request.run;
        match end {
            End::Measured if missing(run, block, false).trials.is_empty() => {
                self.late.remove(&block.id);
                Ok(true)
            }
            End::Measured => {
                let since = *self
                    .late
                    .entry(block.id.clone())
                    .or_insert_with(Instant::now);
                if since.elapsed() < self.pace.late {
                    return Ok(false);
                }
                let node = self.claims.claimed(&block.id, attempt)?.node;
                let block = block.id.clone();
                Err(BatchError::Unseen { block, node })
            }
            End::GivenBack { .. } => Ok(false),
            End::Lost { why } => {
                let lost = self.ends.lost(&self.claims, look, &block.id)?;
                if lost < MOST_LOST {
                    return Ok(false);
                }
                self.give_up(block, attempt + 1, &why)
            }
        }
    }

    /// Records a block as failed, as an attempt of the dispatcher's own.
    fn give_up(&mut self, block: &Block, attempt: u32, why: &str) -> Result<bool, BatchError> {
        let claim = Claim {
            array: self.batch.name.clone(),
            index: 0,
            restart: 0,
            node: self.batch.host.clone(),
            kind: None,
            pid: std::process::id(),
            at: now_rfc3339(),
        };
        if !self.claims.claim(&block.id, attempt, &claim)? {
            return Ok(false);
        }
        let error = format!("{MOST_LOST} tasks were lost with this block; the last: {why}");
        let missing = missing(self.run(), block, false);
        worker::fail_rest(self.run(), &missing, &error, None)?;
        self.claims.end(&block.id, attempt, &End::Measured)?;
        self.events.event(&Event::BlockFailed {
            block: block.id.clone(),
            error,
        });
        Ok(true)
    }

    fn job_ids(&self) -> Vec<JobId> {
        let out = self.jobs.submissions.iter().filter(|one| one.is_out());
        out.filter_map(|one| one.job.clone()).collect()
    }

    fn job_of(&self, array: &Name) -> Option<JobId> {
        let all = &self.jobs.submissions;
        all.iter().find(|one| one.array == *array)?.job.clone()
    }

    /// Asks the engine for all tasks, if it is time: one call.
    async fn ask(&mut self) -> Result<(), BatchError> {
        if self.tasks.values().all(|out| out.over) || Instant::now() < self.ask {
            return Ok(());
        }
        let run = self.request.run;
        let engine = &*self.batch.engine;
        submit::unanswered(engine, (run, &mut self.jobs), &**self.events).await?;
        let ids = self.job_ids();
        let answer = match ids.is_empty() {
            true => Ok(BTreeMap::new()),
            false => engine.status(&ids).await,
        };
        let now = Instant::now();
        self.ask = now + self.pause;
        self.pause = (self.pause + self.pace.ask_longer).min(self.pace.ask_most);
        match answer {
            Ok(mut said) => {
                self.said.remove("away");
                let jobs: BTreeMap<Name, Option<JobId>> = (self.jobs.submissions.iter())
                    .map(|one| (one.array.clone(), one.job.clone()))
                    .collect();
                for ((array, index), out) in &mut self.tasks {
                    let job = jobs.get(array).cloned().flatten();
                    let index = *index;
                    let task = job.map(|job| TaskId { job, index });
                    out.answered(task.and_then(|task| said.remove(&task)), now);
                }
            }
            // Nothing is concluded from that.
            Err(error) => {
                let text = format!("{} does not answer: {}", engine.name(), chain(&error));
                self.once("away", text);
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, tasks: &[TaskId]) {
        if let Err(error) = self.batch.engine.cancel(tasks).await {
            let text = format!("tasks can't be cancelled: {}", chain(&error));
            self.once("cancel", text);
        }
    }

    /// Writes down which submissions are over.
    fn close(&mut self) -> Result<(), BatchError> {
        let over: Vec<Name> = (self.jobs.submissions.iter())
            .filter(|one| one.is_out())
            .map(|one| one.array.clone())
            .filter(|array| {
                let mut of = self.tasks.iter().filter(|((name, _), _)| name == array);
                of.all(|(_, out)| out.over)
            })
            .collect();
        let run = self.request.run;
        for array in over {
            self.jobs.add(run, Line::Over { array })?;
        }
        Ok(())
    }

    /// Waits until all tasks have ended. Those that have not begun are cancelled at once, idle ones after a while; a
    /// block that is being measured is waited for.
    async fn wind_up(&mut self, since: Instant, look: &Look) -> Result<bool, BatchError> {
        let had = self.had(look)?;
        let waited = since.elapsed();
        let late = waited >= self.pace.late;
        let cancels = |key: &Key, out: &Out| !had.contains_key(key) && (out.beat.is_none() || late);
        // The engine may start it anew: requeued, it waits for that.
        let stopped = |out: &Out| {
            let over = out.beat.as_ref().and_then(|beat| beat.over.as_ref());
            matches!(over, Some(Over::Stopped))
        };
        let new: Vec<Key> = (self.tasks.iter())
            .filter(|(key, out)| match out.over {
                true => stopped(out),
                false => cancels(key, out),
            })
            .filter(|(key, _)| !self.cancelled.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        if !new.is_empty() {
            let id = |(array, index): &Key| {
                let job = self.job_of(array)?;
                Some(TaskId { job, index: *index })
            };
            let ids: Vec<TaskId> = new.iter().filter_map(id).collect();
            self.cancel(&ids).await;
            for key in &new {
                // What the engine has said before does not count.
                if let Some(out) = self.tasks.get_mut(key) {
                    out.absent = 0;
                }
            }
            self.cancelled.extend(new);
            (self.pause, self.ask) = (self.pace.ask, Instant::now() + self.pace.look);
        }
        for key in &self.cancelled {
            if let Some(out) = self.tasks.get_mut(key) {
                out.over |= out.absent > 0 || matches!(out.said, Some(TaskState::Over { .. }));
            }
        }
        self.close()?;
        let left = self.tasks.values().filter(|out| !out.over).count();
        if left > 0 && (waited < self.pace.first || !had.is_empty()) {
            return Ok(false);
        }
        if left > 0 {
            self.note(format!(
                "{left} tasks have not ended, though nothing is left for them and they were cancelled: \
                 `vexp attach --cancel` tries again"
            ));
        }
        self.tails.pass_on(&**self.events)?;
        Ok(true)
    }
}

/// Needs where no block is left: nothing is submitted.
const NOTHING: Needs = Needs {
    cpus: 1,
    memory: 0,
    time: Duration::ZERO,
    grace: Duration::ZERO,
    exclusive: false,
};

/// Writes down what tasks need, and lets them begin blocks again: whoever has cancelled others has ended them.
fn prepare(request: &RunRequest<'_>, batch: &Batch, pace: Pace) -> Result<(), BatchError> {
    let run = request.run;
    Order::new(batch, request.images.clone(), pace).write(run)?;
    match std::fs::remove_file(folder(run).join("stop")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(files::io("remove", &folder(run).join("stop"))(error).into());
        }
        _ => {}
    }
    Ok(())
}
