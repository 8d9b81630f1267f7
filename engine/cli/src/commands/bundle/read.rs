//! Everything that `vexp verify` reads of a bundle, and of a run that was made again. With `--rerun` it is read in
//! a child that has limits: a verb that measures has none, and gets only the types of this module from there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_engine::bundle::{BundlePath, Limits, unpack};
use vexp_engine::run::files;
use vexp_engine::store::digest_file;
use vexp_report::derived::derive;
use vexp_report::report::answer::Seen;

use super::verify::{Verified, compare, expect, refused};
use super::{RUN, again};
use crate::commands::report;
use crate::error::{Failure, OrExit as _};

/// What the child is to read. Paths may be in any encoding.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    Bundle(Bundle),
    /// The folder of a run that was made again.
    Run(OsString),
}

/// A bundle that is to be unpacked into a folder and looked at.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bundle {
    pub(super) bundle: OsString,
    pub(super) digest: Option<Digest>,
    pub(super) target: OsString,
    pub(super) max_bytes: u64,
}

/// What the child found.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Answer {
    Bundle(Box<Looked>),
    Run(Box<Again>),
}

/// What a bundle is, and what measuring it again needs to know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Looked {
    pub(super) verified: Verified,
    /// None where it does not say which file is the study.
    pub(super) main: Option<BundlePath>,
    pub(super) testbed: Name,
    pub(super) effort: Name,
    pub(super) only: Option<String>,
    /// Whether its trials were run until claims were decided.
    pub(super) until_decided: bool,
    /// What it is compared by.
    pub(super) seen: Seen,
    /// Digests of the images that it was measured with.
    pub(super) images: BTreeMap<Name, Digest>,
}

/// A run that was made again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Again {
    /// What it is compared by.
    pub(super) seen: Seen,
    pub(super) images: BTreeMap<Name, Digest>,
}

/// Reads what was asked for.
pub(crate) fn read(request: Request, registry: &Registry) -> Result<Answer, Failure> {
    Ok(match request {
        Request::Bundle(bundle) => Answer::Bundle(Box::new(look(&bundle, registry)?)),
        Request::Run(folder) => Answer::Run(Box::new(made_again(Path::new(&folder), registry)?)),
    })
}

/// Unpacks a bundle and looks at it.
pub(super) fn look(asked: &Bundle, registry: &Registry) -> Result<Looked, Failure> {
    let bundle = Path::new(&asked.bundle);
    let digest = digest_file(bundle).or_exit(Exit::Usage)?;
    expect(asked.digest.as_ref(), &digest)?;
    let limits = Limits {
        bytes: asked.max_bytes,
        ..Limits::default()
    };
    let unpacked = unpack(bundle, Path::new(&asked.target), &limits);
    let unpacked = unpacked.map_err(|error| refused(&error))?;
    let (verified, run, seen) = compare(&unpacked.root, &unpacked.manifest, digest, registry)?;
    let source = run.dir.join("source");
    let main = again::main(&run).ok();
    let main = main.and_then(|main| main.strip_prefix(&source).ok()?.to_str().map(str::to_owned));
    Ok(Looked {
        verified,
        seen,
        main: main.and_then(|main| BundlePath::new(main).ok()),
        images: files::image_digests(&run.dir).or_exit(Exit::Usage)?,
        testbed: run.plan.testbed,
        effort: run.plan.effort,
        only: run.record.only,
        until_decided: !run.plan.looks.is_empty(),
    })
}

fn made_again(folder: &Path, registry: &Registry) -> Result<Again, Failure> {
    let derived = derive(folder, registry, None).map_err(|error| report::unreadable(&error))?;
    Ok(Again {
        seen: Seen::of(&derived).or_exit(Exit::Unreadable)?,
        images: files::image_digests(folder).or_exit(Exit::Usage)?,
    })
}

/// Where the study of a bundle is, that was unpacked into `target`. The child has said so: it is looked at again.
pub(super) fn study(target: &Path, looked: &Looked) -> Result<PathBuf, Failure> {
    let missing = || {
        let message = "the bundle does not say which file is the study";
        Failure::new(Exit::Usage, message)
    };
    let main = looked.main.as_ref().ok_or_else(missing)?;
    let folder = target.join(looked.verified.run.as_str()).join(RUN);
    let folder = vexp_api::run_dir::RunDir::open(&folder).or_exit(Exit::Usage)?;
    let main = Path::new("source").join(main.as_str());
    folder.look(&main).or_exit(Exit::Usage)?;
    Ok(folder.path().join(main))
}
