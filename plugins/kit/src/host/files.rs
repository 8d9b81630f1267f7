//! A guest's files on its host.

use vexp_api::ids::Name;
use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;
use vexp_api::site::GuestSlot;

/// Kernel parameters of every guest but its console: it boots fast and is gone if it panics.
pub const KERNEL_PARAMETERS: &str =
    "quiet panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on";

/// The folder of a guest's files.
pub fn folder(guest: &GuestSlot) -> String {
    format!("/run/vexp/guests/{}", guest.node.name)
}

/// Makes the guest's folder with `initramfs` in it: the image's, then the guest's seed, which can
/// follow at once as the first one's length is a multiple of 512 bytes. Returns its path.
pub async fn initramfs(host: &Node, guest: &GuestSlot, step: &str) -> Result<String, PluginError> {
    let seed = tokio::fs::read(&guest.seed)
        .await
        .map_err(|error| PluginError {
            source: Some(Box::new(error)),
            ..PluginError::new(
                step,
                "worker",
                format!("can't read the seed {}", guest.seed.display()),
            )
        })?;
    let folder = folder(guest);
    let path = format!("{folder}/initramfs");
    let of = format!("of={path}");
    let commands = [
        Cmd::new("mkdir").args(["-p", "-m", "0700", "--", &folder]),
        Cmd::new("dd").args([
            &format!("if={}", guest.files.initramfs),
            &of,
            "bs=1M",
            "status=none",
        ]),
        Cmd::new("dd")
            .args([&of, "oflag=append", "conv=notrunc", "status=none"])
            .stdin(seed),
    ];
    for cmd in commands {
        run(host, step, cmd).await?;
    }
    Ok(path)
}

/// The names of the guests that run, which must be exactly those `planned`, whatever the order.
pub fn exactly(
    host: &Node,
    planned: &[Name],
    mut running: Vec<String>,
    step: &str,
) -> Result<String, PluginError> {
    let mut planned: Vec<&str> = planned.iter().map(Name::as_str).collect();
    planned.sort_unstable();
    running.sort_unstable();
    if running == planned {
        return Ok(running.join(" "));
    }
    let shown = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let running: Vec<&str> = running.iter().map(String::as_str).collect();
    let message = format!(
        "these guests run: {}; the plan says: {}",
        shown(&running),
        shown(&planned)
    );
    Err(PluginError::new(step, host.name.as_str(), message))
}

/// Removes the guest's folder.
pub async fn remove(host: &Node, folder: &str, step: &str) -> Result<(), PluginError> {
    run(host, step, Cmd::new("rm").args(["-rf", "--", folder])).await
}

/// Runs a command that must succeed.
pub async fn run(host: &Node, step: &str, cmd: Cmd) -> Result<(), PluginError> {
    let result = host.shell.check(cmd).await;
    result
        .map(drop)
        .map_err(|error| PluginError::shell(step, &host.name, error))
}

/// The last part of a console's log on the host, for messages.
pub async fn console_tail(host: &Node, path: &str) -> String {
    let cmd = Cmd::new("tail").args(["-c", "4000", "--", path]);
    match host.shell.check(cmd).await {
        Ok(output) => output.text(),
        Err(error) => format!("(no console log: {error})"),
    }
}
