//! Whether a run in virtual time has the results that it should have.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::frame::{self, Frames};
use vexp_report::identity;

use crate::args::Expected;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Says which results a run has, and whether they are those that are expected: if not, that decides.
pub(super) fn say(
    run: &Path,
    expected: Option<&Expected>,
    registry: &Registry,
    verdicts: Exit,
) -> Result<Exit, Failure> {
    let frames = read(run, registry)?;
    let found = identity::digest(&frames).or_exit(Exit::Unreadable)?;
    render::out(&format!("results: {found}\n"));
    let (same, first) = match expected {
        None => {
            render::say(
                "the same on every computer with the same vexp, images and study: \
                 --expect checks it",
            );
            return Ok(verdicts);
        }
        Some(Expected::Digest(digest)) => (*digest == found, None),
        Some(Expected::Run(other)) => {
            let other = read(other, registry)?;
            let first = identity::difference(&other, &frames);
            (first.is_none(), first)
        }
    };
    if same {
        render::out("as expected, to the last bit\n");
        return Ok(verdicts);
    }
    render::out("NOT as expected\n");
    match first {
        Some(first) => render::out(&format!("first difference: {first}\n")),
        None => render::say("give the other run's folder instead of its digest to see where"),
    }
    render::say(
        "results depend on the study, the images (images.json in a run), and the build of vexp \
         itself, which is a part of the machine: see docs/virtual.md",
    );
    Ok(Exit::Refuted)
}

fn read(run: &Path, registry: &Registry) -> Result<Frames, Failure> {
    frame::read(run, registry).or_exit(Exit::Unreadable)
}
