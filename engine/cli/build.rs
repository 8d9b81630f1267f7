//! Finds the commit that vexp is built from, for its version. Sources without a repository have
//! none, unless `VEXP_COMMIT` says it.

use std::path::Path;
use std::process::Command;

fn main() {
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
