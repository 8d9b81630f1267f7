//! Testbed `virtual`: the machine under test and its traffic peers in one QEMU whose time is the number of
//! its instructions (`-icount`). What is measured there does not depend on the computer that it runs on,
//! nor on what else that computer does.
//!
//! ```text
//!   QEMU, one processor, no disk, no chance
//!   ├─ machine under test ── e1000 ══ hub ══ e1000 ── namespace `lab` with bridge, link, peers
//!   │   └─ guests
//!   └─ mailbox (ivshmem) ── courier, on this computer
//! ```
//!
//! The lab is that of testbed `emulated`, inside of the machine. It ends there by stopping its own
//! processor ([`inside`]): at that instruction it can be kept, restored, and told what to do next
//! ([`courier`]). Only then does anything reach it from outside.

pub mod courier;
pub mod inside;
pub(super) mod lab;
mod mailbox;
mod seed;

use vexp_api::plan::Machine;

/// Bytes of the memory that machine and computer share.
pub(super) const MAILBOX_SIZE: usize = mailbox::SIZE;

/// What can't be the same everywhere.
pub(super) fn refuses(machine: &Machine) -> Option<String> {
    let what = |text: &str| Some(format!("hardware {}: {text}", machine.hardware));
    if machine.cpus != 1 {
        return what(
            "in virtual time a machine has one processor: QEMU shares the clock out among several \
             as this computer's moments have it",
        );
    }
    if machine.nics.iter().any(|nic| nic.model != *"e1000") {
        return what(
            "in virtual time NICs are e1000: other models send in another thread of QEMU, at moments \
             that are this computer's",
        );
    }
    if machine.hypervisor == *"kvm" && machine.nic.as_ref().is_some_and(|nic| *nic == *"e1000") {
        return what(
            "in virtual time KVM's guests can't have an emulated NIC: the machine was seen to come to a \
             standstill half a second into a flow (docs/virtual.md)",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_identical_is_refused() {
        let machine = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::json!({
                "platform": "p", "hardware": "h", "cpus": 1, "memory": "2GiB",
                "nics": [{"model": "e1000", "rate": "200Mb/s"}],
                "image": "i", "guest_image": "guest", "hypervisor": "kvm", "version": "6.12",
                "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": "virtio",
                "guest": {"vcpus": 1, "memory": "256MiB"}, "max_vms": 2, "peers": 2, "options": {}
            });
            change(&mut value);
            refuses(&serde_json::from_value::<Machine>(value).unwrap())
        };
        assert_eq!(machine(&|_| ()), None);
        for (field, value, word) in [
            ("cpus", serde_json::json!(2), "one processor"),
            (
                "nics",
                serde_json::json!([{"model": "virtio", "rate": "1Gb/s"}]),
                "NICs are e1000",
            ),
            ("nic", serde_json::json!("e1000"), "standstill"),
        ] {
            let why = machine(&|machine| machine[field] = value.clone()).unwrap();
            assert!(why.contains(word) && why.contains("hardware h"), "{why}");
        }
    }
}
