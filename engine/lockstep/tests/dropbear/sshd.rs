//! A Dropbear of a test's own: on loopback, for root, with keys that were made for it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vexp_api::ids::Name;
use vexp_api::site::KeyedTarget;
use vexp_lockstep::ssh::key::KeyPair;

const DROPBEAR: &str = "/usr/sbin/dropbear";
/// Dropbear looks for keys in the home that passwd(5) has. In a mount namespace of its own that is the test's folder.
const START: &str = r#"mount --bind "$0/home" /root && exec "$@""#;

/// A server; it and its connections end when this is dropped.
pub(crate) struct Sshd {
    dir: TempDir,
    port: u16,
    server: Child,
}

impl Sshd {
    /// Starts one; `None`, visibly, where there can be none.
    pub(crate) fn start() -> Option<Self> {
        if let Some(reason) = missing() {
            // Where it must not be skipped, it isn't.
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            eprintln!("SKIPPED: {reason}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("home/.ssh")).unwrap();
        for name in ["host", "client"] {
            let key = KeyPair::from_seed(1, name);
            let line = format!("{}\n", key.public().line());
            std::fs::write(at(name), key.private_file(name)).unwrap();
            std::fs::write(at(&format!("{name}.pub")), line).unwrap();
        }
        std::fs::copy(at("client.pub"), at("home/.ssh/authorized_keys")).unwrap();
        // The images convert it in the same way.
        let convert = Command::new("dropbearconvert")
            .args(["openssh", "dropbear"])
            .args([at("host"), at("host.dropbear")])
            .output()
            .unwrap();
        assert!(convert.status.success(), "{convert:?}");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let server = spawn(dir.path(), port);
        let sshd = Self { dir, port, server };
        sshd.known_hosts("known", Some(&sshd.host_key()));
        Some(sshd)
    }

    /// Starts it again on the same port after [`Sshd::end`].
    pub(crate) fn restart(&mut self) {
        self.server = spawn(self.dir.path(), self.port);
    }

    /// Waits until it takes connections.
    pub(crate) fn wait_until_up(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// How to reach it.
    pub(crate) fn target(&self) -> KeyedTarget {
        KeyedTarget {
            address: Ipv4Addr::LOCALHOST.into(),
            port: self.port,
            user: Name::new("root").unwrap(),
            identity: self.dir.path().join("client"),
            known_hosts: self.dir.path().join("known"),
        }
    }

    /// A private folder.
    pub(crate) fn sockets(&self) -> &Path {
        self.dir.path()
    }

    /// The server's key.
    pub(crate) fn host_key(&self) -> String {
        self.key("host.pub")
    }

    /// A key that is not the server's.
    pub(crate) fn client_key(&self) -> String {
        self.key("client.pub")
    }

    /// Writes a file of known hosts that has `key` for the server, or none.
    pub(crate) fn known_hosts(&self, file: &str, key: Option<&str>) -> PathBuf {
        let path = self.dir.path().join(file);
        let line = key.map_or_else(String::new, |key| {
            format!("[{}]:{} {key}\n", Ipv4Addr::LOCALHOST, self.port)
        });
        std::fs::write(&path, line).unwrap();
        path
    }

    fn key(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(file)).unwrap();
        text.trim().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Processes that the server made for connections which are open.
    pub(crate) fn connections(&self) -> Vec<Pid> {
        let server = self.server.id();
        let file = format!("/proc/{server}/task/{server}/children");
        let children = std::fs::read_to_string(file).unwrap_or_default();
        let pid = |text: &str| Pid::from_raw(text.parse().ok()?);
        children.split_whitespace().filter_map(pid).collect()
    }

    /// Ends the server and its connections, as a crash of the machine would.
    pub(crate) fn end(&mut self) {
        // Found first: without their parent they couldn't be told from others.
        let connections = self.connections();
        let _ = self.server.kill();
        let _ = self.server.wait();
        for pid in connections {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// What keeps it from being started.
fn missing() -> Option<&'static str> {
    if !Path::new(DROPBEAR).exists() {
        return Some("dropbear is missing: apt-get install dropbear-bin");
    }
    if !rustix::process::geteuid().is_root() {
        return Some("dropbear takes the keys of a test only as root");
    }
    let unshare = Command::new("unshare").args(["--mount", "true"]).output();
    let allowed = unshare.is_ok_and(|output| output.status.success());
    (!allowed).then_some("mount namespaces are not allowed here")
}

fn spawn(dir: &Path, port: u16) -> Child {
    let log = std::fs::File::create(dir.join("log")).unwrap();
    Command::new("unshare")
        .args(["--mount", "sh", "-c", START])
        .arg(dir)
        // As images/common/root/usr/lib/vexp/ssh-server has it.
        .args([DROPBEAR, "-F", "-E", "-s", "-k", "-m", "-p"])
        .arg(format!("{}:{port}", Ipv4Addr::LOCALHOST))
        .arg("-r")
        .arg(dir.join("host.dropbear"))
        .arg("-P")
        .arg(dir.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
