//! Slurm's commands, and what they print.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use vexp_api::plugin::PluginError;

use super::call::{self, argv};
use super::options::{Allocation, Word};
use super::{ASK, END, LOOK, State};
use crate::batch::one_line;

/// States in which a job is over (squeue(1), JOB STATE CODES).
const OVER: [&str; 11] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "COMPLETING",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
];

/// The command that asks for an allocation.
fn salloc(allocation: &Allocation, name: &str) -> Vec<String> {
    let seconds = allocation.seconds();
    // All of a node's memory: what comes by SSH may be held to the job's (pam_slurm_adopt(8)).
    let mut command = argv([
        "salloc",
        "--no-shell",
        "--no-bell",
        "--exclusive",
        "--mem=0",
    ]);
    command.push(format!("--nodes={}", allocation.nodes));
    command.push(format!("--time={}:{:02}", seconds / 60, seconds % 60));
    command.push(format!("--job-name={name}"));
    let word = |word: &Option<Word>| word.as_ref().map(|word| word.as_str().to_owned());
    let said = [
        ("partition", word(&allocation.partition)),
        ("account", word(&allocation.account)),
        ("qos", word(&allocation.qos)),
        ("constraint", allocation.constraint().map(str::to_owned)),
    ];
    for (option, value) in said {
        command.extend(value.map(|value| format!("--{option}={value}")));
    }
    command
}

/// The job that a line of salloc's names: `salloc: Pending job allocation 17`, `salloc: Granted job allocation 17`.
fn job_of(line: &str) -> Option<&str> {
    let (before, job) = line.trim().rsplit_once(' ')?;
    let named = before.ends_with("job allocation") && before.starts_with("salloc:");
    (named && super::is_job(job)).then_some(job)
}

/// A salloc that waits until its request is granted.
pub(super) struct Asking {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

/// Asks, and waits until the job has a number.
pub(super) async fn ask(
    allocation: &Allocation,
    name: &str,
) -> Result<(String, Asking), PluginError> {
    let failed = |message: String| PluginError::new(ASK, "controller", message);
    let command = salloc(allocation, name);
    let spawned = call::command(&command)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| call::cannot_start(ASK, "salloc", &error))?;
    let stderr = child.stderr.take();
    let stderr = stderr.ok_or_else(|| failed("salloc has no standard error".to_owned()))?;
    let mut asking = Asking {
        child,
        lines: BufReader::new(stderr).lines(),
        said: Vec::new(),
    };
    match tokio::time::timeout(call::DEADLINE, asking.named()).await {
        Ok(Some(job)) => Ok((job, asking)),
        Ok(None) => Err(failed(format!(
            "salloc has named no job: {}",
            asking.words()
        ))),
        Err(_) => Err(failed(format!(
            "salloc has named no job within {} s: {}",
            call::DEADLINE.as_secs(),
            asking.words()
        ))),
    }
}

impl Asking {
    async fn named(&mut self) -> Option<String> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            let job = job_of(&line).map(str::to_owned);
            self.said.push(line);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    fn words(&self) -> String {
        one_line(&self.said.join("\n"))
    }

    /// Until salloc has ended: its request is granted, or never will be. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> Result<(), PluginError> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.said.push(line);
        }
        let failed = |message: String| PluginError::new(ASK, "controller", message);
        match self.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(failed(format!("salloc has failed: {}", self.words()))),
            Err(error) => Err(failed(format!("salloc can't be waited for: {error}"))),
        }
    }
}

/// `squeue --format`: state, reason, nodes.
const FORMAT: &str = "--format=%T|%r|%N";

/// How a job is.
pub(super) async fn state(job: &str) -> Result<State, PluginError> {
    let mut command = argv(["squeue", "--noheader", "--states=all", FORMAT]);
    command.push(format!("--jobs={job}"));
    let said = call::run(LOOK, &command).await?;
    if !said.ok() && !said.stderr.contains("Invalid job id") {
        let message = format!("`squeue` has failed: {}", one_line(&said.stderr));
        return Err(PluginError::new(LOOK, "controller", message));
    }
    parse_state(&said.stdout).map_err(|message| PluginError::new(LOOK, "controller", message))
}

/// A job that is not listed has ended some time ago (MinJobAge, slurm.conf(5)).
fn parse_state(stdout: &str) -> Result<State, String> {
    let Some(line) = stdout.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return Ok(State::Over("Slurm does not know it any more".to_owned()));
    };
    let fields: Vec<&str> = line.split('|').collect();
    let &[state, reason, nodes] = fields.as_slice() else {
        return Err(format!("squeue said `{}`", line.escape_debug()));
    };
    let with_reason = match reason {
        "" | "None" => state.to_owned(),
        reason => format!("{state} ({reason})"),
    };
    Ok(match state {
        "RUNNING" => State::Runs(nodes.to_owned()),
        state if OVER.contains(&state) => State::Over(with_reason),
        _ => State::Waits(with_reason),
    })
}

/// Nodes by name, of a list such as `n[1-3,7]`.
pub(super) async fn hosts(nodes: &str) -> Result<Vec<String>, PluginError> {
    if nodes.starts_with('-') || nodes.is_empty() {
        let message = format!("`{}` is no list of nodes", nodes.escape_debug());
        return Err(PluginError::new(LOOK, "controller", message));
    }
    let command = argv(["scontrol", "show", "hostnames", nodes]);
    let text = call::text(LOOK, &command).await?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

/// Our jobs of a name that are not over.
pub(super) async fn named(name: &str) -> Result<Vec<String>, PluginError> {
    let mut command = argv(["squeue", "--noheader", "--me", "--format=%i|%T"]);
    command.push(format!("--name={name}"));
    let text = call::text(LOOK, &command).await?;
    Ok(parse_jobs(&text))
}

fn parse_jobs(stdout: &str) -> Vec<String> {
    let lines = stdout
        .lines()
        .filter_map(|line| line.trim().split_once('|'));
    let alive = lines.filter(|(job, state)| super::is_job(job) && !OVER.contains(state));
    alive.map(|(job, _)| job.to_owned()).collect()
}

/// Ends a job; one that has ended is no error.
pub(super) async fn cancel(job: &str) -> Result<(), PluginError> {
    call::text(END, &argv(["scancel", job])).await.map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // What Slurm 22.05.8 has printed.

    #[test]
    fn a_request_says_what_is_asked_for() {
        let read = |value| serde_json::from_value::<Allocation>(value).unwrap();
        let plain = read(json!({"engine": "slurm", "nodes": 2, "time": "90s"}));
        let wanted = "salloc --no-shell --no-bell --exclusive --mem=0 --nodes=2 --time=1:30 --job-name=vexp-a";
        assert_eq!(salloc(&plain, "vexp-a").join(" "), wanted);
        let all = read(json!({
            "engine": "slurm", "nodes": 2, "time": "2h", "partition": "main", "account": "physics",
            "qos": "low", "constraint": "[rack1|rack2]",
        }));
        let wanted = " --partition=main --account=physics --qos=low --constraint=[rack1|rack2]";
        assert!(salloc(&all, "a").join(" ").ends_with(wanted));
    }

    #[test]
    fn the_job_is_the_one_that_salloc_names() {
        let of = |line| job_of(line);
        assert_eq!(of("salloc: Granted job allocation 1"), Some("1"));
        assert_eq!(of("salloc: Pending job allocation 20"), Some("20"));
        for none in [
            "salloc: job 2 queued and waiting for resources",
            "salloc: error: Job submit/allocate failed: Invalid partition name specified",
            "welcome: there is no job allocation 7",
            "salloc: Granted job allocation x7",
            "",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn an_empty_answer_is_an_end_and_a_doubtful_one_is_an_error() {
        let runs = parse_state("RUNNING|None|n[1-2]\n").unwrap();
        assert_eq!(runs, State::Runs("n[1-2]".to_owned()));
        let waits = parse_state("PENDING|Resources|\n").unwrap();
        assert_eq!(waits, State::Waits("PENDING (Resources)".to_owned()));
        let over = |text: &str| match parse_state(text).unwrap() {
            State::Over(why) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(over("CANCELLED|None|n[1-2]\n"), "CANCELLED");
        assert_eq!(over("COMPLETING|NodeDown|n2\n"), "COMPLETING (NodeDown)");
        assert_eq!(over("TIMEOUT|TimeLimit|n3\n"), "TIMEOUT (TimeLimit)");
        assert_eq!(over(""), "Slurm does not know it any more");
        assert!(parse_state("slurm says hello\n").is_err());
    }

    #[test]
    fn jobs_that_are_over_are_not_ended_again() {
        let text = "2|PENDING\n1|RUNNING\n3|COMPLETING\n4|CONFIGURING\nx|RUNNING\n";
        assert_eq!(parse_jobs(text), ["2", "1", "4"]);
        assert!(parse_jobs("").is_empty());
    }
}
