//! `vexp gc`: what no rule keeps goes; what a kept run needs stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::event::NoEvents;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::record::RunRecord;
use vexp_engine::run::files;
use vexp_engine::store::Store;
use vexp_engine::store::gc::{Needed, Surplus, bytes};
use vexp_plugins::testbed::emulated;

use super::calibrate;
use crate::args::{Format, GcArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// How long everything in the store stays after its last use, whatever the rules say: a run may be
/// about to use it. As long, a run that has not ended counts as running.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// What a folder of a run is called while it is being removed.
const GOING: &str = ".vexp-gc-";

/// A run's folder, and what the rules look at.
struct Found {
    path: PathBuf,
    record: RunRecord,
    plan: Plan,
    started: SystemTime,
    /// When something was last written down in it.
    touched: SystemTime,
}

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

pub(super) fn run(args: &GcArgs) -> Result<Exit, Failure> {
    let store = match &args.store {
        Some(root) => Store::open(root),
        None => Store::open_default(),
    }
    .or_exit(Exit::Usage)?;
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
    let needed = needed(folders.chain(&unknown).chain(&elsewhere))?;
    let oldest = args.keep.map_or(GRACE, |age| age.0.max(GRACE));
    let since = now.checked_sub(oldest).unwrap_or(SystemTime::UNIX_EPOCH);
    let in_store = store
        .surplus(&needed, since)
        .or_exit(Exit::Infrastructure)?;
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
    let removed = [runs, in_store, calibrations, machines].concat();
    let collected = Collected {
        dry_run: args.dry_run,
        bytes: removed.iter().map(|going| going.bytes).sum(),
        kept: kept
            .iter()
            .map(|found| found.record.id.to_string())
            .collect(),
        removed,
    };
    show(&collected, args.format)
}

fn surplus(kind: &'static str, path: PathBuf) -> Surplus {
    let bytes = bytes(&path);
    Surplus { kind, path, bytes }
}

/// The runs in a folder, sorted by their start: what has a `run.json` with the folder's own name.
/// Links are no runs. Beside them, folders that may be runs of another version.
fn found(runs: &Path) -> Result<(Vec<Found>, Vec<PathBuf>), Failure> {
    let entries = match std::fs::read_dir(runs) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((Vec::new(), Vec::new()));
        }
        entries => entries.or_exit(Exit::Usage)?,
    };
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.or_exit(Exit::Usage)?;
        if !entry.file_type().or_exit(Exit::Usage)?.is_dir() {
            continue;
        }
        match look(&entry.path()) {
            Some(run) if entry.file_name() == run.record.id.as_str() => found.push(run),
            None if !entry.path().join("run.json").exists() => {}
            _ => {
                let path = entry.path();
                render::say(&format!(
                    "note: {} can't be read as a run, and is left alone",
                    path.display()
                ));
                unknown.push(path);
            }
        }
    }
    found.sort_by(|a, b| (a.started, &a.path).cmp(&(b.started, &b.path)));
    Ok((found, unknown))
}

fn look(path: &Path) -> Option<Found> {
    let record: RunRecord = files::read_json(&path.join("run.json")).ok()?;
    let plan: Plan = files::read_json(&path.join("plan.json")).ok()?;
    let started = record.started.parse::<jiff::Timestamp>().ok()?;
    let changed = |file: &str| path.join(file).metadata().ok()?.modified().ok();
    let touched = ["events.jsonl", "run.json"]
        .iter()
        .filter_map(|file| changed(file))
        .max()?;
    Some(Found {
        path: path.to_owned(),
        started: started.into(),
        record,
        plan,
        touched,
    })
}

/// Which runs the rules keep. Runs are sorted by their start.
fn kept(runs: &[Found], args: &GcArgs, now: SystemTime) -> Vec<bool> {
    let within = |then: SystemTime, age: Duration| {
        // What lies in the future was not long ago.
        now.duration_since(then).map_or(true, |ago| ago <= age)
    };
    let mut later: BTreeMap<(&Name, &Name, &Name), usize> = BTreeMap::new();
    let mut keep: Vec<bool> = runs
        .iter()
        .rev()
        .map(|run| {
            let ended = run.record.ended.is_some();
            let series = (&run.plan.study, &run.plan.testbed, &run.plan.effort);
            let later = later.entry(series).or_default();
            let last = ended && args.keep_last.is_some_and(|n| *later < n);
            *later += usize::from(ended);
            last || args.keep.is_some_and(|age| within(run.started, age.0))
                || run.path.join("keep").exists()
                || (!ended && within(run.touched, GRACE))
        })
        .collect();
    keep.reverse();
    keep
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

/// What runs stand on. A folder that says nothing of images needs none.
fn needed<'a>(runs: impl Iterator<Item = &'a PathBuf>) -> Result<Needed, Failure> {
    let mut needed = Needed::default();
    for run in runs.filter(|run| run.join("images.json").exists()) {
        let images: BTreeMap<String, Uses> =
            files::read_json(&run.join("images.json")).map_err(|error| {
                Failure::of(Exit::Incomplete, &error)
                    .hint("nothing was removed: it can't be told which images this run needs")
            })?;
        for image in images.into_values() {
            let packages = image.lock.packages.into_iter();
            needed
                .packages
                .extend(packages.map(|package| package.digest));
            needed.images.insert(image.key);
        }
    }
    Ok(needed)
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
    for going in &collected.removed {
        let megabytes = going.bytes as f64 / 1e6;
        let path = going.path.display();
        render::out(&format!("{:11} {megabytes:9.1} MB  {path}\n", going.kind));
    }
    let verb = if collected.dry_run {
        "would be removed"
    } else {
        "removed"
    };
    render::say(&format!(
        "{} {verb}, {:.1} MB; {} runs kept",
        collected.removed.len(),
        collected.bytes as f64 / 1e6,
        collected.kept.len()
    ));
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn moment(day: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * (10_000 + day)
    }

    /// A run of effort `quick` that was started on a day; an open one was written to that day.
    fn run(folder: &Path, day: u32, study: &str, ended: bool) -> Found {
        let name = |text: &str| -> Name { text.parse().unwrap() };
        let record = serde_json::json!({
            "format": 1, "id": format!("{study}-{day}"), "vexp": "1", "started": "", "controller": {},
            "ended": ended.then_some(""),
        });
        let plan = serde_json::json!({
            "format": 1, "study": study, "study_digest": vexp_api::digest::Digest::of(b""),
            "testbed": "emulated", "effort": "quick", "seed": 1, "calibration": null, "images": [],
            "blocks": [], "deviations": [], "excluded": [],
            "estimate": {"run": "1s", "build": "1s", "disk": "1MiB"},
        });
        let path = folder.join(name(&format!("{study}-{day}")).as_str());
        std::fs::create_dir_all(&path).unwrap();
        Found {
            path,
            record: serde_json::from_value(record).unwrap(),
            plan: serde_json::from_value(plan).unwrap(),
            started: moment(day),
            touched: moment(day),
        }
    }

    fn args(keep: Option<u32>, keep_last: Option<usize>) -> GcArgs {
        GcArgs {
            keep: keep.map(|days| format!("{days}d").parse().unwrap()),
            keep_last,
            dry_run: true,
            runs: "runs".into(),
            store: None,
            format: Format::Text,
        }
    }

    #[test]
    fn a_run_stays_by_any_rule() {
        let folder = tempfile::tempdir().unwrap();
        let of = |day, study, ended| run(folder.path(), day, study, ended);
        let runs = [
            of(1, "a", true),
            of(2, "pinned", true),
            of(3, "a", true),
            of(4, "b", true),
            of(5, "a", false),
            of(6, "a", true),
            of(10, "a", false),
        ];
        std::fs::write(runs[1].path.join("keep"), "").unwrap();
        let kept = |keep, last| kept(&runs, &args(keep, last), moment(10));
        let [o, i] = [false, true];
        // Within so many days, pinned, or being written to.
        assert_eq!(kept(Some(4), None), [o, i, o, o, o, i, i]);
        assert_eq!(kept(Some(5), None), [o, i, o, o, i, i, i]);
        // The last of each study that have ended; one that has not takes no place.
        assert_eq!(kept(None, Some(1)), [o, i, o, i, o, i, i]);
        assert_eq!(kept(None, Some(2)), [o, i, i, i, o, i, i]);
        assert_eq!(kept(Some(6), Some(1)), [o, i, o, i, i, i, i]);
        assert_eq!(kept(Some(0), None), [o, i, o, o, o, o, i]);
    }

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
