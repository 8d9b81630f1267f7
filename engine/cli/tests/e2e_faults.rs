//! Faults of real machines: they are killed, and panic, while they are measured. `docs/faults.md` lists all
//! faults.
//!
//! These tests need root and the packages of `make test-packages`, and they measure: they run one
//! at a time and after all others (`make test`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::command;

const STUDY: &str = "engine/cli/tests/data/e2e.ncl";
/// Longer than any run here takes, on a loaded machine and with no image built.
const PATIENCE: Duration = Duration::from_secs(900);

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// `vexp run` on some trials; taken up again where there is a run.
fn start(runs: &Path, only: &str) -> Child {
    let folder = runs.to_str().unwrap().to_owned();
    let emulated = ["--testbed", "emulated"];
    let mut args = vec!["run", STUDY, "--runs", &folder, "--only", only];
    args.extend(emulated);
    let run = run_in(runs).map(|run| run.to_str().unwrap().to_owned());
    if let Some(run) = &run {
        args.extend(["--resume", run]);
    }
    let mut vexp = command(&args);
    vexp.stdin(Stdio::null()).stdout(Stdio::null());
    vexp.stderr(Stdio::piped()).spawn().unwrap()
}

fn run_in(runs: &Path) -> Option<PathBuf> {
    let run = std::fs::read_dir(runs).ok()?.next()?.ok()?.path();
    run.join("run.json").exists().then_some(run)
}

/// How often something has happened so far.
fn count(runs: &Path, event: &str) -> usize {
    let log = run_in(runs).map(|run| run.join("events.jsonl"));
    let text = log.and_then(|log| std::fs::read_to_string(log).ok());
    let event = format!("\"event\":\"{event}\"");
    text.map_or(0, |text| text.matches(&event).count())
}

/// Waits until something has happened once more.
fn wait_for(runs: &Path, event: &str, before: usize) {
    let began = Instant::now();
    while count(runs, event) <= before {
        assert!(began.elapsed() < PATIENCE, "never: {event}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Children of a process, whichever of its threads has started them, as this namespace sees them.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let text = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let text: String = text.map(Result::unwrap_or_default).collect();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Waits until no process is left that has to do with a folder.
fn wait_until_gone(folder: &Path) {
    let began = Instant::now();
    let about = |entry: std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(folder.to_str().unwrap())
    };
    while (std::fs::read_dir("/proc").unwrap().flatten()).any(about) {
        assert!(began.elapsed() < Duration::from_secs(5), "left behind");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The emulator of a run, which is below it.
fn emulator(run: &Child) -> u32 {
    let mut queue = vec![run.id()];
    while let Some(pid) = queue.pop() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with("qemu-system") {
            return pid;
        }
        queue.extend(children(pid));
    }
    panic!("no emulator runs");
}

fn ended(run: Child, code: i32) -> String {
    let output = run.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words}");
    words
}

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn killed_runs_and_machines_cost_what_was_being_measured_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path();
    let kill = |mut run: Child| {
        run.kill().unwrap();
        run.wait().unwrap();
        wait_until_gone(runs);
    };
    // While it measures, while it boots, and when one of two trials is measured.
    let run = start(runs, "*.linux.*");
    wait_for(runs, "trial_measuring", 0);
    kill(run);
    let run = start(runs, "*.linux.*");
    wait_for(runs, "block_started", 1);
    std::thread::sleep(Duration::from_secs(2));
    kill(run);
    let (ended_before, measuring) = (count(runs, "trial_ended"), count(runs, "trial_measuring"));
    assert_eq!(ended_before, 0);
    let run = start(runs, "*.linux.*");
    wait_for(runs, "trial_measuring", measuring + 1);
    kill(run);
    let found = run_in(runs).unwrap();
    let records = || -> Vec<(PathBuf, Vec<u8>)> {
        let trials = std::fs::read_dir(found.join("trials")).unwrap();
        let record = trials.map(|trial| trial.unwrap().path().join("trial.json"));
        let record = record.filter(|path| path.exists());
        record
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    let before = records();
    assert_eq!(before.len(), 1);

    // The last time it is the machine that dies.
    let measuring = count(runs, "trial_measuring");
    let run = start(runs, "*.linux.*");
    wait_for(runs, "trial_measuring", measuring);
    let pid = Pid::from_raw(emulator(&run).cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let words = ended(run, 0);
    wait_until_gone(runs);
    assert!(
        words.contains("tried once more on a new machine (1 of 2 trials)"),
        "{words}"
    );
    let after = records();
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before[0]), "it was measured once");
    for (path, _) in after {
        assert_eq!(json(&path)["outcome"], "measured");
    }
    let failed = found.join("failed/1");
    assert!(
        failed
            .join("blocks/linux.machine.v0.r1/console.log")
            .exists()
    );
    let first = std::fs::read_dir(&failed)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let first = first
        .map(|path| path.join("trial.json"))
        .find(|path| path.exists());
    let error = json(&first.unwrap())["error"].as_str().unwrap().to_owned();
    assert!(error.contains("on host"), "{error}");
}

#[test]
#[ignore = "boots a machine: needs root, and a minute"]
fn a_trial_in_which_the_machine_stood_still_is_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = start(folder.path(), "*.linux.*");
    wait_for(folder.path(), "trial_measuring", 0);
    let pid = Pid::from_raw(emulator(&run).cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    kill_process(pid, Signal::CONT).unwrap();
    let output = run.wait_with_output().unwrap();
    let run = run_in(folder.path()).unwrap();
    let records = |folder: &str| -> Vec<Value> {
        let trials = std::fs::read_dir(run.join(folder)).unwrap().flatten();
        let paths = trials.map(|trial| trial.path().join("trial.json"));
        paths
            .filter(|path| path.exists())
            .map(|path| json(&path))
            .collect()
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let measured = |record: &Value| record["outcome"] == "measured";
    assert!(records("trials").iter().all(measured), "{said}");
    let spoiled = records("failed/1");
    assert_eq!((records("trials").len(), spoiled.len()), (2, 1), "{said}");
    assert_eq!(spoiled[0]["outcome"], "invalid", "{said}");
    let why = spoiled[0]["reason"].as_str().unwrap();
    assert!(
        why.contains("the machine's emulator was stopped for"),
        "{why}"
    );
}

/// A shell in a guest of a run's lab, which does something when it is told to.
struct InGuest(Child);

impl InGuest {
    fn connect(run: &Child, manifest: &Value, script: &str) -> Self {
        let unshare = children(run.id())[0];
        let lab = children(unshare)[0];
        let ssh = &manifest["site"]["guests"][0]["node"]["ssh"]["keyed"];
        let text = |field: &str| ssh[field].as_str().unwrap().to_owned();
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &lab.to_string(),
                "--net",
                "--mount",
                "--pid",
                "--",
            ])
            .args([
                "ssh",
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
                "-i",
                &text("identity"),
            ])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", text("known_hosts")))
            .arg(format!("{}@{}", text("user"), text("address")))
            .arg(format!("echo connected; read -r _; {script}"));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert_eq!(line, "connected\n");
        Self(child)
    }

    fn go(mut self) {
        writeln!(self.0.stdin.take().unwrap()).unwrap();
        // It hangs with its guest.
        std::thread::sleep(Duration::from_secs(1));
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "boots Xen: needs root, and minutes"]
fn a_guest_that_panics_in_a_trial_costs_it_one_try() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path();
    let run = start(runs, "latency.xen.*");
    wait_for(runs, "guest_ready", 0);
    let found = run_in(runs).unwrap();
    let manifest = json(&found.join("blocks/xen.machine.v1.r1/manifest.json"));
    let guest = InGuest::connect(&run, &manifest, "echo c > /proc/sysrq-trigger");
    wait_for(runs, "trial_measuring", 0);
    guest.go();
    let words = ended(run, 0);
    wait_until_gone(runs);
    assert!(
        words.contains("tried once more on a new machine"),
        "{words}"
    );
    let record = |folder: &Path| json(&folder.join("latency.xen.v1.r1/trial.json"));
    let failed = record(&found.join("failed/1"));
    assert_eq!(failed["outcome"], "failed", "{failed}");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("vm1") && error.contains("ping"), "{error}");
    assert_eq!(record(&found.join("trials"))["outcome"], "measured");
}
