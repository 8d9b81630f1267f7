//! Runs the commands of a batch engine on this computer. Each has a deadline of ours, because the engine's own may be
//! hours, and none gets a signal that was meant for vexp.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use vexp_api::plugin::PluginError;
use vexp_api::remote::{STDERR_CAP, STDOUT_CAP};
use vexp_api::shell::LOCALE;

/// How long a pipe may stay open after the command has ended: a process that it left behind may hold it.
const LINGERS: Duration = Duration::from_secs(2);

/// A command.
pub(crate) struct Call<'a> {
    /// Program and arguments; no shell.
    pub(crate) argv: Vec<String>,
    /// Bytes for its standard input.
    pub(crate) stdin: Vec<u8>,
    /// When it is killed.
    pub(crate) deadline: Duration,
    /// Variables that are set.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Whether a variable of ours, by its name, would change what the command does, and is kept from it.
    pub(crate) hides: fn(&str) -> bool,
    /// Whether the command, by what it has said on standard error, won't end soon and is killed now.
    pub(crate) gives_up: fn(&str) -> bool,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Exit code; `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("cannot start `{program}`: {source}")]
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("`{program}` did not end within {} s{}", .deadline.as_secs(), .said.as_ref().map(|said| format!("; it said: {said}")).unwrap_or_default())]
    Deadline {
        program: String,
        deadline: Duration,
        said: Option<String>,
    },
    /// It was killed for what it said.
    #[error("{said}")]
    GaveUp { said: String },
}

impl NoAnswer {
    /// As an error of a step.
    pub(crate) fn during(self, step: &str) -> PluginError {
        PluginError::new(step, "controller", self.to_string())
    }
}

impl Answer {
    /// Whether it ended with status 0.
    pub(crate) fn ok(&self) -> bool {
        self.status == Some(0)
    }

    /// An error of a step, with the command's own words.
    pub(crate) fn failed(&self, step: &str, program: &str) -> PluginError {
        let said = super::one_line(&self.stderr);
        let how = match self.status {
            Some(code) => format!("ended with status {code}"),
            None => "was killed by a signal".to_owned(),
        };
        PluginError::new(step, "controller", format!("`{program}` {how}: {said}"))
    }
}

/// What has been read so far, whatever becomes of the reader.
#[derive(Default)]
struct Read(Mutex<Vec<u8>>);

impl Read {
    /// Reads until the end, keeps at most `cap` bytes, and calls `seen` after each piece.
    async fn all(&self, from: Option<impl AsyncRead + Unpin>, cap: usize, seen: impl Fn(&Self)) {
        let Some(mut from) = from else { return };
        let mut piece = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            {
                let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let room = cap.saturating_sub(read.len()).min(length);
                read.extend(&piece[..room]);
            }
            seen(self);
        }
    }

    fn text(&self) -> String {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// Runs a command.
///
/// # Errors
/// It can't be started, or it was killed.
pub(crate) async fn run(call: Call<'_>) -> Result<Answer, NoAnswer> {
    let program = call.argv.first().cloned().unwrap_or_default();
    let mut command = tokio::process::Command::new(&program);
    command
        .args(call.argv.iter().skip(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(call.hides) {
            command.env_remove(name);
        }
    }
    command.envs([LOCALE]).envs(call.environment);
    let mut child = command.spawn().map_err(|source| NoAnswer::Start {
        program: program.clone(),
        source,
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let group = group.and_then(rustix::process::Pid::from_raw);
    let kill = || {
        if let Some(group) = group {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    };
    let (stdout, stderr) = (Read::default(), Read::default());
    let gave_up = Mutex::new(false);
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        let feed = async {
            if let Some(mut stdin) = pipes.0 {
                // A command that reads nothing has its reasons, and says them.
                let _ = stdin.write_all(&call.stdin).await;
            }
        };
        let heard = |read: &Read| {
            if (call.gives_up)(&read.text()) {
                *gave_up.lock().unwrap_or_else(PoisonError::into_inner) = true;
                kill();
            }
        };
        tokio::join!(
            feed,
            stdout.all(pipes.1, STDOUT_CAP, |_| ()),
            stderr.all(pipes.2, STDERR_CAP, heard)
        );
    };
    let ended = tokio::time::timeout(call.deadline, async {
        tokio::pin!(talk);
        tokio::select! {
            () = &mut talk => child.wait().await,
            status = child.wait() => {
                let _ = tokio::time::timeout(LINGERS, talk).await;
                status
            }
        }
    })
    .await;
    let said = stderr.text();
    if *gave_up.lock().unwrap_or_else(PoisonError::into_inner) {
        return Err(NoAnswer::GaveUp {
            said: super::one_line(&said),
        });
    }
    match ended {
        Ok(Ok(status)) => Ok(Answer {
            status: status.code(),
            stdout: stdout.text(),
            stderr: said,
        }),
        Ok(Err(source)) => Err(NoAnswer::Start { program, source }),
        Err(_) => {
            kill();
            Err(NoAnswer::Deadline {
                program,
                deadline: call.deadline,
                said: Some(super::one_line(&said)).filter(|said| !said.is_empty()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, gives_up: fn(&str) -> bool) -> Result<Answer, NoAnswer> {
        let environment = BTreeMap::from([("GIVEN".to_owned(), "yes".to_owned())]);
        run(Call {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            stdin: b"fed".to_vec(),
            deadline: Duration::from_secs(3),
            environment: &environment,
            hides: |name| name == "PATH_OF_NOBODY" || name == "CARGO_PKG_NAME",
            gives_up,
        })
        .await
    }

    #[tokio::test]
    async fn a_command_is_fed_read_and_knows_what_it_may() {
        let answer = sh(
            "cat; echo \" $GIVEN $LC_ALL ${CARGO_PKG_NAME-hidden}\"; echo no >&2; exit 3",
            |_| false,
        );
        let answer = answer.await.unwrap();
        assert_eq!(answer.stdout, "fed yes C hidden\n");
        assert_eq!((answer.status, answer.ok()), (Some(3), false));
        let error = answer.failed("ask", "sh").to_string();
        assert_eq!(error, "ask on controller: `sh` ended with status 3: no");
        assert!(sh("kill -9 $$", |_| false).await.unwrap().status.is_none());
    }

    #[tokio::test]
    async fn a_command_that_hangs_or_will_is_killed_with_its_children() {
        let before = std::time::Instant::now();
        let error = sh("echo busy >&2; sleep 60 | sleep 61", |_| false).await;
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "`sh` did not end within 3 s; it said: busy");
        let error = sh("echo sleeping and retrying >&2; sleep 60", |said| {
            said.contains("sleeping")
        });
        let text = error.await.unwrap_err().to_string();
        assert_eq!(text, "sleeping and retrying");
        assert!(before.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_hold_the_answer() {
        let before = std::time::Instant::now();
        let answer = sh("sleep 20 & echo 17", |_| false).await.unwrap();
        assert_eq!((answer.stdout.as_str(), answer.status), ("17\n", Some(0)));
        assert!(before.elapsed() < Duration::from_secs(15));
        let environment = BTreeMap::new();
        let none = run(Call {
            argv: vec!["/no/such/program".to_owned()],
            stdin: Vec::new(),
            deadline: Duration::from_secs(1),
            environment: &environment,
            hides: |_| false,
            gives_up: |_| false,
        });
        let error = none.await.unwrap_err().during("ask").to_string();
        assert!(error.contains("cannot start `/no/such/program`"), "{error}");
    }
}
