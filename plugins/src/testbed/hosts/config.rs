//! The configuration that ssh reads for a run: what vexp insists on, what the inventory says, and
//! then all that the user's own configuration says.
//!
//! ssh takes the first value that it finds for each keyword (ssh_config(5)), and hands the file on
//! to the ssh of each jump host, so that what stands first holds there as well.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
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
    home: Option<&Path>,
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
    let own = inventory.ssh_config.as_ref();
    let own = own.map_or("~/.ssh/config", super::inventory::LocalPath::as_str);
    let own = match (own.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below).display().to_string(),
        _ => own.to_owned(),
    };
    let _ = write!(
        text,
        "Host *\n    Include \"{own}\"\n    Include /etc/ssh/ssh_config\n{LAST}"
    );
    Ok(text)
}

/// The home folder of the user that vexp runs as, whose ssh configuration counts: `$HOME` where that
/// folder is the user's, else what the password database says. Under a sudo that keeps HOME it is still
/// the caller's, whose files ssh refuses to root. `None` where neither is known, or where ssh's
/// configuration has no way to write it.
pub(crate) fn home() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let named = std::env::var_os("HOME").map(PathBuf::from);
    let owned = named.filter(|home| {
        let data = home.metadata();
        home.is_absolute() && data.is_ok_and(|data| data.uid() == uid)
    });
    let home = owned.or_else(|| {
        let mut getent = std::process::Command::new("getent");
        getent.args(["passwd", &uid.to_string()]);
        let output = getent.envs([vexp_api::shell::LOCALE]).output().ok()?;
        let line = String::from_utf8(output.stdout).ok()?;
        line.trim().split(':').nth(5).map(PathBuf::from)
    })?;
    let plain = |c: char| !c.is_control() && !"\"\\%*?[]".contains(c);
    home.to_str()
        .is_some_and(|text| text.chars().all(plain))
        .then_some(home)
}

/// Refuses at once what ssh would refuse on every connection: configuration that belongs to another
/// user, or that others can write to (ssh_config(5), FILES).
fn readable(path: &Path) -> Result<(), PluginError> {
    let Ok(data) = path.metadata() else {
        return Ok(());
    };
    let me = rustix::process::geteuid().as_raw();
    let (owner, mode) = (data.uid(), data.mode() & 0o777);
    let path = path.display();
    if owner != 0 && owner != me {
        return Err(wrong(format!(
            "{path} belongs to uid {owner}, and vexp runs as uid {me}: ssh reads configuration of its \
             own user or of root alone. Run vexp as that user (testbed hosts needs no root), or set \
             `ssh_config` to a copy that belongs to uid {me}"
        )));
    }
    if mode & 0o022 != 0 {
        return Err(wrong(format!(
            "{path} can be written to by others (mode {mode:03o}), and ssh does not read it then: \
             chmod go-w"
        )));
    }
    Ok(())
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
    let home = home();
    match (&inventory.ssh_config, &home) {
        (Some(own), _) if own.as_str().starts_with('/') => readable(Path::new(own.as_str()))?,
        (Some(own), Some(home)) => readable(&home.join(own.as_str().trim_start_matches("~/")))?,
        (None, Some(home)) => readable(&home.join(".ssh/config"))?,
        (_, None) => {}
    }
    let path = folder.join("config");
    std::fs::write(&path, text(inventory, guests, folder, home.as_deref())?)
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
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::super::own::Own;
    use super::*;

    #[test]
    fn the_home_is_that_of_the_user_that_runs_vexp() {
        let options = json!({"inventory": {"rack1": {
            "role": "host", "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
        }}});
        let inventory = Inventory::read(options.as_object().unwrap(), &Own::default()).unwrap();
        let of = |home| text(&inventory, &[], Path::new("/f"), home).unwrap();
        let own = of(Some(Path::new("/root")));
        assert!(own.contains("Include \"/root/.ssh/config\"\n"), "{own}");
        assert!(of(None).contains("Include \"~/.ssh/config\"\n"));
        // Whatever HOME is, it is a folder of ours.
        if let Some(home) = home() {
            let data = home.metadata().unwrap();
            assert_eq!(data.uid(), rustix::process::geteuid().as_raw());
        }
    }

    #[test]
    fn configuration_that_ssh_would_refuse_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        assert!(readable(&path).is_ok());
        std::fs::write(&path, "").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        mode(0o600).unwrap();
        assert!(readable(&path).is_ok());
        mode(0o664).unwrap();
        let error = readable(&path).unwrap_err().to_string();
        assert!(
            error.contains("mode 664") && error.contains("chmod go-w"),
            "{error}"
        );
        mode(0o600).unwrap();
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give files away");
            return;
        }
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let error = readable(&path).unwrap_err().to_string();
        for part in ["belongs to uid 65534", "runs as uid 0", "`ssh_config`"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

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
