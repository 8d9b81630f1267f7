//! What emulated machines can't be, and what is known to go wrong on some that they can be.

use vexp_api::meminfo;
use vexp_api::plan::Machine;
use vexp_api::plugin::MachineNeeds;

/// Processors of QEMU's machine `pc`.
const PROCESSORS: u32 = 255;

/// Why a machine can't be emulated on this computer with NICs of these models.
pub(super) fn refuses(machine: &Machine, models: &[&str]) -> Option<String> {
    let what = |text: String| Some(format!("hardware {}: {text}", machine.hardware));
    let known = |model: &str| model == "any" || models.contains(&model);
    if let Some(nic) = machine.nics.iter().find(|nic| !known(nic.model.as_str())) {
        let models = models.join(", ");
        return what(format!(
            "NIC `{}` can't be emulated; those that can: {models}",
            nic.model
        ));
    }
    if machine.cpus > PROCESSORS {
        return what(format!(
            "{} processors can't be emulated; at most {PROCESSORS}",
            machine.cpus
        ));
    }
    let here = meminfo::read("MemTotal")?;
    if machine.memory.bytes() > here {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        return what(format!(
            "a machine of {} can't be emulated on this computer, which has {:.1} GiB",
            machine.memory,
            gib(here)
        ));
    }
    None
}

/// What is known to go wrong.
pub(super) fn known(machine: &Machine, needs: &MachineNeeds) -> Vec<String> {
    let mut known = Vec::new();
    if needs.nested && machine.cpus > 1 {
        known.push(format!(
            "{} on {} emulated processors was seen to hang or to panic: give the machine one",
            machine.hypervisor.as_str().to_uppercase(),
            machine.cpus
        ));
    }
    if let Some(guest) = machine.guest.filter(|guest| guest.vcpus > machine.cpus) {
        known.push(format!(
            "guests of {} virtual processors share {} emulated ones",
            guest.vcpus, machine.cpus
        ));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(changed: serde_json::Value) -> Machine {
        let mut value = serde_json::json!({
            "platform": "p", "hardware": "h", "cpus": 1, "memory": "2GiB",
            "nics": [{"model": "any", "rate": "200Mb/s"}],
            "image": "i", "guest_image": "guest", "hypervisor": "kvm", "version": "6.12",
            "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": "virtio",
            "guest": {"vcpus": 1, "memory": "256MiB"}, "max_vms": 2, "peers": 2, "options": {}
        });
        for (key, new) in changed.as_object().unwrap() {
            value[key] = new.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_cannot_be_emulated_is_refused() {
        let refused = |changed| refuses(&machine(changed), &["virtio", "e1000"]);
        assert_eq!(refused(serde_json::json!({})), None);
        for (changed, says) in [
            (serde_json::json!({"cpus": 300}), "at most 255"),
            (serde_json::json!({"memory": "512TiB"}), "on this computer"),
            (
                serde_json::json!({"nics": [{"model": "x540", "rate": "1Gb/s"}]}),
                "those that can: virtio, e1000",
            ),
        ] {
            let why = refused(changed).unwrap();
            assert!(
                why.starts_with("hardware h: ") && why.contains(says),
                "{why}"
            );
        }
    }

    #[test]
    fn limits_that_are_known_are_said() {
        let all = |machine: Machine| known(&machine, &crate::hypervisor::testing::needs(&machine));
        assert_eq!(all(machine(serde_json::json!({}))), [""; 0]);
        let two = all(machine(serde_json::json!({"cpus": 2})));
        assert!(
            two[0].contains("2 emulated processors was seen to hang"),
            "{two:?}"
        );
        let wide = all(machine(
            serde_json::json!({"guest": {"vcpus": 4, "memory": "1GiB"}}),
        ));
        assert!(wide[0].contains("4 virtual processors share 1"), "{wide:?}");
        let xen = serde_json::json!({"cpus": 2, "hypervisor": "xen"});
        assert_eq!(all(machine(xen)), [""; 0]);
    }
}
