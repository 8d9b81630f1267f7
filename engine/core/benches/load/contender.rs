//! Who is measured, how it is started, and what it says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::fleet::{self, Fleet};
use crate::memory::Watch;

/// A line of what a contender prints.
#[derive(Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(crate) enum Phase {
    /// All connections are open.
    Connect { seconds: f64 },
    /// All files are there.
    Push { seconds: f64 },
    /// All commands have run.
    Commands { seconds: f64 },
    /// The same commands run otherwise: see [`Tool::otherwise`].
    Otherwise { seconds: f64 },
    /// How many outputs were what they must be, of Ansible: the others end where one is not.
    Right { outputs: u64 },
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Vexp,
    ParallelSsh,
    Ansible,
}

/// What one has taken.
pub(crate) struct Took {
    /// Seconds.
    pub(crate) connect: f64,
    /// Seconds.
    pub(crate) push: f64,
    /// Commands in a second, over all hosts.
    pub(crate) rate: f64,
    /// The same of [`Tool::otherwise`]; of no meaning for vexp.
    pub(crate) otherwise: f64,
    /// Most memory, bytes.
    pub(crate) memory: u64,
}

/// What `scripts/load-tools` installs.
const WANTED: &str = include_str!("../../../../scripts/load-tools.d/requirements.txt");

impl Tool {
    /// With its version.
    pub(crate) fn name(self) -> String {
        let pinned = |package: &str| {
            let mut lines = WANTED.lines().filter_map(|line| line.split_once("=="));
            let version = lines.find(|(name, _)| *name == package);
            version.map_or("?", |(_, version)| version)
        };
        match self {
            Self::Vexp => "vexp".to_owned(),
            Self::ParallelSsh => format!("parallel-ssh {}", pinned("parallel-ssh")),
            Self::Ansible => format!("ansible-core {}", pinned("ansible-core")),
        }
    }

    /// How it runs the commands a second time: with Ansible's module that needs no Python on the far
    /// side, and with deadlines that the far side keeps, as all of vexp's commands have them.
    pub(crate) fn otherwise(self) -> Option<String> {
        let how = match self {
            Self::Vexp => return None,
            Self::ParallelSsh => "with `timeout`",
            Self::Ansible => "module `raw`",
        };
        Some(format!("{}, {how}", self.name()))
    }

    fn command(self, fleet: &Fleet, commands: u32) -> Result<Command, Failed> {
        let folder = fleet.folder();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/load/contenders");
        let (hosts, each) = (fleet.hosts().to_string(), commands.to_string());
        let mut command = Command::new("unshare");
        // What it leaves running ends with it.
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
        match self {
            Self::Vexp => command.arg(std::env::current_exe()?).arg("vexp"),
            Self::ParallelSsh => command
                .arg(installed("python")?)
                .arg(here.join("parallel_ssh.py")),
            Self::Ansible => {
                ansible(&mut command, &here.join("ansible"), fleet)?;
                let variables = serde_json::json!({ "folder": folder, "commands": commands });
                command.arg("--extra-vars").arg(variables.to_string());
                return Ok(command);
            }
        };
        command.arg(folder).args([hosts, each]);
        Ok(command)
    }

    /// Runs it once.
    pub(crate) fn run(self, fleet: &Fleet, commands: u32) -> Result<Took, Failed> {
        let mut child = self
            .command(fleet, commands)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let watch = Watch::begin();
        let all = u64::from(fleet.hosts()) * u64::from(commands);
        let said = child.stdout.take().map_or(Ok(Said::default()), said);
        if said.is_err() {
            // All of its namespace ends with it.
            child.kill()?;
        }
        let status = child.wait()?;
        let memory = watch.end();
        let said = said?;
        // Ansible runs them with two modules.
        let wanted = if self == Self::Ansible { 2 * all } else { 0 };
        if !status.success() || said.right != wanted || said.commands <= 0.0 {
            let right = said.right;
            return Err(format!("{status}, {right} of {wanted} outputs are right").into());
        }
        fleet.check_pushed()?;
        Ok(Took {
            connect: said.connect,
            push: said.push,
            rate: all as f64 / said.commands,
            otherwise: all as f64 / said.otherwise,
            memory,
        })
    }
}

/// All of what a contender has said.
#[derive(Default)]
struct Said {
    connect: f64,
    push: f64,
    commands: f64,
    otherwise: f64,
    right: u64,
}

fn said(out: ChildStdout) -> Result<Said, Failed> {
    let mut said = Said::default();
    for line in BufReader::new(out).lines() {
        match serde_json::from_str(&line?)? {
            Phase::Connect { seconds } => said.connect = seconds,
            Phase::Push { seconds } => said.push = seconds,
            Phase::Commands { seconds } => said.commands = seconds,
            Phase::Otherwise { seconds } => said.otherwise = seconds,
            Phase::Right { outputs } => said.right = outputs,
        }
    }
    Ok(said)
}

/// A program that `scripts/load-tools` has installed beside what cargo builds.
fn installed(program: &str) -> Result<PathBuf, Failed> {
    // target/PROFILE/deps/load-…
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(3).unwrap_or(Path::new("/"));
    let path = target.join("load-tools/bin").join(program);
    match path.exists() {
        true => Ok(path),
        false => Err("not installed: scripts/load-tools".into()),
    }
}

/// With what its manual has for speed: pipelining, connections that stay, a process for each host.
fn ansible(command: &mut Command, here: &Path, fleet: &Fleet) -> Result<(), Failed> {
    let folder = fleet.folder();
    let at = folder.display();
    let addresses = (1..=fleet.hosts()).map(|number| format!("{}\n", fleet::address(number)));
    std::fs::write(folder.join("inventory"), addresses.collect::<String>())?;
    let config = folder.join("ansible.cfg");
    std::fs::write(&config, "[defaults]\n")?;
    let ssh = format!("-F {at}/config -o ControlMaster=auto -o ControlPersist=60s");
    command
        .env("ANSIBLE_HOME", folder.join("ansible"))
        .env("ANSIBLE_CONFIG", config)
        .env("ANSIBLE_PIPELINING", "1")
        .env("ANSIBLE_FORKS", fleet.hosts().to_string())
        .env("ANSIBLE_SSH_ARGS", ssh)
        .env("ANSIBLE_CALLBACK_PLUGINS", here)
        .env("ANSIBLE_STDOUT_CALLBACK", "phases")
        .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
        .env("LC_ALL", "C.UTF-8");
    command.arg(installed("ansible-playbook")?);
    command.arg("--inventory").arg(folder.join("inventory"));
    command.arg(here.join("playbook.yml"));
    Ok(())
}
