//! The machines file: what the user of this computer says of their own machines, and no study can.
//!
//! A study may come from a stranger. Files and programs that ssh opens or starts on this computer,
//! and the way to root on a machine, are therefore named by the user alone: on the command line, or
//! in a file of their own (`~/.config/vexp/machines.json`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use vexp_api::ids::{HostName, Name, RemotePath};
use vexp_api::plugin::PluginError;

use super::allocation::OwnAllocation;
use super::inventory::LocalPath;
use crate::own_file;

/// The version of the file's format.
const FORMAT: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Own {
    #[serde(default)]
    format: Option<u32>,
    /// Configuration that ssh reads instead of `~/.ssh/config`.
    #[serde(default)]
    pub(super) ssh_config: Option<LocalPath>,
    /// By the host that ssh is asked for.
    #[serde(default)]
    machines: BTreeMap<HostName, OwnMachine>,
    /// Nodes of allocations that `machines` does not have.
    #[serde(default)]
    nodes: OwnMachine,
    /// What goes before a study's words when an allocation is asked for.
    #[serde(default)]
    pub(super) allocation: OwnAllocation,
}

/// What the user says of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnMachine {
    /// Private key file.
    #[serde(default)]
    pub(super) identity: Option<LocalPath>,
    /// File with the machine's host key, beside the user's own.
    #[serde(default)]
    pub(super) known_hosts: Option<LocalPath>,
    /// Whether root is reached by sudo, without a password.
    #[serde(default)]
    pub(super) sudo: bool,
    /// Where programs are that are not found by their names.
    #[serde(default)]
    pub(super) tools: BTreeMap<Name, RemotePath>,
}

impl Own {
    /// Reads the file that the command line names, or the user's usual one if there is one.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, PluginError> {
        match named {
            Some(path) => Self::read(path),
            None => match own_file::usual("machines.json") {
                Some(path) if path.exists() => Self::read(&path),
                _ => Ok(Self::default()),
            },
        }
    }

    fn read(path: &Path) -> Result<Self, PluginError> {
        let wrong = |message| PluginError::new("read the machines file", "controller", message);
        let text = own_file::read(path).map_err(wrong)?;
        Self::parse(&text).map_err(|message| wrong(format!("{}: {message}", path.display())))
    }

    /// Parses the file's text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let own: Self = serde_path_to_error::deserialize(Value::Object(value))
            .map_err(|error| format!("`{}`: {}", error.path(), error.inner()))?;
        match own.format {
            None | Some(FORMAT) => Ok(own),
            Some(other) => Err(format!("has format {other}; this vexp reads {FORMAT}")),
        }
    }

    /// What it says of a node of an allocation.
    pub(super) fn of_node(&self, host: &HostName) -> OwnMachine {
        let known = self.machines.get(host);
        known.unwrap_or(&self.nodes).clone()
    }

    /// What it says of a host.
    pub(super) fn of(&self, host: &HostName) -> OwnMachine {
        self.machines.get(host).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FILE: &str = r#"{"format": 1, "ssh_config": "~/.ssh/rack", "machines": {"rack1.lab": {
        "identity": "/k", "known_hosts": "/known", "sudo": true, "tools": {"iperf3": "/opt/iperf3"}}}}"#;

    #[test]
    fn a_machines_file_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machines.json");
        std::fs::write(&path, FILE).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Own::find(Some(&path)).map_err(|error| error.to_string())
        };
        let own = mode(0o600).unwrap();
        let of = |host: &str| own.of(&HostName::new(host).unwrap());
        assert!(of("rack1.lab").sudo && !of("rack2.lab").sudo);
        assert!(mode(0o666).unwrap_err().contains("others can write it"));
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let error = Own::find(Some(&fifo)).unwrap_err();
        assert!(error.to_string().contains("is not a file"), "{error}");
        assert!(Own::find(Some(Path::new("/no/such/file"))).is_err());
    }

    #[test]
    fn changed_machines_files_are_read_or_refused() {
        use proptest::prelude::*;
        for bad in ["", "[]", r#"{"format": 2}"#, r#"{"machines": {"-oX": {}}}"#] {
            assert!(Own::parse(bad).is_err(), "{bad}");
        }
        let error = Own::parse(r#"{"machines": {"a": {"identity": "b"}}}"#).unwrap_err();
        assert!(error.contains("machines.a.identity"), "{error}");
        let whole: Value = serde_json::from_str(FILE).unwrap();
        let cases = vexp_testkit::cases(400);
        proptest!(cases, |(changed in vexp_testkit::hostile::changed_json(&whole))| {
            let _ = Own::parse(&changed.to_string());
        });
    }
}
