//! Testbed `virtual`: the machine under test and its traffic peers as QEMU emulators in lockstep, whose time is the
//! number of their instructions. What is measured there depends neither on the computer nor on its load.
//!
//! ```text
//!   vexp, a side without a processor ══ control links (5 ms) ══ machine, peers0, peers1
//!   machine's data NIC n ══ data link with the study's rate (20 µs) ══ NIC of the emulator `peersN`
//!     machine: the hypervisor and its guests        peersN: a network namespace a peer
//! ```
//!
//! `vexp-lockstep` couples the emulators and has vexp's side of it: the worker runs in this process, on the machines'
//! clock, and reaches them over SSH. Nothing else reaches them. It needs no root, no namespace and no tap.

mod capacity;
mod command;
mod emulator;
mod fleet;
mod lease;
mod recording;
mod regime;
mod seeds;
mod snapshot;
mod stale;
mod wire;

use std::path::PathBuf;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Context, Lease, MachineRequest, Plugin, PluginError, Testbed};
use vexp_api::units::ByteSize;

/// Most peers on a data network.
const MOST_PEERS: u32 = 24;

/// The testbed.
#[derive(Debug)]
pub struct Virtual {
    /// Where unpacked emulators and kept machines are.
    store: Option<PathBuf>,
    /// The store from which that one is filled.
    from: Option<PathBuf>,
}

impl Virtual {
    /// A testbed that keeps machines and what it unpacks below `store`, or nothing.
    pub fn new(store: Option<PathBuf>) -> Self {
        Self { store, from: None }
    }

    /// The same, where kept machines that the store lacks are copied from another one, if there is one.
    pub fn filled_from(self, from: Option<PathBuf>) -> Self {
        Self { from, ..self }
    }
}

impl Virtual {
    /// Copies the nearest machine that is kept into this computer's own store.
    async fn fill(&self, request: &MachineRequest) -> Result<(), PluginError> {
        let failed = |error: String| PluginError::new(lease::STEP, "controller", error);
        let (Some(store), Some(from)) = (self.store.clone(), self.from.clone()) else {
            return Ok(());
        };
        let request = request.clone();
        let filled = tokio::task::spawn_blocking(move || {
            snapshot::fill(&request, &store, &from).map_err(|error| error.message)
        });
        let filled = filled.await.map_err(|error| failed(error.to_string()))?;
        filled.map_err(failed)
    }
}

impl Plugin for Virtual {
    fn name(&self) -> &'static str {
        "virtual"
    }

    fn contract(&self) -> &'static str {
        regime::CONTRACT
    }
}

#[async_trait]
impl Testbed for Virtual {
    fn images(&self) -> &'static [&'static str] {
        &[emulator::IMAGE]
    }

    fn virtual_time(&self) -> bool {
        true
    }

    fn needs_root(&self) -> bool {
        false
    }

    fn side_by_side(&self, machine: &Machine) -> usize {
        capacity::of(machine)
    }

    fn takes(&self, machine: &Machine) -> (u32, ByteSize) {
        capacity::takes(machine)
    }

    fn emulates(&self) -> bool {
        true
    }

    fn refuses(&self, machine: &Machine) -> Option<String> {
        refuses(machine)
    }

    fn limits(&self, machine: &Machine) -> Vec<String> {
        super::limits::known(machine)
    }

    fn kept(&self, request: &MachineRequest) -> Option<u32> {
        snapshot::kept(request, self.store.as_deref()?, self.from.as_deref())
    }

    fn forget(&self, request: &MachineRequest) {
        for store in self.store.iter().chain(&self.from) {
            if let Some((shelf, origin)) = snapshot::keeping(request, store) {
                shelf.forget(&origin, request.vms);
            }
        }
    }

    fn left_here(&self, remove: bool) -> Result<Vec<PathBuf>, PluginError> {
        let found = lease::parents().and_then(|parents| stale::folders(&parents, remove));
        found.map_err(|error| {
            let step = "remove the files of locksteps that died";
            PluginError::new(step, "controller", error.to_string())
        })
    }

    async fn acquire(
        &self,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        let failed = |error: String| PluginError::new(lease::STEP, "controller", error);
        let (store, request, cx) = (self.store.clone(), request.clone(), cx.clone());
        self.fill(&request).await?;
        let growing = match &store {
            Some(store) => snapshot::growing(&request, store, &cx).await?,
            None => None,
        };
        if growing.is_some() {
            // Another computer may have kept it meanwhile.
            self.fill(&request).await?;
        }
        let vms = request.vms;
        let acquired = tokio::task::spawn_blocking(move || {
            lease::VirtualLease::acquire(store.as_deref(), &request, &cx)
        });
        let mut lease = acquired
            .await
            .map_err(|error| failed(error.to_string()))??;
        lease.growing = growing.map(|growing| (growing, vms));
        lease.from = self.from.clone();
        Ok(Box::new(lease))
    }
}

/// Why a machine can't be had in virtual time.
fn refuses(machine: &Machine) -> Option<String> {
    let what = |text: &str| Some(format!("hardware {}: {text}", machine.hardware));
    let same = |model: &Name| *model == *"e1000" || *model == *"any";
    if machine.nics.iter().any(|nic| !same(&nic.model)) {
        return what(
            "in virtual time NICs are e1000: other models send in another thread of QEMU, at moments \
             that are this computer's",
        );
    }
    let peers = command::with_all_peers(machine).peers;
    if peers > MOST_PEERS {
        return what(&format!(
            "in virtual time a data network has {MOST_PEERS} peers at most, as each has a NIC of one \
             emulator; this one has {peers}"
        ));
    }
    super::limits::refuses(machine, &["e1000"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_identical_is_refused() {
        let machine = |model: &str| {
            let value = serde_json::json!({
                "platform": "p", "hardware": "h", "cpus": 1, "memory": "2GiB",
                "nics": [{"model": model, "rate": "200Mb/s"}],
                "image": "i", "guest_image": "guest", "hypervisor": "kvm", "version": "6.12",
                "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": "virtio",
                "guest": {"vcpus": 1, "memory": "256MiB"}, "max_vms": 2, "peers": 2, "options": {}
            });
            refuses(&serde_json::from_value::<Machine>(value).unwrap())
        };
        assert_eq!(machine("e1000"), None);
        assert_eq!(machine("any"), None);
        let why = machine("virtio").unwrap();
        assert!(
            why.contains("NICs are e1000") && why.contains("hardware h"),
            "{why}"
        );
    }
}
