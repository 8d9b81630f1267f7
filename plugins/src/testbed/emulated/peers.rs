//! Traffic peers: network namespaces whose root is the guest image, each with its own sshd.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::network::peer_netns;
use super::run::{LabError, run};
use super::seed::Identity;

/// Devices that sshd and the tools need.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Mounts the guest image's root once, read-only.
pub(super) fn mount_image(image: &Path, lab: &Path) -> Result<PathBuf, LabError> {
    const STEP: &str = "mount the guest image for the peers";
    let root = lab.join("guest-root");
    std::fs::create_dir(&root).map_err(LabError::io(STEP))?;
    let (image, target) = (image.display().to_string(), root.display().to_string());
    run(
        STEP,
        "mount",
        &["-t", "squashfs", "-o", "ro,loop", &image, &target],
        "",
    )?;
    Ok(root)
}

/// Makes a peer's root and starts its sshd in its namespace.
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
    let base = lab.join("peers").join(&netns);
    let (upper, work, root) = (base.join("upper"), base.join("work"), base.join("root"));
    for folder in [&upper, &work, &root] {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        image_root.display(),
        upper.display(),
        work.display()
    );
    let mount = |args: &[&str]| run(&step, "mount", args, "").map(drop);
    let at = |path: &str| root.join(path).display().to_string();
    mount(&["-t", "overlay", "-o", &options, "overlay", &at("")])?;
    mount(&["--bind", "/proc", &at("proc")])?;
    mount(&["-t", "tmpfs", "-o", "mode=755", "dev", &at("dev")])?;
    for device in DEVICES {
        let target = at(&format!("dev/{device}"));
        std::fs::write(&target, b"").map_err(io)?;
        mount(&["--bind", &format!("/dev/{device}"), &target])?;
    }
    mount(&["-t", "tmpfs", "-o", "mode=755", "run", &at("run")])?;
    std::fs::create_dir_all(root.join("run/sshd")).map_err(io)?;
    let seed = root.join("run/vexp");
    std::fs::create_dir(&seed).map_err(io)?;
    for (name, content) in identity.files() {
        let path = seed.join(name);
        std::fs::write(&path, content).map_err(io)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    }
    let log = std::fs::File::create(logs.join(format!("{netns}.sshd.log"))).map_err(io)?;
    Command::new("ip")
        .args([
            "netns",
            "exec",
            &netns,
            "chroot",
            &at(""),
            "/usr/sbin/sshd",
            "-D",
            "-e",
        ])
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
