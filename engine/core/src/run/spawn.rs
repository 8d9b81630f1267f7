//! A worker as a process of its own: started inside a machine's network, listened to until it ends.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use vexp_api::event::Event;
use vexp_api::exit::Exit;
use vexp_api::plugin::PluginError;
use vexp_api::shell::tail;
use vexp_api::site::Site;

use super::dispatch::{BlockError, RunError, Work};
use super::files;
use super::manifest::{self, Manifest};

/// What a worker is handed.
pub(super) fn manifest(work: &Work<'_>, site: Site, grow: Option<u32>) -> Manifest {
    Manifest {
        format: manifest::FORMAT,
        block: work.block.clone(),
        grow,
        site,
        run: work.request.run.to_owned(),
        boot_s: work.boot_s,
        computer: work.request.computer.clone(),
    }
}

/// Runs a worker to its end inside a machine's network, and passes on what it says.
///
/// # Errors
/// A worker that can't be started, says what is no event, or fails: with the end of its standard error.
pub(super) async fn run(work: &Work<'_>, manifest: &Manifest) -> Result<(), BlockError> {
    let Work {
        request,
        block,
        lease,
        folder,
        events,
        ..
    } = work;
    // For people: the worker gets its manifest by a pipe, which nobody can put another one in.
    // The folder above the run's is this computer's affair, and the file goes to strangers with the run.
    let shown = Manifest {
        run: manifest.run.file_name().map(Into::into).unwrap_or_default(),
        ..manifest.clone()
    };
    files::write_json(&folder.join("manifest.json"), &shown).map_err(RunError::from)?;
    let argv = [
        request.executable.display().to_string(),
        "worker".to_owned(),
    ];
    let mut command = tokio::process::Command::from(lease.enter(&argv));
    command
        // All that it runs, the ssh of its connections included, has it from there.
        .envs([vexp_api::shell::LOCALE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let step = || format!("worker for block {}", block.id);
    let failed = |message: String| PluginError::new(step(), "controller", message);
    let mut child = command
        .spawn()
        .map_err(|e| failed(format!("cannot start it: {e}")))?;
    // While this is open, the worker lives: it ends when we do, however that comes.
    let mut lifeline = child.stdin.take();
    let text = manifest.to_line().map_err(|e| failed(e.to_string()))?;
    if let Some(input) = &mut lifeline {
        // A worker that ends without reading it says why.
        let _ = input.write_all(text.as_bytes()).await;
    }
    let stderr = child.stderr.take();
    let complaints = tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = stderr {
            // What could be read before an error is what there is to show.
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut bytes).await;
        }
        bytes
    });
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            let event: Event = serde_json::from_str(&line)
                .map_err(|e| failed(format!("it said something that is no event: {e}: {line}")))?;
            events.event(&event);
        }
    }
    let status = child.wait().await?;
    drop(lifeline);
    if status.success() {
        return Ok(());
    }
    let said = tail(&complaints.await.unwrap_or_default(), 4000);
    if status.code() == Some(Exit::NotWritten as i32) {
        let block = block.id.clone();
        return Err(RunError::NotWritten { block, said }.into());
    }
    let error = failed(if said.is_empty() {
        format!("it ended with {status}")
    } else {
        said
    });
    Err(error.log(folder.join("console.log")).into())
}
