//! Running programs on nodes.
//!
//! A command is a program and its arguments; it never is a line of shell. Implementations quote
//! what they must, so that `$(…)`, quotes and newlines arrive as they are.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::ids::Name;
use crate::site::SshTarget;

/// The locale of every program that vexp runs, wherever: texts that are read or decided by are those of
/// the C locale, whatever language a machine is set to. POSIX has it everywhere, unlike C.UTF-8, and
/// `LC_ALL` overrides all other variables, `LANGUAGE` included.
pub const LOCALE: (&str, &str) = ("LC_ALL", "C");

/// A program with arguments, a deadline and its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmd {
    /// Program name or path.
    pub program: String,
    /// Arguments.
    pub args: Vec<String>,
    /// When the program is ended, there as well as here.
    pub deadline: Duration,
    /// Bytes for its standard input.
    pub stdin: Vec<u8>,
    /// Whether [`Process::stop`] may end it early; its standard input is then empty.
    pub stoppable: bool,
    /// Whether it waits, ready to run, until [`Process::release`]; its standard input is then
    /// empty. Programs on many nodes start together this way, however long each connection takes.
    /// The deadline counts from [`Shell::start`]. One whose handle is dropped or waited for before
    /// its release never runs.
    pub held: bool,
    /// Whether it is given up once it has printed more than [`crate::remote::BRIEF_CAP`]: it is an answer, and one
    /// without an end is none. By ssh; others wait until its deadline.
    pub brief: bool,
}

impl Cmd {
    /// A command with a deadline of 30 s and empty standard input.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            deadline: Duration::from_secs(30),
            stdin: Vec::new(),
            stoppable: false,
            held: false,
            brief: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets [`Process::stop`] end it early.
    #[must_use]
    pub fn stoppable(mut self) -> Self {
        self.stoppable = true;
        self
    }

    /// Makes it wait for [`Process::release`].
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// Gives it up once it has printed more than an answer has.
    #[must_use]
    pub fn brief(mut self) -> Self {
        self.brief = true;
        self
    }

    /// Sets standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }
}

impl std::fmt::Display for Cmd {
    /// For messages only: arguments with anything unusual are quoted as Rust strings.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.program)?;
        for arg in &self.args {
            let plain = !arg.is_empty()
                && arg
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b));
            if plain {
                write!(f, " {arg}")?;
            } else {
                write!(f, " {arg:?}")?;
            }
        }
        Ok(())
    }
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Standard output, up to the implementation's cap.
    pub stdout: Vec<u8>,
    /// Standard error, up to the implementation's cap.
    pub stderr: Vec<u8>,
    /// Whether it was ended because its deadline had passed; what it printed is kept.
    pub timed_out: bool,
    /// Whether either was longer than the cap, or its end was not seen.
    pub truncated: bool,
    /// When each line of standard output was complete here, one entry a newline.
    pub line_times: Vec<Instant>,
    /// When it was started.
    pub started: Instant,
    /// When it had ended.
    pub ended: Instant,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }

    /// Standard output as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last part of standard error, at most 2000 characters, for messages.
    pub fn stderr_tail(&self) -> String {
        tail(&self.stderr, 2000)
    }
}

/// The last `max` characters of `bytes` as text, trimmed.
pub fn tail(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(max);
    text.chars().skip(skip).collect()
}

/// Why a command gave no [`Output`], or not a good one.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The node can't be reached.
    #[error("{node}: no connection: {reason}")]
    Connect {
        /// Node.
        node: Name,
        /// What the transport says.
        reason: String,
    },
    /// The connection was lost while the command ran: whether it took effect isn't known.
    #[error("{node}: connection lost during `{command}`: {reason}")]
    Lost {
        /// Node.
        node: Name,
        /// The command.
        command: String,
        /// What the transport says.
        reason: String,
    },
    /// The deadline passed.
    #[error("{node}: `{command}` did not end within {} s", .deadline.as_secs_f64())]
    Deadline {
        /// Node.
        node: Name,
        /// The command.
        command: String,
        /// The deadline.
        deadline: Duration,
    },
    /// It ended with another status than 0.
    #[error("{node}: `{command}` ended with status {status}: {stderr}")]
    Failed {
        /// Node.
        node: Name,
        /// The command.
        command: String,
        /// Status, or the word `signal`.
        status: String,
        /// Standard error's tail.
        stderr: String,
    },
}

/// A node that can run programs.
#[async_trait]
pub trait Shell: Send + Sync + std::fmt::Debug {
    /// The node's name.
    fn node(&self) -> &Name;

    /// The node's address on the control network, if that is known: tools can keep their own
    /// control connections out of the data networks that they flood.
    fn control(&self) -> Option<IpAddr> {
        None
    }

    /// Starts a program; it goes on until it ends or its deadline passes, also when the returned
    /// handle is dropped.
    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError>;

    /// Runs a program to its end, whatever its status.
    async fn run(&self, cmd: Cmd) -> Result<Output, ShellError> {
        self.start(cmd).await?.wait().await
    }

    /// Runs a program that must end with status 0.
    async fn check(&self, cmd: Cmd) -> Result<Output, ShellError> {
        let (command, deadline) = (cmd.to_string(), cmd.deadline);
        let output = self.run(cmd).await?;
        if output.timed_out {
            return Err(ShellError::Deadline {
                node: self.node().clone(),
                command,
                deadline,
            });
        }
        if output.ok() {
            return Ok(output);
        }
        Err(ShellError::Failed {
            node: self.node().clone(),
            command,
            status: output
                .status
                .map_or_else(|| "signal".to_owned(), |s| s.to_string()),
            stderr: output.stderr_tail(),
        })
    }

    /// Writes a file (mode 0600) by way of a program's standard input.
    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ShellError> {
        // The path is `dd`'s operand after `of=`, so that a leading `-` can't be an option.
        let cmd = Cmd::new("dd")
            .arg(format!("of={path}"))
            .arg("status=none")
            .stdin(bytes);
        self.check(cmd).await?;
        self.check(Cmd::new("chmod").args(["0600", "--", path]))
            .await
            .map(drop)
    }
}

/// Makes connections to nodes.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Connects to a node that may still be booting: tries until `deadline` has passed, unless it is
    /// clear that waiting won't help. The connection's files are made in `sockets`, a folder that
    /// must be private to the caller and whose path must be short (unix(7)).
    async fn connect(
        &self,
        node: &Name,
        target: &SshTarget,
        sockets: &Path,
        deadline: Duration,
    ) -> Result<Arc<dyn Shell>, ShellError>;
}

/// A program that was started.
#[async_trait]
pub trait Process: Send {
    /// Waits until it has printed so many lines; false if it ended before or the time is over.
    /// One that can't be watched is taken at its word.
    async fn printed(&mut self, _lines: usize, _within: Duration) -> bool {
        true
    }

    /// Waits until a [`Cmd::held`] program has only to be released; false if it did not come that
    /// far within the time.
    async fn ready(&mut self, _within: Duration) -> bool {
        true
    }

    /// Lets a [`Cmd::held`] program run. Its start, for [`Output::started`], is this moment.
    async fn release(&mut self) -> Result<(), ShellError> {
        Ok(())
    }

    /// Waits for its end.
    async fn wait(self: Box<Self>) -> Result<Output, ShellError>;

    /// Ends it, if it is [`Cmd::stoppable`], and waits. A program that was ended this way has
    /// status 0; one that had ended before has its own. Any other is waited for.
    async fn stop(self: Box<Self>) -> Result<Output, ShellError> {
        self.wait().await
    }
}
