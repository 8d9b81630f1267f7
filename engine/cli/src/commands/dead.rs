//! What processes that died have left on this computer: the part of `vexp gc` that needs no rule.
//!
//! Everything that vexp has in use is held by a lock that ends with the process. What nobody holds, and
//! only vexp makes, is a leftover.

use std::path::{Path, PathBuf};

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::run_dir::RunDir;
use vexp_engine::run::leftovers;
use vexp_engine::run::lock::{LockError, RunLock, is_held};
use vexp_engine::store::Store;

use super::{calibrate, held};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Finds what is left below `runs`, in the store and where testbeds know it may be, and says what is in
/// use; with `remove` it goes, without a word.
pub(super) fn collect(
    runs: &Path,
    store: &Store,
    registry: &Registry,
    remove: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    match store.left(remove).or_exit(Exit::Infrastructure)? {
        Some(left) => found.extend(left),
        None if remove => {}
        None => in_use(store.root()),
    }
    for run in folders(runs) {
        found.extend(held::of_dead(&run, registry, remove)?);
        found.extend(in_run(&run, remove)?);
    }
    // Nobody takes a calibration up again.
    for run in folders(&calibrate::unfinished(store.root())) {
        found.extend(whole(&run, remove, || true)?);
    }
    for testbed in registry.testbeds().values() {
        found.extend(testbed.left_here(remove).or_exit(Exit::Infrastructure)?);
    }
    Ok(found)
}

fn in_use(path: &Path) {
    render::say(&format!("left alone, for it is in use: {}", path.display()));
}

/// Folders below `runs` that a vexp has had, sorted.
fn folders(runs: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders: Vec<_> = folders
        .map(|entry| entry.path())
        .filter(|run| run.join(RunLock::FILE).symlink_metadata().is_ok())
        .filter(|run| match RunDir::checked(run) {
            Ok(_) => true,
            Err(error) => {
                render::say(&format!("left alone: {error}"));
                false
            }
        })
        .collect();
    folders.sort();
    folders
}

/// What is left in a run's folder. One that died before it was a run has nothing that anybody measured.
fn in_run(run: &Path, remove: bool) -> Result<Vec<PathBuf>, Failure> {
    let stillborn = || {
        let there = |name: &str| run.join(name).exists();
        there("study.json") && !there("run.json") && !there("trials")
    };
    let find = || leftovers::find(run).or_exit(Exit::Infrastructure);
    if stillborn() {
        // It may have become a run before it was held.
        return whole(run, remove, stillborn);
    }
    if !run.join("run.json").exists() || find()?.is_empty() {
        return Ok(Vec::new());
    }
    if !remove {
        return if free(run)? { find() } else { Ok(Vec::new()) };
    }
    match held(run)? {
        Some(lock) => leftovers::remove(run, &lock).or_exit(Exit::Infrastructure),
        None => Ok(Vec::new()),
    }
}

/// Whether nobody has a run's folder, which is looked at and not changed; what is in use is said.
pub(super) fn free(run: &Path) -> Result<bool, Failure> {
    let held = is_held(run).or_exit(Exit::Infrastructure)?;
    if held {
        in_use(run);
    }
    Ok(!held)
}

/// A run's folder, if nobody has it.
pub(super) fn held(run: &Path) -> Result<Option<RunLock>, Failure> {
    match RunLock::take(run) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { .. }) => Ok(None),
        Err(error) => Err(Failure::of(Exit::Infrastructure, &error)),
    }
}

/// All of a run's folder, if nobody has it and it still is a leftover then.
fn whole(run: &Path, remove: bool, left: impl Fn() -> bool) -> Result<Vec<PathBuf>, Failure> {
    if !remove {
        let gone = free(run)? && left();
        return Ok(gone.then(|| run.to_owned()).into_iter().collect());
    }
    let Some(_lock) = held(run)?.filter(|_| left()) else {
        return Ok(Vec::new());
    };
    std::fs::remove_dir_all(run).or_exit(Exit::Infrastructure)?;
    Ok(vec![run.to_owned()])
}
