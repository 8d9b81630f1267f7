//! What stands before the measuring, computed again: the study from its files, the plan from the
//! study, the link rate from the calibration's raw data, and the images' keys from their manifests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_engine::build::Manifest as ImageManifest;
use vexp_engine::bundle::BundlePath;
use vexp_engine::check::{CheckedStudy, check};
use vexp_engine::load::{LoadError, Loader};
use vexp_engine::plan::plan;
use vexp_engine::run::files;
use vexp_report::bundle::main_file;
use vexp_report::run::Run;

use crate::commands::calibrate;
use crate::error::{Failure, OrExit as _};

pub(super) const STUDY: &str = "run/study.json";
pub(super) const PLAN: &str = "run/plan.json";
pub(super) const IMAGES: &str = "run/images.json";

/// A file, and what in it does not follow from what it should.
pub(super) type Finding = (&'static str, String);

/// The main file of a run's study.
pub(super) fn main(run: &Run) -> Result<PathBuf, Failure> {
    let folder = run.dir.join("source");
    let mut names = Vec::new();
    match &run.record.main {
        // A path that leads out of the folder would make a study of a file that nobody looked at.
        Some(main) if BundlePath::new(main).is_err() => {
            let message = format!(
                "run.json says that the study is {}, which is no path below {}",
                main.escape_debug(),
                folder.display()
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        Some(main) if folder.join(main).is_file() => names.push(main.clone()),
        Some(_) => {}
        None => {
            for entry in std::fs::read_dir(&folder).or_exit(Exit::Usage)? {
                names.extend(entry.or_exit(Exit::Usage)?.file_name().into_string());
            }
        }
    }
    let main = main_file(&run.record, names.iter().map(String::as_str));
    main.map(|main| folder.join(main)).ok_or_else(|| {
        let message = format!("{} does not say which file is the study", folder.display());
        Failure::new(Exit::Usage, message)
    })
}

/// Everything that does not follow.
pub(super) fn findings(run: &Run, registry: &Registry) -> Vec<Finding> {
    let mut findings = Vec::new();
    match evaluated(run, registry) {
        Err(why) => findings.push((STUDY, why)),
        Ok(checked) => {
            if *checked.study() != run.study {
                findings.push((STUDY, "is not what the study's files say".to_owned()));
            }
            let why = planned(&checked, run).err();
            let why = why.or_else(|| calibration(&checked, run, registry).err());
            findings.extend(why.map(|why| (PLAN, why)));
        }
    }
    findings.extend(images(run).err().map(|why| (IMAGES, why)));
    findings
}

/// The study, evaluated in a bounded child as any study is, and not taken from a cache.
fn evaluated(run: &Run, registry: &Registry) -> Result<CheckedStudy, String> {
    let main = main(run).map_err(|failure| failure.messages.join(": "))?;
    let refused = |findings: &[vexp_api::diagnostic::Diagnostic]| match findings.first() {
        Some(first) => format!("its files can't be evaluated: {}", first.message),
        None => "its files can't be evaluated".to_owned(),
    };
    let loaded = Loader::new(crate::executable()).study(&main, registry);
    let loaded = loaded.map_err(|error| match error {
        LoadError::Findings(_, found) => refused(&found.findings),
        error => error.to_string(),
    })?;
    check(&loaded, registry).map_err(|found| refused(&found))
}

fn planned(checked: &CheckedStudy, run: &Run) -> Result<(), String> {
    let stored = &run.plan;
    let only = run.record.only.as_deref();
    let found = stored.calibration.as_ref();
    let new = plan(checked, &stored.testbed, &stored.effort, only, found);
    let new = new.map_err(|error| format!("cannot be made again: {error}"))?;
    match new == *stored {
        true => Ok(()),
        false => Err("is not the plan of this study".to_owned()),
    }
}

fn calibration(checked: &CheckedStudy, run: &Run, registry: &Registry) -> Result<(), String> {
    let again =
        calibrate::again(checked, &run.plan.testbed, &run.dir, registry).map_err(|failure| {
            format!(
                "its link rate can't be found again: {}",
                failure.messages.join(": ")
            )
        })?;
    match (again, &run.plan.calibration) {
        // The factor is all that the plan takes of it.
        (Some(again), Some(stored)) if again.factor != stored.factor => Err(format!(
            "has a link rate of factor {}, and the calibration's raw data give {}",
            stored.factor, again.factor
        )),
        _ => Ok(()),
    }
}

fn images(run: &Run) -> Result<(), String> {
    let manifests: BTreeMap<Name, ImageManifest> =
        files::read_json(&run.dir.join("images.json")).map_err(|error| error.to_string())?;
    match manifests.values().find(|manifest| !manifest.key_is_right()) {
        Some(wrong) => Err(format!(
            "image {} has not the key of what it was built of",
            wrong.name
        )),
        None => Ok(()),
    }
}
