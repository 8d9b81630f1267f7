//! Compiles the library that QEMU loads, so that the binary carries it and users compile nothing.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=emulator/lockstep.c");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("lockstep.so");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args([
        "-std=gnu11",
        "-O2",
        "-fPIC",
        "-shared",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
    ]);
    cc.args(["-fvisibility=hidden", "-o"])
        .arg(&out)
        .arg("emulator/lockstep.c");
    match cc.status() {
        Ok(status) if status.success() => {}
        other => panic!("the library for QEMU can't be compiled by {cc:?}: {other:?}"),
    }
}
