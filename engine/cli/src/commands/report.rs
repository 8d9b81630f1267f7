//! `vexp report`, and the end of `vexp reproduce`.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::derived::derive;
use vexp_report::frame;
use vexp_report::judge;
use vexp_report::judge::range::{self, AtRate};
use vexp_report::report::{ReportError, ReportSummary};
use vexp_report::run::Run;
use vexp_report::{ClaimVerdict, Verdict};

use crate::args::{Format, ReportArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(args: &ReportArgs, registry: &Registry) -> Result<Exit, Failure> {
    let made = Made::new(args, registry)?;
    if let Some(path) = &args.write_expected {
        super::identity::write(&args.run, path, registry)?;
    }
    match args.format {
        Format::Text if !args.with.is_empty() => {
            let over = over_range(args, &made.summary.claims, registry)?;
            let exit = made.claims()?;
            render::out(&format!("\n{over}"));
            Ok(exit)
        }
        Format::Text => made.claims(),
        Format::Json => {
            let claims = &made.summary.claims;
            let text = serde_json::to_string_pretty(claims).or_exit(Exit::Incomplete)?;
            render::out(&format!("{text}\n"));
            made.written?;
            Ok(exit(claims))
        }
    }
}

/// The claims of several runs of a study, by their link rates. Those of the report's own run are there already.
fn over_range(
    args: &ReportArgs,
    claims: &[ClaimVerdict],
    registry: &Registry,
) -> Result<String, Failure> {
    let own = Run::load(&args.run).or_exit(Exit::Unreadable)?;
    let first = own.plan.study.clone();
    let mut runs = vec![AtRate::new(&own, claims)];
    for path in &args.with {
        is_run(path)?;
        let frames = frame::read(path, registry);
        let frames = frames.map_err(|error| unreadable(&ReportError::Frame(error)))?;
        let of = &frames.run.plan.study;
        if first != *of {
            let message = format!(
                "{} is a run of study `{of}`, not of `{first}`",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, message)
                .hint("--with takes runs of the same study at other link rates"));
        }
        let verdicts = judge::judge(&frames);
        runs.push(AtRate::new(&frames.run, &verdicts.claims));
    }
    let claims = range::over(&mut runs);
    Ok(render::verdicts::over_range(&runs, &claims))
}

/// Makes the report and prints the claims table, the deviations and where the report is.
pub(super) fn claims(run: &Path, registry: &Registry) -> Result<Exit, Failure> {
    Made::new(&ReportArgs::of(run), registry)?.claims()
}

/// Makes the report and says nothing.
pub(super) fn quietly(run: &Path, registry: &Registry) -> Result<(), Failure> {
    Made::new(&ReportArgs::of(run), registry)?.written
}

/// A report, and whether it could be written: what it says is printed all the same.
struct Made {
    summary: ReportSummary,
    written: Result<(), Failure>,
}

impl Made {
    fn new(args: &ReportArgs, registry: &Registry) -> Result<Self, Failure> {
        is_run(&args.run)?;
        let out = args.out.as_deref().unwrap_or(&args.run);
        if args.out.is_some() && !may_be_replaced(&out.join("report")) {
            let folder = out.join("report");
            let message = format!("{} is there and is no report of vexp", folder.display());
            return Err(Failure::new(Exit::Usage, message).hint("--out takes a folder of its own"));
        }
        let derived = derive(&args.run, registry, args.templates.as_deref());
        let derived = derived.map_err(|error| unreadable(&error))?;
        let written = derived.write(out).map_err(|error| {
            let failure = unreadable(&ReportError::Write(error));
            match args.out {
                None => failure.hint("--out FOLDER writes the report into another folder"),
                Some(_) => failure,
            }
        });
        let summary = ReportSummary::of(&derived, out);
        Ok(Self { summary, written })
    }

    fn claims(self) -> Result<Exit, Failure> {
        let summary = &self.summary;
        if !summary.claims.is_empty() {
            render::out(&render::verdicts::text(&summary.claims));
            render::out("\n");
        }
        render::out(&render::plan::deviations(&summary.deviations));
        let trials = summary.trials_measured + summary.trials_not_measured;
        render::out(&format!(
            "\n{} of {trials} trials measured\n",
            summary.trials_measured
        ));
        if let Some(looks) = &summary.looks {
            render::out(&format!("{looks}\n"));
        }
        render::out(&render::verdicts::counts(&summary.claims));
        if let Some(assurance) = &summary.assurance {
            render::out(&format!("the same elsewhere: {assurance}\n"));
        }
        self.written?;
        render::out(&format!("report: {}\n", summary.html.display()));
        Ok(exit(&summary.claims))
    }
}

/// Whether nothing is there, or a report that was made before.
fn may_be_replaced(folder: &Path) -> bool {
    let empty = || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    !folder.exists() || folder.join("report.html").exists() || empty()
}

/// Whether a folder is that of a run.
pub(super) fn is_run(run: &Path) -> Result<(), Failure> {
    if run.join("run.json").exists() {
        return Ok(());
    }
    let message = format!("{} is not a run: it has no run.json", run.display());
    Err(Failure::new(Exit::Usage, message).hint("`vexp runs` lists runs"))
}

/// No report could be made.
pub(super) fn unreadable(error: &ReportError) -> Failure {
    let exit = match error {
        ReportError::Template(_) => Exit::Usage,
        _ => Exit::Unreadable,
    };
    let mut failure = Failure::of(exit, error);
    if (failure.messages.iter()).any(|text| text.starts_with("cannot write")) {
        failure.exit = Exit::Infrastructure;
    }
    let denied = (failure.messages.iter()).any(|text| text.contains("Permission denied"));
    if denied {
        failure.hint("a run under sudo belongs to root: use sudo, or give a copy of its folder")
    } else {
        failure
    }
}

fn exit(claims: &[ClaimVerdict]) -> Exit {
    let any = |verdict| claims.iter().any(|claim| claim.verdict == verdict);
    if any(Verdict::NotReproduced) {
        Exit::Refuted
    } else if claims
        .iter()
        .any(|claim| claim.verdict != Verdict::Reproduced)
    {
        Exit::Incomplete
    } else {
        Exit::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this run can't show is not shown by it, whoever is to blame.
    #[test]
    fn only_reproduced_claims_are_fine() {
        let of = |verdicts: &[Verdict]| {
            let claims: Vec<ClaimVerdict> = verdicts
                .iter()
                .map(|verdict| ClaimVerdict {
                    claim: "c".parse().unwrap(),
                    statement: String::new(),
                    place: String::new(),
                    note: None,
                    verdict: *verdict,
                    reason: String::new(),
                    causes: Vec::new(),
                    margins: Vec::new(),
                    tested: 1,
                    p: None,
                    adjusted_p: None,
                    look: None,
                    tests: Vec::new(),
                })
                .collect();
            exit(&claims)
        };
        use Verdict as V;
        assert_eq!(of(&[]), Exit::Fine);
        assert_eq!(of(&[V::Reproduced, V::Reproduced]), Exit::Fine);
        for open in [V::Inconclusive, V::OutOfRegime, V::NotTested] {
            assert_eq!(of(&[V::Reproduced, open]), Exit::Incomplete, "{open}");
            assert_eq!(of(&[V::NotReproduced, open]), Exit::Refuted, "{open}");
        }
    }
}
