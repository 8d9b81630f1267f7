//! `vexp verify`: every digest, and everything computed again.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::modes::{Others, only_ours};
use vexp_api::registry::Registry;
use vexp_engine::bundle::{BundleError, Manifest, list};
use vexp_engine::run::files;
use vexp_report::report::answer::{Answer as How, Row, Seen};
use vexp_report::run::Run;

use super::claims::ClaimRow;
use super::parts::{Part, parts};
use super::read::{self, Answer, Bundle, Request};
use super::rerun::{Rerun, measured_again};
use super::{BINARY, FORMAT, IMAGES, Images, Ingredients, OPTIONS, Options, RUN, TEMPLATES};
use super::{again, claims, failure, place};
use crate::args::{Format, VerifyArgs};
use crate::error::{Failure, OrExit as _};
use crate::limited;
use crate::render;

/// What was found.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Verified {
    pub(crate) run: Name,
    /// SHA-256 of the file.
    pub(crate) digest: Digest,
    /// SHA-256 of its manifest.
    pub(crate) contents: Digest,
    /// Version that made the bundle.
    pub(crate) made_by: String,
    /// Version that looked at it.
    pub(crate) vexp: Cow<'static, str>,
    pub(crate) parts: Vec<Part>,
    pub(crate) claims: Vec<ClaimRow>,
    /// Whether everything is as it was.
    pub(crate) identical: bool,
    /// The run that was made again, if one was.
    pub(crate) rerun: Option<Rerun>,
}

pub(in crate::commands) fn run(args: &VerifyArgs, registry: &Registry) -> Result<Exit, Failure> {
    let bundle = place::bundle(args.bundle.as_deref())?;
    let (_scratch, target) = target(args)?;
    let asked = Bundle {
        bundle: bundle.into(),
        digest: args.digest.clone(),
        target: target.clone().into(),
        max_bytes: args.max_size.bytes(),
    };
    let looked = match args.rerun {
        // All of this is in a child that has limits already.
        false => read::look(&asked, registry)?,
        true => match limited::ask(&Request::Bundle(asked))? {
            Answer::Bundle(looked) => *looked,
            Answer::Run(_) => return Err(another_answer()),
        },
    };
    // What does not follow from its raw data may be a stranger's change: it is not run.
    let refused = args.rerun && !looked.verified.identical;
    let mut rerun = None;
    if args.rerun && !refused {
        rerun = Some(measured_again(args, &target, &looked, registry)?);
    }
    let mut verified = looked.verified;
    if let Some((made, mut verdicts)) = rerun {
        for row in &mut verified.claims {
            row.rerun = verdicts.remove(&row.claim);
        }
        verified.rerun = Some(made);
    }
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&verified).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        Format::Text => render::out(&render::verified::text(&verified)),
    }
    if refused {
        return Err(Failure::new(
            Exit::Refuted,
            "nothing was measured again: --rerun runs only what is identical",
        )
        .hint("read the study in the bundle (--into FOLDER); `vexp run` runs it if you trust it"));
    }
    Ok(exit(&verified))
}

/// The child answered another question.
pub(super) fn another_answer() -> Failure {
    Failure::new(
        Exit::Infrastructure,
        "the process that was reading answered another question",
    )
}

/// What the user can do where a bundle can't be unpacked.
pub(super) fn refused(error: &BundleError) -> Failure {
    let failure = failure(error);
    let hint = match failure.exit {
        Exit::Infrastructure => "it is unpacked into TMPDIR; --into names another folder",
        _ => "it is not as `vexp export` made it: get it again from where it comes from",
    };
    failure.hint(hint)
}

/// What is not as it was, or was measured to be otherwise, is 1; what can't be told is 5.
fn exit(verified: &Verified) -> Exit {
    let Some(rerun) = verified.rerun.as_ref().filter(|_| verified.identical) else {
        return match verified.identical {
            true => Exit::Fine,
            false => Exit::Refuted,
        };
    };
    let rows = &rerun.answer.rows;
    // What both runs say alike is no news, though it be that it can't be told.
    let open = |row: &Row| row.answer == How::CannotTell && row.authors.verdict != row.here.verdict;
    if rows.iter().any(|row| row.answer == How::Differs) {
        Exit::Refuted
    } else if rerun.not_measured > 0 || rows.iter().any(open) {
        Exit::Incomplete
    } else {
        Exit::Fine
    }
}

pub(super) fn expect(wanted: Option<&Digest>, found: &Digest) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if wanted != found => {
            let message = format!("the bundle's digest is {found}, and not {wanted}");
            Err(Failure::new(Exit::Usage, message))
        }
        _ => Ok(()),
    }
}

/// Where the bundle is unpacked: a folder that is asked for and has nothing in it, or one that goes
/// with the first value.
fn target(args: &VerifyArgs) -> Result<(Option<tempfile::TempDir>, PathBuf), Failure> {
    let Some(folder) = &args.into else {
        // What is in a bundle is its reader's alone, whatever their umask is.
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let scratch = tempfile::Builder::new()
            .permissions(own)
            .tempdir()
            .or_exit(Exit::Infrastructure)?;
        let path = scratch.path().to_owned();
        return Ok((Some(scratch), path));
    };
    files::create_dir(folder).or_exit(Exit::Infrastructure)?;
    // Else what is looked at need not be what was unpacked, nor be written there.
    only_ours(folder, Others::Caller).map_err(|error| {
        Failure::of(Exit::Usage, &error).hint("name a folder of your own with --into")
    })?;
    let mut entries = std::fs::read_dir(folder).or_exit(Exit::Infrastructure)?;
    match entries.next() {
        None => Ok((None, folder.clone())),
        Some(_) => {
            let message = format!("{} is not empty", folder.display());
            Err(Failure::new(Exit::Usage, message)
                .hint("--into takes a folder that is new or empty"))
        }
    }
}

pub(super) fn compare(
    root: &Path,
    manifest: &Manifest,
    digest: Digest,
    registry: &Registry,
) -> Result<(Verified, Run, Seen), Failure> {
    let options = options(root)?;
    let folder = root.join(RUN);
    let ingredients = Ingredients {
        run: &folder,
        vexp: &manifest.vexp,
        templates: options.templates.then(|| root.join(TEMPLATES)),
        images: options.images.then(|| Images::Unpacked(root.join(IMAGES))),
        binary: options.vexp.then(|| root.join(BINARY)),
        options,
    };
    let made = ingredients.made(registry).map_err(|bad| Failure {
        exit: Exit::Usage,
        ..bad
    })?;
    let seen = Seen::of(&made.derived).or_exit(Exit::Unreadable)?;
    let run = made.derived.frames.run;
    if run.record.id != manifest.run {
        let (bundle, record) = (&manifest.run, &run.record.id);
        let message = format!("the bundle is of run {bundle}, and its run.json of {record}");
        return Err(Failure::new(Exit::Usage, message));
    }
    let here =
        list(&manifest.run, &manifest.vexp, &made.contents).map_err(|error| failure(&error))?;
    let parts = parts(manifest, &here, &again::findings(&run, registry));
    let now = claims::of(&made.derived.verdicts.claims);
    // A bundle with something else in place of verdicts is shown to have none.
    let before = std::fs::read(folder.join("frames/claims.json")).ok();
    let before = before.and_then(|bytes| claims::verdicts(&bytes).ok());
    let verified = Verified {
        run: manifest.run.clone(),
        digest,
        contents: manifest.digest().map_err(|error| failure(&error))?,
        made_by: manifest.vexp.clone(),
        vexp: Cow::Borrowed(crate::VERSION),
        identical: parts.iter().all(|part| part.different.is_empty()),
        parts,
        claims: claims::rows(before.unwrap_or_default(), now),
        rerun: None,
    };
    Ok((verified, run, seen))
}

fn options(root: &Path) -> Result<Options, Failure> {
    let options: Options = files::read_json(&root.join(OPTIONS)).or_exit(Exit::Usage)?;
    if options.format != FORMAT {
        let found = options.format;
        let message = format!("{OPTIONS} has format {found}, and this vexp reads {FORMAT}");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_fault_of_the_bundle() {
        let full = |source: std::io::Error| {
            refused(&BundleError::Io {
                action: "write",
                path: "file".into(),
                source,
            })
        };
        let said = full(std::io::ErrorKind::StorageFull.into());
        assert_eq!(said.exit, Exit::Infrastructure);
        assert!(said.hint.unwrap().contains("--into"));
        let said = full(std::io::ErrorKind::NotFound.into());
        assert_eq!(said.exit, Exit::Usage);
        assert!(said.hint.unwrap().contains("get it again"));
    }
}
