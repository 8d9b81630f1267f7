//! `vexp gc`: what no rule keeps goes; what a kept run needs stays.

mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::event::NoEvents;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::shown;
use vexp_engine::run::files;
use vexp_engine::store::Store;
use vexp_engine::store::gc::{Needed, Surplus, bytes};
use vexp_plugins::testbed::emulated;

use super::{calibrate, dead};
use crate::args::{Format, GcArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;
use runs::{Found, found, kept, look};

/// How long everything in the store stays after its last use, whatever the rules say: a run may be
/// about to use it. As long, a run that has not ended counts as running.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// What a folder of a run is called while it is being removed.
const GOING: &str = ".vexp-gc-";

/// What is removed, and what is kept.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Collected {
    dry_run: bool,
    /// Runs that stay, in the folder that was asked for.
    kept: Vec<String>,
    removed: Vec<Surplus>,
    /// Bytes of all that is removed.
    bytes: u64,
}

pub(super) fn run(args: &GcArgs, registry: &Registry) -> Result<Exit, Failure> {
    show(&collect(args, registry)?, args.format)
}

/// Removes what `args` says, and says what it is.
pub(super) fn collect(args: &GcArgs, registry: &Registry) -> Result<Collected, Failure> {
    let root = match &args.store {
        Some(root) => Ok(root.clone()),
        None => Store::default_root(),
    };
    let root = root.or_exit(Exit::Usage)?;
    let store = match args.dry_run {
        true => Store::look(root),
        false => Store::open(root),
    };
    let store = store.or_exit(Exit::Usage)?;
    let dead = dead::collect(&args.runs, &store, registry, false)?;
    let dead = dead.into_iter().map(|path| surplus("leftover", path));
    let dead: Vec<Surplus> = dead.collect();
    if !args.dry_run {
        dead::collect(&args.runs, &store, registry, true)?;
    }
    if args.keep.is_none() && args.keep_last.is_none() {
        return Ok(Collected::of(args, Vec::new(), dead));
    }
    let now = SystemTime::now();
    let (found, unknown) = found(&args.runs)?;
    let keep = kept(&found, args, now);
    let (kept, gone): (Vec<_>, Vec<_>) = found.into_iter().zip(keep).partition(|(_, keep)| *keep);
    let kept: Vec<Found> = kept.into_iter().map(|(found, _)| found).collect();
    let gone = gone.into_iter().map(|(found, _)| found.path);
    let runs = gone
        .chain(leftovers(&args.runs))
        .map(|path| surplus("run", path));
    let runs: Vec<Surplus> = runs.collect();

    let elsewhere = elsewhere(&store, &args.runs);
    let known: Vec<Found> = elsewhere.iter().filter_map(|path| look(path)).collect();
    let all: Vec<&Found> = kept.iter().chain(&known).collect();
    let folders = kept.iter().map(|found| &found.path);
    let needed = needed(folders.chain(&unknown).chain(&elsewhere));
    let oldest = args.keep.map_or(GRACE, |age| age.0.max(GRACE));
    let since = now.checked_sub(oldest).unwrap_or(SystemTime::UNIX_EPOCH);
    let in_store = match &needed {
        Some(needed) => store.surplus(needed, since).or_exit(Exit::Infrastructure)?,
        None => Vec::new(),
    };
    let used = all
        .iter()
        .filter_map(|run| run.plan.calibration.as_ref())
        .collect::<Vec<_>>();
    let calibrations = calibrate::unneeded(store.root(), &used, since);
    let calibrations: Vec<_> = calibrations
        .into_iter()
        .map(|path| surplus("calibration", path))
        .collect();
    let folder = store.root().join("snapshots-v1");
    let machines = machines(&folder, &all, since)?;

    if !args.dry_run {
        for going in runs.iter().chain(&calibrations) {
            remove(&going.path)?;
        }
        let lock = store.lock(&NoEvents).or_exit(Exit::Infrastructure)?;
        store
            .remove(&lock, &in_store)
            .or_exit(Exit::Infrastructure)?;
        if !machines.is_empty() {
            let paths: Vec<PathBuf> = machines.iter().map(|found| found.path.clone()).collect();
            emulated::discard(&folder, &paths).or_exit(Exit::Infrastructure)?;
        }
    }
    let removed = [dead, runs, in_store, calibrations, machines].concat();
    let kept = kept.iter().map(|found| found.record.id.to_string());
    Ok(Collected::of(args, kept.collect(), removed))
}

impl Collected {
    fn of(args: &GcArgs, kept: Vec<String>, removed: Vec<Surplus>) -> Self {
        Self {
            dry_run: args.dry_run,
            bytes: removed.iter().map(|going| going.bytes).sum(),
            kept,
            removed,
        }
    }

    /// What is removed, a line each.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.removed.iter().map(|going| {
            let megabytes = going.bytes as f64 / 1e6;
            let path = shown::path(&going.path);
            format!("{:11} {megabytes:9.1} MB  {path}", going.kind)
        })
    }

    /// How much that is.
    pub(super) fn total(&self) -> String {
        let verb = match self.dry_run {
            true => "would be removed",
            false => "removed",
        };
        format!(
            "{} {verb}, {:.1} MB; {} runs kept",
            self.removed.len(),
            self.bytes as f64 / 1e6,
            self.kept.len()
        )
    }
}

fn surplus(kind: &'static str, path: PathBuf) -> Surplus {
    let bytes = bytes(&path);
    Surplus { kind, path, bytes }
}

/// What an earlier `gc` had begun to remove.
fn leftovers(runs: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let going = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(GOING));
    going
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Folders of runs that were made with the store and lie elsewhere: no rule was given for them.
fn elsewhere(store: &Store, runs: &Path) -> Vec<PathBuf> {
    let here = runs.canonicalize().ok();
    let other = store.registered().into_iter();
    let other = other.filter(|path| path.parent() != here.as_deref());
    other
        .filter(|path| path.join("run.json").exists())
        .collect()
}

/// What an image's manifest says that it stands on, in whichever version.
#[derive(Deserialize)]
struct Uses {
    key: Digest,
    #[serde(default)]
    lock: Packages,
}

#[derive(Default, Deserialize)]
struct Packages {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    digest: Digest,
}

/// What runs stand on. A folder that says nothing of images needs none. `None` if a run's images can't
/// be told, which is said: then nothing in the store can be known to be needless.
fn needed<'a>(runs: impl Iterator<Item = &'a PathBuf>) -> Option<Needed> {
    let mut needed = Needed::default();
    let mut known = true;
    for run in runs.filter(|run| run.join("images.json").exists()) {
        let path = run.join("images.json");
        let images: BTreeMap<String, Uses> = match files::read_json(&path) {
            Ok(images) => images,
            Err(error) => {
                let reason = Failure::of(Exit::Unreadable, &error).messages.join(": ");
                render::say(&format!(
                    "note: which images {} needs can't be told: {reason}",
                    run.display()
                ));
                known = false;
                continue;
            }
        };
        for image in images.into_values() {
            let packages = image.lock.packages.into_iter();
            needed
                .packages
                .extend(packages.map(|package| package.digest));
            needed.images.insert(image.key);
        }
    }
    if !known {
        render::say(
            "note: images and packages in the store stay for this; remove or mend that run",
        );
    }
    known.then_some(needed)
}

/// Kept machines that are not used any more. A run that has not ended goes on from the machines
/// that it began with.
fn machines(folder: &Path, runs: &[&Found], since: SystemTime) -> Result<Vec<Surplus>, Failure> {
    let open = runs.iter().filter(|run| run.record.ended.is_none());
    let since = open
        .map(|run| run.started)
        .chain([since])
        .min()
        .unwrap_or(since);
    let found = emulated::unused(folder, since).or_exit(Exit::Infrastructure)?;
    let machine = |(path, bytes)| Surplus {
        kind: "machine",
        path,
        bytes,
    };
    Ok(found.into_iter().map(machine).collect())
}

/// Removes a folder, which is out of sight before the first of its files goes.
fn remove(path: &Path) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let going = match name.starts_with(GOING) {
        true => path.to_owned(),
        false => path.with_file_name(format!("{GOING}{name}")),
    };
    if going != path {
        files::rename(path, &going).or_exit(Exit::Infrastructure)?;
    }
    std::fs::remove_dir_all(&going).or_exit(Exit::Infrastructure)
}

fn show(collected: &Collected, format: Format) -> Result<Exit, Failure> {
    if format == Format::Json {
        let text = serde_json::to_string_pretty(collected).or_exit(Exit::Usage)?;
        render::out(&format!("{text}\n"));
        return Ok(Exit::Fine);
    }
    for line in collected.lines() {
        render::out(&format!("{line}\n"));
    }
    render::say(&collected.total());
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::runs::tests::{moment, run};
    use super::*;

    #[test]
    fn machines_that_an_unfinished_run_began_with_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("machines");
        let machine = |name: &str, day| {
            std::fs::create_dir_all(store.join(name)).unwrap();
            let path = store.join(name).join("snapshot.json");
            std::fs::write(&path, "{}").unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(moment(day)).unwrap();
        };
        machine("before", 3);
        machine("since", 5);
        let names = |runs: &[&Found]| -> Vec<String> {
            let found = machines(&store, runs, moment(9)).unwrap();
            let name = |one: &Surplus| one.path.file_name().unwrap().to_string_lossy().into_owned();
            found.iter().map(name).collect()
        };
        let ended = run(folder.path(), 4, "a", true);
        let open = run(folder.path(), 4, "b", false);
        assert_eq!(names(&[&ended]), ["before", "since"]);
        assert_eq!(names(&[&ended, &open]), ["before"]);
    }
}
