//! Whether hardware virtualization works here: only a guest that boots tells.
//!
//! `/dev/kvm` may exist and open, and the guest may hang all the same (seen inside other
//! hypervisors). So a small guest is booted to a known line under a deadline. All platforms of a
//! study must run on the same footing: without nested virtualization, which the KVM platforms
//! need, none uses KVM.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vexp_api::plugin::ImageFiles;

use super::emulator::Emulator;
use super::qemu::option;

/// The line that the guest's init prints when it has mounted its root and finds no seed.
const LINE: &str = "vexp: failed no seed";
/// Several times what such a guest takes with working hardware virtualization.
const DEADLINE: Duration = Duration::from_secs(8);
/// Parameters that say whether nested virtualization is on, by kernel module.
const NESTED: [&str; 2] = [
    "/sys/module/kvm_amd/parameters/nested",
    "/sys/module/kvm_intel/parameters/nested",
];

/// What a machine is to be run with, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Accelerator {
    /// QEMU's name: `kvm` or `tcg`.
    pub name: String,
    /// What decided.
    pub why: String,
}

impl Accelerator {
    fn tcg(why: impl Into<String>) -> Self {
        Self {
            name: "tcg".to_owned(),
            why: why.into(),
        }
    }
}

/// Boots a guest without a seed under KVM. Never fails: what does not work is not used.
pub(super) fn probe(emulator: &Emulator, guest: &ImageFiles, lab: &Path) -> Accelerator {
    if !Path::new("/dev/kvm").exists() {
        return Accelerator::tcg("there is no /dev/kvm");
    }
    let nested = |path: &&str| {
        std::fs::read_to_string(path).is_ok_and(|text| matches!(text.trim(), "1" | "Y"))
    };
    if !NESTED.iter().any(nested) {
        return Accelerator::tcg("nested virtualization, which KVM platforms need, is off");
    }
    let Some(boot) = &guest.boot else {
        return Accelerator::tcg("the guest image has no kernel for a probe");
    };
    let console = lab.join("probe.log");
    let drive = format!(
        "id=root,if=none,format=raw,readonly=on,file={}",
        option(&guest.root)
    );
    let mut command = emulator.command();
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-no-reboot", "-accel", "kvm", "-cpu", "host", "-m", "512"])
        .args(["-monitor", "none", "-drive", &drive])
        .args(["-device", "virtio-blk-pci,drive=root"])
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-serial")
        .arg(format!("file:{}", option(&console)))
        .arg("-kernel")
        .arg(&boot.kernel)
        .arg("-initrd")
        .arg(&boot.initramfs);
    match try_boot(&mut command, &console, DEADLINE) {
        Ok(seconds) => Accelerator {
            name: "kvm".to_owned(),
            why: format!("a probe guest booted under KVM in {seconds:.1} s"),
        },
        Err(why) => Accelerator::tcg(format!("/dev/kvm is there, but {why}")),
    }
}

/// Starts a program that is to boot a guest, and ends it when that is known: the seconds that it took.
fn try_boot(command: &mut Command, console: &Path, deadline: Duration) -> Result<f64, String> {
    let quiet = || Stdio::null();
    let child = command.stdin(quiet()).stdout(quiet()).stderr(quiet());
    let mut child = child
        .spawn()
        .map_err(|error| format!("the emulator can't be started: {error}"))?;
    let booted = watch(console, deadline, || matches!(child.try_wait(), Ok(None)));
    // It has ended already, or is not needed any more.
    let _ = child.kill();
    let _ = child.wait();
    booted
}

fn watch(
    console: &Path,
    deadline: Duration,
    mut runs: impl FnMut() -> bool,
) -> Result<f64, String> {
    let began = Instant::now();
    loop {
        let running = runs();
        let said = std::fs::read(console).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains(LINE) {
            return Ok(began.elapsed().as_secs_f64());
        }
        if !running {
            return Err("a probe guest under it ended early".to_owned());
        }
        if began.elapsed() > deadline {
            let limit = deadline.as_secs();
            return Err(format!(
                "a probe guest under it did not boot within {limit} s"
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_boots_proves_it() {
        let folder = tempfile::tempdir().unwrap();
        let console = folder.path().join("probe.log");
        assert_eq!(
            watch(&console, DEADLINE, || false).unwrap_err(),
            "a probe guest under it ended early"
        );
        std::fs::write(&console, "Linux version 6.12\r\n").unwrap();
        assert!(watch(&console, DEADLINE, || false).is_err());
        std::fs::write(&console, format!("{LINE}: nothing was appended\r\n")).unwrap();
        // The line counts even if the guest has ended since.
        assert!(watch(&console, DEADLINE, || false).is_ok());
    }

    #[test]
    fn a_guest_that_hangs_is_given_up_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (console, pid) = (folder.path().join("probe.log"), folder.path().join("pid"));
        // As QEMU does where /dev/kvm opens and its first guest never comes to an instruction.
        let mut hangs = Command::new("sh");
        hangs
            .args(["-c", "echo $$ > \"$0\"; exec sleep 1000"])
            .arg(&pid);
        let deadline = Duration::from_secs(1);
        let began = Instant::now();
        let why = try_boot(&mut hangs, &console, deadline).unwrap_err();
        assert_eq!(why, "a probe guest under it did not boot within 1 s");
        assert!(began.elapsed() < deadline * 20);
        let pid = std::fs::read_to_string(pid).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }
}
