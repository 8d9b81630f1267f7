//! `vexp compare --exact` on recorded runs that are made to look like some in virtual time.

#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;
mod support;

use std::path::Path;

use recorded::recorded;
use serde_json::{Value, json};
use support::{Said, command, said, vexp};

fn exact(runs: &Path, args: &[&str]) -> Said {
    let all = [&["compare", "--exact", "a", "b"], args].concat();
    said(command(&all).current_dir(runs))
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Two runs, of which the second one's throughput is scaled.
fn two(by: f64) -> tempfile::TempDir {
    let runs = tempfile::tempdir().unwrap();
    recorded("a", &[1.0]).write(runs.path());
    recorded("b", &[by]).write(runs.path());
    for run in ["a", "b"] {
        // That of the recorded run says less than one of today.
        std::fs::write(runs.path().join(run).join("images.json"), "{}").unwrap();
        edit(&runs.path().join(run).join("plan.json"), |plan| {
            let time = json!({
                "subject": "testbed virtual", "property": "time", "asked": "real", "used": "virtual", "reason": "",
            });
            plan["deviations"].as_array_mut().unwrap().push(time);
        });
    }
    runs
}

#[test]
fn two_runs_are_the_same_or_part_and_only_record_writes() {
    let runs = two(1.0);
    let told = exact(runs.path(), &[]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{}", told.out);
    assert!(
        told.out
            .ends_with("They do not part: results are the same to the last bit.\n")
    );
    let file = runs.path().join("b/compared.json");
    assert!(!file.exists());
    let told = exact(runs.path(), &["--record"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let one = &kept["comparisons"][0];
    assert_eq!((&one["same"], &one["differ"]), (&json!(1), &json!(0)));
    assert_eq!(one["with"]["run"]["id"], "a");
    assert!(!runs.path().join("a/compared.json").exists());
    let report = vexp(&["report", runs.path().join("b").to_str().unwrap()]);
    let words = "the same elsewhere: ran strictly; ran twice and compared\n";
    assert!(report.out.contains(words), "{}{}", report.out, report.err);
}

#[test]
fn runs_that_differ_end_with_1_and_where() {
    let runs = two(0.9);
    let told = exact(runs.path(), &[]);
    assert_eq!(told.code, 1, "{}", told.err);
    for words in [
        "0 of 1 trials have the same results",
        "given: the same study, images, seed and vexp",
        "no trace of it in a: a vexp before traces made it",
        "raw output: raw/host.iperf3.server.json, line 2: `",
        "sample: throughput on host by iperf3: ",
    ] {
        assert!(told.out.contains(words), "{words}: {}", told.out);
    }
    assert!(
        told.out
            .lines()
            .last()
            .unwrap()
            .starts_with("They part at ")
    );
    let document = exact(runs.path(), &["--format", "json"]);
    let document: Value = serde_json::from_str(&document.out).unwrap();
    assert_eq!(document["differ"], json!(["send-tcp.linux.v0.r1"]));
    // Recorded, it is no run that was compared and is the same.
    exact(runs.path(), &["--record"]);
    let report = vexp(&["report", runs.path().join("b").to_str().unwrap()]);
    assert!(
        report.out.contains("the same elsewhere: ran strictly\n"),
        "{}",
        report.out
    );
}

#[test]
fn only_runs_in_virtual_time_of_one_study_can_be_the_same() {
    let runs = two(1.0);
    let refused = |args: &[&str], says: &str| {
        let told = exact(runs.path(), args);
        assert_eq!(told.code, 2, "{}{}", told.out, told.err);
        assert!(told.err.contains(says), "{says}: {}", told.err);
    };
    refused(&["--format", "junit"], "--exact has text and json");
    refused(&["--last", "1"], "cannot be used with");
    let plan = runs.path().join("b/plan.json");
    edit(&plan, |plan| plan["study"] = json!("another"));
    refused(&[], "runs of different studies");
    edit(&plan, |plan| plan["deviations"] = json!([]));
    refused(&[], "b is no run in virtual time");
}
