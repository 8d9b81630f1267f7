//! `vexp doctor`: what this machine can do, and what it lacks.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_engine::build::missing_tools;

use crate::error::Failure;
use crate::render;

/// Programs that labs need, with the Debian packages that have them.
const LAB_TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

pub(super) fn run() -> Result<Exit, Failure> {
    let mut lacks: Vec<String> = Vec::new();
    let mut line = |good: bool, what: &str, else_say: &str| {
        if good {
            render::out(&format!("ok    {what}\n"));
        } else {
            render::out(&format!("LACKS {what}: {else_say}\n"));
            lacks.push(what.to_owned());
        }
    };
    line(
        is_root(),
        "root",
        "run vexp with sudo; labs need namespaces, taps and mounts",
    );
    line(
        Path::new("/dev/net/tun").exists(),
        "/dev/net/tun",
        "load the kernel module tun",
    );
    for (program, package) in LAB_TOOLS {
        line(in_path(program), program, &format!("apt install {package}"));
    }
    let missing = missing_tools();
    line(
        missing.is_empty(),
        "tools that build images",
        &missing
            .iter()
            .map(|tool| format!("{}: apt install {}", tool.tool, tool.package))
            .collect::<Vec<_>>()
            .join("; "),
    );
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    line(
        processors >= 2,
        &format!("{processors} processors"),
        "two are needed to emulate two",
    );
    if Path::new("/dev/kvm").exists() {
        render::out(
            "note  /dev/kvm is there; machines are emulated (TCG) all the same in this version\n",
        );
    }
    if lacks.is_empty() {
        return Ok(Exit::Fine);
    }
    Err(Failure::new(
        Exit::Infrastructure,
        format!("this machine lacks {}", lacks.join(", ")),
    ))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    // Where they are on Debian, though not in every user's PATH.
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    folders.iter().any(|folder| folder.join(program).exists())
}
