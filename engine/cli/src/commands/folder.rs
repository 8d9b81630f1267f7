//! A run's folder: made for a plan, or taken up again, and filled with trials.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vexp_api::digest::Digest;
use vexp_api::event::{Event, EventSink as _};
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::modes::{Others, only_ours};
use vexp_api::plan::{Deviation, Plan};
use vexp_api::plugin::{ImageFiles, Testbed};
use vexp_api::record::{self, RunRecord};
use vexp_api::registry::Registry;
use vexp_api::run_dir::RunDir;
use vexp_api::spec::Study;
use vexp_engine::build::BuiltImage;
use vexp_engine::load::Loaded;
use vexp_engine::plan::estimate::{self, BlockCost};
use vexp_engine::run::dispatch::{self, RunError, RunRequest, RunSummary, Stages, now_rfc3339};
use vexp_engine::run::lock::RunLock;
use vexp_engine::run::{files, leftovers, node};

use super::batch::{self, On};
use super::looks::Looks;
use super::pick::Pick;
use super::since::{self, Earlier};
use crate::error::{Failure, OrExit as _};
use crate::render::progress::Progress;

/// How trials are run.
pub(super) struct Measuring<'a> {
    /// The batch engine whose tasks run them, if one does.
    pub(super) on: Option<&'a On>,
    /// How many blocks at the same time, if the user says so.
    pub(super) jobs: Option<NonZeroUsize>,
    /// For how long at most, with looks.
    pub(super) budget: Option<Duration>,
    /// Only these trials, within a time.
    pub(super) pick: Option<&'a Pick>,
    pub(super) progress: &'a Arc<Progress>,
}

/// A run's folder.
pub(super) struct Run {
    pub(super) path: PathBuf,
    record: RunRecord,
    lock: RunLock,
}

impl Run {
    /// A folder of its own below `runs`, for a plan and the pattern that selected its trials. It is a run
    /// once it has its record: see [`Run::deviate`].
    pub(super) fn new(
        runs: &Path,
        study: &Study,
        (plan, only): (&Plan, Option<&str>),
        loaded: &Loaded,
        built: &[BuiltImage],
    ) -> Result<Self, Failure> {
        let id = run_id(&plan.study)?;
        let path = runs.join(id.as_str());
        files::create_dir(&path).or_exit(Exit::Infrastructure)?;
        // Workers get this path and may stand elsewhere.
        let path = path.canonicalize().or_exit(Exit::Infrastructure)?;
        nobody_elses(&path)?;
        let lock = RunLock::take(&path).or_exit(Exit::Infrastructure)?;
        let record = RunRecord {
            format: record::FORMAT,
            id,
            vexp: crate::VERSION.to_owned(),
            main: Some(loaded.main.clone()),
            only: only.map(str::to_owned),
            started: now_rfc3339(),
            ended: None,
            estimate_s: Some(plan.estimate.run.secs_f64()),
            controller: node::facts(),
            computer: computer(),
            deviations: built.iter().filter_map(image_deviation).collect(),
            taken: Vec::new(),
            bundle: None,
        };
        let run = Self { path, record, lock };
        run.write("study.json", study)?;
        files::write_plan(&run.path.join("plan.json"), plan).or_exit(Exit::Infrastructure)?;
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
        Ok(run)
    }

    /// Its name.
    pub(super) fn id(&self) -> &Name {
        &self.record.id
    }

    /// A run that was cut short. Its plan must be the one that would be run now.
    pub(super) fn again(path: &Path, plan: &Plan) -> Result<Self, Failure> {
        let path = resumable(path)?;
        let lock = RunLock::take(&path).or_exit(Exit::Infrastructure)?;
        leftovers::remove(&path, &lock).or_exit(Exit::Infrastructure)?;
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
            .hint("give the study as it was (`source` in the run's folder has it), or start a new run"));
        }
        let record = RunRecord {
            estimate_s: None,
            computer: record
                .computer
                .clone()
                .filter(|one| Some(one) == computer().as_ref()),
            ..record
        };
        Ok(Self { path, record, lock })
    }

    /// It measures a bundle again, by whose digest it is found.
    pub(super) fn measures_again(&mut self, bundle: &Digest) {
        self.record.bundle = Some(bundle.clone());
    }

    /// Takes trials of an earlier run over. Only after that the run gets its record: one that dies before is none.
    pub(super) fn take_over(
        &mut self,
        earlier: &Earlier,
        trials: &BTreeSet<Name>,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let taken = earlier.take(trials, plan, &self.path)?;
        let deviations = since::deviations(&taken, plan.trials().count());
        self.record.deviations.extend(deviations);
        self.record.taken = taken;
        Ok(())
    }

    /// Adds deviations that were seen on the machines, each once, and writes the run's record.
    pub(super) fn deviate(&mut self, deviations: Vec<Deviation>) -> Result<(), Failure> {
        for deviation in deviations {
            if !self.record.deviations.contains(&deviation) {
                self.record.deviations.push(deviation);
            }
        }
        self.write("run.json", &self.record)
    }

    /// What is expected of blocks with trials that have no record yet.
    fn missing(&self, mut costs: Vec<BlockCost>) -> Vec<BlockCost> {
        for cost in &mut costs {
            let missing = |id: &Name| !files::trial_record(&self.path, id).exists();
            cost.trials.retain(|(id, _)| missing(id));
        }
        costs.retain(|cost| !cost.trials.is_empty());
        costs
    }

    pub(super) fn write<T: serde::Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
    ) -> Result<(), Failure> {
        files::write_json(&self.path.join(name), value).or_exit(Exit::Infrastructure)
    }

    /// Writes down when it ended.
    pub(super) fn end(&self) -> Result<(), Failure> {
        let record = RunRecord {
            ended: Some(now_rfc3339()),
            ..self.record.clone()
        };
        self.write("run.json", &record)
    }

    /// Runs the trials that have no record yet.
    pub(super) fn trials(
        &mut self,
        plan: &Plan,
        built: Vec<BuiltImage>,
        testbed: Arc<dyn Testbed>,
        registry: &Registry,
        how: &Measuring<'_>,
    ) -> Result<RunSummary, Failure> {
        let progress = how.progress;
        let images: BTreeMap<Name, ImageFiles> = built
            .into_iter()
            .map(|image| (image.name, image.files))
            .collect();
        let costs = self.missing(dispatch::expected(plan, &images, &*testbed, self.id()));
        let (jobs, costs) = match how.on {
            None => (side_by_side(plan, &*testbed, how.jobs)?, costs),
            Some(on) => on_nodes(costs, on.tasks()),
        };
        let looks = match plan.looks.is_empty() {
            true => None,
            false => Some(Looks::new(
                &self.path,
                registry,
                progress,
                (costs.clone(), jobs),
                how.budget,
            )),
        };
        let mut costs = match &looks {
            None => costs,
            Some(looks) => looks.first()?,
        };
        if let Some(pick) = how.pick {
            for cost in &mut costs {
                cost.trials
                    .retain(|(trial, _)| pick.trials().contains(trial));
            }
            costs.retain(|cost| !cost.trials.is_empty());
        }
        let looks = looks.as_ref().map(|looks| looks as &dyn Stages);
        let pick = how.pick.map(|pick| pick as &dyn Stages);
        let estimate_s = estimate::all(&costs, jobs);
        if self.record.estimate_s.is_some() {
            self.record.estimate_s = Some(estimate_s);
            self.write("run.json", &self.record)?;
        }
        progress.event(&Event::RunStarted {
            run: self.id().clone(),
            trials: costs.iter().map(|cost| cost.trials.len()).sum(),
            estimate_s,
        });
        progress.expect(costs, jobs);
        if how.on.is_some() && self.record.computer.take().is_some() {
            // It was not one computer that measured it.
            self.write("run.json", &self.record)?;
        }
        let batch = how.on.map(On::batch);
        let (stop, cancel) = watch::channel(false);
        let request = RunRequest {
            plan,
            images: &images,
            run: &self.path,
            id: self.id(),
            testbed,
            executable: crate::executable(),
            jobs,
            registry: registry.clone(),
            events: Arc::clone(progress) as _,
            stages: looks.or(pick),
            batch: batch.as_ref(),
            computer: None,
            cancel,
        };
        let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
        let ended = runtime.block_on(async {
            tokio::spawn(stop_on_signals(stop));
            dispatch::run(&request).await
        });
        if let Some(on) = how.on {
            self.deviate(batch::left_out(&self.path)?)?;
            if let Err(error) = &ended {
                return Err(batch::failed(on, &self.path, error, &runtime));
            }
            leftovers::remove(&self.path, &self.lock).or_exit(Exit::Infrastructure)?;
        }
        match ended {
            Ok(summary) => Ok(summary),
            Err(RunError::Interrupted) => Err(Failure::new(
                Exit::Interrupted,
                "interrupted; what was measured is kept",
            )
            .hint(format!(
                "finish it: the same command, with --resume {}",
                self.path.display()
            ))),
            Err(error @ (RunError::File(_) | RunError::NotWritten { .. })) => {
                let again = self.path.display();
                Err(Failure::of(Exit::Infrastructure, &error).hint(format!(
                    "what was written is kept: make room, and finish it: the same command, with --resume {again}"
                )))
            }
            Err(error) => Err(Failure::of(Exit::Infrastructure, &error)),
        }
    }
}

/// How many tasks there are to be on other computers, and what blocks take there: each has its own machine.
fn on_nodes(mut costs: Vec<BlockCost>, asked: Option<NonZeroUsize>) -> (usize, Vec<BlockCost>) {
    for cost in &mut costs {
        cost.machine.0 = cost.block.clone();
    }
    let seconds = costs.iter().map(BlockCost::seconds).sum();
    let asked = asked.map(NonZeroUsize::get);
    let tasks = vexp_engine::run::batch::tasks(costs.len(), seconds, asked);
    (tasks, costs)
}

/// How many blocks run at the same time: what the user asks for, or as many as change no result.
pub(super) fn side_by_side(
    plan: &Plan,
    testbed: &dyn Testbed,
    asked: Option<NonZeroUsize>,
) -> Result<usize, Failure> {
    let can = plan
        .blocks
        .iter()
        .map(|block| testbed.side_by_side(&block.machine));
    let can = can.min().unwrap_or(1);
    let Some(asked) = asked.map(NonZeroUsize::get) else {
        return Ok(can);
    };
    if asked > 1 && !testbed.virtual_time() {
        let text = format!(
            "on testbed `{}` blocks run one after the other: side by side they would change what is measured",
            plan.testbed
        );
        return Err(Failure::new(Exit::Usage, text).hint("leave --jobs out"));
    }
    Ok(asked)
}

/// The folder of a run that can be taken up again.
pub(super) fn resumable(path: &Path) -> Result<PathBuf, Failure> {
    let path = path
        .canonicalize()
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
    nobody_elses(&path)?;
    RunDir::checked(&path).or_exit(Exit::Usage)?;
    // It is written last, when all is there that a run needs.
    if path.join("run.json").exists() {
        return Ok(path);
    }
    let message = format!("{} has no run.json: no run was begun there", path.display());
    Err(Failure::new(Exit::Usage, message)
        .hint("`vexp runs` lists runs; one that died before its first trial is started anew"))
}

/// Refuses a folder for a run, or for temporary files, where somebody else could put something in place of
/// what workers use as root.
fn nobody_elses(path: &Path) -> Result<(), Failure> {
    for (path, hint) in [
        (path, "name a folder of your own with --runs"),
        (&std::env::temp_dir(), "name a folder of your own in TMPDIR"),
    ] {
        only_ours(path, Others::Caller)
            .map_err(|error| Failure::of(Exit::Usage, &error).hint(hint))?;
    }
    Ok(())
}

/// The first SIGINT or SIGTERM asks for an orderly end, the second ends this process at once; labs
/// and workers end with it either way.
#[expect(clippy::exit, reason = "cleaning is what the user does not wait for")]
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
            std::process::exit(Exit::Interrupted as i32);
        }
    }
}

/// `STUDY-YYYYMMDD-HHMMSS-xxxx`: the last part keeps runs of the same second apart.
fn run_id(study: &Name) -> Result<Name, Failure> {
    let now = now_rfc3339();
    let digits: String = now.chars().filter(char::is_ascii_digit).collect();
    let (date, time) = (&digits[..8], &digits[8..14]);
    let salt = Digest::of(format!("{now} {}", std::process::id()).as_bytes());
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

/// Which computer this is, without saying so: a digest of its processor's model and of its machine-id(5). One that was
/// installed anew is another; `None` where there is no id.
fn computer() -> Option<Digest> {
    let id = std::fs::read_to_string("/etc/machine-id").ok()?;
    let model = node::facts().remove("processor")?;
    computer_of(&model, id.trim())
}

fn computer_of(model: &str, id: &str) -> Option<Digest> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| Digest::of(format!("vexp computer\n{model}\n{id}\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_without_an_id_is_none_that_could_be_told_apart() {
        let id = "0123456789abcdef0123456789abcdef";
        let known = computer_of("a processor", id).unwrap();
        assert!(!known.to_string().contains(id));
        assert_ne!(computer_of("another", id).unwrap(), known);
        for none in ["", "uninitialized", &id[1..]] {
            assert_eq!(computer_of("a processor", none), None);
        }
    }

    #[test]
    fn a_run_is_in_no_folder_that_somebody_else_can_change() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let run = runs.join("run");
        std::fs::create_dir_all(&run).unwrap();
        let refused = |mode: u32, owner: Option<u32>| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&runs, mode).unwrap();
            std::os::unix::fs::chown(&runs, owner, None).unwrap();
            let refused = nobody_elses(&run).err();
            refused.map(|failure| failure.messages[0].clone())
        };
        assert_eq!(refused(0o755, None), None);
        assert_eq!(refused(0o1777, None), None);
        assert!(
            refused(0o777, None)
                .unwrap()
                .contains("everybody can write")
        );
        if rustix::process::geteuid().is_root() {
            let nobodys = refused(0o755, Some(65_534)).unwrap();
            assert!(nobodys.contains("belongs to user 65534"), "{nobodys}");
        }
    }
}
