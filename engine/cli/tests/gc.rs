//! `vexp gc` on runs and a store of its own.

#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;
mod support;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use recorded::recorded;
use serde_json::Value;
use support::{Said, command, said, vexp};
use vexp_api::digest::Digest;
use vexp_engine::store::{Bucket, Store};

/// An image in a store, long unused.
fn image(store: &Store, key: &Digest) -> PathBuf {
    let folder = store.path(Bucket::Images, key);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("root.squashfs"), "root").unwrap();
    let opened = std::fs::File::open(&folder).unwrap();
    opened.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    folder
}

/// Keys of the images of a run.
fn keys(run: &Path) -> Vec<Digest> {
    let manifests: Value =
        serde_json::from_slice(&std::fs::read(run.join("images.json")).unwrap()).unwrap();
    let keys = manifests.as_object().unwrap().values();
    keys.map(|manifest| Digest::try_from(manifest["key"].as_str().unwrap().to_owned()).unwrap())
        .collect()
}

/// A package that an image of a run is built of, and one that none is.
fn packages(store: &Store, run: &Path) -> [PathBuf; 2] {
    let file = run.join("images.json");
    let mut manifests: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let digest = Digest::of(b"a package");
    let (_, image) = manifests
        .as_object_mut()
        .unwrap()
        .iter_mut()
        .next()
        .unwrap();
    image["lock"] = serde_json::json!({ "packages": [{ "digest": digest }] });
    std::fs::write(&file, manifests.to_string()).unwrap();
    [digest, Digest::of(b"another")].map(|digest| {
        let path = store.path(Bucket::Debs, &digest);
        std::fs::write(&path, "deb").unwrap();
        let opened = std::fs::File::options().write(true).open(&path).unwrap();
        opened.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        path
    })
}

/// In a folder for temporary files of its own: what other tests have left is not this one's.
fn gc(runs: &Path, store: &Path, args: &[&str]) -> Said {
    let temporary = runs.parent().unwrap();
    let (runs, store) = (runs.to_str().unwrap(), store.to_str().unwrap());
    let mut vexp = command(&[&["gc", "--runs", runs, "--store", store], args].concat());
    said(vexp.env("TMPDIR", temporary))
}

#[test]
fn what_no_rule_keeps_goes_and_what_a_kept_run_needs_stays() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let [first, second, third] = ["a", "b", "c"].map(|id| {
        let mut run = recorded(id, &[1.0]);
        run.day = u32::from(id.as_bytes()[0] - b'a') + 1;
        run.write(&runs)
    });
    // Not ours: a file, a folder, a link, and a folder that another name stands in.
    std::fs::write(runs.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(runs.join("figures")).unwrap();
    std::os::unix::fs::symlink(&first, runs.join("latest")).unwrap();
    let other = recorded("d", &[1.0]).write(&folder.path().join("elsewhere"));
    std::fs::rename(&other, runs.join("copy-of-d")).unwrap();

    let store = Store::open(folder.path().join("store")).unwrap();
    let needed: Vec<PathBuf> = keys(&third).iter().map(|key| image(&store, key)).collect();
    let unneeded = image(&store, &Digest::of(b"nobody's"));
    let [package, no_ones] = packages(&store, &third);

    let said = gc(&runs, store.root(), &["--keep-last", "1", "--dry-run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    // Other tests, and other vexps, may have left something in /tmp meanwhile.
    let ours = folder.path().to_str().unwrap();
    let listed = said.out.lines().filter(|line| line.contains(ours));
    assert_eq!(listed.count(), 4, "{}\n{}", said.out, said.err);
    assert!(first.exists() && second.exists() && unneeded.exists());

    std::fs::write(first.join("keep"), "").unwrap();
    let said = gc(
        &runs,
        store.root(),
        &["--keep-last", "1", "--format", "json"],
    );
    assert_eq!(said.code, 0, "{}", said.err);
    let collected: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(collected["kept"], serde_json::json!(["a", "c"]));
    assert!(first.exists() && !second.exists() && third.exists());
    assert!(!unneeded.exists());
    assert!(needed.iter().all(|image| image.exists()));
    assert!(package.exists() && !no_ones.exists());
    for mine in ["notes.txt", "figures", "latest", "copy-of-d"] {
        assert!(runs.join(mine).symlink_metadata().is_ok(), "{mine}");
    }
    assert!(
        said.err.contains("copy-of-d can't be read as a run"),
        "{}",
        said.err
    );
}

#[test]
fn a_run_in_another_folder_keeps_its_images() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let run = recorded("a", &[1.0]).write(&folder.path().join("other"));
    store
        .register(&"a".parse().unwrap(), &run.canonicalize().unwrap())
        .unwrap();
    let images: Vec<PathBuf> = keys(&run).iter().map(|key| image(&store, key)).collect();
    let empty = folder.path().join("runs");
    let said = gc(&empty, store.root(), &["--keep", "0d"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        run.exists() && images.iter().all(|image| image.exists()),
        "{}",
        said.out
    );
    // It is gone, and so is its need.
    std::fs::remove_dir_all(&run).unwrap();
    let said = gc(&empty, store.root(), &["--keep", "0d"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!images.iter().any(|image| image.exists()), "{}", said.out);
}

/// A run whose images can't be told keeps the store as it is, and no other run from going.
#[test]
fn where_it_can_not_be_told_what_a_run_needs_the_store_stays() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let [old, new] = [1, 2].map(|day| {
        let mut run = recorded(if day == 1 { "a" } else { "b" }, &[1.0]);
        run.day = day;
        run.write(&runs)
    });
    std::fs::write(new.join("images.json"), "{").unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let images: Vec<PathBuf> = keys(&old).iter().map(|key| image(&store, key)).collect();
    let said = gc(&runs, store.root(), &["--keep-last", "1"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("images and packages in the store stay"),
        "{}",
        said.err
    );
    assert!(!old.exists() && new.exists(), "{}", said.out);
    assert!(images.iter().all(|image| image.exists()), "{}", said.out);
}

#[test]
fn without_a_rule_no_run_goes_and_the_help_teaches_them() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let run = recorded("a", &[1.0]).write(&runs);
    let said = gc(&runs, &folder.path().join("store"), &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(run.join("run.json").exists());
    let said = vexp(&["gc", "--keep", "30"]);
    assert!(said.err.contains("12h, 30d, 8w"), "{}", said.err);
    let help = vexp(&["gc", "--help"]).out;
    // Lines are broken where they are too long.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "touch RUN/keep",
        "may be running",
        "--keep 30d --keep-last 10",
        "resumed",
    ] {
        assert!(help.contains(words), "{words}:\n{help}");
    }
}
