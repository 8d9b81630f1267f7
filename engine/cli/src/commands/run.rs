//! `vexp run` and `vexp reproduce`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vexp_api::event::{Event, EventSink as _};
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::{Deviation, Plan};
use vexp_api::plugin::ImageFiles;
use vexp_api::record::{self, RunRecord};
use vexp_api::registry::Registry;
use vexp_api::spec::Study;
use vexp_engine::build::BuiltImage;
use vexp_engine::load::Loaded;
use vexp_engine::run::dispatch::{self, RunError, RunRequest, RunSummary, now_rfc3339};
use vexp_engine::run::files;

use super::{build, report, study};
use crate::args::{ImageArgs, RunsArgs, StudyArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::progress::Progress;

/// What follows the trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: `vexp run`.
    Stop,
    /// Report and claims table: `vexp reproduce`.
    Report,
}

pub(super) fn run(
    study_args: &StudyArgs,
    image_args: &ImageArgs,
    runs: &RunsArgs,
    registry: &Registry,
    then: Then,
) -> Result<Exit, Failure> {
    let (checked, loaded) = study::checked(&study_args.file, registry)?;
    let plan = study::planned(&checked, study_args)?;
    let testbed = registry
        .testbeds()
        .get(plan.testbed.as_str())
        .cloned()
        .ok_or_else(|| {
            let known: Vec<&str> = registry.testbeds().keys().copied().collect();
            Failure::new(
                Exit::Usage,
                format!("there is no testbed `{}` in this binary", plan.testbed),
            )
            .hint(format!("there is: {}", known.join(", ")))
        })?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            Exit::Infrastructure,
            "building images and running labs need root (mounts, namespaces, taps)",
        )
        .hint("run it again with sudo; `vexp check`, `plan`, `parse` and `report` don't need it"));
    }
    let progress = Arc::new(Progress::new());
    let built = build::images(&plan.images, image_args, progress.as_ref());
    let built = built.inspect_err(|_| progress.finish())?;
    let run = match &runs.resume {
        Some(path) => Run::again(path, &plan)?,
        None => Run::new(&runs.runs, checked.study(), &plan, &loaded, &built)?,
    };
    let images = built
        .into_iter()
        .map(|image| (image.name, image.files))
        .collect();
    let ended = run.trials(&plan, &images, testbed, &progress);
    progress.finish();
    let summary = ended?;
    run.end()?;
    let verdicts = match then {
        Then::Stop => {
            render::out(&format!("{}\n", run.path.display()));
            render::say(&format!("next: vexp report {}", run.path.display()));
            Exit::Fine
        }
        Then::Report => report::claims(&run.path, None, registry)?,
    };
    Ok(exit(summary, verdicts))
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

/// A run's folder.
struct Run {
    id: Name,
    path: PathBuf,
    record: RunRecord,
}

impl Run {
    fn new(
        runs: &Path,
        study: &Study,
        plan: &Plan,
        loaded: &Loaded,
        built: &[BuiltImage],
    ) -> Result<Self, Failure> {
        let id = run_id(&plan.study)?;
        let path = runs.join(id.as_str());
        files::create_dir(&path).or_exit(Exit::Infrastructure)?;
        // Workers get this path and may stand elsewhere.
        let path = path.canonicalize().or_exit(Exit::Infrastructure)?;
        let record = RunRecord {
            format: record::FORMAT,
            id: id.clone(),
            vexp: env!("CARGO_PKG_VERSION").to_owned(),
            started: now_rfc3339(),
            ended: None,
            controller: controller(),
            deviations: built.iter().filter_map(image_deviation).collect(),
        };
        let run = Self { id, path, record };
        run.write("study.json", study)?;
        run.write("plan.json", plan)?;
        let manifests: BTreeMap<_, _> = built
            .iter()
            .map(|image| (image.name.clone(), &image.manifest))
            .collect();
        run.write("images.json", &manifests)?;
        for (name, text) in &loaded.sources {
            let target = run.path.join("source").join(name);
            files::create_dir(target.parent().unwrap_or(&run.path))
                .or_exit(Exit::Infrastructure)?;
            files::write_atomic(&target, text.as_bytes()).or_exit(Exit::Infrastructure)?;
        }
        run.write("run.json", &run.record)?;
        Ok(run)
    }

    /// A run that was cut short. Its plan must be the one that would be run now.
    fn again(path: &Path, plan: &Plan) -> Result<Self, Failure> {
        let path = path.canonicalize().or_exit(Exit::Usage)?;
        let record: RunRecord = files::read_json(&path.join("run.json")).or_exit(Exit::Usage)?;
        let stored: Plan = files::read_json(&path.join("plan.json")).or_exit(Exit::Usage)?;
        if stored != *plan {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} has another plan than this study has now",
                    path.display()
                ),
            )
            .hint("give the same study, effort, testbed and --only, or start a new run"));
        }
        Ok(Self {
            id: record.id.clone(),
            path,
            record,
        })
    }

    fn write<T: serde::Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), Failure> {
        files::write_json(&self.path.join(name), value).or_exit(Exit::Infrastructure)
    }

    fn end(&self) -> Result<(), Failure> {
        let record = RunRecord {
            ended: Some(now_rfc3339()),
            ..self.record.clone()
        };
        self.write("run.json", &record)
    }

    fn trials(
        &self,
        plan: &Plan,
        images: &BTreeMap<Name, ImageFiles>,
        testbed: Arc<dyn vexp_api::plugin::Testbed>,
        progress: &Arc<Progress>,
    ) -> Result<RunSummary, Failure> {
        progress.event(&Event::RunStarted {
            run: self.id.clone(),
            trials: plan.trials().count(),
            estimate_s: plan.estimate.run.secs_f64(),
        });
        let (stop, cancel) = watch::channel(false);
        let request = RunRequest {
            plan,
            images,
            run: &self.path,
            id: &self.id,
            testbed,
            executable: crate::executable(),
            events: Arc::clone(progress) as _,
            cancel,
        };
        let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
        let ended = runtime.block_on(async {
            tokio::spawn(stop_on_signals(stop));
            dispatch::run(&request).await
        });
        match ended {
            Ok(summary) => Ok(summary),
            Err(RunError::Interrupted) => Err(Failure::new(
                Exit::Interrupted,
                "interrupted; what was measured is kept",
            )
            .hint(format!("finish it with --resume {}", self.path.display()))),
            Err(error) => Err(Failure::of(Exit::Infrastructure, &error)),
        }
    }
}

/// The first SIGINT or SIGTERM asks for an orderly end, the second ends this process at once; labs
/// end with it either way.
async fn stop_on_signals(stop: watch::Sender<bool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    for signals in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if signals == 0 {
            // Nobody waits for it any more: then the run is over.
            let _ = stop.send(true);
        } else {
            // Cannot fail: the process exists.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }
}

/// `STUDY-YYYYMMDD-HHMMSS-xxxx`: the last part keeps runs of the same second apart.
fn run_id(study: &Name) -> Result<Name, Failure> {
    let now = now_rfc3339();
    let digits: String = now.chars().filter(char::is_ascii_digit).collect();
    let (date, time) = (&digits[..8], &digits[8..14]);
    let salt = vexp_api::digest::Digest::of(format!("{now} {}", std::process::id()).as_bytes());
    Name::new(format!("{study}-{date}-{time}-{}", &salt.hex()[..4])).or_exit(Exit::Usage)
}

fn image_deviation(image: &BuiltImage) -> Option<Deviation> {
    Some(Deviation {
        subject: format!("image {}", image.name),
        property: "packages".to_owned(),
        asked: "those of the lock file".to_owned(),
        used: image.deviation.clone()?,
        reason: "the mirror no longer has the locked ones".to_owned(),
    })
}

/// What this machine is, for the record.
fn controller() -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| {
        facts.insert(
            name.to_owned(),
            value.unwrap_or_else(|| "unknown".to_owned()),
        );
    };
    let release = read("/proc/sys/kernel/osrelease");
    add(
        "kernel",
        Some(release.trim().to_owned()).filter(|r| !r.is_empty()),
    );
    add("processor", field(&read("/proc/cpuinfo"), "model name"));
    add(
        "processors",
        std::thread::available_parallelism()
            .ok()
            .map(|n| n.to_string()),
    );
    add("memory", field(&read("/proc/meminfo"), "MemTotal"));
    facts
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
