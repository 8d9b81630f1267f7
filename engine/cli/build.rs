//! Finds the commit that vexp is built from, for its version, and the definitions of images, which
//! are part of the binary.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> std::io::Result<()> {
    commit();
    images()
}

/// Sources without a repository have no commit, unless `VEXP_COMMIT` says it.
fn commit() {
    println!("cargo::rerun-if-env-changed=VEXP_COMMIT");
    let told = std::env::var("VEXP_COMMIT").ok();
    let commit = told.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let suffix = commit.map_or_else(String::new, |commit| format!("+g{commit}"));
    println!("cargo::rustc-env=VEXP_COMMIT_SUFFIX={suffix}");
    // It moves with every commit and every checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Writes `images.rs`: path below `images/`, whether it is executable, and text of each file.
fn images() -> std::io::Result<()> {
    // Asked when it runs: a target folder that several checkouts share keeps this program.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&here).join("../../images");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(&folder, &mut files)?;
    files.sort();
    let mut list = "&[\n".to_owned();
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file);
        let executable = file.metadata()?.permissions().mode() & 0o100 != 0;
        let _ = writeln!(list, "({name:?}, {executable}, include_bytes!({file:?})),");
    }
    list.push(']');
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    std::fs::write(out.unwrap_or_default().join("images.rs"), list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}
