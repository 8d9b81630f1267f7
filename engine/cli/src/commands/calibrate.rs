//! The link rate of the machine at hand: known already, or measured by a small run of its own.
//!
//! What was found is kept in the store as `calibrations-v1/KEY/`: the run's folder with its raw data,
//! and `found.json` when it is whole. Its key says what it depends on: the reference point's machine
//! and traffic, and the processor of this computer. The images are looked at as well: when one was
//! built anew, so is the calibration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::{Block, Calibration, Plan};
use vexp_api::plugin::Testbed;
use vexp_api::registry::Registry;
use vexp_api::run_dir::RunDir;
use vexp_api::spec::{Calibrate, Study};
use vexp_api::units::BitRate;
use vexp_engine::build::BuiltImage;
use vexp_engine::check::CheckedStudy;
use vexp_engine::load::Loaded;
use vexp_engine::plan::{calibrate, calibration_plan};
use vexp_engine::run::dispatch::now_rfc3339;
use vexp_engine::run::files;
use vexp_engine::store::Store;
use vexp_report::calibration::{calibrated, observations};

use super::build;
use super::folder::{Measuring, Run};
use crate::args::ImageArgs;
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::progress::Progress;

/// Version of what is kept; part of the folder's name and of every key.
const FOLDER: &str = "calibrations-v1";

/// `found.json`
#[derive(Deserialize, Serialize)]
struct Kept {
    /// RFC 3339 in UTC.
    measured: String,
    /// Keys of the images that it was measured with.
    images: BTreeMap<Name, Digest>,
    calibration: Calibration,
}

/// A calibration, and where it comes from.
pub(super) struct Found {
    /// What was found.
    pub(super) calibration: Calibration,
    /// When, RFC 3339 in UTC; `None` if a plan has it already.
    pub(super) measured: Option<String>,
    /// The folder of its run, the same.
    folder: Option<PathBuf>,
}

impl Found {
    /// What stands in the plan of a run.
    pub(super) fn of_plan(calibration: Calibration) -> Self {
        Self {
            calibration,
            measured: None,
            folder: None,
        }
    }

    fn kept(kept: Kept, folder: PathBuf) -> Self {
        Self {
            calibration: kept.calibration,
            measured: Some(kept.measured),
            folder: Some(folder),
        }
    }

    /// Copies its run to `RUN/calibration`, so that a run has all that it stands on.
    pub(super) fn copy_to(&self, run: &Path) -> Result<(), Failure> {
        match &self.folder {
            Some(folder) => copy(folder, &run.join("calibration")),
            None => Ok(()),
        }
    }
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    RunDir::checked(from).or_exit(Exit::Infrastructure)?;
    files::create_dir(to).or_exit(Exit::Infrastructure)?;
    for entry in std::fs::read_dir(from).or_exit(Exit::Infrastructure)? {
        let entry = entry.or_exit(Exit::Infrastructure)?;
        let target = to.join(entry.file_name());
        if entry.file_type().or_exit(Exit::Infrastructure)?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            files::copy(&entry.path(), &target).or_exit(Exit::Infrastructure)?;
        }
    }
    Ok(())
}

/// Where calibrations are measured, below a store; a run that is still there has not ended.
pub(super) fn unfinished(store: &Path) -> PathBuf {
    store.join(FOLDER).join("unfinished")
}

/// What a calibration depends on beside its images.
#[derive(Serialize)]
struct Key<'a> {
    version: &'a str,
    asked: &'a Calibrate,
    blocks: &'a [Block],
    processor: Option<&'a String>,
    processors: Option<&'a String>,
    /// Whether hardware virtualization may be there.
    kvm: bool,
}

fn key(asked: &Calibrate, plan: &Plan) -> Result<Digest, Failure> {
    let computer = vexp_engine::run::node::facts();
    Digest::of_value(&Key {
        version: FOLDER,
        asked,
        blocks: &plan.blocks,
        processor: computer.get("processor"),
        processors: computer.get("processors"),
        kvm: Path::new("/dev/kvm").exists(),
    })
    .or_exit(Exit::Usage)
}

fn folder_of(store: &Path, key: &Digest) -> PathBuf {
    store.join(FOLDER).join(key.hex())
}

fn read(folder: PathBuf) -> Option<(Kept, PathBuf)> {
    // What can't be read is measured anew.
    let kept = files::read_json(&folder.join("found.json")).ok()?;
    Some((kept, folder))
}

/// What is asked for on a testbed, and the plan that measures it.
fn asked<'a>(
    checked: &'a CheckedStudy,
    testbed: &Name,
) -> Result<Option<(&'a Calibrate, Plan)>, Failure> {
    let asked = calibrate(checked, testbed).or_exit(Exit::Usage)?;
    let plan = calibration_plan(checked, testbed).or_exit(Exit::Usage)?;
    Ok(asked.zip(plan))
}

/// What is known of this machine without measuring; images are not looked at.
pub(super) fn known(
    checked: &CheckedStudy,
    testbed: &Name,
    store: Option<&Path>,
) -> Result<Option<Found>, Failure> {
    let Some((asked, plan)) = asked(checked, testbed)? else {
        return Ok(None);
    };
    let key = key(asked, &plan)?;
    let store = match store {
        Some(path) => Some(path.to_owned()),
        None => Store::default_root().ok(),
    };
    let kept = store.and_then(|store| read(folder_of(&store, &key)));
    Ok(kept.map(|(kept, folder)| Found::kept(kept, folder)))
}

/// What it takes to measure.
pub(super) struct Bench<'a> {
    pub(super) checked: &'a CheckedStudy,
    pub(super) loaded: &'a Loaded,
    pub(super) images: &'a ImageArgs,
    pub(super) registry: &'a Registry,
    pub(super) testbed: &'a Arc<dyn Testbed>,
    pub(super) progress: &'a Arc<Progress>,
}

impl Bench<'_> {
    /// The calibration that the study asks for: a kept one, or a new one if there is none or `anew`
    /// says so. `None` if it does not ask.
    pub(super) fn found(&self, testbed: &Name, anew: bool) -> Result<Option<Found>, Failure> {
        let Some((asked, plan)) = asked(self.checked, testbed)? else {
            return Ok(None);
        };
        let built = build::images(&plan.images, self.images, self.progress.as_ref());
        let built = built.inspect_err(|_| self.progress.finish())?;
        let images: BTreeMap<_, _> = built
            .iter()
            .map(|image| (image.name.clone(), image.key.clone()))
            .collect();
        let store = build::store(self.images)?;
        let folder = folder_of(store.root(), &key(asked, &plan)?);
        if !anew
            && let Some((kept, folder)) = read(folder.clone())
            && kept.images == images
        {
            return Ok(Some(Found::kept(kept, folder)));
        }
        render::say(&format!(
            "calibrating the link rate with {} trials of {} on {}",
            plan.trials().count(),
            asked.experiment,
            asked.platform
        ));
        let measured = self.measure(&plan, built, store.root());
        let (run, calibration) = self.evaluate(asked, &plan, measured?)?;
        let kept = Kept {
            measured: now_rfc3339(),
            images,
            calibration,
        };
        run.write("found.json", &kept)?;
        if folder.exists() {
            std::fs::remove_dir_all(&folder).or_exit(Exit::Infrastructure)?;
        }
        files::rename(&run.path, &folder).or_exit(Exit::Infrastructure)?;
        Ok(Some(Found::kept(kept, folder)))
    }

    fn measure(&self, plan: &Plan, built: Vec<BuiltImage>, store: &Path) -> Result<Run, Failure> {
        let place = unfinished(store);
        let mut run = Run::new(
            &place,
            self.checked.study(),
            (plan, None),
            self.loaded,
            &built,
        )?;
        let ended = run.trials(
            plan,
            built,
            Arc::clone(self.testbed),
            self.registry,
            &Measuring {
                on: None,
                jobs: None,
                budget: None,
                pick: None,
                progress: self.progress,
            },
        );
        self.progress.finish();
        ended.map_err(|failure| match failure.exit {
            Exit::Interrupted => Failure::new(
                Exit::Interrupted,
                "interrupted while calibrating: no trial of the study was run",
            ),
            _ => failure,
        })?;
        run.end()?;
        Ok(run)
    }

    fn evaluate(
        &self,
        asked: &Calibrate,
        plan: &Plan,
        run: Run,
    ) -> Result<(Run, Calibration), Failure> {
        let found = evaluated(self.checked.study(), asked, plan, &run.path, self.registry);
        let found = found.map_err(|mut failure| {
            let place = run.path.display();
            let text = format!("the link rate could not be calibrated; its trials are in {place}");
            failure.messages.insert(0, text);
            failure.hint(
                "look for what else this machine does and try again, or leave `calibrate` out of \
                 the study's testbed to use `factor` as it is",
            )
        })?;
        Ok((run, found))
    }
}

/// The link rate that a calibration's run gives.
fn evaluated(
    study: &Study,
    asked: &Calibrate,
    plan: &Plan,
    run: &Path,
    registry: &Registry,
) -> Result<Calibration, Failure> {
    let frames = vexp_report::frame::read(run, registry).or_exit(Exit::Infrastructure)?;
    let (nominal, processors) = reference(study, plan)
        .ok_or_else(|| Failure::new(Exit::Infrastructure, "the calibration has no machine"))?;
    let seen = observations(&frames);
    calibrated(&seen, asked, nominal, processors).or_exit(Exit::Infrastructure)
}

/// Folders of calibrations in a store that no run used that is kept, and that were not measured
/// since a moment; with those of calibrations that were not finished.
pub(super) fn unneeded(
    store: &Path,
    used: &[&Calibration],
    since: std::time::SystemTime,
) -> Vec<PathBuf> {
    let all = store.join(FOLDER);
    let folders = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.path()).collect()
    };
    let old = |folder: &PathBuf| {
        let record = folder
            .join("run.json")
            .metadata()
            .and_then(|file| file.modified());
        record.is_ok_and(|written| written < since)
    };
    let kept = folders(&all).into_iter().filter_map(read);
    let kept = kept.filter(|(kept, _)| !used.contains(&&kept.calibration));
    let unfinished = folders(&all.join("unfinished"));
    let found = kept.map(|(_, folder)| folder).chain(unfinished);
    let mut found: Vec<PathBuf> = found.filter(old).collect();
    found.sort();
    found
}

/// The calibration that a run has, computed again from its raw data. `None` if it has none.
pub(super) fn again(
    checked: &CheckedStudy,
    testbed: &Name,
    run: &Path,
    registry: &Registry,
) -> Result<Option<Calibration>, Failure> {
    let folder = run.join("calibration");
    match asked(checked, testbed)? {
        Some((asked, plan)) if folder.exists() => {
            evaluated(checked.study(), asked, &plan, &folder, registry).map(Some)
        }
        _ => Ok(None),
    }
}

/// The rate that the study gives the reference point's links, and how many processors it has here.
fn reference(study: &Study, plan: &Plan) -> Option<(BitRate, u32)> {
    let machine = &plan.blocks.first()?.machine;
    let nics = &study.hardware.get(&machine.hardware)?.nics;
    let slowest = nics.iter().map(|nic| nic.rate).min()?;
    Some((slowest, machine.cpus))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_calibration_stays_as_long_as_a_kept_run_has_it_or_it_is_young() {
        let store = tempfile::tempdir().unwrap();
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 24 * 3600);
        let keep = |name: &str, factor: f64, measured: u64| {
            let folder = store.path().join(FOLDER).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let calibration = serde_json::json!({
                "factor": factor, "interval": [0.1, 0.3], "cpu_per_mbps": 0.5, "cpu": 0.32,
                "points": [[10.0, 5.0]], "note": null,
            });
            let kept = serde_json::json!({
                "measured": "", "images": {}, "calibration": &calibration,
            });
            std::fs::write(folder.join("found.json"), kept.to_string()).unwrap();
            std::fs::write(folder.join("run.json"), "{}").unwrap();
            let record = std::fs::File::options()
                .write(true)
                .open(folder.join("run.json"))
                .unwrap();
            record.set_modified(day(measured)).unwrap();
            serde_json::from_value::<Calibration>(calibration).unwrap()
        };
        let used = keep("used", 0.1, 1);
        keep("unused", 0.2, 1);
        keep("young", 0.3, 9);
        let found = unneeded(store.path(), &[&used], day(5));
        assert_eq!(found, [store.path().join(FOLDER).join("unused")]);
        assert!(unneeded(store.path(), &[&used], day(1)).is_empty());
    }
}
