//! Processes in which strangers' programs run on the user's own kernel: traffic peers, and QEMU.
//!
//! A study says which programs run on a peer, and a study may come from anyone. So a peer has
//!
//! * a user namespace whose root is nobody of this computer ([`FIRST_USER`]), in which no further one can
//!   be made;
//! * network, PID, IPC, host name and mount namespaces of its own, with the guest image as its root
//!   (`pivot_root`, the old root unmounted) and a `/proc` that shows its own processes alone;
//! * of the capabilities of its namespaces those that its network and its SSH server need ([`PEER_KEEPS`]),
//!   `no_new_privs`, a filter of system calls ([`filter`]), and limits on processes, files and memory of its
//!   tmpfs;
//! * an empty environment.
//!
//! It is made in two steps, both by this program (`vexp enclose`), because a PID namespace is entered by
//! children only: [`peer`] makes the namespaces and waits until the lab has mapped its users and set up
//! its network, [`peer_root`] makes the root and becomes the SSH server.
//!
//! QEMU keeps the lab's user, because it opens taps and writes kept machines, but sees only its own root,
//! and has no capability but that for taps; its system calls are limited by itself (`-sandbox`).

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, unmount,
};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, Gid, Uid, UnshareFlags};
use serde::{Deserialize, Serialize};

#[cfg(target_arch = "x86_64")]
mod filter;
mod lab;

#[cfg(not(target_arch = "x86_64"))]
mod filter {
    /// Peers run on x86-64 only, as the images do.
    pub(super) fn refuse_calls() -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

pub use lab::Enclosed;

/// The first user of this computer that peers' users are mapped to: no range of useradd(8), newuidmap(1)
/// or systemd (its UIDS-GIDS document) reaches it.
const FIRST_USER: u32 = 0x7000_0000;
/// Users of a peer.
const USERS: u32 = 65_536;
/// What a peer's root keeps: its own network, ports below 1024, and what an SSH server does with files and
/// users of the peer. None counts outside of the peer's namespaces.
const PEER_KEEPS: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL);
/// What QEMU keeps: it attaches to the lab's taps.
const EMULATOR_KEEPS: CapabilitySet = CapabilitySet::NET_ADMIN;
/// Devices that the SSH server and the tools need.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Folders of a peer that can be written to, where its image has them: all in memory.
const WRITABLE: &[(&str, &std::ffi::CStr)] = &[
    ("dev", c"mode=755,size=1m"),
    ("run", c"mode=755,size=64m"),
    ("tmp", c"mode=1777,size=64m"),
    ("var/tmp", c"mode=1777,size=64m"),
    ("var/lib", c"mode=755,size=64m"),
    ("root", c"mode=700,size=64m"),
];
/// Bytes that one file of a peer may have, as its tmpfs.
const FILE_SIZE: u64 = 64 << 20;
/// Processes and threads of a peer.
const PROCESSES: u64 = 4096;
/// The most that a process can have, see nice(2).
const PRIORITY: i32 = -20;
/// What is looked for in folders where programs are.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a peer is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerRequest {
    /// Its root, which it can't write to.
    pub root: PathBuf,
    /// Its host name.
    pub hostname: String,
    /// Files in `/run/vexp`, by name, which only its root may read.
    pub files: Vec<(String, String)>,
    /// What its first process is.
    pub argv: Vec<String>,
}

/// Makes a peer's namespaces, and its first process when standard input says so. Returns when that has
/// ended.
///
/// # Errors
/// The kernel lets no user namespace be made, or the first process can't be started.
pub fn peer() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    unshare(
        UnshareFlags::NEWUSER
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS,
    )?;
    std::io::stdout().write_all(lab::UNSHARED)?;
    await_mapped()?;
    let (user, group) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    // Inside of a further user namespace a process would have all capabilities again.
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let mut first = Command::new("/proc/self/exe");
    first.args(["enclose", "peer-root"]).stdout(Stdio::null());
    let status = first.status()?;
    Err(std::io::Error::other(format!(
        "the peer's first process ended: {status}"
    )))
}

/// Reads the one line that says that users are mapped, and nothing of what follows it.
fn await_mapped() -> std::io::Result<()> {
    for expected in lab::MAPPED {
        let mut byte = [0];
        // `Stdin` would read ahead; the next process reads the rest.
        let read = rustix::io::read(std::io::stdin(), &mut byte)?;
        if read != 1 || byte[0] != *expected {
            return Err(std::io::Error::other("the lab has given up"));
        }
    }
    Ok(())
}

/// Makes a peer's root, and becomes its first program. Standard input has a [`PeerRequest`].
///
/// # Errors
/// Always, because this returns only if it fails.
pub fn peer_root() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request)?;
    let request: PeerRequest = serde_json::from_slice(&request)?;
    let root = &request.root;
    own_mounts()?;
    mount_bind(root, root)?;
    for (path, options) in WRITABLE {
        let target = root.join(path);
        if target.is_dir() {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", &target, "tmpfs", flags, *options)?;
        }
    }
    for device in DEVICES {
        let target = root.join("dev").join(device);
        std::fs::write(&target, b"")?;
        mount_bind(Path::new("/dev").join(device), &target)?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", root.join("proc"), "proc", flags, None)?;
    write_files(root, &request.files)?;
    enter(root)?;
    rustix::system::sethostname(request.hostname.as_bytes())?;
    limit(Resource::Fsize, FILE_SIZE)?;
    limit(Resource::Nproc, PROCESSES)?;
    become_program(&request.argv, PEER_KEEPS, filter::refuse_calls)
}

/// The seed, where images look for it; and root's `.ssh`, which is a link to it.
fn write_files(root: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    let folder = root.join("run/vexp");
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    for (name, content) in files {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(folder.join(name))?
            .write_all(content.as_bytes())?;
    }
    std::os::unix::fs::symlink("/run/vexp", root.join("root/.ssh"))
}

/// Becomes an emulator's program in its root, at the highest priority.
///
/// # Errors
/// Always, because this returns only if it fails.
pub fn emulator(root: &Path, argv: &[String]) -> std::io::Result<()> {
    rustix::process::setpriority_process(None, PRIORITY)?;
    own_mounts()?;
    mount_bind_recursive(root, root)?;
    enter(root)?;
    // QEMU has a filter of its own.
    become_program(argv, EMULATOR_KEEPS, || Ok(()))
}

/// A mount namespace of this process's own, which tells others nothing.
fn own_mounts() -> std::io::Result<()> {
    unshare(UnshareFlags::NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", private)?)
}

/// Makes `root`, a mount point, the root of all files, and forgets those that there were.
fn enter(root: &Path) -> std::io::Result<()> {
    std::env::set_current_dir(root)?;
    // The old root is mounted over the new one, and unmounted there: pivot_root(2).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

fn limit(resource: Resource, most: u64) -> std::io::Result<()> {
    let most = Some(most);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Executes a program that has these capabilities at most, and no environment. The last that is done is `before`.
fn become_program(
    argv: &[String],
    keeps: CapabilitySet,
    before: fn() -> std::io::Result<()>,
) -> std::io::Result<()> {
    let [program, args @ ..] = argv else {
        return Err(std::io::Error::other("there is no program"));
    };
    limit(Resource::Core, 0)?;
    for capability in CapabilitySet::all().difference(keeps).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Kernels know fewer, or more of them.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let sets = rustix::thread::CapabilitySets {
        effective: keeps,
        permitted: keeps,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)?;
    before()?;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PATH);
    Err(command.stdin(Stdio::null()).exec())
}

fn unshare(flags: UnshareFlags) -> std::io::Result<()> {
    #[expect(
        deprecated,
        reason = "unsafe is for UnshareFlags::FILES, which is never given here"
    )]
    Ok(rustix::thread::unshare(flags)?)
}
