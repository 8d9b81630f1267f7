//! A shell that replays a transcript.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::shell::{Cmd, Output, Process, Shell, ShellError};

/// Answers exactly the commands that it was told to expect, in their order, and fails on any
/// other. Nothing else is faked: deadlines don't pass, and programs end at once.
///
/// A transcript is text:
///
/// ```text
/// $ uname -r
/// 6.12.88+deb13-amd64
/// $ ip link show dev br9
/// ! 1 Device "br9" does not exist.
/// > /run/vexp/guests/vm1/config
/// ```
///
/// `$` begins a command as [`Cmd`]'s `Display` writes it, so that arguments compare one by one;
/// the lines below it are its standard output. `! STATUS MESSAGE` sets its exit status and
/// standard error. `>` expects a file to be put; its bytes are kept in [`FakeShell::file`]. Lines
/// beginning with `#` before the first command are remarks. A held program is ready at once, and
/// must be released before it is waited for.
#[derive(Debug, Clone)]
pub struct FakeShell {
    node: Name,
    control: Option<IpAddr>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    inputs: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    wrong: Vec<String>,
}

#[derive(Debug, Clone)]
enum Step {
    Run {
        command: String,
        status: Option<i32>,
        stdout: String,
        stderr: String,
    },
    Put(String),
}

/// A program's output with status 0.
pub fn ok(stdout: impl Into<Vec<u8>>) -> Output {
    status(0, stdout, "")
}

/// A program's output.
pub fn status(status: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Output {
    let (stdout, now) = (stdout.into(), Instant::now());
    Output {
        status: Some(status),
        line_times: stdout
            .iter()
            .filter(|byte| **byte == b'\n')
            .map(|_| now)
            .collect(),
        stdout,
        stderr: stderr.into(),
        timed_out: false,
        truncated: false,
        started: now,
        ended: now,
    }
}

impl FakeShell {
    /// A shell on `node` that replays `transcript`.
    pub fn replay(node: Name, transcript: &str) -> Self {
        let mut steps = VecDeque::new();
        for line in transcript.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push_back(Step::Run {
                    command: command.to_owned(),
                    status: Some(0),
                    stdout: String::new(),
                    stderr: String::new(),
                });
            } else if let Some(path) = line.strip_prefix("> ") {
                steps.push_back(Step::Put(path.to_owned()));
            } else if let Some(Step::Run {
                status,
                stdout,
                stderr,
                ..
            }) = steps.back_mut()
            {
                if let Some(failure) = line.strip_prefix("! ") {
                    let (code, message) = failure.split_once(' ').unwrap_or((failure, ""));
                    *status = code.parse().ok();
                    message.clone_into(stderr);
                } else {
                    stdout.push_str(line);
                    stdout.push('\n');
                }
            }
        }
        Self {
            node,
            control: None,
            state: Arc::new(Mutex::new(State {
                steps,
                ..State::default()
            })),
        }
    }

    /// The same, on a node with an address on the control network.
    #[must_use]
    pub fn at(mut self, control: IpAddr) -> Self {
        self.control = Some(control);
        self
    }

    /// Bytes that were put at `path`.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.with(|state| state.files.get(path).cloned())
    }

    /// Standard input that was given to `command`, as its `Display` writes it.
    pub fn input(&self, command: &str) -> Option<Vec<u8>> {
        self.with(|state| state.inputs.get(command).cloned())
    }

    /// Whether everything that was expected has happened, and nothing else.
    ///
    /// # Errors
    /// The unexpected commands, or else the first that is missing.
    pub fn finish(&self) -> Result<(), String> {
        self.with(|state| {
            if let Some(wrong) = state.wrong.first() {
                return Err(wrong.clone());
            }
            match state.steps.front() {
                None => Ok(()),
                Some(step) => Err(format!("never happened: {step:?}")),
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unexpected(&self, state: &mut State, what: &str, next: Option<&Step>) -> ShellError {
        let message = format!("unexpected: {what}; the transcript goes on with {next:?}");
        state.wrong.push(message.clone());
        ShellError::Failed {
            node: self.node.clone(),
            command: what.to_owned(),
            status: "no transcript".to_owned(),
            stderr: message,
        }
    }
}

#[async_trait]
impl Shell for FakeShell {
    fn node(&self) -> &Name {
        &self.node
    }

    fn control(&self) -> Option<IpAddr> {
        self.control
    }

    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
        let text = cmd.to_string();
        self.with(|state| match state.steps.pop_front() {
            Some(Step::Run {
                command,
                status: code,
                stdout,
                stderr,
            }) if command == text => {
                if !cmd.stdin.is_empty() {
                    state.inputs.insert(text.clone(), cmd.stdin);
                }
                let mut output = status(0, stdout, stderr);
                output.status = code;
                Ok(Box::new(Ended {
                    output,
                    shell: self.clone(),
                    held: cmd.held.then_some(text),
                }) as Box<dyn Process>)
            }
            next => {
                let error = self.unexpected(state, &text, next.as_ref());
                Err(error)
            }
        })
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ShellError> {
        self.with(|state| match state.steps.pop_front() {
            Some(Step::Put(expected)) if expected == path => {
                state.files.insert(path.to_owned(), bytes);
                Ok(())
            }
            next => Err(self.unexpected(state, &format!("put {path}"), next.as_ref())),
        })
    }
}

struct Ended {
    output: Output,
    shell: FakeShell,
    /// The command of a held program that was not released.
    held: Option<String>,
}

#[async_trait]
impl Process for Ended {
    async fn release(&mut self) -> Result<(), ShellError> {
        if self.held.take().is_some() {
            (self.output.started, self.output.ended) = (Instant::now(), Instant::now());
        }
        Ok(())
    }

    async fn wait(self: Box<Self>) -> Result<Output, ShellError> {
        let Self {
            output,
            shell,
            held,
        } = *self;
        match held {
            None => Ok(output),
            Some(command) => {
                let what = format!("wait for `{command}`, which was never released");
                Err(shell.with(|state| shell.unexpected(state, &what, None)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn shell(transcript: &str) -> FakeShell {
        FakeShell::replay(Name::new("host").unwrap(), transcript)
    }

    #[test]
    fn replays_in_order_with_status_and_files() {
        let shell = shell("# remark\n$ uname -r\n6.12\n$ false\n! 1 no\n> /f\n");
        block_on(async {
            assert_eq!(
                shell
                    .check(Cmd::new("uname").arg("-r"))
                    .await
                    .unwrap()
                    .text(),
                "6.12\n"
            );
            let failed = shell.run(Cmd::new("false")).await.unwrap();
            assert_eq!(
                (failed.status, failed.stderr_tail().as_str()),
                (Some(1), "no")
            );
            shell.put("/f", b"x".to_vec()).await.unwrap();
        });
        assert_eq!(shell.file("/f").unwrap(), b"x");
        shell.finish().unwrap();
    }

    #[test]
    fn held_programs_must_be_released() {
        let shell = shell("$ id\n0\n$ id\n0\n");
        block_on(async {
            let mut process = shell.start(Cmd::new("id").held()).await.unwrap();
            assert!(process.ready(std::time::Duration::ZERO).await);
            process.release().await.unwrap();
            assert_eq!(process.wait().await.unwrap().text(), "0\n");
            let process = shell.start(Cmd::new("id").held()).await.unwrap();
            assert!(process.wait().await.is_err());
        });
        assert!(shell.finish().unwrap_err().contains("never released"));
    }

    #[test]
    fn fails_on_anything_else() {
        let shell = shell("$ uname -r\n$ id\n");
        block_on(async {
            assert!(shell.run(Cmd::new("uname").arg("-a")).await.is_err());
        });
        assert!(shell.finish().unwrap_err().contains("uname -a"));
        let unused = self::shell("$ id\n");
        assert!(unused.finish().unwrap_err().contains("never happened"));
    }
}
