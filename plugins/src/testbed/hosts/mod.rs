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

mod allocation;
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
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use vexp_api::plan::{Machine, Plan};
use vexp_api::plugin::{
    Context, Hypervisor, Lease, MachineRequest, Plugin, PluginError, Preflight, Testbed,
};
use vexp_api::registry::Registry;
use vexp_api::shell::Connect;
use vexp_api::spec::Options;
use vexp_api::units::ByteSize;

use allocation::{Allocation, Granted};
use inventory::Inventory;
use lease::HostsLease;

/// How long a machine that should be up may take to answer.
const CONNECT: Duration = Duration::from_secs(15);
/// Where hypervisors' plugins keep guests' files on a host.
const GUESTS: &str = "/run/vexp/guests";

/// Plugins of hypervisors by name.
type Hypervisors = BTreeMap<&'static str, Arc<dyn Hypervisor>>;

/// The testbed.
pub struct Hosts {
    connect: Arc<dyn Connect>,
    hypervisors: Hypervisors,
    /// The machines file that the command line names.
    machines: Arc<OnceLock<PathBuf>>,
    /// The allocation that the run has, or that vexp stands in.
    granted: Arc<Mutex<Option<Granted>>>,
}

impl Hosts {
    /// A testbed that reaches machines by `connect`, and ends guests that a dead run has left by the
    /// plugins of their hypervisors.
    pub fn new(connect: Arc<dyn Connect>, hypervisors: Hypervisors) -> Self {
        Self {
            connect,
            hypervisors,
            machines: Arc::default(),
            granted: Arc::default(),
        }
    }

    /// The allocation that the run has, or that vexp stands in; none where the inventory wants none.
    async fn granted(&self, wanted: Option<&Allocation>) -> Result<Option<Granted>, PluginError> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        if let Some(granted) = self.allocated() {
            return Ok(Some(granted));
        }
        let here = Granted::here(wanted).await?;
        self.set(here.clone());
        Ok(here)
    }

    fn allocated(&self) -> Option<Granted> {
        let granted = self.granted.lock();
        granted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, granted: Option<Granted>) {
        let mut place = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        *place = granted;
    }

    /// The inventory; machines of an allocation have names if it is granted.
    async fn inventory(&self, options: &Options) -> Result<Inventory, PluginError> {
        let own = self.own()?;
        let inventory = Inventory::read(options, &own)?;
        match self.granted(inventory.allocation.as_ref()).await? {
            Some(granted) => inventory.on(&granted.hosts, &own),
            None => Ok(inventory),
        }
    }

    /// The plugin that knows what a machine runs.
    fn hypervisor(
        &self,
        rack: &far::Rack,
        machine: &Machine,
    ) -> Result<&Arc<dyn Hypervisor>, PluginError> {
        plugin_of(&self.hypervisors, rack, machine)
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

    fn wrong(&self, options: &Options) -> Option<String> {
        let wants = |value: &Value| value.get("node").is_some_and(|node| !node.is_null());
        let machines = options.get("inventory").and_then(Value::as_object);
        let nodes = machines.is_some_and(|all| all.values().any(wants));
        if !nodes && options.get("allocation").is_none_or(Value::is_null) {
            return None;
        }
        let error = Inventory::read(options, &own::Own::default()).err()?;
        let mut message = error.message;
        let mut cause = error
            .source
            .as_deref()
            .map(|error| error as &dyn std::error::Error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Some(message)
    }

    async fn begin(
        &self,
        plan: &Plan,
        measures: &Registry,
        run: &Path,
        cx: &Context,
    ) -> Result<Vec<Preflight>, PluginError> {
        let inventory = Inventory::read(&plan.testbed_options, &self.own()?)?;
        let Some(wanted) = inventory.allocation else {
            return Ok(Vec::new());
        };
        if self.granted(Some(&wanted)).await?.is_some() {
            // The job that vexp stands in: its machines have been looked at, and it is not ours to end.
            return Ok(Vec::new());
        }
        self.set(Some(allocation::begin(&wanted, run, cx).await?));
        let found = preflight::run(self, plan, measures).await;
        match self.lost().await {
            Some(lost) => Err(PluginError::new("look at machines", "controller", lost)),
            None => found,
        }
    }

    async fn end(&self, run: &Path, cx: &Context) -> Result<(), PluginError> {
        self.set(None);
        allocation::end(run, cx).await
    }

    fn holds(&self, run: &Path) -> Option<PathBuf> {
        allocation::holds(run)
    }

    async fn lost(&self) -> Option<String> {
        self.allocated()?.lost().await
    }

    async fn acquire(
        &self,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        Ok(Box::new(HostsLease::acquire(self, request, cx).await?))
    }
}

/// The plugin among `hypervisors` that knows what a machine runs.
fn plugin_of<'a>(
    hypervisors: &'a Hypervisors,
    rack: &far::Rack,
    machine: &Machine,
) -> Result<&'a Arc<dyn Hypervisor>, PluginError> {
    let plugin = hypervisors.get(machine.hypervisor.as_str());
    plugin.ok_or_else(|| {
        let what = format!(
            "there is no hypervisor `{}` in this binary",
            machine.hypervisor
        );
        rack.fail("find the hypervisor's plugin", what)
    })
}

/// This computer, for people.
fn controller() -> String {
    let name = vexp_api::host::name();
    format!("{name}, process {}", std::process::id())
}
