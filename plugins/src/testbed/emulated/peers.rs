//! Traffic peers: network namespaces whose root is the guest image, each with its own SSH server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::mounts::{self, Root};
use super::network::peer_netns;
use super::run::LabError;
use super::seed::Identity;

/// Devices that the SSH server and the tools need.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Mounts the guest image's root once, read-only.
pub(super) fn mount_image(image: &Path, lab: &Path) -> Result<PathBuf, LabError> {
    let target = lab.join("guest-root");
    mounts::image("mount the guest image for the peers", image, &target)?;
    Ok(target)
}

/// Makes a peer's root and starts its SSH server, in the network that this thread is in.
pub(super) fn start(
    peer: u32,
    image_root: &Path,
    lab: &Path,
    logs: &Path,
    identity: &Identity<'_>,
) -> Result<Child, LabError> {
    let netns = peer_netns(peer);
    let step = format!("start {netns}");
    let io = |error: std::io::Error| LabError::new(&step, error.to_string());
    let root = Root::over(&step, image_root, &lab.join("peers").join(&netns))?;
    root.show("/proc")?;
    root.tmpfs("/dev")?;
    for device in DEVICES {
        root.show(format!("/dev/{device}"))?;
    }
    root.tmpfs("/run")?;
    let seed = root.at("/run/vexp");
    std::fs::create_dir(&seed).map_err(io)?;
    for (name, content) in identity.files() {
        let path = seed.join(name);
        std::fs::write(&path, content).map_err(io)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    }
    let log = std::fs::File::create(logs.join(format!("{netns}.ssh.log"))).map_err(io)?;
    Command::new("chroot")
        .arg(root.path())
        .args(["/bin/sh", "/usr/lib/vexp/ssh-server"])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(io)
}
