//! `vexp plan`.

use vexp_api::digest::canonical_json;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;

use super::study;
use crate::args::{Format, StudyArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(args: &StudyArgs, format: Format, registry: &Registry) -> Result<Exit, Failure> {
    let (checked, _) = study::checked(&args.file, registry)?;
    let plan = study::planned(&checked, args)?;
    match format {
        Format::Text => render::out(&render::plan::text(&plan)),
        Format::Json => {
            let text = canonical_json(&plan).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
    }
    Ok(Exit::Fine)
}
