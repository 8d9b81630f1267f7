//! Testbed `emulated`: one machine under QEMU, its traffic peers as network namespaces, on any
//! Linux with root.
//!
//! Everything lives in a *lab*: a network, mount and PID namespace of its own, whose first process
//! is [`lab`]. That process holds a pipe from the process that asked for it. When that one ends,
//! however it ends, the pipe closes, the lab's first process ends, and the kernel ends the rest:
//! QEMU, SSH servers, taps, mounts and the lab's files (a tmpfs) are gone.
//!
//! ```text
//!   worker ── ctl bridge ─┬─ machine's control NIC ── guests' control NICs (198.19.255.0/24)
//!                         └─ peers' control NICs
//!   machine's data NIC N ── tap ── bridge ══ link with the NIC's rate ══ bridge ── peers
//!                                                                 (198.18.N.0/24)
//! ```
//!
//! With two data networks (routers) each has peers of its own. A peer's NIC has the link's rate too.
//!
//! Addresses are of RFC 2544's range for benchmarks and never leave the lab, which has no way out.

pub(super) mod address;
mod emulator;
pub mod enclose;
pub(super) mod keys;
pub mod lab;
mod lease;
mod mounts;
mod network;
pub(super) mod nodes;
mod peers;
mod probe;
pub(super) mod qemu;
pub(super) mod qmp;
pub(super) mod run;
pub(super) mod seed;
pub(super) mod snapshot;
mod start;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lease::LabLease;
pub use probe::Accelerator;
use snapshot::{Origin, Shelf};
pub use snapshot::{discard, unused};
use vexp_api::plan::Machine;
use vexp_api::plugin::{
    Context, Lease, MachineNeeds, MachineRequest, Plugin, PluginError, Testbed,
};

/// The testbed.
#[derive(Debug)]
pub struct Emulated {
    executable: PathBuf,
    /// Where machines are kept.
    snapshots: Option<PathBuf>,
    /// What the first lab's probe said: this computer does not change while we run.
    accelerator: Mutex<Option<Accelerator>>,
}

impl Emulated {
    /// A testbed whose labs are started by `executable lab`, a program that calls [`lab::main`].
    /// Machines are kept in the folder `snapshots`, or not at all.
    pub fn new(executable: PathBuf, snapshots: Option<PathBuf>) -> Self {
        Self {
            executable,
            snapshots,
            accelerator: Mutex::new(None),
        }
    }
}

impl Emulated {
    fn known(&self) -> Option<Accelerator> {
        let known = self.accelerator.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where machines are kept from which this one could start, and by what.
    fn keeping(&self, request: &MachineRequest) -> Option<(Shelf, Origin)> {
        lab::keeping(request, self.snapshots.as_deref()?)
    }
}

impl Plugin for Emulated {
    fn name(&self) -> &'static str {
        "emulated"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Testbed for Emulated {
    fn images(&self) -> &'static [&'static str] {
        &[emulator::IMAGE]
    }

    fn emulates(&self) -> bool {
        true
    }

    fn refuses(&self, machine: &Machine) -> Option<String> {
        super::limits::refuses(machine, qemu::MODELS)
    }

    fn limits(&self, machine: &Machine, needs: &MachineNeeds) -> Vec<String> {
        super::limits::known(machine, needs)
    }

    fn kept(&self, request: &MachineRequest) -> Option<u32> {
        let (shelf, origin) = self.keeping(request)?;
        shelf.has(&origin, request.vms)
    }

    fn forget(&self, request: &MachineRequest) {
        if let Some((shelf, origin)) = self.keeping(request) {
            shelf.forget(&origin, request.vms);
        }
    }

    fn left_here(&self, remove: bool) -> Result<Vec<PathBuf>, PluginError> {
        let folder = self.snapshots.as_deref();
        folder
            .map_or(Ok(Vec::new()), |folder| snapshot::left(folder, remove))
            .map_err(|error| {
                PluginError::new("remove half-kept machines", "controller", error.to_string())
            })
    }

    async fn acquire(
        &self,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        let known = self.known();
        let lease = LabLease::acquire(self, request, known, cx).await?;
        let fact = |key: &str| lease.site().facts.get(key).cloned();
        if let (Some(name), Some(why)) = (fact("accelerator"), fact("accelerator_why")) {
            *self
                .accelerator
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Accelerator { name, why });
        }
        Ok(Box::new(lease))
    }
}
