//! `vexp export` and `vexp verify` on a run that was made: classical Linux on testbed `emulated`.
//! `data/run.vexp.tar.zst` is its bundle, as an older version made it; `scripts/record-bundle` makes
//! another.

#![expect(clippy::unwrap_used, reason = "tests")]

mod packing;
mod support;
mod tampering;

use std::path::{Path, PathBuf};

use packing::packed_again;
use serde_json::Value;
use support::{Said, root, vexp};
use tampering::{TAMPERINGS, Tampering};
use vexp_api::digest::Digest;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The recorded run, as it came out of its bundle.
fn recorded(folder: &Path) -> PathBuf {
    let into = folder.join("recorded");
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let said = vexp(&["verify", text(&bundle), "--into", text(&into)]);
    // Report and words about it may be those of an older version; raw data and what was planned
    // are never other ones.
    assert!([0, 1].contains(&said.code), "{}\n{}", said.out, said.err);
    let lines = |part: &str| {
        said.out
            .lines()
            .find(|line| line.starts_with(part))
            .unwrap()
    };
    for part in [" study's files", " study ", " plan", " raw data"] {
        let hint = "if it is meant to be another one: scripts/record-bundle";
        assert!(lines(part).ends_with("identical"), "{}\n{hint}", said.out);
    }
    only(&into).join("run")
}

/// The only thing in a folder.
fn only(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    path
}

fn export(run: &Path, bundle: &Path, args: &[&str]) -> Said {
    vexp(&[&["export", text(run), "--output", text(bundle)], args].concat())
}

fn exported(run: &Path, bundle: &Path, args: &[&str]) -> String {
    let said = export(run, bundle, args);
    assert_eq!(said.code, 0, "{}", said.err);
    said.out.lines().nth(1).unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
            let file = std::fs::File::options().write(true).open(&to).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
        }
    }
}

#[test]
fn the_same_run_is_the_same_bundle_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let run = recorded(folder.path());
    let one = folder.path().join("one");
    let first = exported(&run, &one, &["--license", "MIT"]);

    let elsewhere = folder.path().join("another/and/longer/place");
    copy(&run, &elsewhere);
    // What is derived is made anew, and what a crash left is no part of the run.
    std::fs::remove_dir_all(elsewhere.join("report")).unwrap();
    std::fs::write(elsewhere.join("frames/claims.json"), "{}").unwrap();
    std::fs::write(elsewhere.join(".tmpAbCdEf"), "half").unwrap();
    std::fs::write(elsewhere.join("keep"), "").unwrap();
    let two = folder.path().join("two");
    let said = export(&elsewhere, &two, &["--license", "MIT"]);
    assert!(
        said.err.contains("the bundle has one that was made now"),
        "{}",
        said.err
    );
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert!(said.out.contains(&first), "{}", said.out);

    let said = vexp(&["verify", text(&one), "--digest", &first, "--format", "json"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let verified: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(verified["identical"], true);
    assert_eq!(verified["digest"], first.as_str());
    assert_eq!(verified["claims"][0]["bundle"], "not-tested");
    assert_eq!(verified["claims"][0]["again"], "not-tested");
    // One repetition decides nothing.
    assert_eq!(verified["claims"][1]["again"], "inconclusive");
    let parts = verified["parts"].as_array().unwrap();
    assert!(
        parts
            .iter()
            .all(|part| part["different"].as_array().unwrap().is_empty())
    );
    assert!(parts.len() >= 8);

    let other = Digest::of(b"").to_string();
    let said = vexp(&["verify", text(&one), "--digest", &other]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains(&format!("is {first}, and not {other}")),
        "{}",
        said.err
    );
    // Another licence is another bundle.
    assert_ne!(exported(&run, &two, &[]), first);
}

#[test]
fn what_is_in_it_is_what_committees_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = recorded(folder.path());
    let bundle = folder.path().join("b");
    exported(
        &run,
        &bundle,
        &["--license", "CC-BY-4.0", "--author", "A. Tester"],
    );
    let into = folder.path().join("new");
    let said = vexp(&["verify", text(&bundle), "--into", text(&into)]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let there = only(&into);
    for file in [
        "run/source/e2e.ncl",
        "run/study.json",
        "run/plan.json",
        "run/images.json",
        "locks/linux.lock",
        "run/trials/send.linux.v0.r1/raw/host.iperf3.client.json",
        "run/blocks/linux.machine.v0.r1/env/host.txt",
        "run/frames/samples.parquet",
        "run/report/report.html",
        "LICENSE.md",
        "README.md",
        "ro-crate-metadata.json",
    ] {
        assert!(there.join(file).is_file(), "{file}");
    }
    let read = |file: &str| std::fs::read_to_string(there.join(file)).unwrap();
    let appendix = read("artifact-appendix.md");
    for words in [
        "Run-time environment",
        "| Disk |",
        "Preparation time",
        "| Run time |",
        "Data licence | CC-BY-4.0",
        "## Claims, and how to reproduce each",
        "### pv",
        "match \\*.linux.\\*",
        "## Known deviations",
        "Artifacts Evaluated – Functional",
        "Results Reproduced",
        "This bundle has none",
    ] {
        assert!(appendix.contains(words), "{words}:\n{appendix}");
    }
    assert!(!appendix.contains(text(folder.path())));
    let object: Value = serde_json::from_str(&read("ro-crate-metadata.json")).unwrap();
    let graph = object["@graph"].as_array().unwrap();
    let of = |id: &str| graph.iter().find(|entity| entity["@id"] == id).unwrap();
    assert_eq!(of("./")["mainEntity"]["@id"], "run/source/e2e.ncl");
    assert_eq!(
        of("./")["license"]["@id"],
        "https://spdx.org/licenses/CC-BY-4.0"
    );
    assert_eq!(of("#run")["agent"]["@id"], "#author-1");
    // Every part is there.
    for part in of("./")["hasPart"].as_array().unwrap() {
        let id = part["@id"].as_str().unwrap();
        assert!(there.join(id).exists(), "{id}");
        of(id);
    }
    // No lock was lost on the way.
    let manifests: Value = serde_json::from_str(&read("run/images.json")).unwrap();
    assert_eq!(
        manifests.as_object().unwrap().len(),
        std::fs::read_dir(there.join("locks")).unwrap().count()
    );
}

#[test]
fn whoever_changes_a_result_and_its_digests_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let run = recorded(folder.path());
    let good = folder.path().join("good");
    exported(&run, &good, &["--license", "MIT"]);
    let unpacked = folder.path().join("unpacked");
    let said = vexp(&["verify", text(&good), "--into", text(&unpacked)]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let there = only(&unpacked);

    // As `docs/bundles.md` says.
    assert!(TAMPERINGS.len() > 30);
    let try_one = |(name, code, words, tamper): &Tampering| {
        let scratch = tempfile::tempdir().unwrap();
        let copied = scratch.path().join(there.file_name().unwrap());
        copy(&there, &copied);
        tamper(&copied);
        let bundle = scratch.path().join("bundle");
        packed_again(&copied, &bundle);
        let said = vexp(&["verify", text(&bundle)]);
        let all = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, *code, "{name}: {all}");
        // Lines are broken where they are too long.
        let line = all.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(line.contains(words), "{name}: not `{words}` in {all}");
    };
    // Packing alone changes nothing.
    try_one(&("nothing", 0, "identical: everything", |_| {}));
    let (one, two) = TAMPERINGS.split_at(TAMPERINGS.len() / 2);
    std::thread::scope(|scope| {
        for half in [one, two] {
            scope.spawn(|| half.iter().for_each(try_one));
        }
    });
}

#[test]
fn what_is_no_run_or_no_bundle_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let said = vexp(&["export", text(folder.path())]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("is not a run"), "{}", said.err);
    let said = vexp(&["verify", "README.md"]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("the compressed stream can't be read"),
        "{}",
        said.err
    );
    assert!(said.err.contains("hint: "), "{}", said.err);
    let bundle = "engine/cli/tests/data/run.vexp.tar.zst";
    let said = vexp(&["verify", bundle, "--into", "engine"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("engine is not empty"), "{}", said.err);
    let said = vexp(&["verify", bundle, "--max-size", "1kB"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("are accepted"), "{}", said.err);

    let run = recorded(folder.path());
    std::os::unix::fs::symlink("/etc/passwd", run.join("raw")).unwrap();
    let said = export(&run, &folder.path().join("b"), &[]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("is neither a file nor a folder"),
        "{}",
        said.err
    );
    std::fs::rename(run.join("raw"), folder.path().join("link")).unwrap();
    std::fs::write(run.join("source/my study.ncl"), "{}").unwrap();
    let said = export(&run, &folder.path().join("b"), &[]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("can't be a file's name in a bundle"),
        "{}",
        said.err
    );
}
