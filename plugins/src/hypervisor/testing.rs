//! What tests of hypervisors share.

use std::collections::BTreeMap;
use std::sync::Arc;

use vexp_api::plan::{Link, Machine};
use vexp_api::plugin::{Hypervisor, MachineNeeds, Node};
use vexp_api::sample::NodeRole;
use vexp_api::site::{DataAddress, GuestFiles, GuestNic, GuestSlot, KeyedTarget, NodeInfo};
use vexp_api::spec::GuestShape;
use vexp_testkit::{FakeShell, context};

use crate::testing::name;

pub(super) fn interface(text: &str) -> vexp_api::ids::Interface {
    vexp_api::ids::Interface::new(text).unwrap()
}

pub(super) fn host(shell: &FakeShell) -> Node {
    Node {
        name: name("host"),
        role: NodeRole::Host,
        shell: Arc::new(shell.clone()),
        data: vec![DataAddress {
            address: "198.18.0.1".parse().unwrap(),
            prefix: 24,
        }],
    }
}

pub(super) fn machine(hypervisor: &str, version: &str) -> Machine {
    Machine {
        platform: name("p"),
        hardware: name("h"),
        cpus: 2,
        memory: "4GiB".parse().unwrap(),
        nics: vec![Link {
            model: name("e1000"),
            rate: "200Mb/s".parse().unwrap(),
        }],
        image: Some(name("host-image")),
        guest_image: Some(name("guest")),
        hypervisor: name(hypervisor),
        version: version.to_owned(),
        toolstack: None,
        scheduler: None,
        dom0_weight: None,
        nic: None,
        guest: Some(GuestShape {
            vcpus: 1,
            memory: "224MiB".parse().unwrap(),
        }),
        max_vms: 1,
        peers: 1,
        options: serde_json::Map::new(),
    }
}

/// Prepares a host that answers as in the transcript; all of it must have been used if that works.
pub(super) async fn prepare(
    plugin: &dyn Hypervisor,
    transcript: &str,
    machine: &Machine,
) -> Result<BTreeMap<String, String>, String> {
    let shell = FakeShell::replay(name("host"), transcript);
    let result = plugin
        .prepare(&host(&shell), &[interface("data0")], machine, &context())
        .await
        .map_err(|error| error.to_string());
    if result.is_ok() {
        shell.finish().unwrap();
    }
    result
}

/// A guest whose seed is the bytes `seed`, in a folder that goes when it is dropped.
pub(super) fn slot() -> (tempfile::TempDir, GuestSlot) {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed.cpio");
    std::fs::write(&seed, b"seed").unwrap();
    let nic = |mac: &str, bridge: &str| GuestNic {
        mac: mac.to_owned(),
        bridge: interface(bridge),
    };
    let slot = GuestSlot {
        node: NodeInfo {
            name: name("vm1"),
            role: NodeRole::Guest,
            ssh: KeyedTarget {
                address: "198.19.0.11".parse().unwrap(),
                port: 22,
                user: name("root"),
                identity: "/id".into(),
                known_hosts: "/known".into(),
            }
            .into(),
            data: Vec::new(),
        },
        nics: vec![
            nic("52:54:00:01:00:01", "ctlbr"),
            nic("52:54:00:02:00:01", "br-data0"),
        ],
        seed,
        files: GuestFiles::default(),
    };
    (folder, slot)
}

/// What a machine's hypervisor asks of it.
pub(crate) fn needs(machine: &Machine) -> MachineNeeds {
    let registry = crate::registry();
    registry.hypervisors()[machine.hypervisor.as_str()].needs(machine)
}
