//! A claim's verdicts over a range of the regime: the same study, measured at several link rates.
//!
//! A link that is scarcer beside processor time than another shows other things of a hypervisor. So a verdict says
//! little as long as nobody knows whether it is the same at other rates, or at which one it turns.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;

use super::{ClaimVerdict, Verdict};
use crate::run::Run;

/// What a run found, and where in the range it lies.
#[derive(Clone, Debug)]
pub struct AtRate {
    /// The run's id.
    pub run: Name,
    /// Factor on the study's link rates: what was calibrated, else what the testbed's overlay says, else 1.
    pub factor: f64,
    /// The verdict on each of its claims.
    pub claims: BTreeMap<Name, Verdict>,
}

impl AtRate {
    /// Of a run and its verdicts.
    pub fn new(run: &Run, claims: &[ClaimVerdict]) -> Self {
        let overlay = run.study.testbeds.get(&run.plan.testbed);
        let declared = overlay.and_then(|overlay| overlay.link.as_ref());
        let calibrated = run.plan.calibration.as_ref();
        let factor = calibrated
            .map(|found| found.factor)
            .or_else(|| declared.map(|link| link.factor));
        let of_claim = |claim: &ClaimVerdict| (claim.claim.clone(), claim.verdict);
        Self {
            run: run.record.id.clone(),
            factor: factor.unwrap_or(1.0),
            claims: claims.iter().map(of_claim).collect(),
        }
    }
}

/// A claim over the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverRange {
    /// The claim's name in the study.
    pub claim: Name,
    /// Its verdict in each run, in order of their factors; none where the run's study does not have it.
    pub verdicts: Vec<Option<Verdict>>,
    /// `the same over the range`, `turns between 0.2 and 0.4`, or where it is not decided.
    pub words: String,
}

/// Each claim over the runs, which are put in order of their factors.
pub fn over(runs: &mut [AtRate]) -> Vec<OverRange> {
    runs.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    let names: BTreeSet<&Name> = runs.iter().flat_map(|run| run.claims.keys()).collect();
    let of_claim = |claim: &Name| {
        let at = |run: &AtRate| (run.factor, run.claims.get(claim).copied());
        let found: Vec<(f64, Option<Verdict>)> = runs.iter().map(at).collect();
        OverRange {
            claim: claim.clone(),
            verdicts: found.iter().map(|(_, verdict)| *verdict).collect(),
            words: words(&found),
        }
    };
    names.into_iter().map(of_claim).collect()
}

fn words(found: &[(f64, Option<Verdict>)]) -> String {
    let decided: Vec<(f64, Verdict)> = found
        .iter()
        .filter_map(|(factor, verdict)| Some((*factor, (*verdict)?)))
        .filter(|(_, verdict)| matches!(verdict, Verdict::Reproduced | Verdict::NotReproduced))
        .collect();
    let turns: Vec<String> = decided
        .windows(2)
        .filter(|pair| pair[0].1 != pair[1].1)
        .map(|pair| match pair[0].0 == pair[1].0 {
            true => format!("differs at {}, whose runs do not agree", pair[0].0),
            false => format!("turns between {} and {}", pair[0].0, pair[1].0),
        })
        .collect();
    match (turns.is_empty(), decided.len()) {
        (false, _) => turns.join(", "),
        (true, 0) => "decided nowhere".to_owned(),
        (true, n) if n == found.len() => "the same over the range".to_owned(),
        (true, _) => {
            let at: Vec<String> = decided
                .iter()
                .map(|(factor, _)| factor.to_string())
                .collect();
            format!("the same where it is decided: {}", at.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_the_same_or_turns_somewhere() {
        use Verdict::{Inconclusive, NotReproduced, OutOfRegime, Reproduced};
        for (verdicts, expected) in [
            ([Some(Reproduced); 3], "the same over the range"),
            (
                [Some(NotReproduced), Some(NotReproduced), Some(Reproduced)],
                "turns between 0.4 and 1",
            ),
            (
                [Some(Reproduced), Some(Inconclusive), Some(NotReproduced)],
                "turns between 0.2 and 1",
            ),
            (
                [Some(OutOfRegime), Some(Reproduced), None],
                "the same where it is decided: 0.4",
            ),
            ([Some(Inconclusive), None, None], "decided nowhere"),
        ] {
            let claim: Name = "c".parse().unwrap();
            let factors = [0.2, 0.4, 1.0];
            let mut runs: Vec<AtRate> = factors
                .iter()
                .zip(verdicts)
                .rev()
                .map(|(factor, verdict)| AtRate {
                    run: "r".parse().unwrap(),
                    factor: *factor,
                    claims: verdict.map(|v| (claim.clone(), v)).into_iter().collect(),
                })
                .collect();
            let found = over(&mut runs);
            assert_eq!(runs[0].factor, 0.2);
            assert_eq!(
                (found[0].words.as_str(), &found[0].verdicts[..]),
                (expected, &verdicts[..])
            );
        }
    }

    #[test]
    fn runs_at_the_same_rate_may_disagree() {
        let found = [
            (0.4, Some(Verdict::Reproduced)),
            (0.4, Some(Verdict::NotReproduced)),
        ];
        assert_eq!(words(&found), "differs at 0.4, whose runs do not agree");
    }
}
