//! Where the testbed differs from what the study asks, for what is planned.

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::plan::{Block, Deviation};
use vexp_api::spec::{Overlay, Study};

use super::machine;

/// Each once, sorted.
pub(super) fn of(
    study: &Study,
    overlay: &Overlay,
    blocks: &[Block],
    virtual_time: bool,
) -> Vec<Deviation> {
    let mut found = BTreeSet::new();
    let platforms: BTreeSet<_> = blocks.iter().map(|block| &block.machine.platform).collect();
    let profiles: BTreeSet<_> = blocks.iter().map(|block| &block.machine.hardware).collect();
    for name in platforms {
        if virtual_time {
            let kvm = (study.platforms.get(name)).is_some_and(|p| p.hypervisor == *"kvm");
            let reason = if kvm { NESTED } else { VIRTUAL };
            add(
                &mut found,
                &format!("platform {name}"),
                "time",
                "real",
                VIRTUAL_TIME,
                reason,
            );
        }
        platform(study, overlay, name, &mut found);
    }
    for name in profiles {
        hardware(study, overlay, name, &mut found);
    }
    found.into_iter().collect()
}

/// How every number of a testbed in virtual time is labelled.
const VIRTUAL_TIME: &str = "virtual time, instruction model";
/// What that is, and how it is known that it is the same everywhere.
const VIRTUAL: &str = "each instruction takes the same time (docs/virtual.md says what that leaves out): \
    results are identical on every computer";
/// The same for guests of KVM.
const NESTED: &str = "each instruction takes the same time, and so a change between guest and host costs \
    almost nothing, which is what hardware virtualization is about (docs/virtual.md); results are \
    identical on every computer";

/// Adds a deviation, if there is one.
fn add(
    found: &mut BTreeSet<Deviation>,
    subject: &str,
    property: &str,
    asked: impl ToString,
    used: impl ToString,
    reason: &str,
) {
    let (asked, used) = (asked.to_string(), used.to_string());
    if asked != used {
        found.insert(Deviation {
            subject: subject.to_owned(),
            property: property.to_owned(),
            asked,
            used,
            reason: reason.to_owned(),
        });
    }
}

fn platform(study: &Study, overlay: &Overlay, name: &Name, found: &mut BTreeSet<Deviation>) {
    let Some(platform) = study.platforms.get(name) else {
        return;
    };
    let subject = format!("platform {name}");
    if let Some(rule) = machine::software(overlay, platform) {
        let reason = &rule.reason;
        add(
            found,
            &subject,
            "version",
            &platform.version,
            &rule.used,
            reason,
        );
        if let Some(kernel) = &platform.kernel
            && platform.version != rule.used
        {
            let used = match &rule.image {
                Some(image) => format!("the kernel of image {image}"),
                None => "the kernel that is installed".to_owned(),
            };
            add(found, &subject, "kernel", kernel, used, reason);
        }
        if let (Some(asked), Some(used)) = (&platform.toolstack, &rule.toolstack) {
            add(found, &subject, "toolstack", asked, used, reason);
        }
    }
    if let (Some(rule), Some(asked), Some(used)) = (
        &overlay.guest,
        platform.guest,
        machine::guest(overlay, platform),
    ) {
        let reason = &rule.reason;
        add(
            found,
            &subject,
            "guest memory",
            asked.memory,
            used.memory,
            reason,
        );
        add(
            found,
            &subject,
            "guest processors",
            asked.vcpus,
            used.vcpus,
            reason,
        );
    }
}

fn hardware(study: &Study, overlay: &Overlay, name: &Name, found: &mut BTreeSet<Deviation>) {
    let Some(hardware) = study.hardware.get(name) else {
        return;
    };
    let subject = format!("hardware {name}");
    if let Some(rule) = overlay.hardware.get(name) {
        let reason = &rule.reason;
        if let Some(cpus) = rule.cpus {
            add(found, &subject, "processors", hardware.cpus, cpus, reason);
        }
        if let Some(cpu) = &rule.cpu {
            let asked = format!("{} at {}", hardware.cpu, hardware.clock);
            add(found, &subject, "processor", asked, cpu, reason);
        }
        if let Some(memory) = rule.memory {
            add(found, &subject, "memory", hardware.memory, memory, reason);
        }
        if let Some(nic) = &rule.nic {
            // `any` asks for nothing in particular.
            for asked in hardware.nics.iter().filter(|asked| asked.model != *"any") {
                add(found, &subject, "NIC", &asked.model, nic, reason);
            }
        }
    }
    if let Some(link) = &overlay.link {
        for nic in &hardware.nics {
            if let Some(used) = crate::check::scaled(nic.rate, link.factor) {
                add(found, &subject, "link rate", nic.rate, used, &link.reason);
            }
        }
    }
}
