//! Whether a run in virtual time has the results that it should have.

use std::path::{Path, PathBuf};

use vexp_api::compared::{self, Compared, Comparison, With};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RECORD_BYTES, read_named};
use vexp_engine::run::dispatch::now_rfc3339;
use vexp_engine::run::files;
use vexp_report::expected::{Comparison as OfFile, Expected as EachTrial};
use vexp_report::frame::{self, Frames};
use vexp_report::parting::{self, Parting};
use vexp_report::{assurance, identity};

use crate::args::{Chosen, Expected};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// The file beside a study that says what its effort gives in virtual time.
pub(super) fn beside(study: &Chosen) -> PathBuf {
    let folder = study.file.with_extension("").join("expected");
    folder.join(format!("{}.json", study.effort))
}

/// A run's results, held against what is expected of them.
pub(super) struct Held {
    /// For standard output.
    out: String,
    /// For standard error.
    said: Vec<String>,
    /// With what it ends, whatever the verdicts are.
    exit: Option<Exit>,
}

impl Held {
    /// Says it, and gives what decides.
    pub(super) fn say(&self, verdicts: Exit) -> Exit {
        render::out(&self.out);
        self.said.iter().for_each(|text| render::say(text));
        self.exit.unwrap_or(verdicts)
    }
}

/// Holds a run's results against those that are expected, and keeps in its folder that it was done. Where nothing is asked
/// for, what stands beside the study is compared and decides nothing.
pub(super) fn hold(
    run: &Path,
    (study, expected): (&Chosen, Option<&Expected>),
    registry: &Registry,
) -> Result<Held, Failure> {
    let frames = read(run, registry)?;
    let found = identity::digest(&frames).or_exit(Exit::Unreadable)?;
    let mut held = Held {
        out: format!("results: {found}\n"),
        said: Vec::new(),
        exit: None,
    };
    let beside = beside(study);
    let comparison = match expected {
        None if !beside.is_file() => {
            held.said.push(
                "the same on every computer with the same vexp, images and study: --expect checks it"
                    .to_owned(),
            );
            return Ok(held);
        }
        None => {
            let comparison = of_file(&beside, run, &frames, &mut held)?;
            held.exit = None;
            comparison
        }
        Some(Expected::File(path)) => of_file(path, run, &frames, &mut held)?,
        Some(Expected::Digest(digest)) => of_digest(digest, &found, &frames, &mut held),
        Some(Expected::Run(other)) => {
            let other = read(other, registry)?;
            let parting = part(&other, &frames)?;
            match parting.is_same() {
                true => held.out.push_str("as expected, to the last bit\n"),
                false => {
                    held.out.push_str("NOT as expected\n");
                    held.out.push_str(&parting::text(&parting));
                    held.said.push(DEPENDS.to_owned());
                    held.exit = Some(Exit::Refuted);
                }
            }
            of_run_with(&other, &parting)?
        }
    };
    if let Err(failure) = keep(run, &found, comparison) {
        held.said.push(format!(
            "the run can't keep that it was compared: {}",
            failure.messages.join(": ")
        ));
    }
    Ok(held)
}

fn of_digest(digest: &Digest, found: &Digest, frames: &Frames, held: &mut Held) -> Comparison {
    let same = digest == found;
    match same {
        true => held.out.push_str("as expected, to the last bit\n"),
        false => {
            held.out.push_str("NOT as expected\n");
            held.said.push(
                "give the other run's folder instead of its digest to see where they part"
                    .to_owned(),
            );
            held.said.push(DEPENDS.to_owned());
            held.exit = Some(Exit::Refuted);
        }
    }
    let trials = frames.trials.len();
    Comparison {
        same: if same { trials } else { 0 },
        differ: if same { 0 } else { trials },
        ..comparison(With::Digest(digest.clone()))
    }
}

/// A comparison of which nothing is known yet.
fn comparison(with: With) -> Comparison {
    Comparison {
        at: now_rfc3339(),
        vexp: crate::VERSION.to_owned(),
        results: Digest::of(b""),
        with,
        same: 0,
        differ: 0,
        unknown: 0,
        given: Vec::new(),
        parts: None,
    }
}

/// How two runs of the same study compare.
pub(super) fn part(expected: &Frames, found: &Frames) -> Result<Parting, Failure> {
    let images = |frames: &Frames| files::image_digests(&frames.run.dir).or_exit(Exit::Unreadable);
    let (ours, theirs) = (images(expected)?, images(found)?);
    let [expected, found] = [(expected, &ours), (found, &theirs)]
        .map(|(frames, images)| parting::Side { frames, images });
    parting::between(expected, found).or_exit(Exit::Unreadable)
}

/// What is kept of a comparison with another run.
pub(super) fn of_run_with(other: &Frames, parting: &Parting) -> Result<Comparison, Failure> {
    let record = &other.run.record;
    let with = With::Run {
        id: record.id.clone(),
        vexp: record.vexp.clone(),
        results: identity::digest(other).or_exit(Exit::Unreadable)?,
        computer: record.computer.clone(),
        others: assurance::least_others(&other.run),
    };
    let given = parting.given.iter().filter(|given| given.explains);
    Ok(Comparison {
        same: parting.same,
        differ: parting.differ.len(),
        given: given.map(|given| given.what.clone()).collect(),
        parts: parting.first.as_ref().map(|_| parting.sentence.clone()),
        ..comparison(with)
    })
}

/// Adds a comparison to those that a run has: of the results that it has now.
pub(super) fn keep(run: &Path, results: &Digest, made: Comparison) -> Result<(), Failure> {
    let path = run.join(compared::FILE);
    let mut all = match path.exists() {
        true => files::read_json(&path).or_exit(Exit::Unreadable)?,
        false => Compared {
            format: compared::FORMAT,
            comparisons: Vec::new(),
        },
    };
    if all.format != compared::FORMAT {
        let text = format!("{} has format {}", path.display(), all.format);
        return Err(Failure::new(Exit::Unreadable, text));
    }
    all.comparisons.push(Comparison {
        results: results.clone(),
        ..made
    });
    files::write_json(&path, &all).or_exit(Exit::Infrastructure)
}

const DEPENDS: &str = "results depend on the study, on the images (images.json in a run) and on how vexp talks to the \
                       machines: see docs/virtual.md";

/// Compares a run with a file, and says how.
fn of_file(
    path: &Path,
    run: &Path,
    frames: &Frames,
    held: &mut Held,
) -> Result<Comparison, Failure> {
    let bytes = read_named(path, RECORD_BYTES).or_exit(Exit::Usage)?;
    let text = std::str::from_utf8(&bytes).or_exit(Exit::Usage)?;
    let expected = EachTrial::parse(text)
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
    let compared = expected.compare(&of_run(run, frames)?);
    held.out.push_str(&format!("{}\n", words(&compared, path)));
    if !compared.differ.is_empty() {
        held.said.push(DEPENDS.to_owned());
        held.exit = Some(Exit::Refuted);
    }
    let (origin, computer) = expected.origin();
    let with = With::File {
        digest: Digest::of(&bytes),
        run: origin.cloned(),
        computer: computer.cloned(),
    };
    let images = compared.images.iter().map(|name| format!("image {name}"));
    Ok(Comparison {
        same: compared.same,
        differ: compared.differ.len(),
        unknown: compared.unknown,
        given: images.collect(),
        ..comparison(with)
    })
}

fn words(compared: &OfFile, path: &Path) -> String {
    let file = path.display();
    let OfFile {
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

pub(super) fn read(run: &Path, registry: &Registry) -> Result<Frames, Failure> {
    frame::read(run, registry).or_exit(Exit::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_with_the_first_trial_and_the_images() {
        let name = |text: &str| Name::new(text).unwrap();
        let all = OfFile {
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
        let other = OfFile {
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
