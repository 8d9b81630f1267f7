//! The command lines of a lockstep's emulators.

use std::path::Path;

use vexp_api::plan::Machine;
use vexp_api::plugin::{BootFiles, MachineNeeds};

use super::super::console;
use super::super::emulated::address::Who;
use super::super::emulated::nodes::data_networks;
use super::super::emulated::qemu::{self, KERNEL_LINE};

/// Names in a machine's folder. QEMU tells a multiboot kernel its own file's name and those of its modules: with names
/// in the working folder, a machine is the same wherever that is.
pub(super) const HYPERVISOR: &str = "hypervisor";
pub(super) const KERNEL: &str = "vmlinuz";
pub(super) const INITRAMFS: &str = "initramfs.img";
pub(super) const QMP: &str = "qmp.sock";
/// Memory of an emulator of peers.
pub(super) const PEERS_MIB: u64 = 512;
/// The machine's data NICs, as the lockstep names them.
pub(super) fn nic_id(net: u8) -> String {
    format!("data{net}")
}

/// The hub of the control NIC, and of a data NIC.
pub(super) const CONTROL_HUB: u32 = 0;
pub(super) fn hub(net: u8) -> u32 {
    1 + u32::from(net)
}

/// A block's machine with all peers that any block of it needs. They cost the machine nothing, and with them it is the
/// same for all of these blocks, so that one grows from another.
pub(super) fn with_all_peers(machine: &Machine) -> Machine {
    Machine {
        peers: machine.peers.max(machine.max_vms),
        ..machine.clone()
    }
}

/// The peers on a data network; they are numbered through all networks.
pub(super) fn peers_on(machine: &Machine, net: u8) -> impl Iterator<Item = Who> {
    let first = u32::from(net) * machine.peers;
    (first..first + machine.peers).map(Who::Peer)
}

/// What differs between a machine under test and an emulator of peers.
pub(super) struct Shape {
    processors: u32,
    memory_mib: u64,
    cpu: String,
    /// MAC address and hub of each NIC, control first; with the `id=` of data NICs.
    nics: Vec<(String, u32, String)>,
    /// What it boots.
    kernel: Vec<(&'static str, String)>,
}

impl Shape {
    /// The machine under test.
    pub(super) fn machine(machine: &Machine, needs: &MachineNeeds, boot: &BootFiles) -> Self {
        let mut nics = vec![(Who::Host.control_mac(), CONTROL_HUB, "ctl".to_owned())];
        nics.extend(data_networks(machine).map(|n| (Who::Host.mac(n), hub(n), nic_id(n))));
        let kernel = match &boot.hypervisor {
            Some(_) => {
                // A multiboot module and its command line; commas in either are doubled.
                let line = format!("console=hvc0 {KERNEL_LINE}").replace(',', ",,");
                vec![
                    ("-kernel", HYPERVISOR.to_owned()),
                    ("-initrd", format!("{KERNEL} {line},{INITRAMFS}")),
                    ("-append", needs.own_line.clone()),
                ]
            }
            None => linux(),
        };
        Self {
            processors: machine.cpus,
            memory_mib: machine.memory.mib(),
            cpu: qemu::cpu(needs, "tcg"),
            nics,
            kernel,
        }
    }

    /// The emulator of the peers on a data network, each with a NIC of its own.
    pub(super) fn peers(machine: &Machine, net: u8) -> Self {
        let mut nics = vec![(Who::Peers(net).control_mac(), CONTROL_HUB, "ctl".to_owned())];
        nics.extend(peers_on(machine, net).zip(0..).map(|(peer, n)| {
            let id = match machine.peers {
                1 => nic_id(net),
                _ => format!("{}-{n}", nic_id(net)),
            };
            (peer.mac(net), hub(net) + n, id)
        }));
        Self {
            processors: 1,
            memory_mib: PEERS_MIB,
            cpu: qemu::CPU.to_owned(),
            nics,
            kernel: linux(),
        }
    }

    /// QEMU's arguments, but for the plugin: all that the machine can see, the same in every folder.
    pub(super) fn args(&self, shift: u8) -> Vec<String> {
        let mut args: Vec<String> = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-monitor",
            "none",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
        add("-accel", "tcg,thread=single".to_owned());
        add("-icount", format!("shift={shift},sleep=off"));
        add("-rtc", "base=2026-01-01T00:00:00,clock=vm".to_owned());
        // QEMU hands Linux a random seed.
        add("-seed", "1".to_owned());
        add("-machine", "pc".to_owned());
        add("-cpu", self.cpu.clone());
        add("-smp", self.processors.to_string());
        add("-m", format!("{}M", self.memory_mib));
        for (mac, hub, id) in &self.nics {
            add("-netdev", format!("hubport,id=n{hub},hubid={hub}"));
            add(
                "-device",
                format!("e1000,id={id},netdev=n{hub},mac={mac},romfile="),
            );
        }
        for (name, value) in &self.kernel {
            add(name, value.clone());
        }
        args
    }
}

/// A Linux kernel with its command line.
fn linux() -> Vec<(&'static str, String)> {
    vec![
        ("-kernel", KERNEL.to_owned()),
        ("-initrd", INITRAMFS.to_owned()),
        ("-append", format!("console=ttyS0 {KERNEL_LINE}")),
    ]
}

/// QEMU's own filter of system calls, for an emulator that runs as the user: none that gives more rights, changes
/// other processes or starts a further program.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Where the machine's console goes, where QEMU takes commands, and what it may not do: of no concern to the machine.
pub(super) fn outside(console: &Path) -> Vec<String> {
    let qmp = format!("unix:{QMP},server=on,wait=off");
    let own = ["-qmp", &qmp, "-sandbox", SANDBOX].map(str::to_owned);
    [console::arguments(console), own].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::testing::needs;

    fn machine(hypervisor: &str) -> Machine {
        serde_json::from_value(serde_json::json!({
            "platform": "p", "hardware": "h", "cpus": 1, "memory": "4GiB",
            "nics": [{"model": "e1000", "rate": "1Gb/s"}, {"model": "e1000", "rate": "1Gb/s"}],
            "image": "i", "guest_image": "guest", "hypervisor": hypervisor, "version": "4.20",
            "toolstack": null, "scheduler": "credit", "dom0_weight": 256, "nic": null,
            "guest": {"vcpus": 1, "memory": "256MiB"}, "max_vms": 2, "peers": 2, "options": {}
        }))
        .unwrap()
    }

    #[test]
    fn an_emulator_starts_no_program_and_its_console_is_no_part_of_the_machine() {
        let outside = outside(Path::new("/run, 1/console.log")).join(" ");
        for part in ["-sandbox on,", "spawn=deny", "elevateprivileges=deny"] {
            assert!(outside.contains(part), "{outside}");
        }
        assert!(
            outside.contains("append=on,path=/run,, 1/console.log"),
            "{outside}"
        );
    }

    #[test]
    fn a_machine_does_not_know_where_its_files_are() {
        for (hypervisor, xen) in [("xen", Some("/store/xen".into())), ("linux", None)] {
            let boot = BootFiles {
                kernel: "/store/vmlinuz".into(),
                initramfs: "/store/initramfs.img".into(),
                hypervisor: xen,
            };
            let machine = machine(hypervisor);
            let args = Shape::machine(&machine, &needs(&machine), &boot)
                .args(0)
                .join(" ");
            assert!(!args.contains("/store"), "{args}");
            assert!(args.contains("-icount shift=0,sleep=off"), "{args}");
            assert_eq!(args.matches("e1000,id=data").count(), 2, "{args}");
            assert_eq!(args.contains("sched=credit"), hypervisor == "xen", "{args}");
        }
        let mut machine = machine("linux");
        let two = Shape::peers(&machine, 1).args(0).join(" ");
        machine.peers = 1;
        let one = Shape::peers(&machine, 1).args(0).join(" ");
        assert!(
            one.contains("e1000,id=data1,netdev=n2,mac=52:54:00:00:01:65"),
            "{one}"
        );
        assert!(
            two.contains("e1000,id=data1-0,netdev=n2,mac=52:54:00:00:01:66"),
            "{two}"
        );
        assert!(
            two.contains("e1000,id=data1-1,netdev=n3,mac=52:54:00:00:01:67"),
            "{two}"
        );
    }
}
