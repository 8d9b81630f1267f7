//! `vexp runs`.

use std::path::Path;

use serde::Serialize;
use vexp_api::exit::Exit;
use vexp_api::plan::Plan;
use vexp_api::record::{Outcome, RunRecord, TrialRecord};
use vexp_api::run_dir::RunDir;
use vexp_api::shown;
use vexp_engine::run::files;

use super::batch;
use crate::args::Format;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// A run in a list.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Listed {
    run: String,
    started: String,
    ended: Option<String>,
    effort: String,
    trials: usize,
    measured: usize,
    report: Option<String>,
    /// Jobs of a batch engine that may wait or run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<String>,
}

pub(super) fn run(folder: &Path, format: Format) -> Result<Exit, Failure> {
    let mut paths: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    let mut runs = Vec::new();
    let mut unreadable = None;
    for path in paths.iter().filter(|path| path.join("run.json").exists()) {
        match listed(path) {
            Ok(run) => runs.push(run),
            Err(failure) => {
                let reason = failure.messages.join(": ");
                let (path, reason) = (shown::path(path), shown::line(&reason));
                render::say(&format!("left out: {path}: {reason}"));
                unreadable = Some(failure);
            }
        }
    }
    if let (true, Some(failure)) = (runs.is_empty(), unreadable) {
        return Err(failure);
    }
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&runs).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        Format::Text if runs.is_empty() => {
            render::say(&format!("no runs in {}", folder.display()));
        }
        Format::Text => {
            let rows = runs.iter().map(|r| {
                vec![
                    r.run.clone(),
                    r.effort.clone(),
                    format!("{}/{}", r.measured, r.trials),
                    state(r),
                    r.report.clone().unwrap_or_default(),
                ]
            });
            render::out(&render::table::table(
                &["run", "effort", "measured", "state", "report"],
                rows,
            ));
        }
    }
    Ok(Exit::Fine)
}

/// How far it is, for people.
fn state(run: &Listed) -> String {
    match (run.jobs.as_slice(), &run.ended) {
        ([], Some(_)) => "finished".to_owned(),
        ([], None) => "unfinished".to_owned(),
        ([one], _) => format!("out: job {one}"),
        (some, _) => format!("out: jobs {}", some.join(", ")),
    }
}

fn listed(path: &Path) -> Result<Listed, Failure> {
    RunDir::checked(path).or_exit(Exit::Unreadable)?;
    let record: RunRecord = files::read_json(&path.join("run.json")).or_exit(Exit::Unreadable)?;
    let plan: Plan = files::read_json(&path.join("plan.json")).or_exit(Exit::Unreadable)?;
    let mut measured = 0;
    for trial in plan.trials() {
        let file = files::trial_record(path, &trial.id);
        if file.exists() {
            let trial: TrialRecord = files::read_json(&file).or_exit(Exit::Unreadable)?;
            measured += usize::from(trial.outcome == Outcome::Measured);
        }
    }
    let report = path.join("report/report.html");
    Ok(Listed {
        run: record.id.to_string(),
        started: record.started,
        ended: record.ended,
        effort: plan.effort.to_string(),
        trials: plan.trials().count(),
        measured,
        report: report.exists().then(|| shown::path(&report)),
        jobs: batch::jobs(path)?,
    })
}
