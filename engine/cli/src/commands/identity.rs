//! Whether a run in virtual time has the results that it should have.

use std::path::{Path, PathBuf};

use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RECORD_BYTES, read_named};
use vexp_engine::run::files;
use vexp_report::expected::{Comparison, Expected as EachTrial};
use vexp_report::frame::{self, Frames};
use vexp_report::identity;

use crate::args::{Chosen, Expected};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// The file beside a study that says what its effort gives in virtual time.
pub(super) fn beside(study: &Chosen) -> PathBuf {
    let folder = study.file.with_extension("").join("expected");
    folder.join(format!("{}.json", study.effort))
}

/// Says which results a run has, and whether they are those that are expected: if not, that decides. Where nothing is
/// asked for, what stands beside the study is compared and decides nothing.
pub(super) fn say(
    run: &Path,
    (study, expected): (&Chosen, Option<&Expected>),
    registry: &Registry,
    verdicts: Exit,
) -> Result<Exit, Failure> {
    let frames = read(run, registry)?;
    let found = identity::digest(&frames).or_exit(Exit::Unreadable)?;
    render::out(&format!("results: {found}\n"));
    let (same, first) = match expected {
        None => {
            let beside = beside(study);
            if !beside.is_file() {
                render::say(
                    "the same on every computer with the same vexp, images and study: --expect checks it",
                );
                return Ok(verdicts);
            }
            of_file(&beside, run, &frames)?;
            return Ok(verdicts);
        }
        Some(Expected::File(path)) => {
            return Ok(match of_file(path, run, &frames)? {
                true => verdicts,
                false => Exit::Refuted,
            });
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
    render::say(DEPENDS);
    Ok(Exit::Refuted)
}

const DEPENDS: &str = "results depend on the study, on the images (images.json in a run) and on how vexp talks to the \
                       machines: see docs/virtual.md";

/// Compares a run with a file, says how, and gives whether all is as expected.
fn of_file(path: &Path, run: &Path, frames: &Frames) -> Result<bool, Failure> {
    let bytes = read_named(path, RECORD_BYTES).or_exit(Exit::Usage)?;
    let text = String::from_utf8(bytes).or_exit(Exit::Usage)?;
    let expected = EachTrial::parse(&text)
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
    let compared = expected.compare(&of_run(run, frames)?);
    render::out(&format!("{}\n", words(&compared, path)));
    let same = compared.differ.is_empty();
    if !same {
        render::say(DEPENDS);
    }
    Ok(same)
}

fn words(compared: &Comparison, path: &Path) -> String {
    let file = path.display();
    let Comparison {
        same,
        differ,
        unknown,
        images,
    } = compared;
    let mut text = match differ.first() {
        None => format!("as expected, to the last bit: {same} trials are those of {file}"),
        Some(first) => format!(
            "NOT as expected: {} of {} trials differ from those of {file}, first {first}",
            differ.len(),
            same + differ.len(),
        ),
    };
    if *unknown > 0 {
        text.push_str(&format!("; nothing is expected of {unknown} others"));
    }
    if !images.is_empty() {
        let names: Vec<&str> = images.iter().map(Name::as_str).collect();
        text.push_str(&format!(
            "\nimages differ from those that were used then: {}",
            names.join(", ")
        ));
    }
    text
}

/// Writes what a run gives into a file that others compare with.
pub(super) fn write(run: &Path, path: &Path, registry: &Registry) -> Result<(), Failure> {
    let frames = read(run, registry)?;
    let mut text =
        serde_json::to_string_pretty(&of_run(run, &frames)?).or_exit(Exit::Unreadable)?;
    text.push('\n');
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).or_exit(Exit::Infrastructure)?;
    }
    std::fs::write(path, text).or_exit(Exit::Infrastructure)
}

fn of_run(run: &Path, frames: &Frames) -> Result<EachTrial, Failure> {
    let images = files::image_digests(run).or_exit(Exit::Unreadable)?;
    EachTrial::of(images, frames).or_exit(Exit::Unreadable)
}

fn read(run: &Path, registry: &Registry) -> Result<Frames, Failure> {
    frame::read(run, registry).or_exit(Exit::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_with_the_first_trial_and_the_images() {
        let name = |text: &str| Name::new(text).unwrap();
        let all = Comparison {
            same: 33,
            differ: Vec::new(),
            unknown: 0,
            images: Vec::new(),
        };
        let path = Path::new("paper/expected/quick.json");
        assert_eq!(
            words(&all, path),
            "as expected, to the last bit: 33 trials are those of paper/expected/quick.json"
        );
        let other = Comparison {
            same: 31,
            differ: vec![name("send.r1"), name("send.r2")],
            unknown: 1,
            images: vec![name("guest")],
        };
        assert_eq!(
            words(&other, path),
            "NOT as expected: 2 of 33 trials differ from those of paper/expected/quick.json, first send.r1; \
             nothing is expected of 1 others\nimages differ from those that were used then: guest"
        );
    }
}
