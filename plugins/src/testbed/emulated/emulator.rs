//! The emulator, run out of an image of its own: the same on every machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::mounts::{self, Root};
use super::run::LabError;

/// The image that has it; see `images/emulator`.
pub(super) const IMAGE: &str = "emulator";
/// The program in it.
const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";
/// Devices that it opens, where they are there.
const DEVICES: &[&str] = &["/dev/null", "/dev/urandom", "/dev/net/tun", "/dev/kvm"];

/// QEMU's own filter of system calls: none that gives more rights, and no further program.
const SANDBOX: [&str; 2] = [
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny",
];

/// What is being done while it is made ready.
const STEP: &str = "mount the emulator";

/// The emulator's root.
pub(super) struct Emulator {
    root: PathBuf,
}

impl Emulator {
    /// Mounts its image. It sees the folders `readable` and `writable` at their own paths, and
    /// nothing else of this machine.
    pub(super) fn mount(
        image: &Path,
        lab: &Path,
        readable: &[&Path],
        writable: &[&Path],
    ) -> Result<Self, LabError> {
        let lower = lab.join("emulator-image");
        mounts::image(STEP, image, &lower)?;
        let root = Root::over(STEP, &lower, &lab.join("emulator"))?;
        for device in DEVICES.iter().filter(|path| Path::new(path).exists()) {
            root.show(device)?;
        }
        for folder in readable {
            root.show_read_only(folder)?;
        }
        for folder in writable {
            root.show(folder)?;
        }
        Ok(Self {
            root: root.path().to_owned(),
        })
    }

    /// A command that is it, once arguments are added. It goes before the traffic peers, which run on
    /// the same processors: a machine that is starved by them would look like one that is slow.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["enclose", "emulator"]).arg(&self.root);
        command.args(["--", PROGRAM]).args(SANDBOX);
        command
    }
}
