//! Frames and verdicts → one self-contained HTML file, a Markdown file, figures and a CSV file.

mod chart;
mod figures;
mod format;
mod template;
mod view;

use std::path::{Path, PathBuf};

use vexp_api::plan::Deviation;
use vexp_api::registry::Registry;

use crate::files::{self, WriteError};
use crate::frame::{self, FrameError, Frames};
use crate::judge::{self, ClaimVerdict, JudgeError, Verdicts};

pub use chart::ChartError;
pub use template::{TemplateError, Templates};

/// A report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The run can't be read, or its raw data can't be trusted.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The verdicts can't be kept.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A figure can't be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The report can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Where a report is and what it says, for whoever prints the claims table.
#[derive(Clone, Debug)]
pub struct ReportSummary {
    /// `RUN/report/report.html`.
    pub html: PathBuf,
    /// `RUN/report/report.md`.
    pub markdown: PathBuf,
    /// Claims, sorted by name.
    pub claims: Vec<ClaimVerdict>,
    /// Deviations, those of the plan before those that the run found.
    pub deviations: Vec<Deviation>,
    /// Trials that the report stands on.
    pub trials_measured: usize,
    /// Planned trials that it does not stand on: failed, invalid, unreadable or not run.
    pub trials_not_measured: usize,
}

/// Makes `RUN/frames` and `RUN/report` anew from a run directory. `templates` is a folder whose
/// files replace the built-in ones of the same name.
pub fn report(
    run_dir: &Path,
    registry: &Registry,
    templates: Option<&Path>,
) -> Result<ReportSummary, ReportError> {
    let templates = Templates::load(templates)?;
    let frames = frame::frame(run_dir, registry)?;
    let verdicts = judge::judge(&frames);
    verdicts.write(&run_dir.join("frames"))?;
    let folder = run_dir.join("report");
    files::write_folder(&folder, &render(&frames, &verdicts, &templates)?)?;
    Ok(ReportSummary {
        html: folder.join("report.html"),
        markdown: folder.join("report.md"),
        claims: verdicts.claims,
        deviations: deviations(&frames),
        trials_measured: frames.trials.len(),
        trials_not_measured: frames.unusable.len(),
    })
}

/// The files of a report by their names in its folder.
pub fn render(
    frames: &Frames,
    verdicts: &Verdicts,
    templates: &Templates,
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let figures = figures::draw(frames, verdicts)?;
    let view = view::View::new(frames, verdicts, &figures);
    let mut files = vec![
        (
            "report.html".to_owned(),
            templates.html(&view)?.into_bytes(),
        ),
        (
            "report.md".to_owned(),
            templates.markdown(&view)?.into_bytes(),
        ),
        (
            "metrics.csv".to_owned(),
            format::csv(&verdicts.metrics).into_bytes(),
        ),
    ];
    let figures = figures.values().flatten();
    files.extend(figures.map(|figure| {
        let svg = chart::standalone(&figure.svg);
        (figure.file.clone(), svg.into_bytes())
    }));
    Ok(files)
}

fn deviations(frames: &Frames) -> Vec<Deviation> {
    let run = &frames.run;
    let all = run.plan.deviations.iter().chain(&run.record.deviations);
    all.cloned().collect()
}
