//! `vexp plan`.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_engine::plan::calibrate;

use super::{build, calibrate::known, since, study};
use crate::args::{Format, StudyArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(
    args: &StudyArgs,
    since: Option<&Path>,
    store: Option<&Path>,
    format: Format,
    registry: &Registry,
) -> Result<Exit, Failure> {
    let args = &args.chosen().or_exit(Exit::Usage)?;
    let (checked, loaded) = study::checked(&args.file, registry)?;
    let testbed = args.testbed(checked.study()).or_exit(Exit::Usage)?;
    // A testbed or an effort that is unknown is the plan's finding.
    let found = match calibrate(&checked, &testbed) {
        Ok(Some(_)) => known(&checked, &testbed, store)?,
        _ => None,
    };
    let plan = study::planned(
        &checked,
        args,
        found.as_ref().map(|found| &found.calibration),
    )?;
    if let Some(run) = since {
        return since::plan(run, (&checked, &loaded), &plan, store, format);
    }
    match format {
        Format::Text => {
            let overlay = checked.study().testbeds.get(&testbed);
            let link = overlay.and_then(|overlay| overlay.link.as_ref());
            let measured = found.as_ref().and_then(|found| found.measured.as_deref());
            let to_build = build::to_build(&plan.images, store);
            render::plan::text(&plan, link, measured, to_build, &mut render::out);
        }
        Format::Json => {
            let mut out = render::Pieces::default();
            plan.write_json(&mut out).or_exit(Exit::Usage)?;
            out.end("\n");
        }
    }
    Ok(Exit::Fine)
}
