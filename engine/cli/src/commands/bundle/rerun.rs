//! `vexp verify --rerun`: the bundle's study is run again, here and with this machine's images.
//!
//! A bundle may come from anyone. Its study is evaluated under the usual limits and says what runs
//! inside of machines, so it is only run where those are emulated, unless the user names another
//! testbed. Build scripts and images of a bundle are never used: those of this machine are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;

use super::read::{self, Answer, Looked, Request};
use super::verify::another_answer;
use crate::args::{Chosen, RunsArgs, Until, VerifyArgs};
use crate::commands::run as measuring;
use crate::error::Failure;
use crate::limited;

/// Testbeds where nothing of a study reaches the user's machines.
const ENCLOSED: [&str; 2] = ["emulated", "virtual"];

/// What was measured again.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Rerun {
    /// The new run's folder.
    pub(crate) run: PathBuf,
    pub(crate) measured: usize,
    pub(crate) not_measured: usize,
    /// Images that are not those of the bundle's run.
    pub(crate) other_images: Vec<Name>,
}

/// Measures what was looked at, and was unpacked into `target`: the new run, and its verdicts by claim.
pub(super) fn measured_again(
    args: &VerifyArgs,
    target: &Path,
    looked: &Looked,
    registry: &Registry,
) -> Result<(Rerun, BTreeMap<String, String>), Failure> {
    let study = Chosen {
        file: read::study(target, looked)?,
        effort: args.effort.as_ref().unwrap_or(&looked.effort).clone(),
        testbed: Some(testbed(args, looked)?),
        only: args.only.clone().or_else(|| looked.only.clone()),
        until: looked.until_decided.then_some(Until::Decided),
    };
    let runs = RunsArgs {
        runs: args.runs.clone(),
        resume: None,
        since: None,
        budget: None,
        recalibrate: false,
        jobs: None,
        machines: args.machines.clone(),
        trust: args.trust,
    };
    let measured = measuring::measure(&study, &args.build, &runs, false, registry)?;
    let (folder, summary) = (measured.run, measured.summary);
    // What its machines said may be a stranger's, too.
    let asked = Request::Run(folder.clone().into());
    let Answer::Run(now) = limited::ask(&asked)? else {
        return Err(another_answer());
    };
    let rerun = Rerun {
        measured: summary.measured,
        not_measured: summary.not_measured,
        other_images: other_images(&looked.images, now.images),
        run: folder,
    };
    Ok((rerun, now.verdicts))
}

fn testbed(args: &VerifyArgs, looked: &Looked) -> Result<Name, Failure> {
    let own = &looked.testbed;
    match &args.testbed {
        Some(testbed) => Ok(testbed.clone()),
        None if ENCLOSED.iter().any(|enclosed| *own == **enclosed) => Ok(own.clone()),
        None => Err(Failure::new(
            Exit::Usage,
            format!("the bundle's study wants to be run on testbed `{own}`"),
        )
        .hint("read the study, and name a testbed with --testbed if you want it to run there")),
    }
}

/// Images that are not those of before.
fn other_images(before: &BTreeMap<Name, Digest>, now: BTreeMap<Name, Digest>) -> Vec<Name> {
    let other = now.into_iter();
    let other = other.filter(|(name, digest)| before.get(name) != Some(digest));
    other.map(|(name, _)| name).collect()
}
