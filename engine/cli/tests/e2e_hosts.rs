//! Testbed `hosts`: machines that are there, reached over SSH as a user would. Here they are network
//! namespaces with sshds of their own.
//!
//! These tests need root and the packages of `make test-packages`, and they measure.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

mod rack;
mod support;

use rack::emulated::Emulated;
use rack::{PATIENCE, Rack, enter, json};
use support::{said, vexp};

/// What a run may change on a machine, in words.
const STATE: &str = "ip -brief address show dev eth1 | tr -s ' '; ip -brief link | grep -v @; ip route; \
                     sysctl net.ipv4.ip_forward; ls /var/lib/vexp/taken.json; ls /run/vexp";

#[test]
#[ignore = "measures between network namespaces: needs root"]
fn linux_is_measured_over_ssh_and_put_back() {
    let rack = Rack::up();
    let before = ["rack1", "gen1"].map(|machine| rack.on(machine, STATE));
    for _ in 0..2 {
        let ran = rack.run(&[]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        let run = PathBuf::from(ran.out.trim());
        let block = json(&run.join("blocks/linux.machine.v0.r1/block.json"));
        assert_eq!(block["site"]["machine.host"], "rack1");
        assert_eq!(block["host"]["data_nic.0"], "eth1 198.18.0.1/24");
        let seen = json(&run.join("blocks/linux.machine.v0.r1/environment.json"));
        for (when, node) in [("before", "host"), ("before", "peer1"), ("after", "host")] {
            assert!(seen[when][node]["kernel"].is_string(), "{when} {node}");
        }
        let deviations = json(&run.join("run.json"))["deviations"].to_string();
        assert!(deviations.contains("machine rack1"), "{deviations}");
        let reported = vexp(&["report", run.to_str().unwrap()]);
        assert!([0, 5].contains(&reported.code), "{}", reported.err);
        let markdown = std::fs::read_to_string(run.join("report/report.md")).unwrap();
        assert!(markdown.contains("one computer"));
        let after = ["rack1", "gen1"].map(|machine| rack.on(machine, STATE));
        assert_eq!(before, after);
    }
}

#[test]
#[ignore = "measures: needs root, and a minute"]
fn what_takes_root_is_done_by_sudo_and_put_back() {
    let rack = Rack::up_for("operator");
    let before = rack.on("rack1", STATE);
    let ran = rack.run(&[]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert_eq!(rack.on("rack1", STATE), before);
    // Without a rule it can't, and says what to do.
    for machine in ["rack1", "gen1"] {
        rack.on(machine, "rm /etc/sudoers.d/operator");
    }
    let refused = rack.run(&[]);
    assert_eq!(refused.code, 4, "{}\n{}", refused.out, refused.err);
    for words in ["privileges of rack1", "NOPASSWD"] {
        assert!(refused.err.contains(words), "{}", refused.err);
    }
    assert!(!refused.err.contains("/proc/meminfo"), "{}", refused.err);
}

#[test]
#[ignore = "measures between network namespaces: needs root"]
fn what_is_not_as_asked_is_no_run() {
    let rack = Rack::up();
    rack.write_study(&[]);
    let study = rack.path("study.ncl");
    let args = [
        "doctor",
        "--testbed",
        "hosts",
        study.to_str().unwrap(),
        "--format",
        "json",
    ];
    let looked = said(&mut rack.vexp(&args));
    assert_eq!(looked.code, 4, "{}\n{}", looked.out, looked.err);
    let found: Vec<Value> = serde_json::from_str(&looked.out).unwrap();
    let state = |node: &str, what: &str| {
        let found = found
            .iter()
            .find(|one| one["node"] == node && one["what"] == what);
        found.unwrap_or_else(|| panic!("{node} {what}: {}", looked.out))["state"].clone()
    };
    for what in [
        "reachability",
        "privileges",
        "clock",
        "NIC speed",
        "programs",
        "version",
        "running guests",
    ] {
        assert_eq!(state("rack1", what), "fine", "{what}");
    }
    assert_eq!(state("gen1", "data address"), "fine");
    let asked = |node: &str| {
        let programs = |one: &&Value| one["node"] == node && one["what"] == "programs";
        let asked = found.iter().find(programs).unwrap()["asked"].as_str();
        let asked: Vec<_> = asked.unwrap().split(", ").collect();
        ["iperf3", "chrt", "sar"].map(|program| asked.contains(&program))
    };
    assert_eq!(asked("rack1"), [true, true, true]);
    assert_eq!(asked("gen1"), [true, false, false]);
    assert!(state("rack1", "processors")["wrong"].is_string());
    let ran = rack.run(&[]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("processors of rack1"), "{}", ran.err);
    assert!(!rack.path("runs").exists(), "nothing was begun");

    // A machine whose key is another is not spoken to.
    let known = std::fs::read_to_string(rack.path("known_hosts")).unwrap();
    let swapped: Vec<&str> = known
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    let text = format!("10.99.0.1 {}\n10.99.0.2 {}\n", swapped[1], swapped[0]);
    std::fs::write(rack.path("known_hosts"), text).unwrap();
    let ran = rack.run(&[]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("ssh-keygen"), "{}", ran.err);
}

#[test]
#[ignore = "measures between network namespaces: needs root"]
fn what_a_killed_run_has_left_is_put_back_by_the_next() {
    let rack = Rack::up();
    let before = rack.on("rack1", STATE);
    let (study, runs) = (rack.path("study.ncl"), rack.path("runs"));
    let args = [
        "run",
        study.to_str().unwrap(),
        "--testbed",
        "hosts",
        "--trust",
        "--runs",
        runs.to_str().unwrap(),
    ];
    let mut run = rack
        .vexp(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    rack.wait_until_taken();

    // While it runs, the machine is its own.
    let second = rack.run(&[]);
    assert_ne!(second.code, 0);
    assert!(second.err.contains("has it"), "{}", second.err);

    // `nsenter --pid` forks: its child is vexp.
    let id = run.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let pid = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    run.wait().unwrap();
    assert_ne!(
        rack.on("rack1", STATE),
        before,
        "the test would see nothing"
    );
    let ran = rack.run(&[]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert_eq!(rack.on("rack1", STATE), before);
}

#[test]
#[ignore = "measures between network namespaces: needs root"]
fn a_control_path_that_goes_dark_fails_what_is_left_and_keeps_the_record() {
    let rack = Rack::up();
    let before = rack.on("rack1", STATE);
    let (study, runs) = (rack.path("study.ncl"), rack.path("runs"));
    let study = study.to_str().unwrap();
    let folder = runs.to_str().unwrap();
    let args = [
        "run",
        study,
        "--testbed",
        "hosts",
        "--trust",
        "--runs",
        folder,
    ];
    let run = rack
        .vexp(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    rack.wait_until_taken();
    let began = Instant::now();
    // No answer, and no reset: as if somebody had pulled the cable.
    let cable = |state: &str| {
        let mut ip = enter(&rack.unshare);
        assert!(
            ip.args(["ip", "link", "set", "c1", state])
                .status()
                .unwrap()
                .success()
        );
    };
    cable("down");
    let output = run.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!([4, 5].contains(&output.status.code().unwrap()), "{words}");
    assert!(
        words.contains("rack1") && words.contains("connect"),
        "{words}"
    );
    cable("up");
    assert!(
        rack.is_taken(),
        "nothing was put back, and the record says so"
    );
    // The machine notices after a while that nobody is there any more, and gives the lock back.
    let collected = loop {
        let collected = said(&mut rack.vexp(&["release", study]));
        if !collected.err.contains("has it") {
            break collected;
        }
        assert!(began.elapsed() < PATIENCE, "{}", collected.err);
        std::thread::sleep(Duration::from_secs(2));
    };
    assert_eq!(collected.code, 0, "{}", collected.err);
    assert!(
        collected.out.contains("rack1: what run rack-"),
        "{}",
        collected.out
    );
    assert_eq!(rack.on("rack1", STATE), before);
}

#[test]
#[ignore = "boots Xen: needs root, and minutes"]
fn xen_is_driven_from_outside_as_on_a_rack() {
    let xen = Emulated::up("send.xen.*", "quick", "xen-4.20");
    let study = xen.study(
        r#"stock.xen & { scheduler = "credit", dom0_weight = 512 }"#,
        r#"send = sender & tcp & { monitors = [{ tool = "xentop" }] }, latency = sender & ping"#,
    );
    for pushed in [true, false] {
        let ran = xen.run(&study);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        assert_eq!(
            ran.err.contains("the guest image is pushed"),
            pushed,
            "{}",
            ran.err
        );
        let block = PathBuf::from(ran.out.trim()).join("blocks/tested.machine.v1.r1");
        let record = json(&block.join("block.json"));
        assert_eq!(record["host"]["dom0_weight"], "512");
        assert_eq!(record["site"]["machine.host"], "host");
        let environment = json(&block.join("environment.json"));
        assert_eq!(environment["before"]["host"]["xen.xen_scheduler"], "credit");
        assert!(environment["before"]["vm1"]["kernel"].is_string());
    }
    let looked = said(&mut xen.vexp(&["doctor", &study, "--format", "json"]));
    assert_eq!(looked.code, 0, "{}\n{}", looked.out, looked.err);
    let found: Vec<Value> = serde_json::from_str(&looked.out).unwrap();
    let guests = found
        .iter()
        .find(|one| one["what"] == "running guests")
        .unwrap();
    assert_eq!(guests["seen"], "none");
    assert!(!looked.out.contains("leftovers"), "{}", looked.out);
}

#[test]
#[ignore = "boots Xen: needs root, and minutes"]
fn a_router_is_driven_from_outside_between_peers_on_two_networks() {
    let xen = Emulated::up("route.xen.*", "kept", "xen-4.20");
    let study = xen.study(
        r#"stock.xen & { scheduler = "credit", dom0_weight = 256, hardware.router = "router" }"#,
        r#"route = all & { role = "router", title = "UDP by way of a guest", monitors = [{ tool = "counters" }],
             traffic = { tool = "netperf", options.protocol = "udp" } }"#,
    );
    let block = xen.measured(&study);
    let environment = json(&block.join("environment.json"));
    assert!(environment["before"]["peer2"]["kernel"].is_string());
}

#[test]
#[ignore = "boots KVM: needs root, and minutes"]
fn kvm_is_driven_from_outside_as_on_a_rack() {
    let kvm = Emulated::up("send.kvm-pv.*", "quick", "kvm");
    let study = kvm.study(
        r#"stock.kvm & { title = "KVM PV", nic = "virtio" }"#,
        r#"send = sender & tcp & { monitors = [{ tool = "pidstat" }] }, latency = sender & ping"#,
    );
    let block = kvm.measured(&study);
    let record = json(&block.join("block.json"));
    assert!(record["host"]["qemu"].is_string(), "{record}");
    let environment = json(&block.join("environment.json"));
    assert!(environment["before"]["vm1"]["kernel"].is_string());
}
