//! From a bundle to an answer: `vexp verify --rerun` can be stopped, called again, called elsewhere and without
//! arguments, and ends with the same page.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod json_schema;
#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use json_schema::errors;
use pretended::{World, json, records};
use serde_json::Value;
use support::{Said, said, vexp};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A world with a bundle, alone in its folder, of a run of two claims' worth of trials.
fn bundled(effort: &str) -> (World, PathBuf) {
    let world = World::new();
    let runs = world.path("authors");
    let ran = said(&mut world.vexp(&[
        "run",
        pretended::STUDY,
        "--testbed",
        "fake",
        "--effort",
        effort,
        "--runs",
        text(&runs),
    ]));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let run = only(&runs);
    std::fs::create_dir(world.path("alone")).unwrap();
    let bundle = world.path("alone/run.vexp.tar.zst");
    let exported = said(&mut world.vexp(&["export", text(&run), "--output", text(&bundle)]));
    assert_eq!(exported.code, 0, "{}", exported.err);
    (world, bundle)
}

fn only(folder: &Path) -> PathBuf {
    let mut found = std::fs::read_dir(folder).unwrap();
    let run = found.next().unwrap().unwrap().path();
    assert!(found.next().is_none());
    run
}

const RERUN: [&str; 5] = ["verify", "--rerun", "--testbed", "fake", "--budget"];

/// `vexp verify --rerun` in a folder.
fn rerun(world: &World, folder: &Path, budget: &str, more: &[&str]) -> Said {
    let mut command = world.vexp(&[&RERUN[..], &[budget], more].concat());
    said(command.current_dir(folder))
}

fn document(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
}

fn measured(world: &World) -> usize {
    let journal = world.journal();
    journal.iter().filter(|line| *line == "measuring").count()
}

fn pages(run: &Path) -> [Vec<u8>; 3] {
    ["html", "md", "json"]
        .map(|kind| std::fs::read(run.join(format!("answer/answer.{kind}"))).unwrap())
}

#[test]
fn it_is_answered_once_and_the_same_wherever_it_is_asked_again() {
    let (world, bundle) = bundled("quick");
    let before = measured(&world);
    let alone = world.path("alone");
    // The bundle is the only one in this folder, and need not be named.
    let first = rerun(&world, &alone, "2h", &["--format", "json"]);
    assert_eq!(first.code, 0, "{}\n{}", first.out, first.err);
    // What the claim needs, and no more.
    assert_eq!(measured(&world) - before, 4, "{}", first.err);
    for words in [
        "time: about",
        "disk:",
        "memory:",
        "0 active minutes",
        "results:",
        "chosen: 1 of 1 claims, 4 trials: fast",
    ] {
        let line = first.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(line.contains(words), "{words}: {}", first.err);
    }
    let verified = document(&first);
    let schema: Value = serde_json::from_str(&vexp(&["schema", "verify"]).out).unwrap();
    assert_eq!(errors(&schema, &verified), [""; 0]);
    let answer = &verified["rerun"]["answer"];
    let row = &answer["rows"][0];
    assert_eq!(row["claim"], "fast");
    assert_eq!(
        row["answer"], "cannot-tell",
        "one boot decides nothing: {answer}"
    );
    for side in ["authors", "here"] {
        assert_eq!(row[side]["verdict"], "inconclusive");
        assert!(
            row[side]["measured"]
                .as_str()
                .unwrap()
                .starts_with("ratio "),
            "{row}"
        );
    }
    assert!(
        row["paper"]
            .as_str()
            .unwrap()
            .starts_with("> 1 times throughput_aggregate of linux"),
        "{row}"
    );
    assert!(!row["why"].as_str().unwrap().is_empty());
    assert_eq!(answer["here"]["measured"], 4);
    let run = only(&alone.join("runs"));
    assert_eq!(json(&run.join("run.json"))["bundle"], verified["digest"]);
    assert_eq!(json(&run.join("answer/answer.json")), *answer);
    let seen = pages(&run);

    // Again; from another folder; and as text.
    let second = rerun(&world, &alone, "2h", &["--format", "json"]);
    assert_eq!(document(&second), verified);
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let third = rerun(&world, &elsewhere, "2h", &[text(&bundle)]);
    assert_eq!(third.code, 0, "{}", third.err);
    assert!(third.err.contains("resuming "), "{}", third.err);
    let done = "all 4 trials are measured already";
    assert!(third.err.contains(done), "{}", third.err);
    assert!(!third.err.contains("measuring again"), "{}", third.err);
    assert!(!elsewhere.join("runs").exists());
    let line = third.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "paper",
        "authors' run",
        "can't be told here, because:",
        "0 same, 0 differ, 1 can't be told here",
    ] {
        assert!(line.contains(words), "{words}: {}", third.out);
    }
    assert_eq!(measured(&world) - before, 4);
    assert_eq!(pages(&run), seen);
    // Whoever wants other numbers says so.
    let fresh = rerun(&world, &alone, "2h", &["--fresh"]);
    assert_eq!(fresh.code, 0, "{}", fresh.err);
    assert_eq!(measured(&world) - before, 8);
    assert_eq!(std::fs::read_dir(alone.join("runs")).unwrap().count(), 2);
}

#[test]
fn a_bundle_that_is_not_named_is_the_only_one_or_is_asked_for() {
    let (world, bundle) = bundled("quick");
    let alone = world.path("alone");
    let verify = || said(world.vexp(&["verify"]).current_dir(&alone));
    let found = verify();
    assert_eq!(found.code, 0, "{}", found.err);
    assert!(
        found.err.contains("bundle: run.vexp.tar.zst"),
        "{}",
        found.err
    );
    std::fs::copy(&bundle, alone.join("another.vexp.tar.zst")).unwrap();
    let several = verify();
    assert_eq!(several.code, 2);
    assert!(
        several
            .err
            .contains("another.vexp.tar.zst, run.vexp.tar.zst"),
        "{}",
        several.err
    );
    assert!(
        several
            .err
            .contains("type: vexp verify another.vexp.tar.zst"),
        "{}",
        several.err
    );
    let none = said(world.vexp(&["verify"]).current_dir(world.path("authors")));
    assert_eq!(none.code, 2);
    assert!(
        none.err.contains("no bundle is named") && none.err.contains("type: vexp verify"),
        "{}",
        none.err
    );
}

#[test]
fn a_rerun_that_was_killed_or_stopped_goes_on_with_the_same_command() {
    let (world, _) = bundled("quick");
    let (before, alone) = (measured(&world), world.path("alone"));
    let signalled = |signal: &str| {
        let mut command = world.vexp(&[&RERUN[..], &["2h"]].concat());
        command.current_dir(&alone).env("FAKE_FAULTS", "slow:700");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = measured(&world);
        pretended::until("it measures", || measured(&world) > begun);
        let kill = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        child.wait().unwrap();
        child.wait_with_output().unwrap()
    };
    signalled("-KILL");
    let stopped = signalled("-INT");
    let words = String::from_utf8(stopped.stderr).unwrap();
    assert_eq!(stopped.status.code(), Some(130), "{words}");
    assert!(words.contains("call the same command again"), "{words}");
    let ended = rerun(&world, &alone, "2h", &[]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let run = only(&alone.join("runs"));
    assert_eq!(records(&run).len(), 4);
    assert!(
        measured(&world) - before <= 6,
        "each end undoes what was being measured, and no more"
    );
    assert!(run.join("answer/answer.html").is_file());
}

#[test]
fn in_a_folder_that_can_not_be_written_to_results_go_elsewhere_and_that_is_said() {
    let (world, bundle) = bundled("quick");
    let state = world.path("state");
    let mut command = world.vexp(&[&RERUN[..], &["2h", text(&bundle)]].concat());
    // Nobody can write there, root neither.
    command.current_dir("/proc").env("XDG_STATE_HOME", &state);
    let done = said(&mut command);
    assert_eq!(done.code, 0, "{}", done.err);
    let line = done.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        line.contains("cannot write to runs") && line.contains("results go to"),
        "{}",
        done.err
    );
    let run = only(&state.join("vexp/runs"));
    assert!(done.out.contains(text(&run)), "{}", done.out);
    assert!(run.join("answer/answer.md").is_file());
}

#[test]
fn more_time_goes_on_where_less_ended() {
    let (world, _) = bundled("often");
    let (before, alone) = (measured(&world), world.path("alone"));
    let little = rerun(&world, &alone, "1min", &["--format", "json"]);
    // One repetition of six: what can't be told is not as it is in the bundle, or is.
    assert!([0, 5].contains(&little.code), "{}", little.err);
    assert_eq!(measured(&world) - before, 4, "{}", little.err);
    assert_eq!(document(&little)["rerun"]["not_measured"], 0);
    // Nothing of the claim is among these.
    let none = rerun(&world, &alone, "2h", &["--only", "faster.*"]);
    assert_eq!(none.code, 5, "{}", none.err);
    assert!(
        none.err.contains("no claim can be told on testbed `fake`"),
        "{}",
        none.err
    );
    let more = rerun(&world, &alone, "2h", &["--format", "json"]);
    assert_eq!(more.code, 0, "{}", more.err);
    let answer = &document(&more)["rerun"]["answer"];
    assert_eq!(answer["here"]["measured"], 24, "{answer}");
    assert_eq!(measured(&world) - before, 24, "none is measured twice");
    let row = &answer["rows"][0];
    assert_eq!(row["authors"]["verdict"], row["here"]["verdict"], "{row}");
}

#[test]
fn an_executable_in_a_bundle_is_described_and_checked_and_never_run() {
    let (world, _) = bundled("quick");
    let (run, bundle, into) = (
        only(&world.path("authors")),
        world.path("with"),
        world.path("into"),
    );
    let export = |file: &str| {
        let with = format!("--with-vexp={file}");
        said(&mut world.vexp(&["export", text(&run), "--output", text(&bundle), &with]))
    };
    let refused = export("Cargo.toml");
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("is no executable"), "{}", refused.err);
    let exported = export("/bin/sh");
    assert_eq!(exported.code, 0, "{}", exported.err);
    assert!(exported.err.contains("bin/vexp"), "{}", exported.err);
    let verified = said(&mut world.vexp(&["verify", text(&bundle), "--into", text(&into)]));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(
        verified.out.contains("vexp's executable"),
        "{}",
        verified.out
    );
    let there = only(&into);
    let program = std::fs::read(there.join("bin/vexp")).unwrap();
    assert!(program == std::fs::read("/bin/sh").unwrap());
    let readme = std::fs::read_to_string(there.join("README.md")).unwrap();
    let digest = vexp_api::digest::Digest::of(&program);
    for words in [
        digest.hex(),
        "bin/vexp > vexp",
        "sha256sum -c",
        "--rerun --budget 2h",
    ] {
        assert!(readme.contains(words), "{words}: {readme}");
    }
}
