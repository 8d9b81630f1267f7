//! What testbeds know of the machines that a study asks them for: warnings, for a study is more than
//! one of its testbeds, and its points more than one machine.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::registry::Registry;
use vexp_api::spec::{Experiment, Overlay, Role};
use vexp_api::units::BitRate;

use super::CheckedStudy;
use super::findings::Findings;
use crate::load::FieldPath;

pub(super) fn check(checked: &CheckedStudy, registry: &Registry, findings: &mut Findings<'_>) {
    for (testbed, overlay) in &checked.study().testbeds {
        let Some(plugin) = registry.testbeds().get(testbed.as_str()) else {
            continue;
        };
        let at = FieldPath::of(&["testbeds", testbed.as_str()]);
        let mut said = BTreeSet::new();
        for machine in machines(checked, testbed, overlay) {
            let refused = plugin.refuses(&machine).into_iter();
            let refused = refused.map(|why| ("machine-refused", why, REFUSED));
            let hypervisor = registry.hypervisors().get(machine.hypervisor.as_str());
            let needs = hypervisor.map(|plugin| plugin.needs(&machine));
            let limits = plugin
                .limits(&machine, &needs.unwrap_or_default())
                .into_iter();
            let limits = limits.map(|why| ("known-limit", why, LIMIT));
            for (code, why, help) in refused.chain(limits) {
                let message = format!("on testbed `{testbed}`: {why}");
                if said.insert(message.clone()) {
                    let place = place(overlay, &at, &machine.hardware);
                    findings.hint(code, &place, message, help);
                }
            }
        }
        rates(checked, (testbed, overlay), findings);
    }
}

const REFUSED: &str = "a rule in testbeds.*.hardware says what is used there instead";
const LIMIT: &str =
    "nothing is refused for it; a rule in testbeds.*.hardware can give another machine";

/// Where a machine's hardware is said.
fn place(overlay: &Overlay, testbed: &FieldPath, hardware: &Name) -> FieldPath {
    match overlay.hardware.contains_key(hardware) {
        true => testbed.key("hardware").key(hardware.as_str()),
        false => FieldPath::of(&["hardware", hardware.as_str()]),
    }
}

/// Every machine of the study, with the most guests that it is to have.
fn machines(checked: &CheckedStudy, testbed: &Name, overlay: &Overlay) -> Vec<Machine> {
    let mut most: BTreeMap<(&Name, &Name), u32> = BTreeMap::new();
    for experiment in checked.study().experiments.values() {
        let vms = experiment.vms.iter().copied().max().unwrap_or(0);
        for platform in &experiment.platforms {
            if let Some(hardware) = profile(checked, platform, experiment.role) {
                let found = most.entry((platform, hardware)).or_default();
                *found = vms.max(*found);
            }
        }
    }
    let boots = checked.boots_images(testbed);
    let found = most.into_iter().filter_map(|((platform, hardware), vms)| {
        let machine = crate::plan::machine::of(checked, overlay, boots, platform, hardware)?;
        Some(Machine {
            max_vms: if machine.guest.is_some() { vms } else { 0 },
            ..machine
        })
    });
    found.collect()
}

fn profile<'a>(checked: &'a CheckedStudy, platform: &Name, role: Role) -> Option<&'a Name> {
    let platform = checked.study().platforms.get(platform)?;
    platform.hardware.get(&role)
}

/// The slowest link of an experiment's machines, as the study has it.
pub(crate) fn slowest(checked: &CheckedStudy, experiment: &Experiment) -> Option<BitRate> {
    let platforms = experiment.platforms.iter();
    let profiles = platforms.filter_map(|name| profile(checked, name, experiment.role));
    let hardware = profiles.filter_map(|name| checked.study().hardware.get(name));
    let rates = hardware.flat_map(|hardware| hardware.nics.iter().map(|nic| nic.rate));
    rates.min()
}

/// A rate that is more than the link has once it is scaled: what the study asks for can't be offered.
fn rates(
    checked: &CheckedStudy,
    (testbed, overlay): (&Name, &Overlay),
    findings: &mut Findings<'_>,
) {
    let factor = overlay.link.as_ref().map_or(1.0, |link| link.factor);
    for (name, experiment) in &checked.study().experiments {
        let (Some(asked), Some(offer)) = (
            slowest(checked, experiment),
            checked.offers().get(name).copied(),
        ) else {
            continue;
        };
        let Some(link) = super::scaled(asked, factor) else {
            continue;
        };
        if offer <= link.bits_per_second() {
            continue;
        }
        let scale = match overlay.link {
            Some(_) => format!(" ({asked} × link.factor {factor})"),
            None => String::new(),
        };
        let message = format!(
            "{} is more than a link has on testbed `{testbed}`: {link}{scale}",
            BitRate::new(offer)
        );
        let at = FieldPath::of(&["experiments", name.as_str(), "traffic", "options", "rate"]);
        findings.hint("rate-over-link", &at, message, SHARE);
    }
}

const SHARE: &str =
    "a rate is not scaled with the link unless it is a share of it: rate = \"50% of link\"";
