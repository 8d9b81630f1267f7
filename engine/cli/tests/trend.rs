//! `vexp trend` on a history with a known change.

#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;
mod support;

use std::path::Path;

use recorded::{Recorded, recorded};
use serde_json::Value;
use support::{Said, command, said, vexp};

const WIGGLE: [f64; 4] = [1.0, 1.004, 0.997, 1.001];

/// Twelve runs of a repetition, `below/runs/r01` to `r12`, slower from the eighth on.
fn history() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for day in 1..=12_u32 {
        let slower = if day < 8 { 1.0 } else { 0.9 };
        let factor = slower * WIGGLE[day as usize % 4];
        Recorded {
            day,
            ..recorded(&format!("r{day:02}"), &[factor])
        }
        .write(&folder.path().join("runs"));
    }
    let report = folder.path().join("runs/r08/report/report.html");
    std::fs::create_dir_all(report.parent().unwrap()).unwrap();
    std::fs::write(report, "a report").unwrap();
    folder
}

fn trend(folder: &Path, args: &[&str]) -> Said {
    let all = [&["trend", "runs"], args].concat();
    said(command(&all).current_dir(folder))
}

#[test]
fn a_history_has_its_changes_and_its_site() {
    let folder = history();
    let told = trend(folder.path(), &["--out", "site"]);
    assert_eq!(
        (told.code, told.err.as_str()),
        (0, "site: site/index.html\n")
    );
    insta::assert_snapshot!("trend_in_80_columns", told.out);

    let page = |name: &str| std::fs::read_to_string(folder.path().join("site").join(name)).unwrap();
    assert!(page("index.html").contains("throughput_aggregate.html"));
    let metric = page("throughput_aggregate.html");
    assert!(
        metric.contains("href=\"../runs/r08/report/report.html\""),
        "{metric}"
    );

    // A site is replaced; anything else is not.
    let again = trend(folder.path(), &["--out", "site", "--metric", "throughput"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(
        !folder
            .path()
            .join("site/throughput_aggregate.html")
            .exists()
    );
    let runs = trend(folder.path(), &["--out", "runs"]);
    assert_eq!(runs.code, 2);
    assert!(
        runs.err.contains("hint: --out takes a folder of its own"),
        "{}",
        runs.err
    );
    assert!(folder.path().join("runs/r01/run.json").exists());
}

#[test]
fn json_has_values_changes_and_environments() {
    let folder = history();
    let changes = |args: &[&str]| -> Value {
        let args = [
            &["--format", "json", "--metric", "throughput_aggregate"],
            args,
        ]
        .concat();
        let told = trend(folder.path(), &args);
        assert_eq!(told.code, 0, "{}", told.err);
        serde_json::from_str(&told.out).unwrap()
    };
    let found = changes(&[]);
    assert_eq!(found["format"], 1);
    let series = &found["series"][0];
    assert_eq!(series["values"].as_array().unwrap().len(), 12);
    assert_eq!(series["environments"].as_array().unwrap().len(), 1);
    let change = &series["changes"][0];
    assert_eq!(
        (&change["at"], &change["run"], &change["worse"]),
        (&7.into(), &"r08".into(), &true.into())
    );
    let none = |args| changes(args)["series"][0]["changes"] == serde_json::json!([]);
    assert!(none(&["--magnitude", "20%"]));
    assert!(none(&["--persistence", "6"]));
    let otava = changes(&["--compat", "otava", "--alpha", "0.1%"]);
    assert_eq!(otava["settings"]["method"], "otava");
    assert_eq!(otava["series"][0]["changes"][0]["at"], 7);
}

#[test]
fn wrong_uses_end_with_2_and_a_way_out() {
    let folder = history();
    for (args, words) in [
        (&["--alpha", "1"][..], "e.g. 5%"),
        (&["--persistence", "0"], "1.."),
        (&["--window", "1"], "2..=1000"),
        (&["--metric", "speed"], "hint: look at --only"),
    ] {
        let told = trend(folder.path(), args);
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{args:?}");
        assert!(told.err.contains(words), "{args:?}: {}", told.err);
    }
    let missing = vexp(&["trend", "missing"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("hint: `vexp runs`"), "{}", missing.err);
}
