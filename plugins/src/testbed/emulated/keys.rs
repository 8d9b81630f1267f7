//! SSH keys of a lab: made anew for each, known to both sides before the first connection.

use std::path::{Path, PathBuf};

use super::run::{LabError, run};

/// A key pair in OpenSSH's text form.
#[derive(Clone, Debug)]
pub(super) struct KeyPair {
    pub(super) private: String,
    pub(super) public: String,
    pub(super) file: PathBuf,
}

/// Makes an Ed25519 key pair as `folder/name` and `folder/name.pub`.
pub(super) fn generate(folder: &Path, name: &str) -> Result<KeyPair, LabError> {
    const STEP: &str = "make SSH keys";
    let file = folder.join(name);
    let path = file.display().to_string();
    run(
        STEP,
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path],
        "",
    )?;
    let read = |path: &Path| std::fs::read_to_string(path).map_err(LabError::io(STEP));
    Ok(KeyPair {
        private: read(&file)?,
        public: read(&folder.join(format!("{name}.pub")))?,
        file,
    })
}

/// A line for `known_hosts`.
pub(super) fn known_host(address: std::net::IpAddr, public: &str) -> String {
    let key: Vec<&str> = public.split_whitespace().take(2).collect();
    format!("{address} {}\n", key.join(" "))
}
