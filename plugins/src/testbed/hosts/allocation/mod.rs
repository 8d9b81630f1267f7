//! Machines that a batch engine lends for the time of a run.
//!
//! A vexp that stands inside of a job uses that job's nodes. Else it asks for an allocation: under a name of the run's
//! own, which is written down in the run's folder before. By that name it is found and ended, whatever
//! became of the vexp that had asked.

mod call;
mod oar;
mod options;
mod slurm;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vexp_api::event::Event;
use vexp_api::ids::HostName;
use vexp_api::plan::Plan;
use vexp_api::plugin::{Context, PluginError, Preflight, PreflightState};
use vexp_api::run_dir::RunDir;

use options::Engine;
pub(super) use options::{Allocation, OwnAllocation};

/// Steps that errors name.
const ASK: &str = "ask for an allocation";
const LOOK: &str = "look at the allocation";
const END: &str = "end the allocation";
/// The file in a run's folder.
const FILE: &str = "allocation.json";
/// The version of its format.
const FORMAT: u32 = 1;
/// Bytes that it may have.
const MOST: u64 = 1 << 16;
/// Pauses between two looks at a request that waits: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Pause before it is looked whether a job has ended, for the first time.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// How long an engine may take to end a job.
const ENDING: Duration = Duration::from_secs(60);

/// How a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Not granted yet, and why.
    Waits(String),
    /// Granted; the nodes as the engine writes them.
    Runs(String),
    /// It has ended, and how.
    Over(String),
}

/// Whether a text is a job's number.
fn is_job(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What was asked for, in the run's folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// The job's name.
    name: String,
    /// Its number, once the engine has said it.
    job: Option<String>,
    asked: Allocation,
}

/// An allocation that is ours.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    engine: Engine,
    /// The job's number.
    job: String,
    /// Nodes in the engine's order.
    pub(super) hosts: Vec<HostName>,
}

impl Engine {
    async fn state(self, job: &str) -> Result<State, PluginError> {
        match self {
            Self::Slurm => slurm::state(job).await,
            Self::Oar => oar::state(job).await,
        }
    }

    async fn hosts(self, nodes: &str) -> Result<Vec<String>, PluginError> {
        match self {
            Self::Slurm => slurm::hosts(nodes).await,
            Self::Oar => Ok(oar::hosts(nodes.split(','))),
        }
    }

    async fn named(self, name: &str) -> Result<Vec<String>, PluginError> {
        match self {
            Self::Slurm => slurm::named(name).await,
            Self::Oar => oar::named(name).await,
        }
    }

    async fn cancel(self, job: &str) -> Result<(), PluginError> {
        match self {
            Self::Slurm => slurm::cancel(job).await,
            Self::Oar => oar::cancel(job).await,
        }
    }

    /// The program that asks.
    fn program(self) -> &'static str {
        match self {
            Self::Slurm => "salloc",
            Self::Oar => "oarsub",
        }
    }
}

impl Granted {
    fn new(allocation: &Allocation, job: String, names: Vec<String>) -> Result<Self, PluginError> {
        let engine = allocation.engine;
        let wrong = |message: String| PluginError::new(LOOK, "controller", message);
        let hosts = names.into_iter().map(|name| {
            HostName::new(&name).map_err(|error| wrong(format!("a node of job {job}: {error}")))
        });
        let hosts: Vec<_> = hosts.collect::<Result<_, _>>()?;
        if hosts.len() < allocation.nodes as usize {
            return Err(wrong(format!(
                "job {job} of {engine} has {} nodes, and the inventory is of {}",
                hosts.len(),
                allocation.nodes
            )));
        }
        Ok(Self { engine, job, hosts })
    }

    /// The allocation of the job that vexp stands in, if it stands in one.
    pub(super) async fn here(allocation: &Allocation) -> Result<Option<Self>, PluginError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (job, names) = match allocation.engine {
            Engine::Slurm => {
                let (Some(job), Some(nodes)) = (set("SLURM_JOB_ID"), set("SLURM_JOB_NODELIST"))
                else {
                    return Ok(None);
                };
                (job, slurm::hosts(&nodes).await?)
            }
            Engine::Oar => {
                let (Some(job), Some(file)) = (set("OAR_JOB_ID"), set("OAR_NODEFILE")) else {
                    return Ok(None);
                };
                let bytes = vexp_api::run_dir::read_named(Path::new(&file), 1 << 20);
                let bytes = bytes.map_err(|error| PluginError {
                    source: Some(Box::new(error)),
                    ..PluginError::new(LOOK, "controller", "OAR_NODEFILE can't be read")
                })?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                (job, oar::hosts(text.lines()))
            }
        };
        if !is_job(&job) {
            let message = format!("`{}` is no job's number", job.escape_debug());
            return Err(PluginError::new(LOOK, "controller", message));
        }
        Self::new(allocation, job, names).map(Some)
    }

    /// It, for people.
    pub(super) fn in_words(&self) -> String {
        format!("job {} of {}", self.job, self.engine)
    }

    /// Why it is gone, if it is. An engine that does not answer says nothing.
    pub(super) async fn lost(&self) -> Option<String> {
        match self.engine.state(&self.job).await {
            Ok(State::Over(why)) => Some(format!(
                "the allocation is over: {}: {why}",
                self.in_words()
            )),
            _ => None,
        }
    }
}

/// The job's name of a run.
fn name_of(run: &Path) -> Result<String, PluginError> {
    let name = run.file_name().and_then(|name| name.to_str());
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match name.filter(|name| !name.is_empty() && name.chars().all(plain)) {
        Some(name) => Ok(format!("vexp-{name}")),
        None => {
            let message = format!("no job can be named after {}", run.display());
            Err(PluginError::new(ASK, "controller", message))
        }
    }
}

fn io(step: &str, error: impl std::error::Error + Send + Sync + 'static) -> PluginError {
    PluginError {
        source: Some(Box::new(error)),
        ..PluginError::new(step, "controller", format!("{FILE} of the run"))
    }
}

/// What a run's folder says. A folder may come from a stranger, or be a copy: only a job that has this run's name is its.
fn read(run: &Path) -> Result<Option<Record>, PluginError> {
    let bytes = match RunDir::open(run).and_then(|folder| folder.read(FILE, MOST)) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(io(END, error)),
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| io(END, error))?;
    let wrong = |message: String| PluginError::new(END, "controller", message);
    if record.format != FORMAT {
        let format = record.format;
        return Err(wrong(format!(
            "{FILE} has format {format}; this vexp reads {FORMAT}"
        )));
    }
    if record.name != name_of(run)? {
        return Err(wrong(format!(
            "{FILE} is of another run, `{}`: end what that one has left by hand, and remove the file",
            record.name.escape_debug()
        )));
    }
    Ok(Some(record))
}

fn write(run: &Path, record: &Record) -> Result<(), PluginError> {
    let text = serde_json::to_vec(record).map_err(|error| io(ASK, error))?;
    let folder = RunDir::open(run).map_err(|error| io(ASK, error))?;
    let written = folder.write(FILE, &text);
    written.map_err(|error| io(ASK, error))
}

fn note(cx: &Context, text: String) {
    cx.events.event(&Event::Note { text });
}

/// The file that says what a run has asked for, if it is there.
pub(super) fn holds(run: &Path) -> Option<PathBuf> {
    let path = run.join(FILE);
    path.symlink_metadata().is_ok().then_some(path)
}

/// Asks for an allocation, and waits until it is granted. One that this run has asked for before it died is
/// used, if it is what is wanted now.
pub(super) async fn begin(
    allocation: &Allocation,
    run: &Path,
    cx: &Context,
) -> Result<Granted, PluginError> {
    let engine = allocation.engine;
    if let Some(job) = taken_up(allocation, run, cx).await? {
        let names = wait(engine, &job, None, cx).await?;
        return Granted::new(allocation, job, names);
    }
    let mut record = Record {
        format: FORMAT,
        name: name_of(run)?,
        job: None,
        asked: allocation.clone(),
    };
    write(run, &record)?;
    let (job, asking) = match engine {
        Engine::Slurm => {
            let (job, asking) = slurm::ask(allocation, &record.name).await?;
            (job, Some(asking))
        }
        Engine::Oar => (oar::ask(allocation, &record.name).await?, None),
    };
    record.job = Some(job.clone());
    write(run, &record)?;
    let names = wait(engine, &job, asking, cx).await?;
    let granted = Granted::new(allocation, job, names)?;
    let hosts: Vec<_> = granted.hosts.iter().map(HostName::as_str).collect();
    note(cx, format!("{}: {}", granted.in_words(), hosts.join(", ")));
    Ok(granted)
}

/// The job that a dead vexp has asked for in this run; another one than is wanted now is ended.
async fn taken_up(
    allocation: &Allocation,
    run: &Path,
    cx: &Context,
) -> Result<Option<String>, PluginError> {
    let Some(record) = read(run)? else {
        return Ok(None);
    };
    let jobs = record.asked.engine.named(&record.name).await?;
    if let ([job], true) = (jobs.as_slice(), record.asked == *allocation) {
        let engine = allocation.engine;
        note(
            cx,
            format!("job {job} of {engine} was asked for by this run before: it is used"),
        );
        return Ok(Some(job.clone()));
    }
    end(run, cx).await?;
    Ok(None)
}

/// Waits until a job is granted, and says why it is not, once for each reason.
async fn wait(
    engine: Engine,
    job: &str,
    mut asking: Option<slurm::Asking>,
    cx: &Context,
) -> Result<Vec<String>, PluginError> {
    let (mut pause, longest) = PAUSES;
    let mut told = String::new();
    loop {
        let text = match engine.state(job).await {
            Ok(State::Runs(nodes)) => {
                if let Some(asking) = &mut asking {
                    // It waits until the nodes are ready.
                    let ended = tokio::time::timeout(call::DEADLINE, asking.ended()).await;
                    ended.unwrap_or(Ok(()))?;
                }
                return engine.hosts(&nodes).await;
            }
            Ok(State::Over(why)) => {
                let message = format!("job {job} of {engine} is over before it was granted: {why}");
                return Err(PluginError::new(ASK, "controller", message));
            }
            Ok(State::Waits(why)) => format!("job {job} of {engine} waits: {why}"),
            Err(error) => format!("job {job} of {engine}: {error}; it is asked again"),
        };
        if text != told {
            note(cx, text.clone());
            told = text;
        }
        match &mut asking {
            None => tokio::time::sleep(pause).await,
            Some(still) => tokio::select! {
                ended = still.ended() => {
                    ended?;
                    asking = None;
                    pause = PAUSES.0;
                    continue;
                }
                () = tokio::time::sleep(pause) => {}
            },
        }
        pause = (pause * 2).min(longest);
    }
}

/// Ends what a run has asked for, by its name.
pub(super) async fn end(run: &Path, cx: &Context) -> Result<(), PluginError> {
    let Some(record) = read(run)? else {
        return Ok(());
    };
    let engine = record.asked.engine;
    let (began, mut pause) = (Instant::now(), FIRST_LOOK);
    let mut ended: Vec<String> = Vec::new();
    // Where nobody knows its number, what was asked for a moment ago may not be listed yet.
    let mut again = record.job.is_none();
    loop {
        let jobs = engine.named(&record.name).await?;
        if jobs.is_empty() && !again {
            break;
        }
        if jobs.is_empty() {
            again = false;
            pause = PAUSES.0;
        }
        if began.elapsed() > ENDING {
            let message = format!(
                "job {} of {engine} is still there, a minute after it was to end",
                jobs.join(", ")
            );
            return Err(PluginError::new(END, "controller", message));
        }
        for job in jobs {
            if !ended.contains(&job) {
                engine.cancel(&job).await?;
                ended.push(job);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ENDING / 12);
    }
    std::fs::remove_file(run.join(FILE)).map_err(|error| io(END, error))?;
    if !ended.is_empty() {
        note(cx, format!("job {} of {engine} is ended", ended.join(", ")));
    }
    Ok(())
}

/// What is asked for, or is there already: for a preflight, which asks for nothing.
pub(super) fn finding(
    allocation: &Allocation,
    granted: Option<&Granted>,
    plan: &Plan,
) -> Preflight {
    let program = allocation.engine.program();
    let (seen, state) = match granted {
        Some(granted) => {
            let hosts: Vec<_> = granted.hosts.iter().map(HostName::as_str).collect();
            let seen = format!("{}: {}", granted.in_words(), hosts.join(", "));
            (seen, PreflightState::Fine)
        }
        None if call::find(program).is_some() => {
            let minutes = (plan.estimate.run.secs_f64() / 60.0).ceil();
            let seen = format!(
                "asked for when the run begins, which is estimated at {minutes} min; its machines are looked at then"
            );
            (seen, PreflightState::Fine)
        }
        None => {
            let help = "run vexp where the engine's commands are, such as on a login node, or inside of a job";
            let seen = format!("there is no `{program}` here");
            (seen, PreflightState::Wrong(help.to_owned()))
        }
    };
    Preflight {
        node: "allocation".to_owned(),
        what: "allocation".to_owned(),
        asked: allocation.in_words(),
        seen,
        state,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked() -> Value {
        json!({"engine": "slurm", "nodes": 2, "time": "1h"})
    }

    #[test]
    fn a_folder_ends_no_job_but_its_own_run_s() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("study-1");
        std::fs::create_dir(&run).unwrap();
        let write = |value: Value| std::fs::write(run.join(FILE), value.to_string()).unwrap();
        assert!(read(&run).unwrap().is_none() && holds(&run).is_none());
        let of = |name: &str| json!({"format": 1, "name": name, "job": "17", "asked": asked()});
        write(of("vexp-study-1"));
        assert!(read(&run).unwrap().is_some() && holds(&run).is_some());
        for stranger in ["vexp-study-2", "vexp-", "interactive", "--all"] {
            write(of(stranger));
            let error = read(&run).unwrap_err().to_string();
            assert!(error.contains("is of another run"), "{error}");
        }
        let mut other = of("vexp-study-1");
        other["format"] = json!(2);
        write(other);
        assert!(read(&run).is_err());
        std::fs::remove_file(run.join(FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", run.join(FILE)).unwrap();
        assert!(read(&run).is_err());
    }

    #[test]
    fn an_allocation_with_too_few_nodes_is_refused() {
        let allocation: Allocation = serde_json::from_value(asked()).unwrap();
        let of = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Granted::new(&allocation, "17".to_owned(), names).map_err(|error| error.to_string())
        };
        let granted = of(&["n1", "n2", "n3"]).unwrap();
        assert_eq!(granted.in_words(), "job 17 of Slurm");
        assert!(of(&["n1"]).unwrap_err().contains("has 1 nodes"));
        assert!(of(&["n1", "-oProxyCommand=id"]).is_err());
    }
}
