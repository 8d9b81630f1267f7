//! `vexp verify --rerun`: the bundle's study is run again, here and with this machine's images.
//!
//! A bundle may come from anyone. Its study is evaluated under the usual limits and says what runs
//! inside of machines, so it is only run where those are emulated, unless the user names another
//! testbed. Build scripts and images of a bundle are never used: those of this machine are.
//!
//! The run knows the bundle's digest. So the same command resumes it, in any folder, and sets it beside the authors'
//! run again when all is measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_api::run_dir::RunDir;
use vexp_report::report::answer::{self, Page};

use super::place;
use super::read::{self, Answer, Looked, Request};
use super::verify::another_answer;
use crate::args::{Chosen, RunsArgs, Until, VerifyArgs};
use crate::commands::run as measuring;
use crate::error::{Failure, OrExit as _};
use crate::limited;
use crate::render;

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
    /// Both runs side by side, claim by claim.
    pub(crate) answer: Page,
    /// The same as `answer.html`, `answer.md` and `answer.json` in this folder; `null` if it can't be written.
    pub(crate) pages: Option<PathBuf>,
}

/// Measures what was looked at, and was unpacked into `target`: the new run, and its verdicts by claim.
pub(super) fn measured_again(
    args: &VerifyArgs,
    target: &Path,
    looked: &Looked,
    registry: &Registry,
) -> Result<(Rerun, BTreeMap<String, String>), Failure> {
    // A budget chooses trials itself, and does not look at claims while it measures.
    let looks = looked.until_decided && args.budget.is_none();
    let study = Chosen {
        file: read::study(target, looked)?,
        effort: args.effort.as_ref().unwrap_or(&looked.effort).clone(),
        testbed: Some(testbed(args, looked)?),
        only: args.only.clone().or_else(|| looked.only.clone()),
        until: looks.then_some(Until::Decided),
    };
    let bundle = &looked.verified.digest;
    let begun = match args.fresh {
        true => None,
        false => place::begun(bundle, &study, args.runs.as_deref(), &args.build),
    };
    // A run that is resumed needs no other folder to be written to.
    let folder = match begun.as_deref().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => place::runs(args.runs.as_deref())?,
    };
    if let Some(run) = &begun {
        render::say(&format!(
            "resuming {}, which measures this bundle (--fresh measures anew)",
            run.display()
        ));
    }
    let runs = RunsArgs {
        runs: folder,
        resume: begun,
        since: None,
        budget: None,
        recalibrate: false,
        jobs: None,
        machines: args.machines.clone(),
        trust: args.trust,
        on: None,
        detach: false,
    };
    let again = measuring::Again {
        bundle: bundle.clone(),
        budget: args.budget,
    };
    let measured = measuring::measure_again(&study, &args.build, &runs, &again, registry);
    let measured = measured.map_err(with_way_on)?;
    let (folder, summary) = (measured.run, measured.summary);
    // What its machines said may be a stranger's, too.
    let asked = Request::Run(folder.clone().into());
    let Answer::Run(now) = limited::ask(&asked)? else {
        return Err(another_answer());
    };
    let now = *now;
    let verdicts = now.seen.verdicts();
    let other_images = other_images(&looked.images, now.images);
    let page = answer::page(
        bundle,
        &looked.seen,
        &now.seen,
        &other_images,
        &measured.left_out,
    );
    let rerun = Rerun {
        measured: summary.measured,
        not_measured: summary.not_measured,
        other_images,
        pages: written(&page, &folder)?,
        answer: page,
        run: folder,
    };
    Ok((rerun, verdicts))
}

/// What the user can do where measuring ended early: who verifies types the same command again.
fn with_way_on(mut failure: Failure) -> Failure {
    let resumes = failure
        .hint
        .as_ref()
        .is_some_and(|hint| hint.contains("--resume"));
    if failure.exit == Exit::Interrupted || resumes {
        let room = match failure.exit {
            Exit::Interrupted => "",
            _ => "what was written is kept: make room, and ",
        };
        let way = format!("{room}call the same command again: it goes on where this one stopped");
        failure.hint = Some(way);
    }
    let other = |text: &String| text.contains("has another plan than this study has now");
    if failure.messages.iter().any(other) {
        failure.hint = Some(
            "it was begun by another version of vexp, or with another link rate: --fresh measures anew".to_owned(),
        );
    }
    failure
}

/// Writes the page beside the run's other files. Where it can't be, the terminal has it all the same.
fn written(page: &Page, run: &Path) -> Result<Option<PathBuf>, Failure> {
    let json = serde_json::to_string_pretty(page).or_exit(Exit::Incomplete)?;
    let files = [
        ("answer.html", page.html().or_exit(Exit::Incomplete)?),
        ("answer.md", page.markdown().or_exit(Exit::Incomplete)?),
        ("answer.json", format!("{json}\n")),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let folder = RunDir::open(run).and_then(|dir| dir.replace_dir(super::ANSWER, &files));
    Ok(match folder {
        Ok(()) => Some(run.join(super::ANSWER)),
        Err(error) => {
            render::say(&format!("note: the page is only shown here: {error}"));
            None
        }
    })
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
