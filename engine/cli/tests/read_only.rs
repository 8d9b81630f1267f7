//! Verbs that promise to change nothing: what is there stays as it is, to the last byte and time.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;
mod unpacked;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use support::{command, root, said};

/// What a file or folder is. Its time of access may change.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    mode: u32,
    links: u64,
    changed: [i64; 4],
    bytes: Vec<u8>,
}

/// All that is below a folder, but for these.
fn tree(folder: &Path, but: &[PathBuf]) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let about = at.symlink_metadata().unwrap();
        let bytes = match about.is_file() {
            true => std::fs::read(&at).unwrap(),
            false => Vec::new(),
        };
        if about.is_dir() {
            let entries = std::fs::read_dir(&at).unwrap();
            let entries = entries.map(|entry| entry.unwrap().path());
            folders.extend(entries.filter(|path| !but.contains(path)));
        }
        let now = Seen {
            inode: about.ino(),
            mode: about.mode(),
            links: about.nlink(),
            changed: [
                about.mtime(),
                about.mtime_nsec(),
                about.ctime(),
                about.ctime_nsec(),
            ],
            bytes,
        };
        seen.insert(at, now);
    }
    seen
}

fn read_only(folder: &Path) {
    for (path, seen) in tree(folder, &[]) {
        let mode = std::fs::Permissions::from_mode(seen.mode & !0o222);
        std::fs::set_permissions(path, mode).unwrap();
    }
}

/// A study, two runs with their bundle, tables and raw output, and a store with an image that nothing needs.
fn world(at: &Path) {
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    std::fs::copy(&bundle, at.join("bundle")).unwrap();
    let run = unpacked::unpacked(&at.join("unpacked")).join("run");
    std::fs::create_dir(at.join("runs")).unwrap();
    for name in ["runs/a", "runs/b"] {
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(&run)
            .arg(at.join(name))
            .status();
        assert!(copied.unwrap().success());
    }
    // Another run: the same one can't be compared with itself.
    let record = at.join("runs/b/run.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(
        &record,
        text.replacen("\"id\":\"e2e-", "\"id\":\"other-", 1),
    )
    .unwrap();
    // What a process that died has left.
    std::fs::create_dir(at.join("runs/a/trials/.writing-1")).unwrap();
    std::fs::write(at.join("runs/a/.tmpRun"), "half").unwrap();
    std::fs::write(
        at.join("table.csv"),
        "time,value\n2026-11-01,1\n2026-11-02,2\n",
    )
    .unwrap();
    let ping = root().join("plugins/testdata/busybox-1.35.0/reply.txt");
    std::fs::copy(ping, at.join("ping.txt")).unwrap();
    let image = at.join(format!("store/images-v1/{}", "a".repeat(64)));
    std::fs::create_dir_all(&image).unwrap();
    std::fs::write(image.join("root.squashfs"), "image").unwrap();
    std::fs::create_dir_all(at.join("store/tmp/s-1")).unwrap();
    for empty in ["home", "tmp"] {
        std::fs::create_dir(at.join(empty)).unwrap();
    }
}

const VERBS: &[&[&str]] = &[
    &["check", "runs/a/source/e2e.ncl"],
    &["check", "runs/a/source/e2e.ncl", "--format", "json"],
    &["plan", "runs/a/source/e2e.ncl"],
    &["plan", "runs/a/source/e2e.ncl", "--format", "json"],
    &["runs"],
    &["runs", "runs", "--format", "json"],
    &["show", "runs/a"],
    &["parse", "--tool", "ping", "ping.txt"],
    &["parse", "--tool", "ping", "--format", "csv", "ping.txt"],
    &["compare", "runs/a", "runs/b", "--anyway"],
    &[
        "compare", "runs/a", "runs/b", "--anyway", "--format", "json",
    ],
    &["trend", "runs/a", "runs/b"],
    &["trend", "table.csv"],
    &["verify", "bundle"],
    &["gc", "--dry-run"],
    &["gc", "--dry-run", "--keep", "12h", "--keep-last", "1"],
    &["doctor"],
    &["schema"],
    &["schema", "plan"],
    &["help", "iperf3"],
    &["completions", "bash"],
    // These write, but elsewhere than into what they read.
    &["report", "runs/a", "--out", "tmp/out"],
    &["export", "runs/a", "--output", "tmp/bundle"],
];

#[test]
fn what_promises_to_change_nothing_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    world(&at);
    for name in ["runs", "store", "bundle", "table.csv", "ping.txt"] {
        read_only(&at.join(name));
    }
    // Evaluated studies are kept there, and nothing else.
    let cache = at.join("store/specs-v1");
    let before = tree(&at, &[cache.clone(), at.join("tmp")]);
    for args in VERBS {
        let mut vexp = command(args);
        vexp.current_dir(&at).env("HOME", at.join("home"));
        vexp.env("TMPDIR", at.join("tmp"))
            .env("VEXP_STORE", at.join("store"));
        vexp.env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME");
        let said = said(&mut vexp);
        let expected: &[i32] = match args[0] {
            // What there is to judge may be open, or of another version; a computer may lack something.
            "compare" | "trend" | "verify" | "report" => &[0, 1, 5],
            "doctor" => &[0, 4],
            _ => &[0],
        };
        assert!(
            expected.contains(&said.code),
            "{args:?}: {}: {}",
            said.code,
            said.err
        );
        let mut after = tree(&at, &[cache.clone(), at.join("tmp")]);
        if cache.exists() {
            // A new folder changes the one that it is in.
            let store = at.join("store");
            after.get_mut(&store).unwrap().changed = before[&store].changed;
            after.get_mut(&store).unwrap().links = before[&store].links;
        }
        let differs: Vec<_> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .collect();
        assert!(differs.is_empty(), "{args:?}: {differs:?}");
        let left: Vec<_> = std::fs::read_dir(at.join("tmp")).unwrap().collect();
        let out = ["report", "export"].contains(&args[0]);
        assert!(out || left.is_empty(), "{args:?}: {left:?}");
    }
}
