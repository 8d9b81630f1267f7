//! The runs in a folder, and which of them the rules keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::record::RunRecord;
use vexp_api::run_dir::RunDir;
use vexp_api::shown;
use vexp_engine::run::files;

use super::GRACE;
use crate::args::GcArgs;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// A run's folder, and what the rules look at.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) record: RunRecord,
    pub(super) plan: Plan,
    pub(super) started: SystemTime,
    /// When something was last written down in it.
    pub(super) touched: SystemTime,
}

/// The runs in a folder, sorted by their start: what has a `run.json` with the folder's own name.
/// Links are no runs. Beside them, folders that may be runs of another version.
pub(super) fn found(runs: &Path) -> Result<(Vec<Found>, Vec<PathBuf>), Failure> {
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
                    shown::path(&path)
                ));
                unknown.push(path);
            }
        }
    }
    found.sort_by(|a, b| (a.started, &a.path).cmp(&(b.started, &b.path)));
    Ok((found, unknown))
}

pub(super) fn look(path: &Path) -> Option<Found> {
    RunDir::checked(path).ok()?;
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
pub(super) fn kept(runs: &[Found], args: &GcArgs, now: SystemTime) -> Vec<bool> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::args::Format;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    pub(in super::super) fn moment(day: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * (10_000 + day)
    }

    /// A run of effort `quick` that was started on a day; an open one was written to that day.
    pub(in super::super) fn run(folder: &Path, day: u32, study: &str, ended: bool) -> Found {
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
}
