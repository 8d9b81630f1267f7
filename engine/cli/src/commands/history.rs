//! Runs by their folders, or by a folder that they are in.

use std::path::{Path, PathBuf};

use glob::Pattern;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::frame;
use vexp_report::metrics::Point;
use vexp_report::summary::Summary;

use crate::args::Pick;
use crate::error::{Failure, OrExit as _};

/// The runs at these paths, oldest first, each once.
pub(super) fn runs(
    paths: &[&PathBuf],
    inside: bool,
    registry: &Registry,
) -> Result<Vec<Summary>, Failure> {
    let mut runs: Vec<Summary> = Vec::new();
    for path in paths {
        for folder in folders(path)? {
            let frames = frame::read(&folder, registry).map_err(|error| {
                let mut failure = Failure::of(Exit::Incomplete, &error);
                let text = format!("the run in {} can't be used", folder.display());
                failure.messages.insert(0, text);
                failure
            })?;
            let run = Summary::of(&frames, inside).or_exit(Exit::Incomplete)?;
            if runs.iter().all(|other| other.run != run.run) {
                runs.push(run);
            }
        }
    }
    // All times are in UTC and written alike.
    runs.sort_by(|a, b| (&a.started, &a.run).cmp(&(&b.started, &b.run)));
    Ok(runs)
}

/// A run's folder, or those of the runs in a folder.
pub(super) fn folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path.join("run.json").exists() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map(|entries| {
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut found: Vec<PathBuf> = paths.filter(|p| p.join("run.json").exists()).collect();
        found.sort();
        found
    });
    match entries {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => {
            let message = format!(
                "{} is not a run (it has no run.json), and there is none in it",
                path.display()
            );
            Err(Failure::new(Exit::Usage, message).hint("`vexp runs` lists runs"))
        }
    }
}

/// What --only and --metric leave.
pub(super) struct Picked {
    only: Option<Pattern>,
    metrics: Vec<Pattern>,
}

impl Picked {
    pub(super) fn new(pick: &Pick) -> Result<Self, Failure> {
        let pattern = |option: &str, text: &String| {
            Pattern::new(text).map_err(|error| {
                Failure::of(Exit::Usage, &error).hint(format!(
                    "{option} takes a pattern, in which * stands for anything"
                ))
            })
        };
        let only = pick.only.as_ref().map(|text| pattern("--only", text));
        let metrics = pick.metric.iter().map(|text| pattern("--metric", text));
        Ok(Self {
            only: only.transpose()?,
            metrics: metrics.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn wants(&self, point: &Point, metric: &str) -> bool {
        let name = vexp_report::compare::words::point(point);
        self.only.as_ref().is_none_or(|only| only.matches(&name))
            && (self.metrics.is_empty() || self.metrics.iter().any(|m| m.matches(metric)))
    }
}
