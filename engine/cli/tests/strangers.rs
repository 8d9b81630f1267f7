//! `vexp parse` and `vexp trend` on files that vexp did not make.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Said, root, vexp};

fn parse(args: &[&str]) -> Said {
    vexp(&[&["parse"], args].concat())
}

fn samples(args: &[&str]) -> Vec<Value> {
    let said = parse(args);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}");
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn names_of_files_mean_nothing_and_options_say_the_side_and_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = root().join("plugins/testdata/iperf3-3.18/tcp-plain.server.json");
    for name in [
        "server.json",
        "Lab1.iperf3.json",
        "vm1.iperf3.client.json",
        "x",
    ] {
        let file = folder.path().join(name);
        std::fs::copy(&recorded, &file).unwrap();
        let found = samples(&["--tool", "iperf3", text(&file)]);
        assert_eq!(found.len(), 3, "{name}");
        assert!(
            found
                .iter()
                .all(|s| s["node"] == "host" && s["metric"] == "throughput")
        );
        assert!(found[0]["t"].as_f64().unwrap().abs() < 0.01);
    }
    let file = folder.path().join("server.json");
    let named = samples(&[
        "--tool",
        "iperf3",
        "--side",
        "server",
        "--node",
        "lab1",
        text(&file),
    ]);
    assert!(
        named
            .iter()
            .all(|s| s["node"] == "lab1" && s["role"] == "guest")
    );
    let refused = parse(&["--tool", "iperf3", "--side", "client", text(&file)]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("the other side's"), "{}", refused.err);
    let refused = parse(&["--tool", "sar", "--side", "client", text(&file)]);
    assert!(refused.err.contains("sar is a monitor"), "{}", refused.err);
}

#[test]
fn lengths_that_a_file_does_not_say_are_told() {
    let file = "plugins/testdata/xentop-4.20.4/idle-1-domu.txt";
    let refused = parse(&["--tool", "xentop", file]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("give --interval"), "{}", refused.err);
    let found = samples(&["--tool", "xentop", "--interval", "3s", file]);
    assert!(found.iter().all(|sample| sample["dt"] == 3.0));
}

#[test]
fn a_time_that_no_tool_printed_is_null() {
    let file = "plugins/testdata/busybox-1.35.0/reply.txt";
    let found = samples(&["--tool", "ping", file]);
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|sample| sample["t"].is_null()));
    let csv = parse(&["--tool", "ping", "--format", "csv", file]);
    assert!(csv.out.contains(",rtt,ms,,0.195,0.0\n"), "{}", csv.out);
    let found = samples(&["--tool", "ping", "--interval", "1s", file]);
    assert_eq!(
        (&found[2]["t"], &found[2]["value"]),
        (&2.0.into(), &0.083.into())
    );
}

#[test]
fn help_has_every_tool_and_command_takes_its_options() {
    let help = parse(&["--help"])
        .out
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        help.contains("Plugin that made the files: counters, iperf, iperf3, "),
        "{help}"
    );
    assert!(
        help.contains("; with --options also command, command-monitor"),
        "{help}"
    );
    let known = parse(&["--tool", "none", "x"]).err;
    let (_, known) = known.split_once("known tools: ").unwrap();
    let known = known.lines().next().unwrap().split(", ");
    for tool in known {
        assert!(help.contains(tool), "{tool}: {help}");
    }
    let file = "plugins/testdata/command-netperf-2.7.1/omni.csv";
    let refused = parse(&["--tool", "command", file]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("--options"), "{}", refused.err);
    let header = std::fs::read_to_string(root().join(file)).unwrap();
    let column = header.lines().find(|line| line.contains(',')).unwrap();
    let column = column.split(',').next().unwrap();
    let options = format!(
        "{{\"argv\": [\"netperf\"], \"extract\": [{{\"csv\": \"{column}\", \"metric\": \"rate\", \"unit\": \"Mb/s\"}}]}}"
    );
    let found = samples(&["--tool", "command", "--options", &options, file]);
    assert_eq!(found[0]["metric"], "rate");
}

#[test]
fn a_table_has_its_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.csv");
    let rows = (1..=20_u32).map(|day| {
        let slower = if day > 10 { 90.0 } else { 100.0 };
        let wiggle = f64::from(day * 7 % 5) / 100.0;
        format!("2026-11-{day:02},{},lab\n", slower + wiggle)
    });
    let table = format!("time,value,environment\n{}", rows.collect::<String>());
    std::fs::write(&file, table).unwrap();
    let said = vexp(&["trend", text(&file)]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.contains("2026-11-11"), "{}", said.out);
    assert!(
        said.out.ends_with("history.csv: 20 values: 1 changes\n"),
        "{}",
        said.out
    );
    let json = vexp(&["trend", "--format", "json", text(&file)]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["changes"][0]["at"], 10);
    let refused = vexp(&["trend", text(&file), "--out", "site"]);
    assert_eq!(refused.code, 2);
}

/// Changed in places: the reader of Parquet panics on some of these.
#[test]
fn a_damaged_parquet_table_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let into = folder.path().join("u");
    let _ = vexp(&["verify", text(&bundle), "--into", text(&into)]);
    let run = std::fs::read_dir(into).unwrap().next();
    let samples = run
        .unwrap()
        .unwrap()
        .path()
        .join("run/frames/samples.parquet");
    let whole = std::fs::read(samples).unwrap();
    let file = folder.path().join("x.parquet");
    for at in (4..whole.len()).step_by(whole.len() / 10) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        std::fs::write(&file, changed).unwrap();
        let said = vexp(&["trend", text(&file)]);
        assert_eq!(said.code, 2, "{at}: {}", said.err);
        assert!(!said.err.contains("panicked"), "{at}: {}", said.err);
    }
}

/// A full disk is told; a reader that has gone away has seen what it wanted to.
#[test]
fn output_that_can_not_be_written_is_no_success() {
    let recorded = root().join("plugins/testdata/iputils-20221126/plain.txt");
    let all: [&[&str]; 4] = [
        &["parse", "--tool", "ping", text(&recorded)],
        &["schema", "study"],
        &["help", "ping"],
        &["--version"],
    ];
    for args in all {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = support::command(args)
            .stdout(full.unwrap())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {err}");
        assert!(err.contains("could not write to standard output"), "{err}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = support::command(args).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}
