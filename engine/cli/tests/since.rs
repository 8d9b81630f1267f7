//! `--since RUN`: after an edit only what it made stale is measured again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod json_schema;
#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
mod support;

use std::path::{Path, PathBuf};

use json_schema::errors;
use pretended::{World, json, records};
use serde_json::Value;
use support::{Said, root, said, vexp};

/// The study, edited, in a folder of its own.
fn study(world: &World, name: &str, edits: &[(&str, &str)]) -> PathBuf {
    let text = std::fs::read_to_string(root().join(pretended::STUDY)).unwrap();
    let edited = edits.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let folder = world.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("pretended.ncl");
    std::fs::write(&path, edited).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(world: &World, study: &Path, runs: &str, more: &[&str]) -> Said {
    let runs = world.path(runs);
    let args = [
        "run",
        text(study),
        "--testbed",
        "fake",
        "--runs",
        text(&runs),
    ];
    said(&mut world.vexp(&[&args[..], more].concat()))
}

/// The only run in a folder.
fn only(world: &World, runs: &str) -> PathBuf {
    let mut found = std::fs::read_dir(world.path(runs)).unwrap();
    let run = found.next().unwrap().unwrap().path();
    assert!(found.next().is_none());
    run
}

fn measured(world: &World) -> usize {
    world
        .journal()
        .iter()
        .filter(|line| *line == "measuring")
        .count()
}

fn plan(world: &World, study: &Path, since: &Path) -> Value {
    let args = [
        "plan",
        text(study),
        "--testbed",
        "fake",
        "--since",
        text(since),
        "--format",
        "json",
    ];
    let said = said(&mut world.vexp(&args));
    assert_eq!(said.code, 0, "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

const FASTER: (&str, &str) = ("fast = steady 100", "fast = steady 120");

/// A world with a run of the study as it is in the repository.
fn begun() -> (World, PathBuf) {
    let world = World::new();
    let first = run(&world, &study(&world, "before", &[]), "first", &[]);
    assert_eq!(first.code, 0, "{}", first.err);
    let first = only(&world, "first");
    assert_eq!(records(&first).len(), 8);
    (world, first)
}

#[test]
fn only_what_an_edit_made_stale_is_measured_again_and_the_origin_stays() {
    let (world, first) = begun();
    let edited = study(&world, "after", &[FASTER]);
    let shown = plan(&world, &edited, &first);
    assert_eq!(shown["valid"].as_array().unwrap().len(), 6, "{shown}");
    let schema: Value = serde_json::from_str(&vexp(&["schema", "since"]).out).unwrap();
    assert_eq!(errors(&schema, &shown), [""; 0]);
    let stale = shown["stale"].as_array().unwrap();
    assert_eq!(stale.len(), 2, "{shown}");
    let change = &stale[0]["changes"][0];
    assert_eq!(change["field"], "trial.traffic.options.rate");
    assert_eq!(
        (&change["before"], &change["now"]),
        (&100.into(), &120.into())
    );
    assert_eq!(
        change["study"][0]["field"],
        "experiments.fast.traffic.options.rate"
    );
    let place = &change["study"][0]["place"];
    let line = std::fs::read_to_string(&edited).unwrap();
    let line = line
        .lines()
        .nth(place["line"].as_u64().unwrap() as usize - 1)
        .unwrap()
        .to_owned();
    assert!(line.contains("steady"), "{line}");
    let said_plan = said(&mut world.vexp(&[
        "plan",
        text(&edited),
        "--testbed",
        "fake",
        "--since",
        text(&first),
    ]));
    let words = said_plan
        .out
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        words.contains("6 of 8 trials are still valid, 2 are to be measured"),
        "{words}"
    );
    assert!(words.contains("100 → 120"), "{words}");

    let before = measured(&world);
    let second = run(&world, &edited, "second", &["--since", text(&first)]);
    assert_eq!(second.code, 0, "{}", second.err);
    assert_eq!(measured(&world) - before, 2, "{}", second.err);
    let second = only(&world, "second");
    let (old, new) = (records(&first), records(&second));
    assert_eq!(new.len(), 8);
    for (id, bytes) in &old {
        assert_eq!(new[id] == *bytes, !id.starts_with("fast."), "{id}");
    }
    // Its machine's record is kept beside the new one's.
    let id = json(&first.join("run.json"))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let block = "linux.machine.v0.r1";
    let kept = second
        .join("taken")
        .join(&id)
        .join(block)
        .join("block.json");
    assert_eq!(
        json(&kept),
        json(&first.join("blocks").join(block).join("block.json"))
    );
    assert!(
        second
            .join("blocks")
            .join(block)
            .join("block.json")
            .is_file()
    );

    // It is shown, reported, and stays with the run.
    let show = said(&mut world.vexp(&["show", text(&second)]));
    assert_eq!(
        show.out.matches("taken over from").count(),
        6,
        "{}",
        show.out
    );
    let one = said(&mut world.vexp(&["show", text(&second), "slow.linux.v0.r1"]));
    assert!(
        one.out.contains(&format!("taken over from run {id}")),
        "{}",
        one.out
    );
    let reported = said(&mut world.vexp(&["report", text(&second)]));
    let all = reported
        .out
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        all.contains("6 of 8 trials") && all.contains("8 of 8 trials measured"),
        "{all}"
    );
    let page = std::fs::read_to_string(second.join("report/report.html")).unwrap();
    assert!(page.contains(&id), "the report says where trials come from");
    assert_eq!(page.matches("<dt>taken over from</dt>").count(), 6);
    let bundle = world.path("bundle");
    let exported = said(&mut world.vexp(&["export", text(&second), "--output", text(&bundle)]));
    assert_eq!(exported.code, 0, "{}", exported.err);
    let verified = said(&mut world.vexp(&["verify", text(&bundle)]));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);

    // What was taken over may not be another one later.
    let forged = second.join("trials/slow.linux.v0.r1/trial.json");
    std::fs::copy(first.join("trials/fast.linux.v0.r1/trial.json"), forged).unwrap();
    let reported = said(&mut world.vexp(&["report", text(&second)]));
    assert_eq!(reported.code, 6, "{}", reported.err);
}

#[test]
fn an_edited_claim_measures_nothing() {
    let (world, first) = begun();
    let edit = (
        "Fast is faster than slow.",
        "Fast is much faster than slow.",
    );
    let edited = study(&world, "after", &[edit]);
    let before = measured(&world);
    let second = run(&world, &edited, "second", &["--since", text(&first)]);
    assert_eq!(second.code, 0, "{}", second.err);
    assert_eq!(measured(&world), before);
    let second = only(&world, "second");
    assert_eq!(records(&second), records(&first));
    // All of a block's trials are there, and so is its machine.
    for block in std::fs::read_dir(first.join("blocks")).unwrap() {
        let name = block.unwrap().file_name();
        assert!(
            second
                .join("blocks")
                .join(&name)
                .join("block.json")
                .is_file()
        );
    }
    // A third run knows who measured it.
    let third = run(&world, &edited, "third", &["--since", text(&second)]);
    assert_eq!(third.code, 0, "{}", third.err);
    let (second, third) = (
        json(&second.join("run.json")),
        json(&only(&world, "third").join("run.json")),
    );
    assert_eq!(second["taken"], third["taken"]);
}

#[test]
fn what_failed_is_measured_again_and_what_is_new_or_gone_is_said() {
    let world = World::new();
    let first = run(
        &world,
        &study(&world, "before", &[]),
        "first",
        &["--only", "*.linux.*"],
    );
    assert_eq!(first.code, 0, "{}", first.err);
    let first = only(&world, "first");
    std::fs::remove_dir_all(first.join("trials/slow.linux.v0.r1")).unwrap();
    let edited = study(
        &world,
        "after",
        &[("fastest = steady 190", "quickest = steady 190")],
    );
    let shown = plan(&world, &edited, &first);
    assert_eq!(shown["gone"], serde_json::json!(["fastest.linux.v0.r1"]));
    assert_eq!(shown["missing"][0]["trial"], "slow.linux.v0.r1");
    let new = shown["new"].as_array().unwrap();
    assert!(
        new.contains(&"quickest.linux.v0.r1".into()) && new.len() == 5,
        "{shown}"
    );
}

#[test]
fn what_can_not_be_taken_over_is_refused() {
    let (world, first) = begun();
    let same = study(&world, "after", &[]);
    let other = study(
        &world,
        "other",
        &[("name = \"pretended\"", "name = \"another\"")],
    );
    let refused = run(&world, &other, "second", &["--since", text(&first)]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("is a run of study `pretended`"),
        "{}",
        refused.err
    );
    for with in [["--until", "decided"], ["--resume", text(&first)]] {
        let refused = run(
            &world,
            &same,
            "second",
            &[&["--since", text(&first)], &with[..]].concat(),
        );
        assert_eq!(refused.code, 2, "{}", refused.err);
    }
    let raw = first.join("trials/slow.linux.v0.r1/raw/host.steady.client.txt");
    std::fs::write(raw, "1").unwrap();
    let refused = run(&world, &same, "second", &["--since", text(&first)]);
    assert_eq!(refused.code, 6, "{}", refused.err);
    assert!(refused.err.contains("slow.linux.v0.r1"), "{}", refused.err);
    // Nothing was begun: it is no run.
    let listed = said(&mut world.vexp(&["runs", text(&world.path("second"))]));
    assert!(!listed.out.contains("pretended-"), "{}", listed.out);
}
