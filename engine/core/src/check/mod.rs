//! Value + registry → checked study, or all findings at once.
//!
//! First the shape of every field ([`shape`]), then the rules between fields ([`rules`]) on what
//! is left. What follows from a mistake is not reported beside the mistake.

mod calibration;
mod claims;
mod figures;
mod findings;
mod json_schema;
mod nearest;
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
    let errors = |all: &[Diagnostic]| all.iter().any(|d| d.severity == Severity::Error);
    if !errors(&findings.all) {
        findings.all.extend(loaded.contract.clone());
    }
    let all = findings.sorted();
    if errors(&all) {
        return Err(all);
    }
    let digest = match Digest::of_value(&study) {
        Ok(digest) => digest,
        Err(error) => return Err(vec![internal(error.to_string())]),
    };
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
    let those = |what: fn(&dyn Testbed) -> bool| -> BTreeSet<Name> {
        let those = (registry.testbeds().iter()).filter(|(_, plugin)| what(&***plugin));
        those
            .filter_map(|(name, _)| Name::new(*name).ok())
            .collect()
    };
    Ok(CheckedStudy {
        study,
        digest,
        traits,
        tools,
        virtual_time: those(|testbed| testbed.virtual_time()),
        counting: (registry.measures().iter())
            .filter_map(|(name, plugin)| Some((Name::new(*name).ok()?, plugin.counting())))
            .collect(),
        installed: those(|testbed| !testbed.boots_images()),
        warnings: all,
    })
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
