//! Running the host's own tools inside the lab.

use std::io::Write as _;
use std::process::{Command, Stdio};

use vexp_api::shell::tail;

/// What went wrong while a lab was set up.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {message}")]
pub(in crate::testbed) struct LabError {
    /// What was being done.
    pub(in crate::testbed) step: String,
    /// Why it failed, with the tool's own words.
    pub(in crate::testbed) message: String,
}

impl LabError {
    pub(in crate::testbed) fn new(step: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            message: message.into(),
        }
    }

    /// For `map_err` on I/O.
    pub(in crate::testbed) fn io(step: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| {
            use std::io::ErrorKind::{QuotaExceeded, StorageFull};
            let full = [StorageFull, QuotaExceeded].contains(&error.kind());
            let way_out = match full {
                true => ": make room (`vexp gc --keep 30d`), or name another store with VEXP_STORE",
                false => "",
            };
            Self::new(step, format!("{error}{way_out}"))
        }
    }
}

/// Runs a program that must succeed; `input` is its standard input.
pub(in crate::testbed) fn run(
    step: &str,
    program: &str,
    args: &[&str],
    input: &str,
) -> Result<String, LabError> {
    let failed = |message: String| LabError::new(step, format!("`{program}`: {message}"));
    let mut child = Command::new(program)
        .args(args)
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            failed(format!(
                "cannot be started: {e} (is its package installed? see `vexp doctor`)"
            ))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that refuses its input early says so on standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(format!(
        "{} ({})",
        tail(&output.stderr, 2000),
        output.status
    )))
}
