//! What a claim needs of a plan to be told, and whether it can be told there at all: nothing of it is measured.

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::spec::Study;

use super::looks::points;
use super::regime;
use crate::run::Run;

/// A claim of a study on a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The claim.
    pub claim: Name,
    /// Its points: experiment, platform and VM count. None where nothing of it is planned.
    pub points: BTreeSet<(Name, Name, u32)>,
    /// Why it can't be told there, whatever is measured; `None` if it can.
    pub never: Option<String>,
}

/// What each claim of a study needs, sorted by name.
pub fn needs(study: &Study, plan: &Plan) -> Vec<Needs> {
    let run = Run::planned(study.clone(), plan.clone());
    of(&run)
}

/// The same for a run.
pub(crate) fn of(run: &Run) -> Vec<Needs> {
    let claims = run.study.claims.iter();
    claims
        .map(|(name, claim)| {
            let points = points(claim, run);
            let declared = regime::Declared { claim, run };
            let cause = declared.causes().into_iter().next();
            let never = if claim.tests.is_empty() {
                let note = claim.note.clone();
                Some(note.unwrap_or_else(|| "the study has no test for it".to_owned()))
            } else if let Some(cause) = cause {
                Some(cause.what)
            } else if points.is_empty() {
                Some("nothing of it is planned here".to_owned())
            } else {
                None
            };
            Needs {
                claim: name.clone(),
                points,
                never,
            }
        })
        .collect()
}
