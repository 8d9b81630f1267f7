//! `vexp task`: what a batch engine starts on a node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vexp_api::event::NoEvents;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::plugin::ImageFiles;
use vexp_api::record::RunRecord;
use vexp_api::registry::Registry;
use vexp_api::run_dir::RunDir;
use vexp_engine::build::{Manifest, stored};
use vexp_engine::run::batch;
use vexp_engine::run::batch::task::{self, Assigned};
use vexp_engine::run::dispatch::RunRequest;
use vexp_engine::run::{files, node};
use vexp_engine::store::Store;

use crate::commands::batch_config;
use crate::commands::run::testbed;
use crate::error::{Failure, OrExit as _};

/// Takes blocks of a run until none is left, the time is over, or the engine says so by SIGTERM.
pub(in crate::commands) fn run(
    run: &Path,
    (array, stage, limit): (Name, u32, u64),
    registry: &Registry,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let run = RunDir::open(run).or_exit(Exit::Infrastructure)?;
    let run = run.path();
    let order = batch::order(run).or_exit(Exit::Infrastructure)?;
    let order = order.ok_or_else(|| {
        let message = format!("{} is not out on a batch engine", run.display());
        Failure::new(Exit::Usage, message)
    })?;
    let (engine, _) = batch_config::on_a_node(&order, registry)?;
    let here = engine.here().ok_or_else(|| {
        let message = format!("this is no task of {}", order.engine);
        Failure::new(Exit::Usage, message).hint("`vexp task` is started by a batch engine")
    })?;
    let plan: Plan = files::read_json(&run.join("plan.json")).or_exit(Exit::Infrastructure)?;
    let record: RunRecord =
        files::read_json(&run.join("run.json")).or_exit(Exit::Infrastructure)?;
    let testbed = testbed(&plan, registry)?;
    let computer = node::here(&here.node, testbed.virtual_time());
    let assigned = Assigned {
        array,
        stage,
        limit: Duration::from_secs(limit),
        here,
        pace: order.pace,
        began,
    };
    let (stop, cancel) = watch::channel(false);
    let images = match order.local {
        None => order.images,
        Some(_) => own_images(run)?,
    };
    let request = RunRequest {
        plan: &plan,
        images: &images,
        run,
        id: &record.id,
        testbed,
        executable: crate::executable(),
        jobs: 1,
        registry: registry.clone(),
        // A task tells the dispatcher by a file.
        events: Arc::new(NoEvents),
        stages: None,
        batch: None,
        computer: Some(computer),
        cancel,
    };
    let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
    let ended = runtime.block_on(async {
        tokio::spawn(stop_on_signals(stop));
        task::run(&request, &assigned).await
    });
    ended.or_exit(Exit::Infrastructure)?;
    Ok(Exit::Fine)
}

/// The run's images in the node's own store, which is filled with them by the first task that needs them.
fn own_images(run: &Path) -> Result<BTreeMap<Name, ImageFiles>, Failure> {
    let images: BTreeMap<Name, Manifest> =
        files::read_json(&run.join("images.json")).or_exit(Exit::Infrastructure)?;
    let store = Store::open_default().or_exit(Exit::Infrastructure)?;
    stored(&images, &store, &NoEvents).or_exit(Exit::Infrastructure)
}

/// SIGTERM, before the time is over or because of somebody more important, and whatever a user sends.
async fn stop_on_signals(stop: watch::Sender<bool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody waits for it any more: then the task is over.
        let _ = stop.send(true);
    }
}
