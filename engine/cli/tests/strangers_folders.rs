//! Folders that other users of the computer can change, and files that they put there.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod pretended;
mod support;
mod unpacked;

use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pretended::{World, records};
use support::said;

/// A user who is somebody else.
const NOBODY: u32 = 65_534;

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can give folders to others");
    }
    root
}

/// Puts another manifest wherever there is one, as often as it can.
fn swap(runs: &Path, end: &AtomicBool) -> usize {
    let mut swapped = 0;
    while !end.load(Ordering::Relaxed) {
        for run in std::fs::read_dir(runs).into_iter().flatten().flatten() {
            let blocks = std::fs::read_dir(run.path().join("blocks"));
            for block in blocks.into_iter().flatten().flatten() {
                let manifest = block.path().join("manifest.json");
                if !manifest.exists() {
                    continue;
                }
                let other = block.path().join("stranger");
                let swap = std::fs::write(&other, "{\"format\":1,\"site\":\"a stranger's\"}")
                    .and_then(|()| std::fs::rename(&other, &manifest));
                swapped += usize::from(swap.is_ok());
            }
        }
    }
    swapped
}

#[test]
fn a_manifest_that_is_swapped_changes_nothing() {
    let world = World::new();
    let (runs, end) = (world.path("runs"), AtomicBool::new(false));
    let (ran, swapped) = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swap(&runs, &end));
        let ran = said(&mut world.run(&[]));
        end.store(true, Ordering::Relaxed);
        (ran, swapping.join().unwrap())
    });
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(swapped > 0);
    for (trial, record) in records(&world.only_run()) {
        let record = String::from_utf8(record).unwrap();
        assert!(
            record.contains("\"outcome\":\"measured\""),
            "{trial}: {record}"
        );
    }
    // There is no name by which a worker could be given one.
    let named = said(&mut world.vexp(&["worker", "manifest.json"]));
    assert_eq!(named.code, 2, "{}", named.err);
}

#[test]
fn a_run_is_in_no_folder_of_another_user() {
    if !root() {
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.path("runs")).unwrap();
    chown(world.path("runs"), Some(NOBODY), None).unwrap();
    let refused = said(&mut world.run(&[]));
    assert_eq!(refused.code, 2, "{}", refused.err);
    let words = refused.err.replace('\n', " ");
    assert!(words.contains("belongs to user 65534"), "{words}");
    assert!(world.journal().is_empty());
    // Whoever has called sudo decides what is done here, and in whose folder.
    let called = said(world.run(&[]).env("SUDO_UID", "65534"));
    assert_eq!(called.code, 0, "{}", called.err);
}

#[test]
fn a_store_of_another_user_is_refused_under_sudo() {
    if !root() {
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.path("store")).unwrap();
    chown(world.path("store"), Some(NOBODY), None).unwrap();
    let refused = said(world.run(&[]).env("SUDO_UID", "65534"));
    assert_ne!(refused.code, 0);
    let words = refused.err.replace('\n', " ");
    for part in ["the store", "belongs to user 65534", "VEXP_STORE"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(world.journal().is_empty());
}

/// The run in the recorded bundle.
fn recorded_run(at: &Path) -> std::path::PathBuf {
    unpacked::unpacked(&at.join("unpacked")).join("run")
}

#[test]
fn a_report_is_written_through_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (run, out, outside) = (recorded_run(at), at.join("out"), at.join("outside"));
    for name in [&out, &outside] {
        std::fs::create_dir(name).unwrap();
    }
    let report = |out: &Path| {
        let args = [
            "report",
            run.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        support::vexp(&args)
    };
    let link = out.join("frames");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let refused = report(&out);
    assert!(refused.err.contains("cannot write"), "{}", refused.err);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    std::fs::remove_file(link).unwrap();
    assert!(report(&out).out.contains("report: "));
    assert!(out.join("report/report.html").is_file() && out.join("frames/claims.json").is_file());
}

#[test]
fn a_bundle_is_unpacked_into_no_folder_of_another_user() {
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("into");
    std::fs::create_dir(&into).unwrap();
    chown(&into, Some(NOBODY), None).unwrap();
    let bundle = support::root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let args = [
        "verify",
        bundle.to_str().unwrap(),
        "--into",
        into.to_str().unwrap(),
    ];
    let refused = support::vexp(&args);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("belongs to user 65534"),
        "{}",
        refused.err
    );
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 0);
}

/// A folder's name is a stranger's text, too: it begins no line, and moves no cursor.
#[test]
fn names_of_folders_stay_on_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let (run, runs) = (recorded_run(folder.path()), folder.path().join("runs"));
    std::fs::create_dir(&runs).unwrap();
    let forged = runs.join("x\nerror: all is lost \u{1b}[2J\u{202e}");
    std::fs::rename(run, &forged).unwrap();
    std::fs::remove_file(forged.join("plan.json")).unwrap();
    let runs = runs.to_str().unwrap();
    let store = folder.path().join("store");
    let gc = [
        "gc",
        "--runs",
        runs,
        "--dry-run",
        "--keep",
        "12h",
        "--store",
        store.to_str().unwrap(),
    ];
    for args in [
        &["runs", runs][..],
        &gc,
        &["compare", runs, runs],
        &["trend", forged.to_str().unwrap()],
    ] {
        let said = support::vexp(args);
        let all = format!("{}{}", said.out, said.err);
        assert!(all.contains("x\\nerror: all is lost"), "{args:?}: {all}");
        let line = all.lines().find(|line| line.starts_with("error: all"));
        assert_eq!(line, None, "{args:?}: {all}");
        assert!(!all.contains(['\u{1b}', '\u{202e}']), "{args:?}: {all}");
    }
}
