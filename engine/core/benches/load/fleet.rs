//! The machines: an sshd each, with addresses on loopback and keys that were made for it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failed;

pub(crate) const SSHD: &str = "/usr/sbin/sshd";
/// A tmpfs of the namespace's own; short, since sockets lie below it (unix(7)).
const FOLDER: &str = "/run/load";

/// Servers that run. They end with the namespace.
pub(crate) struct Fleet {
    servers: Vec<Child>,
}

/// Address of the machine with this number.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 0, number)
}

/// Where a machine gets its file.
pub(crate) fn pushed(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("pushed/{}", address(number)))
}

/// What the command with this number prints on a machine.
pub(crate) fn words(number: u8, command: u32) -> String {
    format!("{} {command}", address(number))
}

impl Fleet {
    /// Starts `hosts` of them, in a network and a mount namespace of their own.
    pub(crate) fn up(hosts: u8) -> Result<Self, Failed> {
        run("mount", &["-t", "tmpfs", "-o", "mode=755", "load", "/run"])?;
        run("ip", &["link", "set", "lo", "up"])?;
        let folder = Path::new(FOLDER);
        // sshd refuses to start as root without the first.
        for dir in ["/run/sshd", "/run/load/pushed", "/run/load/home"] {
            std::fs::create_dir_all(dir)?;
        }
        key(&folder.join("client"))?;
        // Like any file that a study pushes: no zeros, which compress.
        let mut file = vec![0; 256 << 10];
        for (i, byte) in file.iter_mut().enumerate() {
            *byte = (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        }
        std::fs::write(folder.join("file"), file)?;
        let mut known = String::new();
        let mut servers = Vec::new();
        for number in 1..=hosts {
            let host = folder.join(format!("host{number}"));
            key(&host)?;
            let text = std::fs::read_to_string(host.with_extension("pub"))?;
            writeln!(known, "{} {}", address(number), text.trim())?;
            servers.push(start(folder, number)?);
        }
        std::fs::write(folder.join("known"), known)?;
        let config = format!(
            "Host *\n    User root\n    IdentityFile {FOLDER}/client\n    IdentitiesOnly yes\n    \
             IdentityAgent none\n    UserKnownHostsFile {FOLDER}/known\n    \
             GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    BatchMode yes\n"
        );
        std::fs::write(folder.join("config"), config)?;
        for number in 1..=hosts {
            wait_for(number)?;
        }
        Ok(Self { servers })
    }

    /// Where keys, configuration and what is pushed are.
    pub(crate) fn folder(&self) -> &'static Path {
        Path::new(FOLDER)
    }

    /// How many there are.
    pub(crate) fn hosts(&self) -> u8 {
        u8::try_from(self.servers.len()).unwrap_or(u8::MAX)
    }

    /// Holds what was pushed against the file, and removes it.
    pub(crate) fn check_pushed(&self) -> Result<(), Failed> {
        let file = std::fs::read(self.folder().join("file"))?;
        for number in 1..=self.hosts() {
            let path = pushed(self.folder(), number);
            let there = std::fs::read(&path);
            if there.ok().as_ref() != Some(&file) {
                return Err(format!("{} was not pushed as it is", path.display()).into());
            }
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Limits are sshd's own defaults, as on machines that nobody has tuned. The home is another: bash
/// reads the user's ~/.bashrc where it is started by sshd.
fn start(folder: &Path, number: u8) -> Result<Child, Failed> {
    let config = folder.join(format!("sshd{number}"));
    std::fs::write(
        &config,
        format!(
            "ListenAddress {}\nHostKey {FOLDER}/host{number}\nAuthorizedKeysFile {FOLDER}/client.pub\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nUseDNS no\nStrictModes no\nPidFile none\n\
             PrintMotd no\nSetEnv HOME={FOLDER}/home\nSubsystem sftp internal-sftp\n",
            address(number)
        ),
    )?;
    let child = Command::new(SSHD)
        .arg("-Def")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join(format!("log{number}")))?)
        .spawn()?;
    Ok(child)
}

fn wait_for(number: u8) -> Result<(), Failed> {
    let end = Instant::now() + Duration::from_secs(20);
    let socket = SocketAddr::from((address(number), 22));
    while TcpStream::connect(socket).is_err() {
        if Instant::now() > end {
            let log = std::fs::read_to_string(format!("{FOLDER}/log{number}"))?;
            return Err(format!("sshd {number} does not answer: {log}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn key(path: &Path) -> Result<(), Failed> {
    let path = path.to_string_lossy();
    run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", &path],
    )
}

fn run(program: &str, args: &[&str]) -> Result<(), Failed> {
    let status = Command::new(program).args(args).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{program} {}: {status}", args.join(" ")).into()),
    }
}
