//! `vexp report`, and the end of `vexp reproduce`.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::report::{ReportError, ReportSummary, report};
use vexp_report::{ClaimVerdict, Verdict};

use crate::args::Format;
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(
    run: &Path,
    templates: Option<&Path>,
    format: Format,
    registry: &Registry,
) -> Result<Exit, Failure> {
    match format {
        Format::Text => claims(run, templates, registry),
        Format::Json => {
            let summary = made(run, templates, registry)?;
            let text = serde_json::to_string_pretty(&summary.claims).or_exit(Exit::Incomplete)?;
            render::out(&format!("{text}\n"));
            Ok(exit(&summary.claims))
        }
    }
}

/// Makes the report and prints the claims table, the deviations and where the report is.
pub(super) fn claims(
    run: &Path,
    templates: Option<&Path>,
    registry: &Registry,
) -> Result<Exit, Failure> {
    let summary = made(run, templates, registry)?;
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
    render::out(&render::verdicts::counts(&summary.claims));
    render::out(&format!("report: {}\n", summary.html.display()));
    Ok(exit(&summary.claims))
}

fn made(
    run: &Path,
    templates: Option<&Path>,
    registry: &Registry,
) -> Result<ReportSummary, Failure> {
    is_run(run)?;
    report(run, registry, templates).map_err(|error| unreadable(&error))
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
    let mut failure = Failure::of(Exit::Incomplete, error);
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
