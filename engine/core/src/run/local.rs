//! [`Shell`] where the worker itself stands.

use std::process::Stdio;
use std::time::Instant;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use vexp_api::ids::Name;
use vexp_api::shell::{Cmd, LOCALE, Output, Process, Shell, ShellError};

use super::clock;

/// Programs on the worker's own machine, in its network: for a look at the testbed's links. It has
/// no use for programs that are stopped early or held back, and refuses them.
#[derive(Debug)]
pub struct LocalShell {
    node: Name,
}

impl LocalShell {
    /// A shell that calls itself `node`.
    pub fn new(node: Name) -> Self {
        Self { node }
    }

    fn failed(&self, cmd: &Cmd, reason: String) -> ShellError {
        ShellError::Lost {
            node: self.node.clone(),
            command: cmd.to_string(),
            reason,
        }
    }
}

#[async_trait]
impl Shell for LocalShell {
    fn node(&self) -> &Name {
        &self.node
    }

    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
        if cmd.stoppable || cmd.held {
            let reason = "programs here can't be stopped early or held back".to_owned();
            return Err(self.failed(&cmd, reason));
        }
        let mut command = tokio::process::Command::new(&cmd.program);
        command
            .args(&cmd.args)
            .envs([LOCALE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started = clock::now();
        let mut child = command
            .spawn()
            .map_err(|error| self.failed(&cmd, error.to_string()))?;
        let input = child.stdin.take();
        let bytes = cmd.stdin.clone();
        // A task of its own: the program goes on when the handle is dropped.
        let deadline = cmd.deadline;
        let end = tokio::spawn(async move {
            if let Some(mut input) = input {
                // The program may end without reading it all; its status tells.
                let _ = input.write_all(&bytes).await;
            }
            tokio::time::timeout(deadline, child.wait_with_output()).await
        });
        Ok(Box::new(LocalProcess {
            node: self.node.clone(),
            command: cmd.to_string(),
            started,
            end,
        }))
    }
}

type End = Result<std::io::Result<std::process::Output>, tokio::time::error::Elapsed>;

struct LocalProcess {
    node: Name,
    command: String,
    started: Instant,
    end: tokio::task::JoinHandle<End>,
}

#[async_trait]
impl Process for LocalProcess {
    async fn wait(self: Box<Self>) -> Result<Output, ShellError> {
        let lost = |reason: String| ShellError::Lost {
            node: self.node.clone(),
            command: self.command.clone(),
            reason,
        };
        let end = self.end.await.map_err(|error| lost(error.to_string()))?;
        let ended = clock::now();
        let (status, stdout, stderr, timed_out) = match end {
            Ok(output) => {
                let output = output.map_err(|error| lost(error.to_string()))?;
                (output.status.code(), output.stdout, output.stderr, false)
            }
            // Killed with its future; what it printed went with it.
            Err(_) => (None, Vec::new(), Vec::new(), true),
        };
        let lines = stdout.iter().filter(|b| **b == b'\n').count();
        Ok(Output {
            status,
            stdout,
            stderr,
            timed_out,
            truncated: timed_out,
            line_times: vec![ended; lines],
            started: self.started,
            ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell() -> LocalShell {
        LocalShell::new(Name::new("switch").unwrap())
    }

    #[tokio::test]
    async fn runs_programs_with_arguments_as_they_are() {
        let cmd = Cmd::new("printf").args(["%s|", "$(id)", "a b"]);
        assert_eq!(shell().check(cmd).await.unwrap().text(), "$(id)|a b|");
        let echo = Cmd::new("cat").stdin("in\n");
        assert_eq!(shell().check(echo).await.unwrap().text(), "in\n");
        let error = shell().check(Cmd::new("false")).await.unwrap_err();
        assert!(error.to_string().contains("ended with status 1"), "{error}");
    }

    #[tokio::test]
    async fn programs_have_the_fixed_locale() {
        let locale = Cmd::new("sh").args(["-c", "echo $LC_ALL"]);
        assert_eq!(shell().check(locale).await.unwrap().text(), "C\n");
    }

    #[tokio::test]
    async fn what_can_not_be_done_is_an_error() {
        let missing = shell().run(Cmd::new("no-such-program")).await.unwrap_err();
        assert!(missing.to_string().contains("no-such-program"), "{missing}");
        assert!(shell().run(Cmd::new("true").held()).await.is_err());
        let slow = Cmd::new("sleep").arg("60");
        let slow = slow.deadline(Duration::from_millis(50));
        let error = shell().check(slow).await.unwrap_err();
        assert!(matches!(error, ShellError::Deadline { .. }), "{error}");
    }
}
