//! A `vexp` with a hypervisor of one's own: Firecracker, whose guests are processes that read a file.
//!
//! The crates `vexp-api` and `vexp-plugin-kit` have all that it needs; the binary needs `vexp` as well:
//!
//! ```text
//! cargo run --example own_hypervisor -- check engine/cli/tests/data/own_hypervisor.ncl
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use vexp_api::ids::{Interface, Name, RemotePath};
use vexp_api::plan::Machine;
use vexp_api::plugin::{
    Context, Guest, HostSeen, Hypervisor, HypervisorTraits, MachineNeeds, Node, Plugin, PluginError,
};
use vexp_api::shell::Cmd;
use vexp_api::site::{GuestSlot, SshTarget};
use vexp_api::units::ByteSize;
use vexp_plugin_kit::host::mac::{self, Mac};
use vexp_plugin_kit::host::{files, network, version};
use vexp_plugin_kit::options;

const FIRECRACKER: &str = "/usr/bin/firecracker";

/// The plugin.
pub(crate) struct Firecracker;

/// A platform's `options`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// An uncompressed kernel on the host: Firecracker boots no other.
    kernel: RemotePath,
}

impl Options {
    fn of(host: &Node, machine: &Machine) -> Result<Self, PluginError> {
        options::read(&machine.options).map_err(|error| PluginError {
            source: Some(Box::new(error)),
            ..PluginError::new("read options", host.name.as_str(), "an option is wrong")
        })
    }
}

impl Plugin for Firecracker {
    fn name(&self) -> &'static str {
        "firecracker"
    }

    fn contract(&self) -> &'static str {
        "{ kernel | String }"
    }
}

#[async_trait]
impl Hypervisor for Firecracker {
    fn traits(&self) -> HypervisorTraits {
        HypervisorTraits {
            guests: true,
            nics: &["virtio"],
            toolstacks: &[],
            schedulers: &[],
            weighted: &[],
            monitors: &["uptime", "pidstat"],
            host_memory: ByteSize::new(256 << 20),
            guests_are_processes: true,
            nested: true,
        }
    }

    /// A machine that is emulated for it gets virtualization extensions, and its kernel coarse timers, as for KVM.
    fn needs(&self, _: &Machine) -> MachineNeeds {
        MachineNeeds {
            nested: true,
            emulated_kernel: "nohz=off highres=off kvm.halt_poll_ns=0".to_owned(),
            own_line: String::new(),
        }
    }

    /// On a machine of your own: what runs there before a run.
    async fn look(&self, host: &Node, _: &Machine) -> Result<HostSeen, PluginError> {
        Ok(HostSeen {
            version: Some(format!("Firecracker {}", installed(host).await?)),
            guests: running(host).await?,
            ..HostSeen::default()
        })
    }

    async fn prepare(
        &self,
        host: &Node,
        host_nics: &[Interface],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        Options::of(host, machine)?;
        let seen = planned(host, machine).await?;
        let mut facts = network::bridge_nics(host, host_nics).await?;
        facts.insert("firecracker".to_owned(), seen);
        Ok(facts)
    }

    async fn verify(
        &self,
        host: &Node,
        guests: &[Name],
        machine: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        let seen = planned(host, machine).await?;
        let names = files::exactly(host, guests, running(host).await?, "check guests")?;
        let facts = [("firecracker", seen), ("guests", names)];
        Ok(facts.map(|(key, value)| (key.to_owned(), value)).into())
    }

    fn adopt(
        &self,
        host: &Node,
        guest: &GuestSlot,
        _: &Machine,
    ) -> Result<Box<dyn Guest>, PluginError> {
        let step = format!("take over guest {}", guest.node.name);
        Ok(Box::new(MicroVm::of(
            host,
            guest,
            &mac::nics(guest, &step)?,
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
        let Options { kernel } = Options::of(host, machine)?;
        let shape = machine.guest.ok_or_else(|| {
            PluginError::new(&step, host.name.as_str(), "the plan has no guest shape")
        })?;
        let nics = mac::nics(guest, &step)?;
        let initramfs = files::initramfs(host, guest, &step).await?;
        let vm = MicroVm::of(host, guest, &nics);
        let interfaces = nics.iter().zip(&vm.taps).enumerate();
        let interfaces: Vec<_> = interfaces
            .map(|(n, ((mac, _), tap))| {
                json!({"iface_id": format!("eth{n}"), "guest_mac": mac.as_str(), "host_dev_name": tap})
            })
            .collect();
        let config = json!({
            "boot-source": {
                "kernel_image_path": kernel.as_str(),
                "initrd_path": initramfs,
                "boot_args": format!("console=ttyS0 {}", files::KERNEL_PARAMETERS),
            },
            "drives": [{
                "drive_id": "root", "path_on_host": guest.files.root.as_str(),
                "is_root_device": false, "is_read_only": true,
            }],
            "machine-config": {"vcpu_count": shape.vcpus, "mem_size_mib": shape.memory.mib()},
            "network-interfaces": interfaces,
        });
        let result = async {
            let ip = Cmd::new("ip").args(["-batch", "-"]).stdin(vm.join(&nics));
            files::run(host, &step, ip).await?;
            let path = vm.path("vm.json");
            let write = Cmd::new("dd").args([&format!("of={path}"), "status=none"]);
            files::run(host, &step, write.stdin(config.to_string())).await?;
            files::run(host, &step, vm.start(&path)).await
        };
        match result.await {
            Ok(()) => Ok(Box::new(vm)),
            Err(error) => {
                // Without these the next attempt would fail on taps that exist. The first error is the one to tell.
                drop(vm.clean(&step).await);
                Err(error)
            }
        }
    }
}

/// What `firecracker --version` says, without its name: `1.7.0`.
async fn installed(host: &Node) -> Result<String, PluginError> {
    let step = "check version";
    let said = host
        .shell
        .check(Cmd::new(FIRECRACKER).arg("--version"))
        .await;
    let said = said.map_err(|error| PluginError::shell(step, &host.name, error))?;
    let text = said.text();
    let version = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("Firecracker v"));
    version.map(str::to_owned).ok_or_else(|| {
        let what = format!("`{}` is no version", text.trim().escape_debug());
        PluginError::new(step, host.name.as_str(), what)
    })
}

/// The same, which must be the one that the plan says.
async fn planned(host: &Node, machine: &Machine) -> Result<String, PluginError> {
    let seen = installed(host).await?;
    if version::is(&machine.version, &seen) {
        return Ok(seen);
    }
    let what = format!(
        "Firecracker {seen} is there, but the plan says {}",
        machine.version
    );
    Err(PluginError::new("check version", host.name.as_str(), what))
}

/// Names of the guests that run.
async fn running(host: &Node) -> Result<Vec<String>, PluginError> {
    let list = Cmd::new("pgrep").args(["-a", "-x", "firecracker"]);
    let said = host.shell.run(list).await;
    let said = said.map_err(|error| PluginError::shell("list guests", &host.name, error))?;
    let name = |line: &str| {
        let mut words = line
            .split_ascii_whitespace()
            .skip_while(|word| *word != "--id");
        words.nth(1).unwrap_or("(one without --id)").to_owned()
    };
    Ok(said.text().lines().map(name).collect())
}

/// A guest: its process, its folder on the host, its taps.
struct MicroVm {
    host: Node,
    name: Name,
    ssh: SshTarget,
    folder: String,
    taps: Vec<String>,
}

impl MicroVm {
    fn of(host: &Node, guest: &GuestSlot, nics: &[(Mac, &str)]) -> Self {
        Self {
            host: host.clone(),
            name: guest.node.name.clone(),
            ssh: guest.node.ssh.clone(),
            folder: files::folder(guest),
            taps: nics
                .iter()
                .map(|(mac, _)| format!("tap-{}", mac.short()))
                .collect(),
        }
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    /// Input of `ip -batch`: makes the taps and joins them to their bridges.
    fn join(&self, nics: &[(Mac, &str)]) -> String {
        let lines = nics.iter().zip(&self.taps).map(|((mac, bridge), tap)| {
            let address = mac.high();
            format!(
                "tuntap add dev {tap} mode tap\n\
                 link set dev {tap} address {address} master {bridge} up\n"
            )
        });
        lines.collect()
    }

    /// Firecracker stays in the foreground and prints the guest's console.
    fn start(&self, config: &str) -> Cmd {
        Cmd::new("start-stop-daemon")
            .args(["--start", "--background", "--make-pidfile"])
            .args([
                "--pidfile",
                &self.path("pid"),
                "--output",
                &self.path("console"),
            ])
            .args(["--exec", FIRECRACKER, "--", "--id", self.name.as_str()])
            .args(["--no-api", "--config-file", config])
            .deadline(Duration::from_secs(60))
    }

    async fn clean(&self, step: &str) -> Result<(), PluginError> {
        let batch: String = self
            .taps
            .iter()
            .map(|tap| format!("link delete dev {tap}\n"))
            .collect();
        let ip = Cmd::new("ip").args(["-force", "-batch", "-"]).stdin(batch);
        let taps = files::run(&self.host, step, ip).await;
        taps.and(files::remove(&self.host, &self.folder, step).await)
    }
}

#[async_trait]
impl Guest for MicroVm {
    fn ssh(&self) -> &SshTarget {
        &self.ssh
    }

    async fn console(&self) -> String {
        files::console_tail(&self.host, &self.path("console")).await
    }

    async fn stop(self: Box<Self>) -> Result<(), PluginError> {
        let step = format!("stop guest {}", self.name);
        let stop = Cmd::new("start-stop-daemon")
            .args(["--stop", "--oknodo", "--retry", "TERM/10/KILL/5"])
            .args(["--pidfile", &self.path("pid"), "--exec", FIRECRACKER])
            .deadline(Duration::from_secs(30));
        let ended = files::run(&self.host, &step, stop).await;
        ended.and(self.clean(&step).await)
    }
}

#[allow(dead_code, reason = "its test has the plugin alone")]
fn main() -> ExitCode {
    vexp::run(vexp::registry().hypervisor(Firecracker))
}
