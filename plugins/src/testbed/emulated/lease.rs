//! A lab, seen from outside.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use vexp_api::plugin::{Context, Lease, MachineRequest, PluginError};
use vexp_api::site::Site;

use super::lab::{LabAnswer, LabRequest};
use super::probe::Accelerator;

/// Longer than any deadline inside the lab: past it, the lab itself hangs.
const ANSWER_DEADLINE: Duration = Duration::from_secs(180);
/// How long a lab may take to end.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A lab that is up. Dropping it ends it.
pub(super) struct LabLease {
    site: Site,
    /// `unshare`, whose only child is the lab's first process.
    child: Child,
    /// While this is open, the lab lives.
    lifeline: Option<ChildStdin>,
    /// The lab's first process, as seen from here.
    first: u32,
}

impl LabLease {
    pub(super) async fn acquire(
        executable: &Path,
        request: &MachineRequest,
        accelerator: Option<Accelerator>,
        cx: &Context,
    ) -> Result<Self, PluginError> {
        if !rustix::process::geteuid().is_root() {
            let message = "namespaces, taps and mounts need root: run vexp as root or with sudo";
            return Err(fail(message));
        }
        for path in [&request.image.root, &request.guest_image.root, &cx.logs] {
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
            .arg(executable)
            .arg("lab")
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
            image: request.image.clone(),
            guest_image: request.guest_image.clone(),
            accelerator,
            logs: cx.logs.clone(),
        };
        let asked = ask(&mut child, lifeline.as_mut(), &request);
        let site = match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
            Ok(Ok(site)) => *site,
            Ok(Err(error)) => {
                return Err(if error.log.is_some() {
                    error
                } else {
                    error.log(log)
                });
            }
            Err(_) => {
                let text = format!("it did not answer within {} s", ANSWER_DEADLINE.as_secs());
                return Err(fail(text).log(log));
            }
        };
        let first = first_process(&child)
            .ok_or_else(|| fail("its first process can't be found").log(&log))?;
        Ok(Self {
            site,
            child,
            lifeline,
            first,
        })
    }
}

fn fail(message: impl Into<String>) -> PluginError {
    PluginError::new("set up the lab", "controller", message)
}

async fn ask(
    child: &mut Child,
    stdin: Option<&mut ChildStdin>,
    request: &LabRequest,
) -> Result<Box<Site>, PluginError> {
    let gone = |e: std::io::Error| fail(format!("it ended before it answered: {e}"));
    let mut line = serde_json::to_vec(request).map_err(|e| fail(e.to_string()))?;
    line.push(b'\n');
    if let Some(stdin) = stdin {
        stdin.write_all(&line).await.map_err(gone)?;
    }
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        BufReader::new(stdout)
            .read_line(&mut answer)
            .await
            .map_err(gone)?;
    }
    match serde_json::from_str(&answer) {
        Ok(LabAnswer::Ready(site)) => Ok(site),
        Ok(LabAnswer::Failed { step, message, log }) => {
            let error = PluginError::new(step, "lab", message);
            Err(match log.filter(|path| path.exists()) {
                Some(path) => error.log(path),
                None => error,
            })
        }
        Err(_) => Err(fail(format!("it ended before it answered {answer:?}"))),
    }
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
            .args(argv)
            .process_group(0);
        command
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
