//! What a run holds of its testbed as a whole: machines that a batch engine lends it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use vexp_api::event::EventSink;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::plugin::{Context, Testbed};
use vexp_api::registry::Registry;

use super::folder::{Run, resumable};
use super::{dead, preflight};
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::progress::Progress;

/// Holds it while trials are run, and gives it back however they end.
///
/// # Errors
/// It can't be had or given back; the machines are not as asked; the user has stopped; what the trials say.
pub(super) fn during<T>(
    run: &mut Run,
    (testbed, plan, registry): (&Arc<dyn Testbed>, &Plan, &Registry),
    progress: &Arc<Progress>,
    trials: impl FnOnce(&mut Run) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = Runtime::new().or_exit(Exit::Infrastructure)?;
    let cx = Context {
        events: Arc::clone(progress) as Arc<dyn EventSink>,
        logs: run.path.clone(),
    };
    let begun = runtime.block_on(async {
        tokio::select! {
            // Where nothing is to be had, no signal is listened for.
            biased;
            begun = testbed.begin(plan, registry, &run.path, &cx) => Some(begun),
            () = stopped() => None,
        }
    });
    let begun = match begun {
        None => Err(run.interrupted()),
        Some(begun) => begun.or_exit(Exit::Infrastructure),
    };
    let done = begun
        .and_then(|found| run.deviate(preflight::accepted(&found)?))
        .and_then(|()| trials(run));
    let ended = runtime.block_on(testbed.end(&run.path, &cx));
    let ended = ended.or_exit(Exit::Infrastructure).map_err(|failure| {
        let again = run.path.display();
        failure.hint(format!("`vexp release {again}` tries it again"))
    });
    match (done, ended) {
        (Ok(done), Ok(())) => Ok(done),
        (Ok(_), Err(failure)) | (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(kept)) => {
            let hint = kept.hint.unwrap_or_default();
            render::say(&format!("{}; {hint}", kept.messages.join(": ")));
            Err(failure)
        }
    }
}

/// Until SIGINT or SIGTERM.
async fn stopped() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn end(run: &Path, testbed: &dyn Testbed) -> Result<(), Failure> {
    let runtime = Runtime::new().or_exit(Exit::Infrastructure)?;
    let ended = runtime.block_on(testbed.end(run, &preflight::context(preflight::Notes)));
    ended.or_exit(Exit::Infrastructure)
}

/// What a run holds that has died, by the files that say so; with `remove` it is given back.
pub(super) fn of_dead(
    run: &Path,
    registry: &Registry,
    remove: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for testbed in registry.testbeds().values() {
        let Some(file) = testbed.holds(run) else {
            continue;
        };
        if !remove {
            found.extend(dead::free(run)?.then_some(file));
        } else if let Some(_lock) = dead::held(run)? {
            end(run, &**testbed)?;
            found.push(file);
        }
    }
    Ok(found)
}

/// `vexp release RUN`.
pub(super) fn release(run: &Path, testbed: &Name, registry: &Registry) -> Result<Exit, Failure> {
    let run = resumable(run)?;
    let plugin = registry.testbeds().get(testbed.as_str());
    let held = plugin.filter(|plugin| plugin.holds(&run).is_some());
    let Some(plugin) = held else {
        let text = format!("{} holds nothing of testbed `{testbed}`", run.display());
        render::say(&text);
        return Ok(Exit::Fine);
    };
    let Some(_lock) = dead::held(&run)? else {
        let text = format!("{} is being measured by another vexp", run.display());
        return Err(Failure::new(Exit::Infrastructure, text)
            .hint("end that one: it gives back what it holds"));
    };
    end(&run, &**plugin)?;
    Ok(Exit::Fine)
}
