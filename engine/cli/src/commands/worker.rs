//! `vexp worker`: runs a block from inside its network. Events are lines of JSON on standard
//! output; the last words of a failure are on standard error.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use vexp_api::event::{Event, EventSink};
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_engine::run::manifest::Manifest;
use vexp_engine::run::{files, worker};

use crate::error::{Failure, OrExit as _};

struct Lines;

impl EventSink for Lines {
    fn event(&self, event: &Event) {
        if let Ok(mut line) = serde_json::to_string(event) {
            line.push('\n');
            // If the dispatcher is gone, this process is about to be ended.
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    }
}

/// How often a worker looks whether it is still wanted.
const LOOK: std::time::Duration = std::time::Duration::from_millis(500);

/// Ends this process when the one that has started it has ended, however that came: its machines may
/// be somebody else's by now. Where a lab has its own processes, the kernel does the same at once.
fn end_with_parent() {
    let parent = rustix::process::getppid();
    std::thread::spawn(move || {
        while rustix::process::getppid() == parent {
            std::thread::sleep(LOOK);
        }
        // Cannot fail: the process exists.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
}

pub(super) fn run(manifest: &Path, registry: &Registry) -> Result<Exit, Failure> {
    end_with_parent();
    let manifest: Manifest = files::read_json(manifest).or_exit(Exit::Usage)?;
    let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
    let worked = runtime.block_on(worker::work(&manifest, registry, Arc::new(Lines)));
    worked.or_exit(Exit::Infrastructure)?;
    Ok(Exit::Fine)
}
