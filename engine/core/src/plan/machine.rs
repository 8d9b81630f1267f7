//! The machine of a block after the testbed's substitutions.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::plan::{Block, Link, Machine};
use vexp_api::spec::{GuestShape, Overlay, Platform, SoftwareRule};

use crate::check::{CheckedStudy, scaled};

/// The rule that says which image has a platform's hypervisor.
pub(super) fn software<'a>(overlay: &'a Overlay, platform: &Platform) -> Option<&'a SoftwareRule> {
    overlay
        .software
        .iter()
        .find(|rule| rule.hypervisor == platform.hypervisor && rule.version == platform.version)
}

/// A platform's guests after substitution.
pub(super) fn guest(overlay: &Overlay, platform: &Platform) -> Option<GuestShape> {
    let rule = overlay.guest.as_ref();
    platform.guest.map(|shape| GuestShape {
        vcpus: rule.and_then(|rule| rule.vcpus).unwrap_or(shape.vcpus),
        memory: rule.and_then(|rule| rule.memory).unwrap_or(shape.memory),
    })
}

/// The machine for a platform on a hardware profile. Where machines are not booted from images
/// (`boots`), one without a rule has the version that the study asks for. `None` only where a checked
/// study has names that lead nowhere, which it has not.
pub(crate) fn of(
    checked: &CheckedStudy,
    overlay: &Overlay,
    boots: bool,
    platform_name: &Name,
    hardware_name: &Name,
) -> Option<Machine> {
    let study = checked.study();
    let platform = study.platforms.get(platform_name)?;
    let hardware = study.hardware.get(hardware_name)?;
    let traits = checked.traits().get(&platform.hypervisor)?;
    let software = software(overlay, platform);
    if boots && software.is_none() {
        return None;
    }
    let guest_image = match software.and_then(|rule| rule.guest_image.clone()) {
        Some(image) => Some(image),
        // Peers that are made need a root also where there are no guests.
        None if boots || platform.guest.is_some() => Some(Name::new("guest").ok()?),
        None => None,
    };
    let rule = overlay.hardware.get(hardware_name);
    let factor = overlay.link.as_ref().map_or(1.0, |link| link.factor);
    let default = |names: &[&'static str]| names.first().and_then(|name| Name::new(*name).ok());
    let nics = hardware
        .nics
        .iter()
        .map(|nic| {
            let model = rule.and_then(|rule| rule.nic.as_ref());
            Some(Link {
                model: model.unwrap_or(&nic.model).clone(),
                rate: scaled(nic.rate, factor)?,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Machine {
        platform: platform_name.clone(),
        hardware: hardware_name.clone(),
        cpus: rule.and_then(|rule| rule.cpus).unwrap_or(hardware.cpus),
        memory: rule.and_then(|rule| rule.memory).unwrap_or(hardware.memory),
        nics,
        image: software.and_then(|rule| rule.image.clone()),
        guest_image,
        hypervisor: platform.hypervisor.clone(),
        version: software
            .map_or(&platform.version, |rule| &rule.used)
            .clone(),
        toolstack: software
            .and_then(|rule| rule.toolstack.clone())
            .or_else(|| platform.toolstack.clone())
            .or_else(|| default(traits.toolstacks)),
        scheduler: platform
            .scheduler
            .clone()
            .or_else(|| default(traits.schedulers)),
        dom0_weight: platform.dom0_weight,
        nic: platform.nic.clone().or_else(|| {
            let guests = platform.guest.is_some();
            guests.then(|| default(traits.nics)).flatten()
        }),
        guest: guest(overlay, platform),
        max_vms: 0,
        peers: 1,
        options: platform.options.clone(),
    })
}

/// Sets how many guests and peers the blocks' machines need.
pub(super) fn size(blocks: &mut [Block]) {
    let mut most: BTreeMap<(Name, Name), u32> = BTreeMap::new();
    let key = |block: &Block| {
        (
            block.machine.platform.clone(),
            block.machine.hardware.clone(),
        )
    };
    for block in &*blocks {
        let most = most.entry(key(block)).or_default();
        *most = block.vms.max(*most);
    }
    for block in blocks {
        block.machine.max_vms = most.get(&key(block)).copied().unwrap_or(block.vms);
        // Flows come from distinct machines (section IV.C of the paper).
        block.machine.peers = block.vms.max(1);
    }
}
