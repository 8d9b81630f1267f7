//! `vexp compare` on runs with a known difference: verdicts, exit codes, formats.

#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;
mod support;

use std::path::Path;

use recorded::{Recorded, recorded};
use serde_json::Value;
use support::{Said, command, root, said, vexp};

const BASE: [f64; 4] = [1.0, 0.998, 1.002, 0.999];

fn scaled(by: f64) -> [f64; 4] {
    [1.001, 0.999, 1.0, 1.002].map(|factor| factor * by)
}

/// `vexp compare a b ARGS…` in a folder of runs.
fn compare(runs: &Path, args: &[&str]) -> Said {
    let all = [&["compare", "a", "b"], args].concat();
    said(command(&all).current_dir(runs))
}

fn two(base: &[f64], new: &[f64]) -> tempfile::TempDir {
    let runs = tempfile::tempdir().unwrap();
    recorded("a", base).write(runs.path());
    recorded("b", new).write(runs.path());
    runs
}

/// Two folders, a run for each value.
fn series(base: &[f64], new: &[f64]) -> tempfile::TempDir {
    let runs = tempfile::tempdir().unwrap();
    for (side, values) in [("a", base), ("b", new)] {
        for (i, value) in values.iter().enumerate() {
            let id = format!("{side}{i}");
            recorded(&id, &[*value]).write(&runs.path().join(side));
        }
    }
    runs
}

#[test]
fn the_exit_code_says_what_became_of_it() {
    for (new, args, code, words) in [
        (&scaled(1.0)[..], &[][..], 0, "equal"),
        (&scaled(0.8), &[], 1, " worse"),
        (&scaled(1.2), &["--metric", "throughput"], 0, "1 better"),
        // CPU by Mb/s falls where throughput rises.
        (&scaled(0.97), &["--margin", "2%"], 1, " worse"),
        (&scaled(0.97), &[], 0, "equal"),
        (&[0.8, 1.2, 1.0, 0.9], &[], 5, "inconclusive"),
    ] {
        let runs = series(&BASE, new);
        let told = compare(runs.path(), args);
        assert_eq!(
            told.code, code,
            "{new:?} {args:?}: {}{}",
            told.out, told.err
        );
        let last = told.out.lines().last().unwrap();
        assert!(last.contains(words), "{new:?}: {last}");
        assert_eq!(told.err, "");
    }
    // Repetitions of one run each say nothing about how runs differ.
    let runs = two(&BASE, &scaled(0.8));
    let told = compare(runs.path(), &[]);
    assert_eq!(told.code, 5, "{}", told.out);
    assert!(told.out.contains("fewer than three runs"), "{}", told.out);
}

#[test]
fn tables_fit_the_terminal() {
    let runs = series(&BASE, &scaled(0.8));
    for columns in ["60", "90", "200"] {
        let mut command = command(&["compare", "a", "b", "--all"]);
        let told = said(command.current_dir(runs.path()).env("COLUMNS", columns));
        let most = told.out.lines().map(|line| line.chars().count()).max();
        assert!(most <= columns.parse().ok(), "{columns}: {}", told.out);
        assert!(!told.out.contains('\x1b'), "{}", told.out);
        assert_eq!(told.out.contains("over"), columns != "60", "{}", told.out);
    }
    let told = compare(runs.path(), &[]);
    insta::assert_snapshot!("compare_in_80_columns", told.out);
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    let runs = series(&BASE, &scaled(0.8));
    let on_a_terminal = |no_color: &str| {
        let vexp = env!("CARGO_BIN_EXE_vexp");
        let line = format!("stty rows 24 cols 90; '{vexp}' compare a b");
        let mut script = std::process::Command::new("script");
        script
            .args(["--quiet", "--command", &line, "/dev/null"])
            .current_dir(runs.path())
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .env_remove("COLUMNS");
        said(&mut script).out
    };
    assert!(on_a_terminal("").contains("\x1b["));
    let plain = on_a_terminal("1");
    assert!(
        plain.contains("worse") && !plain.contains('\x1b'),
        "{plain}"
    );
}

#[test]
fn json_has_every_number() {
    let runs = series(&BASE, &scaled(0.8));
    let told = compare(runs.path(), &["--format", "json"]);
    assert_eq!(told.code, 1);
    let found: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(
        (&found["format"], &found["margin"]),
        (&1.into(), &0.05.into())
    );
    let rows = found["rows"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["metric"] == "throughput_aggregate")
        .unwrap();
    let of = |name: &str| row[name].as_f64().unwrap();
    assert!((of("ratio") - 0.8006).abs() < 0.001, "{row}");
    assert!((of("new") / of("base") - of("ratio")).abs() < 1e-9);
    assert_eq!(
        (&row["verdict"], &row["level"], &row["units"]),
        (&"worse".into(), &"runs".into(), &serde_json::json!([4, 4]))
    );
    let (low, high) = (&row["interval"]["low"], &row["interval"]["high"]);
    assert!(
        low.as_f64() < row["ratio"].as_f64() && high.as_f64() < Some(0.81),
        "{row}"
    );
}

#[test]
fn junit_and_markdown_say_the_same() {
    let runs = series(&BASE, &scaled(0.8));
    let junit = compare(runs.path(), &["--format", "junit"]);
    let markdown = compare(runs.path(), &["--format", "markdown"]);
    assert_eq!((junit.code, markdown.code), (1, 1));
    let failures = junit.out.matches("<failure ").count();
    assert!(failures > 0 && junit.out.contains(&format!("failures=\"{failures}\"")));
    assert_eq!(
        markdown.out.matches("| **worse** |").count(),
        failures,
        "{}",
        markdown.out
    );
}

#[test]
fn other_environments_are_refused_or_flagged() {
    let runs = tempfile::tempdir().unwrap();
    recorded("a", &BASE).write(runs.path());
    Recorded {
        rate: "200Mb/s",
        ..recorded("b", &BASE)
    }
    .write(runs.path());
    let told = compare(runs.path(), &[]);
    assert_eq!((told.code, told.out.as_str()), (2, ""));
    assert!(
        told.err
            .contains(" machine nics 1 rate  130Mb/s  200Mb/s  1\n"),
        "{}",
        told.err
    );
    assert!(told.err.contains("hint: --anyway"), "{}", told.err);
    let told = compare(runs.path(), &["--anyway"]);
    assert_eq!((told.code, told.err.as_str()), (5, ""));
    assert!(told.out.contains(" machine nics 1 rate "), "{}", told.out);
}

#[test]
fn a_folder_of_runs_is_a_series() {
    let runs = tempfile::tempdir().unwrap();
    for (i, id) in ["r1", "r2", "r3", "r4", "r5"].into_iter().enumerate() {
        Recorded {
            day: 1 + i as u32,
            ..recorded(id, &BASE[i % 4..=i % 4])
        }
        .write(runs.path());
    }
    Recorded {
        day: 9,
        ..recorded("b", &[0.85])
    }
    .write(runs.path());
    let json = |args: &[&str]| -> Value {
        let all = [&["compare", ".", "b", "--format", "json"], args].concat();
        let told = said(command(&all).current_dir(runs.path()));
        assert_eq!(told.code, 1, "{}", told.err);
        serde_json::from_str(&told.out).unwrap()
    };
    let found = json(&["--metric", "throughput"]);
    assert_eq!(
        found["base"],
        serde_json::json!(["r1", "r2", "r3", "r4", "r5"])
    );
    assert_eq!(found["rows"][0]["level"], "runs");
    assert_eq!(found["rows"][0]["units"], serde_json::json!([5, 1]));
    let found = json(&["--last", "3", "--metric", "throughput"]);
    assert_eq!(found["base"], serde_json::json!(["r3", "r4", "r5"]));
    let told = said(command(&["compare", "b", "b"]).current_dir(runs.path()));
    assert_eq!(told.code, 2);
    assert!(told.err.contains("nothing to compare with"), "{}", told.err);
}

#[test]
fn wrong_uses_end_with_2_and_a_way_out() {
    let runs = two(&BASE, &BASE);
    for (args, words) in [
        (&["--margin", "0.05"][..], "e.g. 5%"),
        (&["--margin", "120%"], "below 100%"),
        (&["--only", "[x"], "hint: --only takes a pattern"),
        (&["--only", "nothing"], "hint: look at --only"),
        (&["--base", "missing"], "hint: `vexp runs`"),
    ] {
        let told = compare(runs.path(), args);
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{args:?}");
        assert!(told.err.contains(words), "{args:?}: {}", told.err);
    }
}

/// Whatever the exit code, a program that reads the output gets a document.
#[test]
fn every_end_of_a_machine_format_is_a_document() {
    let runs = two(&BASE, &BASE);
    Recorded {
        rate: "200Mb/s",
        ..recorded("c", &BASE)
    }
    .write(runs.path());
    recorded("d", &BASE).write(runs.path());
    std::fs::write(runs.path().join("d/run.json"), "").unwrap();
    for (base, new, args, code) in [
        ("a", "c", &[][..], 2),
        ("a", "a", &[], 2),
        ("a", "b", &["--only", "nothing"], 2),
        ("a", "b", &["--only", "[x"], 2),
        ("missing", "b", &[], 2),
        ("a", "d", &[], 6),
        ("d", "b", &[], 6),
    ] {
        let of = |format: &str| {
            let all = [&["compare", base, new, "--format", format], args].concat();
            let told = said(command(&all).current_dir(runs.path()));
            assert_eq!(told.code, code, "{all:?}: {}", told.err);
            assert!(told.err.contains("error: "), "{}", told.err);
            told.out
        };
        let found: Value = serde_json::from_str(&of("json")).unwrap();
        assert!(
            found["refused"].as_str().is_some_and(|why| !why.is_empty()),
            "{found}"
        );
        assert_eq!(found["rows"], serde_json::json!([]), "{found}");
        let xml = of("junit");
        assert!(
            xml.contains("<error ") && xml.ends_with("</testsuites>\n"),
            "{xml}"
        );
        assert!(of("markdown").starts_with("### nothing was judged: "));
    }
}

#[test]
fn one_run_that_can_not_be_used_is_named_and_stops_no_others() {
    let runs = tempfile::tempdir().unwrap();
    for (i, id) in ["r1", "r2", "r3", "r4"].into_iter().enumerate() {
        recorded(id, &BASE[i..=i]).write(runs.path());
    }
    recorded("b", &[1.0]).write(runs.path());
    std::fs::write(runs.path().join("r2/run.json"), "{\"format\":7}").unwrap();
    let of = |args: &[&str]| said(command(args).current_dir(runs.path()));
    let told = of(&["compare", ".", "b", "--format", "json"]);
    assert!([0, 5].contains(&told.code), "{}", told.err);
    assert!(told.err.contains("left out: ./r2: "), "{}", told.err);
    let found: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(found["base"], serde_json::json!(["r1", "r3", "r4"]));
    assert_eq!(found["left_out"][0]["folder"], "./r2");
    let told = of(&["trend", ".", "--format", "json"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let found: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(found["runs"].as_array().unwrap().len(), 4);
    assert!(
        found["left_out"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("format"),
        "{found}"
    );
    let told = of(&["runs", "."]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.err.contains("left out: ./r2: "), "{}", told.err);
    assert_eq!(
        told.out.lines().filter(|line| line.contains("1/1")).count(),
        4,
        "{}",
        told.out
    );
}

#[test]
fn a_changed_file_is_no_base() {
    let runs = two(&BASE, &BASE);
    let raw = runs
        .path()
        .join("a/trials/send-tcp.linux.v0.r1/raw/host.iperf3.server.json");
    std::fs::write(&raw, "{}").unwrap();
    let told = compare(runs.path(), &[]);
    assert_eq!(told.code, 6, "{}", told.err);
    assert!(
        told.err.contains("the run in a can't be used"),
        "{}",
        told.err
    );
}

/// Those of the report's tests are of tools that this binary does not have.
#[test]
fn a_run_without_results_is_no_base() {
    let run = root().join("engine/report/tests/data/run");
    let runs = two(&BASE, &BASE);
    let told = vexp(&[
        "compare",
        run.to_str().unwrap(),
        runs.path().join("b").to_str().unwrap(),
    ]);
    assert_eq!(told.code, 5, "{}{}", told.out, told.err);
    assert!(
        told.out.ends_with("\nnothing that both have\n"),
        "{}",
        told.out
    );
}
