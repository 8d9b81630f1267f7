//! Binaries with plugins of their own, `examples/own_plugin.rs` and `own_hypervisor.rs`, which `cargo test` builds.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/own_hypervisor.rs"]
mod own_hypervisor;
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use own_hypervisor::Firecracker;
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Hypervisor as _, Node};
use vexp_api::sample::NodeRole;
use vexp_api::site::GuestSlot;
use vexp_testkit::{FakeShell, context};

use support::{command, root, said, vexp};

const STUDY: &str = "engine/cli/tests/data/own_plugin.ncl";
const VMSTAT: &str = "plugins/testdata/command-procps-4.0.4/vmstat.txt";

/// Beside the folder of this test's own binary.
fn example(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().with_file_name("examples");
    let path = path.join(name);
    assert!(path.exists(), "cargo build --examples makes it");
    path
}

/// The example with a monitor, called as [`command`] calls vexp.
fn own(args: &[&str]) -> Command {
    called("own_plugin", args)
}

fn called(name: &str, args: &[&str]) -> Command {
    let like = command(args);
    let mut own = Command::new(example(name));
    own.args(args).current_dir(root());
    for (key, value) in like.get_envs() {
        match value {
            Some(value) => own.env(key, value),
            None => own.env_remove(key),
        };
    }
    own
}

#[test]
fn a_study_may_use_it_and_vexp_itself_does_not_know_it() {
    let good = said(&mut own(&["check", STUDY]));
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    assert!(good.out.ends_with("no errors\n"), "{}", good.out);
    let unknown = vexp(&["check", STUDY]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("runnable"), "{}", unknown.err);
}

#[test]
fn its_parser_is_called_as_those_of_vexp_are() {
    let lists = said(&mut own(&["parse", "--tool", "none", VMSTAT]));
    assert!(lists.err.contains("runnable"), "{}", lists.err);
    let read = said(&mut own(&["parse", "--tool", "runnable", VMSTAT]));
    assert_eq!((read.code, read.err.as_str()), (0, ""));
    assert_eq!(read.out.matches("runnable").count(), 4, "{}", read.out);
}

const MICROVMS: &str = "engine/cli/tests/data/own_hypervisor.ncl";

#[test]
fn a_study_may_use_its_hypervisor() {
    let good = said(&mut called("own_hypervisor", &["check", MICROVMS]));
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{}", good.out);
    let planned = said(&mut called("own_hypervisor", &["plan", MICROVMS]));
    assert!(
        planned.out.contains("send.microvm.v2.r1"),
        "{}",
        planned.out
    );
    let unknown = vexp(&["check", MICROVMS]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("firecracker"), "{}", unknown.err);
}

/// The plan's machine, and a guest slot whose seed is in a folder.
fn microvm() -> (Machine, GuestSlot, tempfile::TempDir) {
    let plan = ["plan", MICROVMS, "--format", "json"];
    let planned = said(&mut called("own_hypervisor", &plan));
    let plan: serde_json::Value = serde_json::from_str(&planned.out).unwrap();
    let machine = serde_json::from_value(plan["blocks"][0]["machine"].clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed.cpio");
    std::fs::write(&seed, b"seed").unwrap();
    let slot = serde_json::json!({
        "node": {"name": "vm1", "role": "guest", "data": [], "ssh": {"keyed": {
            "address": "198.19.0.11", "port": 22, "user": "root", "identity": "/id", "known_hosts": "/known",
        }}},
        "nics": [{"mac": "52:54:00:01:00:01", "bridge": "ctlbr"}],
        "seed": seed,
    });
    (machine, serde_json::from_value(slot).unwrap(), folder)
}

/// What its hypervisor does on a host.
const BOOT: &str = "$ mkdir -p -m 0700 -- /run/vexp/guests/vm1
$ dd if=/srv/guest/boot/initramfs.img of=/run/vexp/guests/vm1/initramfs bs=1M status=none
$ dd of=/run/vexp/guests/vm1/initramfs oflag=append conv=notrunc status=none
$ ip -batch -
$ dd of=/run/vexp/guests/vm1/vm.json status=none
$ start-stop-daemon --start --background --make-pidfile --pidfile /run/vexp/guests/vm1/pid \
--output /run/vexp/guests/vm1/console --exec /usr/bin/firecracker -- --id vm1 --no-api \
--config-file /run/vexp/guests/vm1/vm.json
$ start-stop-daemon --stop --oknodo --retry TERM/10/KILL/5 --pidfile /run/vexp/guests/vm1/pid \
--exec /usr/bin/firecracker
$ ip -force -batch -
$ rm -rf -- /run/vexp/guests/vm1
";

#[tokio::test]
async fn its_hypervisor_boots_and_ends_a_guest() {
    let (machine, slot, _folder) = microvm();
    assert!(Firecracker.needs(&machine).nested);
    let shell = FakeShell::replay(Name::new("host").unwrap(), BOOT);
    let host = Node {
        name: Name::new("host").unwrap(),
        role: NodeRole::Host,
        shell: Arc::new(shell.clone()),
        data: Vec::new(),
    };
    let guest = Firecracker.boot(&host, &slot, &machine, &context()).await;
    guest.unwrap().stop().await.unwrap();
    shell.finish().unwrap();
}
