//! From the command line to a checked study and a plan.

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::diagnostic::Diagnostic;
use vexp_api::exit::Exit;
use vexp_api::plan::{Calibration, Plan};
use vexp_api::registry::Registry;
use vexp_engine::check::{CheckedStudy, check};
use vexp_engine::load::{LoadError, Loaded, Loader};
use vexp_engine::plan::{PlanError, plan, plan_until_decided};

use crate::args::{Chosen, Until};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Evaluates studies, and keeps what came of it beside the images.
pub(super) fn loader() -> Loader {
    let root = vexp_engine::store::Store::default_root().ok();
    Loader::new(crate::executable()).cached(root.map(|root| root.join("specs-v1")))
}

/// Loads and checks a study. Findings are printed; warnings let it pass.
pub(super) fn checked(file: &Path, registry: &Registry) -> Result<(CheckedStudy, Loaded), Failure> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let say = |findings: &[Diagnostic], sources: &BTreeMap<String, String>| {
        let text = render::findings::text(findings, sources, folder, render::colour());
        render::say(&text);
    };
    let loaded = match loader().study(file, registry) {
        Ok(loaded) => loaded,
        Err(LoadError::Findings(_, found)) => {
            say(&found.findings, &found.sources);
            return Err(Failure::said(Exit::Usage));
        }
        Err(error) => return Err(Failure::of(Exit::Usage, &error)),
    };
    match check(&loaded, registry) {
        Ok(study) => {
            if !study.warnings().is_empty() {
                say(study.warnings(), &loaded.sources);
            }
            Ok((study, loaded))
        }
        Err(findings) => {
            say(&findings, &loaded.sources);
            Err(Failure::said(Exit::Usage))
        }
    }
}

/// Plans a checked study as the command line says, at the link rate that was found for this machine
/// if there is one.
pub(super) fn planned(
    study: &CheckedStudy,
    args: &Chosen,
    calibration: Option<&Calibration>,
) -> Result<Plan, Failure> {
    let only = args.only.as_deref();
    let testbed = args.testbed(study.study()).or_exit(Exit::Usage)?;
    let planned = match args.until {
        None => plan(study, &testbed, &args.effort, only, calibration),
        Some(Until::Decided) => {
            plan_until_decided(study, &testbed, &args.effort, only, calibration)
        }
    };
    planned.map_err(|error| {
        let failure = Failure::of(Exit::Usage, &error);
        match &error {
            PlanError::BadGlob { .. } => {
                failure.hint("--only takes a pattern such as 'send-tcp.xen-*'")
            }
            PlanError::Nothing(_) if args.only.is_some() => failure.hint(format!(
                "--only is matched against whole ids; `vexp plan {}` lists them",
                args.file.display()
            )),
            // These say what there is.
            PlanError::NoEffort(..)
            | PlanError::NoTestbed(..)
            | PlanError::Nothing(_)
            | PlanError::Large
            | PlanError::Looks(_)
            | PlanError::Id(_) => failure,
        }
    })
}
