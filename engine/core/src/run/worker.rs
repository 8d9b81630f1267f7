//! The worker: runs one block's trials from inside the machines' network.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plan::{Machine, Trial};
use vexp_api::plugin::{Context, Guest, Hypervisor, Node, PluginError};
use vexp_api::record::{self, BlockRecord, GuestBoot, Outcome, TrialRecord};
use vexp_api::registry::Registry;
use vexp_api::shell::ShellError;
use vexp_api::site::{GuestSlot, NodeInfo, SshTarget};
use vexp_api::units::BitRate;

use super::files::{self, FileError};
use super::manifest::{self, Manifest};
use super::ssh::{SshShell, chain};
use super::{environment, trial};

/// How long a host that has said that it is ready may take to answer.
const HOST_DEADLINE: Duration = Duration::from_secs(60);
/// How long a guest may take from its start to an answer over SSH, under full emulation.
const GUEST_DEADLINE: Duration = Duration::from_secs(150);

/// Why a block could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The manifest is of another version of vexp.
    #[error("the manifest has format {0}; this vexp reads format {expected}", expected = manifest::FORMAT)]
    Format(u32),
    /// A plugin that the plan names is not in this binary.
    #[error("there is no {kind} plugin `{name}` in this binary")]
    NoPlugin {
        /// `hypervisor`, `measure`.
        kind: &'static str,
        /// Its name.
        name: Name,
    },
    /// The site has fewer machines than the plan needs.
    #[error("the testbed gave {have} {what}, the plan needs {need}")]
    Site {
        /// `guests`, `peers`.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A node can't be reached.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// A result can't be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Runs a block: prepares the host, boots and stops guests as the trials need them, runs the
/// trials, and writes each as soon as it has ended. Events go to `events`.
///
/// # Errors
/// Whatever keeps the remaining trials from being run; trials that failed by themselves are
/// recorded and are no error.
pub async fn work(
    manifest: &Manifest,
    registry: &Registry,
    events: Arc<dyn EventSink>,
) -> Result<(), WorkError> {
    if manifest.format != manifest::FORMAT {
        return Err(WorkError::Format(manifest.format));
    }
    let mut bench = Bench::set_up(manifest, registry, events).await?;
    let result = bench.run_trials(manifest, registry).await;
    bench.write_record(manifest)?;
    // Guests end with their machine; a stop that fails here changes no result.
    for failure in bench.stop_guests_above(0).await {
        bench.cx.events.event(&Event::Note { text: failure });
    }
    result
}

/// Rate of the slowest of the machine's links.
fn slowest(machine: &Machine) -> BitRate {
    let rates = machine.nics.iter().map(|nic| nic.rate);
    rates.min().unwrap_or(BitRate::new(0))
}

/// A guest that answers.
struct Up {
    node: Node,
    guest: Box<dyn Guest>,
}

/// The machines of a block, connected.
struct Bench<'a> {
    block: &'a Name,
    cx: Context,
    hypervisor: Arc<dyn Hypervisor>,
    host: Node,
    peers: Vec<Node>,
    slots: &'a [GuestSlot],
    link_rate: BitRate,
    guests: Vec<Up>,
    record: BlockRecord,
}

impl<'a> Bench<'a> {
    async fn set_up(
        manifest: &'a Manifest,
        registry: &Registry,
        events: Arc<dyn EventSink>,
    ) -> Result<Self, WorkError> {
        let machine = &manifest.block.machine;
        let hypervisor = registry
            .hypervisors()
            .get(machine.hypervisor.as_str())
            .ok_or_else(|| WorkError::NoPlugin {
                kind: "hypervisor",
                name: machine.hypervisor.clone(),
            })?;
        let peers = manifest.site.peers.first().map_or(&[][..], Vec::as_slice);
        for (what, have, need) in [
            (
                "guests",
                manifest.site.guests.len(),
                machine.max_vms as usize,
            ),
            ("peers", peers.len(), machine.peers as usize),
        ] {
            if have < need {
                return Err(WorkError::Site { what, have, need });
            }
        }
        let folder = files::block_dir(&manifest.run, &manifest.block.id);
        files::create_dir(&folder)?;
        let cx = Context {
            events,
            logs: folder.clone(),
        };
        let sockets = &manifest.site.scratch;
        let host = connect(&manifest.site.host, sockets, HOST_DEADLINE).await?;
        let mut connected = Vec::new();
        for peer in &peers[..machine.peers as usize] {
            connected.push(connect(peer, sockets, HOST_DEADLINE).await?);
        }
        let seen = hypervisor
            .prepare(&host, &manifest.site.host_nics, machine, &cx)
            .await?;
        environment::record(&host, &folder.join("env").join(host.name.as_str())).await?;
        Ok(Self {
            block: &manifest.block.id,
            cx,
            hypervisor: Arc::clone(hypervisor),
            host,
            peers: connected,
            slots: &manifest.site.guests,
            link_rate: slowest(machine),
            guests: Vec::new(),
            record: BlockRecord {
                format: record::FORMAT,
                block: manifest.block.id.clone(),
                site: manifest.site.facts.clone(),
                host: seen,
                boot_s: manifest.boot_s,
                restored: None,
                guest_boots: Vec::new(),
            },
        })
    }

    async fn run_trials(
        &mut self,
        manifest: &Manifest,
        registry: &Registry,
    ) -> Result<(), WorkError> {
        for trial in &manifest.block.trials {
            if files::trial_record(&manifest.run, &trial.id).exists() {
                continue;
            }
            self.have_guests(trial.vms as usize, manifest).await?;
            self.run_trial(trial, &manifest.run, registry).await?;
            // Written after each trial, so that a block that is killed still has its facts.
            self.write_record(manifest)?;
        }
        Ok(())
    }

    async fn run_trial(
        &self,
        trial: &Trial,
        run: &Path,
        registry: &Registry,
    ) -> Result<(), WorkError> {
        self.cx.events.event(&Event::TrialStarted {
            trial: trial.id.clone(),
        });
        let epoch = Instant::now();
        let epoch_text = super::dispatch::now_rfc3339();
        let guests: Vec<Node> = self.guests.iter().map(|up| up.node.clone()).collect();
        let bench = trial::Bench {
            host: &self.host,
            guests: &guests,
            peers: &self.peers,
            link_rate: self.link_rate,
        };
        let seen = trial::run(trial, &bench, registry, epoch, &self.cx).await;
        let record = TrialRecord {
            format: record::FORMAT,
            trial: trial.id.clone(),
            block: self.block.clone(),
            outcome: seen.outcome.clone(),
            epoch: epoch_text,
            window: seen.window,
            setup: BTreeMap::new(),
            ended_s: epoch.elapsed().as_secs_f64(),
            artefacts: Vec::new(),
        };
        files::write_trial(run, &record, seen.captured)?;
        self.cx.events.event(&Event::TrialEnded {
            trial: trial.id.clone(),
            outcome: seen.outcome,
            seconds: epoch.elapsed().as_secs_f64(),
            summary: seen.summary,
        });
        Ok(())
    }

    /// Boots or stops guests until exactly `count` run.
    async fn have_guests(&mut self, count: usize, manifest: &Manifest) -> Result<(), WorkError> {
        let failures = self.stop_guests_above(count).await;
        if let Some(failure) = failures.into_iter().next() {
            // A guest that can't be stopped would take part in trials that are not its own.
            return Err(PluginError::new("stop guest", self.host.name.as_str(), failure).into());
        }
        while self.guests.len() < count {
            let slot = &self.slots[self.guests.len()];
            let started = Instant::now();
            let machine = &manifest.block.machine;
            let guest = self
                .hypervisor
                .boot(&self.host, slot, machine, &self.cx)
                .await?;
            let node = match connect_to(
                &slot.node,
                guest.ssh(),
                &manifest.site.scratch,
                GUEST_DEADLINE,
            )
            .await
            {
                Ok(node) => node,
                Err(error) => {
                    let console = guest.console().await;
                    let message = format!(
                        "{} did not answer within {} s: {}\nlast lines of its console:\n{console}",
                        slot.node.name,
                        GUEST_DEADLINE.as_secs(),
                        chain(&error)
                    );
                    let step = format!("boot guest {}", slot.node.name);
                    return Err(PluginError::new(step, self.host.name.as_str(), message).into());
                }
            };
            let seconds = started.elapsed().as_secs_f64();
            let name = slot.node.name.clone();
            self.record.guest_boots.push(GuestBoot {
                guest: name.clone(),
                seconds,
            });
            self.cx.events.event(&Event::GuestReady {
                block: self.block.clone(),
                guest: name,
                seconds,
            });
            self.guests.push(Up { node, guest });
        }
        Ok(())
    }

    async fn stop_guests_above(&mut self, count: usize) -> Vec<String> {
        let mut failures = Vec::new();
        while self.guests.len() > count
            && let Some(up) = self.guests.pop()
        {
            if let Err(error) = up.guest.stop().await {
                failures.push(format!("{}: {}", up.node.name, chain(&error)));
            }
        }
        failures
    }

    fn write_record(&self, manifest: &Manifest) -> Result<(), FileError> {
        let folder = files::block_dir(&manifest.run, &manifest.block.id);
        files::write_json(&folder.join("block.json"), &self.record)
    }
}

async fn connect(info: &NodeInfo, sockets: &Path, deadline: Duration) -> Result<Node, ShellError> {
    connect_to(info, &info.ssh, sockets, deadline).await
}

async fn connect_to(
    info: &NodeInfo,
    target: &SshTarget,
    sockets: &Path,
    deadline: Duration,
) -> Result<Node, ShellError> {
    let shell = SshShell::connect_when_up(&info.name, target, sockets, deadline).await?;
    Ok(Node {
        name: info.name.clone(),
        role: info.role,
        shell: Arc::new(shell),
        data: info.data.clone(),
    })
}

/// Records all trials of a block that have no record yet as failed.
pub fn fail_rest(
    run: &Path,
    block: &vexp_api::plan::Block,
    error: &str,
) -> Result<usize, FileError> {
    let mut failed = 0;
    for trial in &block.trials {
        if files::trial_record(run, &trial.id).exists() {
            continue;
        }
        let record = TrialRecord {
            format: record::FORMAT,
            trial: trial.id.clone(),
            block: block.id.clone(),
            outcome: Outcome::Failed {
                error: error.to_owned(),
            },
            epoch: super::dispatch::now_rfc3339(),
            window: None,
            setup: BTreeMap::new(),
            ended_s: 0.0,
            artefacts: Vec::new(),
        };
        files::write_trial(run, &record, Vec::new())?;
        failed += 1;
    }
    Ok(failed)
}
