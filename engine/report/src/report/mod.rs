//! Frames and verdicts → one self-contained HTML file, a Markdown file, figures and a CSV file.

pub mod answer;
mod axis;
mod chart;
mod data;
mod figures;
mod forest;
mod format;
mod index;
mod lines;
mod tables;
mod template;
mod view;

use std::path::{Path, PathBuf};

use vexp_api::plan::Deviation;
use vexp_api::registry::Registry;

use crate::assurance;
use crate::derived::{Derived, derive};
use crate::files::WriteError;
use crate::frame::{FrameError, Frames, Unusable};
use crate::judge::{ClaimVerdict, JudgeError, Verdicts};
use crate::table::{Format, TableError};

pub(crate) use template::markdown;
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
    /// The numbers of a figure can't be written as a table.
    #[error(transparent)]
    Table(#[from] TableError),
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
    /// Planned trials that it does not stand on: failed, invalid, unreadable or not run. What no look asked
    /// for is none of them.
    pub trials_not_measured: usize,
    /// What came of the run's looks, in words, if its plan has any.
    pub looks: Option<String>,
    /// How far its results are known to be the same elsewhere, in a few words; nothing in real time.
    pub assurance: Option<String>,
}

/// Makes `RUN/frames` and `RUN/report` anew from a run directory. `templates` is a folder whose
/// files replace the built-in ones of the same name.
pub fn report(
    run_dir: &Path,
    registry: &Registry,
    templates: Option<&Path>,
) -> Result<ReportSummary, ReportError> {
    let derived = derive(run_dir, registry, templates)?;
    derived.write(run_dir)?;
    Ok(ReportSummary::of(&derived, run_dir))
}

impl ReportSummary {
    /// What was derived, once it is written below `out`.
    pub fn of(derived: &Derived, out: &Path) -> Self {
        let (frames, folder) = (&derived.frames, out.join("report"));
        Self {
            html: folder.join("report.html"),
            markdown: folder.join("report.md"),
            claims: derived.verdicts.claims.clone(),
            deviations: deviations(frames),
            trials_measured: frames.trials.len(),
            trials_not_measured: missed(frames, &derived.verdicts).count(),
            looks: looks(&derived.verdicts),
            assurance: assurance::of(frames).map(|known| known.words()),
        }
    }
}

/// The files of a report by their names in its folder.
pub fn render(
    frames: &Frames,
    verdicts: &Verdicts,
    templates: &Templates,
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let index = index::Index::new(frames, &verdicts.metrics);
    let paper = figures::paper(&index);
    let more = figures::more(&index);
    let tables = tables::tables(&index);
    let view = view::View::new(&index, verdicts, &paper, &more, &tables);
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
    if let Some(svg) = forest::svg(&verdicts.claims, frames.run.plan.testbed.as_str()) {
        let alone = chart::standalone(&svg.replacen("</title>", "</title><defs></defs>", 1));
        files.push(("figures/claims.svg".to_owned(), alone.into_bytes()));
    }
    for figure in paper.iter().chain(more.values().flatten()) {
        let name = |end: &str| format!("figures/{}.{end}", figure.id);
        files.push((name("svg"), figure.file.clone().into_bytes()));
        files.push((name("csv"), data::figure(&figure.data, Format::Csv)?));
        files.push((
            name("parquet"),
            data::figure(&figure.data, Format::Parquet)?,
        ));
    }
    for table in &tables {
        let name = |end: &str| format!("tables/{}.{end}", table.view.id);
        files.push((name("csv"), data::table(&table.data, Format::Csv)?));
        files.push((name("parquet"), data::table(&table.data, Format::Parquet)?));
    }
    Ok(files)
}

/// What came of the run's looks, in words.
fn looks(verdicts: &Verdicts) -> Option<String> {
    let looks = verdicts.looks.as_ref()?;
    Some(looks.words(&verdicts.claims, None))
}

/// Trials that can't be used, without those that no look asked for.
fn missed<'f>(frames: &'f Frames, verdicts: &'f Verdicts) -> impl Iterator<Item = &'f Unusable> {
    let unwanted = |trial: &Unusable| {
        let looks = verdicts.looks.as_ref();
        looks.is_some_and(|looks| looks.unwanted.contains(&trial.trial))
    };
    frames.unusable.iter().filter(move |trial| !unwanted(trial))
}

fn deviations(frames: &Frames) -> Vec<Deviation> {
    let run = &frames.run;
    let all = run.plan.deviations.iter().chain(&run.record.deviations);
    all.cloned().collect()
}
