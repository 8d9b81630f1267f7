//! `vexp doctor`: which testbeds can be used here, by this user, and what the others lack.

use std::path::Path;

use serde::Serialize;
use vexp_api::exit::Exit;
use vexp_api::meminfo;
use vexp_engine::build::{self, NEEDED_TOOLS};
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
    /// The testbeds that need it.
    testbeds: &'static [&'static str],
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
            testbeds: BOTH,
            package: None,
            note: if ok { String::new() } else { otherwise.into() },
        }
    }

    fn tool(area: &'static str, what: &str, package: &'static str) -> Self {
        let missing = format!("apt install {package}");
        Self {
            area,
            testbeds: if area == "lab" { EMULATED } else { BOTH },
            package: Some(package),
            ..Self::new(what, there(what), missing)
        }
    }

    /// Of no concern to virtual time.
    fn of_emulated(self) -> Self {
        Self {
            testbeds: EMULATED,
            ..self
        }
    }
}

/// Testbeds that use this computer, and the one that needs more of it.
const BOTH: &[&str] = &["virtual", "emulated"];
const EMULATED: &[&str] = &["emulated"];

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
    let lacks = lacking(&checks, "virtual");
    if lacks.is_empty() {
        return Ok(Exit::Fine);
    }
    let failure = Failure::new(
        Exit::Infrastructure,
        format!("this machine lacks {}", names(&lacks)),
    );
    Err(match packages(&lacks) {
        None => failure,
        Some(packages) => failure.hint(format!("apt install {packages}")),
    })
}

/// What a testbed needs and this computer lacks.
fn lacking<'a>(checks: &'a [Check], testbed: &str) -> Vec<&'a Check> {
    (checks.iter())
        .filter(|check| !check.ok && check.testbeds.contains(&testbed))
        .collect()
}

fn names(checks: &[&Check]) -> String {
    let names: Vec<&str> = checks.iter().map(|check| check.what.as_str()).collect();
    names.join(", ")
}

/// Their Debian packages, each once.
fn packages(checks: &[&Check]) -> Option<String> {
    let mut packages: Vec<&str> = checks.iter().filter_map(|check| check.package).collect();
    packages.sort_unstable();
    packages.dedup();
    (!packages.is_empty()).then(|| packages.join(" "))
}

/// Which testbeds can be used, a line each.
fn testbeds(checks: &[Check]) -> String {
    let line = |testbed: &&str| match lacking(checks, testbed)[..] {
        [] => format!("testbed {testbed}: can be used\n"),
        ref lacks => format!(
            "testbed {testbed}: can't be used without {}\n",
            names(lacks)
        ),
    };
    BOTH.iter().map(line).collect()
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
    text + &testbeds(checks)
}

fn machine() -> Vec<Check> {
    let root = rustix::process::geteuid().is_root();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut checks = vec![
        Check::new(
            "root",
            root,
            "testbed emulated needs it, for taps and mounts: use sudo",
        )
        .of_emulated(),
        namespaces(),
        Check::new(
            "processors",
            processors >= 2,
            "there is one; an emulated machine and its traffic peers need one each",
        ),
        Check::new(
            "/dev/net/tun",
            Path::new("/dev/net/tun").exists(),
            "modprobe tun",
        )
        .of_emulated(),
        Check::new(
            "/dev/loop-control",
            Path::new("/dev/loop-control").exists(),
            "modprobe loop",
        )
        .of_emulated(),
    ];
    checks.extend(FILE_SYSTEMS.iter().map(|name| {
        let module = format!("modprobe {name}: the kernel must have this file system");
        Check::new(*name, file_system(name), module).of_emulated()
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
        ..Check::new("/dev/kvm", true, "").of_emulated()
    }));
    checks
}

/// Whether this user can build images, found out by trying.
fn namespaces() -> Check {
    match build::possible() {
        Ok(()) => Check::new("namespaces", true, ""),
        Err(error) => Check::new("namespaces", false, error.to_string()),
    }
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
