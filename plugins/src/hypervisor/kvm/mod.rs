//! KVM with QEMU on the host: paravirtual NICs (`virtio`) or fully virtualized ones (`e1000`).

mod command;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{
    Context, Guest, HostSeen, Hypervisor, HypervisorTraits, MachineNeeds, Node, Plugin, PluginError,
};
use vexp_api::shell::Cmd;
use vexp_api::site::{GuestSlot, SshTarget};
use vexp_api::units::ByteSize;

use super::mac::Mac;
use super::{files, linux, mac, network};
use command::NicModel;

/// Time for QEMU to start: on an emulated processor it takes some seconds.
const START: Duration = Duration::from_secs(120);
/// Time for QEMU to end after SIGTERM.
const END: Duration = Duration::from_secs(20);

/// For hosts under TCG, where an exit costs 0.15 ms: timers, the guests' too, expire together on the host's tick, and nobody
/// polls for a halted guest to wake up. Without it timer interrupts eat a host with several guests when the emulator lacks
/// processor time.
const EMULATED_KERNEL: &str = "nohz=off highres=off kvm.halt_poll_ns=0";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Kvm;

impl Plugin for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Hypervisor for Kvm {
    fn traits(&self) -> HypervisorTraits {
        HypervisorTraits {
            guests: true,
            nics: &["virtio", "e1000"],
            toolstacks: &[],
            schedulers: &[],
            weighted: &[],
            // Where all processors are the host's, its own accounting sees the guests, each of
            // which is a process.
            monitors: &["sar", "uptime", "pidstat"],
            host_memory: ByteSize::new(512 << 20),
            guests_are_processes: true,
            nested: true,
        }
    }

    fn needs(&self, _: &Machine) -> MachineNeeds {
        MachineNeeds {
            nested: true,
            emulated_kernel: EMULATED_KERNEL.to_owned(),
            own_line: String::new(),
        }
    }

    async fn look(&self, host: &Node, _: &Machine) -> Result<HostSeen, PluginError> {
        linux::look(host).await
    }

    /// What QEMU gives a guest whose NIC has no model (qemu(1), `-nic`).
    fn own_defaults(&self, _: &str) -> Vec<(&'static str, &'static str)> {
        vec![("nic", "e1000")]
    }

    /// `machine.version` is the kernel's, which KVM is a part of. A virtual machine is created
    /// under KVM to see that it can be; whether guests run in it, only booting one can tell.
    async fn prepare(
        &self,
        host: &Node,
        host_nics: &[vexp_api::ids::Interface],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        NicModel::of(host, machine)?;
        let kernel = linux::planned_kernel(host, machine).await?;
        let mut facts = network::bridge_nics(host, host_nics).await?;
        let step = "check KVM";
        let probe = host.shell.check(command::probe().deadline(START)).await;
        let probe = probe.map_err(|error| PluginError::shell(step, &host.name, error))?;
        let qemu = command::parse_probe(&probe.text())
            .map_err(|message| PluginError::new(step, host.name.as_str(), message))?;
        facts.insert("kernel".to_owned(), kernel);
        facts.insert("qemu".to_owned(), qemu);
        Ok(facts)
    }

    async fn verify(
        &self,
        host: &Node,
        guests: &[Name],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let step = "check guests";
        let kernel = linux::planned_kernel(host, machine).await?;
        let names = files::exactly(host, guests, running(host).await?, step)?;
        Ok([("kernel", kernel), ("guests", names)]
            .map(|(key, value)| (key.to_owned(), value))
            .into())
    }

    fn adopt(
        &self,
        host: &Node,
        guest: &GuestSlot,
        _: &Machine,
    ) -> Result<Box<dyn Guest>, PluginError> {
        let step = format!("take over guest {}", guest.node.name);
        let nics = mac::nics(guest, &step)?;
        Ok(Box::new(VirtualMachine::of(host, guest, &nics)))
    }

    async fn boot(
        &self,
        host: &Node,
        guest: &GuestSlot,
        machine: &Machine,
        _: &Context,
    ) -> Result<Box<dyn Guest>, PluginError> {
        let step = format!("boot guest {}", guest.node.name);
        let model = NicModel::of(host, machine)?;
        let shape = machine.guest.ok_or_else(|| {
            PluginError::new(&step, host.name.as_str(), "the plan has no guest shape")
        })?;
        let nics = mac::nics(guest, &step)?;
        let ramdisk = files::initramfs(host, guest, &step).await?;
        let virtual_machine = VirtualMachine::of(host, guest, &nics);
        let batch = command::join_taps(&nics);
        let result = async {
            let ip = Cmd::new("ip").args(["-batch", "-"]).stdin(batch);
            files::run(host, &step, ip).await?;
            let folder = &virtual_machine.folder;
            let qemu = command::qemu(
                &guest.node.name,
                &guest.files,
                shape,
                model,
                folder,
                &ramdisk,
                &nics,
            );
            files::run(host, &step, qemu.deadline(START)).await
        };
        match result.await {
            Ok(()) => Ok(Box::new(virtual_machine)),
            Err(error) => {
                // Without these the next attempt would fail on taps that exist. The first error
                // is the one to tell.
                drop(virtual_machine.clean(&step).await);
                Err(error)
            }
        }
    }
}

/// Names of the guests that run on a host.
pub(crate) async fn running(host: &Node) -> Result<Vec<String>, PluginError> {
    let list = host.shell.run(command::list()).await;
    let list = list.map_err(|error| PluginError::shell("list guests", &host.name, error))?;
    Ok(command::parse_list(&list.text()))
}

/// A guest's QEMU.
struct VirtualMachine {
    host: Node,
    name: Name,
    ssh: SshTarget,
    folder: String,
    taps: Vec<String>,
}

impl VirtualMachine {
    fn of(host: &Node, guest: &GuestSlot, nics: &[(Mac, &str)]) -> Self {
        Self {
            host: host.clone(),
            name: guest.node.name.clone(),
            ssh: guest.node.ssh.clone(),
            folder: files::folder(guest),
            taps: nics.iter().map(|(mac, _)| command::tap(mac)).collect(),
        }
    }

    /// Ends QEMU: SIGTERM, which is an orderly `quit` to QEMU, then SIGKILL.
    async fn end(&self, step: &str) -> Result<(), PluginError> {
        let failed = |error| PluginError::shell(step, &self.host.name, error);
        let cat = Cmd::new("cat").args(["--", &format!("{}/pid", self.folder)]);
        let output = self.host.shell.run(cat).await.map_err(failed)?;
        if !output.ok() {
            // QEMU removes the file when it ends.
            return Ok(());
        }
        let text = output.text();
        let pid = text.trim();
        if pid.parse::<u32>().map_or(true, |pid| pid < 2) {
            let message = format!("`{}` is not a process", pid.escape_debug());
            return Err(PluginError::new(step, self.host.name.as_str(), message));
        }
        for signal in ["-TERM", "-KILL"] {
            let kill = Cmd::new("kill").args([signal, pid]);
            if !self.host.shell.run(kill).await.map_err(failed)?.ok() {
                // There is no such process: it has ended.
                return Ok(());
            }
            let wait = Cmd::new("tail")
                .args(["-s", "0.1", "-f", &format!("--pid={pid}"), "/dev/null"])
                .deadline(END);
            if self.host.shell.run(wait).await.map_err(failed)?.ok() {
                return Ok(());
            }
        }
        let message = format!("QEMU (process {pid}) did not end, not even by SIGKILL");
        Err(PluginError::new(step, self.host.name.as_str(), message))
    }

    /// Removes taps and files.
    async fn clean(&self, step: &str) -> Result<(), PluginError> {
        let batch = command::delete_taps(&self.taps);
        let ip = Cmd::new("ip").args(["-force", "-batch", "-"]).stdin(batch);
        let taps = files::run(&self.host, step, ip).await;
        let removed = files::remove(&self.host, &self.folder, step).await;
        taps.and(removed)
    }
}

#[async_trait]
impl Guest for VirtualMachine {
    fn ssh(&self) -> &SshTarget {
        &self.ssh
    }

    async fn console(&self) -> String {
        files::console_tail(&self.host, &format!("{}/console", self.folder)).await
    }

    async fn stop(self: Box<Self>) -> Result<(), PluginError> {
        let step = format!("stop guest {}", self.name);
        let ended = self.end(&step).await;
        let cleaned = self.clean(&step).await;
        ended.and(cleaned)
    }
}
