//! An `sshd` of a test's own: on loopback, with keys that were made for it, for the same user.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vexp_api::ids::Name;
use vexp_api::site::KeyedTarget;

const SSHD: &str = "/usr/sbin/sshd";

/// A server; it and its connections end when this is dropped.
pub(crate) struct Sshd {
    dir: TempDir,
    address: Ipv4Addr,
    port: u16,
    server: Child,
}

impl Sshd {
    /// Starts one; `None`, visibly, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, "MaxSessions 500\nMaxStartups 500\n")
    }

    /// Starts one at an address of this computer, with lines of its configuration.
    pub(crate) fn start_at(address: Ipv4Addr, lines: &str) -> Option<Self> {
        Self::start_as(address, lines, "")
    }

    /// The same, which gives programs these variables: `NAME=VALUE` between blanks.
    pub(crate) fn start_as(address: Ipv4Addr, lines: &str, variables: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            // Where it must not be skipped, it isn't.
            assert!(std::env::var_os("CI").is_none(), "{SSHD} is missing");
            eprintln!("SKIPPED: sshd is missing: apt-get install openssh-server");
            return None;
        }
        if rustix::process::geteuid().is_root() {
            // It refuses to start as root without this folder, which its service makes at boot.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        for key in ["host", "client"] {
            let file = dir.path().join(key);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(file)
                .status();
            assert!(made.unwrap().success());
        }
        let port = TcpListener::bind((address, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let at = dir.path().display();
        // Another home: bash reads the user's ~/.bashrc where it is started by sshd.
        let config = format!(
            "ListenAddress {address}:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/client.pub\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nUseDNS no\nStrictModes no\nPidFile none\n\
             PrintMotd no\nSetEnv HOME={at} {variables}\n{lines}"
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let server = spawn(dir.path());
        let sshd = Self {
            dir,
            address,
            port,
            server,
        };
        sshd.known_hosts("known", Some(&sshd.host_key()));
        Some(sshd)
    }

    /// Starts it again on the same port after [`Sshd::end`].
    pub(crate) fn restart(&mut self) {
        self.server = spawn(self.dir.path());
    }

    /// Waits until it takes connections.
    pub(crate) fn wait_until_up(&self) {
        let address = self.socket();
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.port))
    }

    /// How to reach it.
    pub(crate) fn target(&self) -> KeyedTarget {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        KeyedTarget {
            address: self.address.into(),
            port: self.port,
            user: Name::new(String::from_utf8(user).unwrap().trim()).unwrap(),
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
            format!("[{}]:{} {key}\n", self.address, self.port)
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
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| {
                let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                // PID (COMMAND) STATE PPID …: proc_pid_stat(5); the command may have anything.
                let mut fields = stat.rsplit_once(") ")?.1.split(' ');
                let alive = fields.next()? != "Z";
                let parent: u32 = fields.next()?.parse().ok()?;
                (alive && parent == server)
                    .then(|| Pid::from_raw(pid))
                    .flatten()
            })
            .collect()
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

fn spawn(dir: &Path) -> Child {
    Command::new(SSHD)
        .args(["-D", "-f"])
        .arg(dir.join("config"))
        .arg("-E")
        .arg(dir.join("log"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}
