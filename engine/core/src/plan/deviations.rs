//! Where the testbed differs from what the study asks, for what is planned.

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::plan::{Block, Deviation, Machine};
use vexp_api::spec::{Overlay, Study};
use vexp_api::units::BitRate;

use super::{Cx, machine};

/// Each once, sorted.
pub(super) fn of(cx: &Cx<'_>, blocks: &[Block]) -> Vec<Deviation> {
    let (study, overlay) = (cx.checked.study(), &*cx.overlay);
    let virtual_time = cx.checked.virtual_time(cx.testbed);
    let mut found = BTreeSet::new();
    let platforms: BTreeSet<_> = blocks.iter().map(|block| &block.machine.platform).collect();
    let profiles: BTreeSet<_> = blocks.iter().map(|block| &block.machine.hardware).collect();
    for name in platforms {
        if virtual_time {
            let platform = study.platforms.get(name);
            let traits = platform.and_then(|p| cx.checked.traits().get(&p.hypervisor));
            let nested = traits.is_some_and(|traits| traits.nested);
            let reason = if nested { NESTED } else { VIRTUAL };
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
    for block in blocks {
        defaults(cx, &block.machine, &mut found);
        offers(cx, block, &mut found);
    }
    for name in profiles {
        hardware(study, overlay, name, &mut found);
        processors(cx, name, &mut found);
    }
    found.into_iter().collect()
}

/// How every number of a testbed in virtual time is labelled.
const VIRTUAL_TIME: &str = "virtual time, instruction model";
/// What that is, and how it is known that it is the same everywhere.
const VIRTUAL: &str = "each instruction takes the same time (docs/virtual.md says what that leaves out): \
    results are identical on every computer";
/// The same for guests that run by the processor's virtualization extensions.
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

/// What vexp takes where the study says nothing, and the software that it asks for would take another.
fn defaults(cx: &Cx<'_>, machine: &Machine, found: &mut BTreeSet<Deviation>) {
    let Some(platform) = cx.checked.study().platforms.get(&machine.platform) else {
        return;
    };
    for (field, own) in cx.checked.own_defaults(&machine.platform) {
        let (asked, used) = match *field {
            "scheduler" => (&platform.scheduler, &machine.scheduler),
            "toolstack" => (&platform.toolstack, &machine.toolstack),
            "nic" => (&platform.nic, &machine.nic),
            _ => continue,
        };
        if let (None, Some(used)) = (asked, used)
            && *used != **own
        {
            let version = format!("{} {}", platform.hypervisor, platform.version);
            add(
                found,
                &format!("platform {}", machine.platform),
                field,
                format!("{own}, the default of {version}"),
                used,
                &format!(
                    "the study names none, and vexp takes {used}: {field} = \"{own}\" asks for the other"
                ),
            );
        }
    }
}

/// Rates in bits per second stay what they are where links are slower.
fn offers(cx: &Cx<'_>, block: &Block, found: &mut BTreeSet<Deviation>) {
    let study = cx.checked.study();
    for trial in &block.trials {
        let (Some(offer), Some(experiment)) = (
            cx.checked.offers().get(&trial.experiment),
            study.experiments.get(&trial.experiment),
        ) else {
            continue;
        };
        let asked = crate::check::slowest(cx.checked, experiment);
        let used = block.machine.nics.iter().map(|nic| nic.rate).min();
        let share = |link: BitRate| {
            let percent = 100.0 * *offer as f64 / link.bits_per_second() as f64;
            format!("{} % of the link", (percent * 10.0).round() / 10.0)
        };
        if let (Some(asked), Some(used)) = (asked, used) {
            add(
                found,
                &format!("experiment {}", trial.experiment),
                "offered load",
                share(asked),
                share(used),
                "links are scaled here, and a rate in bits per second is not; a share is: \"50% of link\"",
            );
        }
    }
}

/// Processors that are not known to be those that the study asks for, where no rule says what stands for them.
fn processors(cx: &Cx<'_>, name: &Name, found: &mut BTreeSet<Deviation>) {
    let Some(hardware) = cx.checked.study().hardware.get(name) else {
        return;
    };
    let subject = format!("hardware {name}");
    let rule = cx.overlay.hardware.get(name);
    let emulated = cx.checked.emulates(cx.testbed);
    let speed = match (emulated, cx.checked.virtual_time(cx.testbed)) {
        (true, true) => "an instruction each nanosecond",
        (true, false) => "as fast as the computer that emulates it",
        (false, _) => "that of the machine, as its environment.json has it",
    };
    let reason = match emulated {
        true => format!("testbed {} emulates its machines", cx.testbed),
        false => format!("testbed {} does not compare processors by name", cx.testbed),
    };
    if rule.is_none_or(|rule| rule.cpu.is_none()) {
        // `any` asks for nothing in particular, but for its clock.
        let asked = match hardware.cpu.as_str() {
            "any" => hardware.clock.to_string(),
            cpu => format!("{cpu} at {}", hardware.clock),
        };
        add(found, &subject, "processor", asked, speed, &reason);
    }
    let cpus = rule.and_then(|rule| rule.cpus).unwrap_or(hardware.cpus);
    if emulated && cpus > 1 && rule.is_none_or(|rule| rule.cpus.is_none()) {
        let used = format!("{cpus}, emulated on those of the computer");
        add(found, &subject, "processors", cpus, used, &reason);
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
