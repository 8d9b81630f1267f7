//! Any batch engine by a template: commands that submit, find, list and cancel tasks, and regular expressions that read
//! their answers. Without Rust: HTCondor, PBS, LSF, a pool of processes. See docs/cluster-engines.md.
//!
//! The template is the user's, in `~/.config/vexp/batch.json`. A study can't say it, because it names programs that run
//! on the computer that submits.

mod options;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::batch::{
    Array, BatchEngine, BatchPlugin, Here, JobId, Limits, Pace, SubmitError, TaskId, TaskState,
};
use vexp_api::ids::Name;
use vexp_api::plugin::{Plugin, PluginError};
use vexp_api::spec::Options;
use vexp_api::units::TimeSpan;

use super::program::{Answer, Call, NoAnswer, run};
use options::{CommandOptions, Pattern, Values};
use template::Argv;

const NAME: &str = "command";

/// The engine that `--on command` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Command {
    pace: Pace,
}

impl Command {
    /// Looks and asks at another pace than a cluster's.
    #[must_use]
    pub fn paced(pace: Pace) -> Self {
        Self { pace }
    }
}

impl Plugin for Command {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

impl BatchPlugin for Command {
    fn engine(&self, options: &Options) -> Result<Arc<dyn BatchEngine>, String> {
        let options = CommandOptions::read(options)?;
        let pace = self.pace;
        Ok(Arc::new(Engine { options, pace }))
    }
}

struct Engine {
    options: CommandOptions,
    pace: Pace,
}

/// A folder's path as an argument.
fn text(path: &Path) -> Result<String, SubmitError> {
    let text = path.to_str().filter(|text| text.starts_with('/'));
    let text =
        text.ok_or_else(|| refused(format!("`{}` is no absolute path in UTF-8", path.display())))?;
    Ok(text.to_owned())
}

fn refused(said: String) -> SubmitError {
    SubmitError::Refused { engine: NAME, said }
}

fn unknown(said: String) -> SubmitError {
    SubmitError::Unknown { engine: NAME, said }
}

impl Engine {
    async fn call(&self, argv: Vec<String>) -> Result<Answer, NoAnswer> {
        run(Call {
            argv,
            stdin: Vec::new(),
            deadline: self.options.deadline.duration(),
            environment: &BTreeMap::new(),
            hides: |_| false,
            gives_up: |_| false,
        })
        .await
    }

    /// Asks; `None` where all that was asked about is forgotten.
    async fn ask(
        &self,
        argv: &Argv,
        filled: Vec<String>,
        step: &str,
    ) -> Result<Option<Answer>, PluginError> {
        let answer = self
            .call(filled)
            .await
            .map_err(|error| error.during(step))?;
        if answer.ok() {
            return Ok(Some(answer));
        }
        let forgotten = CommandOptions::any(&self.options.forgotten, &answer.stderr);
        match forgotten && answer.status.is_some() {
            true => Ok(None),
            false => Err(answer.failed(step, &argv.program())),
        }
    }

    /// What the placeholders of `submit` stand for.
    fn values(&self, array: &Array) -> Result<Values, SubmitError> {
        let last = array
            .tasks
            .checked_sub(1)
            .ok_or_else(|| refused("an array has one task at least".to_owned()))?;
        let first = self.options.first.0;
        let needs = &array.needs;
        let time = self.time().unwrap_or(needs.time);
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let file = |ending: &str| text(&array.logs.join(format!("{}.{ending}", array.name)));
        let exclude: Vec<&str> = array.exclude.iter().map(String::as_str).collect();
        Ok(Values::from([
            ("script", file("sh")?),
            (template::DESCRIPTION, file("description")?),
            ("name", array.name.to_string()),
            ("tasks", array.tasks.to_string()),
            ("first", first.to_string()),
            ("last", (u64::from(first) + u64::from(last)).to_string()),
            ("folder", text(&array.folder)?),
            ("logs", text(&array.logs)?),
            ("cpus", needs.cpus.to_string()),
            ("memory_mib", needs.memory.div_ceil(1 << 20).to_string()),
            ("seconds", seconds.to_string()),
            ("minutes", seconds.div_ceil(60).to_string()),
            ("grace", needs.grace.as_secs().to_string()),
            ("exclude", exclude.join(",")),
        ]))
    }

    /// Writes the task's script, and the job's description if the engine wants one.
    fn write(&self, array: &Array, values: &Values) -> Result<(), SubmitError> {
        let failed = |path: &str, error: std::io::Error| {
            PluginError::new(
                "write a task's script",
                "controller",
                format!("{path}: {error}"),
            )
        };
        let exec = super::script::exec(&array.argv).map_err(refused)?;
        let folder = super::script::quoted(&values["folder"]);
        let path = &values["script"];
        std::fs::write(path, format!("#!/bin/sh\ncd {folder} || exit 1\n{exec}"))
            .map_err(|error| failed(path, error))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .map_err(|error| failed(path, error))?;
        if let Some(lines) = &self.options.description {
            let lines = lines.iter().filter_map(|line| line.fill(values));
            let description: String = lines.map(|line| line + "\n").collect();
            let path = &values[template::DESCRIPTION];
            std::fs::write(path, description).map_err(|error| failed(path, error))?;
        }
        Ok(())
    }

    /// The first job that a pattern finds in a text's lines.
    fn job(pattern: &Pattern, text: &str) -> Option<Result<JobId, String>> {
        let found = text.lines().find_map(|line| pattern.0.captures(line))?;
        let id = found.name("job")?.as_str();
        Some(JobId::parse(id).map_err(|error| error.to_string()))
    }

    fn tasks(&self, stdout: &str) -> Result<BTreeMap<TaskId, TaskState>, String> {
        let mut tasks = BTreeMap::new();
        for found in stdout
            .lines()
            .filter_map(|line| self.options.task.0.captures(line))
        {
            let group = |name| found.name(name).map_or("", |group| group.as_str());
            let wrong = |what: &str| format!("{what}: `{}`", found[0].escape_debug());
            let job = JobId::parse(group("job")).map_err(|error| wrong(&error.to_string()))?;
            let index = group("index").parse::<u32>().ok();
            let index = index.and_then(|index| index.checked_sub(self.options.first.0));
            let index = index.ok_or_else(|| wrong("no task's index"))?;
            let node = Some(group("node")).filter(|node| !node.is_empty());
            let state = group("state");
            let is = |words: &[String]| words.iter().any(|word| word == state);
            let state = if is(&self.options.states.over) {
                let (state, node) = (state.to_owned(), node.map(str::to_owned));
                TaskState::Over { state, node }
            } else if is(&self.options.states.running) {
                TaskState::Running(node.unwrap_or("?").to_owned())
            } else {
                TaskState::Waiting(state.to_owned())
            };
            tasks.insert(TaskId { job, index }, state);
        }
        Ok(tasks)
    }

    fn task_name(&self, task: &TaskId) -> Option<String> {
        let index = u64::from(task.index) + u64::from(self.options.first.0);
        let values = Values::from([("job", task.job.to_string()), ("index", index.to_string())]);
        self.options.task_name.fill(&values)
    }

    fn here_by(&self, variable: impl Fn(&str) -> Option<String>) -> Option<Here> {
        let names = &self.options.here;
        let job = variable(&names.job)?;
        let job = match &names.job_pattern {
            Some(pattern) => Self::job(pattern, &job)?.ok()?,
            None => JobId::parse(&job).ok()?,
        };
        let index = variable(&names.index).and_then(|index| index.parse::<u32>().ok());
        let index = index.and_then(|index| index.checked_sub(self.options.first.0));
        let of = |name: &Option<String>| {
            name.as_deref()
                .and_then(&variable)
                .filter(|text| !text.is_empty())
        };
        Some(Here {
            task: index.map(|index| TaskId {
                job: job.clone(),
                index,
            }),
            job,
            restart: of(&names.restart)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            node: of(&names.node).unwrap_or_else(vexp_api::host::name),
        })
    }
}

#[async_trait]
impl BatchEngine for Engine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn time(&self) -> Option<Duration> {
        self.options.time.map(TimeSpan::duration)
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    async fn limits(&self) -> Result<Limits, PluginError> {
        Ok(Limits {
            array: self.options.array_limit.map(std::num::NonZeroU32::get),
            queued: self.options.queue_limit.map(std::num::NonZeroU32::get),
        })
    }

    async fn submit(&self, array: &Array) -> Result<JobId, SubmitError> {
        let alone = match (array.needs.exclusive, &self.options.exclusive) {
            (true, Some(arguments)) => arguments.clone(),
            (false, _) => Vec::new(),
            (true, None) => {
                return Err(refused(
                    "each task needs its node alone, because time is real there, and option `exclusive` does not say \
                     how this engine is asked for that"
                        .to_owned(),
                ));
            }
        };
        let values = self.values(array)?;
        self.write(array, &values)?;
        let argv = self
            .options
            .submit
            .fill(&values, &[(template::EXCLUSIVE, &alone)]);
        let answer = match self.call(argv).await {
            Ok(answer) => answer,
            Err(error @ NoAnswer::Start { .. }) => {
                return Err(error.during("submit tasks").into());
            }
            Err(error) => return Err(unknown(error.to_string())),
        };
        let program = self.options.submit.program();
        match answer.status {
            Some(0) => match Self::job(&self.options.job, &answer.stdout) {
                Some(job) => job.map_err(unknown),
                None => Err(unknown(format!(
                    "`{program}` has named no job, but said `{}`",
                    super::one_line(&answer.stdout)
                ))),
            },
            None => Err(unknown(format!("`{program}` was killed by a signal"))),
            Some(status) => {
                let said = match super::one_line(&answer.stderr) {
                    words if words.is_empty() => format!("`{program}` ended with status {status}"),
                    words => words,
                };
                match CommandOptions::any(&self.options.later, &answer.stderr) {
                    true => Err(SubmitError::Later { engine: NAME, said }),
                    false => Err(refused(said)),
                }
            }
        }
    }

    async fn find(&self, name: &Name) -> Result<Option<JobId>, PluginError> {
        const STEP: &str = "look a job up";
        let values = Values::from([("name", name.to_string())]);
        let argv = self.options.find.fill(&values, &[]);
        let Some(answer) = self.ask(&self.options.find, argv, STEP).await? else {
            return Ok(None);
        };
        let job = Self::job(&self.options.job, &answer.stdout).transpose();
        job.map_err(|message| PluginError::new(STEP, "controller", message))
    }

    async fn status(&self, jobs: &[JobId]) -> Result<BTreeMap<TaskId, TaskState>, PluginError> {
        const STEP: &str = "ask for tasks";
        if jobs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list: Vec<String> = jobs.iter().map(JobId::to_string).collect();
        let argv = self.options.status.fill(&Values::new(), &[("jobs", &list)]);
        let Some(answer) = self.ask(&self.options.status, argv, STEP).await? else {
            return Ok(BTreeMap::new());
        };
        let tasks = self.tasks(&answer.stdout);
        let mut tasks = tasks.map_err(|message| PluginError::new(STEP, "controller", message))?;
        tasks.retain(|task, _| jobs.contains(&task.job));
        Ok(tasks)
    }

    async fn cancel(&self, tasks: &[TaskId]) -> Result<(), PluginError> {
        const STEP: &str = "cancel tasks";
        let names: Vec<String> = tasks
            .iter()
            .filter_map(|task| self.task_name(task))
            .collect();
        // An argument list has a limit.
        for some in names.chunks(1000) {
            let argv = self.options.cancel.fill(&Values::new(), &[("ended", some)]);
            self.ask(&self.options.cancel, argv, STEP).await?;
        }
        Ok(())
    }

    fn here(&self) -> Option<Here> {
        self.here_by(|name| std::env::var(name).ok())
    }
}
