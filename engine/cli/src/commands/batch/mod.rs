//! Runs on a batch engine: `--on ENGINE`, `vexp attach`, and what happens to the tasks when the user has had enough.

pub(super) mod task;

use std::io::{BufRead as _, IsTerminal as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;
use vexp_api::batch::BatchEngine;
use vexp_api::exit::Exit;
use vexp_api::host;
use vexp_api::ids::Name;
use vexp_api::plan::Deviation;
use vexp_api::record::RunRecord;
use vexp_api::registry::Registry;
use vexp_api::spec::{Options, Study};
use vexp_engine::run::batch::cancel::{self, Cancelled};
use vexp_engine::run::batch::{Batch, BatchError, Submission, left_out as nodes, order, out};
use vexp_engine::run::dispatch::RunError;
use vexp_engine::run::files;
use vexp_engine::run::lock::RunLock;
use vexp_engine::store::FROM;

use super::folder::resumable;
use super::{batch_config, build, run};
use crate::args::{ImageArgs, MachinesArgs, RunsArgs, StudyArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::progress::Progress;

/// A deviation's subject: a node of a batch engine that was left out.
const NODE: &str = "node ";

/// The engine that a run is on.
pub(super) struct On {
    name: Name,
    engine: Arc<dyn BatchEngine>,
    options: Options,
    store: PathBuf,
    /// A store of each node's own.
    local: Option<PathBuf>,
    machines: Option<PathBuf>,
    tasks: Option<NonZeroUsize>,
    detach: bool,
}

impl On {
    /// What the command line says, or the run that is resumed. `None` where blocks are run by this process.
    pub(super) fn chosen(
        runs: &RunsArgs,
        images: &ImageArgs,
        study: &Study,
        registry: &Registry,
    ) -> Result<Option<Self>, Failure> {
        let before = match &runs.resume {
            Some(run) => order(run).or_exit(Exit::Usage)?,
            None => None,
        };
        let kept = before.as_ref().and_then(|order| order.local.clone());
        let local = local_store()?.or(kept);
        let tasks = runs.jobs.or(before.as_ref().and_then(|order| order.tasks));
        let (name, (engine, options)) = match (&runs.on, before) {
            (Some(name), _) => (name.clone(), batch_config::chosen(name, study, registry)?),
            (None, Some(order)) => {
                let made = batch_config::again(&order, registry)?;
                (order.engine, made)
            }
            (None, None) if runs.detach => {
                let message = "--detach leaves tasks to a batch engine, and there is none";
                return Err(Failure::new(Exit::Usage, message).hint("add --on ENGINE"));
            }
            (None, None) => return Ok(None),
        };
        if let Some(here) = engine.here() {
            let is_out = match &runs.resume {
                Some(run) => !out(run).or_exit(Exit::Usage)?.is_empty(),
                None => false,
            };
            if is_out {
                let message = format!(
                    "this is job {} of {name}, and the run has tasks of its own",
                    here.job
                );
                return Err(Failure::new(Exit::Usage, message)
                    .hint("`vexp attach` on a login node goes on with them, or cancels them"));
            }
            render::say(&format!(
                "note: this is job {} of {name} on node {}: its allocation is used, and nothing is submitted",
                here.job, here.node
            ));
            return Ok(None);
        }
        let store = build::store(images)?.root().to_owned();
        let machines = runs.machines.machines.as_ref();
        Ok(Some(Self {
            name,
            engine,
            options,
            // Tasks start elsewhere.
            store: store.canonicalize().or_exit(Exit::Infrastructure)?,
            local,
            machines: machines
                .map(|file| file.canonicalize())
                .transpose()
                .or_exit(Exit::Usage)?,
            tasks,
            detach: runs.detach,
        }))
    }

    /// Tasks at the same time at most, if the user has said so: now, or when the run was begun.
    pub(super) fn tasks(&self) -> Option<NonZeroUsize> {
        self.tasks
    }

    /// How the dispatcher uses it.
    pub(super) fn batch(&self) -> Batch {
        let own = self.local.as_ref().unwrap_or(&self.store);
        let mut program = vec![
            "/usr/bin/env".to_owned(),
            format!("VEXP_STORE={}", own.display()),
        ];
        if self.local.is_some() {
            program.push(format!("{FROM}={}", self.store.display()));
        }
        let machines = self.machines.iter();
        program.extend(machines.map(|file| format!("VEXP_MACHINES={}", file.display())));
        program.push(crate::executable().display().to_string());
        Batch {
            name: self.name.clone(),
            engine: Arc::clone(&self.engine),
            options: self.options.clone(),
            tasks: self.tasks,
            program,
            store: self.store.clone(),
            local: self.local.clone(),
            detach: self.detach,
            host: host::name(),
        }
    }
}

/// Names the folder on each node's disk that is its own store.
const LOCAL: &str = "VEXP_STORE_LOCAL";

/// The store that each node is to have, if the user says so.
fn local_store() -> Result<Option<PathBuf>, Failure> {
    let local = std::env::var_os(LOCAL).filter(|path| !path.is_empty());
    match local.map(PathBuf::from) {
        Some(path) if path.is_relative() => {
            let message = format!("{LOCAL} is `{}`", path.display());
            Err(Failure::new(Exit::Usage, message)
                .hint("name a folder on the nodes' disks by its whole path"))
        }
        local => Ok(local),
    }
}

/// Nodes that were left out, as deviations of the run.
pub(super) fn left_out(run: &Path) -> Result<Vec<Deviation>, Failure> {
    let all = nodes(run).or_exit(Exit::Infrastructure)?;
    let deviation = |node: vexp_engine::run::batch::LeftOut| Deviation {
        subject: format!("{NODE}{}", node.node),
        property: "batch engine".to_owned(),
        asked: "tasks that end by themselves".to_owned(),
        used: "left out of later submissions".to_owned(),
        reason: node.why,
    };
    Ok(all.into_iter().map(deviation).collect())
}

/// The node that a deviation is about.
pub(in crate::commands) fn left_out_node(subject: &str) -> Option<&str> {
    subject.strip_prefix(NODE)
}

/// A run's jobs that may wait or run.
pub(super) fn jobs(run: &Path) -> Result<Vec<String>, Failure> {
    let out = out(run).or_exit(Exit::Unreadable)?;
    Ok(named(&out))
}

fn named(out: &[Submission]) -> Vec<String> {
    let job = |one: &Submission| match &one.job {
        Some(job) => job.to_string(),
        None => one.array.to_string(),
    };
    out.iter().map(job).collect()
}

fn tasks(out: &[Submission]) -> u32 {
    out.iter().map(|one| one.tasks).sum()
}

/// What there is to say, and to ask, when a run on an engine has ended before all was in.
pub(super) fn failed(on: &On, run: &Path, error: &RunError, runtime: &Runtime) -> Failure {
    let out = out(run).unwrap_or_default();
    let (shown, name) = (run.display(), on.name.as_str());
    let jobs = named(&out).join(", ");
    let way_on = match out.is_empty() {
        true => format!("go on: vexp attach {shown}"),
        false => format!(
            "job {jobs} of {name} goes on; watch it: vexp attach {shown}; end it: vexp attach {shown} --cancel"
        ),
    };
    match error {
        RunError::Batch(BatchError::Detached) => {
            render::out(&format!("{shown}\n"));
            render::say(&format!("submitted: job {jobs} of {name}"));
            render::say(&format!("next: vexp attach {shown}"));
            Failure::said(Exit::Fine)
        }
        RunError::Interrupted if !out.is_empty() && wants_to_cancel(&out, name) => {
            let ended = cancelled(&*on.engine, run, runtime);
            ended.err().unwrap_or_else(|| {
                Failure::new(Exit::Interrupted, "interrupted; what was measured is kept")
                    .hint(format!("finish it: vexp attach {shown}"))
            })
        }
        RunError::Interrupted => {
            Failure::new(Exit::Interrupted, "interrupted; what was measured is kept").hint(way_on)
        }
        RunError::Batch(BatchError::Task { .. })
        | RunError::File(_)
        | RunError::NotWritten { .. } => {
            let way_on =
                format!("what was written is kept: see whether there is room, then {way_on}");
            Failure::of(Exit::Infrastructure, error).hint(way_on)
        }
        _ => Failure::of(Exit::Infrastructure, error).hint(way_on),
    }
}

/// Asks where there is somebody to answer. Tasks that nobody says anything of are left running: they may be hours of work.
fn wants_to_cancel(out: &[Submission], engine: &str) -> bool {
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    render::say(&format!(
        "up to {} tasks wait or run: job {} of {engine}. Cancel them? Else they go on. [y/N]",
        tasks(out),
        named(out).join(", ")
    ));
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn cancelled(engine: &dyn BatchEngine, run: &Path, runtime: &Runtime) -> Result<(), Failure> {
    let progress = Progress::new();
    let ended = runtime.block_on(cancel::cancel(run, engine, &host::name(), &progress));
    let Cancelled { ended, left } = ended.or_exit(Exit::Infrastructure)?;
    if left > 0 {
        let message = format!(
            "{left} of {} tasks were cancelled and have not ended yet, as far as {} says",
            ended + left,
            engine.name()
        );
        let again = format!("see again later: vexp attach {} --cancel", run.display());
        return Err(Failure::new(Exit::Infrastructure, message).hint(again));
    }
    render::say(&format!("{ended} tasks have ended"));
    Ok(())
}

/// `vexp attach RUN --cancel`.
pub(super) fn cancel(run: &Path, registry: &Registry) -> Result<Exit, Failure> {
    let run = resumable(run)?;
    let order = on_an_engine(&run)?;
    let _lock = RunLock::take(&run).or_exit(Exit::Infrastructure)?;
    if out(&run).or_exit(Exit::Infrastructure)?.is_empty() {
        render::say("no task of this run waits or runs");
        return Ok(Exit::Fine);
    }
    let (engine, _) = batch_config::again(&order, registry)?;
    let runtime = Runtime::new().or_exit(Exit::Infrastructure)?;
    cancelled(&*engine, &run, &runtime)?;
    render::say(&format!(
        "what was measured is kept; finish it: vexp attach {}",
        run.display()
    ));
    Ok(Exit::Fine)
}

/// `vexp attach RUN`: the run is resumed with its own study.
pub(super) fn attach(
    path: &Path,
    images: &ImageArgs,
    (machines, trust): (MachinesArgs, bool),
    registry: &Registry,
) -> Result<Exit, Failure> {
    let path = resumable(path)?;
    let order = on_an_engine(&path)?;
    let record: RunRecord = files::read_json(&path.join("run.json")).or_exit(Exit::Usage)?;
    let main = record.main.ok_or_else(|| {
        let message = format!("{} does not say which file its study is", path.display());
        Failure::new(Exit::Usage, message).hint("`vexp run STUDY --resume RUN` does the same")
    })?;
    let study = StudyArgs {
        file: path.join("source").join(main),
        effort: None,
        testbed: None,
        only: None,
        until: None,
    };
    let images = ImageArgs {
        images: images.images.clone(),
        store: images.store.clone().or(Some(order.store)),
        locked: images.locked,
    };
    let mut runs = RunsArgs::resume(&path, machines);
    runs.trust = trust;
    run::run(&study, &images, &runs, registry, run::Then::Stop)
}

fn on_an_engine(run: &Path) -> Result<vexp_engine::run::batch::Order, Failure> {
    order(run).or_exit(Exit::Usage)?.ok_or_else(|| {
        let message = format!("{} was never on a batch engine", run.display());
        Failure::new(Exit::Usage, message)
            .hint("`vexp run STUDY --resume RUN` finishes it; `--on ENGINE` has tasks do it")
    })
}
