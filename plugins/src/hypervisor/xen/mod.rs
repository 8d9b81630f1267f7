//! Xen with paravirtual guests, by way of `xl`, or of `xm` on Xen 3.x.

#[cfg(test)]
mod tests;
mod toolstack;

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

use super::{files, linux, mac, network, version};
use toolstack::Toolstack;

/// Building a domain took 7.5 s on an emulated processor that did nothing else.
const CREATE: Duration = Duration::from_secs(180);

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Xen;

impl Plugin for Xen {
    fn name(&self) -> &'static str {
        "xen"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Hypervisor for Xen {
    fn traits(&self) -> HypervisorTraits {
        HypervisorTraits {
            guests: true,
            nics: &["netfront"],
            toolstacks: &["xl", "xm"],
            schedulers: &["credit", "credit2"],
            weighted: &["credit"],
            monitors: &["xentop"],
            // 1 GiB of dom0 was too little for eight guests' kernels and archives.
            host_memory: ByteSize::new(1536 << 20),
            guests_are_processes: false,
            nested: false,
        }
    }

    fn needs(&self, machine: &Machine) -> MachineNeeds {
        MachineNeeds {
            own_line: command_line(machine),
            ..MachineNeeds::default()
        }
    }

    async fn look(&self, host: &Node, machine: &Machine) -> Result<HostSeen, PluginError> {
        let step = "look at Xen";
        let toolstack = Toolstack::of(host, machine)?;
        let info = toolstack.info(host, step).await?;
        Ok(HostSeen {
            version: Some(format!("Xen {}", info.version)),
            scheduler: Some(info.scheduler),
            cpus: info.cpus,
            memory: info.memory,
            guests: toolstack.guests(host, step).await?,
        })
    }

    /// dom0's weight, where the plan says one.
    async fn settings(
        &self,
        host: &Node,
        machine: &Machine,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        if machine.dom0_weight.is_none() {
            return Ok(BTreeMap::new());
        }
        let weight = Toolstack::of(host, machine)?.dom0_weight(host).await?;
        Ok(BTreeMap::from([(WEIGHT.to_owned(), weight.to_string())]))
    }

    async fn put_back(
        &self,
        host: &Node,
        machine: &Machine,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), PluginError> {
        let Some(weight) = settings.get(WEIGHT) else {
            return Ok(());
        };
        let step = "put dom0's weight back";
        let weight = weight.parse().map_err(|_| {
            let message = format!("`{weight}` is no weight: 1 to 65535");
            PluginError::new(step, host.name.as_str(), message)
        })?;
        let toolstack = Toolstack::of(host, machine)?;
        toolstack.set_dom0_weight(host, weight).await
    }

    /// Xen 4.2 made xl the default toolstack, and 4.12 credit2 the default scheduler (its release notes).
    fn own_defaults(&self, version: &str) -> Vec<(&'static str, &'static str)> {
        let newer = |than: [u32; 2]| super::version::numbers(version) >= Some(than);
        vec![
            (
                "scheduler",
                if newer([4, 12]) { "credit2" } else { "credit" },
            ),
            ("toolstack", if newer([4, 2]) { "xl" } else { "xm" }),
        ]
    }

    /// `machine.version` is the hypervisor's, such as `4.17`. Xen's own command line chooses the
    /// scheduler (`sched=credit`): here it is only looked at.
    async fn prepare(
        &self,
        host: &Node,
        host_nics: &[vexp_api::ids::Interface],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let toolstack = Toolstack::of(host, machine)?;
        let mut facts = network::bridge_nics(host, host_nics).await?;
        facts.insert("kernel".to_owned(), linux::kernel(host).await?);

        facts.extend(planned_hypervisor(host, toolstack, machine).await?);
        if let Some(weight) = machine.dom0_weight {
            let scheduler = facts.get(SCHEDULER).map_or("", String::as_str);
            if scheduler != "credit" {
                let message =
                    format!("dom0 can't be given a weight under the scheduler {scheduler}");
                let node = host.name.as_str();
                return Err(PluginError::new("set dom0's weight", node, message));
            }
            toolstack.set_dom0_weight(host, weight).await?;
        }
        facts.extend(planned_weight(host, toolstack, machine, &facts).await?);
        Ok(facts)
    }

    async fn verify(
        &self,
        host: &Node,
        guests: &[Name],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let toolstack = Toolstack::of(host, machine)?;
        let mut facts = planned_hypervisor(host, toolstack, machine).await?;
        facts.extend(planned_weight(host, toolstack, machine, &facts).await?);
        let step = "check guests";
        let running = toolstack.guests(host, step).await?;
        let names = files::exactly(host, guests, running, step)?;
        facts.insert("guests".to_owned(), names);
        Ok(facts)
    }

    fn adopt(
        &self,
        host: &Node,
        guest: &GuestSlot,
        machine: &Machine,
    ) -> Result<Box<dyn Guest>, PluginError> {
        Ok(Box::new(Domain::of(
            host,
            guest,
            Toolstack::of(host, machine)?,
        )))
    }

    async fn boot(
        &self,
        host: &Node,
        guest: &GuestSlot,
        machine: &Machine,
        _: &Context,
    ) -> Result<Box<dyn Guest>, PluginError> {
        let step = format!("boot guest {}", guest.node.name);
        let toolstack = Toolstack::of(host, machine)?;
        let shape = machine.guest.ok_or_else(|| {
            PluginError::new(&step, host.name.as_str(), "the plan has no guest shape")
        })?;
        let nics = mac::nics(guest, &step)?;
        let ramdisk = files::initramfs(host, guest, &step).await?;
        let folder = files::folder(guest);
        let path = format!("{folder}/config");
        let scripts = toolstack.scripts(host, &step).await?;
        let config = toolstack.config(
            &guest.node.name,
            &guest.files,
            shape,
            &ramdisk,
            &nics,
            scripts,
        );
        host.shell
            .put(&path, config.into_bytes())
            .await
            .map_err(|error| PluginError::shell(&step, &host.name, error))?;
        let create = Cmd::new(toolstack.program()).args(["create", &path]);
        files::run(host, &step, create.deadline(CREATE)).await?;
        Ok(Box::new(Domain::of(host, guest, toolstack)))
    }
}

/// The fact that names Xen's scheduler.
const SCHEDULER: &str = "xen_scheduler";
/// What is put back on a host, and a fact of one: dom0's weight.
const WEIGHT: &str = "dom0_weight";
/// Most memory for dom0 of a machine that is made: what eight guests' back ends and toolstack were seen to need.
const DOM0_MIB: u64 = 1536;
/// Xen's own heap, page tables and frame table.
const XEN_MIB: u64 = 192;

/// Version and scheduler, which must be those of the plan.
async fn planned_hypervisor(
    host: &Node,
    toolstack: Toolstack,
    machine: &Machine,
) -> Result<BTreeMap<String, String>, PluginError> {
    let step = "check version and scheduler";
    let seen = toolstack.info(host, step).await?;
    let wrong = |message: String| Err(PluginError::new(step, host.name.as_str(), message));
    if !version::is(&machine.version, &seen.version) {
        let (asked, seen) = (&machine.version, &seen.version);
        return wrong(format!("Xen {seen} runs, but the plan says {asked}"));
    }
    if let Some(asked) = machine
        .scheduler
        .as_ref()
        .filter(|name| **name != *seen.scheduler)
    {
        let seen = &seen.scheduler;
        return wrong(format!(
            "Xen's scheduler is {seen}, but the plan says {asked}: boot it with sched={asked}"
        ));
    }
    Ok([
        ("xen_version", seen.version),
        (SCHEDULER, seen.scheduler),
        ("toolstack", toolstack.program().to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into())
}

/// dom0's weight, where the scheduler has one; it must be the plan's.
async fn planned_weight(
    host: &Node,
    toolstack: Toolstack,
    machine: &Machine,
    facts: &BTreeMap<String, String>,
) -> Result<Option<(String, String)>, PluginError> {
    if facts.get(SCHEDULER).is_none_or(|seen| seen != "credit") {
        return Ok(None);
    }
    let weight = toolstack.dom0_weight(host).await?;
    if let Some(asked) = machine.dom0_weight.filter(|w| u32::from(*w) != weight) {
        let message = format!("dom0's weight is {weight}, but the plan says {asked}");
        let node = host.name.as_str();
        return Err(PluginError::new("check dom0's weight", node, message));
    }
    Ok(Some((WEIGHT.to_owned(), weight.to_string())))
}

/// Xen's command line on a machine that is made: what memory is not the guests' and Xen's own is dom0's.
fn command_line(machine: &Machine) -> String {
    let guests = machine.guest.map_or(0, |g| g.memory.mib()) * u64::from(machine.max_vms);
    let dom0 = machine
        .memory
        .mib()
        .saturating_sub(guests + XEN_MIB)
        .min(DOM0_MIB);
    let scheduler = machine
        .scheduler
        .as_ref()
        .map(|name| format!(" sched={name}"))
        .unwrap_or_default();
    format!("console=com1 com1=115200 noreboot dom0_mem={dom0}M,max:{dom0}M{scheduler}")
}

/// A domain that was created.
struct Domain {
    host: Node,
    toolstack: Toolstack,
    name: Name,
    ssh: SshTarget,
    folder: String,
}

impl Domain {
    fn of(host: &Node, guest: &GuestSlot, toolstack: Toolstack) -> Self {
        Self {
            host: host.clone(),
            toolstack,
            name: guest.node.name.clone(),
            ssh: guest.node.ssh.clone(),
            folder: files::folder(guest),
        }
    }
}

#[async_trait]
impl Guest for Domain {
    fn ssh(&self) -> &SshTarget {
        &self.ssh
    }

    /// Needs `xenconsoled --log=guest`, which the host image starts.
    async fn console(&self) -> String {
        let log = format!("/var/log/xen/console/guest-{}.log", self.name);
        files::console_tail(&self.host, &log).await
    }

    async fn stop(self: Box<Self>) -> Result<(), PluginError> {
        let step = format!("stop guest {}", self.name);
        let program = self.toolstack.program();
        let destroy = Cmd::new(program).args(["destroy", self.name.as_str()]);
        let destroyed = files::run(&self.host, &step, destroy.deadline(CREATE)).await;
        let gone = match destroyed {
            Ok(()) => Ok(()),
            Err(error) => {
                // A domain that has ended by itself can't be destroyed, and need not be.
                let list = Cmd::new(program).args(["list", self.name.as_str()]);
                match self.host.shell.run(list).await {
                    Ok(output) if output.status.is_some_and(|s| s != 0) => Ok(()),
                    _ => Err(error),
                }
            }
        };
        let removed = files::remove(&self.host, &self.folder, &step).await;
        gone.and(removed)
    }
}
