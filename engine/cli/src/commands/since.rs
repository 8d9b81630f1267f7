//! `--since RUN`: which trials an earlier run has measured already, and taking them over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::{self, Deviation, Estimate, Plan};
use vexp_api::record::{self, Outcome};
use vexp_engine::build::{BuiltImage, Manifest as ImageManifest};
use vexp_engine::check::CheckedStudy;
use vexp_engine::load::Loaded;
use vexp_engine::plan::estimate;
use vexp_engine::plan::since::{Before, Side, Since, since};
use vexp_engine::run::taken::{Source, TakeError};

use super::build;
use super::folder::resumable;
use crate::args::Format;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// The version of [`SinceDocument`]'s format.
const FORMAT: u32 = 1;

/// What `vexp plan --since RUN --format json` prints.
#[derive(Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct SinceDocument<'a> {
    /// `1`; a reader refuses any other.
    format: u32,
    /// The earlier run.
    run: &'a Name,
    #[serde(flatten)]
    since: &'a Since,
    /// What the trials cost that are to be measured.
    rest: Estimate,
}

/// An earlier run of the study.
pub(super) struct Earlier {
    source: Source,
    plan: Plan,
    study: serde_json::Value,
    images: BTreeMap<Name, ImageManifest>,
}

impl Earlier {
    /// Reads a run, which must be of the study that is planned.
    pub(super) fn open(path: &Path, planned: &Plan) -> Result<Self, Failure> {
        super::report::is_run(path)?;
        let source = Source::open(path).or_exit(Exit::Usage)?;
        let plan: Plan = source.dir().read_json("plan.json").or_exit(Exit::Usage)?;
        for (file, found, known) in [
            ("run.json", source.record().format, record::FORMAT),
            ("plan.json", plan.format, plan::FORMAT),
        ] {
            if found != known {
                let message = format!(
                    "{file} of {} has format {found}, and this vexp reads {known}",
                    path.display()
                );
                return Err(Failure::new(Exit::Usage, message));
            }
        }
        if plan.study != planned.study {
            let (of, wanted) = (&plan.study, &planned.study);
            let message = format!(
                "{} is a run of study `{of}`, not of `{wanted}`",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, message)
                .hint("--since takes a run of this study as it was before the edit"));
        }
        Ok(Self {
            study: source.dir().read_json("study.json").or_exit(Exit::Usage)?,
            images: source.dir().read_json("images.json").or_exit(Exit::Usage)?,
            source,
            plan,
        })
    }

    /// Holds a new plan against it. `images` are what is known of the new plan's, by `of`.
    fn compare(
        &self,
        (checked, loaded): (&CheckedStudy, &Loaded),
        plan: &Plan,
        images: &BTreeMap<Name, Digest>,
        of: fn(&ImageManifest) -> Digest,
    ) -> Result<Since, Failure> {
        let record = self.source.record();
        let virtual_time = checked.virtual_time(&plan.testbed);
        let nothing = BTreeMap::new();
        let here = vexp_engine::run::node::facts();
        // In virtual time the computer has no part in a result.
        let (then, now) = match virtual_time {
            true => (&nothing, &nothing),
            false => (&record.controller, &here),
        };
        let known: BTreeMap<Name, Digest> = (self.images.iter())
            .map(|(name, manifest)| (name.clone(), of(manifest)))
            .collect();
        let study = serde_json::to_value(checked.study()).or_exit(Exit::Usage)?;
        let old = Side {
            plan: &self.plan,
            study: &self.study,
            vexp: &record.vexp,
            images: &known,
            controller: then,
        };
        let new = Side {
            plan,
            study: &study,
            vexp: crate::VERSION,
            images,
            controller: now,
        };
        let states = self.states(plan)?;
        let before = |trial: &Name| {
            let state = states.get(trial).cloned();
            state.unwrap_or_else(|| Before::NotMeasured("it was not measured".to_owned()))
        };
        let mut found = since(&old, &new, &before, virtual_time);
        found.locate(&loaded.spans);
        Ok(found)
    }

    /// What became of the trials that are planned again.
    fn states(&self, plan: &Plan) -> Result<BTreeMap<Name, Before>, Failure> {
        let mut states = BTreeMap::new();
        for trial in plan.trials() {
            let record = self
                .source
                .trial(&trial.id)
                .map_err(|error| damaged(&error))?;
            let Some(record) = record else {
                continue;
            };
            let state = match record.outcome {
                Outcome::Measured => Before::Measured,
                Outcome::Invalid { reason, .. } => {
                    Before::NotMeasured(format!("it was invalid: {reason}"))
                }
                Outcome::Failed { error } => {
                    let first = error.lines().next().unwrap_or_default();
                    Before::NotMeasured(format!("it failed: {first}"))
                }
            };
            states.insert(trial.id.clone(), state);
        }
        Ok(states)
    }

    /// Which of a plan's trials are still valid, with the images that it is going to be measured with.
    pub(super) fn valid(
        &self,
        study: (&CheckedStudy, &Loaded),
        plan: &Plan,
        built: &[BuiltImage],
    ) -> Result<BTreeSet<Name>, Failure> {
        let images = built.iter();
        let images = images.map(|image| (image.name.clone(), image.manifest.digest()));
        let found = self.compare(study, plan, &images.collect(), ImageManifest::digest)?;
        render::say(&render::since::short(&self.source.record().id, &found));
        Ok(found.valid.into_iter().collect())
    }

    /// Copies trials into a new run's folder: where each was measured.
    pub(super) fn take(
        &self,
        trials: &BTreeSet<Name>,
        plan: &Plan,
        into: &Path,
    ) -> Result<Vec<record::Taken>, Failure> {
        let taken = self.source.take(trials, plan, into);
        taken.map_err(|error| damaged(&error))
    }
}

fn damaged(error: &TakeError) -> Failure {
    let exit = match error {
        TakeError::File(_) => Exit::Infrastructure,
        _ => Exit::Unreadable,
    };
    Failure::of(exit, error).hint(
        "nothing is taken over from a run that was changed: measure all of it, without --since",
    )
}

/// That trials were taken over, as a report lists it.
pub(super) fn deviations(taken: &[record::Taken], all: usize) -> Vec<Deviation> {
    let one = |taken: &record::Taken| Deviation {
        subject: format!("{} of {all} trials", taken.trials.len()),
        property: "measured by".to_owned(),
        asked: "this run".to_owned(),
        used: format!("run {}, started {}", taken.run, taken.started),
        reason: format!(
            "they were taken over (--since), since nothing that they depend on was edited; its run.json is {}",
            taken.digest
        ),
    };
    taken.iter().map(one).collect()
}

/// `vexp plan STUDY --since RUN`.
pub(super) fn plan(
    run: &Path,
    study: (&CheckedStudy, &Loaded),
    plan: &Plan,
    store: Option<&Path>,
    format: Format,
) -> Result<Exit, Failure> {
    let earlier = Earlier::open(run, plan)?;
    let images = build::keys(&plan.images, store);
    let found = earlier.compare(study, plan, &images, |manifest| manifest.key.clone())?;
    let rest = found.rest();
    let virtual_time = study.0.virtual_time(&plan.testbed);
    let rest = estimate::of_part(plan, virtual_time, &|trial| rest.contains(trial));
    let run = &earlier.source.record().id;
    match format {
        Format::Text => {
            if images.is_empty() && !plan.images.is_empty() {
                render::say(
                    "note: images were not compared, since there is no store yet; `vexp run --since` does",
                );
            }
            let to_build = build::to_build(&plan.images, store);
            render::out(&render::since::text(run, &found, (&rest, to_build, plan)));
        }
        Format::Json => {
            let document = SinceDocument {
                format: FORMAT,
                run,
                since: &found,
                rest,
            };
            let text = serde_json::to_string_pretty(&document).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
    }
    Ok(Exit::Fine)
}

/// Opens the run of `--since`, before anything is built.
pub(super) fn asked(run: Option<&Path>, plan: &Plan) -> Result<Option<Earlier>, Failure> {
    let Some(run) = run else {
        return Ok(None);
    };
    // A run that measures must not read what somebody else could put there.
    let run = resumable(run)?;
    Earlier::open(&run, plan).map(Some)
}
