//! Classical Linux: the machine itself is the end host, there are no guests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{
    Context, Guest, HostSeen, Hypervisor, HypervisorTraits, Node, Plugin, PluginError,
};
use vexp_api::shell::Cmd;
use vexp_api::site::GuestSlot;
use vexp_api::units::ByteSize;

use super::{network, version};

const NO_GUESTS: &str = "classical Linux has no guests";

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
            monitors: &["sar", "uptime"],
            host_memory: ByteSize::new(256 << 20),
            guests_are_processes: false,
            nested: false,
        }
    }

    async fn look(&self, host: &Node, _: &Machine) -> Result<HostSeen, PluginError> {
        look(host).await
    }

    /// `machine.version` is a kernel's, such as `6.12`.
    async fn prepare(
        &self,
        host: &Node,
        host_nics: &[vexp_api::ids::Interface],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let kernel = planned_kernel(host, machine).await?;
        let mut facts = network::address_host(host, host_nics).await?;
        facts.insert("kernel".to_owned(), kernel);
        Ok(facts)
    }

    async fn verify(
        &self,
        host: &Node,
        _: &[Name],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let kernel = planned_kernel(host, machine).await?;
        Ok(BTreeMap::from([("kernel".to_owned(), kernel)]))
    }

    fn adopt(
        &self,
        host: &Node,
        guest: &GuestSlot,
        _: &Machine,
    ) -> Result<Box<dyn Guest>, PluginError> {
        Err(PluginError::new(
            format!("take over guest {}", guest.node.name),
            host.name.as_str(),
            NO_GUESTS,
        ))
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
            NO_GUESTS,
        ))
    }
}

/// What runs beside what a study asks for: guests of KVM.
pub(super) async fn look(host: &Node) -> Result<HostSeen, PluginError> {
    Ok(HostSeen {
        guests: super::kvm::running(host).await?,
        ..HostSeen::default()
    })
}

/// The kernel's release, which must be the one that the plan says.
pub(super) async fn planned_kernel(host: &Node, machine: &Machine) -> Result<String, PluginError> {
    let kernel = kernel(host).await?;
    if version::is(&machine.version, &kernel) {
        return Ok(kernel);
    }
    let asked = &machine.version;
    Err(PluginError::new(
        "check version",
        host.name.as_str(),
        format!("kernel {kernel} runs, but the plan says {asked}"),
    ))
}

/// The kernel's release, as `uname -r` prints it.
pub(super) async fn kernel(host: &Node) -> Result<String, PluginError> {
    let output = host.shell.check(Cmd::new("uname").arg("-r")).await;
    let output = output.map_err(|e| PluginError::shell("ask for the kernel", &host.name, e))?;
    Ok(output.text().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::testing::{self, machine};

    const PREPARE: &str = include_str!("../../testdata/transcripts/linux-prepare.txt");

    async fn prepare(transcript: &str, version: &str) -> Result<BTreeMap<String, String>, String> {
        testing::prepare(&Linux, transcript, &machine("linux", version)).await
    }

    #[tokio::test]
    async fn prepare_gives_the_nic_its_address_and_reads_it_back() {
        let facts = prepare(PREPARE, "6.12").await.unwrap();
        assert_eq!(facts["data_nic.0"], "data0 198.18.0.1/24");
        assert_eq!(facts["kernel"], "6.12.107+deb13-amd64");
    }

    #[tokio::test]
    async fn prepare_changes_nothing_that_is_right() {
        let after = PREPARE.rsplit_once("$ ip -json address show\n").unwrap().1;
        let right = format!("$ uname -r\n6.12.107+deb13-amd64\n$ ip -json address show\n{after}");
        prepare(&right, "6.12").await.unwrap();
    }

    #[tokio::test]
    async fn prepare_fails_where_the_plan_is_not_met() {
        let error = prepare(PREPARE, "6.1").await.unwrap_err();
        assert!(
            error.contains("6.12.107+deb13-amd64 runs, but the plan says 6.1"),
            "{error}"
        );
        let error = prepare(&PREPARE.replace("\"data0\"", "\"eth9\""), "6.12")
            .await
            .unwrap_err();
        assert!(
            error.contains("no interface data0; there are lo, ctl0, eth9"),
            "{error}"
        );
        let lost = PREPARE.replace("198.18.0.1\"", "198.18.0.9\"");
        let error = prepare(&lost, "6.12").await.unwrap_err();
        assert!(error.contains("not up with 198.18.0.1/24"), "{error}");
        let garbled = PREPARE.replace("[{", "{");
        assert!(
            prepare(&garbled, "6.12")
                .await
                .unwrap_err()
                .contains("can't read")
        );
    }
}
