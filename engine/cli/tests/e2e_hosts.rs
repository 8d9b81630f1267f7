//! Testbed `hosts`: machines that are there, reached over SSH as a user would. Here they are network
//! namespaces with sshds of their own.
//!
//! These tests need root and the packages of `make test-packages`, and they measure.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{BootFiles, ImageFiles};
use vexp_api::site::{NodeInfo, Site, SshTarget};
use vexp_plugins::testbed::emulated::lab::{LabAnswer, LabRequest};

mod support;

use support::{Said, command, root, said, vexp};

const IMAGES: &str = "engine/cli/tests/data/e2e.ncl";
const PATIENCE: Duration = Duration::from_secs(600);

/// Machines that are up, and a folder with a study about them. They end when this is dropped.
struct Rack {
    folder: tempfile::TempDir,
    user: &'static str,
    unshare: Child,
}

impl Rack {
    fn up() -> Self {
        Self::up_for("root")
    }

    /// Machines on which vexp is this user.
    fn up_for(user: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = vexp(&["build", IMAGES, "--only", "*.linux.*"]);
        assert_eq!(built.code, 0, "{}", built.err);
        let image = image(&built.out, "guest").root;
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.path().join("client"))
            .status();
        assert!(made.unwrap().success());
        let mut unshare = unshare()
            .arg("sh")
            .arg(root().join("engine/cli/tests/rack/up.sh"))
            .arg(folder.path())
            .arg(&image)
            .args([user, "rack1", "gen1"])
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "READY\n");
        let rack = Self {
            folder,
            user,
            unshare,
        };
        rack.write_study(&["load", "memory", "processors"]);
        rack
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A study that lets some properties be other than it asks.
    fn write_study(&self, allowed: &[&str]) {
        let at = self.folder.path().display();
        let allow: String = allowed
            .iter()
            .map(|what| format!("{{ what = \"{what}\", reason = \"one computer\" }},\n"))
            .collect();
        let study = format!(
            r#"let vexp = import "vexp.ncl" in
let machine = {{ user = "{user}", sudo = {sudo}, identity = "{at}/client", known_hosts = "{at}/known_hosts" }} in
let linux = (vexp.platform "machine").linux in
{{
  name = "rack",
  title = "Machines over SSH",
  hardware.machine = vexp.laptop & {{ nics | force = [{{ model = "any", rate = "10Gb/s" }}] }},
  platforms.linux = linux & {{ version | force = "{kernel}" }},
  experiments =
    let both = {{ role = "sender", platforms = ["linux"], vms = [1], monitors = [{{ tool = "sar" }}] }} in
    {{
      send = both & {{ title = "TCP to a peer", traffic.tool = "iperf3" }},
      latency = both & {{ title = "Round trip", traffic.tool = "ping" }},
    }},
  efforts.quick = {{ repetitions = 1, warm_up = "1s", window = "3s" }},
  testbeds.hosts.options = {{
    inventory = {{
      rack1 = machine & {{ role = "host", ssh = "10.99.0.1", data = [{{ nic = "eth1", address = "198.18.0.1/24" }}] }},
      gen1 = machine & {{ role = "peer", ssh = "10.99.0.2", data = [{{ nic = "eth1", address = "198.18.0.2/24" }}] }},
    }},
    allow = [{allow}],
  }},
}}
"#,
            kernel = kernel(),
            user = self.user,
            sudo = self.user != "root",
        );
        std::fs::write(self.path("study.ncl"), study).unwrap();
    }

    /// `vexp` where the machines can be reached from.
    fn vexp(&self, args: &[&str]) -> Command {
        inside(&self.unshare, args)
    }

    fn run(&self, more: &[&str]) -> Said {
        let (study, runs) = (self.path("study.ncl"), self.path("runs"));
        let mut args = vec!["run", study.to_str().unwrap(), "--testbed", "hosts"];
        args.extend(["--runs", runs.to_str().unwrap()]);
        args.extend(more);
        said(&mut self.vexp(&args))
    }

    /// What a program says in a machine's network and files.
    fn on(&self, machine: &str, program: &str) -> String {
        let mut command = enter(&self.unshare);
        command.args(["ip", "netns", "exec", machine, "chroot"]);
        command
            .arg(format!("/run/machines/{machine}"))
            .args(["sh", "-c", program]);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the machine under test has the run's address, and its record says which run that is.
    fn is_taken(&self) -> bool {
        self.on("rack1", "ip -brief address show dev eth1")
            .contains("198.18.0.1")
            && (self.on("rack1", "cat /var/lib/vexp/taken.json")).contains("\"run\":\"rack-")
    }

    fn wait_until_taken(&self) {
        let began = Instant::now();
        while !self.is_taken() {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

/// A program in new namespaces, which end with its input.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["--propagation", "private", "--"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A program in the namespaces that `unshare` has made.
fn enter(unshare: &Child) -> Command {
    let unshare = unshare.id();
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let first = std::fs::read_to_string(children).unwrap();
    let mut command = Command::new("nsenter");
    command.args(["--target", first.trim(), "--net", "--mount", "--pid"]);
    command.arg(format!("--wd={}", root().display())).arg("--");
    command
}

/// `vexp` in them.
fn inside(unshare: &Child, args: &[&str]) -> Command {
    let inner = command(args);
    let mut outer = enter(unshare);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.current_dir(root()).env("COLUMNS", "80");
    outer
}

/// Files of an image, by what `vexp build` has printed.
fn image(built: &str, name: &str) -> ImageFiles {
    let mut lines = built.lines().filter_map(|line| line.split_once(' '));
    let (_, key) = lines.find(|(found, _)| *found == name).unwrap();
    let key = key.trim().replace("sha256:", "");
    let folder = PathBuf::from("/var/cache/vexp/images-v1").join(key);
    let manifest = json(&folder.join("manifest.json"));
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    ImageFiles {
        root: folder.join("root.squashfs"),
        digest: Digest::of_value(&manifest["files"]).unwrap(),
        boot: there("vmlinuz").map(|kernel| BootFiles {
            kernel,
            initramfs: folder.join("initramfs.img"),
            hypervisor: there("xen"),
        }),
    }
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let parts: Vec<&str> = release.trim().split('.').take(2).collect();
    parts.join(".")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

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
    let args = ["run", study, "--testbed", "hosts", "--runs", folder];
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

/// An emulated machine with its peers, as a machine of a rack is: reached over SSH from beside it.
struct Emulated {
    folder: tempfile::TempDir,
    lab: Child,
    site: Site,
}

impl Emulated {
    /// The first machine that the e2e study needs for the trials `only` of an effort.
    fn up(only: &str, effort: &str, image_name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chosen = [IMAGES, "--only", only, "--effort", effort];
        let built = vexp(&[&["build"], &chosen[..]].concat());
        assert_eq!(built.code, 0, "{}", built.err);
        let planned = vexp(&[&["plan"], &chosen[..], &["--format", "json"]].concat());
        let plan: Value = serde_json::from_str(&planned.out).unwrap();
        let request = LabRequest {
            machine: serde_json::from_value(plan["blocks"][0]["machine"].clone()).unwrap(),
            image: image(&built.out, image_name),
            guest_image: image(&built.out, "guest"),
            emulator: image(&built.out, "emulator"),
            vms: 0,
            boot: None,
            snapshots: None,
            virtual_time: false,
            accelerator: None,
            logs: folder.path().to_owned(),
        };
        let program = command(&[]).get_program().to_owned();
        let mut lab = unshare().arg(program).arg("lab").spawn().unwrap();
        // It lives while its input is open, which `lab` keeps.
        writeln!(
            lab.stdin.as_mut().unwrap(),
            "{}",
            serde_json::to_string(&request).unwrap()
        )
        .unwrap();
        let mut line = String::new();
        BufReader::new(lab.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let answer: LabAnswer = serde_json::from_str(&line).unwrap();
        let LabAnswer::Ready(site) = answer else {
            panic!("{answer:?}");
        };
        let site = *site;
        Self { folder, lab, site }
    }

    /// Writes a study of it: what is asked of the platform `tested`, and experiments.
    fn study(&self, tested: &str, experiments: &str) -> String {
        let study = STUDY
            .replace("@TESTED@", tested)
            .replace("@EXPERIMENTS@", experiments)
            .replace("@INVENTORY@", &self.inventory());
        let path = self.folder.path().join("study.ncl");
        std::fs::write(&path, study).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn inventory(&self) -> String {
        let nics = self.site.host_nics.iter().map(Name::as_str);
        let host = machine("host", &self.site.host, nics.enumerate());
        let networks = self.site.peers.iter().zip(&self.site.host_nics).enumerate();
        let peers = networks.flat_map(|(net, (peers, nic))| {
            let peers = peers.iter();
            peers.map(move |peer| machine("peer", peer, [(net, nic.as_str())].into_iter()))
        });
        std::iter::once(host).chain(peers).collect()
    }

    fn run(&self, study: &str) -> Said {
        let runs = self.folder.path().join("runs");
        let args = ["run", study, "--testbed", "hosts", "--runs"];
        said(&mut inside(
            &self.lab,
            &[&args[..], &[runs.to_str().unwrap()]].concat(),
        ))
    }

    /// Runs a study, and gives the folder of its only block.
    fn measured(&self, study: &str) -> PathBuf {
        let ran = self.run(study);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        let blocks = PathBuf::from(ran.out.trim()).join("blocks");
        let mut blocks = std::fs::read_dir(blocks).unwrap();
        blocks.next().unwrap().unwrap().path()
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        drop(self.lab.stdin.take());
        // Also where a test has failed.
        let _ = self.lab.wait();
    }
}

/// A machine of an inventory.
fn machine<'a>(
    role: &str,
    node: &NodeInfo,
    nics: impl Iterator<Item = (usize, &'a str)>,
) -> String {
    let SshTarget::Keyed(target) = &node.ssh else {
        panic!("{node:?}");
    };
    let data = nics.map(|(net, nic)| {
        let at = match role {
            "host" => node.data[net],
            _ => node.data[0],
        };
        let address = format!("{}/{}", at.address, at.prefix);
        format!("{{ nic = \"{nic}\", address = \"{address}\", network = {net} }}")
    });
    let data: Vec<_> = data.collect();
    format!(
        "{} = machine & {{ role = \"{role}\", ssh = \"{}\", data = [{}] }},\n",
        node.name,
        target.address,
        data.join(", ")
    )
}

/// A study of an emulated machine as a machine of a rack.
const STUDY: &str = r#"let vexp = import "vexp.ncl" in
let machine = {
  user = "root",
  identity = "/run/vexp/keys/client",
  known_hosts = "/run/vexp/keys/known_hosts",
} in
let stock = vexp.platform "machine" in
{
  name = "rack",
  title = "Over SSH",
  hardware = {
    machine = vexp.laptop,
    router = vexp.laptop & { nics | force = vexp.laptop.nics @ vexp.laptop.nics },
  },
  platforms.tested = @TESTED@,
  experiments =
    let all = { platforms = ["tested"], vms = [1] } in
    let sender = all & { role = "sender" } in
    let tcp = { title = "TCP, guest to peer", traffic.tool = "iperf3" } in
    let ping = { title = "Round trip", traffic.tool = "ping" } in
    { @EXPERIMENTS@ },
  efforts.quick = { repetitions = 1, warm_up = "1s", window = "4s" },
  testbeds.hosts.options = {
    inventory = {
      @INVENTORY@
    },
    guests.data = ["198.18.0.10", "198.18.1.10"],
    allow =
      let emulated = { reason = "the machine is emulated" } in
      [emulated & { what = "NIC speed" }, emulated & { what = "clock" }, emulated & { what = "load" }, emulated & { what = "memory" }],
  },
}
"#;

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
    let looked = said(&mut inside(
        &xen.lab,
        &["doctor", &study, "--format", "json"],
    ));
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
