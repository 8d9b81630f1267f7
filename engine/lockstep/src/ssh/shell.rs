//! [`Connect`] and [`Shell`] over this client, with what every shell promises (`vexp_api::remote`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use vexp_api::ids::Name;
use vexp_api::remote::{self, End, GRACE, Manner, Printed, READY, STDERR_CAP, STDOUT_CAP};
use vexp_api::shell::{Cmd, Connect, Output, Process, Shell, ShellError};
use vexp_api::site::{KeyedTarget, SshTarget};

use super::channel::{Channel, Input};
use super::client::{Client, Login};
use super::error::SshError;
use super::key::KeyPair;
use super::known;
use super::multiplex::Event;
use super::random::Random;
use crate::net::Network;

/// Most connections to one node: a server may have a limit on the programs of each, as low as one.
const MOST: usize = 64;
/// Longest attempt to connect, and the time between two.
const ATTEMPT: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(150);

/// How byte streams to nodes are opened.
#[async_trait]
pub trait Dial: Clone + Send + Sync + std::fmt::Debug + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens one.
    async fn dial(&self, to: SocketAddr, timeout: Duration) -> std::io::Result<Self::Stream>;
}

#[async_trait]
impl Dial for Network {
    type Stream = crate::net::TcpStream;

    async fn dial(&self, to: SocketAddr, timeout: Duration) -> std::io::Result<Self::Stream> {
        match to {
            SocketAddr::V4(to) => self.connect(to, timeout).await,
            SocketAddr::V6(to) => Err(std::io::Error::new(
                ErrorKind::Unsupported,
                format!("{to}: control links have IPv4 only"),
            )),
        }
    }
}

/// Connects to the machines of a lockstep. Only keyed targets can be: no user's configuration is read.
#[derive(Debug)]
pub struct VirtualConnect<D = Network> {
    dial: D,
    seeds: Arc<Seeds>,
}

/// Where connections have their random numbers from.
#[derive(Debug)]
struct Seeds {
    run: u64,
    /// Connections that each node has had, so that no two have the same.
    counts: Mutex<BTreeMap<Name, u64>>,
}

impl Seeds {
    fn next(&self, node: &Name) -> Random {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node.clone()).or_default();
        let random = Random::new(self.run, node.as_str(), *count);
        *count += 1;
        random
    }
}

impl<D: Dial> VirtualConnect<D> {
    /// Connections on a network. All their random numbers follow from the run's seed.
    pub fn new(network: D, seed: u64) -> Self {
        Self {
            dial: network,
            seeds: Arc::new(Seeds {
                run: seed,
                counts: Mutex::default(),
            }),
        }
    }
}

#[async_trait]
impl<D: Dial> Connect for VirtualConnect<D> {
    /// Makes no files, and takes no notice of the folder for them.
    async fn connect(
        &self,
        node: &Name,
        target: &SshTarget,
        _sockets: &Path,
        deadline: Duration,
    ) -> Result<Arc<dyn Shell>, ShellError> {
        let failed = |reason: String| ShellError::Connect {
            node: node.clone(),
            reason,
        };
        let SshTarget::Keyed(target) = target else {
            let reason = "machines in virtual time are reached by keys that were made for them, and not as a user's \
                          ssh_config(5) says";
            return Err(failed(reason.to_owned()));
        };
        let nodes = Connections {
            dial: self.dial.clone(),
            seeds: Arc::clone(&self.seeds),
            node: node.clone(),
            address: SocketAddr::new(target.address, target.port),
            login: login(target).map_err(failed)?,
            open: tokio::sync::Mutex::default(),
        };
        let first = nodes.connect_when_up(deadline).await.map_err(failed)?;
        nodes.open.lock().await.push(first);
        Ok(Arc::new(VirtualShell { connections: nodes }))
    }
}

/// What a keyed target's files say.
fn login(target: &KeyedTarget) -> Result<Login, String> {
    let key = KeyPair::read(&target.identity);
    let key = key.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    let path = target.known_hosts.display();
    let file = std::fs::read_to_string(&target.known_hosts);
    let file = file.map_err(|error| format!("cannot read the known hosts {path}: {error}"))?;
    let host_keys = known::keys(&file, target.address, target.port);
    if host_keys.is_empty() {
        let address = SocketAddr::new(target.address, target.port);
        return Err(format!(
            "{path} has no Ed25519 key of {address}. Host key verification failed."
        ));
    }
    Ok(Login {
        user: target.user.to_string(),
        key,
        host_keys,
    })
}

/// Connections to one node: one, and more where a connection has no place for another program.
struct Connections<D> {
    dial: D,
    seeds: Arc<Seeds>,
    node: Name,
    address: SocketAddr,
    login: Login,
    /// Never empty once there is a shell.
    open: tokio::sync::Mutex<Vec<Client>>,
}

/// Why there is no connection.
enum Unconnected {
    /// It may be booting.
    Yet(String),
    /// Waiting won't help.
    Ever(String),
}

impl<D: Dial> Connections<D> {
    /// Connects to a node that may still be booting: tries until the deadline has passed.
    async fn connect_when_up(&self, deadline: Duration) -> Result<Client, String> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let attempt = left.clamp(Duration::from_secs(1), ATTEMPT);
            match self.connect(attempt).await {
                Ok(client) => return Ok(client),
                Err(Unconnected::Ever(reason)) => return Err(reason),
                Err(Unconnected::Yet(reason)) if left.is_zero() => return Err(reason),
                Err(Unconnected::Yet(_)) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    async fn connect(&self, timeout: Duration) -> Result<Client, Unconnected> {
        let random = self.seeds.next(&self.node);
        let whole = async {
            let stream = self.dial.dial(self.address, timeout).await;
            let stream = stream.map_err(|error| match error.kind() {
                // The machines' lockstep has ended, or such an address can't be reached at all.
                ErrorKind::Other | ErrorKind::Unsupported => Unconnected::Ever(error.to_string()),
                _ => Unconnected::Yet(error.to_string()),
            })?;
            let client = Client::connect(stream, &self.login, random).await;
            client.map_err(|error| match error {
                SshError::HostKey { .. } | SshError::Algorithm { .. } => {
                    Unconnected::Ever(error.to_string())
                }
                // One that is booting may not know its users yet.
                _ => Unconnected::Yet(error.to_string()),
            })
        };
        match tokio::time::timeout(timeout, whole).await {
            Ok(connected) => connected,
            Err(_) => Err(Unconnected::Yet(format!(
                "{} did not finish logging in within {} s",
                self.address,
                timeout.as_secs_f64()
            ))),
        }
    }

    /// Starts a program, on a new connection where those that there are have no place.
    async fn spawn(&self, command: &str) -> Result<Channel, String> {
        loop {
            let clients = self.open.lock().await.clone();
            let mut refused = "it takes no more programs".to_owned();
            for client in clients.iter().rev().filter(|client| client.has_place()) {
                match client.exec(command.as_bytes()).await {
                    Ok(channel) => return Ok(channel),
                    Err(error @ SshError::Refused { .. }) => refused = error.to_string(),
                    Err(error) => return Err(error.to_string()),
                }
            }
            self.one_more_than(clients.len(), &refused).await?;
        }
    }

    /// Makes another connection, unless there are more by now than `seen`.
    async fn one_more_than(&self, seen: usize, refused: &str) -> Result<(), String> {
        let mut open = self.open.lock().await;
        if open.len() > seen {
            return Ok(());
        }
        if seen >= MOST {
            return Err(format!(
                "{refused}, on each of {MOST} connections: let the server take more programs at a time"
            ));
        }
        match self.connect(ATTEMPT).await {
            Ok(client) => open.push(client),
            Err(Unconnected::Yet(error) | Unconnected::Ever(error)) => {
                return Err(format!(
                    "{refused}, and another connection can't be made: {error}"
                ));
            }
        }
        Ok(())
    }
}

/// A node on the control network.
struct VirtualShell<D> {
    connections: Connections<D>,
}

impl<D> std::fmt::Debug for VirtualShell<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualShell")
            .field("node", &self.connections.node)
            .finish_non_exhaustive()
    }
}

/// Words as a POSIX shell takes them apart again.
fn quoted(words: &[&str]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/,.+".contains(&byte);
    let quote = |word: &&str| match !word.is_empty() && word.bytes().all(plain) {
        true => (*word).to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl<D: Dial> Shell for VirtualShell<D> {
    fn node(&self) -> &Name {
        &self.connections.node
    }

    fn control(&self) -> Option<IpAddr> {
        Some(self.connections.address.ip())
    }

    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
        let shown = cmd.to_string();
        let lost = |reason: String| ShellError::Lost {
            node: self.connections.node.clone(),
            command: shown.clone(),
            reason,
        };
        let started = Instant::now();
        let seconds = remote::seconds(cmd.deadline);
        let nowhere = BTreeMap::new();
        // Machines in virtual time are vexp's own.
        let manner = Manner {
            sudo: false,
            foreign: false,
            tools: &nowhere,
        };
        let line = quoted(&remote::words(&cmd, &seconds, manner));
        let limit = cmd.deadline + GRACE;
        let spawned = tokio::time::timeout(limit, self.connections.spawn(&line)).await;
        let within = || format!("it did not start within {} s", limit.as_secs_f64());
        let mut channel = spawned.map_err(|_| lost(within()))?.map_err(&lost)?;
        let kept = cmd.stoppable || cmd.held;
        let mut lifeline = channel.input();
        if let Some(mut input) = lifeline
            .take_if(|_| !kept)
            .filter(|_| !cmd.stdin.is_empty())
        {
            let bytes = cmd.stdin;
            // The program may end without reading it all; its status tells.
            tokio::spawn(async move { input.write(&bytes).await });
        }
        let (lines, seen) = watch::channel(0);
        let (says, ready) = watch::channel(false);
        let watching = Watching {
            channel,
            out: Printed::default(),
            err: Printed::default(),
            ended: None,
            lines,
            says: cmd.held.then_some(says),
        };
        // A task of its own: the program goes on when the handle is dropped.
        let end = tokio::spawn(watching.until_over(limit));
        Ok(Box::new(VirtualProcess {
            node: self.connections.node.clone(),
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

/// What watches a program.
struct Watching {
    channel: Channel,
    out: Printed,
    err: Printed,
    /// Its status, or `Some(None)` if a signal ended it.
    ended: Option<Option<i32>>,
    lines: watch::Sender<usize>,
    /// Where a held program's readiness is told.
    says: Option<watch::Sender<bool>>,
}

impl Watching {
    /// Until the channel is over. A program that has not ended by the limit is given up, as is output that a child of
    /// it holds open.
    async fn until_over(mut self, limit: Duration) -> Result<End, SshError> {
        let end = tokio::time::timeout(limit, self.until_closed()).await;
        let whole = end.is_ok();
        if let Ok(Err(error)) = end {
            return Err(error);
        }
        Ok(End {
            gone: whole || self.ended.is_some(),
            status: self.ended.flatten(),
            out: self.out,
            err: self.err,
            whole,
            at: Instant::now().into_std(),
        })
    }

    async fn until_closed(&mut self) -> Result<(), SshError> {
        loop {
            let event = self.channel.next().await?;
            let now = Instant::now().into_std();
            match event {
                Event::Stdout(bytes) => {
                    self.out.take(&bytes, now, STDOUT_CAP);
                    self.lines.send_replace(self.out.line_times.len());
                }
                Event::Stderr(bytes) => {
                    self.err.take(&bytes, now, STDERR_CAP);
                    let says = self.says.take_if(|_| self.err.cut(READY));
                    if let Some(says) = says {
                        says.send_replace(true);
                    }
                }
                Event::Status(status) => {
                    self.ended = Some(Some(i32::try_from(status).unwrap_or(i32::MAX)));
                }
                Event::Signal(_) => self.ended = Some(None),
                Event::Eof => (),
                Event::Closed => return Ok(()),
            }
        }
    }
}

struct VirtualProcess {
    node: Name,
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
    lifeline: Option<Input>,
    /// Lines of standard output so far.
    seen: watch::Receiver<usize>,
    /// Whether a held program waits for its release.
    ready: watch::Receiver<bool>,
    end: JoinHandle<Result<End, SshError>>,
}

impl VirtualProcess {
    fn lost(&self, reason: String) -> ShellError {
        ShellError::Lost {
            node: self.node.clone(),
            command: self.shown.clone(),
            reason,
        }
    }
}

#[async_trait]
impl Process for VirtualProcess {
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
            Some(input) => input.write(b"\n").await,
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
        let end = match (&mut self.end).await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => return Err(self.lost(error.to_string())),
            Err(error) => return Err(self.lost(error.to_string())),
        };
        let (launched, started) = (self.launched.into_std(), self.started.into_std());
        Ok(end.output(launched, started, self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_posix_shell() {
        let words = [
            "timeout", "-k", "2", "a b", "", "it's", "$(id)", "é", "a\nb", "~",
        ];
        let line = quoted(&words);
        assert_eq!(
            line,
            "timeout -k 2 'a b' '' 'it'\\''s' '$(id)' 'é' 'a\nb' '~'"
        );
    }

    #[test]
    fn no_two_connections_have_the_same_random_numbers() {
        let seeds = Seeds {
            run: 1,
            counts: Mutex::default(),
        };
        let [host, vm1] = ["host", "vm1"].map(|name| Name::new(name).unwrap());
        let drawn = [&host, &host, &vm1].map(|node| seeds.next(node).array::<32>());
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
    }
}
