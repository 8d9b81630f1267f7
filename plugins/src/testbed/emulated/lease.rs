//! A lab, seen from outside.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use vexp_api::plugin::{Context, Lease, MachineRequest, PluginError};
use vexp_api::site::Site;

use super::lab::{LabAnswer, LabCommand, LabRequest};
use super::probe::Accelerator;
use super::{Emulated, emulator};

/// Longer than any deadline inside the lab: past it, the lab itself hangs.
const ANSWER_DEADLINE: Duration = Duration::from_secs(240);
/// How long a lab may take to end.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A lab that is up. Dropping it ends it.
pub(super) struct LabLease {
    site: Site,
    /// `unshare`, whose only child is the lab's first process.
    child: Child,
    /// While this is open, the lab lives.
    lifeline: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
    /// The lab's first process, as seen from here.
    first: u32,
    /// What it says beside its answers.
    log: PathBuf,
}

impl LabLease {
    pub(super) async fn acquire(
        testbed: &Emulated,
        request: &MachineRequest,
        accelerator: Option<Accelerator>,
        cx: &Context,
    ) -> Result<Self, PluginError> {
        if !rustix::process::geteuid().is_root() {
            let message = "namespaces, taps and mounts need root: run vexp as root or with sudo";
            return Err(fail(message));
        }
        let emulator = (request.tools.get(emulator::IMAGE))
            .ok_or_else(|| fail("the emulator's image was not built"))?;
        let missing = || fail("the plan names no image for the machine or its guests");
        let image = request.image.as_ref().ok_or_else(missing)?;
        let guest_image = request.guest_image.as_ref().ok_or_else(missing)?;
        let images = [image, guest_image, emulator].map(|image| &image.root);
        let others = [&cx.logs].into_iter().chain(&testbed.snapshots);
        for path in images.into_iter().chain(others) {
            if path.starts_with("/run") {
                let path = path.display();
                return Err(fail(format!(
                    "{path} lies below /run, which a lab hides; move it elsewhere"
                )));
            }
        }
        let log = cx.logs.join("lab.log");
        let stderr =
            std::fs::File::create(&log).map_err(|e| fail(format!("{}: {e}", log.display())))?;
        let mut command = std::process::Command::new("unshare");
        command
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["--propagation", "private", "--"])
            .arg(&testbed.executable)
            .arg("lab")
            // Nothing of the caller's environment is known in there.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            // Ctrl-C in a terminal goes to the whole group: the lab ends when it is told to.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| fail(format!("cannot start `unshare` (package util-linux): {e}")))?;
        let mut lifeline = child.stdin.take();
        let request = LabRequest {
            machine: request.machine.clone(),
            needs: request.needs.clone(),
            image: image.clone(),
            guest_image: guest_image.clone(),
            emulator: emulator.clone(),
            vms: request.vms,
            boot: request.boot,
            snapshots: testbed.snapshots.clone(),
            accelerator,
            logs: cx.logs.clone(),
        };
        let mut answers = child.stdout.take().map(BufReader::new);
        let site = match ask(lifeline.as_mut(), answers.as_mut(), &request).await {
            Ok(LabAnswer::Ready(site)) => *site,
            Ok(LabAnswer::Saved(_)) => return Err(fail("it answered something else").log(log)),
            Ok(LabAnswer::Failed {
                step,
                message,
                log: console,
            }) => {
                let log = console.filter(|path| path.exists()).unwrap_or(log);
                return Err(PluginError::new(step, "lab", message).log(log));
            }
            Err(error) => return Err(error.log(log)),
        };
        let first = first_process(&child)
            .ok_or_else(|| fail("its first process can't be found").log(&log))?;
        Ok(Self {
            site,
            child,
            lifeline,
            answers,
            first,
            log,
        })
    }
}

fn fail(message: impl Into<String>) -> PluginError {
    PluginError::new("set up the lab", "controller", message)
}

/// Sends a line of JSON and waits for the answer.
async fn ask<Q: serde::Serialize>(
    stdin: Option<&mut ChildStdin>,
    stdout: Option<&mut BufReader<ChildStdout>>,
    question: &Q,
) -> Result<LabAnswer, PluginError> {
    let gone = |e: std::io::Error| fail(format!("it ended before it answered: {e}"));
    let mut line = serde_json::to_vec(question).map_err(|e| fail(e.to_string()))?;
    line.push(b'\n');
    let mut answer = String::new();
    let asked = async {
        if let Some(stdin) = stdin {
            stdin.write_all(&line).await?;
        }
        if let Some(stdout) = stdout {
            stdout.read_line(&mut answer).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
        Ok(asked) => asked.map_err(gone)?,
        Err(_) => {
            let limit = ANSWER_DEADLINE.as_secs();
            return Err(fail(format!("it did not answer within {limit} s")));
        }
    }
    serde_json::from_str(&answer)
        .map_err(|_| fail(format!("it ended before it answered {answer:?}")))
}

/// The only child of `unshare --fork`.
fn first_process(child: &Child) -> Option<u32> {
    let pid = child.id()?;
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[async_trait]
impl Lease for LabLease {
    fn site(&self) -> &Site {
        &self.site
    }

    fn enter(&self, argv: &[String]) -> std::process::Command {
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let mut command = std::process::Command::new("nsenter");
        command
            .args([
                "--target",
                &self.first.to_string(),
                "--net",
                "--mount",
                "--pid",
            ])
            .arg(format!("--wd={}", folder.display()))
            .arg("--")
            .process_group(0)
            .args(argv);
        command
    }

    async fn save(&mut self, running: u32, _keep: bool) -> Result<bool, PluginError> {
        self.site.running = running;
        let command = LabCommand::Save(running);
        let answer = ask(self.lifeline.as_mut(), self.answers.as_mut(), &command).await;
        match answer.map_err(|error| error.log(&self.log))? {
            LabAnswer::Saved(kept) => Ok(kept),
            LabAnswer::Failed { step, message, .. } => Err(PluginError::new(step, "lab", message)),
            LabAnswer::Ready(_) => Err(fail("it answered something else").log(&self.log)),
        }
    }

    async fn release(mut self: Box<Self>) -> Result<(), PluginError> {
        drop(self.lifeline.take());
        match tokio::time::timeout(END_DEADLINE, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fail(format!("its end can't be awaited: {error}"))),
            Err(_) => {
                // SIGKILL for `unshare` takes its child along (--kill-child).
                let killed = self.child.kill().await;
                killed.map_err(|e| fail(format!("it can't be ended: {e}")))
            }
        }
    }
}
