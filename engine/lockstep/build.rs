//! Compiles the library that QEMU loads, so that the binary carries it and users compile nothing.

use std::path::PathBuf;
use std::process::Command;

/// What it consists of, in `emulator/`.
const SOURCES: &[&str] = &["lockstep.c", "pin.c", "idle.c", "port.c", "wait.c"];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=emulator");
    println!("cargo::rerun-if-env-changed=CC");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("lockstep.so");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args([
        "-std=gnu11",
        "-O2",
        "-fPIC",
        "-shared",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
    ]);
    // The same library from the same sources, wherever they lie.
    cc.args(["-fvisibility=hidden", "-Wl,--build-id=none", "-o"])
        .arg(&out)
        .current_dir("emulator");
    cc.args(SOURCES);
    match cc.status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!(
            "the library for QEMU can't be compiled by {cc:?}: {other:?}"
        )),
    }
}
