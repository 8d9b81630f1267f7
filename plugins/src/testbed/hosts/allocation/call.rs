//! Runs the commands of a batch engine on this computer. None gets a signal that was meant for vexp.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use vexp_api::plugin::PluginError;
use vexp_api::shell::LOCALE;

use crate::batch::one_line;
use crate::batch::program::{self, Answer, Call, NoAnswer};

/// How long a command may take: a controller that is away has its clients wait.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Variables of the user's that would change what is listed, or have a question asked.
fn is_in_the_way(name: &str) -> bool {
    name.starts_with("SQUEUE_") || name.starts_with("SCANCEL_") || name == "SLURM_TIME_FORMAT"
}

/// A command that ends when it is dropped; no shell. An empty `argv` starts nothing.
pub(super) fn command(argv: &[String]) -> Command {
    let mut command = Command::new(argv.first().map_or("", String::as_str));
    command
        .args(argv.iter().skip(1))
        .envs([LOCALE])
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_in_the_way) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It can't be started, or does not end.
pub(super) async fn run(step: &str, argv: &[String]) -> Result<Answer, PluginError> {
    let call = Call {
        argv: argv.to_vec(),
        stdin: Vec::new(),
        deadline: DEADLINE,
        environment: &BTreeMap::new(),
        hides: is_in_the_way,
        gives_up: |_| false,
    };
    program::run(call).await.map_err(|error| match error {
        NoAnswer::Start { program, source } => cannot_start(step, &program, &source),
        other => other.during(step),
    })
}

/// The same; a command that fails is an error with its own words.
///
/// # Errors
/// It can't be started, does not end, or fails.
pub(super) async fn text(step: &str, argv: &[String]) -> Result<String, PluginError> {
    let said = run(step, argv).await?;
    if said.ok() {
        return Ok(said.stdout);
    }
    let program = argv.first().map_or("", String::as_str);
    let message = format!("`{program}` has failed: {}", one_line(&said.stderr));
    Err(PluginError::new(step, "controller", message))
}

/// A program that is not there.
pub(super) fn cannot_start(step: &str, program: &str, error: &std::io::Error) -> PluginError {
    let message = format!(
        "cannot start `{program}`: {error}; run vexp where the batch engine's commands are, such as on a login node"
    );
    PluginError::new(step, "controller", message)
}

/// Where a program is on the user's PATH.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut all = std::env::split_paths(&path).map(|folder| folder.join(program));
    all.find(|path| path.is_file())
}

/// A command line of literals and computed arguments.
pub(super) fn argv<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
