//! `vexp export --anonymous`: a copy of the run in which names of people and places are others, and what followed from
//! the old ones follows from the new: digests in records, the study's, checksums of the log.
//!
//! Nothing is taken from the copy that the run does not say: its samples and verdicts must be the run's own, and its plan
//! must follow from its study, or there is no bundle. The run itself is not touched, so that an export without the
//! option is the same as before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::bytes::{Captures, Regex};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::record::Computer;
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RAW_BYTES, RECORD_BYTES, read_named};
use vexp_api::spec::Study;
use vexp_engine::bundle::{Contents, Source};
use vexp_engine::run::files;
use vexp_engine::run::log::checked_again;
use vexp_report::derived::{Derived, derive};
use vexp_report::run::Run;

use super::names::{
    Names, Replaced, Replacing, Secret, computer, in_run, machines, of_study, on_this_computer,
};
use super::{IMAGES, Ingredients, Made, Options, RUN, TEMPLATES, again, copy_tree, unread};
use crate::commands::batch::left_out_node;
use crate::commands::report;
use crate::error::{Failure, OrExit as _};

/// What was made, and the folder in which its files are until it goes.
pub(super) struct Anonymous {
    pub(super) made: Made,
    pub(super) replaced: Vec<Replaced>,
    /// Goes with the value.
    pub(super) folder: tempfile::TempDir,
}

/// Locks and manifests of images: names of packages, which are the same for everybody and decide the images' keys.
fn is_of_images(path: &str) -> bool {
    path == "run/images.json"
        || ["locks/", "images/"]
            .iter()
            .any(|folder| path.starts_with(folder))
}

/// The contents of a bundle that names nobody. `hide` are further names, `show` such as mean nobody.
pub(super) fn made(
    asked: Ingredients<'_>,
    (hide, show): (&[Secret], &[String]),
    registry: &Registry,
) -> Result<Anonymous, Failure> {
    let run = Run::load(asked.run).or_exit(Exit::Unreadable)?;
    let mut contents = Contents::new();
    asked.copy_run(&mut contents)?;
    if let Some(folder) = &asked.templates {
        copy_tree(folder, TEMPLATES, &mut contents, &|_| true)?;
    }
    let names = names(&run, &contents, hide, show)?;
    let folder = tempfile::tempdir().or_exit(Exit::Infrastructure)?;
    let replaced = written(&contents, &names, folder.path())?;
    let (before, after) = (asked.run, folder.path().join(RUN));
    let made = Ingredients {
        run: &after,
        vexp: asked.vexp,
        options: Options {
            authors: Vec::new(),
            contact: None,
            archive: None,
            code: None,
            anonymous: true,
            ..asked.options
        },
        templates: asked.templates.map(|_| folder.path().join(TEMPLATES)),
        images: asked.images,
        binary: asked.binary,
    }
    .made(registry)?;
    same(before, &made.derived, registry)?;
    follows(&run, &made.derived.frames.run, registry)?;
    silent(&made.contents, &names)?;
    Ok(Anonymous {
        made,
        replaced,
        folder,
    })
}

/// All names that are known: those of this computer, of the study, of what programs printed, and those that were given.
fn names(
    run: &Run,
    contents: &Contents,
    hide: &[Secret],
    show: &[String],
) -> Result<Names, Failure> {
    let mut secrets = on_this_computer(&run.dir);
    secrets.extend(of_study(&run.study));
    let records = run.trials.values().chain(&run.set_aside);
    let computers = records.filter_map(|record| record.computer.as_ref());
    secrets.extend(computers.flat_map(computer));
    for deviation in &run.record.deviations {
        if let Some(node) = left_out_node(&deviation.subject) {
            let (node, facts) = (node.to_owned(), BTreeMap::new());
            secrets.extend(computer(&Computer { node, facts }));
        }
    }
    secrets.extend(hide.iter().cloned());
    for (path, source) in contents {
        if is_of_images(path.as_str()) {
            continue;
        }
        let bytes = bytes(source)?;
        secrets.extend(in_run(&bytes)?);
        if path.as_str().ends_with("/manifest.json") {
            // What a worker was told of the machines; damaged ones say nothing.
            machines(
                &serde_json::from_slice(&bytes).unwrap_or_default(),
                &mut secrets,
            );
        }
    }
    Names::new(&secrets, show, run.record.id.as_str())
}

fn bytes(source: &Source) -> Result<Vec<u8>, Failure> {
    match source {
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::File(path) => {
            let most = RECORD_BYTES.max(RAW_BYTES);
            read_named(path, most).or_exit(Exit::Unreadable)
        }
    }
}

/// Digests of what was changed, by what they were.
type Digests = BTreeMap<String, String>;

/// Writes all files with other names in them, and in their paths.
fn written(contents: &Contents, names: &Names, target: &Path) -> Result<Vec<Replaced>, Failure> {
    let mut replacing = Replacing::new(names);
    let mut digests = Digests::new();
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    for (path, source) in contents {
        let path = path.as_str();
        let before = bytes(source)?;
        if is_of_images(path) {
            put(&target.join(path), &before)?;
            continue;
        }
        let after = replacing.replaced(&before);
        let there = replacing.replaced(path.as_bytes()).into_owned();
        let there = target.join(String::from_utf8_lossy(&there).as_ref());
        if after != before.as_slice() {
            digests.insert(
                Digest::of(&before).to_string(),
                Digest::of(&after).to_string(),
            );
            if path.ends_with("study.json") {
                let of = |bytes: &[u8]| -> Result<String, Failure> {
                    let study: Study =
                        serde_json::from_slice(bytes).map_err(|error| broken(path, &error))?;
                    Ok(Digest::of_value(&study).or_exit(Exit::Usage)?.to_string())
                };
                digests.insert(of(&before)?, of(&after)?);
            }
        }
        put(&there, &after)?;
        paths.push((path.to_owned(), there));
    }
    records(&paths, &digests)?;
    Ok(replacing.summary())
}

fn broken(path: &str, error: &serde_json::Error) -> Failure {
    let message = format!("with other names in it, {path} is no study any more: {error}");
    Failure::new(Exit::Usage, message).hint(SHOW)
}

const SHOW: &str = "--show NAME leaves a name as it is that means nobody";

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        files::create_dir(folder).or_exit(Exit::Infrastructure)?;
    }
    std::fs::write(path, bytes).or_exit(Exit::Infrastructure)
}

/// What held digests of files, or checksums of its own lines, follows them. What tells computers apart gets a number: with
/// another bundle it could say that both are of the same people.
fn records(paths: &[(String, PathBuf)], digests: &Digests) -> Result<(), Failure> {
    let digest = Regex::new("sha256:[0-9a-f]{64}").or_exit(Exit::Usage)?;
    let computer = Regex::new(r#"("computer":\s*")(sha256:[0-9a-f]{64})""#).or_exit(Exit::Usage)?;
    let mut computers = Digests::new();
    for (path, file) in paths {
        let is_record = path.ends_with(".json") && !path.contains("/raw/");
        if !is_record && !path.ends_with("/events.jsonl") {
            continue;
        }
        let before = std::fs::read(file).or_exit(Exit::Infrastructure)?;
        let after = digest.replace_all(&before, |found: &Captures<'_>| {
            let text = String::from_utf8_lossy(&found[0]).into_owned();
            digests.get(&text).cloned().unwrap_or(text).into_bytes()
        });
        let after = computer.replace_all(&after, |found: &Captures<'_>| {
            let text = String::from_utf8_lossy(&found[2]).into_owned();
            let other = format!("computer {}", computers.len() + 1);
            let other = Digest::of(other.as_bytes()).to_string();
            let other = computers.entry(text).or_insert(other);
            [&found[1], other.as_bytes(), b"\""].concat()
        });
        let text = std::str::from_utf8(&after).ok();
        let log = text.filter(|_| path.ends_with("/events.jsonl"));
        let after = log.map_or_else(|| after.to_vec(), |log| checked_again(log).into_bytes());
        if after != before {
            put(file, &after)?;
        }
    }
    Ok(())
}

/// A sample's metric, time and value, to the last bit.
type Bits = (String, u64, u64, u64);

/// Values of a run by trial, whatever its nodes are called.
fn values(derived: &Derived) -> Vec<Vec<Bits>> {
    let trials = derived.frames.trials.iter().map(|trial| {
        let rows = trial.rows.iter().map(|row| {
            let sample = &row.sample;
            let bits = (
                sample.t.to_bits(),
                sample.dt.to_bits(),
                sample.value.to_bits(),
            );
            (sample.metric.to_string(), bits.0, bits.1, bits.2)
        });
        let mut rows: Vec<Bits> = rows.collect();
        rows.sort();
        rows
    });
    let mut trials: Vec<_> = trials.collect();
    trials.sort();
    trials
}

/// The results are those of the run.
fn same(run: &Path, after: &Derived, registry: &Registry) -> Result<(), Failure> {
    let before = derive(run, registry, None).map_err(|error| report::unreadable(&error))?;
    let verdicts = |of: &Derived| {
        let claims = of.verdicts.claims.iter();
        let mut all: Vec<_> = claims
            .map(|claim| (claim.verdict.as_str(), claim.tested))
            .collect();
        all.sort_unstable();
        all
    };
    match values(&before) == values(after) && verdicts(&before) == verdicts(after) {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Incomplete,
            "with other names in its raw data the run has other results, so that it can't be made anonymous",
        )
        .hint(SHOW)),
    }
}

/// Study, plan, link rate and images follow from each other as they did.
fn follows(before: &Run, after: &Run, registry: &Registry) -> Result<(), Failure> {
    let findings = again::findings(after, registry);
    if findings.is_empty() {
        return Ok(());
    }
    let known = again::findings(before, registry).len();
    if findings.len() <= known {
        return Ok(());
    }
    let (path, why) = &findings[0];
    let message = format!("with other names in it, the bundle would not verify: {path} {why}");
    Err(Failure::new(Exit::Incomplete, message).hint(format!(
        "a name that the study puts together of parts, or that is a word of the study, can't be replaced: {SHOW}"
    )))
}

/// No name that is known is left.
fn silent(contents: &Contents, names: &Names) -> Result<(), Failure> {
    for (path, source) in contents {
        if is_of_images(path.as_str()) || path.as_str().starts_with(&format!("{IMAGES}/")) {
            continue;
        }
        let bytes = bytes(source)?;
        for place in [path.as_str().as_bytes(), &bytes] {
            if let Some(hit) = names.exact(place).next() {
                let text = String::from_utf8_lossy(&place[hit.start..hit.end]).into_owned();
                let message = format!("{path} would still have the {} `{text}`", hit.kind.as_str());
                return Err(Failure::new(Exit::Incomplete, message).hint(SHOW));
            }
        }
    }
    Ok(())
}

/// Bytes of what a linter reads; none of what is no text of the run's.
pub(super) fn readable(path: &str, source: &Source) -> Result<Option<Vec<u8>>, Failure> {
    match (is_of_images(path) || path.ends_with(".parquet"), source) {
        (true, _) => Ok(None),
        (false, Source::File(file))
            if file.metadata().map_err(|error| unread(file, &error))?.len() > RECORD_BYTES =>
        {
            Ok(None)
        }
        (false, source) => bytes(source).map(Some),
    }
}
