//! Programs that a measure runs, and what they leave behind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{
    Blame, Captured, Finished, Flow, Intent, MeasureRequest, Node, PluginError, Refusal, Running,
};
use vexp_api::record::{Artefact, Part};
use vexp_api::sample::NodeRole;
use vexp_api::shell::{Cmd, Output, Process, ShellError};

/// Time beyond a program's planned end after which it is ended: emulated machines are slow to
/// start and to stop programs, and a deadline that is too short loses a trial.
pub const MARGIN: Duration = Duration::from_secs(60);

/// Time in which a program must come as far as waiting for its release.
const READY: Duration = Duration::from_secs(60);

/// A program to be started on a node, and how its output will be described.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where it runs.
    pub node: Node,
    /// The program with its arguments and deadline.
    pub cmd: Cmd,
    /// `client`, `server`, `stdout` …
    pub stream: &'static str,
    /// File name's ending: `json`, `txt`.
    pub extension: &'static str,
    /// The flow's subject, for traffic.
    pub flow: Option<Name>,
    /// Part of the test that is not measured.
    pub warm_up: Duration,
    /// Nodes that its samples may be about, beside its own.
    pub about: BTreeMap<Name, NodeRole>,
}

impl Job {
    /// A program at an end of a flow: on the sink if it is the `server`, else on the source.
    pub fn of_flow(
        flow: &Flow,
        cmd: Cmd,
        stream: &'static str,
        extension: &'static str,
        request: &MeasureRequest,
    ) -> Self {
        Self {
            node: match stream {
                "server" => flow.sink.clone(),
                _ => flow.source.clone(),
            },
            cmd,
            stream,
            extension,
            flow: Some(flow.subject.clone()),
            warm_up: request.warm_up,
            about: subject_role(flow, request),
        }
    }
}

/// What the jobs of one measure share.
#[derive(Clone, Debug)]
pub struct Batch {
    tool: &'static str,
    request: MeasureRequest,
}

/// A job that was started.
pub struct Launched {
    job: Job,
    /// The program that runs.
    pub process: Box<dyn Process>,
}

impl Job {
    async fn launch(self) -> Result<Launched, (Name, ShellError)> {
        match self.node.shell.start(self.cmd.clone()).await {
            Ok(process) => Ok(Launched { job: self, process }),
            Err(error) => Err((self.node.name, error)),
        }
    }
}

impl Batch {
    /// Of the measure `tool`, as it was asked for.
    pub fn new(tool: &'static str, request: &MeasureRequest) -> Self {
        Self {
            tool,
            request: request.clone(),
        }
    }

    /// The step that errors name.
    pub fn step(&self, verb: &str) -> String {
        format!("{verb} {}", self.tool)
    }

    /// Starts all jobs at once. Those that did start go on until their deadline if another fails.
    pub async fn launch(&self, jobs: Vec<Job>) -> Result<Vec<Launched>, PluginError> {
        let started = together(jobs, |job| job.launch()).await?;
        started
            .into_iter()
            .map(|result| {
                result.map_err(|(node, error)| PluginError::shell(self.step("start"), &node, error))
            })
            .collect()
    }

    /// Starts all jobs so far that they have only to be released, and waits until all are. If one
    /// does not get there, none of them ever runs.
    pub async fn hold(&self, mut jobs: Vec<Job>) -> Result<Vec<Launched>, PluginError> {
        for job in &mut jobs {
            job.cmd.held = true;
            job.cmd.deadline += READY;
        }
        let waits = together(self.launch(jobs).await?, |mut one| async {
            let ready = one.process.ready(READY).await;
            (one, ready)
        });
        let mut held = Vec::new();
        for (one, ready) in waits.await? {
            if !ready {
                let message = format!(
                    "`{}` was not ready to start within {} s: the node is overloaded, or the \
                     connection to it is lost",
                    one.job.cmd,
                    READY.as_secs()
                );
                let node = one.job.node.name.as_str();
                return Err(PluginError::new(self.step("start"), node, message));
            }
            held.push(one);
        }
        Ok(held)
    }

    /// Lets held jobs run, all of them at the same moment.
    pub async fn release(&self, held: &mut [Launched]) -> Result<(), PluginError> {
        for one in held {
            let released = one.process.release().await;
            released.map_err(|error| {
                PluginError::shell(self.step("start"), &one.job.node.name, error)
            })?;
        }
        Ok(())
    }

    /// Starts all jobs together: none runs before all are ready to.
    pub async fn launch_together(&self, jobs: Vec<Job>) -> Result<Vec<Launched>, PluginError> {
        let mut held = self.hold(jobs).await?;
        self.release(&mut held).await?;
        Ok(held)
    }

    /// Waits for all of them; those that can be stopped are.
    pub async fn collect(&self, launched: Vec<Launched>) -> Result<Vec<Captured>, PluginError> {
        let ended = together(launched, |one| async {
            let result = if one.job.cmd.stoppable {
                one.process.stop().await
            } else {
                one.process.wait().await
            };
            (one.job, result)
        })
        .await?;
        ended
            .into_iter()
            .map(|(job, result)| match result {
                Ok(output) => self.capture(job, output),
                Err(error) => Err(PluginError::shell(self.step("run"), &job.node.name, error)),
            })
            .collect()
    }

    fn capture(&self, job: Job, output: Output) -> Result<Captured, PluginError> {
        let name = |text: &str| {
            Name::new(text).map_err(|error| {
                PluginError::new(self.step("run"), job.node.name.as_str(), error.to_string())
            })
        };
        let seconds = |at: Instant| {
            at.saturating_duration_since(self.request.epoch)
                .as_secs_f64()
        };
        let about = job.flow.as_ref().unwrap_or(&job.node.name);
        let load = match self.request.part {
            Part::Load => "load.",
            Part::Traffic | Part::Monitor => "",
        };
        let mut stderr = output.stderr_tail();
        if output.timed_out {
            let after = job.cmd.deadline.as_secs();
            stderr = format!("{stderr}\n(ended by its deadline of {after} s)");
        }
        let artefact = Artefact {
            path: format!(
                "raw/{load}{about}.{}.{}.{}",
                self.tool, job.stream, job.extension
            ),
            digest: Digest::of(&output.stdout),
            part: self.request.part,
            tool: name(self.tool)?,
            stream: name(job.stream)?,
            node: job.node.name.clone(),
            role: job.node.role,
            flow: job.flow.clone(),
            command: job.cmd.to_string(),
            status: output.status,
            stderr,
            truncated: output.truncated,
            started_s: seconds(output.started),
            ended_s: seconds(output.ended),
            warm_up_s: job.warm_up.as_secs_f64(),
            options: self.request.options.clone(),
            about: job.about.clone(),
        };
        Ok(Captured {
            artefact,
            line_times: output.line_times.iter().map(|at| seconds(*at)).collect(),
            bytes: output.stdout,
        })
    }
}

/// Jobs that run.
pub struct Jobs {
    /// What they share.
    pub batch: Batch,
    /// Those that were started.
    pub launched: Vec<Launched>,
}

#[async_trait]
impl Running for Jobs {
    async fn finish(self: Box<Self>) -> Result<Finished, PluginError> {
        Ok(Finished {
            artefacts: self.batch.collect(self.launched).await?,
        })
    }
}

/// Tools that can't leave a warm-up out of their summary run twice: first for the warm-up, then
/// for what is measured. Both are held, so that nothing is left to do between them.
pub struct Phases {
    /// What they share.
    pub batch: Batch,
    /// Stopped at the end.
    pub servers: Vec<Launched>,
    /// Run before the window.
    pub warm_up: Vec<Job>,
    /// Run in the window.
    pub measured: Vec<Job>,
    /// Time from the release of the first to that of the second; `None`: when the first have ended.
    pub lead: Option<Duration>,
}

impl Phases {
    /// Starts the warm-up and returns.
    pub async fn start(self) -> Result<Box<dyn Running>, PluginError> {
        let Self {
            batch,
            servers,
            warm_up,
            mut measured,
            lead,
        } = self;
        // Deadlines count while a program is held.
        let longest = warm_up.iter().map(|job| job.cmd.deadline).max();
        for job in &mut measured {
            job.cmd.deadline += lead.or(longest).unwrap_or_default();
        }
        let tool = batch.tool;
        let mut warming = batch.hold(warm_up).await?;
        let mut measured = batch.hold(measured).await?;
        batch.release(&mut warming).await?;
        let end = lead.map(|lead| tokio::time::Instant::now() + lead);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut artefacts = Vec::new();
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => artefacts.extend(batch.collect(std::mem::take(&mut warming)).await?),
            }
            batch.release(&mut measured).await?;
            warming.extend(measured);
            artefacts.extend(batch.collect(warming).await?);
            artefacts.extend(batch.collect(servers).await?);
            Ok(Finished { artefacts })
        });
        Ok(Box::new(InTurn { tool, task }))
    }
}

/// A set of one task, because a set ends its tasks when it is dropped.
struct InTurn {
    tool: &'static str,
    task: JoinSet<Result<Finished, PluginError>>,
}

#[async_trait]
impl Running for InTurn {
    async fn finish(mut self: Box<Self>) -> Result<Finished, PluginError> {
        let step = format!("run {}", self.tool);
        match self.task.join_next().await {
            Some(Ok(finished)) => finished,
            Some(Err(error)) => Err(PluginError::new(step, "worker", error.to_string())),
            None => Err(PluginError::new(step, "worker", "it was never started")),
        }
    }
}

/// Role of a flow's subject: the host, or one of its guests.
pub fn subject_role(flow: &Flow, request: &MeasureRequest) -> BTreeMap<Name, NodeRole> {
    let role = if flow.subject == request.host.name {
        NodeRole::Host
    } else {
        NodeRole::Guest
    };
    BTreeMap::from([(flow.subject.clone(), role)])
}

/// What a tool refuses that takes times in whole seconds only; a window of 0 s would be a test without
/// end.
pub fn whole_seconds(tool: &str, intent: &Intent<'_>) -> Vec<Refusal> {
    let times = [
        (Blame::WarmUp, "warm-up", intent.warm_up),
        (Blame::Window, "window", intent.window),
    ];
    let mut refused: Vec<Refusal> = times
        .into_iter()
        .filter(|(.., time)| time.subsec_nanos() != 0)
        .map(|(of, what, time)| Refusal {
            of,
            message: format!(
                "the {what} is {} s, and {tool} takes whole seconds only",
                time.as_secs_f64()
            ),
        })
        .collect();
    if intent.window.is_zero() {
        refused.push(Refusal {
            of: Blame::Window,
            message: "the window is 0 s".to_owned(),
        });
    }
    refused
}

/// What a tool refuses that takes a port of its own for each flow, from `first`.
pub fn ports(first: u16, intent: &Intent<'_>) -> Option<Refusal> {
    let last = u32::from(first) + intent.flows.saturating_sub(1);
    let message = format!(
        "{} flows from port {first} would need port {last}, and the last is 65535",
        intent.flows
    );
    (last > u32::from(u16::MAX)).then(|| Refusal::option("port", message))
}

/// Runs one future for each item at the same time; results are in the items' order.
pub async fn together<I, T, F>(items: Vec<I>, work: impl Fn(I) -> F) -> Result<Vec<T>, PluginError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut set = JoinSet::new();
    for (index, item) in items.into_iter().enumerate() {
        let future = work(item);
        set.spawn(async move { (index, future.await) });
    }
    let mut done = Vec::with_capacity(set.len());
    while let Some(joined) = set.join_next().await {
        done.push(
            joined.map_err(|error| {
                PluginError::new("wait for programs", "worker", error.to_string())
            })?,
        );
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
