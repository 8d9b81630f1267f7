//! Checked study → plan. Pure: the same study, testbed, effort and selection give the same bytes
//! on every machine.
//!
//! Trials that share a platform, a hardware profile, a VM count and a repetition share a machine
//! with its guests: a [`Block`]. Repetitions follow one another; within a repetition the blocks are
//! in random order, within a block the experiments. A selection of trials keeps the order that they
//! have in the whole.

pub mod budget;
mod calibration;
mod deviations;
pub mod estimate;
pub(crate) mod machine;
mod order;
pub mod since;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::{BadName, Name};
use vexp_api::looks::{BadDesign, Design};
use vexp_api::plan::{Block, Calibration, Excluded, FORMAT, Plan, Trial};
use vexp_api::spec::{Effort, Experiment, Overlay, Platform, Study};

use crate::check::CheckedStudy;
use order::Rng;

pub use calibration::{calibrate, calibration_plan};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The study has no such effort.
    #[error("the study has no effort `{0}`; it has: {1}")]
    NoEffort(Name, String),
    /// The study says nothing about that testbed.
    #[error("the study says nothing about testbed `{0}`; it has: {1}")]
    NoTestbed(Name, String),
    /// The selection is not a glob.
    #[error("`{text}` is not a pattern")]
    BadGlob {
        /// What was written.
        text: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// Nothing is left to run.
    #[error("no trial is left to run{0}")]
    Nothing(String),
    /// More than any run can have.
    #[error(
        "more than {MOST_TRIALS} trials: give fewer repetitions or VM counts, or plan a part of the study at a time \
         (efforts.*.experiments, platforms, vms)"
    )]
    Large,
    /// The study's looks can't be.
    #[error("the study's looks can't be taken")]
    Looks(#[from] BadDesign),
    /// Names are too long to be put together.
    #[error("a trial or block has no usable name")]
    Id(#[from] BadName),
}

/// Trials of a plan: a year of half-minute trials has a million.
pub const MOST_TRIALS: u64 = 100_000;

/// How many trials an effort has at most: points that a testbed leaves out are counted, too.
pub(crate) fn most_trials(study: &Study, effort: &Effort) -> u64 {
    let chosen = |list: &Option<Vec<Name>>, name: &Name| {
        list.as_ref().is_none_or(|list| list.contains(name))
    };
    let points = |experiment: &Experiment| {
        let platforms = experiment.platforms.iter();
        let platforms = platforms
            .filter(|name| chosen(&effort.platforms, name))
            .count() as u64;
        let counts = experiment.vms.iter();
        let wanted = |vms: &&u32| effort.vms.as_ref().is_none_or(|list| list.contains(vms));
        platforms.saturating_mul(counts.filter(wanted).count().max(1) as u64)
    };
    let experiments = study.experiments.iter();
    let experiments = experiments.filter(|(name, _)| chosen(&effort.experiments, name));
    let points = experiments
        .map(|(_, one)| points(one))
        .fold(0, u64::saturating_add);
    points.saturating_mul(u64::from(effort.repetitions))
}

/// What is to be planned.
struct Cx<'a> {
    checked: &'a CheckedStudy,
    overlay: Cow<'a, Overlay>,
    testbed: &'a Name,
    effort: &'a Effort,
    /// Where trials are run until claims are decided.
    looks: Option<&'a Design>,
}

/// What the study says about a testbed.
fn overlay<'a>(checked: &'a CheckedStudy, testbed: &Name) -> Result<&'a Overlay, PlanError> {
    let all = &checked.study().testbeds;
    all.get(testbed)
        .ok_or_else(|| PlanError::NoTestbed(testbed.clone(), names(all.keys())))
}

/// Plans a study. `only` is a glob over trials' ids. `calibration` is what was found for the machine
/// at hand, if the study asks to find the link rate ([`calibrate`]); without it the rate is that
/// where the search begins.
///
/// # Errors
/// [`PlanError`], if the testbed or the effort is unknown or nothing is left to run.
pub fn plan(
    checked: &CheckedStudy,
    testbed: &Name,
    effort: &Name,
    only: Option<&str>,
    calibration: Option<&Calibration>,
) -> Result<Plan, PlanError> {
    planned(checked, testbed, effort, only, calibration, None)
}

/// Plans a study whose trials are run until its claims are decided: everything that the last of its looks
/// could need. A unit is a seed where time is virtual, else a boot: then no machine is kept.
///
/// # Errors
/// As [`plan`], or if the study's looks can't be.
pub fn plan_until_decided(
    checked: &CheckedStudy,
    testbed: &Name,
    effort: &Name,
    only: Option<&str>,
    calibration: Option<&Calibration>,
) -> Result<Plan, PlanError> {
    let study = checked.study();
    let own = study.efforts.get(effort).map(|effort| &effort.looks);
    let looks = own
        .filter(|looks| !looks.is_empty())
        .unwrap_or(&study.looks);
    let looks = Design::of(looks)?;
    planned(checked, testbed, effort, only, calibration, Some(&looks))
}

/// The effort with as many repetitions as the last look has units.
fn units(effort: &Effort, looks: &Design, virtual_time: bool) -> Effort {
    Effort {
        repetitions: looks.most_units(),
        boots: effort.boots.filter(|_| virtual_time),
        ..effort.clone()
    }
}

fn planned(
    checked: &CheckedStudy,
    testbed: &Name,
    effort: &Name,
    only: Option<&str>,
    calibration: Option<&Calibration>,
    looks: Option<&Design>,
) -> Result<Plan, PlanError> {
    let study = checked.study();
    let only = only
        .map(|text| {
            glob::Pattern::new(text).map_err(|source| PlanError::BadGlob {
                text: text.to_owned(),
                source,
            })
        })
        .transpose()?;
    let asked = calibrate(checked, testbed)?.is_some();
    let calibration = calibration.filter(|_| asked);
    let declared = study
        .efforts
        .get(effort)
        .ok_or_else(|| PlanError::NoEffort(effort.clone(), names(study.efforts.keys())))?;
    let used = looks.map(|looks| units(declared, looks, checked.virtual_time(testbed)));
    let cx = Cx {
        checked,
        overlay: match calibration {
            Some(found) => Cow::Owned(calibration::apply(overlay(checked, testbed)?, found)),
            None => Cow::Borrowed(overlay(checked, testbed)?),
        },
        testbed,
        effort: used.as_ref().unwrap_or(declared),
        looks,
    };
    if most_trials(study, cx.effort) > MOST_TRIALS {
        return Err(PlanError::Large);
    }
    let mut excluded = BTreeSet::new();
    let groups = cx.expand(&mut excluded)?;
    let mut blocks = cx.blocks(groups)?;
    // A machine is the same whatever else is selected.
    machine::size(&mut blocks);
    if let Some(only) = &only {
        for block in &mut blocks {
            block.trials.retain(|trial| only.matches(trial.id.as_str()));
        }
    }
    blocks.retain(|block| !block.trials.is_empty());
    let excluded: Vec<_> = excluded.into_iter().collect();
    if blocks.is_empty() {
        return Err(PlanError::Nothing(reasons(&excluded)));
    }
    Ok(cx.finished(effort, calibration.cloned(), blocks, excluded))
}

fn names<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<_> = names.map(Name::as_str).collect();
    names.join(", ")
}

fn reasons(excluded: &[Excluded]) -> String {
    excluded
        .iter()
        .map(|point| {
            let platform = point.platform.as_ref().map(|name| format!(" on {name}"));
            let platform = platform.unwrap_or_default();
            format!("; {}{platform}: {}", point.experiment, point.reason)
        })
        .collect()
}

/// Trials of one block before they are ordered.
type Group = Vec<Trial>;
/// Repetition, platform, hardware profile, VM count.
type GroupKey = (u32, Name, Name, u32);

impl Cx<'_> {
    /// The whole plan of some blocks.
    fn finished(
        &self,
        effort: &Name,
        calibration: Option<Calibration>,
        blocks: Vec<Block>,
        excluded: Vec<Excluded>,
    ) -> Plan {
        let study = self.checked.study();
        let virtual_time = self.checked.virtual_time(self.testbed);
        let images: BTreeSet<_> = blocks
            .iter()
            .flat_map(|block| [&block.machine.image, &block.machine.guest_image])
            .flatten()
            .chain(self.checked.tools(self.testbed))
            .cloned()
            .collect();
        Plan {
            format: FORMAT,
            study: study.name.clone(),
            study_digest: self.checked.digest().clone(),
            testbed: self.testbed.clone(),
            testbed_options: self.overlay.options.clone(),
            effort: effort.clone(),
            seed: study.seed,
            looks: self.looks.map_or_else(Vec::new, |d| d.looks().to_vec()),
            calibration,
            estimate: estimate::of(&blocks, virtual_time, images.len()),
            images: images.into_iter().collect(),
            deviations: deviations::of(self, &blocks),
            blocks,
            excluded,
        }
    }

    fn expand(
        &self,
        excluded: &mut BTreeSet<Excluded>,
    ) -> Result<BTreeMap<GroupKey, Group>, PlanError> {
        let study = self.checked.study();
        let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
        let wanted = |list: &Option<Vec<Name>>, name: &Name| {
            list.as_ref().is_none_or(|list| list.contains(name))
        };
        for (name, experiment) in &study.experiments {
            if !wanted(&self.effort.experiments, name) {
                continue;
            }
            let exclude = |platform: Option<&Name>, reason: String| Excluded {
                experiment: name.clone(),
                platform: platform.cloned(),
                reason,
            };
            for platform_name in &experiment.platforms {
                let Some(platform) = study.platforms.get(platform_name) else {
                    continue;
                };
                let Some(hardware) = platform.hardware.get(&experiment.role) else {
                    continue;
                };
                if !wanted(&self.effort.platforms, platform_name) {
                    continue;
                }
                let boots = self.checked.boots_images(self.testbed);
                if boots && machine::software(&self.overlay, platform).is_none() {
                    let reason = format!(
                        "testbed `{}` has no rule for {} {}",
                        self.testbed, platform.hypervisor, platform.version
                    );
                    excluded.insert(exclude(Some(platform_name), reason));
                    continue;
                }
                for vms in self.counts(experiment, platform) {
                    if experiment.load.is_some() && vms < 2 {
                        // Only this point: with more VMs it is run.
                        let reason = match vms {
                            0 => "without guests there is none to load",
                            _ => "with 1 VM: there is no other guest to load",
                        };
                        excluded.insert(exclude(Some(platform_name), reason.to_owned()));
                        continue;
                    }
                    for repetition in 1..=self.effort.repetitions {
                        let key = (repetition, platform_name.clone(), hardware.clone(), vms);
                        let trial =
                            self.trial(name, experiment, platform_name, platform, vms, repetition)?;
                        let group = groups.entry(key).or_default();
                        // Of very many blocks most have one trial.
                        group.reserve_exact(1);
                        group.push(trial);
                    }
                }
            }
        }
        Ok(groups)
    }

    /// The kept boot that a repetition starts from. What is not booted can't be kept.
    fn boot(&self, repetition: u32) -> Option<u32> {
        let boots = (self.effort.boots).filter(|_| self.checked.boots_images(self.testbed))?;
        Some((repetition - 1) % boots.max(1) + 1)
    }

    fn counts(&self, experiment: &Experiment, platform: &Platform) -> Vec<u32> {
        let guests = self
            .checked
            .traits()
            .get(&platform.hypervisor)
            .is_some_and(|traits| traits.guests);
        if !guests {
            return vec![0];
        }
        let wanted = |vms: &u32| {
            let list = self.effort.vms.as_ref();
            list.is_none_or(|list| list.contains(vms))
        };
        experiment.vms.iter().copied().filter(wanted).collect()
    }

    fn trial(
        &self,
        experiment_name: &Name,
        experiment: &Experiment,
        platform_name: &Name,
        platform: &Platform,
        vms: u32,
        repetition: u32,
    ) -> Result<Trial, PlanError> {
        let traits = self.checked.traits();
        let everywhere = |tool: &str| traits.values().all(|t| !t.monitors.contains(&tool));
        let here = |tool: &str| {
            traits
                .get(&platform.hypervisor)
                .is_some_and(|t| t.monitors.contains(&tool))
        };
        let monitors = experiment
            .monitors
            .iter()
            .filter(|used| everywhere(used.tool.as_str()) || here(used.tool.as_str()))
            .filter(|used| self.checked.counts(&used.tool, self.testbed))
            .cloned()
            .collect();
        Ok(Trial {
            id: Name::new(format!(
                "{experiment_name}.{platform_name}.v{vms}.r{repetition}"
            ))?,
            experiment: experiment_name.clone(),
            platform: platform_name.clone(),
            role: experiment.role,
            vms,
            repetition,
            boot: self.boot(repetition).unwrap_or(repetition),
            traffic: experiment.traffic.clone(),
            load: experiment.load.clone(),
            measured: experiment.flows,
            monitors,
            warm_up: self.effort.warm_up,
            window: self.effort.window,
        })
    }

    fn blocks(&self, groups: BTreeMap<GroupKey, Group>) -> Result<Vec<Block>, PlanError> {
        let study = self.checked.study();
        let mut repetitions: BTreeMap<u32, Vec<Block>> = BTreeMap::new();
        for ((repetition, platform, hardware, vms), mut trials) in groups {
            let id = Name::new(format!("{platform}.{hardware}.v{vms}.r{repetition}"))?;
            let boots = self.checked.boots_images(self.testbed);
            let machine = machine::of(self.checked, &self.overlay, boots, &platform, &hardware);
            let Some(machine) = machine else {
                continue;
            };
            Rng::new(study.seed, &format!("block {id}")).shuffle(&mut trials);
            repetitions.entry(repetition).or_default().push(Block {
                id,
                repetition,
                vms,
                boot: self.boot(repetition),
                machine,
                trials,
            });
        }
        for (repetition, blocks) in &mut repetitions {
            Rng::new(study.seed, &format!("repetition {repetition}")).shuffle(blocks);
        }
        Ok(repetitions.into_values().flatten().collect())
    }
}
