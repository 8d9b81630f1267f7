//! `vexp run` and `vexp reproduce`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::plugin::Testbed;
use vexp_api::record::RunRecord;
use vexp_api::registry::Registry;
use vexp_api::spec::Study;
use vexp_engine::build::BuiltImage;
use vexp_engine::run::dispatch::RunSummary;
use vexp_engine::run::files;

use super::batch::On;
use super::calibrate::{self, Found};
use super::folder::{Measuring, Run, resumable, side_by_side};
use super::pick::{self, Pick};
use super::{build, identity, looks, preflight, report, since, study, trust};
use crate::args::{Chosen, Expected, ImageArgs, RunsArgs, StudyArgs, Until};
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::progress::Progress;

/// What follows the trials.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// Nothing: `vexp run`.
    Stop,
    /// Report and claims table: `vexp reproduce`; with the results that there should be.
    Report(Option<Expected>),
}

pub(super) fn run(
    study_args: &StudyArgs,
    image_args: &ImageArgs,
    runs: &RunsArgs,
    registry: &Registry,
    then: Then,
) -> Result<Exit, Failure> {
    // What is wrong with the command line is said before anything is measured.
    if let Then::Report(Some(Expected::Run(other))) = &then {
        report::is_run(other)?;
    }
    let same = matches!(then, Then::Report(Some(_)));
    let chosen = match &runs.resume {
        Some(run) => as_begun(study_args, run)?,
        None => study_args.chosen().or_exit(Exit::Usage)?,
    };
    let measured = measure(&chosen, image_args, runs, same, registry)?;
    let run = &measured.run;
    let verdicts = match then {
        Then::Stop => {
            render::out(&format!("{}\n", run.display()));
            render::say(&format!("next: vexp report {}", run.display()));
            Exit::Fine
        }
        Then::Report(expected) => {
            // What the results were compared with stands in the report.
            let held = match measured.virtual_time {
                true => Some(identity::hold(run, (&chosen, expected.as_ref()), registry)?),
                false => None,
            };
            let verdicts = report::claims(run, registry)?;
            held.map_or(verdicts, |held| held.say(verdicts))
        }
    };
    Ok(exit(measured.summary, verdicts))
}

/// A run that has ended.
pub(super) struct Measured {
    /// Its folder.
    pub(super) run: PathBuf,
    /// How many trials were measured.
    pub(super) summary: RunSummary,
    /// Whether its time was virtual.
    virtual_time: bool,
    /// Claims that were left out for lack of time, or that can't be told here, and why.
    pub(super) left_out: BTreeMap<Name, String>,
}

/// A bundle that is measured again.
pub(super) struct Again {
    pub(super) bundle: Digest,
    /// Only what tells most within this time.
    pub(super) budget: Option<Duration>,
}

/// Runs what the command line says; with `same` only where results can be the same twice.
pub(super) fn measure(
    chosen: &Chosen,
    image_args: &ImageArgs,
    runs: &RunsArgs,
    same: bool,
    registry: &Registry,
) -> Result<Measured, Failure> {
    measured(chosen, image_args, runs, (same, None), registry)
}

/// Measures a bundle again, after saying what that takes.
pub(super) fn measure_again(
    chosen: &Chosen,
    image_args: &ImageArgs,
    runs: &RunsArgs,
    again: &Again,
    registry: &Registry,
) -> Result<Measured, Failure> {
    measured(chosen, image_args, runs, (false, Some(again)), registry)
}

fn measured(
    chosen: &Chosen,
    image_args: &ImageArgs,
    runs: &RunsArgs,
    (same, again): (bool, Option<&Again>),
    registry: &Registry,
) -> Result<Measured, Failure> {
    runs.machines.tell(registry);
    let (checked, loaded) = study::checked(&chosen.file, registry)?;
    let mut plan = study::planned(&checked, chosen, None)?;
    let testbed = testbed(&plan, registry)?;
    may_run(&plan, testbed.as_ref(), (same, runs.trust))?;
    let virtual_time = testbed.virtual_time();
    looks::can_be_taken(&plan, checked.study(), runs.budget)?;
    let on = On::chosen(runs, image_args, checked.study(), registry)?;
    let earlier = since::asked(runs.since.as_deref(), &plan)?;
    let progress = Arc::new(Progress::new());
    let bench = calibrate::Bench {
        checked: &checked,
        loaded: &loaded,
        images: image_args,
        registry,
        testbed: &testbed,
        progress: &progress,
    };
    let found = match &runs.resume {
        Some(path) => resumed(path)?,
        None => bench.found(&plan.testbed, runs.recalibrate)?,
    };
    if let Some(found) = &found {
        plan = study::planned(&checked, chosen, Some(&found.calibration))?;
        render::say(&render::plan::link(&plan, None, found.measured.as_deref()));
    }
    let pick = match again {
        Some(again) => picked(
            &plan,
            (checked.study(), &testbed),
            again,
            (runs, image_args),
        )?,
        None => None,
    };
    let deviations = preflight::deviations(&testbed, &plan, registry)?;
    let built = match plan.images.as_slice() {
        [] => Ok(Vec::new()),
        names => build::images(names, image_args, progress.as_ref()),
    };
    let built = built.inspect_err(|_| progress.finish())?;
    let valid = match &earlier {
        Some(earlier) => Some(earlier.valid((&checked, &loaded), &plan, &built)?),
        None => None,
    };
    let mut run = match &runs.resume {
        Some(path) => Run::again(path, &plan)?,
        None => {
            let only = chosen.only.as_deref();
            Run::new(&runs.runs, checked.study(), (&plan, only), &loaded, &built)?
        }
    };
    if let Some(found) = &found {
        found.copy_to(&run.path)?;
    }
    if let Some(earlier) = earlier {
        let valid = valid.unwrap_or_default();
        run.take_over(&earlier, &valid, &plan)?;
    }
    if let Some(again) = again {
        run.measures_again(&again.bundle);
    }
    run.deviate(deviations)?;
    registered(&run, image_args, &plan, &built)?;
    let measuring = Measuring {
        on: on.as_ref(),
        jobs: runs.jobs,
        budget: runs.budget,
        pick: pick.as_ref(),
        progress: &progress,
    };
    let ended = run.trials(&plan, built, testbed, registry, &measuring);
    progress.finish();
    let summary = ended?;
    run.end()?;
    Ok(Measured {
        run: run.path,
        summary,
        virtual_time,
        left_out: pick.map(|pick| pick.left_out()).unwrap_or_default(),
    })
}

/// Refuses what can't be run on a testbed, or not by this user, before anything is done.
fn may_run(plan: &Plan, testbed: &dyn Testbed, (same, trust): (bool, bool)) -> Result<(), Failure> {
    if let Some(why) = (plan.blocks.iter()).find_map(|block| testbed.refuses(&block.machine)) {
        return Err(Failure::new(Exit::Usage, why).hint(format!(
            "a rule of the study for testbed `{}` can say what is used there: testbeds.{0}.hardware",
            plan.testbed
        )));
    }
    if testbed.needs_root() && !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            Exit::Infrastructure,
            format!("testbed `{}` needs root, for mounts and taps", plan.testbed),
        )
        .hint("run it again with sudo, or in virtual time: --testbed virtual"));
    }
    trust::required(plan, testbed, trust)?;
    if same && !testbed.virtual_time() {
        let text = format!("on testbed `{}` no two runs are the same", plan.testbed);
        return Err(Failure::new(Exit::Usage, text)
            .hint("--expect goes with --testbed virtual; `vexp compare` compares other runs"));
    }
    Ok(())
}

/// Lets the store know of a run, and that its images are in use.
fn registered(
    run: &Run,
    images: &ImageArgs,
    plan: &Plan,
    built: &[BuiltImage],
) -> Result<(), Failure> {
    let store = build::store(images)?;
    store
        .register(run.id(), &run.path)
        .or_exit(Exit::Infrastructure)?;
    if !store.is_writable() && !plan.images.is_empty() {
        render::say(&format!(
            "note: {} can't be written to, so that `vexp gc` of its owner does not know of this run",
            store.root().display()
        ));
    }
    built.iter().for_each(|image| store.used(&image.key));
    Ok(())
}

/// Says what measuring a bundle again takes, and chooses its trials where there is a time for it.
fn picked(
    plan: &Plan,
    (study, testbed): (&Study, &Arc<dyn Testbed>),
    again: &Again,
    (runs, images): (&RunsArgs, &ImageArgs),
) -> Result<Option<Pick>, Failure> {
    let jobs = side_by_side(plan, &**testbed, runs.jobs)?;
    let how = (testbed.virtual_time(), jobs);
    let pick = again
        .budget
        .map(|budget| Pick::new(plan, study, how, budget));
    let pick = pick.transpose()?;
    let (wanted, left) = pick::wanted(plan, pick.as_ref(), runs.resume.as_deref());
    if left == 0 {
        render::say(&format!("all {wanted} trials are measured already"));
        return Ok(pick);
    }
    if left < wanted {
        let done = wanted - left;
        render::say(&format!("{done} of {wanted} trials are measured already"));
    }
    let store = build::store(images)?;
    let to_build = build::to_build(&plan.images, images.store.as_deref());
    let folder = runs.resume.as_deref().unwrap_or(&runs.runs);
    // Where it is not there yet, its own words will do.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let places = (folder.as_path(), store.root());
    pick::announce(plan, (pick.as_ref(), jobs), to_build, places);
    Ok(pick)
}

/// The plan's testbed.
pub(in crate::commands) fn testbed(
    plan: &Plan,
    registry: &Registry,
) -> Result<Arc<dyn Testbed>, Failure> {
    let all = registry.testbeds();
    all.get(plan.testbed.as_str()).cloned().ok_or_else(|| {
        let known: Vec<&str> = all.keys().copied().collect();
        Failure::new(
            Exit::Usage,
            format!("there is no testbed `{}` in this binary", plan.testbed),
        )
        .hint(format!("there is: {}", known.join(", ")))
    })
}

/// What is left of a run that was begun: what the command line leaves open is the run's.
fn as_begun(given: &StudyArgs, run: &Path) -> Result<Chosen, Failure> {
    let path = resumable(run)?;
    let plan: Plan = files::read_json(&path.join("plan.json")).or_exit(Exit::Usage)?;
    let record: RunRecord = files::read_json(&path.join("run.json")).or_exit(Exit::Usage)?;
    let begun = Chosen {
        file: given.file.clone(),
        effort: plan.effort,
        testbed: Some(plan.testbed),
        only: record.only,
        until: (!plan.looks.is_empty()).then_some(Until::Decided),
    };
    let until = |until: Option<Until>| until.map(|Until::Decided| "decided".to_owned());
    let text = |name: &Name| Some(name.to_string());
    for (option, given, begun) in [
        (
            "--effort",
            given.effort.as_ref().and_then(text),
            text(&begun.effort),
        ),
        (
            "--testbed",
            given.testbed.as_ref().and_then(text),
            begun.testbed.as_ref().and_then(text),
        ),
        ("--only", given.only.clone(), begun.only.clone()),
        ("--until", until(given.until), until(begun.until)),
    ] {
        if given.is_some() && given != begun {
            let so = begun.map_or_else(
                || format!("without {option}"),
                |it| format!("with {option} {it}"),
            );
            let message = format!("{} was started {so}", path.display());
            return Err(Failure::new(Exit::Usage, message).hint(format!(
                "leave {option} out to finish it, or --resume to start a new run"
            )));
        }
    }
    Ok(begun)
}

/// The calibration of a run that was begun: what is left of it must have the same links.
fn resumed(path: &Path) -> Result<Option<Found>, Failure> {
    let path = resumable(path)?;
    let plan: Plan = files::read_json(&path.join("plan.json")).or_exit(Exit::Usage)?;
    Ok(plan.calibration.map(Found::of_plan))
}

/// Nothing measured is the testbed's failure; something that is missing makes the run incomplete,
/// unless the verdicts say worse.
fn exit(summary: RunSummary, verdicts: Exit) -> Exit {
    match summary {
        RunSummary { measured: 0, .. } => Exit::Infrastructure,
        RunSummary { not_measured, .. } if not_measured > 0 && verdicts == Exit::Fine => {
            Exit::Incomplete
        }
        _ => verdicts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_shows_in_the_exit_code() {
        let of = |measured, not_measured, verdicts| {
            let summary = RunSummary {
                measured,
                not_measured,
            };
            exit(summary, verdicts)
        };
        assert_eq!(of(3, 0, Exit::Fine), Exit::Fine);
        assert_eq!(of(3, 1, Exit::Fine), Exit::Incomplete);
        assert_eq!(of(3, 1, Exit::Refuted), Exit::Refuted);
        assert_eq!(of(0, 4, Exit::Incomplete), Exit::Infrastructure);
    }
}
