//! `vexp verify --rerun`: the bundle's study is run again, here and with this machine's images.
//!
//! A bundle may come from anyone. Its study is evaluated under the usual limits and says what runs
//! inside of machines, so it is only run where those are emulated, unless the user names another
//! testbed. Build scripts and images of a bundle are never used: those of this machine are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_engine::build::Manifest as ImageManifest;
use vexp_engine::run::files;
use vexp_report::derived::derive;
use vexp_report::run::Run;

use super::{again, claims};
use crate::args::{Chosen, RunsArgs, Until, VerifyArgs};
use crate::commands::{report, run as measuring};
use crate::error::{Failure, OrExit as _};

/// Testbeds where nothing of a study reaches the user's machines.
const ENCLOSED: [&str; 2] = ["emulated", "virtual"];

/// What was measured again.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Rerun {
    /// The new run's folder.
    pub(crate) run: PathBuf,
    pub(crate) measured: usize,
    pub(crate) not_measured: usize,
    /// Images that are not those of the bundle's run.
    pub(crate) other_images: Vec<Name>,
}

/// The new run, and its verdicts by claim.
pub(super) fn rerun(
    args: &VerifyArgs,
    run: &Run,
    registry: &Registry,
) -> Result<(Rerun, BTreeMap<String, String>), Failure> {
    let testbed = testbed(args, run)?;
    let study = Chosen {
        file: again::main(run)?,
        effort: args
            .effort
            .clone()
            .unwrap_or_else(|| run.plan.effort.clone()),
        testbed: Some(testbed),
        only: args.only.clone().or_else(|| run.record.only.clone()),
        until: (!run.plan.looks.is_empty()).then_some(Until::Decided),
    };
    let runs = RunsArgs {
        runs: args.runs.clone(),
        resume: None,
        budget: None,
        recalibrate: false,
        jobs: None,
        machines: args.machines.clone(),
        trust: args.trust,
    };
    let measured = measuring::measure(&study, &args.build, &runs, false, registry)?;
    let (folder, summary) = (measured.run, measured.summary);
    let derived = derive(&folder, registry, None).map_err(|error| report::unreadable(&error))?;
    let verdicts = claims::of(&derived.verdicts.claims);
    let rerun = Rerun {
        measured: summary.measured,
        not_measured: summary.not_measured,
        other_images: other_images(run, &folder)?,
        run: folder,
    };
    Ok((rerun, verdicts))
}

fn testbed(args: &VerifyArgs, run: &Run) -> Result<Name, Failure> {
    match &args.testbed {
        Some(testbed) => Ok(testbed.clone()),
        None if ENCLOSED
            .iter()
            .any(|enclosed| run.plan.testbed == *enclosed) =>
        {
            Ok(run.plan.testbed.clone())
        }
        None => Err(Failure::new(
            Exit::Usage,
            format!(
                "the bundle's study wants to be run on testbed `{}`",
                run.plan.testbed
            ),
        )
        .hint("read the study, and name a testbed with --testbed if you want it to run there")),
    }
}

fn other_images(run: &Run, folder: &std::path::Path) -> Result<Vec<Name>, Failure> {
    let keys = |folder: &std::path::Path| -> Result<BTreeMap<Name, ImageManifest>, Failure> {
        files::read_json(&folder.join("images.json")).or_exit(Exit::Usage)
    };
    let (before, now) = (keys(&run.dir)?, keys(folder)?);
    let other = now.into_iter().filter(|(name, image)| {
        before.get(name).map(ImageManifest::digest) != Some(image.digest())
    });
    Ok(other.map(|(name, _)| name).collect())
}
