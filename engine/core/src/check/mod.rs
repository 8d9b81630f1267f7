//! Value + registry → checked study, or all findings at once.
//!
//! First the shape of every field ([`shape`]), then the rules between fields ([`rules`]) on what
//! is left. What follows from a mistake is not reported beside the mistake.

mod calibration;
mod claims;
mod figures;
mod findings;
mod json_schema;
mod machines;
mod measures;
mod nearest;
mod options;
mod references;
mod rules;
mod schema;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::diagnostic::{Diagnostic, Severity};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{Counting, HypervisorTraits, Testbed};
use vexp_api::registry::Registry;
use vexp_api::spec::Study;

pub use json_schema::json_schema;

use crate::load::{FieldPath, Loaded};
use findings::Findings;

pub(crate) use machines::slowest;
pub(crate) use rules::scaled;

/// A study that keeps all rules. Only [`check`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedStudy {
    study: Study,
    digest: Digest,
    traits: BTreeMap<Name, HypervisorTraits>,
    tools: BTreeMap<Name, Vec<Name>>,
    virtual_time: BTreeSet<Name>,
    counting: BTreeMap<Name, Counting>,
    /// Testbeds whose machines run what is installed on them.
    installed: BTreeSet<Name>,
    /// Testbeds whose machines are emulated.
    emulating: BTreeSet<Name>,
    /// What hypervisors themselves take where a study says nothing, by platform.
    own_defaults: BTreeMap<Name, Vec<(&'static str, &'static str)>>,
    /// Bits per second of payload that each flow of an experiment offers, whatever the link.
    offers: BTreeMap<Name, u64>,
    warnings: Vec<Diagnostic>,
}

impl CheckedStudy {
    /// The study.
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// Digest of the study's canonical JSON.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What hypervisors offer, by name.
    pub fn traits(&self) -> &BTreeMap<Name, HypervisorTraits> {
        &self.traits
    }

    /// Images that a testbed needs itself.
    pub fn tools(&self, testbed: &Name) -> &[Name] {
        self.tools.get(testbed).map_or(&[], Vec::as_slice)
    }

    /// Whether a testbed's time is virtual ([`vexp_api::plugin::Testbed::virtual_time`]).
    pub fn virtual_time(&self, testbed: &Name) -> bool {
        self.virtual_time.contains(testbed)
    }

    /// Whether what a measure reads counts right on a testbed.
    pub fn counts(&self, measure: &Name, testbed: &Name) -> bool {
        match self.counting.get(measure) {
            None | Some(Counting::Everywhere) => true,
            Some(Counting::RealTime) => !self.virtual_time(testbed),
            Some(Counting::VirtualTime) => self.virtual_time(testbed),
        }
    }

    /// Whether a testbed's machines are booted from host images.
    pub fn boots_images(&self, testbed: &Name) -> bool {
        !self.installed.contains(testbed)
    }

    /// Whether a testbed's machines are emulated ([`vexp_api::plugin::Testbed::emulates`]).
    pub(crate) fn emulates(&self, testbed: &Name) -> bool {
        self.emulating.contains(testbed)
    }

    /// What a platform's hypervisor takes for fields that are left out
    /// ([`vexp_api::plugin::Hypervisor::own_defaults`]).
    pub(crate) fn own_defaults(&self, platform: &Name) -> &[(&'static str, &'static str)] {
        self.own_defaults.get(platform).map_or(&[], Vec::as_slice)
    }

    /// Rates that experiments give in bits per second, which no link's factor scales.
    pub(crate) fn offers(&self) -> &BTreeMap<Name, u64> {
        &self.offers
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

/// What rules look at.
pub(crate) struct Cx<'a> {
    study: &'a Study,
    registry: &'a Registry,
}

/// Checks a study.
///
/// # Errors
/// All findings, errors and warnings, in the order of the source.
pub fn check(loaded: &Loaded, registry: &Registry) -> Result<CheckedStudy, Vec<Diagnostic>> {
    let mut findings = Findings::new(&loaded.spans);
    let repaired = shape::repair(
        &schema::STUDY,
        &loaded.value,
        &FieldPath::top(),
        &mut findings,
    );
    for finding in &loaded.options {
        findings.all.push(finding.clone());
    }
    let study: Study = match serde_path_to_error::deserialize(&repaired) {
        Ok(study) => study,
        Err(error) => {
            // The schema and the types are held against each other by a test; if they differ
            // nevertheless, a finding is better than a wrong study.
            let path = FieldPath::of(&[&error.path().to_string()]);
            let message = error.into_inner().to_string();
            findings.shape("type", &path, findings::At::Value, message, None);
            return Err(findings.sorted());
        }
    };
    let cx = Cx {
        study: &study,
        registry,
    };
    references::check(&cx, &mut findings);
    figures::check(&cx, &mut findings);
    rules::check(&cx, &mut findings);
    calibration::check(&cx, &mut findings);
    claims::check(&cx, &mut findings);
    let contract: Vec<&str> = loaded.options.iter().map(|d| d.field.as_str()).collect();
    measures::check(&cx, &contract, &mut findings);
    let errors = |all: &[Diagnostic]| all.iter().any(|d| d.severity == Severity::Error);
    if !errors(&findings.all) {
        findings.all.extend(loaded.contract.clone());
    }
    if !errors(&findings.all) {
        options::check(&cx, &mut findings);
    }
    if errors(&findings.all) {
        return Err(findings.sorted());
    }
    let digest = match Digest::of_value(&study) {
        Ok(digest) => digest,
        Err(error) => return Err(vec![internal(error.to_string())]),
    };
    let mut checked = known(study, digest, registry);
    machines::check(&checked, registry, &mut findings);
    checked.warnings = findings.sorted();
    Ok(checked)
}

/// The study with what its plugins say of themselves.
fn known(study: Study, digest: Digest, registry: &Registry) -> CheckedStudy {
    // All of them: whether a monitor runs everywhere depends on those that the study does not use.
    let traits = registry
        .hypervisors()
        .iter()
        .filter_map(|(name, plugin)| Some((Name::new(*name).ok()?, plugin.traits())))
        .collect();
    let tools = registry
        .testbeds()
        .iter()
        .filter_map(|(name, plugin)| {
            let images = plugin.images().iter();
            let images = images.map(|image| Name::new(*image));
            Some((
                Name::new(*name).ok()?,
                images.collect::<Result<_, _>>().ok()?,
            ))
        })
        .collect();
    let own_defaults = study.platforms.iter().filter_map(|(name, platform)| {
        let plugin = registry.hypervisors().get(platform.hypervisor.as_str())?;
        Some((name.clone(), plugin.own_defaults(&platform.version)))
    });
    // What is a share of the link says so of any link.
    let link = vexp_api::units::BitRate::new(1_000_000_000);
    let offers = study.experiments.iter().filter_map(|(name, experiment)| {
        let used = &experiment.traffic;
        let plugin = registry.measures().get(used.tool.as_str())?;
        let offer = plugin.offers(&used.options, link)?;
        (!offer.of_link).then(|| (name.clone(), offer.bits_per_second))
    });
    let those = |what: fn(&dyn Testbed) -> bool| -> BTreeSet<Name> {
        let those = (registry.testbeds().iter()).filter(|(_, plugin)| what(&***plugin));
        those
            .filter_map(|(name, _)| Name::new(*name).ok())
            .collect()
    };
    CheckedStudy {
        own_defaults: own_defaults.collect(),
        offers: offers.collect(),
        digest,
        traits,
        tools,
        virtual_time: those(|testbed| testbed.virtual_time()),
        counting: (registry.measures().iter())
            .filter_map(|(name, plugin)| Some((Name::new(*name).ok()?, plugin.counting())))
            .collect(),
        installed: those(|testbed| !testbed.boots_images()),
        emulating: those(|testbed| testbed.emulates()),
        warnings: Vec::new(),
        study,
    }
}

fn internal(message: String) -> Diagnostic {
    Diagnostic {
        code: "internal".to_owned(),
        severity: Severity::Error,
        message,
        field: String::new(),
        labels: Vec::new(),
        help: None,
    }
}
