//! The configuration that ssh reads for a run: what vexp insists on, what the inventory says, and
//! then all that the user's own configuration says.
//!
//! ssh takes the first value that it finds for each keyword (ssh_config(5)), and hands the file on
//! to the ssh of each jump host, so that what stands first holds there as well.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use vexp_api::ids::{HostName, Name};
use vexp_api::plugin::PluginError;
use vexp_api::site::ConfiguredTarget;

use super::inventory::{Entry, Inventory, wrong};

/// For every host: keys are known or refused, nobody is asked, and nothing but programs is run.
const ALWAYS: &str = "Host *
    StrictHostKeyChecking yes
    UpdateHostKeys no
    BatchMode yes
    LogLevel INFO
    RequestTTY no
    RemoteCommand none
    PermitLocalCommand no
    ForwardX11 no
    ForwardAgent no
    ClearAllForwardings yes
    Tunnel no
    GSSAPIDelegateCredentials no
    SetEnv VEXP=1
";
/// After the user's own configuration: no variable of the environment goes out. ssh adds up SendEnv
/// over all files, and the last word removes (ssh_config(5)).
const LAST: &str = "Host *
    SendEnv -*
";

/// A guest, as ssh is told of it.
pub(super) struct GuestHost {
    pub(super) address: IpAddr,
    /// What ssh is asked for to reach its host.
    pub(super) by_way_of: HostName,
}

/// Text of the file. Guests have the private key `folder/client` and known hosts `folder/known`.
pub(super) fn text(
    inventory: &Inventory,
    guests: &[GuestHost],
    folder: &Path,
) -> Result<String, PluginError> {
    let mut text =
        String::from("# Written by vexp for one run; your own configuration is read last.\n");
    text.push_str(ALWAYS);
    for guest in guests {
        let folder = folder.display();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "Host {}\n    HostName %h\n    User root\n    Port 22\n    IdentityFile \"{folder}/client\"\n    \
             IdentitiesOnly yes\n    IdentityAgent none\n    UserKnownHostsFile \"{folder}/known\"\n    \
             GlobalKnownHostsFile /dev/null\n    ProxyJump {}\n",
            guest.address, guest.by_way_of
        );
    }
    for (name, entry) in &inventory.machines {
        let _ = writeln!(text, "Host {}", entry.host(name)?);
        for line in lines(entry) {
            let _ = writeln!(text, "    {line}");
        }
    }
    let own = match &inventory.ssh_config {
        Some(path) => path.as_str(),
        None => "~/.ssh/config",
    };
    let _ = write!(
        text,
        "Host *\n    Include \"{own}\"\n    Include /etc/ssh/ssh_config\n{LAST}"
    );
    Ok(text)
}

/// What the inventory says of a machine.
fn lines(entry: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(user) = &entry.user {
        lines.push(format!("User {}", user.as_str()));
    }
    if let Some(port) = entry.port {
        lines.push(format!("Port {port}"));
    }
    if let Some(identity) = &entry.own.identity {
        lines.push(format!("IdentityFile \"{}\"", identity.as_str()));
        lines.push("IdentitiesOnly yes".to_owned());
    }
    if let Some(known) = &entry.own.known_hosts {
        let known = known.as_str();
        lines.push(format!("UserKnownHostsFile \"{known}\" ~/.ssh/known_hosts"));
    }
    if !entry.jump.is_empty() {
        let all: Vec<_> = entry
            .jump
            .iter()
            .map(super::inventory::Jump::as_str)
            .collect();
        lines.push(format!("ProxyJump {}", all.join(",")));
    }
    lines
}

/// Writes the file.
pub(super) fn write(
    inventory: &Inventory,
    guests: &[GuestHost],
    folder: &Path,
) -> Result<PathBuf, PluginError> {
    if let Some(own) = &inventory.ssh_config
        && own.as_str().starts_with('/')
        && !Path::new(own.as_str()).is_file()
    {
        return Err(wrong(format!("there is no file {}", own.as_str())));
    }
    let path = folder.join("config");
    std::fs::write(&path, text(inventory, guests, folder)?)
        .map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    Ok(path)
}

/// How a machine of the inventory is reached.
pub(super) fn target(
    name: &Name,
    entry: &Entry,
    config: &Path,
) -> Result<ConfiguredTarget, PluginError> {
    let tools = entry.own.tools.iter();
    Ok(ConfiguredTarget {
        host: entry.host(name)?,
        config: config.to_owned(),
        control: entry.control,
        sudo: entry.own.sudo,
        tools: tools
            .map(|(tool, path)| (tool.to_string(), path.clone()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::own::Own;
    use super::*;

    /// What ssh makes of the file for a host, where the user's own configuration is `own`.
    fn seen_by_ssh(own: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own");
        std::fs::write(&path, own).unwrap();
        let said = json!({"ssh_config": path, "machines": {}}).to_string();
        let options = json!({"inventory": {"rack1": {
            "role": "host", "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
        }}});
        let own = Own::parse(&said).unwrap();
        let inventory = Inventory::read(options.as_object().unwrap(), &own).unwrap();
        let config = write(&inventory, &[], folder.path()).unwrap();
        let mut ssh = std::process::Command::new("ssh");
        let output = ssh.arg("-G").arg("-F").arg(config).arg("rack1").output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && !text.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    #[test]
    fn nothing_of_the_users_goes_out_by_ssh() {
        let seen = seen_by_ssh(
            "Host *\n    User operator\n    ForwardAgent yes\n    ForwardX11 yes\n    ForwardX11Trusted yes\n    \
             LocalForward 8001 localhost:1\n    RemoteForward 8002 localhost:22\n    DynamicForward 8003\n    \
             Tunnel yes\n    SendEnv * AWS_*\n    SetEnv SECRET=1\n    PermitLocalCommand yes\n    \
             LocalCommand id\n    RemoteCommand id\n    StrictHostKeyChecking no\n    GSSAPIDelegateCredentials yes\n",
        );
        let lines: Vec<&str> = seen.lines().collect();
        // The user's own configuration was read.
        assert!(lines.contains(&"user operator"), "{seen}");
        for said in [
            "forwardagent no",
            "forwardx11 no",
            "clearallforwardings yes",
            "tunnel false",
            "permitlocalcommand no",
            "stricthostkeychecking true",
            "setenv VEXP=1",
        ] {
            assert!(lines.contains(&said), "{said}: {seen}");
        }
        for hidden in ["sendenv", "SECRET", "forward 8", "remotecommand id"] {
            assert!(!seen.contains(hidden), "{hidden}: {seen}");
        }
    }
}
