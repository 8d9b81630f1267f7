//! SSH keys of a lab: made anew for each machine that boots, known to both sides before the first
//! connection, and kept with the machine where that is kept.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::run::{LabError, run};

const STEP: &str = "make SSH keys";

/// A key pair in OpenSSH's text form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::testbed) struct KeyPair {
    pub(in crate::testbed) private: String,
    pub(in crate::testbed) public: String,
}

/// The keys that a machine and its guests know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::testbed) struct Keys {
    /// May log in everywhere.
    pub(in crate::testbed) client: KeyPair,
    /// The machine's own.
    pub(in crate::testbed) host: KeyPair,
    /// Its guests' own.
    pub(in crate::testbed) guests: Vec<KeyPair>,
}

impl Keys {
    /// New ones for a machine with so many guests; `folder` is for scratch.
    pub(in crate::testbed) fn generate(folder: &Path, guests: u32) -> Result<Self, LabError> {
        Ok(Self {
            client: KeyPair::generate(folder, "client")?,
            host: KeyPair::generate(folder, "host")?,
            guests: (1..=guests)
                .map(|n| KeyPair::generate(folder, &format!("vm{n}")))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl KeyPair {
    /// A new Ed25519 pair.
    pub(in crate::testbed) fn generate(folder: &Path, name: &str) -> Result<Self, LabError> {
        let file = folder.join(format!("{name}.new"));
        let path = file.display().to_string();
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path];
        run(STEP, "ssh-keygen", &args, "")?;
        let take = |path: &Path| {
            let text = std::fs::read_to_string(path)?;
            std::fs::remove_file(path)?;
            Ok(text)
        };
        Ok(Self {
            private: take(&file).map_err(LabError::io(STEP))?,
            public: take(&file.with_extension("new.pub")).map_err(LabError::io(STEP))?,
        })
    }

    /// Writes the private key to a file that only its owner can read.
    pub(in crate::testbed) fn write(&self, file: &Path) -> Result<(), LabError> {
        let open = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file);
        open.and_then(|mut open| std::io::Write::write_all(&mut open, self.private.as_bytes()))
            .map_err(LabError::io(STEP))
    }

    /// A line for `known_hosts`.
    pub(in crate::testbed) fn known_host(&self, address: std::net::IpAddr) -> String {
        let key: Vec<&str> = self.public.split_whitespace().take(2).collect();
        format!("{address} {}\n", key.join(" "))
    }
}
