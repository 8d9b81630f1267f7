//! A peer's namespaces, seen from the lab that makes them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::mount::mount_bind;

use super::{FIRST_USER, PATH, PeerRequest, USERS};

/// What a peer says when its namespaces are there.
pub(super) const UNSHARED: &[u8] = b"unshared\n";
/// What it is told when its users are mapped and its network is set up.
pub(super) const MAPPED: &[u8] = b"mapped\n";

/// Namespaces in which nothing runs yet. Dropping them ends them.
#[derive(Debug)]
pub struct Enclosed {
    child: Child,
}

impl Enclosed {
    /// Makes the namespaces of peer number `peer`, from 0, by the program `executable`, which is vexp; what
    /// fails there is written to `log`.
    ///
    /// # Errors
    /// The kernel lets no user namespace be made.
    pub fn new(executable: &Path, peer: u32, log: File) -> std::io::Result<Self> {
        let mut command = Command::new(executable);
        command.args(["enclose", "peer"]).env_clear();
        command.env("PATH", PATH).stdin(Stdio::piped());
        let child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let mut enclosed = Self { child };
        let mut said = [0; UNSHARED.len()];
        let out = enclosed.child.stdout.as_mut();
        let heard = out.map_or(Ok(()), |out| out.read_exact(&mut said));
        if heard.is_err() || said != *UNSHARED {
            return Err(std::io::Error::other(
                "no user namespace can be made (sysctl user.max_user_namespaces; see the log)",
            ));
        }
        let first = FIRST_USER + peer * USERS;
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", enclosed.child.id());
            std::fs::write(path, format!("0 {first} {USERS}\n"))?;
        }
        Ok(enclosed)
    }

    /// Shows its network to ip-netns(8) as the file `path`, which is made.
    ///
    /// # Errors
    /// It can't be mounted there.
    pub fn show_network(&self, path: &Path) -> std::io::Result<()> {
        File::create_new(path)?;
        let network = format!("/proc/{}/ns/net", self.child.id());
        Ok(mount_bind(network, path)?)
    }

    /// Starts its first process. The process that is given back ends with it.
    ///
    /// # Errors
    /// It has ended meanwhile.
    pub fn start(mut self, request: &PeerRequest) -> std::io::Result<Child> {
        let text = serde_json::to_vec(request)?;
        if let Some(mut input) = self.child.stdin.take() {
            input.write_all(MAPPED)?;
            input.write_all(&text)?;
        }
        Ok(self.child)
    }
}
