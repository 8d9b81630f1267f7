//! `vexp doctor`: what this machine can do, and what it lacks.

use std::path::Path;

use serde::Serialize;
use vexp_api::exit::Exit;
use vexp_api::meminfo;
use vexp_engine::build::NEEDED_TOOLS;
use vexp_engine::store::Store;

use crate::args::Format;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Programs that labs need, with the Debian packages that have them.
const LAB_TOOLS: &[(&str, &str)] = &[
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

/// Disk for packages, images and raw data of the paper, bytes.
const LEAST_DISK: u64 = 3 << 30;
/// Memory for a machine of 4 GiB and its emulator, bytes.
const LEAST_MEMORY: u64 = 5 << 30;

/// Something that was looked at.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Check {
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
    let mut text = String::new();
    for check in checks {
        let state = if check.ok { "ok" } else { "LACKS" };
        let package = check.package.unwrap_or_default();
        let rest = match check.note.as_str() {
            "" => package,
            note => note,
        };
        let line = format!("{state:5}  {:7}  {:20}  {rest}", check.area, check.what);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn machine() -> Vec<Check> {
    let root = rustix::process::geteuid().is_root();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut checks = vec![
        Check::new(
            "root",
            root,
            "run and reproduce need it, for namespaces, taps, mounts and files' owners: use sudo",
        ),
        Check::new(
            "processors",
            processors >= 2,
            "there is one; an emulated machine and its traffic peers need one each",
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
        let module = format!("modprobe {name}: the kernel must have this file system");
        Check::new(*name, file_system(name), module)
    }));
    checks.extend(meminfo::read("MemAvailable").map(|bytes| Check {
        note: format!("{} GiB; the paper's machines take 5", gib(bytes)),
        ..Check::new("memory", bytes >= LEAST_MEMORY, "")
    }));
    checks.extend(disk().map(|(folder, bytes)| Check {
        note: format!("{} GiB in {folder}; images take 3", gib(bytes)),
        ..Check::new("disk", bytes >= LEAST_DISK, "")
    }));
    checks.extend(Path::new("/dev/kvm").exists().then(|| Check {
        note: "used if a probe guest boots under it; else emulation (TCG)".to_owned(),
        ..Check::new("/dev/kvm", true, "")
    }));
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
