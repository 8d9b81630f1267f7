//! What keeps a claim from being seen in a run, as far as its study and its plan say: nothing of it is measured.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::spec::{Claim, Condition, TimeKind};

use super::{Cause, CauseKind, sides};
use crate::run::Run;

pub(super) const HARDWARE: &str =
    "testbed `hosts`, or `emulated` on a computer with virtualization hardware";

type Found = BTreeSet<Cause>;

/// A claim, and the run that was declared for it.
pub(in crate::judge) struct Declared<'a> {
    pub(in crate::judge) claim: &'a Claim,
    pub(in crate::judge) run: &'a Run,
}

impl<'a> Declared<'a> {
    /// All causes, in the order of reports.
    pub(in crate::judge) fn causes(&self) -> BTreeSet<Cause> {
        let mut found = Found::new();
        self.versions(&mut found);
        self.testbed(&mut found);
        self.machines(&mut found);
        found
    }

    /// The points that the claim is about, each once.
    pub(super) fn points(&self) -> BTreeSet<(&'a Name, &'a Name, u32)> {
        let sides = self.claim.tests.iter().flat_map(sides);
        sides
            .map(|of| (&of.experiment, &of.platform, of.vms))
            .collect()
    }

    /// The machine of a point; `None` where nothing of the platform is planned.
    pub(super) fn machine(&self, experiment: &Name, platform: &Name) -> Option<&'a Machine> {
        let mut blocks = self.run.plan.blocks.iter();
        let block = blocks.find(|block| {
            let mut trials = block.trials.iter();
            trials.any(|trial| (&trial.experiment, &trial.platform) == (experiment, platform))
        });
        block.map(|block| &block.machine)
    }

    fn versions(&self, found: &mut Found) {
        for need in &self.claim.needs.versions {
            let mut blocks = self.run.plan.blocks.iter();
            let machine = blocks.find(|block| block.machine.platform == need.platform);
            let Some(machine) = machine.map(|block| &block.machine) else {
                continue;
            };
            if !is_older(&machine.version, &need.below) {
                found.insert(Cause {
                    kind: CauseKind::Software,
                    what: format!(
                        "`{}` is {} {} here, and what the claim is about ended with {}: {}",
                        need.platform, machine.hypervisor, machine.version, need.below, need.reason
                    ),
                    lift: format!(
                        "a testbed with {} older than {}",
                        machine.hypervisor, need.below
                    ),
                });
            }
        }
    }

    /// Platforms that the testbed has no image for.
    fn testbed(&self, found: &mut Found) {
        let run = self.run;
        let boots = run
            .plan
            .blocks
            .iter()
            .any(|block| block.machine.image.is_some());
        let Some(overlay) = run.study.testbeds.get(&run.plan.testbed).filter(|_| boots) else {
            return;
        };
        for (_, name, _) in self.points() {
            let Some(platform) = run.study.platforms.get(name) else {
                continue;
            };
            let has = overlay.software.iter().any(|rule| {
                (&rule.hypervisor, &rule.version) == (&platform.hypervisor, &platform.version)
            });
            let planned = run
                .plan
                .blocks
                .iter()
                .any(|block| block.machine.platform == *name);
            if !has && !planned {
                found.insert(Cause {
                    kind: CauseKind::Testbed,
                    what: format!(
                        "testbed `{}` has no {} {}",
                        run.plan.testbed, platform.hypervisor, platform.version
                    ),
                    lift: HARDWARE.to_owned(),
                });
            }
        }
    }

    fn machines(&self, found: &mut Found) {
        let needs = &self.claim.needs;
        let plan = &self.run.plan;
        let virtual_time = self.run.is_virtual();
        let time = if virtual_time {
            TimeKind::Virtual
        } else {
            TimeKind::Real
        };
        if needs.time.is_some_and(|needed| needed != time) {
            let (here, lift) = match virtual_time {
                true => ("virtual", HARDWARE),
                false => ("real", "testbed `virtual`"),
            };
            found.insert(Cause {
                kind: CauseKind::Testbed,
                what: format!("time is {here} on testbed `{}`", plan.testbed),
                lift: lift.to_owned(),
            });
        }
        for (experiment, platform, _) in self.points() {
            let Some(machine) = self.machine(experiment, platform) else {
                continue;
            };
            if let Some(least) = needs.processors.filter(|least| machine.cpus < *least) {
                found.insert(Cause {
                    kind: CauseKind::Machine,
                    what: format!(
                        "`{}` has {} here, and the claim is about {least}",
                        machine.hardware,
                        processors(machine.cpus)
                    ),
                    lift: format!("a machine with {}: {HARDWARE}", processors(least)),
                });
            }
        }
        if needs.holds.contains(&Condition::HardwareVirtualization) {
            found.extend(self.emulated_guests());
        }
    }

    /// Guests whose virtualization hardware is an emulator's.
    fn emulated_guests(&self) -> Option<Cause> {
        let run = self.run;
        let points = self.points();
        let mut blocks = run.plan.blocks.iter().filter(|block| {
            let mut trials = block.trials.iter();
            trials.any(|t| points.contains(&(&t.experiment, &t.platform, t.vms)))
        });
        let emulated = blocks.find(|block| {
            let site = run.blocks.get(&block.id).map(|record| &record.site);
            site.is_some_and(has_emulated_extensions)
        })?;
        Some(Cause {
            kind: CauseKind::Testbed,
            what: format!(
                "`{}` runs its guests on emulated virtualization hardware, whose exits cost what an \
                 emulator's do",
                emulated.machine.platform
            ),
            lift: HARDWARE.to_owned(),
        })
    }
}

fn processors(n: u32) -> String {
    match n {
        1 => "1 processor".to_owned(),
        n => format!("{n} processors"),
    }
}

/// Whether a version comes before another: by its numbers, `4.17` after `4.2`.
fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        let parts = text.split(|c: char| !c.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    numbers(version) < numbers(than)
}

/// Whether a machine's processor is an emulator's and has virtualization extensions, which testbeds give to those alone whose
/// hypervisor needs them.
fn has_emulated_extensions(site: &BTreeMap<String, String>) -> bool {
    let cpu = site.get("cpu").map_or("", String::as_str);
    site.get("accelerator").is_some_and(|name| name == "tcg")
        && ["+svm", "+vmx"].iter().any(|flag| cpu.contains(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_emulated_where_an_emulated_processor_has_extensions_for_them() {
        let site = |accelerator: &str, cpu: &str| {
            let facts = [("accelerator", accelerator), ("cpu", cpu)];
            facts
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        assert!(has_emulated_extensions(&site(
            "tcg",
            "Opteron_G3,+svm,+npt"
        )));
        assert!(!has_emulated_extensions(&site("tcg", "Opteron_G3")));
        assert!(!has_emulated_extensions(&site("kvm", "host")));
        assert!(!has_emulated_extensions(&BTreeMap::new()));
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, than, older) in [
            ("3.1.0", "3.2", true),
            ("3.2", "3.2", false),
            ("4.17", "3.2", false),
            ("4.2", "4.17", true),
            ("84", "85", true),
        ] {
            assert_eq!(is_older(version, than), older, "{version} {than}");
        }
    }
}
