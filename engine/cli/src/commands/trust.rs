//! Asks once whether a study may run on computers that are somebody's own.
//!
//! On testbed `hosts` a study is code that runs as root on the machines of its inventory. What is
//! trusted is the study's content: another digest is asked about anew.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use vexp_api::exit::Exit;
use vexp_api::plan::Plan;
use vexp_api::plugin::Testbed;

use crate::error::{Failure, OrExit as _};
use crate::render;

/// Bytes of the list of trusted studies that are read.
const MOST: u64 = 1 << 20;

/// Lets a plan pass whose study needs no trust, or has it: by `--trust`, from before, or because the
/// user says so now.
pub(super) fn required(plan: &Plan, testbed: &dyn Testbed, given: bool) -> Result<(), Failure> {
    if !testbed.trusts_studies() {
        return Ok(());
    }
    let digest = plan.study_digest.to_string();
    let list = list();
    if list.as_deref().is_some_and(|list| has(list, &digest)) {
        return Ok(());
    }
    if !given && !asked(plan)? {
        let message = format!(
            "the study is not trusted: on testbed `{}` it runs programs of its own as root on your machines",
            plan.testbed
        );
        return Err(Failure::new(Exit::Usage, message).hint(
            "read the study and its imports; --trust says that you did, once for this content",
        ));
    }
    if let Some(list) = list {
        keep(&list, &digest).or_exit(Exit::Infrastructure)?;
    }
    Ok(())
}

/// Asks where there is somebody to answer.
fn asked(plan: &Plan) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    render::say(&format!(
        "study `{}` runs programs of its own as root on the machines of its inventory. Do you trust it? [y/N]",
        plan.study
    ));
    let mut answer = String::new();
    input.lock().read_line(&mut answer).or_exit(Exit::Usage)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The user's list of trusted studies; `None` where there is no home.
fn list() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|folder| folder.join("vexp/trusted-studies"))
}

fn has(list: &Path, digest: &str) -> bool {
    let mut text = String::new();
    let read = vexp_api::run_dir::open_named(list).and_then(|file| {
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text)
    });
    read.is_ok() && text.lines().any(|line| line == digest)
}

fn keep(list: &Path, digest: &str) -> std::io::Result<()> {
    if let Some(folder) = list.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(list)?;
    writeln!(file, "{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_trusted_by_its_content_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("state/vexp/trusted-studies");
        assert!(!has(&list, "sha256:aa"));
        keep(&list, "sha256:aa").unwrap();
        keep(&list, "sha256:bb").unwrap();
        assert!(has(&list, "sha256:aa") && has(&list, "sha256:bb"));
        assert!(!has(&list, "sha256:a") && !has(&list, "sha256:cc"));
    }
}
