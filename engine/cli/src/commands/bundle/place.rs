//! Where a bundle is, where the run that measures it again lies, and which one was begun before.

use std::path::{Path, PathBuf};

use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::plan::Plan;
use vexp_api::record::RunRecord;
use vexp_api::run_dir::RunDir;
use vexp_engine::run::files;
use vexp_engine::store::Store;

use crate::args::{Chosen, ImageArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

/// The folder for runs, where none is named.
const USUAL: &str = "runs";
/// What a bundle's name ends with.
const ENDING: &str = ".vexp.tar.zst";

/// The bundle that is named, or the only one in this folder.
pub(super) fn bundle(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(".").or_exit(Exit::Usage)? {
        let entry = entry.or_exit(Exit::Usage)?;
        let name = entry.file_name();
        if entry.path().is_file() && name.to_str().is_some_and(|name| name.ends_with(ENDING)) {
            found.push(PathBuf::from(name));
        }
    }
    found.sort();
    match found.as_slice() {
        [only] => {
            render::say(&format!("bundle: {}", only.display()));
            Ok(only.clone())
        }
        [] => Err(Failure::new(
            Exit::Usage,
            format!("no bundle is named, and no *{ENDING} lies in this folder"),
        )
        .hint(format!("type: vexp verify FOLDER/NAME{ENDING}"))),
        [first, ..] => {
            let names: Vec<String> = found
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let message = format!("which bundle? In this folder are {}", names.join(", "));
            Err(Failure::new(Exit::Usage, message)
                .hint(format!("type: vexp verify {}", first.display())))
        }
    }
}

/// The folder for runs: the one that is named; else `runs` in this folder, or where that can't be written to, in the
/// user's state.
pub(super) fn runs(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let usual = Path::new(USUAL);
    let Err(why) = writable(usual) else {
        return Ok(usual.to_owned());
    };
    let set = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let hint = "name a folder with --runs";
    let Some(state) = state.map(|state| state.join("vexp/runs")) else {
        return Err(Failure::new(Exit::Infrastructure, why).hint(hint));
    };
    writable(&state).map_err(|other| Failure {
        exit: Exit::Infrastructure,
        messages: vec![why.clone(), other],
        hint: Some(hint.to_owned()),
    })?;
    render::say(&format!(
        "note: {why}; results go to {} (--runs names another folder)",
        state.display()
    ));
    Ok(state)
}

/// Whether a run can be written below a folder, which is made.
fn writable(folder: &Path) -> Result<(), String> {
    let why =
        |error: &dyn std::fmt::Display| format!("cannot write to {}: {error}", folder.display());
    files::create_dir(folder).map_err(|error| {
        use std::error::Error as _;
        match error.source() {
            Some(source) => why(source),
            None => why(&error),
        }
    })?;
    tempfile::tempfile_in(folder)
        .map(drop)
        .map_err(|error| why(&error))
}

/// The run that has begun to measure a bundle again as it is asked for now: in the folder for runs, or in any other
/// in which the store knows one. The newest, if there are several.
pub(super) fn begun(
    bundle: &Digest,
    chosen: &Chosen,
    runs: Option<&Path>,
    images: &ImageArgs,
) -> Option<PathBuf> {
    let store = match &images.store {
        Some(root) => Store::look(root),
        None => Store::look_default(),
    };
    let entries = std::fs::read_dir(runs.unwrap_or(Path::new(USUAL)))
        .into_iter()
        .flatten()
        .flatten();
    let here = entries.map(|entry| entry.path());
    let known = store.map(|store| store.registered()).unwrap_or_default();
    let all = here.chain(known);
    let fitting = all.filter_map(|path| Some((fits(&path, bundle, chosen)?, path)));
    fitting.max().map(|(_, path)| path)
}

/// When a run was started, if it is one of this bundle that was chosen alike.
fn fits(path: &Path, bundle: &Digest, chosen: &Chosen) -> Option<String> {
    // Most folders are no runs, and most runs are of no bundle.
    let dir = RunDir::open(path).ok()?;
    let record: RunRecord = dir.read_json("run.json").ok()?;
    if record.bundle.as_ref() != Some(bundle) || record.only != chosen.only {
        return None;
    }
    let plan: Plan = dir.read_json("plan.json").ok()?;
    let same = plan.effort == chosen.effort
        && chosen.testbed.as_ref() == Some(&plan.testbed)
        && plan.looks.is_empty() == chosen.until.is_none();
    same.then_some(record.started)
}
