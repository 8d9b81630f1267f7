//! `vexp verify`: every digest, and everything computed again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_engine::bundle::{BundlePath, Limits, Manifest, list, unpack};
use vexp_engine::run::files;
use vexp_engine::store::digest_file;

use super::{FORMAT, IMAGES, Images, Ingredients, OPTIONS, Options, RUN, TEMPLATES, failure};
use crate::args::{Format, VerifyArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    pub(crate) run: String,
    /// SHA-256 of the file.
    pub(crate) digest: Digest,
    /// SHA-256 of its manifest.
    pub(crate) contents: Digest,
    /// Version that made the bundle.
    pub(crate) made_by: String,
    /// Version that looked at it.
    pub(crate) vexp: &'static str,
    pub(crate) parts: Vec<Part>,
    pub(crate) claims: Vec<ClaimPair>,
    /// Whether everything is as it was.
    pub(crate) identical: bool,
}

/// Files that belong together.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) part: &'static str,
    /// `digests`, or `computed again`.
    pub(crate) how: &'static str,
    pub(crate) files: usize,
    /// Those that are not the same.
    pub(crate) different: Vec<String>,
}

/// A claim's verdict in the bundle and here; none where it is not.
#[derive(Debug, Serialize)]
pub(crate) struct ClaimPair {
    pub(crate) claim: String,
    pub(crate) bundle: Option<String>,
    pub(crate) here: Option<String>,
}

pub(in crate::commands) fn run(args: &VerifyArgs, registry: &Registry) -> Result<Exit, Failure> {
    let digest = digest_file(&args.bundle).or_exit(Exit::Usage)?;
    expect(args.digest.as_ref(), &digest)?;
    let scratch;
    let target = match &args.into {
        Some(folder) => {
            empty(folder)?;
            folder.clone()
        }
        None => {
            scratch = tempfile::tempdir().or_exit(Exit::Infrastructure)?;
            scratch.path().to_owned()
        }
    };
    let limits = Limits {
        bytes: args.max_size.bytes(),
        ..Limits::default()
    };
    let unpacked = unpack(&args.bundle, &target, &limits);
    let unpacked = unpacked.map_err(|error| {
        failure(&error).hint(
            "this is not the bundle that `vexp export` made: get it again from where it comes from",
        )
    })?;
    let verified = compare(&unpacked.root, &unpacked.manifest, digest, registry)?;
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&verified).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        Format::Text => render::out(&render::verified::text(&verified)),
    }
    Ok(if verified.identical {
        Exit::Fine
    } else {
        Exit::Refuted
    })
}

fn expect(wanted: Option<&Digest>, found: &Digest) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if wanted != found => Err(Failure::new(
            Exit::Usage,
            format!("the bundle's digest is {found}, and not {wanted}"),
        )),
        _ => Ok(()),
    }
}

/// Makes a folder, which must not have anything in it.
fn empty(folder: &Path) -> Result<(), Failure> {
    files::create_dir(folder).or_exit(Exit::Infrastructure)?;
    let mut entries = std::fs::read_dir(folder).or_exit(Exit::Infrastructure)?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(
            Failure::new(Exit::Usage, format!("{} is not empty", folder.display()))
                .hint("--into takes a folder that is new or empty"),
        ),
    }
}

fn compare(
    root: &Path,
    manifest: &Manifest,
    digest: Digest,
    registry: &Registry,
) -> Result<Verified, Failure> {
    let options = options(root)?;
    let run = root.join(RUN);
    let made = Ingredients {
        run: &run,
        vexp: &manifest.vexp,
        templates: options.templates.then(|| root.join(TEMPLATES)),
        images: options.images.then(|| Images::Unpacked(root.join(IMAGES))),
        options,
    }
    .made(registry)
    .map_err(|bad| Failure {
        exit: Exit::Usage,
        ..bad
    })?;
    let id = &made.derived.frames.run.record.id;
    if *id != manifest.run {
        let message = format!(
            "the bundle is of run {}, and its run.json of {id}",
            manifest.run
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let here = list(&manifest.run, &manifest.vexp, &made.contents);
    let here = here.map_err(|error| failure(&error))?;
    let parts = parts(manifest, &here);
    let now = made.derived.files.get("frames/claims.json");
    let claims = claims(
        &run.join("frames/claims.json"),
        now.map_or(&[], Vec::as_slice),
    )?;
    Ok(Verified {
        run: manifest.run.to_string(),
        digest,
        contents: manifest.digest().map_err(|error| failure(&error))?,
        made_by: manifest.vexp.clone(),
        vexp: crate::VERSION,
        identical: parts.iter().all(|part| part.different.is_empty()),
        parts,
        claims,
    })
}

fn options(root: &Path) -> Result<Options, Failure> {
    let path = root.join(OPTIONS);
    let options: Options = files::read_json(&path).or_exit(Exit::Usage)?;
    if options.format != FORMAT {
        let message = format!(
            "{OPTIONS} has format {}, and this vexp reads {FORMAT}",
            options.format
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(options)
}

/// The parts of a bundle in the order in which they are shown: name, how it is looked at, and what
/// its files' paths begin with. The first that fits counts.
const PARTS: &[(&str, &str, &[&str])] = &[
    (
        "study",
        DIGESTS,
        &["run/source/", "run/study.json", "run/plan.json"],
    ),
    ("samples", AGAIN, &["run/frames/samples."]),
    (
        "metrics",
        AGAIN,
        &["run/frames/metrics.", "run/frames/steady."],
    ),
    ("verdicts", AGAIN, &["run/frames/"]),
    ("report", AGAIN, &["run/report/"]),
    ("image locks", AGAIN, &["locks/"]),
    ("images", DIGESTS, &["images/"]),
    ("templates", DIGESTS, &["templates/"]),
    ("raw data and records", DIGESTS, &["run/"]),
    ("about the bundle", AGAIN, &[""]),
];
const DIGESTS: &str = "digests";
const AGAIN: &str = "computed again";

fn parts(bundle: &Manifest, here: &Manifest) -> Vec<Part> {
    let mut parts: Vec<Part> = PARTS
        .iter()
        .map(|(part, how, _)| Part {
            part,
            how,
            files: 0,
            different: Vec::new(),
        })
        .collect();
    let paths: BTreeSet<&BundlePath> = bundle.files.keys().chain(here.files.keys()).collect();
    for path in paths {
        let fits = |(_, _, begins): &&(&str, &str, &[&str])| {
            begins.iter().any(|begin| path.as_str().starts_with(begin))
        };
        let Some(at) = PARTS.iter().position(|part| fits(&part)) else {
            continue;
        };
        parts[at].files += 1;
        let what = match (bundle.files.get(path), here.files.get(path)) {
            (Some(one), Some(other)) if one == other => continue,
            (Some(_), Some(_)) => "differs",
            (Some(_), None) => "does not follow from the run",
            (None, _) => "is missing in the bundle",
        };
        parts[at].different.push(format!("{path} {what}"));
    }
    parts.retain(|part| part.files > 0);
    parts
}

/// Verdicts by claim.
fn verdicts(bytes: &[u8]) -> Result<BTreeMap<String, String>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Claim {
        claim: String,
        verdict: String,
    }
    #[derive(serde::Deserialize)]
    struct Claims {
        claims: Vec<Claim>,
    }
    let claims: Claims = serde_json::from_slice(bytes)?;
    Ok(claims
        .claims
        .into_iter()
        .map(|c| (c.claim, c.verdict))
        .collect())
}

fn claims(bundle: &PathBuf, here: &[u8]) -> Result<Vec<ClaimPair>, Failure> {
    // A bundle without verdicts, or with something else in their place, is shown as such.
    let mut before = std::fs::read(bundle)
        .ok()
        .and_then(|bytes| verdicts(&bytes).ok())
        .unwrap_or_default();
    let here = verdicts(here).or_exit(Exit::Incomplete)?;
    let mut pairs: Vec<ClaimPair> = here
        .into_iter()
        .map(|(claim, verdict)| ClaimPair {
            bundle: before.remove(&claim),
            here: Some(verdict),
            claim,
        })
        .collect();
    pairs.extend(before.into_iter().map(|(claim, verdict)| ClaimPair {
        claim,
        bundle: Some(verdict),
        here: None,
    }));
    Ok(pairs)
}
