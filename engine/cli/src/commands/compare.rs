//! `vexp compare`.

use std::path::PathBuf;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::compare::{self, Comparison, Options, Verdict};
use vexp_report::frame::Unusable;

use super::history::{self, Picked};
use crate::args::{CompareArgs, CompareFormat};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(args: &CompareArgs, registry: &Registry) -> Result<Exit, Failure> {
    let picked = Picked::new(&args.pick)?;
    let load = |first: &PathBuf, more: &[PathBuf]| {
        let paths: Vec<&PathBuf> = std::iter::once(first).chain(more).collect();
        history::runs(&paths, true, registry)
    };
    let new = load(&args.new, &args.more_new)?;
    let mut base = load(&args.base, &args.more_base)?;
    // A folder of runs often has the new one, too.
    base.retain(|run| new.iter().all(|other| other.run != run.run));
    if let Some(last) = args.last {
        base.drain(..base.len().saturating_sub(last));
    }
    if base.is_empty() {
        let message = "there is nothing to compare with: the base has no run beside the new ones";
        return Err(Failure::new(Exit::Usage, message));
    }
    let options = Options {
        margin: args.margin.0,
        wanted: &|point, metric| picked.wants(point, metric),
    };
    let comparison = compare::compare(&base, &new, &options);
    if comparison.rows.is_empty() && comparison.missing.is_empty() {
        let unusable = base.iter().chain(&new).flat_map(|run| &run.unusable).next();
        return Err(nothing(unusable));
    }
    if !comparison.differences.is_empty() && !args.anyway {
        render::say(&render::compare::differences(&comparison));
        let message = "the runs can't be compared: their environments differ";
        return Err(Failure::new(Exit::Usage, message)
            .hint("--anyway compares all the same; --only leaves points out"));
    }
    print(&comparison, args)?;
    Ok(exit(&comparison))
}

/// Neither side has what is asked for.
fn nothing(unusable: Option<&Unusable>) -> Failure {
    let message = "nothing is to be compared: no point and metric of these runs match";
    let mut failure = Failure::new(Exit::Usage, message).hint("look at --only and --metric");
    if let Some(one) = unusable {
        let text = format!("of others, {} {}: {}", one.trial, one.kind, one.reason);
        failure.messages.push(text);
    }
    failure
}

fn print(comparison: &Comparison, args: &CompareArgs) -> Result<(), Failure> {
    let text = match args.format {
        CompareFormat::Text => render::compare::text(comparison, args.all),
        CompareFormat::Json => {
            let text = serde_json::to_string_pretty(comparison).or_exit(Exit::Incomplete)?;
            format!("{text}\n")
        }
        CompareFormat::Junit => compare::junit(comparison),
        CompareFormat::Markdown => compare::markdown(comparison),
    };
    render::out(&text);
    Ok(())
}

fn exit(comparison: &Comparison) -> Exit {
    if comparison.of(Verdict::Worse).next().is_some() {
        Exit::Refuted
    } else if comparison.is_incomplete() {
        Exit::Incomplete
    } else {
        Exit::Fine
    }
}
