//! Machines over SSH, as a rack's: network namespaces with sshds of their own.

pub(crate) mod emulated;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use vexp_api::digest::Digest;
use vexp_api::plugin::{BootFiles, ImageFiles};

use crate::support::{Said, command, root, said, vexp};

/// A study whose images the machines need.
pub(crate) const IMAGES: &str = "engine/cli/tests/data/e2e.ncl";
/// Most that a machine may take for what is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// The machines file in a rack's folder.
pub(crate) const MACHINES: &str = "machines.json";

/// Writes the machines file of these hosts.
pub(crate) fn machines_file(folder: &Path, hosts: &[&str], machine: &Value) {
    let machines: serde_json::Map<_, _> = (hosts.iter())
        .map(|host| ((*host).to_owned(), machine.clone()))
        .collect();
    let text = serde_json::json!({ "machines": machines }).to_string();
    let path = folder.join(MACHINES);
    std::fs::write(&path, text).unwrap();
    let alone = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, alone).unwrap();
}

/// Machines that are up, and a folder with a study about them. They end when this is dropped.
pub(crate) struct Rack {
    folder: tempfile::TempDir,
    user: &'static str,
    pub(crate) unshare: Child,
}

impl Rack {
    pub(crate) fn up() -> Self {
        Self::up_for("root")
    }

    /// Machines on which vexp is this user.
    pub(crate) fn up_for(user: &'static str) -> Self {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A study that lets some properties be other than it asks.
    pub(crate) fn write_study(&self, allowed: &[&str]) {
        let at = self.folder.path().display();
        machines_file(
            self.folder.path(),
            &["10.99.0.1", "10.99.0.2"],
            &serde_json::json!({
                "identity": format!("{at}/client"),
                "known_hosts": format!("{at}/known_hosts"),
                "sudo": self.user != "root",
            }),
        );
        let allow: String = allowed
            .iter()
            .map(|what| format!("{{ what = \"{what}\", reason = \"one computer\" }},\n"))
            .collect();
        let study = format!(
            r#"let vexp = import "vexp.ncl" in
let machine = {{ user = "{user}" }} in
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
        );
        std::fs::write(self.path("study.ncl"), study).unwrap();
    }

    /// `vexp` where the machines can be reached from.
    pub(crate) fn vexp(&self, args: &[&str]) -> Command {
        let mut command = inside(&self.unshare, args);
        command.env("VEXP_MACHINES", self.path(MACHINES));
        command.env("XDG_STATE_HOME", self.folder.path());
        command
    }

    pub(crate) fn run(&self, more: &[&str]) -> Said {
        let (study, runs) = (self.path("study.ncl"), self.path("runs"));
        let mut args = vec![
            "run",
            study.to_str().unwrap(),
            "--testbed",
            "hosts",
            "--trust",
        ];
        args.extend(["--runs", runs.to_str().unwrap()]);
        args.extend(more);
        said(&mut self.vexp(&args))
    }

    /// What a program says in a machine's network and files.
    pub(crate) fn on(&self, machine: &str, program: &str) -> String {
        let mut command = enter(&self.unshare);
        command.args(["ip", "netns", "exec", machine, "chroot"]);
        command
            .arg(format!("/run/machines/{machine}"))
            .args(["sh", "-c", program]);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the machine under test has the run's address, and its record says which run that is.
    pub(crate) fn is_taken(&self) -> bool {
        self.on("rack1", "ip -brief address show dev eth1")
            .contains("198.18.0.1")
            && (self.on("rack1", "cat /var/lib/vexp/taken.json")).contains("\"run\":\"rack-")
    }

    pub(crate) fn wait_until_taken(&self) {
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
pub(crate) fn unshare() -> Command {
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
pub(crate) fn enter(unshare: &Child) -> Command {
    let unshare = unshare.id();
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let first = std::fs::read_to_string(children).unwrap();
    let mut command = Command::new("nsenter");
    command.args(["--target", first.trim(), "--net", "--mount", "--pid"]);
    command.arg(format!("--wd={}", root().display())).arg("--");
    command
}

/// `vexp` in them.
pub(crate) fn inside(unshare: &Child, args: &[&str]) -> Command {
    let inner = command(args);
    let mut outer = enter(unshare);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.current_dir(root()).env("COLUMNS", "80");
    outer
}

/// Files of an image, by what `vexp build` has printed.
pub(crate) fn image(built: &str, name: &str) -> ImageFiles {
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

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
