//! Run directory → everything that follows from it, in memory.

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::registry::Registry;

use crate::files::{self, WriteError};
use crate::frame::{self, Frames};
use crate::judge::{self, Verdicts};
use crate::report::{self, ReportError, Templates};
use crate::table::{self, Format};

/// What follows from a run's raw data.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Samples, and the run's records.
    pub frames: Frames,
    /// Metrics and verdicts.
    pub verdicts: Verdicts,
    /// The files of `frames/` and `report/` by their path in the run's folder.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Derived {
    /// Writes `frames/` and `report/` below `out`: the run's own folder, or another one. Other files
    /// in `frames/` stay, a report that is there is replaced.
    ///
    /// # Errors
    /// A file or folder can't be written.
    pub fn write(&self, out: &Path) -> Result<(), WriteError> {
        let out = files::below(out)?;
        out.create_dir("frames")?;
        let mut report = Vec::new();
        for (name, bytes) in &self.files {
            match name.strip_prefix("report/") {
                Some(name) => report.push((name.to_owned(), bytes.clone())),
                None => out.write(name, bytes)?,
            }
        }
        Ok(out.replace_dir("report", &report)?)
    }
}

/// Derives all files from a run directory, of which only records and raw data are read.
/// `templates` is a folder whose files replace the built-in ones of the same name.
pub fn derive(
    run_dir: &Path,
    registry: &Registry,
    templates: Option<&Path>,
) -> Result<Derived, ReportError> {
    let templates = Templates::load(templates)?;
    let frames = frame::read(run_dir, registry)?;
    let verdicts = judge::judge(&frames);
    let samples = table::frames_to(&frames, Format::Parquet)?;
    let mut files = BTreeMap::from([("frames/samples.parquet".to_owned(), samples)]);
    for (name, bytes) in verdicts.files()? {
        files.insert(format!("frames/{name}"), bytes);
    }
    for (name, bytes) in report::render(&frames, &verdicts, &templates)? {
        files.insert(format!("report/{name}"), bytes);
    }
    Ok(Derived {
        frames,
        verdicts,
        files,
    })
}
