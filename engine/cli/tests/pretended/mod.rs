//! Runs on the testbed that pretends: `tests/fake`, which `cargo test` builds.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Said, command, root, said};

/// The study of [`World::run`].
pub(crate) const STUDY: &str = "engine/cli/tests/data/pretended.ncl";

/// A folder for runs, and a store of its own.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The pretending vexp, in this world.
    pub(crate) fn vexp(&self, args: &[&str]) -> Command {
        let like = command(args);
        let mut vexp = Command::new(binary());
        vexp.args(args).current_dir(root());
        for (key, value) in like.get_envs() {
            match value {
                Some(value) => vexp.env(key, value),
                None => vexp.env_remove(key),
            };
        }
        vexp.env("VEXP_STORE", self.path("store"))
            .env("FAKE_JOURNAL", self.path("journal"))
            .env_remove("FAKE_FAULTS")
            .stdin(Stdio::null());
        vexp
    }

    /// `vexp run STUDY` with more arguments.
    pub(crate) fn run(&self, more: &[&str]) -> Command {
        let runs = self.path("runs");
        let mut args = vec!["run", STUDY, "--testbed", "fake", "--runs"];
        args.push(runs.to_str().unwrap());
        args.extend(more);
        self.vexp(&args)
    }

    /// `vexp run STUDY` with something that fails.
    pub(crate) fn failing(&self, fault: &str, more: &[&str]) -> Said {
        said(self.run(more).env("FAKE_FAULTS", fault))
    }

    /// The only run.
    pub(crate) fn only_run(&self) -> PathBuf {
        let mut found = std::fs::read_dir(self.path("runs")).unwrap();
        let run = found.next().unwrap().unwrap().path();
        assert!(found.next().is_none());
        run
    }

    /// What was done, in order.
    pub(crate) fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until `run` has done something.
    pub(crate) fn wait_for(&self, done: &str, run: &mut Child) {
        until(done, || {
            assert_eq!(run.try_wait().unwrap(), None, "it ended early");
            self.journal().iter().any(|line| line == done)
        });
    }
}

/// Waits until it holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed().as_secs() < 120, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Beside the folder of this test's own binary.
fn binary() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().with_file_name("examples");
    let path = path.join("fake");
    assert!(path.exists(), "cargo build --example fake makes it");
    path
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Records of a run's trials, by id.
pub(crate) fn records(run: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(run.join("trials")) else {
        return Default::default();
    };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.to_owned();
            Some((id, std::fs::read(path.join("trial.json")).ok()?))
        })
        .filter(|(id, _)| !id.starts_with('.'))
        .collect()
}

/// Events of a run's log.
pub(crate) fn events(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
