//! An engine whose tasks are processes of this computer, and a testbed without machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use vexp_api::batch::{Array, BatchEngine, Here, JobId, Limits, SubmitError, TaskId, TaskState};
use vexp_api::ids::Name;
use vexp_api::plugin::{Context, Lease, MachineRequest, Plugin, PluginError, Testbed};
use vexp_api::record::{self, Outcome, TrialRecord};
use vexp_api::site::Site;
use vexp_engine::run::dispatch::now_rfc3339;
use vexp_engine::run::files;
use vexp_engine::run::manifest::Manifest;

use super::Failed;

/// Tells a task which it is: `JOB INDEX`.
const HERE: &str = "VEXP_BENCH_TASK";

/// Which calls an engine got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) submit: usize,
    /// When it was asked for states.
    status: Vec<Instant>,
    /// When it was asked for anything, and told to cancel.
    asked: Vec<Instant>,
}

impl Calls {
    /// The most calls within a minute: for states, and of all kinds but submissions.
    pub(crate) fn most(&self) -> [usize; 2] {
        [&self.status, &self.asked].map(|calls| {
            let within = |from: &Instant| {
                let until = *from + Duration::from_secs(60);
                calls
                    .iter()
                    .filter(|at| (*from..until).contains(at))
                    .count()
            };
            calls.iter().map(within).max().unwrap_or(0)
        })
    }
}

/// The engine.
#[derive(Default)]
pub(crate) struct Engine {
    calls: Mutex<Calls>,
    jobs: Mutex<BTreeMap<JobId, (Name, Vec<Child>)>>,
}

fn held<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn calls(&self) -> Calls {
        held(&self.calls).clone()
    }

    fn asked(&self) {
        held(&self.calls).asked.push(Instant::now());
    }

    fn start(array: &Array, job: &JobId) -> std::io::Result<Vec<Child>> {
        let (program, args) = array
            .argv
            .split_first()
            .ok_or(std::io::ErrorKind::NotFound)?;
        let one = |index: u32| {
            let log = std::fs::File::create(array.logs.join(format!("{job}_{index}.out")))?;
            Command::new(program)
                .args(args)
                .current_dir(&array.folder)
                .env(HERE, format!("{job} {index}"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
        };
        (0..array.tasks).map(one).collect()
    }
}

#[async_trait]
impl BatchEngine for Engine {
    fn name(&self) -> &'static str {
        "pretended"
    }

    async fn limits(&self) -> Result<Limits, PluginError> {
        self.asked();
        Ok(Limits::default())
    }

    async fn submit(&self, array: &Array) -> Result<JobId, SubmitError> {
        held(&self.calls).submit += 1;
        let failed = |error: String| {
            SubmitError::Plugin(PluginError::new("start the tasks", "controller", error))
        };
        let number = held(&self.jobs).len() + 1;
        let job = JobId::parse(&number.to_string()).map_err(|error| failed(error.to_string()))?;
        let tasks = Self::start(array, &job).map_err(|error| failed(error.to_string()))?;
        held(&self.jobs).insert(job.clone(), (array.name.clone(), tasks));
        Ok(job)
    }

    async fn find(&self, name: &Name) -> Result<Option<JobId>, PluginError> {
        self.asked();
        let jobs = held(&self.jobs);
        let found = jobs.iter().find(|(_, (of, _))| of == name);
        Ok(found.map(|(job, _)| job.clone()))
    }

    async fn status(&self, jobs: &[JobId]) -> Result<BTreeMap<TaskId, TaskState>, PluginError> {
        self.asked();
        held(&self.calls).status.push(Instant::now());
        let mut all = held(&self.jobs);
        let mut found = BTreeMap::new();
        for job in jobs {
            let tasks = all.get_mut(job).map(|(_, tasks)| tasks);
            for (index, task) in (0..).zip(tasks.into_iter().flatten()) {
                let id = TaskId {
                    job: job.clone(),
                    index,
                };
                if let Ok(None) = task.try_wait() {
                    found.insert(id, TaskState::Running("here".to_owned()));
                }
            }
        }
        Ok(found)
    }

    async fn cancel(&self, tasks: &[TaskId]) -> Result<(), PluginError> {
        self.asked();
        let wanted: BTreeSet<&TaskId> = tasks.iter().collect();
        for (job, (_, tasks)) in held(&self.jobs).iter_mut() {
            for (index, task) in (0..).zip(tasks) {
                let id = TaskId {
                    job: job.clone(),
                    index,
                };
                if wanted.contains(&id) {
                    // It may have ended.
                    let _ = task.kill();
                }
            }
        }
        Ok(())
    }

    fn here(&self) -> Option<Here> {
        let text = std::env::var(HERE).ok()?;
        let (job, index) = text.split_once(' ')?;
        let job = JobId::parse(job).ok()?;
        Some(Here {
            task: Some(TaskId {
                job: job.clone(),
                index: index.parse().ok()?,
            }),
            job,
            restart: 0,
            node: "here".to_owned(),
        })
    }
}

/// A testbed without machines.
#[derive(Debug)]
pub(crate) struct Pretended;

impl Plugin for Pretended {
    fn name(&self) -> &'static str {
        "pretended"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Testbed for Pretended {
    async fn acquire(
        &self,
        _: &MachineRequest,
        _: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        let site = serde_json::from_value(json!({
            "host": {
                "name": "host", "role": "host", "data": [], "ssh": {"keyed": {
                    "address": "198.18.0.1", "port": 22, "user": "root", "identity": "",
                    "known_hosts": "",
                }},
            },
            "host_nics": [], "guests": [], "peers": [], "disposable": true, "scratch": "/tmp",
            "facts": {},
        }));
        let failed = |error: serde_json::Error| {
            PluginError::new("make the site", "controller", error.to_string())
        };
        Ok(Box::new(Nothing(site.map_err(failed)?)))
    }
}

struct Nothing(Site);

#[async_trait]
impl Lease for Nothing {
    fn site(&self) -> &Site {
        &self.0
    }

    fn enter(&self, argv: &[String]) -> Command {
        let mut command = Command::new(PathBuf::from(&argv[0]));
        command.args(&argv[1..]);
        command
    }

    async fn release(self: Box<Self>) -> Result<(), PluginError> {
        Ok(())
    }
}

/// A worker that measures nothing: its trials' records say that they were measured.
pub(crate) fn worker() -> Result<(), Failed> {
    let manifest = Manifest::read(&mut std::io::stdin().lock())?;
    for trial in &manifest.block.trials {
        let record = TrialRecord {
            format: record::FORMAT,
            trial: trial.id.clone(),
            block: manifest.block.id.clone(),
            outcome: Outcome::Measured,
            epoch: now_rfc3339(),
            window: None,
            setup: BTreeMap::new(),
            ended_s: 0.0,
            artefacts: Vec::new(),
            trace: None,
            computer: manifest.computer.clone(),
        };
        files::write_trial(&manifest.run, &record, Vec::new(), None)?;
    }
    Ok(())
}
