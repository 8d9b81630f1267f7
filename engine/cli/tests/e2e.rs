//! Real machines: images are built, Xen and KVM are booted, and what they measured is reported.
//!
//! These tests need root and the packages of `make test-packages`, and they measure: they run one
//! at a time and after all others (`make test`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod in_virtual_time;
mod leftovers;
mod support;

use leftovers::Traces;
use support::{command, vexp};

const STUDY: &str = "engine/cli/tests/data/e2e.ncl";
/// Longer than any run here takes, on a loaded machine and with no image built.
const PATIENCE: Duration = Duration::from_secs(900);

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The only run in a folder.
fn only_run(runs: &Path) -> PathBuf {
    let mut found = std::fs::read_dir(runs).unwrap();
    let run = found.next().unwrap().unwrap().path();
    assert!(found.next().is_none());
    run
}

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn linux_xen_and_kvm_are_measured_and_reported() {
    let runs = tempfile::tempdir().unwrap();
    let traces = Traces::before();
    let folder = runs.path().to_str().unwrap();
    let emulated = ["--testbed", "emulated"];
    let said = vexp(&[&["reproduce", STUDY, "--runs", folder], &emulated[..]].concat());
    // Whatever the verdict on the claim: it was a run.
    assert!([0, 1, 5].contains(&said.code), "{}\n{}", said.out, said.err);
    assert!(said.out.contains("8 of 8 trials measured"), "{}", said.out);
    assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'));

    let run = only_run(runs.path());
    let metrics = json(&run.join("frames/metrics.json"));
    let values = metrics["metrics"].as_array().unwrap();
    for platform in ["linux", "xen", "kvm-pv", "kvm-fv"] {
        for metric in ["throughput_aggregate", "cpu_host", "latency"] {
            let found = values
                .iter()
                .find(|value| value["metric"] == metric && value["platform"] == platform);
            let value = found.and_then(|value| value["value"].as_f64());
            assert!(value > Some(0.0), "{metric} of {platform}: {found:?}");
        }
    }
    what_xen_said_is_on_record(&run);
    a_bundle_of_it_is_identical(&run);
    raw_files_are_those_of_the_tools(&run);
    for file in [
        "report/report.html",
        "report/report.md",
        "frames/samples.parquet",
    ] {
        assert!(run.join(file).metadata().unwrap().len() > 1000, "{file}");
    }
    traces.none_left(Duration::from_secs(5));
}

/// In another folder, with everything computed again, and some of it measured again.
fn a_bundle_of_it_is_identical(run: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let [bundle, runs] = ["bundle", "runs"].map(|name| folder.path().join(name));
    let [bundle, runs_path] = [&bundle, &runs].map(|path| path.to_str().unwrap());
    let said = vexp(&["export", run.to_str().unwrap(), "--output", bundle]);
    assert_eq!(said.code, 0, "{}", said.err);
    let all = ["verify", bundle, "--rerun", "--only", "*.linux.*"];
    let said = vexp(&[&all[..], &["--runs", runs_path, "--format", "json"]].concat());
    let verified: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    assert_eq!(verified["identical"], true, "{verified}");
    assert_eq!(verified["rerun"]["measured"], 2, "{verified}");
    assert_eq!(verified["rerun"]["other_images"], serde_json::json!([]));
    let claim = |name: &str| {
        let rows = verified["claims"].as_array().unwrap();
        rows.iter().find(|row| row["claim"] == name).unwrap()
    };
    // Whatever was found of it: it was tested, and the other one is about what was left out.
    assert_ne!(claim("wire")["rerun"], "not-tested", "{verified}");
    assert_eq!(claim("pv")["rerun"], "not-tested", "{verified}");
    let contradicts = ["bundle", "rerun"].map(|of| claim("wire")[of] == "reproduced");
    let code = 5 - 4 * i32::from(contradicts[0] != contradicts[1]);
    assert!([code, 5].contains(&said.code), "{} {verified}", said.code);

    let again = only_run(&runs);
    let said = vexp(&["compare", run.to_str().unwrap(), again.to_str().unwrap()]);
    // One repetition each: nothing is certain but that they can be compared.
    assert!([1, 5].contains(&said.code), "{}\n{}", said.out, said.err);
    assert!(said.out.contains(" send.linux.v0 "), "{}", said.out);
}

fn what_xen_said_is_on_record(run: &Path) {
    let block = json(&run.join("blocks/xen.machine.v1.r1/block.json"));
    let version = block["host"]["xen_version"].as_str().unwrap();
    assert!(version.starts_with("4.20"), "{version}");
    assert_eq!(block["host"]["xen_scheduler"], "credit");
    assert_eq!(block["host"]["dom0_weight"], "512");
    let accelerator = block["site"]["accelerator"].as_str().unwrap();
    assert!(["tcg", "kvm"].contains(&accelerator));
}

fn raw_files_are_those_of_the_tools(run: &Path) {
    let raw = |trial: &str, file: &str| {
        let path = run.join("trials").join(trial).join("raw").join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    assert!(raw("send.xen.v1.r1", "vm1.iperf3.client.json").contains("\"interval\""));
    assert!(raw("send.xen.v1.r1", "host.xentop.stdout.txt").contains("Domain-0"));
    assert!(raw("send.kvm-pv.v1.r1", "host.sar.stdout.txt").contains("%guest"));
    assert!(raw("latency.kvm-fv.v1.r1", "vm1.ping.stdout.txt").contains("bytes from 198.18.0."));
}

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn a_router_is_kept_and_measured_again_when_it_was_restored() {
    let runs = tempfile::tempdir().unwrap();
    let traces = Traces::before();
    let folder = runs.path().to_str().unwrap();
    let emulated = ["--testbed", "emulated", "--effort", "kept"];
    let said = vexp(&[&["run", STUDY, "--runs", folder], &emulated[..]].concat());
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    traces.none_left(Duration::from_secs(5));

    let run = only_run(runs.path());
    let restored = json(&run.join("blocks/xen.router.v1.r2/block.json"));
    assert_eq!(restored["restored"], 1, "{restored}");
    // The claim is about what this effort does not measure.
    let said = vexp(&["report", run.to_str().unwrap()]);
    assert_eq!(said.code, 5, "{}\n{}", said.out, said.err);
    let metrics = json(&run.join("frames/metrics.json"));
    let values = metrics["metrics"].as_array().unwrap();
    for metric in ["throughput_aggregate", "offered_load", "cpu_host"] {
        let found = values.iter().find(|value| value["metric"] == metric);
        let value = found.and_then(|value| value["value"].as_f64());
        assert!(value > Some(0.0), "{metric}: {found:?}");
    }
    for repetition in [1, 2] {
        let trial = run.join(format!("trials/route.xen.v1.r{repetition}"));
        let setup = &json(&trial.join("trial.json"))["setup"];
        assert_eq!(setup["dom0_weight"], "512", "{setup}");
        assert_eq!(setup["guests"], "vm1", "{setup}");
        assert!(trial.join("raw/switch.counters.stdout.txt").exists());
    }
}

#[test]
#[ignore = "builds every image twice: needs root, and minutes"]
fn images_are_the_same_in_every_build() {
    let said = vexp(&["build", "experiments/paper.ncl", "--verify"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    for image in ["emulator", "guest", "kvm", "linux", "xen-4.17", "xen-4.20"] {
        let line = said.out.lines().find(|line| line.starts_with(image));
        assert!(
            line.is_some_and(|line| line.contains("identical")),
            "{line:?}"
        );
    }
}

/// `vexp run` on classical Linux only, which boots soonest.
fn start(runs: &Path, more: &[&str]) -> Child {
    let folder = runs.to_str().unwrap();
    let mut args = vec!["run", STUDY, "--runs", folder, "--only", "*.linux.*"];
    if !more.contains(&"--testbed") {
        args.extend(["--testbed", "emulated"]);
    }
    args.extend(more);
    command(&args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a trial is being measured.
fn wait_for_measuring(runs: &Path) {
    let began = Instant::now();
    loop {
        let events = std::fs::read_dir(runs).ok().and_then(|mut found| {
            let run = found.next()?.ok()?.path();
            std::fs::read_to_string(run.join("events.jsonl")).ok()
        });
        if events.is_some_and(|text| text.contains("trial_measuring")) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no trial is measured");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn a_killed_run_leaves_nothing_behind() {
    let runs = tempfile::tempdir().unwrap();
    let traces = Traces::before();
    let mut run = start(runs.path(), &[]);
    wait_for_measuring(runs.path());
    assert!(traces.there_are_some(), "the test would see nothing");
    run.kill().unwrap();
    run.wait().unwrap();
    traces.none_left(Duration::from_secs(5));
}

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn an_interrupted_run_ends_in_order_and_can_be_finished() {
    let runs = tempfile::tempdir().unwrap();
    let traces = Traces::before();
    let run = start(runs.path(), &[]);
    wait_for_measuring(runs.path());
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = run.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("--resume"), "{words}");
    traces.none_left(Duration::from_secs(5));

    let folder = only_run(runs.path());
    let resume = ["--resume", folder.to_str().unwrap()];
    let output = start(runs.path(), &resume).wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}");
    for trial in ["send.linux.v0.r1", "latency.linux.v0.r1"] {
        let record = json(&folder.join("trials").join(trial).join("trial.json"));
        assert_eq!(record["outcome"], "measured", "{record}");
    }
}
