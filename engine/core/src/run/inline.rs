//! A worker in this process: on a thread of its own, whose clock is that of machines in virtual time.

use std::sync::Arc;

use tokio::sync::oneshot;
use vexp_api::event::EventSink;
use vexp_api::plugin::{PluginError, Workplace};
use vexp_api::registry::Registry;

use super::clock::Clock;
use super::dispatch::{BlockError, RunError};
use super::manifest::Manifest;
use super::worker::{self, Place, WorkError};

/// What a worker on a thread needs.
pub(super) struct Inline {
    pub(super) manifest: Manifest,
    pub(super) registry: Registry,
    pub(super) workplace: Workplace,
    pub(super) events: Arc<dyn EventSink>,
    /// The repetition's seed.
    pub(super) seed: u64,
}

/// Runs a worker to its end. When this future is dropped, the worker records nothing more.
///
/// # Errors
/// What the worker met, or the reason why the machines' time can't go on.
pub(super) async fn run(inline: Inline) -> Result<(), BlockError> {
    let step = format!("worker for block {}", inline.manifest.block.id);
    let failed = move |message: String| PluginError::new(step, "controller", message);
    let (done, ended) = oneshot::channel();
    // Dropped with this future.
    let (_wanted, unwanted) = oneshot::channel::<()>();
    let spawned = std::thread::Builder::new()
        .name("vexp-worker".to_owned())
        .spawn(move || {
            // Nobody waits for it if the run was interrupted.
            let _ = done.send(on_this_thread(inline, unwanted));
        });
    if let Err(error) = spawned {
        return Err(failed(format!("its thread can't be started: {error}")).into());
    }
    match ended.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(WorkError::File(error))) => Err(RunError::from(error).into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(failed("its thread has ended without a result".to_owned()).into()),
    }
}

fn on_this_thread(inline: Inline, unwanted: oneshot::Receiver<()>) -> Result<(), WorkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| PluginError::new("start the worker", "controller", error.to_string()))?;
    let Workplace {
        connect,
        driver,
        witness,
    } = inline.workplace;
    let place = Place {
        connect,
        events: inline.events,
        clock: Clock::Machines {
            witness,
            seed: inline.seed,
        },
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            _ = unwanted => Ok(()),
            worked = worker::work(&inline.manifest, &inline.registry, place) => worked,
            error = driver.drive() => Err(error.into()),
        }
    })
}
