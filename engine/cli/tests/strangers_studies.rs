//! Attacks by studies of strangers on the computer that runs vexp; each leaves a canary if it succeeds.

#![expect(clippy::unwrap_used, reason = "tests")]

mod packing;
#[expect(dead_code, reason = "shared with other tests")]
mod support;
mod unpacked;

use std::path::Path;

use support::{Said, command, said};

/// A study with one experiment, and what differs from it.
fn study(more: &str) -> String {
    format!(
        r#"let vexp = import "vexp.ncl" in
{{ name = "rack", title = "One sender", hardware.laptop = vexp.laptop,
  platforms = {{ linux = (vexp.platform "laptop").linux }},
  experiments.send = {{ title = "TCP out", role = "sender", traffic.tool = "iperf3", platforms = ["linux"], vms = [1] }},
  efforts.quick = {{ repetitions = 1, warm_up = "1s", window = "3s" }},
  {more} }} | vexp.Study"#
    )
}

/// The options of two machines of which nobody has heard.
fn inventory(machine: &str, options: &str) -> String {
    study(&format!(
        r#"testbeds.hosts.options = {{ {options}
    inventory = {{ a = {{ role = "host", ssh = "127.0.0.250", port = 1, {machine} data = [{{ nic = "eth1", address = "198.18.0.1/24" }}] }},
                  b = {{ role = "peer", ssh = "127.0.0.251", port = 1, data = [{{ nic = "eth1", address = "198.18.0.2/24" }}] }} }} }}"#
    ))
}

/// `vexp` in a folder, with a home and a store of its own.
fn vexp(folder: &Path, args: &[&str]) -> Said {
    let mut command = command(args);
    command.current_dir(folder).env("HOME", folder);
    command.env("VEXP_STORE", folder.join("store"));
    command
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME");
    said(&mut command)
}

#[test]
fn a_study_names_no_file_or_program_of_the_controller() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let canary = at.join("canary");
    let config = format!(
        "Match exec \"sh -c 'id > {0}'\"\n    ForwardAgent yes\nHost *\n    ProxyCommand sh -c 'id > {0}; exit 1'\n",
        canary.display()
    );
    std::fs::write(at.join("ssh.conf"), config).unwrap();
    for (name, text) in [
        (
            "ssh_config",
            inventory("", r#"ssh_config = "/proc/self/cwd/ssh.conf","#),
        ),
        (
            "identity",
            inventory(r#"identity = "/proc/self/cwd/key","#, ""),
        ),
        (
            "known_hosts",
            inventory(r#"known_hosts = "/proc/self/cwd/known","#, ""),
        ),
        ("sudo", inventory("sudo = true,", "")),
        (
            "tools",
            inventory(r#"tools.iperf3 = "/proc/self/cwd/iperf3","#, ""),
        ),
    ] {
        std::fs::write(at.join("study.ncl"), text).unwrap();
        let verbs = [
            &["check", "study.ncl"][..],
            &["doctor", "study.ncl"],
            &["release", "study.ncl"],
            &["run", "study.ncl", "--testbed", "hosts", "--trust"],
        ];
        // All verbs read studies in one way: for the others, one is enough.
        let all = if name == "ssh_config" { 4 } else { 1 };
        for verb in &verbs[..all] {
            let said = vexp(at, verb);
            assert_eq!(said.code, 2, "{verb:?}: {}", said.err);
            let words = format!("a study can't say `{name}`");
            assert!(said.err.contains(&words), "{verb:?}: {}", said.err);
        }
        assert!(!canary.exists(), "{name}");
    }
}

#[test]
fn a_study_runs_on_somebodys_machines_only_if_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("study.ncl"), inventory("", "")).unwrap();
    let args = ["run", "study.ncl", "--testbed", "hosts"];
    let refused = vexp(at, &args);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("not trusted") && refused.err.contains("--trust"));
    // Trusted once, the same content is tried: its machines can't be reached.
    for more in [&["--trust"][..], &[]] {
        let tried = vexp(at, &[&args[..], more].concat());
        assert_eq!(tried.code, 4, "{}", tried.err);
    }
    let other = inventory("", "").replace("One sender", "Another");
    std::fs::write(at.join("study.ncl"), other).unwrap();
    assert_eq!(vexp(at, &args).code, 2);
}

#[test]
fn the_users_own_file_is_read_and_is_theirs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("study.ncl"), inventory("", "")).unwrap();
    std::fs::write(at.join("machines.json"), r#"{"machines": 1}"#).unwrap();
    let said = vexp(at, &["doctor", "study.ncl", "--machines", "machines.json"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("machines.json"), "{}", said.err);
}

#[test]
fn ten_million_trials_are_refused_before_they_are_planned() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let many = study("testbeds.emulated = vexp.stock")
        .replace("repetitions = 1,", "repetitions = 10000,")
        .replace(
            "(vexp.platform \"laptop\").linux }",
            "(vexp.platform \"laptop\").linux, xen = (vexp.platform \"laptop\").xen }",
        )
        .replace(
            "platforms = [\"linux\"], vms = [1]",
            "platforms = [\"xen\"], vms = std.array.range 1 100",
        );
    std::fs::write(at.join("study.ncl"), many).unwrap();
    for verb in ["check", "plan"] {
        let said = vexp(at, &[verb, "study.ncl"]);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains("990000 trials"), "{}", said.err);
    }
}

/// What a stranger puts in place of a run's file or folder.
const STRANGE: [&str; 6] = [
    "link",
    "folder link",
    "FIFO",
    "device",
    "hard link",
    "huge file",
];

fn put(what: &str, at: &Path, outside: &Path) {
    let _ = std::fs::remove_file(at);
    let _ = std::fs::remove_dir_all(at);
    let made = |program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.args(args).arg(at).status().unwrap().success()
    };
    let canary = outside.join("canary");
    match what {
        "link" => std::os::unix::fs::symlink(canary, at).unwrap(),
        "folder link" => std::os::unix::fs::symlink(outside, at).unwrap(),
        "FIFO" => assert!(made("mkfifo", &[])),
        // Without root there are no devices to be made, and a link to one is what is left.
        "device" => std::os::unix::fs::symlink("/dev/zero", at).unwrap(),
        "hard link" => std::fs::hard_link(canary, at).unwrap(),
        _ => std::fs::File::create(at)
            .unwrap()
            .set_len(300 << 20)
            .unwrap(),
    }
}

#[test]
fn no_verb_follows_a_link_or_opens_what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (at, outside) = (folder.path(), folder.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("canary"), "CANARY").unwrap();
    let bundle = unpacked::unpacked(&at.join("unpacked"));
    let (whole, runs) = (bundle.join("run"), at.join("runs"));
    std::fs::create_dir(&runs).unwrap();
    let run = runs.join(bundle.file_name().unwrap());
    let begin = || {
        let _ = std::fs::remove_dir_all(&run);
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(&whole)
            .arg(&run)
            .status();
        assert!(copied.unwrap().success());
    };
    let path = run.to_str().unwrap();
    let (study, whole_path) = (run.join("source/e2e.ncl"), whole.to_str().unwrap());
    let study = study.to_str().unwrap();
    let resume = ["run", study, "--testbed", "virtual", "--resume", path];
    let verbs: [(&str, &[&str]); 9] = [
        ("compare", &["compare", whole_path, path, "--anyway"]),
        ("trend", &["trend", path]),
        ("run --resume", &resume),
        ("report", &["report", path]),
        ("runs", &["runs"]),
        ("show", &["show", path]),
        ("gc --dry-run", &["gc", "--dry-run", "--keep", "12h"]),
        ("gc", &["gc", "--keep", "12h"]),
        ("export", &["export", path, "--output", "bundle"]),
    ];
    for (verb, args) in verbs {
        for what in STRANGE {
            for name in ["frames", ".lock", "events.jsonl", "plan.json"] {
                // A file that is too large is refused by whoever reads it.
                if what == "huge file" && name != "plan.json" {
                    continue;
                }
                // All readers of a run open it in one way: for these, one file and one folder are enough.
                let few = ["compare", "trend", "run --resume"].contains(&verb);
                if few && !["frames", "plan.json"].contains(&name) {
                    continue;
                }
                begin();
                put(what, &run.join(name), &outside);
                let mut command = std::process::Command::new("timeout");
                command.args(["60", env!("CARGO_BIN_EXE_vexp")]).args(args);
                command
                    .current_dir(at)
                    .env("HOME", at)
                    .env("VEXP_STORE", at.join(format!("{verb}'s store")));
                command.env_remove("VEXP_RUNS");
                let said = said(&mut command);
                let told = format!("{verb}, {name} is a {what}: {}: {}", said.code, said.err);
                // Neither a panic (101) nor the time (124).
                assert!(said.code <= 6, "{told}");
                let canary = std::fs::read_to_string(outside.join("canary")).unwrap();
                assert_eq!(canary, "CANARY", "{told}");
                assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{told}");
                if verb != "gc" && verb != "gc --dry-run" {
                    assert_ne!(said.code, 0, "{told}");
                }
                assert!(run.join(name).symlink_metadata().is_ok(), "{told}");
            }
        }
    }
    assert!(!at.join("gc --dry-run's store").exists());
}

/// `verify` opens one file, which the user names: a link leads to it, and what is no file is refused.
#[test]
fn no_bundle_that_is_no_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (at, outside) = (folder.path(), folder.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("canary"), "CANARY").unwrap();
    for what in STRANGE {
        put(what, &at.join("bundle"), &outside);
        let mut command = std::process::Command::new("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_vexp"), "verify", "bundle"]);
        let said = said(command.current_dir(at));
        assert!(
            [1, 2, 4].contains(&said.code),
            "{what}: {}: {}",
            said.code,
            said.err
        );
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{what}");
        assert_eq!(std::fs::read(outside.join("canary")).unwrap(), b"CANARY");
    }
}

#[test]
fn only_what_is_identical_is_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let bundle = support::root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let into = at.join("into");
    let whole = [
        "verify",
        bundle.to_str().unwrap(),
        "--into",
        into.to_str().unwrap(),
    ];
    // Its report may be of an older version.
    assert!([0, 1].contains(&vexp(at, &whole).code));
    let there = std::fs::read_dir(&into)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    // Somebody writes better words into the report, and gives them the right digest.
    let report = there.join("run/report/report.md");
    let better = format!(
        "{}All claims hold.\n",
        std::fs::read_to_string(&report).unwrap()
    );
    std::fs::write(&report, better).unwrap();
    let bundle = at.join("changed");
    packing::packed_again(&there, &bundle);
    let said = vexp(at, &["verify", bundle.to_str().unwrap(), "--rerun"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.err.contains("nothing was measured again"),
        "{}",
        said.err
    );
    assert!(!at.join("runs").exists() && !at.join("store").exists());
}

#[test]
fn a_fifo_or_device_that_is_named_holds_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    put("FIFO", &at.join("table.csv"), at);
    std::fs::create_dir_all(at.join("trial/raw")).unwrap();
    put("FIFO", &at.join("trial/trial.json"), at);
    let recorded = "plugins/testdata/iperf3-3.18/tcp-plain.server.json";
    std::fs::copy(support::root().join(recorded), at.join("trial/raw/x")).unwrap();
    let cases: [(i32, &[&str]); 4] = [
        (2, &["trend", "table.csv"]),
        (2, &["parse", "--tool", "iperf3", "table.csv"]),
        (2, &["parse", "--tool", "iperf3", "/dev/zero"]),
        (0, &["parse", "--tool", "iperf3", "trial/raw/x"]),
    ];
    for (code, args) in cases {
        let mut command = std::process::Command::new("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_vexp")]).args(args);
        let said = said(command.current_dir(at));
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
    }
}
