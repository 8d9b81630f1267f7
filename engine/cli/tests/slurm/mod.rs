//! A real Slurm on this computer, and an ordinary user of it.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::pretended::{STUDY, World, records};
use crate::support::{Said, root, said};

/// `nobody`, on every Debian.
pub(crate) const USER: &str = "65534";

/// `scripts/slurm-here`. It ends all of its processes when its input ends.
pub(crate) struct Cluster {
    script: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    conf: PathBuf,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Three nodes, with these lines more in slurm.conf.
    pub(crate) fn new(lines: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        enterable(folder.path());
        let mut script = Command::new(root().join("scripts/slurm-here"))
            .arg(folder.path())
            .arg("3")
            .args(lines)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = script.stdin.take();
        let mut output = BufReader::new(script.stdout.take().unwrap()).lines();
        // If it can't, it says why.
        let ready = output.next().unwrap().unwrap();
        let conf = PathBuf::from(ready.strip_prefix("ready ").unwrap());
        Self {
            script,
            input,
            output,
            conf,
            _folder: folder,
        }
    }

    /// Has the rig do something.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        let answer = self.output.next().unwrap().unwrap();
        assert_eq!(answer, "done", "{command}");
    }

    /// A command of Slurm, as the user.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = as_user(Path::new(program));
        command.env("SLURM_CONF", &self.conf);
        command
    }

    fn squeue(&self, format: &str, states: &[&str]) -> Vec<String> {
        let args = ["--noheader", "--all", "--array", format];
        let listed = said(self.client("squeue").args(args).args(states));
        assert_eq!(listed.code, 0, "{}", listed.err);
        listed.out.lines().map(str::to_owned).collect()
    }

    /// Tasks that wait or run.
    pub(crate) fn queue(&self) -> Vec<String> {
        self.squeue("--format=%i %T", &[])
    }

    /// A task of this user's run that runs.
    pub(crate) fn running(&self, user: &User) -> String {
        let jobs = user.jobs();
        let all = self.squeue("--format=%i", &["--states=running"]);
        let ours = |task: &&String| {
            let job = task.split('_').next().unwrap();
            jobs.iter().any(|ours| ours == job)
        };
        all.iter().find(ours).unwrap().clone()
    }

    /// What the controller has written into its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.conf.with_file_name("log").join("slurmctld")).unwrap()
    }

    /// A node on which a task runs.
    pub(crate) fn node_of_a_task(&self) -> String {
        let all = self.squeue("--format=%N", &["--states=running"]);
        all.first().unwrap().clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has ended all that it started before it ends.
        let _ = self.script.wait();
    }
}

/// An ordinary user with a home in which vexp, the study, a store and runs are.
pub(crate) struct User {
    world: World,
    conf: Option<PathBuf>,
}

impl User {
    /// A user of this cluster.
    pub(crate) fn new(cluster: Option<&Cluster>) -> Self {
        Self::with(cluster.map(|cluster| cluster.conf.clone()))
    }

    fn with(conf: Option<PathBuf>) -> Self {
        let user = Self {
            world: World::new(),
            conf,
        };
        let home = user.path("");
        enterable(&home);
        for folder in ["bin", "config/vexp", "runs", "store"] {
            std::fs::create_dir_all(user.path(folder)).unwrap();
        }
        let vexp = user.world.vexp(&[]);
        std::fs::copy(vexp.get_program(), user.path("bin/vexp")).unwrap();
        std::fs::copy(root().join(STUDY), user.path("study.ncl")).unwrap();
        owned(&home);
        user
    }

    /// Another home on the same cluster, configured in the same way.
    pub(crate) fn another(&self) -> Self {
        let other = Self::with(self.conf.clone());
        if let Ok(text) = std::fs::read_to_string(self.path("config/vexp/batch.json")) {
            other.configure(&text);
        }
        other
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// `batch.json`.
    pub(crate) fn configure(&self, text: &str) {
        let path = self.path("config/vexp/batch.json");
        std::fs::write(&path, text).unwrap();
        owned(&path);
    }

    /// A program.
    pub(crate) fn program(&self, path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        enterable(path);
    }

    /// The pretending vexp, as this user.
    pub(crate) fn vexp(&self, args: &[&str]) -> Command {
        self.own("bin/vexp", args)
    }

    /// The real vexp, as this user, with a store that is filled from root's.
    pub(crate) fn real(&self, args: &[&str]) -> Command {
        let program = self.path("bin/real");
        if !program.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_vexp"), program).unwrap();
        }
        let mut command = self.own("bin/real", args);
        command.env("VEXP_STORE_FROM", "/var/cache/vexp");
        command
    }

    fn own(&self, program: &str, args: &[&str]) -> Command {
        let like = self.world.vexp(args);
        let mut command = as_user(&self.path(program));
        command.args(args).current_dir(self.path(""));
        for (key, value) in like.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command
            .env("HOME", self.path(""))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .stdin(Stdio::null());
        for variable in ["SUDO_UID", "XDG_CACHE_HOME"] {
            command.env_remove(variable);
        }
        if let Some(conf) = &self.conf {
            command.env("SLURM_CONF", conf);
        }
        command
    }

    /// `vexp run` with more arguments.
    pub(crate) fn run(&self, more: &[&str]) -> Command {
        let runs = self.path("runs");
        let mut args = vec!["run", "study.ncl", "--testbed", "fake", "--runs"];
        args.push(runs.to_str().unwrap());
        args.extend(more);
        self.vexp(&args)
    }

    /// `vexp attach` with more arguments.
    pub(crate) fn attach(&self, more: &[&str]) -> Command {
        let run = self.only_run();
        let mut args = vec!["attach", run.to_str().unwrap()];
        args.extend(more);
        self.vexp(&args)
    }

    pub(crate) fn only_run(&self) -> PathBuf {
        self.world.only_run()
    }

    /// Trials that are measured.
    pub(crate) fn measured(&self) -> usize {
        let mut runs = std::fs::read_dir(self.path("runs")).unwrap().flatten();
        runs.next().map_or(0, |run| records(&run.path()).len())
    }

    /// The text of `batch/jobs.jsonl`.
    fn books(&self) -> String {
        let mut runs = std::fs::read_dir(self.path("runs")).unwrap().flatten();
        let books = runs.next().map(|run| run.path().join("batch/jobs.jsonl"));
        let text = books.and_then(|books| std::fs::read_to_string(books).ok());
        text.unwrap_or_default()
    }

    /// What is in `batch/jobs.jsonl`.
    fn lines(&self) -> Vec<Value> {
        let books = self.books();
        let lines = books.lines().map(serde_json::from_str);
        lines.filter_map(Result::ok).collect()
    }

    /// Jobs that were submitted.
    fn jobs(&self) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines
            .filter_map(|line| line["job"].as_str().map(str::to_owned))
            .collect()
    }

    /// Sizes of the arrays that were submitted, in order.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        self.lines()
            .iter()
            .filter_map(|line| line["tasks"].as_u64())
            .collect()
    }

    /// How often something was submitted.
    pub(crate) fn submissions(&self) -> usize {
        self.sizes().len()
    }
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
        .arg(program);
    command
}

fn enterable(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn owned(path: &Path) {
    let own = format!("{USER}:{USER}");
    let mut chown = Command::new("chown");
    assert!(
        chown
            .args(["-R", &own])
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

pub(crate) fn fine(said: &Said) {
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

pub(crate) fn started(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn ended(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn kill(signal: &str, pid: &str) {
    let sent = Command::new("kill").args([signal, pid]).status();
    assert!(sent.unwrap().success());
}
