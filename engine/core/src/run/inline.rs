//! A worker in this process: on a thread of its own, whose clock is that of machines in virtual time.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plugin::{PluginError, Witness, Workplace};
use vexp_api::registry::Registry;

use super::clock::{Clock, Commands};
use super::dispatch::{BlockError, RunError};
use super::manifest::Manifest;
use super::worker::{self, Place, WorkError};

const SECOND: Duration = Duration::from_secs(1);

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
    let block = inline.manifest.block.id.clone();
    let told = TellClock::start(block, Arc::clone(&witness), Arc::clone(&inline.events));
    let commands = Commands::default();
    let place = Place {
        connect: commands.trace(connect, Arc::clone(&witness)),
        events: inline.events,
        clock: Clock::Machines {
            witness,
            seed: inline.seed,
            commands,
        },
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = unwanted => Ok(()),
            worked = worker::work(&inline.manifest, &inline.registry, place) => worked,
            error = driver.drive() => Err(error.into()),
        }
    });
    drop(told);
    ended
}

/// Says once a second how far the machines are, until it is dropped. It only looks.
struct TellClock(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl TellClock {
    fn start(block: Name, witness: Arc<dyn Witness>, events: Arc<dyn EventSink>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let spawned = std::thread::Builder::new()
            .name("vexp-clock".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(SECOND) == Err(mpsc::RecvTimeoutError::Timeout) {
                    events.event(&Event::ClockMoved {
                        block: block.clone(),
                        virtual_s: witness.now_ns() as f64 / 1e9,
                    });
                }
            });
        // Without the thread nothing is lost but the display.
        Self(spawned.ok().map(|thread| (stop, thread)))
    }
}

impl Drop for TellClock {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // It can only have ended.
            let _ = thread.join();
        }
    }
}
