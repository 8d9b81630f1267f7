//! Machines as a user's ssh configuration has them: jump hosts, limits of sshd, keys that changed,
//! and a control path that fails. Against real `sshd`s on loopback; skipped, visibly, without.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod sshd;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sshd::Sshd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vexp_api::ids::{HostName, Name, RemotePath};
use vexp_api::shell::{Cmd, Output, Shell, ShellError};
use vexp_api::site::ConfiguredTarget;
use vexp_engine::run::ssh::SshShell;

const SOON: Duration = Duration::from_secs(60);

fn node() -> Name {
    Name::new("rack1").unwrap()
}

/// An ssh configuration in which `sshd` is the host `name`, reached at `at`.
fn block(sshd: &Sshd, name: &str, at: SocketAddr, more: &str) -> String {
    let target = sshd.target();
    let (ip, port) = (at.ip(), at.port());
    format!(
        "Host {name}\n  HostName {ip}\n  Port {port}\n  HostKeyAlias {name}\n  User {}\n  \
         IdentityFile {}\n  {more}\n",
        target.user,
        target.identity.display()
    )
}

/// What vexp itself says in each configuration, and where known keys are.
fn strict(sshd: &Sshd, known: &[(&str, &str)]) -> String {
    let path = sshd.sockets().join("configured");
    let lines: String = known
        .iter()
        .map(|(name, key)| format!("{name} {key}\n"))
        .collect();
    std::fs::write(&path, lines).unwrap();
    format!(
        "Host *\n  StrictHostKeyChecking yes\n  BatchMode yes\n  IdentitiesOnly yes\n  \
         UserKnownHostsFile {}\n",
        path.display()
    )
}

fn target(sshd: &Sshd, name: &str, config: &str) -> ConfiguredTarget {
    let path: PathBuf = sshd.sockets().join("config.ssh");
    std::fs::write(&path, config).unwrap();
    ConfiguredTarget {
        host: HostName::new(name).unwrap(),
        config: path,
        control: None,
        sudo: false,
        tools: [("there".to_owned(), RemotePath::new("/bin/echo").unwrap())].into(),
    }
}

async fn connect(sshd: &Sshd, target: ConfiguredTarget) -> Result<SshShell, ShellError> {
    SshShell::connect_when_up(&node(), &target.into(), sshd.sockets(), SOON).await
}

#[tokio::test]
async fn users_keys_and_jump_hosts_are_those_of_the_configuration() {
    let Some(inner) = Sshd::start() else { return };
    let outer = Sshd::start_at(Ipv4Addr::new(127, 0, 0, 2), "").unwrap();
    let (inner_key, outer_key) = (inner.host_key(), outer.host_key());
    let known = [
        ("rack", inner_key.as_str()),
        ("bastion", outer_key.as_str()),
    ];
    let config = strict(&inner, &known)
        + &block(&inner, "rack", inner.socket(), "ProxyJump bastion")
        + &block(&outer, "bastion", outer.socket(), "");
    outer.wait_until_up();
    let shell = connect(&inner, target(&inner, "rack", &config))
        .await
        .unwrap();
    let said = shell.check(Cmd::new("there").arg("a  b")).await.unwrap();
    assert_eq!(said.text(), "a  b\n");
    assert_eq!(shell.control(), None);
    assert_eq!(outer.connections().len(), 1);

    // The jump host's key is held to the same rules.
    let config = config
        .replace("ProxyJump bastion", "ProxyJump stranger")
        .replace("Host bastion", "Host stranger");
    let config = config.replace("HostKeyAlias bastion", "HostKeyAlias stranger");
    let error = connect(&inner, target(&inner, "rack", &config))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("ost key verification failed"),
        "{error}"
    );
}

/// What is set for logins, and what the client would send, is not what programs have.
#[tokio::test]
async fn programs_have_one_locale_whatever_a_machine_is_set_to() {
    let set = "LANG=de_DE.UTF-8 LC_ALL=tr_TR.UTF-8 LANGUAGE=de";
    let Some(sshd) = Sshd::start_as(Ipv4Addr::LOCALHOST, "", set) else {
        return;
    };
    sshd.wait_until_up();
    let key = sshd.host_key();
    let config = strict(&sshd, &[("rack", &key)]) + &block(&sshd, "rack", sshd.socket(), "");
    let shell = connect(&sshd, target(&sshd, "rack", &config))
        .await
        .unwrap();
    let show = || Cmd::new("sh").args(["-c", "echo $LC_ALL $LANG"]);
    assert_eq!(shell.check(show()).await.unwrap().text(), "C de_DE.UTF-8\n");
    let mut held = shell.start(show().held()).await.unwrap();
    assert!(held.ready(SOON).await);
    held.release().await.unwrap();
    assert_eq!(held.wait().await.unwrap().text(), "C de_DE.UTF-8\n");
    let missing = shell.run(Cmd::new("no-such-program")).await.unwrap();
    assert_eq!(missing.status, Some(127));
}

#[tokio::test]
async fn a_changed_host_key_is_refused_at_once_and_says_so() {
    let Some(sshd) = Sshd::start() else { return };
    sshd.wait_until_up();
    let other = sshd.client_key();
    let config = strict(&sshd, &[("rack", &other)]) + &block(&sshd, "rack", sshd.socket(), "");
    let began = Instant::now();
    let error = connect(&sshd, target(&sshd, "rack", &config))
        .await
        .unwrap_err()
        .to_string();
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    for part in [
        "rack1",
        "host key is not the one that is known",
        "configured:1",
        "ssh-keygen -R",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("@@@"), "{error}");
}

#[tokio::test]
async fn more_programs_than_a_connection_takes_get_more_connections() {
    let Some(sshd) = Sshd::start_at(Ipv4Addr::LOCALHOST, "MaxSessions 3\n") else {
        return;
    };
    let key = sshd.host_key();
    let config = strict(&sshd, &[("rack", &key)]) + &block(&sshd, "rack", sshd.socket(), "");
    let shell = Arc::new(
        connect(&sshd, target(&sshd, "rack", &config))
            .await
            .unwrap(),
    );
    let mut all = JoinSet::new();
    for n in 0..7_u32 {
        let shell = Arc::clone(&shell);
        all.spawn(async move {
            let cmd = Cmd::new("sh").args(["-c", "sleep 1; echo $1", "sh", &n.to_string()]);
            assert_eq!(shell.check(cmd).await.unwrap().text(), format!("{n}\n"));
        });
    }
    assert_eq!(all.join_all().await.len(), 7);
    assert!(sshd.connections().len() > 1);
}

#[tokio::test]
async fn too_many_programs_are_an_error_that_says_why() {
    let Some(sshd) = Sshd::start_at(Ipv4Addr::LOCALHOST, "MaxSessions 1\n") else {
        return;
    };
    let key = sshd.host_key();
    let config = strict(&sshd, &[("rack", &key)]) + &block(&sshd, "rack", sshd.socket(), "");
    let shell = connect(&sshd, target(&sshd, "rack", &config))
        .await
        .unwrap();
    // The connection's own place is taken by what keeps it open.
    let error = shell.run(Cmd::new("true")).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn connections_that_sshd_drops_by_its_limit_are_tried_again() {
    let Some(sshd) = Sshd::start_at(Ipv4Addr::LOCALHOST, "MaxStartups 1\n") else {
        return;
    };
    sshd.wait_until_up();
    let key = sshd.host_key();
    let config = strict(&sshd, &[("rack", &key)]) + &block(&sshd, "rack", sshd.socket(), "");
    let target = target(&sshd, "rack", &config);
    let sockets = sshd.sockets().to_owned();
    let mut all = JoinSet::new();
    for _ in 0..4 {
        let (target, sockets) = (target.clone().into(), sockets.clone());
        all.spawn(async move {
            SshShell::connect_when_up(&node(), &target, &sockets, SOON)
                .await
                .unwrap()
        });
    }
    for shell in all.join_all().await {
        shell.check(Cmd::new("true")).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_that_says_nothing_is_given_up() {
    let Some(sshd) = Sshd::start() else { return };
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = block(&sshd, "rack", silent.local_addr().unwrap(), "");
    let target = target(&sshd, "rack", &config).into();
    let patience = Duration::from_secs(2);
    let began = Instant::now();
    let error = SshShell::connect(&node(), &target, sshd.sockets(), patience)
        .await
        .unwrap_err();
    assert!(matches!(error, ShellError::Connect { .. }), "{error}");
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
}

/// What a control path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Open,
    /// Nothing comes through, either way, and nobody says so.
    Dark,
    Reset,
}

/// Passes bytes on while the path is open.
async fn pass(from: &TcpStream, to: &TcpStream, mut path: watch::Receiver<Path>) {
    let mut buffer = vec![0; 1 << 16];
    while from.readable().await.is_ok() {
        let mut left = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => &buffer[..n],
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        path.wait_for(|path| *path == Path::Open).await.unwrap();
        while !left.is_empty() {
            to.writable().await.unwrap();
            match to.try_write(left) {
                Ok(n) => left = &left[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// A way to `to` that can be made dark, open again, and reset.
async fn fragile(to: SocketAddr) -> (SocketAddr, watch::Sender<Path>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (set, path) = watch::channel(Path::Open);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let mut path = path.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    () = pass(&near, &far, path.clone()) => {}
                    () = pass(&far, &near, path.clone()) => {}
                    _ = path.wait_for(|path| *path == Path::Reset) => {
                        // Closing with data unsent is a reset (socket(7), SO_LINGER).
                        near.set_zero_linger().unwrap();
                    }
                }
            });
        }
    });
    (address, set)
}

#[tokio::test]
async fn a_reset_control_path_is_a_lost_connection_with_the_command() {
    let Some(sshd) = Sshd::start() else { return };
    sshd.wait_until_up();
    let key = sshd.host_key();
    let (proxy, path) = fragile(sshd.socket()).await;
    let config = strict(&sshd, &[("rack", &key)]) + &block(&sshd, "rack", proxy, "");
    let shell = connect(&sshd, target(&sshd, "rack", &config))
        .await
        .unwrap();
    let process = shell.start(Cmd::new("sleep").arg("30")).await.unwrap();
    path.send(Path::Reset).unwrap();
    let error = tokio::time::timeout(SOON, process.wait())
        .await
        .unwrap()
        .unwrap_err();
    match error {
        ShellError::Lost { node, command, .. } => {
            assert_eq!((node.as_str(), command.as_str()), ("rack1", "sleep 30"));
        }
        other => unreachable!("{other:?}"),
    }
}

/// A program that runs for a while over a control path, which then goes dark for so long; how it ended.
async fn in_the_dark(dark: Duration) -> Option<(Duration, Result<Output, ShellError>)> {
    let sshd = Sshd::start()?;
    sshd.wait_until_up();
    let key = sshd.host_key();
    let (proxy, path) = fragile(sshd.socket()).await;
    let config = strict(&sshd, &[("rack", &key)]) + &block(&sshd, "rack", proxy, "");
    let shell = connect(&sshd, target(&sshd, "rack", &config))
        .await
        .unwrap();
    let process = shell
        .start(Cmd::new("sleep").arg("12").deadline(SOON * 2))
        .await
        .unwrap();
    let began = Instant::now();
    path.send(Path::Dark).unwrap();
    let open = tokio::spawn(async move {
        tokio::time::sleep(dark).await;
        path.send(Path::Open).unwrap();
        // Until the end of the test.
        path.closed().await;
    });
    let ended = process.wait().await;
    open.abort();
    Some((began.elapsed(), ended))
}

#[tokio::test]
async fn a_black_hole_is_a_lost_connection_after_a_while() {
    let Some((took, ended)) = in_the_dark(SOON * 5).await else {
        return;
    };
    let error = ended.unwrap_err();
    let what = matches!(&error, ShellError::Lost { command, .. } if command == "sleep 12");
    assert!(what, "{error:?}");
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_stall_of_half_a_minute_is_a_lost_connection_and_no_output() {
    let Some((took, ended)) = in_the_dark(Duration::from_secs(30)).await else {
        return;
    };
    assert!(matches!(ended, Err(ShellError::Lost { .. })), "{ended:?}");
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_stall_of_some_seconds_is_nothing() {
    let Some((_, ended)) = in_the_dark(Duration::from_secs(6)).await else {
        return;
    };
    assert_eq!(ended.unwrap().status, Some(0));
}
