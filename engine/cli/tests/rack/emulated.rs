//! An emulated machine, driven as one of a rack.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::Child;

use serde_json::Value;
use vexp_api::ids::Interface;
use vexp_api::plan::Machine;
use vexp_api::site::{NodeInfo, Site, SshTarget};
use vexp_plugins::testbed::emulated::lab::{LabAnswer, LabRequest};

use super::{IMAGES, image, inside, unshare};
use crate::support::{Said, command, said, vexp};

/// An emulated machine with its peers, as a machine of a rack is: reached over SSH from beside it.
pub(crate) struct Emulated {
    folder: tempfile::TempDir,
    pub(crate) lab: Child,
    site: Site,
}

impl Emulated {
    /// The first machine that the e2e study needs for the trials `only` of an effort.
    pub(crate) fn up(only: &str, effort: &str, image_name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chosen = [IMAGES, "--only", only, "--effort", effort];
        let built = vexp(&[&["build"], &chosen[..]].concat());
        assert_eq!(built.code, 0, "{}", built.err);
        let planned = vexp(&[&["plan"], &chosen[..], &["--format", "json"]].concat());
        let plan: Value = serde_json::from_str(&planned.out).unwrap();
        let machine: Machine =
            serde_json::from_value(plan["blocks"][0]["machine"].clone()).unwrap();
        let plugins = vexp_plugins::registry();
        let request = LabRequest {
            needs: plugins.hypervisors()[machine.hypervisor.as_str()].needs(&machine),
            machine,
            image: image(&built.out, image_name),
            guest_image: image(&built.out, "guest"),
            emulator: image(&built.out, "emulator"),
            vms: 0,
            boot: None,
            snapshots: None,
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
    pub(crate) fn study(&self, tested: &str, experiments: &str) -> String {
        let study = STUDY
            .replace("@TESTED@", tested)
            .replace("@EXPERIMENTS@", experiments)
            .replace("@INVENTORY@", &self.inventory());
        let path = self.folder.path().join("study.ncl");
        std::fs::write(&path, study).unwrap();
        let nodes = std::iter::once(&self.site.host).chain(self.site.peers.iter().flatten());
        let hosts: Vec<String> = nodes
            .filter_map(|node| match &node.ssh {
                SshTarget::Keyed(target) => Some(target.address.to_string()),
                SshTarget::Configured(_) => None,
            })
            .collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        super::machines_file(
            self.folder.path(),
            &hosts,
            &serde_json::json!({
                "identity": "/run/vexp/keys/client",
                "known_hosts": "/run/vexp/keys/known_hosts",
            }),
        );
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn inventory(&self) -> String {
        let nics = self.site.host_nics.iter().map(Interface::as_str);
        let host = machine("host", &self.site.host, nics.enumerate());
        let networks = self.site.peers.iter().zip(&self.site.host_nics).enumerate();
        let peers = networks.flat_map(|(net, (peers, nic))| {
            let peers = peers.iter();
            peers.map(move |peer| machine("peer", peer, [(net, nic.as_str())].into_iter()))
        });
        std::iter::once(host).chain(peers).collect()
    }

    pub(crate) fn run(&self, study: &str) -> Said {
        let runs = self.folder.path().join("runs");
        let args = ["run", study, "--testbed", "hosts", "--trust", "--runs"];
        said(&mut self.vexp(&[&args[..], &[runs.to_str().unwrap()]].concat()))
    }

    /// `vexp` beside the machine.
    pub(crate) fn vexp(&self, args: &[&str]) -> std::process::Command {
        let mut command = inside(&self.lab, args);
        command.env("VEXP_MACHINES", self.folder.path().join(super::MACHINES));
        command.env("XDG_STATE_HOME", self.folder.path());
        command
    }

    /// Runs a study, and gives the folder of its only block.
    pub(crate) fn measured(&self, study: &str) -> PathBuf {
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
pub(crate) fn machine<'a>(
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
let machine = { user = "root" } in
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
