//! Runs by their folders, or by a folder that they are in.

use std::path::{Path, PathBuf};

use glob::Pattern;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::shown;
use vexp_report::frame;
use vexp_report::metrics::Point;
use vexp_report::summary::{LeftOut, Summary};

use crate::args::Pick;
use crate::error::Failure;
use crate::render;

/// Runs that can be used, and those that can't.
pub(super) struct Runs {
    /// Oldest first, each once.
    pub(super) usable: Vec<Summary>,
    pub(super) left_out: Vec<LeftOut>,
}

/// The runs at these paths. A run that can't be used is named on standard error, and stops no others.
///
/// # Errors
/// A path has no runs ([`Exit::Usage`]), or none of all of them can be used ([`Exit::Unreadable`]).
pub(super) fn runs(paths: &[&PathBuf], inside: bool, registry: &Registry) -> Result<Runs, Failure> {
    let mut usable: Vec<Summary> = Vec::new();
    let mut left_out = Vec::new();
    for path in paths {
        for folder in folders(path)? {
            match summary(&folder, inside, registry) {
                Ok(run) if usable.iter().all(|other| other.run != run.run) => usable.push(run),
                Ok(_) => {}
                Err(reason) => left_out.push(LeftOut {
                    // On one line, whatever the folder is called.
                    folder: shown::path(&folder),
                    reason: shown::line(&reason).into_owned(),
                }),
            }
        }
    }
    for LeftOut { folder, reason } in &left_out {
        render::say(&format!("left out: {folder}: {reason}"));
    }
    if let (true, Some(first)) = (usable.is_empty(), left_out.first()) {
        let message = format!(
            "the run in {} can't be used: {}",
            first.folder, first.reason
        );
        let failure = Failure::new(Exit::Unreadable, message);
        return Err(match left_out.len() {
            1 => failure,
            n => failure.hint(format!("none of the {n} runs that were given can be used")),
        });
    }
    // All times are in UTC and written alike.
    usable.sort_by(|a, b| (&a.started, &a.run).cmp(&(&b.started, &b.run)));
    Ok(Runs { usable, left_out })
}

/// A run, or why it can't be used.
fn summary(folder: &Path, inside: bool, registry: &Registry) -> Result<Summary, String> {
    let frames = frame::read(folder, registry).map_err(|error| chain(&error))?;
    Summary::of(&frames, inside).map_err(|error| chain(&error))
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    Failure::of(Exit::Unreadable, error).messages.join(": ")
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
