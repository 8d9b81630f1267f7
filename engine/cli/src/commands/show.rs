//! `vexp show`: a run's trials, or everything about one of them.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_report::frame;
use vexp_report::report::ReportError;
use vexp_report::run::Run;

use super::report::{is_run, unreadable};
use crate::error::Failure;
use crate::render;

pub(super) fn run(
    folder: &Path,
    trial: Option<&Name>,
    registry: &Registry,
) -> Result<Exit, Failure> {
    is_run(folder)?;
    let error = |error: frame::FrameError| unreadable(&ReportError::Frame(error));
    let run = Run::load(folder).map_err(|source| error(source.into()))?;
    let Some(name) = trial else {
        render::out(&render::show::trials(&run));
        return Ok(Exit::Fine);
    };
    let planned = run.plan.trials().find(|trial| trial.id == *name);
    let planned = planned.ok_or_else(|| {
        let message = format!("{} has no trial {name}", folder.display());
        Failure::new(Exit::Usage, message)
            .hint(format!("`vexp show {}` lists its trials", folder.display()))
    })?;
    let found = frame::one(&run, planned.clone(), registry).map_err(error)?;
    render::out(&render::show::trial(&run, planned, &found));
    Ok(Exit::Fine)
}
