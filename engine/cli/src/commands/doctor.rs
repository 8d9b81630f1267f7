//! `vexp doctor`: what this machine can do, and what it lacks.

use std::path::Path;

use serde::Serialize;
use vexp_api::exit::Exit;
use vexp_engine::build::NEEDED_TOOLS;
use vexp_engine::store::Store;

use crate::args::Format;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Programs that labs need, with the Debian packages that have them.
const LAB_TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("chroot", "coreutils"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// File systems of the peers' roots.
const FILE_SYSTEMS: &[&str] = &["squashfs", "overlay"];

/// Free space below which an effort `quick` with built images may not end well, bytes.
const LEAST_DISK: u64 = 3 << 30;
/// Memory that the emulated machine and its emulator take, bytes.
const LEAST_MEMORY: u64 = 5 << 30;

/// Something that was looked at.
#[derive(Serialize)]
struct Check {
    /// What for: `machine`, `lab`, `images`.
    area: &'static str,
    /// What.
    what: String,
    /// Whether it is there.
    ok: bool,
    /// The Debian package that has it.
    package: Option<&'static str>,
    /// What to do about it, or what is to be known.
    note: String,
}

impl Check {
    fn new(what: impl Into<String>, ok: bool, otherwise: impl Into<String>) -> Self {
        Self {
            area: "machine",
            what: what.into(),
            ok,
            package: None,
            note: if ok { String::new() } else { otherwise.into() },
        }
    }

    fn tool(area: &'static str, what: &str, package: &'static str) -> Self {
        let missing = format!("apt install {package}");
        Self {
            area,
            package: Some(package),
            ..Self::new(what, there(what), missing)
        }
    }
}

pub(super) fn run(format: Format) -> Result<Exit, Failure> {
    let mut checks = machine();
    let lab = LAB_TOOLS.iter().map(|tool| ("lab", tool));
    let images = NEEDED_TOOLS.iter().map(|tool| ("images", tool));
    checks.extend(
        lab.chain(images)
            .map(|(area, (tool, package))| Check::tool(area, tool, package)),
    );
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&checks).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        Format::Text => render::out(&text(&checks)),
    }
    let lacks: Vec<&str> = (checks.iter().filter(|check| !check.ok))
        .map(|check| check.what.as_str())
        .collect();
    if lacks.is_empty() {
        return Ok(Exit::Fine);
    }
    let mut packages: Vec<&str> = (checks.iter().filter(|check| !check.ok))
        .filter_map(|check| check.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    let failure = Failure::new(
        Exit::Infrastructure,
        format!("this machine lacks {}", lacks.join(", ")),
    );
    Err(if packages.is_empty() {
        failure
    } else {
        failure.hint(format!("apt install {}", packages.join(" ")))
    })
}

fn text(checks: &[Check]) -> String {
    render::table::table(
        &["", "for", "what", "package", "note"],
        checks.iter().map(|check| {
            vec![
                if check.ok { "ok" } else { "LACKS" }.to_owned(),
                check.area.to_owned(),
                check.what.clone(),
                check.package.unwrap_or_default().to_owned(),
                check.note.clone(),
            ]
        }),
    )
}

fn machine() -> Vec<Check> {
    let root = rustix::process::geteuid().is_root();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut checks = vec![
        Check::new(
            "root",
            root,
            "run and reproduce need it: namespaces, taps, mounts, owners of files in images",
        ),
        Check::new(
            format!("2 processors (has {processors})"),
            processors >= 2,
            "emulated machines have two",
        ),
        Check::new(
            "/dev/net/tun",
            Path::new("/dev/net/tun").exists(),
            "modprobe tun",
        ),
        Check::new(
            "/dev/loop-control",
            Path::new("/dev/loop-control").exists(),
            "modprobe loop",
        ),
    ];
    checks.extend(FILE_SYSTEMS.iter().map(|name| {
        let what = format!("file system {name}");
        Check::new(what, file_system(name), format!("modprobe {name}"))
    }));
    if let Some(bytes) = memory() {
        checks.push(Check::new(
            format!("5 GiB of memory (has {})", gib(bytes)),
            bytes >= LEAST_MEMORY,
            "the paper's emulated machines have 4 GiB",
        ));
    }
    if let Some((folder, bytes)) = disk() {
        checks.push(Check::new(
            format!("3 GiB of disk in {folder} (has {})", gib(bytes)),
            bytes >= LEAST_DISK,
            "images, packages and raw data; VEXP_STORE names another folder",
        ));
    }
    if Path::new("/dev/kvm").exists() {
        let mut check = Check::new("/dev/kvm", true, "");
        check.note = "not used by this version: machines are emulated (TCG)".to_owned();
        checks.push(check);
    }
    checks
}

fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}

/// Whether the kernel has it or can load it.
fn file_system(name: &str) -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let loaded = read("/proc/filesystems")
        .lines()
        .any(|line| line.split_whitespace().next_back() == Some(name));
    let release = read("/proc/sys/kernel/osrelease");
    let modules = read(&format!("/lib/modules/{}/modules.dep", release.trim()));
    loaded || modules.contains(&format!("/{name}.ko"))
}

/// Memory that programs can take, bytes; see proc_meminfo(5).
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The store's folder or the nearest one above it that exists, and its free bytes.
fn disk() -> Option<(String, u64)> {
    let root = Store::default_root().ok()?;
    let folder = root.ancestors().find(|folder| folder.exists())?;
    let free = rustix::fs::statvfs(folder).ok()?;
    let bytes = free.f_bavail.checked_mul(free.f_frsize)?;
    Some((root.display().to_string(), bytes))
}

fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    // Where they are on Debian, though not in every user's PATH.
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    // An absolute path replaces the folder that it is joined to.
    folders.iter().any(|folder| folder.join(program).exists())
}
