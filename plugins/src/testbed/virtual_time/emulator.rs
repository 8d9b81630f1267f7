//! The emulator, unpacked from its image: it runs with its own loader and libraries, without root and without a root
//! folder of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vexp_api::plugin::ImageFiles;

use super::super::emulated::run::{LabError, run};

/// The image that has it; see `images/emulator`.
pub(super) const IMAGE: &str = "emulator";
/// Where unpacked emulators are kept, below the store.
pub(super) const FOLDER: &str = "emulators-v1";
const STEP: &str = "unpack the emulator";
/// How long another process may be unpacking it.
const PATIENCE: Duration = Duration::from_secs(900);
/// In its root: the loader, the libraries, the program, and its modules.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const PROGRAM: &str = "usr/bin/qemu-system-x86_64";
const MODULES: &str = "usr/lib/x86_64-linux-gnu/qemu";
/// Where it looks for firmware.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// An unpacked emulator.
#[derive(Clone, Debug)]
pub(super) struct Emulator {
    root: PathBuf,
}

impl Emulator {
    /// Unpacks the image to `kept/DIGEST`, unless it is there already.
    pub(super) fn unpack(image: &ImageFiles, kept: &Path) -> Result<Self, LabError> {
        let root = kept.join(image.digest.hex());
        if !root.is_dir() {
            std::fs::create_dir_all(kept).map_err(LabError::io(STEP))?;
            let _lock =
                vexp_api::hold::within(&kept.join("lock"), PATIENCE).map_err(LabError::io(STEP))?;
            if root.is_dir() {
                return Ok(Self { root });
            }
            let new = tempfile::Builder::new()
                .prefix("new-")
                .tempdir_in(kept)
                .map_err(LabError::io(STEP))?;
            let to = new.path().join("root");
            let (to_text, image) = (to.display().to_string(), image.root.display().to_string());
            let args = [
                "-quiet",
                "-no-progress",
                "-no-xattrs",
                "-dest",
                &to_text,
                &image,
            ];
            run(STEP, "unsquashfs", &args, "")?;
            std::fs::set_permissions(&to, Permissions::from_mode(0o755))
                .map_err(LabError::io(STEP))?;
            // Files that a crash leaves empty would be no emulator.
            std::fs::File::open(&to)
                .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
                .map_err(LabError::io(STEP))?;
            match std::fs::rename(&to, &root) {
                // Somebody else was faster, with the same.
                Err(_) if root.is_dir() => {}
                renamed => renamed.map_err(LabError::io(STEP))?,
            }
        }
        Ok(Self { root })
    }

    /// A command that is it, in an empty environment, once arguments are added.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.root.join(LOADER));
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("QEMU_MODULE_DIR", self.root.join(MODULES))
            .arg("--library-path")
            .arg(self.root.join(LIBRARIES))
            .arg(self.root.join(PROGRAM));
        for folder in FIRMWARE {
            command.arg("-L").arg(self.root.join(folder));
        }
        command
    }
}
