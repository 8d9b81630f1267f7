//! Testbed `hosts`: your own machines over SSH, as an inventory in the study says.
//!
//! ```text
//!   worker, here ── ssh, by the user's own configuration ─┬─ host ── guests, by way of their host
//!                                                         └─ peers
//!   host's data NICs ════ your switches ════ peers' data NICs
//! ```
//!
//! Machines run what is installed on them: nothing is booted but guests. What a run changes on a
//! machine is written down there first (`/var/lib/vexp/taken.json`), under a lock that lasts as
//! long as the connection, and put back when the machine is released. If the run dies, the next one
//! that takes the machine puts it back before anything else.

mod config;
mod far;
mod folder;
mod guests;
mod images;
mod inventory;
mod lease;
mod own;
mod preflight;
mod probe;
mod state;
mod way;

pub(crate) use config::home;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::plan::{Machine, Plan};
use vexp_api::plugin::{
    Context, Hypervisor, Lease, MachineRequest, Plugin, PluginError, Preflight, Testbed,
};
use vexp_api::registry::Registry;
use vexp_api::shell::Connect;
use vexp_api::spec::Options;
use vexp_api::units::ByteSize;

use lease::HostsLease;

/// How long a machine that should be up may take to answer.
const CONNECT: Duration = Duration::from_secs(15);
/// Where hypervisors' plugins keep guests' files on a host.
const GUESTS: &str = "/run/vexp/guests";

/// The testbed.
pub struct Hosts {
    connect: Arc<dyn Connect>,
    hypervisors: BTreeMap<&'static str, Arc<dyn Hypervisor>>,
    /// The machines file that the command line names.
    machines: Arc<OnceLock<PathBuf>>,
}

impl Hosts {
    /// A testbed that reaches machines by `connect`, and ends guests that a dead run has left by the
    /// plugins of their hypervisors.
    pub fn new(
        connect: Arc<dyn Connect>,
        hypervisors: BTreeMap<&'static str, Arc<dyn Hypervisor>>,
    ) -> Self {
        Self {
            connect,
            hypervisors,
            machines: Arc::default(),
        }
    }

    /// What the user says of their machines.
    fn own(&self) -> Result<own::Own, PluginError> {
        own::Own::find(self.machines.get().map(PathBuf::as_path))
    }
}

impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Testbed for Hosts {
    fn boots_images(&self) -> bool {
        false
    }

    fn needs_root(&self) -> bool {
        false
    }

    /// The machines are elsewhere: here are vexp and its connections.
    fn takes(&self, _: &Machine) -> (u32, ByteSize) {
        (1, ByteSize::new(1 << 30))
    }

    fn trusts_studies(&self) -> bool {
        true
    }

    fn machines_file(&self, path: &Path) {
        // The command line is read once; a second name would be an embedder's mistake.
        let _ = self.machines.set(path.to_owned());
    }

    async fn preflight(
        &self,
        plan: &Plan,
        measures: &Registry,
        _: &Context,
    ) -> Result<Vec<Preflight>, PluginError> {
        preflight::run(self, plan, measures).await
    }

    fn left_here(&self, remove: bool) -> Result<Vec<PathBuf>, PluginError> {
        let parents = folder::parents(std::env::temp_dir()).into_iter();
        let left = parents.map(|parent| folder::left(&parent, remove));
        let left: std::io::Result<Vec<_>> = left.collect();
        left.map(|left| left.concat()).map_err(|error| {
            PluginError::new("remove private folders", "controller", error.to_string())
        })
    }

    async fn collect(&self, options: &Options, cx: &Context) -> Result<(), PluginError> {
        lease::collect(self, options, cx).await
    }

    async fn acquire(
        &self,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        Ok(Box::new(HostsLease::acquire(self, request, cx).await?))
    }
}

/// This computer, for people.
fn controller() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{name}, process {}", std::process::id())
}
