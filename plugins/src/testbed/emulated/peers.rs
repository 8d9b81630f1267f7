//! Traffic peers: network namespaces whose root is the guest image, each with its own SSH server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::enclose::{Enclosed, PeerRequest};
use super::mounts;
use super::network::{self, peer_netns};
use super::run::LabError;
use super::seed::Identity;

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
pub(super) fn start(
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
