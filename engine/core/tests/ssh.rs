//! The system's ssh against a real `sshd` on loopback, with keys and a configuration of its own.
//! Skipped, visibly, where `sshd` is not installed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod contract;
mod sshd;

use vexp_engine::run::ssh::Ssh;

/// Programs that the server runs at a time on so many connections.
const PROGRAMS: u32 = 200;
const CONNECTIONS: usize = 1;
/// Whether the server waits for the output of children that a program leaves behind.
const WAITS_FOR_CHILDREN: bool = true;

fn connector() -> Ssh {
    Ssh
}

#[tokio::test]
async fn a_machine_that_answers_without_end_takes_little_time() {
    use std::time::{Duration, Instant};
    use vexp_api::ids::Name;
    use vexp_api::plugin::Node;
    use vexp_api::sample::NodeRole;
    use vexp_api::shell::Connect as _;
    use vexp_api::site::SshTarget;

    let folder = tempfile::tempdir().unwrap();
    let timeout = folder.path().join("timeout");
    std::fs::write(&timeout, "#!/bin/sh\nexec yes endless\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&timeout, mode).unwrap();
    let path = format!("PATH={}:/usr/bin:/bin", folder.path().display());
    let local = std::net::Ipv4Addr::LOCALHOST;
    let Some(sshd) = sshd::Sshd::start_as(local, "", &path) else {
        return;
    };
    let name = Name::new("host").unwrap();
    let target: SshTarget = sshd.target().into();
    let shell = Ssh
        .connect(&name, &target, sshd.sockets(), Duration::from_secs(20))
        .await
        .unwrap();
    let node = Node {
        name,
        role: NodeRole::Host,
        shell,
        data: Vec::new(),
    };
    let began = Instant::now();
    let place = folder.path().join("env");
    let seen = vexp_engine::run::environment::record(&[node], &place)
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(seen.facts.len(), 0);
    assert_eq!(seen.unread["host"], "an answer without an end");
}
