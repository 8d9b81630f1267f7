//! `vexp nightly`: a run, what became worse since the good nights, and their trend.
//!
//! ```text
//! FOLDER/runs/RUN     every run
//! FOLDER/good/RUN     links to those without a regression: what the next night is compared with
//! FOLDER/site/        the trend of these
//! FOLDER/compare.xml  the last comparison as JUnit XML, whatever came of it
//! ```
//!
//! Only what lies in these places is ever removed: runs below `runs`, and links in `good`.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_engine::run::dispatch::RunSummary;
use vexp_engine::run::files;
use vexp_engine::run::lock::RunLock;
use vexp_report::compare::{self, Comparison, MARGIN, Options};

use super::compare::{Refused, Sides};
use super::{gc, history, report, trend};
use crate::args::{Format, GcArgs, NightlyArgs, RunsArgs, StudyArgs, TrendArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Good nights that a new one is compared with. They stay, however old they are.
const LAST: usize = 7;
/// What stands in a file `keep` that a night has written. Others' files stay.
const MARK: &str = "nightly\n";

pub(super) fn run(args: &NightlyArgs, registry: &Registry) -> Result<Exit, Failure> {
    let nights = Nights::open(&args.folder)?;
    let run = match &args.judge {
        Some(run) => nights.below(run)?,
        None => nights.measured(args, registry)?,
    };
    render::out(&format!("{}\n", run.display()));
    // The trend links to it. What the claims say is no matter of the night.
    if let Err(failure) = report::quietly(&run, registry) {
        render::failure(&failure);
    }
    let ended = nights.judged(&run, registry);
    if matches!(ended, Ok(Exit::Fine | Exit::Incomplete)) {
        nights.good(&run)?;
        nights.trend(registry)?;
    }
    if args.keep.is_some() {
        nights.clean(args, registry)?;
    }
    ended
}

/// The folder of all nights, which no other night changes meanwhile.
struct Nights {
    root: PathBuf,
    _lock: RunLock,
}

impl Nights {
    fn open(folder: &Path) -> Result<Self, Failure> {
        for part in ["runs", "good"] {
            files::create_dir(&folder.join(part)).or_exit(Exit::Infrastructure)?;
        }
        let root = folder.canonicalize().or_exit(Exit::Infrastructure)?;
        let lock = RunLock::take(&root).or_exit(Exit::Infrastructure)?;
        Ok(Self { root, _lock: lock })
    }

    fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// A new run.
    fn measured(&self, args: &NightlyArgs, registry: &Registry) -> Result<PathBuf, Failure> {
        let study = StudyArgs {
            file: args.study.clone().unwrap_or_default(),
            effort: args.effort.clone(),
            testbed: args.testbed.clone(),
            only: args.only.clone(),
            until: None,
        };
        let runs = RunsArgs {
            runs: self.runs(),
            resume: None,
            since: None,
            budget: None,
            recalibrate: args.recalibrate,
            jobs: None,
            machines: args.machines.clone(),
            trust: args.trust,
            on: args.on.clone(),
            detach: false,
        };
        let chosen = study.chosen().or_exit(Exit::Usage)?;
        let measured = super::run::measure(&chosen, &args.images, &runs, false, registry)?;
        match measured.summary {
            RunSummary { measured: 0, .. } => {
                let message = format!("no trial of {} was measured", measured.run.display());
                Err(Failure::new(Exit::Infrastructure, message)
                    .hint("each trial's record in the run's folder says why"))
            }
            _ => Ok(measured.run),
        }
    }

    /// The folder of a run that lies below `runs`.
    fn below(&self, run: &Path) -> Result<PathBuf, Failure> {
        report::is_run(run)?;
        let path = run.canonicalize().or_exit(Exit::Usage)?;
        if path.parent() == Some(&self.runs()) {
            return Ok(path);
        }
        let message = format!("{} is not in {}", run.display(), self.runs().display());
        Err(Failure::new(Exit::Usage, message).hint("--judge takes a run of these nights"))
    }

    /// Compares a run with the last good ones; the first of all has none.
    fn judged(&self, run: &Path, registry: &Registry) -> Result<Exit, Failure> {
        let good = self.root.join("good");
        let options = Options {
            margin: MARGIN,
            wanted: &|_, _| true,
        };
        let refused = |failure: Failure| Refused::new(failure, MARGIN);
        let compared = || {
            let load = |path: &PathBuf| history::runs(&[path], true, registry);
            let new = load(&run.to_owned()).map_err(refused)?;
            let others = self
                .names()
                .into_iter()
                .any(|name| run.file_name() != Some(&name));
            if !others {
                return Ok(None);
            }
            let base = load(&good).map_err(refused)?;
            let (last, anyway) = (Some(LAST), false);
            let sides = Sides {
                base,
                new,
                last,
                anyway,
            };
            sides.compare(&options).map(Some)
        };
        let (comparison, ended) = match compared() {
            Ok(None) => {
                render::say("the first good night: there is nothing to compare it with");
                return Ok(Exit::Fine);
            }
            Ok(Some(comparison)) => {
                render::out(&render::compare::text(&comparison, false));
                let exit = super::compare::exit(&comparison);
                (comparison, Ok(exit))
            }
            Err(refused) => {
                let Refused {
                    comparison,
                    failure,
                } = *refused;
                if !comparison.differences.is_empty() {
                    render::say(&render::compare::differences(&comparison));
                }
                let failure = failure.hint(format!(
                    "this run is no good night; to begin anew, remove the links in {}",
                    good.display()
                ));
                (comparison, Err(failure))
            }
        };
        self.junit(&comparison)?;
        ended
    }

    fn junit(&self, comparison: &Comparison) -> Result<(), Failure> {
        let text = compare::junit(comparison);
        files::write_atomic(&self.root.join("compare.xml"), text.as_bytes())
            .or_exit(Exit::Infrastructure)
    }

    /// What is in `good`, sorted by name.
    fn names(&self) -> Vec<std::ffi::OsString> {
        let entries = fs::read_dir(self.root.join("good")).into_iter().flatten();
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    }

    /// Links to a run from `good`.
    fn good(&self, run: &Path) -> Result<(), Failure> {
        let name = run.file_name().unwrap_or_default();
        let link = self.root.join("good").join(name);
        let target = Path::new("../runs").join(name);
        match std::os::unix::fs::symlink(target, &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                let message = format!("cannot make the link {}: {error}", link.display());
                Err(Failure::new(Exit::Infrastructure, message))
            }
            _ => Ok(()),
        }
    }

    fn trend(&self, registry: &Registry) -> Result<(), Failure> {
        let args = TrendArgs::of(&self.root.join("good"), &self.root.join("site"));
        trend::run(&args.or_exit(Exit::Usage)?, registry).map(drop)
    }

    /// Removes what `--keep` does not keep, but none of the last good nights.
    fn clean(&self, args: &NightlyArgs, registry: &Registry) -> Result<(), Failure> {
        let kept = self.last_good();
        for run in self.all()? {
            mark(&run, kept.contains(&run)).or_exit(Exit::Infrastructure)?;
        }
        let rules = GcArgs {
            keep: args.keep,
            keep_last: None,
            dry_run: false,
            runs: self.runs(),
            store: args.images.store.clone(),
            format: Format::Text,
        };
        let collected = gc::collect(&rules, registry)?;
        collected.lines().for_each(|line| render::say(&line));
        render::say(&collected.total());
        self.forget_removed().or_exit(Exit::Infrastructure)
    }

    /// Folders below `runs`; links are none.
    fn all(&self) -> Result<Vec<PathBuf>, Failure> {
        let entries = fs::read_dir(self.runs()).or_exit(Exit::Infrastructure)?;
        let folders = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(folders.map(|entry| entry.path()).collect())
    }

    /// The good nights that the next one is compared with, which are all below `runs`.
    fn last_good(&self) -> Vec<PathBuf> {
        let runs = self.runs();
        let good = self.names().into_iter().filter_map(|name| {
            let path = self.root.join("good").join(name).canonicalize().ok()?;
            (path.parent() == Some(&runs)).then_some(path)
        });
        let mut good: Vec<(String, Name, PathBuf)> = good
            .filter_map(|path| {
                let record: vexp_api::record::RunRecord =
                    files::read_json(&path.join("run.json")).ok()?;
                Some((record.started, record.id, path))
            })
            .collect();
        good.sort();
        let first = good.len().saturating_sub(LAST);
        good.drain(first..).map(|(_, _, path)| path).collect()
    }

    /// Removes links of `good` whose run is gone.
    fn forget_removed(&self) -> std::io::Result<()> {
        for name in self.names() {
            let link = self.root.join("good").join(name);
            if link.is_symlink() && !link.exists() {
                fs::remove_file(&link)?;
            }
        }
        Ok(())
    }
}

/// Writes a file `keep` into a run's folder, or removes the one that an earlier night has written.
fn mark(run: &Path, keep: bool) -> std::io::Result<()> {
    let path = run.join("keep");
    let ours = || fs::read_to_string(&path).is_ok_and(|text| text == MARK);
    if !keep {
        return match !path.is_symlink() && ours() {
            true => fs::remove_file(&path),
            false => Ok(()),
        };
    }
    match fs::File::options().write(true).create_new(true).open(&path) {
        Ok(mut file) => file.write_all(MARK.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
