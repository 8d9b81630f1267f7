//! Traffic peers: network namespaces whose root is the guest image, each with its own SSH server.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::enclose::{self, Enclosed, PeerRequest};
use super::mounts::{self, Root};
use super::network::{self, peer_netns};
use super::run::LabError;
use super::seed::Identity;

/// Devices that the SSH server and the tools need.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// The SSH server of an image.
const SERVER: [&str; 2] = ["/bin/sh", "/usr/lib/vexp/ssh-server"];

/// Mounts the guest image's root once, read-only.
pub(super) fn mount_image(image: &Path, lab: &Path) -> Result<PathBuf, LabError> {
    let target = lab.join("guest-root");
    mounts::image("mount the guest image for the peers", image, &target)?;
    Ok(target)
}

/// Makes a peer's namespaces, in which nothing runs yet, with its network.
pub(super) fn enclose(peer: u32, logs: &Path) -> Result<Enclosed, LabError> {
    let step = format!("make {}", peer_netns(peer));
    let io = |error: std::io::Error| LabError::new(&step, error.to_string());
    let log = File::create(log(peer, logs)).map_err(io)?;
    let enclosed = Enclosed::new(Path::new("/proc/self/exe"), peer, log).map_err(io)?;
    let shown = enclosed.show_network(&network::peer_network(peer));
    shown.map_err(io)?;
    Ok(enclosed)
}

/// Starts the SSH server of a peer whose namespaces are there.
pub(super) fn start_enclosed(
    peer: u32,
    enclosed: Enclosed,
    image_root: &Path,
    identity: &Identity<'_>,
) -> Result<Child, LabError> {
    let netns = peer_netns(peer);
    let files = identity.files().into_iter();
    let request = PeerRequest {
        root: image_root.to_owned(),
        hostname: netns.clone(),
        files: files
            .map(|(name, content)| (name.to_owned(), content))
            .collect(),
        argv: SERVER.map(str::to_owned).into(),
    };
    let started = enclosed.start(&request);
    started.map_err(LabError::io(&format!("start {netns}")))
}

/// What a peer's SSH server says.
fn log(peer: u32, logs: &Path) -> PathBuf {
    logs.join(format!("{}.ssh.log", peer_netns(peer)))
}

/// For a machine in virtual time, whose peers run inside of the emulator: makes a peer's root and starts its SSH server, in the network that this thread is in.
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
    let log = File::create(log(peer, logs)).map_err(io)?;
    Command::new("chroot")
        .arg(root.path())
        .args(SERVER)
        .env_clear()
        .env("PATH", enclose::PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(io)
}
