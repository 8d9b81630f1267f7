//! SSH connections to one node, and why there is none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openssh::{Child, ControlPersist, KnownHosts, Session, SessionBuilder, Stdio};
use tokio::sync::Mutex;
use vexp_api::ids::Name;
use vexp_api::shell::ShellError;
use vexp_api::site::SshTarget;

use super::ssh::chain;

/// Most connections to one node. With MaxSessions at sshd's default of 10, so many carry 80
/// programs at a time.
const MOST: usize = 8;
/// How long ssh keeps a configured connection that nobody uses any more: this process may have
/// been killed, and the connection must not outlive it for long.
const IDLE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(15).unwrap();

/// The whole configuration for keyed targets. A key exchange that would also hold against quantum
/// computers, OpenSSH's first choice, costs an emulated processor up to half a second, and what is
/// said in a lab stays there.
const KEYED: &str = "KexAlgorithms ^curve25519-sha256\n";

/// A program on the far side.
pub(super) type Program = Child<Arc<Session>>;

/// Connections to one node.
pub(super) struct Connections {
    node: Name,
    target: SshTarget,
    sockets: PathBuf,
    timeout: Duration,
    /// Never empty; those that have no place for a program any more come before those that have.
    open: Mutex<Vec<Connection>>,
}

/// A connection, and what keeps it.
struct Connection {
    session: Arc<Session>,
    /// A program that waits for the end of its input, so that ssh does not take the connection for
    /// idle: `None` on connections that are kept without.
    _anchor: Option<Program>,
}

impl Connections {
    pub(super) async fn open(
        node: &Name,
        target: &SshTarget,
        sockets: &Path,
        timeout: Duration,
    ) -> Result<Self, ShellError> {
        let connection = connect(node, target, sockets, timeout).await?;
        Ok(Self {
            node: node.clone(),
            target: target.clone(),
            sockets: sockets.to_owned(),
            timeout,
            open: Mutex::new(vec![connection]),
        })
    }

    /// Starts a program, on a new connection where the far side takes no more on those that there
    /// are. Its words are quoted for the far shell.
    pub(super) async fn spawn(
        &self,
        words: &[&str],
        input: bool,
    ) -> Result<(Arc<Session>, Program), String> {
        loop {
            let sessions: Vec<_> = {
                let open = self.open.lock().await;
                open.iter().map(|one| Arc::clone(&one.session)).collect()
            };
            let mut refused = String::new();
            for session in sessions.iter().rev() {
                match start(session, words, input).await {
                    Ok(child) => return Ok((Arc::clone(session), child)),
                    Err(reason) if is_refused(&reason) => refused = reason,
                    Err(reason) => return Err(reason),
                }
            }
            self.one_more_than(sessions.len(), &refused).await?;
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
                "{refused}, on each of {MOST} connections: raise MaxSessions in its sshd_config"
            ));
        }
        let more = connect(&self.node, &self.target, &self.sockets, self.timeout).await;
        open.push(more.map_err(|error| {
            format!("{refused}, and another connection can't be made: {error}")
        })?);
        Ok(())
    }
}

/// Whether the far side has no place for another program on a connection.
fn is_refused(reason: &str) -> bool {
    reason.contains("open refused by peer")
}

async fn start(session: &Arc<Session>, words: &[&str], input: bool) -> Result<Program, String> {
    let [program, args @ ..] = words else {
        return Err("there is no program".to_owned());
    };
    // openssh quotes every argument for the far shell.
    let mut command = Arc::clone(session).arc_command(*program);
    command.args(args);
    command.stdin(if input { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().await.map_err(|error| chain(&error))
}

async fn connect(
    node: &Name,
    target: &SshTarget,
    sockets: &Path,
    timeout: Duration,
) -> Result<Connection, ShellError> {
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(KnownHosts::Strict)
        .control_directory(sockets)
        .connect_timeout(timeout)
        .server_alive_interval(Duration::from_secs(5));
    let failed = |reason: String| ShellError::Connect {
        node: node.clone(),
        reason,
    };
    let host = match target {
        SshTarget::Keyed(target) => {
            builder
                .user(target.user.to_string())
                .port(target.port)
                .keyfile(&target.identity)
                .user_known_hosts_file(&target.known_hosts)
                .config_file(keyed_config(node, sockets).map_err(|error| failed(chain(&error)))?);
            target.address.to_string()
        }
        SshTarget::Configured(target) => {
            builder
                .control_persist(ControlPersist::IdleFor(IDLE))
                .config_file(&target.config);
            target.host.to_string()
        }
    };
    let connected = builder.connect_mux(&host).await;
    let session = Arc::new(connected.map_err(|error| failed(plain(&chain(&error))))?);
    let anchor = match target {
        SshTarget::Keyed(_) => None,
        SshTarget::Configured(_) => {
            let anchor = start(&session, &["cat"], true).await;
            Some(anchor.map_err(|reason| failed(format!("it runs no programs: {reason}")))?)
        }
    };
    Ok(Connection {
        session,
        _anchor: anchor,
    })
}

/// Writes [`KEYED`] to a file of this node's.
fn keyed_config(node: &Name, sockets: &Path) -> std::io::Result<PathBuf> {
    let path = sockets.join(format!("{node}.config"));
    std::fs::write(&path, KEYED)?;
    Ok(path)
}

/// ssh's words about a host key that changed fill a screen; what they come to, first.
fn plain(reason: &str) -> String {
    if !reason.contains("IDENTIFICATION HAS CHANGED") {
        return reason.to_owned();
    }
    let said = |start: &str| {
        let mut lines = reason.lines().map(str::trim);
        lines
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
    };
    format!(
        "its host key is not the one that is known, and it is not trusted: {} {} \
         If the machine was installed anew, remove the old key (ssh-keygen -R) and add the new one \
         after checking it. Host key verification failed.",
        said("Offending"),
        said("Host key for")
    )
}

/// What the ssh of a jump host says is lost on ssh's way into the background. Asks once more, in the
/// foreground, and gives the error as it then is.
pub(super) async fn explained(error: ShellError, target: &SshTarget) -> ShellError {
    let (ShellError::Connect { node, reason }, SshTarget::Configured(target)) = (&error, target)
    else {
        return error;
    };
    // ssh's words where the program that was to connect it has ended.
    if !reason.contains("UNKNOWN port") {
        return error;
    }
    let mut ssh = tokio::process::Command::new("ssh");
    ssh.arg("-F").arg(&target.config);
    ssh.args(["-o", "ConnectTimeout=10", target.host.as_str(), "true"]);
    ssh.envs([vexp_api::shell::LOCALE]);
    ssh.stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(30), ssh.output()).await {
        Ok(Ok(output)) if !output.stderr.is_empty() => ShellError::Connect {
            node: node.clone(),
            reason: plain(&vexp_api::shell::tail(&output.stderr, 4000)),
        },
        _ => error,
    }
}

/// Whether waiting can't help: a key or a user that is refused, a name that nobody knows.
pub(super) fn is_final(error: &ShellError, target: &SshTarget) -> bool {
    let ShellError::Connect { reason, .. } = error else {
        return false;
    };
    let words: &[&str] = match target {
        // One that is booting may not know its users yet.
        SshTarget::Keyed(_) => &["ost key verification failed"],
        SshTarget::Configured(_) => &[
            "ost key verification failed",
            "Permission denied (",
            "Could not resolve hostname",
            "Bad configuration option",
            "Bad owner or permissions",
            "it runs no programs",
        ],
    };
    words.iter().any(|word| reason.contains(word))
}
