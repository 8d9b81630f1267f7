//! `vexp worker`: runs a block from inside its network. Its manifest is the first line of standard input.
//! Events are lines of JSON on standard output; the last words of a failure are on standard error.

use std::io::Write as _;
use std::sync::Arc;

use vexp_api::event::{Event, EventSink};
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::shell::Connect;
use vexp_engine::run::clock::Clock;
use vexp_engine::run::manifest::Manifest;
use vexp_engine::run::worker::{self, Place, WorkError};

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

/// Ends this process when the one that has started it has ended, however that came: standard input is
/// a pipe that only that one holds open. The machines may be somebody else's by now.
fn end_with_dispatcher() {
    std::thread::spawn(|| {
        // Nothing more is written to it. One that can't be read says as much as its end.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // Cannot fail: the process exists.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
}

pub(super) fn run(registry: &Registry, connect: Arc<dyn Connect>) -> Result<Exit, Failure> {
    let manifest = Manifest::read(&mut std::io::stdin().lock()).or_exit(Exit::Usage)?;
    end_with_dispatcher();
    let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
    let place = Place {
        connect,
        events: Arc::new(Lines),
        clock: Clock::Computer,
    };
    let work = worker::work(&manifest, registry, place);
    let worked = runtime.block_on(work);
    let exit = match &worked {
        Err(WorkError::File(_)) => Exit::NotWritten,
        _ => Exit::Infrastructure,
    };
    worked.or_exit(exit)?;
    Ok(Exit::Fine)
}
