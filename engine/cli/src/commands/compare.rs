//! `vexp compare`.

use std::path::PathBuf;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::compare::{self, Comparison, Options, Verdict};
use vexp_report::frame::Unusable;
use vexp_report::parting;

use super::history::{self, Picked, Runs};
use super::identity;
use crate::args::{CompareArgs, CompareFormat};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(args: &CompareArgs, registry: &Registry) -> Result<Exit, Failure> {
    if args.exact {
        return exactly(args, registry);
    }
    match given(args, registry) {
        Ok(comparison) => {
            print(&comparison, args)?;
            Ok(exit(&comparison))
        }
        Err(refused) => {
            if !refused.comparison.differences.is_empty() {
                render::say(&render::compare::differences(&refused.comparison));
            }
            // Whoever reads a machine format gets a document, whatever the exit code.
            if args.format != CompareFormat::Text {
                print(&refused.comparison, args)?;
            }
            Err(refused.failure)
        }
    }
}

/// Whether two runs are the same to the last bit, and where they part.
fn exactly(args: &CompareArgs, registry: &Registry) -> Result<Exit, Failure> {
    let usage = |message: String, hint: &str| Err(Failure::new(Exit::Usage, message).hint(hint));
    if !matches!(args.format, CompareFormat::Text | CompareFormat::Json) {
        let message = "--exact has text and json".to_owned();
        return usage(message, "leave --format out, or give --format json");
    }
    for run in [&args.base, &args.new] {
        super::report::is_run(run)?;
    }
    let (base, new) = (
        identity::read(&args.base, registry)?,
        identity::read(&args.new, registry)?,
    );
    for (frames, path) in [(&base, &args.base), (&new, &args.new)] {
        if !frames.run.is_virtual() {
            let message = format!(
                "{} is no run in virtual time: no two are the same",
                path.display()
            );
            return usage(
                message,
                "without --exact, what became better or worse is told",
            );
        }
    }
    let (one, other) = (&base.run.plan.study, &new.run.plan.study);
    if one != other {
        let message = format!("they are runs of different studies: `{one}` and `{other}`");
        return usage(message, "two runs of the same study can be the same");
    }
    let parting = identity::part(&base, &new)?;
    let text = match args.format {
        CompareFormat::Json => {
            let text = serde_json::to_string_pretty(&parting).or_exit(Exit::Incomplete)?;
            format!("{text}\n")
        }
        _ => parting::text(&parting),
    };
    render::out(&text);
    if args.record {
        let made = identity::of_run_with(&base, &parting)?;
        let results = vexp_report::identity::digest(&new).or_exit(Exit::Unreadable)?;
        identity::keep(&args.new, &results, made)?;
        let next = args.new.display();
        render::say(&format!("kept in {next}; next: vexp report {next}"));
    }
    Ok(match parting.is_same() {
        true => Exit::Fine,
        false => Exit::Refuted,
    })
}

/// Nothing was judged: as a document, and as the end of the verb.
pub(super) struct Refused {
    pub(super) comparison: Comparison,
    pub(super) failure: Failure,
}

impl Refused {
    pub(super) fn new(failure: Failure, margin: f64) -> Box<Self> {
        let reason = failure.messages.join(": ");
        Box::new(Self {
            comparison: Comparison::refused(reason, margin),
            failure,
        })
    }
}

/// Compares what the command line says.
fn given(args: &CompareArgs, registry: &Registry) -> Result<Comparison, Box<Refused>> {
    let margin = args.margin.0;
    let refused = |failure| Refused::new(failure, margin);
    let picked = Picked::new(&args.pick).map_err(refused)?;
    let load = |first: &PathBuf, more: &[PathBuf]| {
        let paths: Vec<&PathBuf> = std::iter::once(first).chain(more).collect();
        history::runs(&paths, true, registry).map_err(refused)
    };
    let sides = Sides {
        new: load(&args.new, &args.more_new)?,
        base: load(&args.base, &args.more_base)?,
        last: args.last,
        anyway: args.anyway,
    };
    let wanted = &|point: &_, metric: &str| picked.wants(point, metric);
    sides.compare(&Options { margin, wanted })
}

/// What is compared.
pub(super) struct Sides {
    pub(super) base: Runs,
    pub(super) new: Runs,
    /// Of the base, only so many, the newest.
    pub(super) last: Option<usize>,
    /// Whether runs of different environments are compared, too.
    pub(super) anyway: bool,
}

impl Sides {
    pub(super) fn compare(mut self, options: &Options<'_>) -> Result<Comparison, Box<Refused>> {
        let left_out = [self.base.left_out, self.new.left_out].concat();
        let (new, base) = (self.new.usable, &mut self.base.usable);
        // A folder of runs often has the new one, too.
        base.retain(|run| new.iter().all(|other| other.run != run.run));
        if let Some(last) = self.last {
            base.drain(..base.len().saturating_sub(last));
        }
        if base.is_empty() {
            let message =
                "there is nothing to compare with: the base has no run beside the new ones";
            let failure = Failure::new(Exit::Usage, message);
            return Err(Refused::new(failure, options.margin));
        }
        let mut comparison = compare::compare(base, &new, options);
        comparison.left_out = left_out;
        if comparison.rows.is_empty() && comparison.missing.is_empty() {
            let unusable = base.iter().chain(&new).flat_map(|run| &run.unusable).next();
            return Err(refused(comparison, nothing(unusable)));
        }
        if !comparison.differences.is_empty() && !self.anyway {
            let message = "the runs can't be compared: their environments differ";
            let failure = Failure::new(Exit::Usage, message)
                .hint("--anyway compares all the same; --only leaves points out");
            return Err(refused(comparison, failure));
        }
        Ok(comparison)
    }
}

fn refused(comparison: Comparison, failure: Failure) -> Box<Refused> {
    let comparison = comparison.refuse(failure.messages.join(": "));
    Box::new(Refused {
        comparison,
        failure,
    })
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

/// What a comparison in which something was judged ends with.
pub(super) fn exit(comparison: &Comparison) -> Exit {
    if comparison.of(Verdict::Worse).next().is_some() {
        Exit::Refuted
    } else if comparison.is_incomplete() {
        Exit::Incomplete
    } else {
        Exit::Fine
    }
}
