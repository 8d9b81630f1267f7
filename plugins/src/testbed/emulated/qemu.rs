//! The machine under test, under QEMU.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use vexp_api::plan::Machine;
use vexp_api::plugin::ImageFiles;

use super::address::Who;
use super::network::{CONTROL_TAP, data_tap};
use super::run::LabError;

/// The emulator.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";
/// Emulated processor. `max` corrupts SSE and AVX state of Xen's PV guests under TCG, which shows
/// as broken SSH packets and aborts in malloc; this one has no AVX.
const CPU: &str = "Opteron_G3";
/// Most memory for dom0: what eight guests' back ends and toolstack were seen to need.
const DOM0_MIB: u64 = 1536;
/// Xen's own heap, page tables and frame table.
const XEN_MIB: u64 = 192;

/// A machine that is to be started.
pub(super) struct Start<'a> {
    pub(super) machine: &'a Machine,
    pub(super) image: &'a ImageFiles,
    pub(super) guest_image: &'a ImageFiles,
    /// Seed to append to the initramfs.
    pub(super) seed: &'a [u8],
    /// The lab's folder.
    pub(super) lab: &'a Path,
    /// Where the serial console and QEMU's words are kept.
    pub(super) logs: &'a Path,
    /// `kvm` or `tcg`.
    pub(super) accelerator: &'a str,
}

impl Start<'_> {
    /// Where the serial console goes.
    pub(super) fn console(&self) -> PathBuf {
        self.logs.join("console.log")
    }

    /// Starts QEMU.
    pub(super) fn spawn(&self) -> Result<Child, LabError> {
        const STEP: &str = "start QEMU";
        let initramfs = self.seeded_initramfs().map_err(LabError::io(STEP))?;
        let log = File::create(self.logs.join("qemu.log")).map_err(LabError::io(STEP))?;
        Command::new(PROGRAM)
            .args(self.args(&initramfs))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| {
                LabError::new(
                    STEP,
                    format!("`{PROGRAM}`: {e} (Debian: apt install qemu-system-x86)"),
                )
            })
    }

    fn seeded_initramfs(&self) -> std::io::Result<PathBuf> {
        let path = self.lab.join("initramfs.img");
        let mut target = File::create(&path)?;
        std::io::copy(&mut File::open(&self.image.initramfs)?, &mut target)?;
        target.write_all(self.seed)?;
        Ok(path)
    }

    fn args(&self, initramfs: &Path) -> Vec<String> {
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
        let tcg = if self.accelerator == "tcg" {
            ",thread=multi"
        } else {
            ""
        };
        add("-accel", format!("{}{tcg}", self.accelerator));
        add("-machine", "pc".to_owned());
        add("-cpu", cpu(self.machine, self.accelerator));
        add("-smp", machine.cpus.to_string());
        add("-m", format!("{}M", machine.memory.mib()));
        add("-serial", format!("file:{}", option(&self.console())));
        add("-monitor", "none".to_owned());
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
                "virtio" => "virtio-net-pci",
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
        let initramfs = initramfs.display();
        match &self.image.hypervisor {
            Some(xen) => {
                add("-kernel", xen.display().to_string());
                // A multiboot module and its command line; commas in either are doubled.
                let kernel = option(&self.image.kernel);
                let line = format!("console=hvc0 {KERNEL_LINE}").replace(',', ",,");
                add("-initrd", format!("{kernel} {line},{initramfs}"));
                add("-append", self.xen_line());
            }
            None => {
                add("-kernel", self.image.kernel.display().to_string());
                add("-initrd", initramfs.to_string());
                add("-append", format!("console=ttyS0 {KERNEL_LINE}"));
            }
        }
        args
    }

    fn xen_line(&self) -> String {
        let machine = self.machine;
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
}

/// QEMU's processor model for a machine.
pub(super) fn cpu(machine: &Machine, accelerator: &str) -> String {
    if accelerator == "kvm" {
        "host".to_owned()
    } else if machine.hypervisor == *"kvm" {
        format!("{CPU},+svm,+npt")
    } else {
        CPU.to_owned()
    }
}

/// Linux's command line, for hosts and dom0: nothing random, nothing that is no part of the study.
const KERNEL_LINE: &str =
    "quiet panic=-1 nokaslr net.ifnames=0 mitigations=off random.trust_cpu=on";

/// A path inside an option of QEMU, where a comma separates and two stand for one.
pub(super) fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            kernel: format!("/store/{name}/vmlinuz").into(),
            initramfs: format!("/store/{name}/initramfs.img").into(),
            hypervisor,
        };
        let (image, guest_image) = (files("host", xen), files("guest", None));
        let start = Start {
            machine: &machine(hypervisor),
            image: &image,
            guest_image: &guest_image,
            seed: b"",
            lab: Path::new("/run/vexp"),
            logs: Path::new("/logs"),
            accelerator: "tcg",
        };
        start.args(Path::new("/run/vexp/initramfs.img")).join(" ")
    }

    #[test]
    fn xen_is_a_multiboot_kernel_with_dom0_as_its_module() {
        let args = args("xen", Some("/store/host/xen".into()));
        assert!(args.contains("-kernel /store/host/xen -initrd /store/host/vmlinuz console=hvc0"));
        assert!(args.contains(",/run/vexp/initramfs.img -append console=com1"));
        assert!(args.contains("dom0_mem=1344M,max:1344M sched=credit"));
        assert!(args.contains("-cpu Opteron_G3 "));
    }

    #[test]
    fn kvm_hosts_have_svm_and_commas_are_doubled() {
        let args = args("kvm", None);
        assert!(args.contains("-cpu Opteron_G3,+svm,+npt"));
        assert!(args.contains("file=/store/host/a,,b/root.squashfs"));
        assert!(args.contains("-device e1000,netdev=data0,mac=52:54:00:00:00:02,romfile="));
    }
}
