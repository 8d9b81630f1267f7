//! Command lines of QEMU and `ip` for a guest.

use std::fmt::Write as _;

use serde::Deserialize;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;
use vexp_api::site::GuestFiles;
use vexp_api::spec::GuestShape;

use super::super::files::KERNEL_PARAMETERS;
use super::super::mac::Mac;

const QEMU: &str = "qemu-system-x86_64";
/// The PC without an HPET: guests keep time by kvm-clock and take their ticks from the local APIC,
/// so that an HPET, which QEMU emulates outside the kernel, would only delay their start.
const MACHINE: &str = "pc,hpet=off";
/// Keeps a guest from looking for AGP bridges on all 256 buses, which Linux does twice on AMD's
/// processors: of 38 000 port accesses of a boot, each an exit to QEMU, it leaves 5 000.
const NO_EARLY_SCAN: &str = "pci=noearly";

/// Model of a guest's data NICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NicModel {
    /// Paravirtual.
    Virtio,
    /// Fully virtualized: an Intel 82540EM.
    E1000,
}

impl NicModel {
    /// The one that the plan says; `virtio` if it says none.
    pub(super) fn of(host: &Node, machine: &Machine) -> Result<Self, PluginError> {
        match machine.nic.as_ref().map(Name::as_str) {
            None | Some("virtio") => Ok(Self::Virtio),
            Some("e1000") => Ok(Self::E1000),
            Some(other) => Err(PluginError::new(
                "choose the NIC model",
                host.name.as_str(),
                format!(
                    "`{other}` is not a NIC model of KVM guests here: expected virtio or e1000"
                ),
            )),
        }
    }

    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::E1000 => "e1000",
        }
    }
}

/// The tap of a NIC.
pub(super) fn tap(mac: &Mac) -> String {
    format!("tap-{}", mac.short())
}

/// Input of `ip -batch`: makes the taps and joins them to their bridges.
pub(super) fn join_taps(nics: &[(Mac, &str)]) -> String {
    let mut text = String::new();
    for (mac, bridge) in nics {
        let tap = tap(mac);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "tuntap add dev {tap} mode tap");
        // A bridge takes the lowest address of its ports for its own unless told otherwise. The
        // host's address must not change when a guest comes, nor when it goes.
        let address = mac.high();
        let _ = writeln!(
            text,
            "link set dev {tap} address {address} master {bridge} up"
        );
    }
    text
}

/// Input of `ip -batch`: deletes the taps.
pub(super) fn delete_taps(taps: &[String]) -> String {
    taps.iter()
        .map(|tap| format!("link delete dev {tap}\n"))
        .collect()
}

/// Starts a guest in the background.
pub(super) fn qemu(
    name: &Name,
    files: &GuestFiles,
    shape: GuestShape,
    model: NicModel,
    folder: &str,
    ramdisk: &str,
    nics: &[(Mac, &str)],
) -> Cmd {
    let mut cmd = Cmd::new(QEMU)
        .args([
            "-name",
            name.as_str(),
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-machine",
            MACHINE,
        ])
        .args([
            "-smp",
            &shape.vcpus.to_string(),
            "-m",
            &format!("{}M", shape.memory.mib()),
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-kernel", files.kernel.as_str(), "-initrd", ramdisk])
        .args([
            "-append",
            &format!("console=ttyS0 {KERNEL_PARAMETERS} {NO_EARLY_SCAN}"),
        ])
        .args([
            "-drive",
            &format!("if=none,id=root,file={},format=raw,readonly=on", files.root),
        ])
        .args(["-device", "virtio-blk-pci,drive=root"])
        .args(["-serial", &format!("file:{folder}/console")])
        .args(["-qmp", &format!("unix:{folder}/qmp,server=on,wait=off")]);
    for (index, (mac, _)) in nics.iter().enumerate() {
        // The control path is the testbed's affair: the cheapest model serves it best.
        let device = if index == 0 { NicModel::Virtio } else { model }.device();
        let tap = tap(mac);
        // The option ROM costs seconds at boot and is of no use to a kernel booted directly.
        cmd = cmd
            .args([
                "-netdev",
                &format!("tap,id=nic{index},ifname={tap},script=no,downscript=no"),
            ])
            .args([
                "-device",
                &format!("{device},netdev=nic{index},mac={},romfile=", mac.as_str()),
            ]);
    }
    cmd.args(["-daemonize", "-pidfile", &format!("{folder}/pid")])
}

/// Lists the guests that run: a line each, process and command line. The name of a process has at
/// most 15 characters.
pub(super) fn list() -> Cmd {
    Cmd::new("pgrep").args(["-a", "-x", "qemu-system-x86"])
}

/// Names of the guests in what [`list`] prints.
pub(super) fn parse_list(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip_while(|w| *w != "-name");
        words.nth(1).map(str::to_owned)
    };
    // One without a name is none of ours, and shows as such.
    text.lines()
        .map(|line| name(line).unwrap_or_else(|| "(a QEMU without a name)".to_owned()))
        .collect()
}

/// Creates a virtual machine without processors under KVM and asks QEMU about it.
pub(super) fn probe() -> Cmd {
    Cmd::new(QEMU)
        .args([
            "-accel",
            "kvm",
            "-machine",
            "none",
            "-nodefaults",
            "-no-user-config",
        ])
        .args(["-display", "none", "-qmp", "stdio"])
        .stdin(
            "{\"execute\":\"qmp_capabilities\"}\n\
             {\"execute\":\"query-kvm\"}\n\
             {\"execute\":\"quit\"}\n",
        )
}

#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    #[serde(rename = "return")]
    answer: Option<Answer>,
}

#[derive(Deserialize)]
struct Greeting {
    version: Versions,
}

#[derive(Deserialize)]
struct Versions {
    qemu: QemuVersion,
}

#[derive(Deserialize)]
struct QemuVersion {
    major: u32,
    minor: u32,
    micro: u32,
}

#[derive(Deserialize)]
struct Answer {
    enabled: Option<bool>,
}

/// QEMU's version, if it says that KVM is used.
pub(super) fn parse_probe(text: &str) -> Result<String, &'static str> {
    let mut version = None;
    let mut enabled = false;
    for line in text.lines() {
        let Ok(reply) = serde_json::from_str::<Reply>(line) else {
            continue;
        };
        if let Some(Greeting {
            version: Versions { qemu },
        }) = reply.greeting
        {
            version = Some(format!("{}.{}.{}", qemu.major, qemu.minor, qemu.micro));
        }
        enabled |= reply.answer.and_then(|answer| answer.enabled) == Some(true);
    }
    let version = version.ok_or("QEMU did not answer on its monitor")?;
    enabled
        .then_some(version)
        .ok_or("QEMU runs without KVM: is /dev/kvm there, and virtualization switched on?")
}
