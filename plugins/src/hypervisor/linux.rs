//! Classical Linux: the machine itself is the end host, there are no guests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Context, Guest, Hypervisor, HypervisorTraits, Node, Plugin, PluginError};
use vexp_api::shell::Cmd;
use vexp_api::site::GuestSlot;
use vexp_api::units::ByteSize;

use super::{network, version};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Linux;

impl Plugin for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Hypervisor for Linux {
    fn traits(&self) -> HypervisorTraits {
        HypervisorTraits {
            guests: false,
            nics: &[],
            toolstacks: &[],
            schedulers: &[],
            weighted: &[],
            monitors: &[],
            host_memory: ByteSize::new(256 << 20),
        }
    }

    /// `machine.version` is a kernel's, such as `6.12`.
    async fn prepare(
        &self,
        host: &Node,
        host_nics: &[Name],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let kernel = kernel(host).await?;
        if !version::is(&machine.version, &kernel) {
            return Err(PluginError::new(
                "check version",
                host.name.as_str(),
                format!(
                    "kernel {kernel} runs, but the plan says {}",
                    machine.version
                ),
            ));
        }
        let mut facts = network::address_host(host, host_nics).await?;
        facts.insert("kernel".to_owned(), kernel);
        Ok(facts)
    }

    async fn boot(
        &self,
        host: &Node,
        guest: &GuestSlot,
        _: &Machine,
        _: &Context,
    ) -> Result<Box<dyn Guest>, PluginError> {
        Err(PluginError::new(
            format!("boot guest {}", guest.node.name),
            host.name.as_str(),
            "classical Linux has no guests",
        ))
    }
}

/// The kernel's release, as `uname -r` prints it.
pub(super) async fn kernel(host: &Node) -> Result<String, PluginError> {
    let output = host.shell.check(Cmd::new("uname").arg("-r")).await;
    let output = output.map_err(|e| PluginError::shell("ask for the kernel", &host.name, e))?;
    Ok(output.text().trim().to_owned())
}
