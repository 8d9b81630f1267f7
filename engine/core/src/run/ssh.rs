//! [`Shell`] over multiplexed SSH.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use openssh::{ChildStdin, Session};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use vexp_api::ids::{Name, RemotePath};
use vexp_api::remote::{
    self, BRIEF_CAP, End, GRACE, Manner, Printed, READY, STDERR_CAP, STDOUT_CAP,
};
use vexp_api::shell::{Cmd, Connect, Output, Process, Shell, ShellError};
use vexp_api::site::SshTarget;

use super::connection::{self, Connections};

/// Bytes that are read at a time: of a program that prints little, and of one that prints much. The
/// latter is what a pipe holds.
const SMALL: usize = 4 << 10;
const LARGE: usize = 64 << 10;
/// Commands that may be starting at a time: ssh keeps at most 64 waiting for its control socket,
/// and refuses more.
const STARTING: usize = 32;

/// A node reached through SSH connections that all its commands share: one, and more where the far
/// side has a limit on the programs of a connection (MaxSessions in sshd_config(5)).
pub struct SshShell {
    node: Name,
    control: Option<IpAddr>,
    sudo: bool,
    /// Whether the machine has settings of its own. vexp's images have none: their sshd gives programs
    /// the C locale.
    foreign: bool,
    tools: BTreeMap<String, RemotePath>,
    connections: Connections,
    starting: Semaphore,
}

impl std::fmt::Debug for SshShell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshShell")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl SshShell {
    /// Connects. Only known host keys are accepted. For a keyed target no user configuration is
    /// read: what a run depends on stands in its site. The connection's socket is made in `sockets`,
    /// which must be private to the caller.
    pub async fn connect(
        node: &Name,
        target: &SshTarget,
        sockets: &Path,
        timeout: Duration,
    ) -> Result<Self, ShellError> {
        let connections = Connections::open(node, target, sockets, timeout).await?;
        let (sudo, tools) = match target {
            SshTarget::Keyed(_) => (false, BTreeMap::new()),
            SshTarget::Configured(target) => (target.sudo, target.tools.clone()),
        };
        Ok(Self {
            node: node.clone(),
            control: target.control(),
            sudo,
            foreign: matches!(target, SshTarget::Configured(_)),
            tools,
            connections,
            starting: Semaphore::new(STARTING),
        })
    }

    /// Connects to a node that is still booting: tries until `deadline` has passed.
    pub async fn connect_when_up(
        node: &Name,
        target: &SshTarget,
        sockets: &Path,
        deadline: Duration,
    ) -> Result<Self, ShellError> {
        let end = Instant::now() + deadline;
        let mut first = true;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let attempt = left.clamp(Duration::from_secs(1), Duration::from_secs(20));
            match Self::connect(node, target, sockets, attempt).await {
                Ok(shell) => return Ok(shell),
                Err(error) => {
                    let last = left.is_zero();
                    let error = match std::mem::take(&mut first) || last {
                        true => connection::explained(error, target).await,
                        false => error,
                    };
                    if last || connection::is_final(&error, target) {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(150)).await;
                }
            }
        }
    }
}

/// [`Connect`] by way of the system's ssh.
#[derive(Clone, Copy, Debug)]
pub struct Ssh;

#[async_trait]
impl Connect for Ssh {
    async fn connect(
        &self,
        node: &Name,
        target: &SshTarget,
        sockets: &Path,
        deadline: Duration,
    ) -> Result<Arc<dyn Shell>, ShellError> {
        let shell = SshShell::connect_when_up(node, target, sockets, deadline).await?;
        Ok(Arc::new(shell))
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[async_trait]
impl Shell for SshShell {
    fn node(&self) -> &Name {
        &self.node
    }

    fn control(&self) -> Option<IpAddr> {
        self.control
    }

    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
        let shown = cmd.to_string();
        let seconds = remote::seconds(cmd.deadline);
        let kept = cmd.stoppable || cmd.held;
        let input = kept || !cmd.stdin.is_empty();
        // The semaphore is never closed.
        let place = self.starting.acquire().await.ok();
        let started = Instant::now();
        let manner = Manner {
            sudo: self.sudo,
            foreign: self.foreign,
            tools: &self.tools,
        };
        let words = remote::words(&cmd, &seconds, manner);
        let spawned = self.connections.spawn(&words, input).await;
        let (session, mut child) = spawned.map_err(|reason| ShellError::Lost {
            node: self.node.clone(),
            command: shown.clone(),
            reason,
        })?;
        drop(place);
        let mut lifeline = child.stdin().take();
        if let Some(mut stdin) = lifeline.take_if(|_| !kept) {
            let bytes = cmd.stdin;
            // The program may end without reading it all; its status tells.
            tokio::spawn(async move {
                let _ = stdin.write_all(&bytes).await;
                let _ = stdin.shutdown().await;
            });
        }
        let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
        let limit = cmd.deadline + GRACE;
        let (lines, seen) = watch::channel(0);
        let (says, ready) = watch::channel(false);
        // A task of its own: the program goes on when the handle is dropped.
        let end = tokio::spawn(async move {
            let (mut out, mut err) = (Printed::default(), Printed::default());
            let most = if cmd.brief { BRIEF_CAP } else { usize::MAX };
            let both = async {
                tokio::try_join!(
                    read(stdout, (STDOUT_CAP, most), &mut out, |out| {
                        lines.send_replace(out.line_times.len());
                    }),
                    read(stderr, (STDERR_CAP, most), &mut err, |err| {
                        if cmd.held && !*says.borrow() && err.cut(READY) {
                            says.send_replace(true);
                        }
                    })
                )
            };
            let read = tokio::time::timeout(limit, both).await;
            // Only now: with the status, openssh gives the session up, and ssh throws away what
            // the program printed and is still on its way.
            let status = match &read {
                Ok(Err(Endless)) => None,
                _ => tokio::time::timeout(GRACE, child.wait()).await.ok(),
            };
            let whole = matches!(read, Ok(Ok(_)));
            Seen {
                out,
                err,
                whole,
                status,
                at: Instant::now(),
            }
        });
        Ok(Box::new(SshProcess {
            node: self.node.clone(),
            session,
            shown,
            deadline: cmd.deadline,
            launched: started,
            started,
            held: cmd.held,
            stoppable: cmd.stoppable,
            lifeline,
            seen,
            ready,
            end,
        }))
    }
}

/// A program has printed more than an answer has.
struct Endless;

/// Reads to the end. Past the cap, bytes are thrown away, so that the program is never blocked; past
/// `most` nobody waits for the end any more. After each piece `look` sees what there is so far.
async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    (cap, most): (usize, usize),
    stream: &mut Printed,
    look: impl Fn(&mut Printed),
) -> Result<(), Endless> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    // Most programs print little, and some endlessly.
    let mut buffer = vec![0; SMALL];
    let mut all = 0;
    loop {
        let n = match pipe.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(_) => {
                stream.truncated = true;
                return Ok(());
            }
        };
        all += n;
        if all > most {
            stream.truncated = true;
            return Err(Endless);
        }
        stream.take(&buffer[..n], Instant::now(), cap);
        look(stream);
        if n == buffer.len() && n < LARGE {
            buffer.resize(LARGE, 0);
        }
    }
}

/// How a program ended, as openssh says it.
struct Seen {
    out: Printed,
    err: Printed,
    whole: bool,
    /// `None` if it has none although it should long have ended.
    status: Option<Result<ExitStatus, openssh::Error>>,
    at: Instant,
}

/// Whether the far side still runs programs.
async fn answers(session: &Session) -> bool {
    let mut probe = session.command("true");
    let status = tokio::time::timeout(GRACE, probe.status()).await;
    matches!(status, Ok(Ok(status)) if status.success())
}

struct SshProcess {
    node: Name,
    session: Arc<Session>,
    shown: String,
    deadline: Duration,
    /// When the deadline began to count.
    launched: Instant,
    /// The same, or the release of a held program.
    started: Instant,
    /// Whether it still waits for its release.
    held: bool,
    stoppable: bool,
    /// Standard input of a stoppable or held program.
    lifeline: Option<ChildStdin>,
    /// Lines of standard output so far.
    seen: watch::Receiver<usize>,
    /// Whether a held program waits for its release.
    ready: watch::Receiver<bool>,
    end: JoinHandle<Seen>,
}

impl SshProcess {
    fn lost(&self, reason: String) -> ShellError {
        ShellError::Lost {
            node: self.node.clone(),
            command: self.shown.clone(),
            reason,
        }
    }
}

#[async_trait]
impl Process for SshProcess {
    async fn printed(&mut self, lines: usize, within: Duration) -> bool {
        let enough = self.seen.wait_for(|seen| *seen >= lines);
        matches!(tokio::time::timeout(within, enough).await, Ok(Ok(_)))
    }

    async fn ready(&mut self, within: Duration) -> bool {
        let ready = self.ready.wait_for(|ready| *ready);
        !self.held || matches!(tokio::time::timeout(within, ready).await, Ok(Ok(_)))
    }

    async fn release(&mut self) -> Result<(), ShellError> {
        if !std::mem::take(&mut self.held) {
            return Ok(());
        }
        self.started = Instant::now();
        let written = match &mut self.lifeline {
            Some(input) => input.write_all(b"\n").await,
            None => Ok(()),
        };
        if !self.stoppable {
            drop(self.lifeline.take());
        }
        written.map_err(|error| self.lost(error.to_string()))
    }

    async fn stop(mut self: Box<Self>) -> Result<Output, ShellError> {
        drop(self.lifeline.take());
        self.wait().await
    }

    async fn wait(mut self: Box<Self>) -> Result<Output, ShellError> {
        if self.held {
            drop(self.lifeline.take());
        }
        let seen = match (&mut self.end).await {
            Ok(seen) => seen,
            Err(error) => return Err(self.lost(error.to_string())),
        };
        // Whether it ended, and if so with which status; a signal leaves none.
        let (gone, status) = match seen.status {
            None => (false, None),
            Some(Ok(status)) => (true, status.code()),
            // openssh's word for status 127; `timeout` has it for a program that is not there.
            Some(Err(openssh::Error::Remote(_))) => (true, Some(127)),
            // openssh has this for a far program that a signal ended as well as for a lost
            // connection; a connection that still answers tells them apart.
            Some(Err(openssh::Error::RemoteProcessTerminated)) if answers(&self.session).await => {
                (true, None)
            }
            Some(Err(error)) => return Err(self.lost(chain(&error))),
        };
        let end = End {
            out: seen.out,
            err: seen.err,
            whole: seen.whole,
            gone,
            status,
            at: seen.at,
        };
        Ok(end.output(self.launched, self.started, self.deadline))
    }
}
