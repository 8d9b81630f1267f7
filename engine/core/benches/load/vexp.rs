//! vexp as a contender: its own shells, as a run on testbed `hosts` has them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use vexp_api::ids::{HostName, Name};
use vexp_api::shell::{Cmd, Connect as _, Shell};
use vexp_api::site::ConfiguredTarget;
use vexp_engine::run::ssh::Ssh;

use crate::contender::Phase;
use crate::{Failed, fleet};

const PATIENCE: Duration = Duration::from_secs(120);

/// Goes through all phases and says how long each took.
pub(crate) fn run(folder: &Path, hosts: u8, commands: u32) -> Result<(), Failed> {
    // As a worker has it.
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(phases(folder, hosts, commands))
}

async fn phases(folder: &Path, hosts: u8, commands: u32) -> Result<(), Failed> {
    let mut began = Instant::now();
    let mut told = |phase: fn(f64) -> Phase| {
        let now = Instant::now();
        let seconds = (now - std::mem::replace(&mut began, now)).as_secs_f64();
        println!("{}", serde_json::to_string(&phase(seconds))?);
        Ok::<_, Failed>(())
    };
    let sockets = folder.join("sockets");
    std::fs::create_dir_all(&sockets)?;
    let mut connecting = JoinSet::new();
    for number in 1..=hosts {
        let name = Name::new(format!("node{number}"))?;
        let target = ConfiguredTarget {
            host: HostName::new(fleet::address(number).to_string())?,
            config: folder.join("config"),
            control: None,
            sudo: false,
            tools: Default::default(),
        };
        let sockets = sockets.clone();
        connecting.spawn(async move {
            let shell = Ssh
                .connect(&name, &target.into(), &sockets, PATIENCE)
                .await?;
            Ok::<_, Failed>((number, shell))
        });
    }
    let shells = all(connecting).await?;
    told(|seconds| Phase::Connect { seconds })?;

    let file = std::fs::read(folder.join("file"))?;
    let mut pushing = JoinSet::new();
    for (number, shell) in shells.clone() {
        let (path, bytes) = (fleet::pushed(folder, number), file.clone());
        pushing.spawn(async move {
            shell.put(&path.to_string_lossy(), bytes).await?;
            Ok(())
        });
    }
    all(pushing).await?;
    told(|seconds| Phase::Push { seconds })?;

    let mut running = JoinSet::new();
    for (number, shell) in shells {
        running.spawn(one_after_another(number, shell, commands));
    }
    all(running).await?;
    told(|seconds| Phase::Commands { seconds })
}

async fn one_after_another(number: u8, shell: Arc<dyn Shell>, commands: u32) -> Result<(), Failed> {
    for i in 0..commands {
        let wanted = fleet::words(number, i);
        let echo = Cmd::new("/bin/echo").args(wanted.split(' '));
        let output = shell.check(echo).await?;
        if output.stdout != format!("{wanted}\n").as_bytes() || output.truncated {
            return Err(format!("{wanted}: {output:?}").into());
        }
    }
    Ok(())
}

/// Waits for all; the first error ends the rest.
async fn all<T: 'static>(mut set: JoinSet<Result<T, Failed>>) -> Result<Vec<T>, Failed> {
    let mut done = Vec::new();
    while let Some(one) = set.join_next().await {
        done.push(one??);
    }
    Ok(done)
}
