//! Slurm: job arrays by `sbatch`, looked at by `squeue`, ended by `scancel`. `sacct` is never asked: many clusters have
//! none, and what slurmctld still knows is in `squeue --states=all`.
//!
//! sbatch gets its script on standard input, because a line of arguments has a limit, and a name that is unique, so that
//! a submission without an answer can be looked up.

mod extra;
mod options;
mod parse;
mod said;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::batch::{
    Array, BatchEngine, BatchPlugin, Here, JobId, Limits, Pace, SubmitError, TaskId, TaskState,
};
use vexp_api::ids::Name;
use vexp_api::plugin::{Plugin, PluginError};
use vexp_api::spec::Options;

use super::program::{Answer, Call, NoAnswer, run};
use options::SlurmOptions;
use said::Meaning;

const NAME: &str = "slurm";
/// sbatch itself waits 10 s for an answer, and some sites 100 s (MessageTimeout in slurm.conf(5)).
const SUBMIT: Duration = Duration::from_secs(120);
/// Of all other commands.
const ASK: Duration = Duration::from_secs(60);
/// Ranges in an argument of scancel: an argument has 128 KiB at most.
const RANGES: usize = 2000;

/// The engine that `--on slurm` takes.
#[derive(Clone, Debug, Default)]
pub struct Slurm {
    environment: BTreeMap<String, String>,
    pace: Pace,
}

impl Slurm {
    /// Sets a variable for Slurm's commands, such as SLURM_CONF for a cluster that is not the usual one.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Looks and asks at another pace than a cluster's.
    #[must_use]
    pub fn paced(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }
}

impl Plugin for Slurm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

impl BatchPlugin for Slurm {
    fn engine(&self, options: &Options) -> Result<Arc<dyn BatchEngine>, String> {
        Ok(Arc::new(Engine {
            options: SlurmOptions::read(options)?,
            environment: self.environment.clone(),
            pace: self.pace,
            submit: SUBMIT,
            ask: ASK,
        }))
    }
}

struct Engine {
    options: SlurmOptions,
    environment: BTreeMap<String, String>,
    pace: Pace,
    /// Deadline of sbatch.
    submit: Duration,
    /// Deadline of other commands.
    ask: Duration,
}

/// Whether a variable changes what a command of Slurm does or prints: all inputs of squeue, and those of sbatch that no
/// option of ours overrides or that a user could not mean for us. Defaults for a user's jobs stay.
fn hides(name: &str) -> bool {
    const DEFAULTS: &[&str] = &[
        "SBATCH_ACCOUNT",
        "SBATCH_CONSTRAINT",
        "SBATCH_PARTITION",
        "SBATCH_QOS",
        "SBATCH_RESERVATION",
        "SBATCH_WCKEY",
    ];
    let inputs = ["SBATCH_", "SQUEUE_", "SCANCEL_"];
    let input = inputs.iter().any(|prefix| name.starts_with(prefix));
    (input && !DEFAULTS.contains(&name)) || name == "SLURM_CLUSTERS"
}

impl Engine {
    async fn call(
        &self,
        argv: Vec<String>,
        stdin: Vec<u8>,
        deadline: Duration,
        gives_up: fn(&str) -> bool,
    ) -> Result<Answer, NoAnswer> {
        run(Call {
            argv,
            stdin,
            deadline,
            environment: &self.environment,
            hides,
            gives_up,
        })
        .await
    }

    /// Asks something that changes nothing, or that may be asked again.
    async fn ask(&self, argv: &[&str], step: &str) -> Result<Answer, PluginError> {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let answer = self.call(argv, Vec::new(), self.ask, |_| false).await;
        answer.map_err(|error| error.during(step))
    }

    /// After sbatch has been ended while it slept before another try: it has submitted nothing, unless this process
    /// was held up for so long that the next try had begun.
    async fn after_retry(&self, array: &Array, said: &str) -> Result<JobId, SubmitError> {
        match self.find(&array.name).await {
            Ok(Some(job)) => Ok(job),
            Ok(None) => Err(later(said::words(said))),
            Err(error) => Err(unknown(format!("{}; then {error}", said::words(said)))),
        }
    }

    /// Whether the user has nothing in the queue: a limit that refuses the array then always will.
    async fn is_idle(&self) -> bool {
        let user = user();
        let argv = [
            "squeue",
            "--noheader",
            "--all",
            user.as_str(),
            "--format=%i",
        ];
        let answer = self.ask(&argv, "count the tasks in the queue").await;
        answer.is_ok_and(|answer| answer.ok() && answer.stdout.trim().is_empty())
    }
}

/// The option of squeue for the jobs of the user that vexp runs as.
fn user() -> String {
    format!("--user={}", rustix::process::geteuid().as_raw())
}

fn refused(said: String) -> SubmitError {
    SubmitError::Refused { engine: NAME, said }
}

fn later(said: String) -> SubmitError {
    SubmitError::Later { engine: NAME, said }
}

fn unknown(said: String) -> SubmitError {
    SubmitError::Unknown { engine: NAME, said }
}

#[async_trait]
impl BatchEngine for Engine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn time(&self) -> Option<Duration> {
        self.options.time()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    async fn limits(&self) -> Result<Limits, PluginError> {
        const STEP: &str = "read the limits of Slurm";
        let answer = self.ask(&["scontrol", "show", "config"], STEP).await?;
        if !answer.ok() {
            return Err(answer.failed(STEP, "scontrol show config"));
        }
        Ok(parse::limits(&answer.stdout))
    }

    async fn submit(&self, array: &Array) -> Result<JobId, SubmitError> {
        let argv = self.options.sbatch(array).map_err(refused)?;
        let script = self.options.script(&array.argv).map_err(refused)?;
        let called = self
            .call(argv, script.into_bytes(), self.submit, said::retries)
            .await;
        let answer = match called {
            Ok(answer) => answer,
            Err(error @ NoAnswer::Start { .. }) => {
                return Err(error.during("submit tasks to Slurm").into());
            }
            Err(NoAnswer::GaveUp { said }) => return self.after_retry(array, &said).await,
            Err(error @ NoAnswer::Deadline { .. }) => return Err(unknown(error.to_string())),
        };
        match answer.status {
            Some(0) => parse::submitted(&answer.stdout).map_err(unknown),
            None => Err(unknown("sbatch was killed by a signal".to_owned())),
            Some(status) => {
                let words = said::words(&answer.stderr);
                let words = match words.is_empty() {
                    true => format!("sbatch ended with status {status} and without a word"),
                    false => words,
                };
                Err(match said::meaning(&answer.stderr) {
                    Meaning::Refused => refused(words),
                    Meaning::Later => later(words),
                    Meaning::Unknown => unknown(words),
                    Meaning::Limit if self.is_idle().await => refused(words),
                    Meaning::Limit => later(words),
                })
            }
        }
    }

    async fn find(&self, name: &Name) -> Result<Option<JobId>, PluginError> {
        const STEP: &str = "look a job up in Slurm";
        let (name, user) = (format!("--name={name}"), user());
        let argv = [
            "squeue",
            "--noheader",
            "--all",
            "--states=all",
            &user,
            &name,
            "--format=%F",
        ];
        let answer = self.ask(&argv, STEP).await?;
        if !answer.ok() {
            return Err(answer.failed(STEP, "squeue"));
        }
        let jobs = parse::jobs(&answer.stdout);
        let jobs = jobs.map_err(|message| PluginError::new(STEP, "controller", message))?;
        Ok(jobs.into_iter().next_back())
    }

    async fn status(&self, jobs: &[JobId]) -> Result<BTreeMap<TaskId, TaskState>, PluginError> {
        const STEP: &str = "ask Slurm for its tasks";
        if jobs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let jobs: BTreeSet<&str> = jobs.iter().map(JobId::as_str).collect();
        let jobs: Vec<&str> = jobs.into_iter().collect();
        let jobs = format!("--jobs={}", jobs.join(","));
        let format = format!("--format={}", parse::FORMAT);
        let argv = [
            "squeue",
            "--noheader",
            "--all",
            "--states=all",
            "--array",
            &jobs,
            &format,
        ];
        let answer = self.ask(&argv, STEP).await?;
        if !answer.ok() {
            // Said of a single job that slurmctld has forgotten; of several, the others are listed.
            if answer.stderr.contains("Invalid job id specified") {
                return Ok(BTreeMap::new());
            }
            return Err(answer.failed(STEP, "squeue"));
        }
        let tasks = parse::tasks(&answer.stdout);
        tasks.map_err(|message| PluginError::new(STEP, "controller", message))
    }

    async fn cancel(&self, tasks: &[TaskId]) -> Result<(), PluginError> {
        const STEP: &str = "cancel tasks in Slurm";
        let lists = lists(tasks);
        if lists.is_empty() {
            return Ok(());
        }
        let argv: Vec<&str> = std::iter::once("scancel")
            .chain(lists.iter().map(String::as_str))
            .collect();
        let answer = self.ask(&argv, STEP).await?;
        let ended = |line: &str| {
            [
                "Invalid job id specified",
                "already completing or completed",
            ]
            .iter()
            .any(|text| line.contains(text))
        };
        let mut lines = answer.stderr.lines().filter(|line| !line.trim().is_empty());
        let fine = answer.ok()
            || (answer.status.is_some() && !answer.stderr.is_empty() && lines.all(ended));
        if fine {
            Ok(())
        } else {
            Err(answer.failed(STEP, "scancel"))
        }
    }

    fn here(&self) -> Option<Here> {
        here(|name| std::env::var(name).ok())
    }
}

/// Tasks as scancel takes them: `12_[0-4,7]`.
fn lists(tasks: &[TaskId]) -> Vec<String> {
    let mut jobs: BTreeMap<&JobId, BTreeSet<u32>> = BTreeMap::new();
    for task in tasks {
        jobs.entry(&task.job).or_default().insert(task.index);
    }
    let mut lists = Vec::new();
    for (job, indices) in jobs {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for index in indices {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => ranges.push((index, index)),
            }
        }
        for some in ranges.chunks(RANGES) {
            let some = some.iter().map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            });
            lists.push(format!("{job}_[{}]", some.collect::<Vec<_>>().join(",")));
        }
    }
    lists
}

/// The task that this process is, by the variables that slurmd sets; sbatch(1), OUTPUT ENVIRONMENT VARIABLES.
fn here(variable: impl Fn(&str) -> Option<String>) -> Option<Here> {
    let number = |name| variable(name)?.parse::<u32>().ok();
    let id = |name| JobId::parse(&variable(name)?).ok();
    let job = id("SLURM_JOB_ID")?;
    let task = id("SLURM_ARRAY_JOB_ID")
        .zip(number("SLURM_ARRAY_TASK_ID"))
        .map(|(job, index)| TaskId { job, index });
    let node = variable("SLURMD_NODENAME").unwrap_or_else(vexp_api::host::name);
    Some(Here {
        job: task.as_ref().map_or(job, |task| task.job.clone()),
        task,
        // It is set from the first restart on.
        restart: number("SLURM_RESTART_COUNT").unwrap_or(0),
        node,
    })
}
