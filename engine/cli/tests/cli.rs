//! The real binary: what it prints, where, and with which exit code.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::Value;
use support::{command, root, said, vexp};

const PAPER: &str = "experiments/paper.ncl";
const MANY: &str = "engine/core/tests/bad/many.ncl";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn help_of_every_verb() {
    let mut text = vexp(&["--help"]).out;
    for verb in [
        "init",
        "check",
        "plan",
        "build",
        "run",
        "parse",
        "report",
        "reproduce",
        "compare",
        "trend",
        "nightly",
        "runs",
        "show",
        "gc",
        "doctor",
        "release",
        "completions",
        "library",
        "schema",
    ] {
        let help = vexp(&[verb, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (0, ""));
        text.push_str(&format!("\n=== vexp {verb} ===\n\n{}", help.out));
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn usage_errors_end_with_2_and_say_what_there_is() {
    for (args, words) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["chek", PAPER], "'check'"),
        (
            &["plan", PAPER, "--effort", "fast"],
            "full, long, look, quick, routers, standard",
        ),
        (&["plan", PAPER, "--testbed", "hosts"], "it has: emulated"),
        (
            &["plan", PAPER, "--only", "[x"],
            "hint: --only takes a pattern",
        ),
        (&["plan", PAPER, "--only", "send"], "hint: --only"),
        (
            &["parse", "--tool", "iperf4", "Makefile"],
            "hint: known tools: command, command-monitor, counters, iperf",
        ),
        (&["parse", "--tool", "ping", "missing.txt"], "missing.txt"),
        (&["check", "missing.ncl"], "missing.ncl"),
        (&["report", "engine"], "hint: `vexp runs`"),
        (
            &["build", PAPER, "--images", "missing"],
            "hint: --images or VEXP_IMAGES",
        ),
    ] {
        let said = vexp(args);
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}");
    }
}

#[test]
fn good_studies_pass() {
    for study in [PAPER, "experiments/examples/hello.ncl"] {
        let good = vexp(&["check", study]);
        assert_eq!(good.code, 0, "{study}: {}", good.err);
        // Files that a study imports are shown.
        let imports = study == PAPER;
        assert_eq!(good.err.starts_with("imported: paper/claims.ncl"), imports);
        assert_eq!(good.err.is_empty(), !imports, "{study}: {}", good.err);
        assert!(good.out.ends_with("no errors\n"), "{}", good.out);
    }
}

#[test]
fn findings_are_for_people_on_any_terminal() {
    let bad = said(command(&["check", MANY]).env("COLUMNS", "60"));
    assert_eq!((bad.code, bad.out.as_str()), (2, ""));
    insta::assert_snapshot!("findings_in_60_columns", bad.err);
    assert!(!bad.err.contains('\x1b'), "a pipe gets no escape codes");
}

#[test]
fn findings_are_for_programs_as_json() {
    let bad = vexp(&["check", MANY, "--format", "json"]);
    assert_eq!((bad.code, bad.err.as_str()), (2, ""));
    let findings = json(&bad.out);
    assert_eq!(findings.as_array().unwrap().len(), 12);
    let weight = &findings[3];
    assert_eq!(weight["code"], "range");
    assert_eq!(weight["severity"], "error");
    assert_eq!(weight["field"], "platforms.xen.dom0_weight");
    let place = &weight["labels"][0]["place"];
    assert_eq!((&place["line"], &place["column"]), (&7.into(), &35.into()));

    let good = vexp(&["check", PAPER, "--format", "json"]);
    assert_eq!((good.code, json(&good.out)), (0, json("[]")));
}

/// script(1) gives the program a terminal.
fn on_a_terminal(columns: u16, no_color: bool) -> String {
    let vexp = env!("CARGO_BIN_EXE_vexp");
    let line = format!("stty rows 24 cols {columns}; '{vexp}' check {MANY}");
    let mut script = std::process::Command::new("script");
    script
        .args(["--quiet", "--command", &line, "/dev/null"])
        .current_dir(root())
        .env("TERM", "xterm")
        .env_remove("COLUMNS");
    if no_color {
        script.env("NO_COLOR", "1");
    } else {
        script.env_remove("NO_COLOR");
    }
    said(&mut script).out
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    assert!(on_a_terminal(80, false).contains("\x1b["));
    let plain = on_a_terminal(80, true);
    assert!(plain.contains("there is no platform `xne`"), "{plain}");
    assert!(!plain.contains('\x1b'), "{plain}");
}

#[test]
fn help_texts_wrap_where_the_terminal_ends() {
    let helps = |columns| {
        let text = on_a_terminal(columns, true);
        let mut help = false;
        (text.lines().map(str::trim_end))
            .filter(|line| {
                help = line.contains("help:") || (help && line.starts_with("        "));
                help
            })
            .map(|line| line.chars().count())
            .max()
            .unwrap()
    };
    assert!((41..=60).contains(&helps(60)), "{}", helps(60));
    assert!((61..=120).contains(&helps(120)), "{}", helps(120));
}

#[test]
fn a_verb_that_fails_says_so_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("run.json"), "").unwrap();
    let run = run.to_str().unwrap();
    for (args, code) in [
        (&["report", run][..], 6),
        (&["report", "engine"], 2),
        (&["plan", "missing.ncl"], 2),
        (&["trend", run], 6),
        (&["export", run], 6),
        (&["verify", "missing.tar.zst"], 2),
    ] {
        let told = vexp(&[args, &["--format", "json"]].concat());
        assert_eq!(told.code, code, "{args:?}: {}", told.err);
        let document = json(&told.out);
        assert_eq!(document["error"]["exit"], code, "{args:?}");
        let said = document["error"]["messages"].as_array().unwrap();
        let findings = args[0] == "plan";
        assert!(findings || !said.is_empty(), "{args:?}: {document}");
        assert!(told.err.contains("error"), "{args:?}: {}", told.err);
    }
}

/// What `export` would refuse, hours later.
#[test]
fn names_that_no_bundle_takes_are_findings() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["main file.ncl", "stüdy.ncl", "-x.ncl"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "{}").unwrap();
        let told = said(command(&["check", "--"]).arg(&path));
        assert_eq!(told.code, 2, "{name}: {}", told.err);
        let words = told.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("a file of a study can't be called"),
            "{name}: {}",
            told.err
        );
        assert!(words.contains("rename it"), "{name}: {}", told.err);
    }
}

/// As Windows' editors save texts.
#[test]
fn a_byte_order_mark_and_crlf_are_no_part_of_a_study() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("experiments/examples/hello.ncl")).unwrap();
    let path = folder.path().join("hello.ncl");
    std::fs::write(&path, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    let told = vexp(&["check", path.to_str().unwrap()]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
}

/// A run that can't be written to is read all the same.
#[test]
fn every_reader_works_on_a_run_that_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    for (from, to) in [
        ("engine/report/tests/data/run", "run"),
        ("engine/cli/tests/data/recorded-run", "recorded"),
    ] {
        let mut copy = std::process::Command::new("cp");
        copy.arg("-r").arg(root().join(from)).arg(runs.join(to));
        assert!(copy.status().unwrap().success());
    }
    let (run, recorded) = (runs.join("run"), runs.join("recorded"));
    let out = folder.path().join("out");
    let (run, out) = (run.to_str().unwrap(), out.to_str().unwrap());
    let (runs, recorded) = (runs.to_str().unwrap(), recorded.to_str().unwrap());
    let read_only = |args: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private"]);
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
        unshare.args(["sh", "-c", script, runs, env!("CARGO_BIN_EXE_vexp")]);
        said(unshare.args(args).current_dir(folder.path()))
    };
    let told = read_only(&["--version"]);
    if told.code != 0 {
        println!(
            "skipped: mount namespaces are not allowed here: {}",
            told.err
        );
        return;
    }
    let told = read_only(&["report", run, "--out", out]);
    assert_eq!(told.code, 5, "{}{}", told.out, told.err);
    assert!(
        told.out
            .ends_with(&format!("report: {out}/report/report.html\n")),
        "{}",
        told.out
    );
    assert!(
        std::path::Path::new(out)
            .join("frames/claims.json")
            .exists()
    );
    // Without --out, all that can be said is said.
    let told = read_only(&["report", run]);
    assert_eq!(told.code, 4, "{}{}", told.out, told.err);
    assert!(told.out.contains("6 claims: 6 not tested"), "{}", told.out);
    assert!(told.err.contains("hint: --out FOLDER"), "{}", told.err);
    let told = read_only(&["report", run, "--format", "json"]);
    assert_eq!(json(&told.out).as_array().unwrap().len(), 6);
    for (args, codes) in [
        (&["export", recorded, "--output", "bundle"][..], &[0, 2][..]),
        (&["trend", recorded, "--out", "site"], &[0]),
        (&["runs", runs], &[0]),
        (&["show", recorded], &[0]),
        (&["compare", recorded, run], &[2, 5]),
    ] {
        let told = read_only(args);
        assert!(codes.contains(&told.code), "{args:?}: {}", told.err);
        assert!(
            !told.err.contains("Read-only file system"),
            "{args:?}: {}",
            told.err
        );
    }
    // A folder that is not a report's is not replaced.
    std::fs::create_dir_all(folder.path().join("mine/report")).unwrap();
    std::fs::write(folder.path().join("mine/report/paper.tex"), "").unwrap();
    let mine = folder.path().join("mine");
    let told = vexp(&["report", run, "--out", mine.to_str().unwrap()]);
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(mine.join("report/paper.tex").exists());
}

#[test]
fn a_plan_for_people() {
    // A store of its own, in which nothing is built.
    let store = tempfile::tempdir().unwrap();
    let store = store.path().to_str().unwrap();
    let plan = vexp(&["plan", "engine/cli/tests/data/plan.ncl", "--store", store]);
    assert_eq!((plan.code, plan.err.as_str()), (0, ""));
    // The estimate's constants may be improved without anyone being asked here.
    insta::with_settings!({ filters => [("(?m)^about .* \\(estimates\\)$", "about … (estimates)")] }, {
        insta::assert_snapshot!("plan_in_80_columns", plan.out);
    });
    let widest = plan.out.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 92, "the summary is the widest line");
}

#[test]
fn a_plan_for_programs_is_the_same_everywhere() {
    let args = ["plan", PAPER, "--format", "json"];
    let first = vexp(&args);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    assert_eq!(json(&first.out)["format"], 1);
    assert_eq!(vexp(&args).out, first.out);
    let there = said(
        command(&["plan", "paper.ncl", "--format", "json"])
            .current_dir(root().join("experiments"))
            .env("TZ", "Asia/Kathmandu")
            .env("LC_ALL", "C"),
    );
    assert_eq!(there.out, first.out);
}

#[test]
fn only_selects_trials_and_leaves_their_ids_alone() {
    let ids = |args: &[&str]| -> Vec<String> {
        let plan = json(&vexp(args).out);
        let blocks = plan["blocks"].as_array().unwrap().clone();
        let trials = blocks
            .iter()
            .flat_map(|b| b["trials"].as_array().unwrap().clone());
        trials
            .map(|t| t["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = ids(&["plan", PAPER, "--format", "json"]);
    let some = ids(&["plan", PAPER, "--format", "json", "--only", "*.kvm-*.v1.*"]);
    let expected: Vec<_> = (all.iter())
        .filter(|id| id.contains(".kvm-") && id.contains(".v1."))
        .cloned()
        .collect();
    // Three experiments of two platforms, three times.
    assert_eq!(some.len(), 18);
    assert_eq!(some, expected);
}

#[test]
fn raw_output_becomes_samples() {
    let parse = |tool, format, file: &str| {
        let file = format!("plugins/testdata/{file}");
        vexp(&["parse", "--tool", tool, "--format", format, &file])
    };
    let csv = parse("iperf3", "csv", "iperf3-3.18/tcp.client.json");
    assert_eq!((csv.code, csv.err.as_str()), (0, ""));
    let mut lines = csv.out.lines();
    let header = lines.next().unwrap();
    assert_eq!(header, "file,node,role,metric,unit,t,value,dt");
    let columns = header.split(',').count();
    assert!(csv.out.contains(",throughput_sent,Mb/s,"), "{}", csv.out);
    assert!(lines.all(|line| line.split(',').count() == columns));

    let jsonl = parse("xentop", "jsonl", "xentop-4.20.4/loaded-1-domu.txt");
    assert_eq!((jsonl.code, jsonl.err.as_str()), (0, ""));
    let samples: Vec<Value> = jsonl.out.lines().map(json).collect();
    let of = |node: &str| {
        let of = samples
            .iter()
            .find(|s| s["node"] == node && s["metric"] == "cpu");
        of.unwrap()["value"].as_f64().unwrap()
    };
    // As it stands in the recorded file.
    assert_eq!((of("host"), of("vm1")), (67.6, 60.7));

    let refused = parse("iperf3", "csv", "iperf3-3.18/refused.client.json");
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(
        refused
            .err
            .contains("refused.client.json:1: iperf3 reports an error")
    );
}

#[test]
fn parquet_is_parquet() {
    let output = command(&[
        "parse",
        "--tool=ping",
        "--format=parquet",
        "plugins/testdata/iputils-20240905/ok.txt",
    ])
    .output()
    .unwrap();
    let bytes = output.stdout;
    assert!(output.status.success());
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn a_folder_without_runs_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let none = vexp(&["runs", "--runs", path]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.starts_with("no runs in "), "{}", none.err);
    let none = vexp(&["runs", "--runs", path, "--format", "json"]);
    assert_eq!((none.code, none.out.as_str()), (0, "[]\n"));
}

#[test]
fn a_run_is_listed_with_its_report() {
    let runs = tempfile::tempdir().unwrap();
    let run = runs.path().join("run");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(root().join("engine/report/tests/data/run"))
        .arg(&run)
        .status()
        .unwrap();
    assert!(copied.success());
    let report = vexp(&["report", run.to_str().unwrap()]);
    // Its trials are of tools that this binary does not have: no claim can be tested.
    assert_eq!(report.code, 5, "{}", report.err);
    let html = run.join("report/report.html");
    let end = format!(
        "\n0 of 23 trials measured\n6 claims: 6 not tested\nreport: {}\n",
        html.display()
    );
    assert!(report.out.ends_with(&end), "{}", report.out);
    assert!(!report.out.contains('\x1b'));
    let listed = json(
        &vexp(&[
            "runs",
            "--runs",
            runs.path().to_str().unwrap(),
            "--format",
            "json",
        ])
        .out,
    );
    assert_eq!(listed[0]["report"], html.to_str().unwrap());
    assert_eq!(listed[0]["trials"], 23);
}

#[test]
fn a_trial_is_shown_whole() {
    let run = root().join("engine/cli/tests/data/recorded-run");
    let at = run.to_str().unwrap();
    let show = |args: &[&str]| vexp(&[&["show", at], args].concat());
    let trial = "send-tcp.linux.v0.r1";
    let all = show(&[]);
    assert_eq!((all.code, all.err.as_str()), (0, ""));
    assert!(
        all.out.contains(trial) && all.out.contains("measured"),
        "{}",
        all.out
    );
    let one = show(&[trial]);
    assert_eq!((one.code, one.err.as_str()), (0, ""));
    insta::assert_snapshot!("show", one.out.replace(at, "RUN"));
    let none = show(&["send-tcp.linux.v0.r9"]);
    assert_eq!(none.code, 2);
    assert!(
        none.err.contains("has no trial send-tcp.linux.v0.r9"),
        "{}",
        none.err
    );
    assert!(none.err.contains("hint: `vexp show "), "{}", none.err);
    let nothing = vexp(&["show", "engine/cli/tests/data"]);
    assert_eq!(nothing.code, 2, "{}", nothing.err);
}

/// A study of experiments with such traffic, a name each.
fn with_traffic(all: &[(&str, &str)], effort: &str) -> String {
    let experiments: Vec<String> = (all.iter())
        .map(|(name, traffic)| {
            format!(
                "{name} = {{ title = \"t\", role = \"sender\", traffic = {traffic}, \
                 monitors = [{{ tool = \"sar\", options.interval = \"5s\" }}], \
                 platforms = [\"linux\"], vms = [1] }}"
            )
        })
        .collect();
    format!(
        "let vexp = import \"vexp.ncl\" in\n{{ name = \"s\", title = \"s\", hardware.laptop = vexp.laptop, \
         platforms = vexp.platform \"laptop\", efforts.quick = {{ repetitions = 1, {effort} }}, \
         testbeds.emulated = vexp.stock, experiments = {{ {} }} }}",
        experiments.join(", ")
    )
}

#[test]
fn what_a_measure_would_refuse_is_found_by_check() {
    let command = |argv: &str, extract: &str| {
        format!("{{ tool = \"command\", options = {{ argv = [{argv}], extract = [{extract}] }} }}")
    };
    let value = "{ csv = \"a\", metric = \"m\", unit = \"1\" }";
    let too = command("\"ping\", \"{too}\"", value);
    let none = command("\"ping\"", "");
    let regex = "{ regex = \"(\", metric = \"m\", unit = \"1\" }";
    let regex = command("\"ping\"", regex);
    let iperf3 = |options: &str| format!("{{ tool = \"iperf3\", options = {{ {options} }} }}");
    let (udp, zero, long, ports) = (
        iperf3("protocol = \"udp\""),
        iperf3("rate = \"0Mb/s\""),
        iperf3("protocol = \"udp\", rate = \"link\", length = 100000"),
        "{ tool = \"iperf\", options = { rate = \"1Mb/s\" } }",
    );
    let ping = "{ tool = \"ping\", options = { interval = \"1ms\" } }";
    let all = [
        ("too", too.as_str(), "argv", "nothing stands for `{too}`"),
        ("none", none.as_str(), "extract", "at least one value"),
        ("regex", regex.as_str(), "extract", "unclosed group"),
        ("udp", udp.as_str(), "", "UDP needs a `rate`"),
        ("zero", zero.as_str(), "rate", "a `rate` of 0"),
        ("long", long.as_str(), "length", "16 to 65507 bytes"),
        ("tcp", ports, "rate", "`rate` is for UDP"),
        ("fast", ping, "interval", "at least 2ms"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.ncl");
    let traffic: Vec<(&str, &str)> = all
        .iter()
        .map(|(name, traffic, ..)| (*name, *traffic))
        .collect();
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let told = vexp(&["check", path.to_str().unwrap(), "--format", "json"]);
        assert_eq!(told.code, 2, "{}", told.err);
        let found = json(&told.out).as_array().unwrap().clone();
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        let found = found
            .iter()
            .map(|one| (text(one, "field"), text(one, "message")));
        found.collect::<Vec<_>>()
    };
    let found = check(&with_traffic(&traffic, "warm_up = \"1s\", window = \"5s\""));
    for (name, _, option, says) in all {
        let field = match option {
            "" => format!("experiments.{name}.traffic.options"),
            option => format!("experiments.{name}.traffic.options.{option}"),
        };
        let of = |one: &&(String, String)| one.0.starts_with(&field) && one.1.contains(says);
        assert_eq!(found.iter().filter(of).count(), 1, "{name}: {found:#?}");
    }
    assert_eq!(found.len(), all.len(), "{found:#?}");

    let tcp = iperf3("");
    let times = "warm_up = \"1500ms\", window = \"1ms\"";
    let found = check(&with_traffic(&[("a", &tcp), ("b", &tcp)], times));
    for (field, says) in [
        ("efforts.quick.warm_up", "iperf3 takes whole seconds only"),
        ("efforts.quick.window", "iperf3 takes whole seconds only"),
        (
            "efforts.quick.window",
            "shorter than the 5 s from one sample to the next",
        ),
    ] {
        let of = |one: &&(String, String)| one.0 == field && one.1.contains(says);
        assert_eq!(found.iter().filter(of).count(), 1, "{field}: {found:#?}");
    }
    assert_eq!(found.len(), 3, "{found:#?}");
}
