//! A batch engine of local processes, for tests of what a run does when one misbehaves. Its queue is a folder,
//! `FAKE_BATCH`; what goes wrong is in `FAKE_BATCH_FAULTS`, separated by spaces:
//!
//! - `unknown`: the first submission is not answered, and has happened; `unfound`: it is not found again either
//! - `never`: the first submission is accepted, and nothing of it ever runs or is known
//! - `empty`: it says of no task anything; `away`: it does not answer
//! - `later`: it does not take the first submission; `refused`: it takes none
//! - `hold`: tasks wait until there is a file `release` in its folder
//! - `requeue`: a task that is killed is started anew, once
//! - `array:N`: so many tasks in an array

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::batch::{
    Array, BatchEngine, BatchPlugin, Here, JobId, Limits, Pace, SubmitError, TaskId, TaskState,
};
use vexp_api::ids::Name;
use vexp_api::plugin::{Plugin, PluginError};
use vexp_api::spec::Options;

const NODES: [&str; 3] = ["n0", "n1", "n2"];

#[derive(Clone)]
pub(crate) struct Local;

impl Plugin for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn contract(&self) -> &'static str {
        "{ account | doc \"Who pays.\" | String | optional }"
    }
}

impl BatchPlugin for Local {
    fn engine(&self, options: &Options) -> Result<Arc<dyn BatchEngine>, String> {
        if options.get("account").is_some_and(|who| who == "nobody") {
            return Err("account: nobody pays for nothing".to_owned());
        }
        Ok(Arc::new(Engine))
    }
}

struct Engine;

fn queue() -> PathBuf {
    std::env::var_os("FAKE_BATCH").unwrap_or_default().into()
}

fn fault(name: &str) -> Option<String> {
    let all = std::env::var("FAKE_BATCH_FAULTS").unwrap_or_default();
    all.split(' ').find_map(|one| {
        let (found, rest) = one.split_once(':').unwrap_or((one, ""));
        (found == name).then(|| rest.to_owned())
    })
}

fn failed(error: impl ToString) -> PluginError {
    PluginError::new("ask the queue", "controller", error.to_string())
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A line of what the engine was asked.
fn called(what: &str) {
    use std::io::Write as _;
    let path = queue().join("calls");
    let file = fs::File::options().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
}

/// Starts a task in a group of its own, so that it lives longer than whoever submits it.
fn start(job: &Path, index: u32, restart: u32) -> Result<(), String> {
    let task = job.join(index.to_string());
    let file = |name: &str| task.join(name);
    let argv: Vec<String> =
        serde_json::from_slice(&fs::read(job.join("argv")).map_err(|e| e.to_string())?)
            .map_err(|e| e.to_string())?;
    let script = r#"out=$1; shift; "$@" >>"$out/log" 2>&1 & echo $! >"$out/pid"; wait $!; echo $? >"$out/exit""#;
    Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&task)
        .args(argv)
        .env("FAKE_JOB", job.file_name().unwrap_or_default())
        .env("FAKE_INDEX", index.to_string())
        .env("FAKE_RESTART", restart.to_string())
        .env("FAKE_NODE", read(&file("node")).unwrap_or_default())
        .env_remove("FAKE_BATCH_FAULTS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| e.to_string())?;
    Ok(())
}

fn submit(array: &Array, runs: bool) -> Result<JobId, String> {
    let text = |e: std::io::Error| e.to_string();
    let number = 1 + fs::read_dir(queue())
        .map_err(text)?
        .flatten()
        .filter(|e| e.path().is_dir())
        .count();
    let job = queue().join(number.to_string());
    fs::create_dir_all(&job).map_err(text)?;
    fs::write(job.join("name"), array.name.as_str()).map_err(text)?;
    let argv = serde_json::to_vec(&array.argv).map_err(|e| e.to_string())?;
    fs::write(job.join("argv"), argv).map_err(text)?;
    if !runs {
        fs::write(job.join("never"), "").map_err(text)?;
    }
    let free: Vec<&str> = NODES
        .into_iter()
        .filter(|node| !array.exclude.contains(*node))
        .collect();
    for index in 0..array.tasks {
        let task = job.join(index.to_string());
        fs::create_dir_all(&task).map_err(text)?;
        let node = free
            .get(index as usize % free.len().max(1))
            .ok_or("no node is left")?;
        fs::write(task.join("node"), node).map_err(text)?;
        if runs && fault("hold").is_none() {
            start(&job, index, 0)?;
        }
    }
    JobId::parse(&number.to_string()).map_err(|e| e.to_string())
}

/// What is known of a task.
fn state(job: &Path, index: u32) -> Option<TaskState> {
    let task = job.join(index.to_string());
    let node = read(&task.join("node"))?;
    if task.join("cancelled").exists() && read(&task.join("pid")).is_none() {
        let state = "CANCELLED".to_owned();
        return Some(TaskState::Over { state, node: None });
    }
    if read(&task.join("pid")).is_none() {
        if !queue().join("release").exists() {
            return Some(TaskState::Waiting("Priority".to_owned()));
        }
        start(job, index, 0).ok()?;
        return Some(TaskState::Running(node));
    }
    let Some(exit) = read(&task.join("exit")) else {
        return Some(TaskState::Running(node));
    };
    if exit == "137" && fault("requeue").is_some() && !task.join("again").exists() {
        fs::write(task.join("again"), "").ok()?;
        fs::remove_file(task.join("exit")).ok()?;
        start(job, index, 1).ok()?;
        return Some(TaskState::Waiting("BeginTime".to_owned()));
    }
    let state = match exit.as_str() {
        "0" => "COMPLETED",
        "137" => "NODE_FAIL",
        _ => "FAILED",
    };
    Some(TaskState::Over {
        state: state.to_owned(),
        node: Some(node),
    })
}

#[async_trait]
impl BatchEngine for Engine {
    fn name(&self) -> &'static str {
        "local"
    }

    fn pace(&self) -> Pace {
        let ms = Duration::from_millis;
        Pace {
            look: ms(20),
            beat: ms(50),
            ask: ms(100),
            ask_longer: ms(20),
            ask_most: ms(300),
            silence: ms(2500),
            late: ms(600),
            first: ms(4000),
            hung: ms(20_000),
        }
    }

    async fn limits(&self) -> Result<Limits, PluginError> {
        Ok(Limits {
            array: fault("array").and_then(|most| most.parse().ok()),
            queued: None,
        })
    }

    async fn submit(&self, array: &Array) -> Result<JobId, SubmitError> {
        let engine = "local";
        fs::create_dir_all(queue()).map_err(failed)?;
        called(&format!("submit {} {}", array.name, array.tasks));
        let first = !queue().join("tried").exists();
        fs::write(queue().join("tried"), "").map_err(failed)?;
        if fault("refused").is_some() {
            let said = "Invalid account or account/partition combination specified".to_owned();
            return Err(SubmitError::Refused { engine, said });
        }
        if fault("later").is_some() && first {
            let said = "Unable to contact slurm controller".to_owned();
            return Err(SubmitError::Later { engine, said });
        }
        let runs = !(fault("never").is_some() && first);
        let job = submit(array, runs).map_err(failed)?;
        if (fault("unknown").is_some() || fault("unfound").is_some()) && first {
            let said = "Socket timed out on send/recv operation".to_owned();
            return Err(SubmitError::Unknown { engine, said });
        }
        Ok(job)
    }

    async fn find(&self, name: &Name) -> Result<Option<JobId>, PluginError> {
        called(&format!("find {name}"));
        if fault("unfound").is_some() {
            return Ok(None);
        }
        let jobs = fs::read_dir(queue()).map_err(failed)?.flatten();
        for job in jobs.filter(|job| job.path().is_dir()) {
            if read(&job.path().join("name")).as_deref() == Some(name.as_str()) {
                let id = job.file_name().to_string_lossy().into_owned();
                return JobId::parse(&id).map(Some).map_err(failed);
            }
        }
        Ok(None)
    }

    async fn status(&self, jobs: &[JobId]) -> Result<BTreeMap<TaskId, TaskState>, PluginError> {
        called("status");
        if fault("away").is_some() {
            return Err(failed(
                "Unable to contact slurm controller (connect failure)",
            ));
        }
        let mut all = BTreeMap::new();
        if fault("empty").is_some() {
            return Ok(all);
        }
        for job in jobs {
            let folder = queue().join(job.as_str());
            if folder.join("never").exists() {
                continue;
            }
            for index in (0..).take_while(|index: &u32| folder.join(index.to_string()).exists()) {
                if let Some(state) = state(&folder, index) {
                    let job = job.clone();
                    all.insert(TaskId { job, index }, state);
                }
            }
        }
        Ok(all)
    }

    async fn cancel(&self, tasks: &[TaskId]) -> Result<(), PluginError> {
        called(&format!("cancel {}", tasks.len()));
        for task in tasks {
            let folder = queue().join(task.job.as_str()).join(task.index.to_string());
            fs::write(folder.join("cancelled"), "").map_err(failed)?;
            if let Some(pid) = read(&folder.join("pid"))
                && read(&folder.join("exit")).is_none()
            {
                // It may have ended just now.
                let _ = Command::new("kill").args(["-TERM", &pid]).status();
            }
        }
        Ok(())
    }

    fn here(&self) -> Option<Here> {
        let number = |name| std::env::var(name).ok()?.parse().ok();
        let job = JobId::parse(&std::env::var("FAKE_JOB").ok()?).ok()?;
        let task = number("FAKE_INDEX").map(|index| TaskId {
            job: job.clone(),
            index,
        });
        Some(Here {
            job,
            task,
            restart: number("FAKE_RESTART").unwrap_or(0),
            node: std::env::var("FAKE_NODE").unwrap_or_default(),
        })
    }
}
