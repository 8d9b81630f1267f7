//! Rules between fields: what a platform may have, and whether machines are large enough.

use vexp_api::ids::Name;
use vexp_api::looks::{Design, Look};
use vexp_api::plugin::HypervisorTraits;
use vexp_api::spec::{Effort, Experiment, GuestShape, Hardware, Overlay, Platform, Role};
use vexp_api::units::{BitRate, ByteSize};

use super::Cx;
use super::findings::Findings;
use super::nearest::help;
use crate::load::FieldPath;

pub(super) fn check(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    for (name, platform) in &cx.study.platforms {
        let path = FieldPath::of(&["platforms", name.as_str()]);
        if let Some(plugin) = cx.registry.hypervisors().get(platform.hypervisor.as_str()) {
            set_up(platform, &plugin.traits(), &path, findings);
        }
    }
    for (name, experiment) in &cx.study.experiments {
        let path = FieldPath::of(&["experiments", name.as_str()]);
        for (i, platform) in experiment.platforms.iter().enumerate() {
            let at = path.key("platforms").index(i);
            machine(cx, experiment, platform, &path, &at, findings);
        }
    }
    for (name, experiment) in &cx.study.experiments {
        let path = FieldPath::of(&["experiments", name.as_str()]);
        monitors(cx, experiment, &path, findings);
    }
    for (name, overlay) in &cx.study.testbeds {
        let path = FieldPath::of(&["testbeds", name.as_str()]);
        link(cx, overlay, &path, findings);
    }
    looks(&cx.study.looks, &FieldPath::of(&["looks"]), findings);
    for (name, effort) in &cx.study.efforts {
        let path = FieldPath::of(&["efforts", name.as_str()]);
        looks(&effort.looks, &path.key("looks"), findings);
        boots(effort, &path, findings);
        let trials = crate::plan::most_trials(cx.study, effort);
        if trials > crate::plan::MOST_TRIALS {
            let message = format!(
                "{trials} trials, and a plan has at most {}",
                crate::plan::MOST_TRIALS
            );
            let help = Some("give fewer repetitions, platforms or VM counts".to_owned());
            findings.rule(
                "too-many-trials",
                &path.key("repetitions"),
                message,
                help,
                &[],
            );
        }
    }
}

/// Looks whose numbers of units and shares of the level can be spent.
fn looks(looks: &[Look], path: &FieldPath, findings: &mut Findings<'_>) {
    if let Err(error) = Design::of(looks) {
        let help = "looks = [{ units = 6, share = 0.3 }, { units = 12, share = 0.3 }, { units = 20, share = 0.4 }]";
        findings.rule("looks", path, error.to_string(), Some(help.to_owned()), &[]);
    }
}

/// More boots than repetitions are made for nothing.
fn boots(effort: &Effort, path: &FieldPath, findings: &mut Findings<'_>) {
    if let Some(boots) = effort.boots
        && boots > effort.repetitions
    {
        let message = format!(
            "{} repetitions start from {} of {boots} boots",
            effort.repetitions, effort.repetitions
        );
        let help = "give as many boots as repetitions, or fewer";
        findings.warn("unused-boots", &path.key("boots"), message, help);
    }
}

/// A monitor that only some hypervisors offer needs a platform with one of them.
fn monitors(cx: &Cx<'_>, experiment: &Experiment, path: &FieldPath, findings: &mut Findings<'_>) {
    for (i, used) in experiment.monitors.iter().enumerate() {
        let offering: Vec<_> = cx
            .registry
            .hypervisors()
            .iter()
            .filter(|(_, plugin)| plugin.traits().monitors.contains(&used.tool.as_str()))
            .map(|(name, _)| *name)
            .collect();
        let here = |name: &Name| {
            let platform = cx.study.platforms.get(name);
            platform.is_none_or(|platform| offering.contains(&platform.hypervisor.as_str()))
        };
        if !offering.is_empty() && !experiment.platforms.iter().any(here) {
            let message = format!(
                "no platform of the experiment offers monitor `{}`",
                used.tool
            );
            let help = Some(format!("hypervisors that do: {}", offering.join(", ")));
            let platforms = path.key("platforms");
            let at = path.key("monitors").index(i).key("tool");
            findings.rule(
                "not-offered",
                &at,
                message,
                help,
                &[(&platforms, "the platforms")],
            );
        }
    }
}

/// What a platform has must be what its hypervisor offers.
fn set_up(
    platform: &Platform,
    traits: &HypervisorTraits,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let at_hypervisor = path.key("hypervisor");
    let hypervisor = &platform.hypervisor;
    let because = [(&at_hypervisor, "the hypervisor")];
    for (field, value, offered) in [
        ("nic", &platform.nic, traits.nics),
        ("toolstack", &platform.toolstack, traits.toolstacks),
        ("scheduler", &platform.scheduler, traits.schedulers),
    ] {
        if let Some(value) = value
            && !offered.contains(&value.as_str())
        {
            let message = format!("hypervisor `{hypervisor}` does not offer {field} `{value}`");
            let help = Some(if offered.is_empty() {
                format!("leave `{field}` out")
            } else {
                help(value.as_str(), offered, "offered")
            });
            findings.rule("not-offered", &path.key(field), message, help, &because);
        }
    }
    match (traits.guests, &platform.guest) {
        (true, None) => {
            let message =
                format!("hypervisor `{hypervisor}` has guests, and their shape is missing");
            let help = Some("guest = { vcpus = 1, memory = \"256MiB\" }".to_owned());
            if !findings.is_tainted(&path.key("guest")) {
                findings.rule("guest-shape", &at_hypervisor, message, help, &[]);
            }
        }
        (false, Some(_)) => {
            let message = format!("hypervisor `{hypervisor}` has no guests");
            let help = Some("leave `guest` out".to_owned());
            findings.rule("guest-shape", &path.key("guest"), message, help, &because);
        }
        _ => {}
    }
    if platform.dom0_weight.is_some() {
        dom0_weight(platform, traits, path, findings);
    }
}

fn dom0_weight(
    platform: &Platform,
    traits: &HypervisorTraits,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let at = path.key("dom0_weight");
    if traits.weighted.is_empty() {
        let message = format!("hypervisor `{}` has no dom0 weight", platform.hypervisor);
        let help = Some("a dom0 weight is Xen's; leave it out".to_owned());
        let hypervisor = path.key("hypervisor");
        findings.rule(
            "dom0-weight",
            &at,
            message,
            help,
            &[(&hypervisor, "the hypervisor")],
        );
        return;
    }
    let scheduler = platform
        .scheduler
        .as_ref()
        .map(Name::as_str)
        .or(traits.schedulers.first().copied());
    if !scheduler.is_some_and(|scheduler| traits.weighted.contains(&scheduler)) {
        let message = format!(
            "vexp sets no weight of dom0 under the scheduler `{}`",
            scheduler.unwrap_or("(none)")
        );
        let help = Some(format!(
            "schedulers under which it does: {}",
            traits.weighted.join(", ")
        ));
        let scheduler = path.key("scheduler");
        findings.rule(
            "dom0-weight",
            &at,
            message,
            help,
            &[(&scheduler, "the scheduler")],
        );
    }
}

/// Whether the machine of an experiment on a platform can hold what it is to hold.
fn machine(
    cx: &Cx<'_>,
    experiment: &Experiment,
    name: &Name,
    experiment_path: &FieldPath,
    at: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let Some(platform) = cx.study.platforms.get(name) else {
        return;
    };
    let path = FieldPath::of(&["platforms", name.as_str()]);
    let role = experiment.role;
    let at_role = experiment_path.key("role");
    id_length(experiment_path, name, at, findings);
    let Some(profile) = platform.hardware.get(&role) else {
        let message = format!(
            "platform `{name}` has no hardware profile for role {}",
            role.as_str()
        );
        let help = Some(format!(
            "add `{}` to platforms.{name}.hardware",
            role.as_str()
        ));
        let hardware = path.key("hardware");
        let because = [(&hardware, "its profiles"), (&at_role, "the role")];
        findings.rule("no-hardware", at, message, help, &because);
        return;
    };
    let Some(hardware) = cx.study.hardware.get(profile) else {
        return;
    };
    let at_hardware = FieldPath::of(&["hardware", profile.as_str()]);
    if role == Role::Router && hardware.nics.len() < 2 {
        let message = format!(
            "a router needs two NICs, and hardware profile `{profile}` has {}",
            hardware.nics.len()
        );
        let help = Some("choose a profile with two NICs for the role router".to_owned());
        let at = path.key("hardware").key("router");
        let nics = at_hardware.key("nics");
        findings.rule("router-nics", &at, message, help, &[(&nics, "its NICs")]);
    }
    let Some(guest) = &platform.guest else {
        return;
    };
    let Some(plugin) = cx.registry.hypervisors().get(platform.hypervisor.as_str()) else {
        return;
    };
    let Some(most) = experiment.vms.iter().copied().max() else {
        return;
    };
    let room = Room {
        profile,
        hardware,
        guest,
        most,
        path: &path,
        at_hardware: &at_hardware,
        at_vms: &experiment_path.key("vms"),
    };
    // Where a testbed substitutes machines, the study's own need not have room for what today's
    // hosts need.
    let host = plugin.traits().host_memory;
    let own = match cx.study.testbeds.is_empty() {
        true => host,
        false => ByteSize::new(0),
    };
    if room.check(None, own, findings) {
        for (testbed, overlay) in &cx.study.testbeds {
            room.check(Some((testbed, overlay)), host, findings);
        }
    }
}

/// Trials are named `EXPERIMENT.PLATFORM.vN.rN`, which must be a name, too.
fn id_length(experiment: &FieldPath, platform: &Name, at: &FieldPath, findings: &mut Findings<'_>) {
    const LONGEST: usize = 63;
    let name = match experiment.0.last() {
        Some(crate::load::Step::Key(name)) => name.as_str(),
        _ => "",
    };
    let room = LONGEST - ".v1024.r10000".len() - ".".len();
    let length = name.len() + platform.as_str().len();
    if length > room {
        let message = format!(
            "`{name}` and `{platform}` are together too long for the names of trials: {length} characters"
        );
        let help = Some(format!("allowed: {room}"));
        findings.rule("name-length", at, message, help, &[]);
    }
}

/// A machine and the guests that it is to hold.
struct Room<'a> {
    profile: &'a Name,
    hardware: &'a Hardware,
    guest: &'a GuestShape,
    most: u32,
    path: &'a FieldPath,
    at_hardware: &'a FieldPath,
    at_vms: &'a FieldPath,
}

impl Room<'_> {
    /// Whether the guests fit.
    fn check(
        &self,
        testbed: Option<(&Name, &Overlay)>,
        host: ByteSize,
        findings: &mut Findings<'_>,
    ) -> bool {
        let before = findings.all.len();
        let overlay = testbed.map(|(_, overlay)| overlay);
        let rule = overlay.and_then(|overlay| overlay.hardware.get(self.profile));
        let guests = overlay.and_then(|overlay| overlay.guest.as_ref());
        let place = testbed.map(|(name, _)| format!(" on testbed `{name}`"));
        let place = place.unwrap_or_default();
        let at_testbed = testbed.map(|(name, _)| FieldPath::of(&["testbeds", name.as_str()]));
        let at_rule = at_testbed
            .as_ref()
            .map(|at| at.key("hardware").key(self.profile.as_str()));
        let pick = |ours: Option<FieldPath>, used: bool, theirs: FieldPath| match ours {
            Some(path) if used => path,
            _ => theirs,
        };

        let memory = rule.and_then(|rule| rule.memory);
        let guest_memory = guests.and_then(|rule| rule.memory);
        let at_memory = pick(
            at_rule.as_ref().map(|at| at.key("memory")),
            memory.is_some(),
            self.at_hardware.key("memory"),
        );
        let at_guest = pick(
            at_testbed.as_ref().map(|at| at.key("guest").key("memory")),
            guest_memory.is_some(),
            self.path.key("guest").key("memory"),
        );
        let memory = memory.unwrap_or(self.hardware.memory);
        let guest_memory = guest_memory.unwrap_or(self.guest.memory);
        let needed = guest_memory
            .bytes()
            .checked_mul(u64::from(self.most))
            .and_then(|guests| guests.checked_add(host.bytes()));
        if needed.is_none_or(|needed| needed > memory.bytes()) {
            let left = memory.bytes().saturating_sub(host.bytes()) / u64::from(self.most);
            let message = format!(
                "{} guests of {guest_memory} and {} for the host don't fit into {memory} of `{}`{place}",
                self.most,
                if host.bytes() == 0 {
                    "nothing".to_owned()
                } else {
                    host.to_string()
                },
                self.profile,
            );
            let help = Some(format!("a guest may have {}MiB there", left >> 20));
            let because = [
                (&at_memory, "the machine's memory"),
                (self.at_vms, "the VM counts"),
            ];
            findings.rule("guest-memory", &at_guest, message, help, &because);
        }

        let cpus = rule.and_then(|rule| rule.cpus);
        let vcpus = guests.and_then(|rule| rule.vcpus);
        let at_cpus = pick(
            at_rule.as_ref().map(|at| at.key("cpus")),
            cpus.is_some(),
            self.at_hardware.key("cpus"),
        );
        let at_vcpus = pick(
            at_testbed.as_ref().map(|at| at.key("guest").key("vcpus")),
            vcpus.is_some(),
            self.path.key("guest").key("vcpus"),
        );
        let cpus = cpus.unwrap_or(self.hardware.cpus);
        let vcpus = vcpus.unwrap_or(self.guest.vcpus);
        if vcpus > cpus {
            let message = format!(
                "a guest with {vcpus} virtual processors is larger than `{}` with {cpus}{place}",
                self.profile
            );
            let help = Some(format!("allowed: 1 to {cpus}"));
            let because = [(&at_cpus, "the machine's processors")];
            findings.rule("guest-vcpus", &at_vcpus, message, help, &because);
        }
        findings.all.len() == before
    }
}

/// Every scaled rate must be whole bits per second.
fn link(cx: &Cx<'_>, overlay: &Overlay, path: &FieldPath, findings: &mut Findings<'_>) {
    let Some(link) = &overlay.link else {
        return;
    };
    for (name, hardware) in &cx.study.hardware {
        for (i, nic) in hardware.nics.iter().enumerate() {
            if scaled(nic.rate, link.factor).is_none() {
                let nics = FieldPath::of(&["hardware", name.as_str(), "nics"]);
                let rate = nics.index(i).key("rate");
                let message = format!(
                    "{} × {} is not a whole number of bits per second",
                    nic.rate, link.factor
                );
                let help = Some("choose a factor with fewer decimals, such as 0.2".to_owned());
                let at = path.key("link").key("factor");
                findings.rule("link-factor", &at, message, help, &[(&rate, "the rate")]);
                return;
            }
        }
    }
}

/// `rate * factor`, if that is a whole number of bits per second, at least one. The factor counts
/// as the decimal that it is written as.
pub(crate) fn scaled(rate: BitRate, factor: f64) -> Option<BitRate> {
    // Rust writes the shortest decimal that reads back as the same number, without an exponent.
    let text = factor.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let product = u128::from(rate.bits_per_second()).checked_mul(digits)?;
    let bits = u64::try_from(product / scale).ok()?;
    (product % scale == 0 && bits > 0).then(|| BitRate::new(bits))
}

/// The step between numbers of two significant digits at `least`: 0.001 for 0.05. No number of two
/// digits that is larger has a finer one.
pub(super) fn finest(least: f64) -> f64 {
    let exponent = least.log10().floor() as i32 - 1;
    // By way of its text: the nearest number, which a power of ten need not be.
    format!("1e{exponent}").parse().unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_exactly_or_not_at_all() {
        let giga = BitRate::new(1_000_000_000);
        let mega = |n: u64| Some(BitRate::new(n * 1_000_000));
        assert_eq!(scaled(giga, 0.2), mega(200));
        assert_eq!(scaled(giga, 1.0), mega(1000));
        assert_eq!(scaled(giga, 0.07), mega(70));
        assert_eq!(scaled(giga, 1.0 / 3.0), None);
        assert_eq!(scaled(BitRate::new(1), 0.1), None);
        assert_eq!(scaled(giga, -0.5), None);
    }

    #[test]
    fn steps_of_two_significant_digits() {
        assert_eq!(finest(0.05), 0.001);
        assert_eq!(finest(0.1), 0.01);
        assert_eq!(finest(1.0), 0.1);
        assert_eq!(
            scaled(BitRate::new(1_000_000_000), finest(0.003)),
            Some(BitRate::new(100_000))
        );
    }
}
