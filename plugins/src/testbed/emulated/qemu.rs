//! The machine under test, under QEMU.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use vexp_api::plan::Machine;
use vexp_api::plugin::{BootFiles, ImageFiles, MachineNeeds};

use super::super::console;
use super::address::Who;
use super::emulator::Emulator;
use super::network::{CONTROL_TAP, data_tap};
use super::run::LabError;

/// Emulated processor. `max` corrupts SSE and AVX state of Xen's PV guests under TCG, which shows
/// as broken SSH packets and aborts in malloc; this one has no AVX.
pub(in crate::testbed) const CPU: &str = "Opteron_G3";
/// In the lab's folder: where QEMU takes commands.
pub(in crate::testbed) const SOCKET: &str = "qmp.sock";
/// In the lab's folder: links to what is booted.
const HYPERVISOR: &str = "hypervisor";
const KERNEL: &str = "vmlinuz";

/// A machine that is to be started.
#[derive(Clone, Copy)]
pub(in crate::testbed) struct Start<'a> {
    pub(in crate::testbed) machine: &'a Machine,
    /// What its hypervisor asks of it.
    pub(in crate::testbed) needs: &'a MachineNeeds,
    pub(in crate::testbed) image: &'a ImageFiles,
    /// What the machine boots from.
    pub(in crate::testbed) boot: &'a BootFiles,
    pub(in crate::testbed) guest_image: &'a ImageFiles,
    /// Seed to append to the initramfs.
    pub(in crate::testbed) seed: &'a [u8],
    /// The lab's folder.
    pub(in crate::testbed) lab: &'a Path,
    /// Where the serial console and QEMU's words are kept.
    pub(in crate::testbed) logs: &'a Path,
    /// `kvm` or `tcg`.
    pub(in crate::testbed) accelerator: &'a str,
}

impl<'a> Start<'a> {
    /// A machine in the lab of this process, without a seed.
    pub(in crate::testbed) fn new(
        (machine, needs): (&'a Machine, &'a MachineNeeds),
        [image, guest_image]: [&'a ImageFiles; 2],
        logs: &'a Path,
        accelerator: &'a str,
    ) -> Result<Self, LabError> {
        let boot = (image.boot.as_ref())
            .ok_or_else(|| LabError::new("start QEMU", "the machine's image has no kernel"))?;
        Ok(Self {
            machine,
            needs,
            image,
            boot,
            guest_image,
            seed: &[],
            lab: Path::new(super::lab::LAB),
            logs,
            accelerator,
        })
    }

    /// QEMU's arguments, the same wherever its logs are kept: what a kept machine is found by.
    pub(in crate::testbed) fn key(&self) -> Vec<String> {
        let logs = Path::new("/");
        Self { logs, ..*self }.args()
    }

    /// Where the serial console goes.
    pub(in crate::testbed) fn console(&self) -> PathBuf {
        self.logs.join("console.log")
    }

    /// Where QEMU's words go.
    pub(in crate::testbed) fn log(&self) -> PathBuf {
        self.logs.join("qemu.log")
    }

    /// Where QEMU takes commands.
    pub(in crate::testbed) fn socket(&self) -> PathBuf {
        self.lab.join(SOCKET)
    }

    /// Starts QEMU: the machine boots, or waits for what it is to be restored from. Its console's file is
    /// there already.
    pub(super) fn spawn(&self, emulator: &Emulator, restored: bool) -> Result<Child, LabError> {
        const STEP: &str = "start QEMU";
        self.seed_initramfs().map_err(LabError::io(STEP))?;
        self.link_boot_files().map_err(LabError::io(STEP))?;
        let log = File::create(self.log()).map_err(LabError::io(STEP))?;
        let wait: &[&str] = match restored {
            true => &["-incoming", "defer"],
            false => &[],
        };
        emulator
            .command()
            .args(self.args())
            .args(console::arguments(&self.console()))
            .args(wait)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(LabError::io(STEP))
    }

    /// Links to what is booted, in the lab's folder. QEMU tells a multiboot kernel its own file's name and
    /// those of its modules: by links, a machine is the same wherever the images are stored.
    fn link_boot_files(&self) -> std::io::Result<()> {
        let hypervisor = self.boot.hypervisor.iter().map(|xen| (xen, HYPERVISOR));
        for (file, link) in hypervisor.chain([(&self.boot.kernel, KERNEL)]) {
            std::os::unix::fs::symlink(file, self.lab.join(link))?;
        }
        Ok(())
    }

    fn initramfs(&self) -> PathBuf {
        self.lab.join("initramfs.img")
    }

    fn seed_initramfs(&self) -> std::io::Result<()> {
        let mut target = File::create(self.initramfs())?;
        std::io::copy(&mut File::open(&self.boot.initramfs)?, &mut target)?;
        target.write_all(self.seed)
    }

    /// QEMU's arguments. Those of a machine that is restored must be those that it was booted with.
    fn args(&self) -> Vec<String> {
        let machine = self.machine;
        let mut args: Vec<String> = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut add = |name: &str, value: String| {
            args.push(name.to_owned());
            args.push(value);
        };
        let tcg = match self.accelerator {
            "tcg" => ",thread=multi",
            _ => "",
        };
        add("-accel", format!("{}{tcg}", self.accelerator));
        add("-machine", "pc".to_owned());
        add("-cpu", cpu(self.needs, self.accelerator));
        add("-smp", machine.cpus.to_string());
        add("-m", format!("{}M", machine.memory.mib()));
        add("-monitor", "none".to_owned());
        let socket = option(&self.socket());
        add("-qmp", format!("unix:{socket},server=on,wait=off"));
        for (id, file) in [
            ("root", &self.image.root),
            ("guest", &self.guest_image.root),
        ] {
            add(
                "-drive",
                format!(
                    "id={id},if=none,format=raw,readonly=on,file={}",
                    option(file)
                ),
            );
            add("-device", format!("virtio-blk-pci,drive={id}"));
        }
        add(
            "-netdev",
            format!("tap,id=ctl,ifname={CONTROL_TAP},script=no,downscript=no"),
        );
        // The option ROM would cost seconds at boot and is for booting from the network.
        let mac = Who::Host.control_mac();
        add(
            "-device",
            format!("virtio-net-pci,netdev=ctl,mac={mac},romfile="),
        );
        for (net, nic) in (0_u8..).zip(&machine.nics) {
            let tap = data_tap(net);
            let device = match nic.model.as_str() {
                "virtio" | "any" => "virtio-net-pci",
                other => other,
            };
            add(
                "-netdev",
                format!("tap,id=data{net},ifname={tap},script=no,downscript=no"),
            );
            add(
                "-device",
                format!(
                    "{device},netdev=data{net},mac={},romfile=",
                    Who::Host.mac(net)
                ),
            );
        }
        self.kernel(&mut add);
        args
    }

    /// What it boots.
    fn kernel(&self, add: &mut impl FnMut(&str, String)) {
        let initramfs = self.initramfs();
        let initramfs = initramfs.display();
        let kernel = self.lab.join(KERNEL);
        match &self.boot.hypervisor {
            Some(_) => {
                let xen = self.lab.join(HYPERVISOR);
                add("-kernel", xen.display().to_string());
                // A multiboot module and its command line; commas in either are doubled.
                let kernel = option(&kernel);
                let line = kernel_line(self.needs, self.accelerator);
                let line = format!("console=hvc0 {line}").replace(',', ",,");
                add("-initrd", format!("{kernel} {line},{initramfs}"));
                add("-append", self.needs.own_line.clone());
            }
            None => {
                add("-kernel", kernel.display().to_string());
                add("-initrd", initramfs.to_string());
                let line = kernel_line(self.needs, self.accelerator);
                add("-append", format!("console=ttyS0 {line}"));
            }
        }
    }
}

/// NIC models that the images have drivers for.
pub(in crate::testbed) const MODELS: &[&str] = &["virtio", "e1000", "e1000e"];

/// QEMU's processor model for a machine.
pub(in crate::testbed) fn cpu(needs: &MachineNeeds, accelerator: &str) -> String {
    if accelerator == "kvm" {
        "host".to_owned()
    } else if needs.nested {
        format!("{CPU},+svm,+npt")
    } else {
        CPU.to_owned()
    }
}

/// Linux's command line, for hosts and dom0: nothing random, nothing that is no part of the study.
pub(in crate::testbed) const KERNEL_LINE: &str =
    "quiet panic=-1 nokaslr net.ifnames=0 mitigations=off random.trust_cpu=on";

/// The command line of a machine's Linux, without its console.
fn kernel_line(needs: &MachineNeeds, accelerator: &str) -> String {
    match needs.emulated_kernel.as_str() {
        "" => KERNEL_LINE.to_owned(),
        _ if accelerator != "tcg" => KERNEL_LINE.to_owned(),
        line => format!("{KERNEL_LINE} {line}"),
    }
}

/// A path inside an option of QEMU, where a comma separates and two stand for one.
pub(in crate::testbed) fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::testing::needs;

    fn machine(hypervisor: &str) -> Machine {
        serde_json::from_value(serde_json::json!({
            "platform": "p", "hardware": "h", "cpus": 2, "memory": "2GiB",
            "nics": [{"model": "e1000", "rate": "200Mb/s"}],
            "image": "i", "guest_image": "guest", "hypervisor": hypervisor, "version": "4.20",
            "toolstack": null, "scheduler": "credit", "dom0_weight": 256, "nic": null,
            "guest": {"vcpus": 1, "memory": "256MiB"}, "max_vms": 2, "peers": 2, "options": {}
        }))
        .unwrap()
    }

    fn args(hypervisor: &str, xen: Option<PathBuf>) -> String {
        let files = |name: &str, hypervisor| ImageFiles {
            root: format!("/store/{name}/a,b/root.squashfs").into(),
            digest: vexp_api::digest::Digest::of(name.as_bytes()),
            boot: Some(BootFiles {
                kernel: format!("/store/{name}/vmlinuz").into(),
                initramfs: format!("/store/{name}/initramfs.img").into(),
                hypervisor,
            }),
        };
        let (image, guest_image) = (files("host", xen), files("guest", None));
        let machine = machine(hypervisor);
        let start = Start {
            machine: &machine,
            needs: &needs(&machine),
            image: &image,
            boot: image.boot.as_ref().unwrap(),
            guest_image: &guest_image,
            seed: b"",
            lab: Path::new("/run/vexp"),
            logs: Path::new("/logs"),
            accelerator: "tcg",
        };
        start.args().join(" ")
    }

    #[test]
    fn xen_is_a_multiboot_kernel_with_dom0_as_its_module() {
        let args = args("xen", Some("/store/host/xen".into()));
        assert!(
            args.contains("-kernel /run/vexp/hypervisor -initrd /run/vexp/vmlinuz console=hvc0")
        );
        assert!(args.contains(",/run/vexp/initramfs.img -append console=com1"));
        assert!(args.contains("dom0_mem=1344M,max:1344M sched=credit"));
        assert!(args.contains("-cpu Opteron_G3 "));
    }

    #[test]
    fn only_kvm_hosts_under_tcg_have_coarse_timers() {
        const COARSE: &str = "nohz=off highres=off kvm.halt_poll_ns=0";
        let line = |hypervisor, accelerator| kernel_line(&needs(&machine(hypervisor)), accelerator);
        assert!(line("kvm", "tcg").ends_with(COARSE));
        assert!(args("kvm", None).contains(COARSE));
        assert_eq!(line("kvm", "kvm"), KERNEL_LINE);
        for other in ["linux", "xen"] {
            assert_eq!(line(other, "tcg"), KERNEL_LINE);
        }
    }

    #[test]
    fn kvm_hosts_have_svm_and_commas_are_doubled() {
        let args = args("kvm", None);
        assert!(args.contains("-cpu Opteron_G3,+svm,+npt"));
        assert!(args.contains("file=/store/host/a,,b/root.squashfs"));
        assert!(args.contains("-device e1000,netdev=data0,mac=52:54:00:00:00:02,romfile="));
    }
}
