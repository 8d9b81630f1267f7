//! A binary with a plugin of its own, `examples/own_plugin.rs`, which `cargo test` builds.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{command, root, said, vexp};

const STUDY: &str = "engine/cli/tests/data/own_plugin.ncl";
const VMSTAT: &str = "plugins/testdata/command-procps-4.0.4/vmstat.txt";

/// Beside the folder of this test's own binary.
fn example() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().with_file_name("examples");
    let path = path.join("own_plugin");
    assert!(path.exists(), "cargo build --example own_plugin makes it");
    path
}

/// The example, called as [`command`] calls vexp.
fn own(args: &[&str]) -> Command {
    let like = command(args);
    let mut own = Command::new(example());
    own.args(args).current_dir(root());
    for (key, value) in like.get_envs() {
        match value {
            Some(value) => own.env(key, value),
            None => own.env_remove(key),
        };
    }
    own
}

#[test]
fn a_study_may_use_it_and_vexp_itself_does_not_know_it() {
    let good = said(&mut own(&["check", STUDY]));
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    assert!(good.out.ends_with("no errors\n"), "{}", good.out);
    let unknown = vexp(&["check", STUDY]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("runnable"), "{}", unknown.err);
}

#[test]
fn its_parser_is_called_as_those_of_vexp_are() {
    let lists = said(&mut own(&["parse", "--tool", "none", VMSTAT]));
    assert!(lists.err.contains("runnable"), "{}", lists.err);
    let read = said(&mut own(&["parse", "--tool", "runnable", VMSTAT]));
    assert_eq!((read.code, read.err.as_str()), (0, ""));
    assert_eq!(read.out.matches("runnable").count(), 4, "{}", read.out);
}
