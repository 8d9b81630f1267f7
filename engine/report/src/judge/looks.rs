//! Claims of a run that looks at them while it measures: each is judged at the looks that its plan has, on
//! the units of that look, and at no other time.
//!
//! Nothing of this is written down but the plan and the trials: which looks were taken, and what came of
//! them, follows from the records. So a run that is resumed, or reported years later, has the same looks;
//! and what was measured beyond the last look that was reached is not judged.

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::looks::{Design, Look};
use vexp_api::plan::Trial;
use vexp_api::spec::{Claim, Operand};

use super::assertion::{Lookup, number_side};
use super::{ALPHA, ClaimVerdict, Opened, Side, Test, TestOutcome, Verdict, open, regime};
use crate::frame::Frames;
use crate::metrics::Metrics;
use crate::run::Run;
use crate::stats::holm::Corrected;
use crate::stats::sequential::{Seen, Sequence, Standing};

/// What came of a run's looks.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct LooksTaken {
    /// The looks, as they were declared before the run.
    pub design: Vec<Look>,
    /// Accepted probability of any wrong verdict.
    pub alpha: f64,
    /// How many were taken.
    pub taken: usize,
    /// `boots`, or `seeds` in virtual time.
    pub unit: &'static str,
    /// Claims that are measured on, sorted.
    pub open: Vec<Name>,
    /// Claims that would hardly be decided by the last look, sorted.
    pub given_up: Vec<Name>,
    /// Trials that the next look needs and that have no record yet.
    #[serde(skip)]
    pub missing: BTreeSet<Name>,
    /// Trials that no look has asked for.
    #[serde(skip)]
    pub unwanted: BTreeSet<Name>,
}

impl LooksTaken {
    /// `look 2 of 3: 19 decided, 4 open (38 trials, about 50 min), 6 out of regime`, with the `estimate` of what
    /// is missing for the next look.
    pub fn words(&self, claims: &[ClaimVerdict], estimate: Option<&str>) -> String {
        let looks = self.design.len();
        let missing = match (self.missing.len(), estimate) {
            (0, _) => String::new(),
            (n, None) => format!(" ({n} trials)"),
            (n, Some(time)) => format!(" ({n} trials, {time})"),
        };
        if self.taken == 0 {
            let units = self.design.first().map_or(0, |look| look.units);
            let unit = self.unit;
            return format!("look 1 of {looks}, after {units} {unit}, is not reached{missing}");
        }
        let of = |wanted: &[Verdict]| {
            let found = claims
                .iter()
                .filter(|claim| wanted.contains(&claim.verdict));
            found.count()
        };
        let decided = of(&[Verdict::Reproduced, Verdict::NotReproduced]);
        let mut words = format!(
            "look {} of {looks}: {decided} decided, {} open{missing}",
            self.taken,
            self.open.len()
        );
        for (n, what) in [
            (of(&[Verdict::OutOfRegime]), "out of regime"),
            (self.given_up.len(), "given up"),
            (of(&[Verdict::NotTested]), "not tested"),
        ] {
            if n > 0 {
                words += &format!(", {n} {what}");
            }
        }
        words
    }
}

type Points = BTreeSet<(Name, Name, u32)>;

/// The points of the plan that a claim needs: those of its tests and controls, and classical Linux in the
/// same experiments, to which metrics are relative and by which regimes are told.
pub(super) fn points(claim: &Claim, run: &Run) -> Points {
    let tests = claim.tests.iter().chain(&claim.needs.controls);
    let sides: Vec<_> = tests.flat_map(regime::sides).collect();
    let needs = |trial: &&Trial| {
        sides.iter().any(|of| {
            of.experiment == trial.experiment
                && ((&of.platform, of.vms) == (&trial.platform, trial.vms)
                    || (trial.vms == 0 && run.is_classical(&trial.platform)))
        })
    };
    let planned = |of: &&vexp_api::spec::MetricRef| {
        let mut trials = run.plan.trials();
        trials.any(|trial| point(trial) == (of.experiment.clone(), of.platform.clone(), of.vms))
    };
    // What is not planned at all is not tested, however much of classical Linux is.
    if !sides.iter().any(planned) {
        return Points::new();
    }
    run.plan.trials().filter(needs).map(point).collect()
}

fn point(trial: &Trial) -> (Name, Name, u32) {
    (trial.experiment.clone(), trial.platform.clone(), trial.vms)
}

fn can_be_seen(claim: &Claim, run: &Run) -> bool {
    regime::Declared { claim, run }.causes().is_empty()
}

/// A run's claims while they are looked at.
struct Looking<'a> {
    frames: &'a Frames,
    unit: &'static str,
    sequence: Sequence,
    /// Claims that the plan has points of.
    claims: Vec<(&'a Name, &'a Claim, Points)>,
    verdicts: Vec<Option<ClaimVerdict>>,
}

/// Takes all looks that the records have reached.
pub(super) fn judge(frames: &Frames, design: Design) -> (Vec<ClaimVerdict>, LooksTaken) {
    let run = &frames.run;
    let all = run.study.claims.iter();
    let all: Vec<_> = all
        .map(|(name, claim)| (name, claim, points(claim, run)))
        .collect();
    let (claims, beside): (Vec<_>, Vec<_>) =
        (all.into_iter()).partition(|(_, _, points)| !points.is_empty());
    let mut looking = Looking {
        frames,
        unit: if run.is_virtual() { "seeds" } else { "boots" },
        sequence: Sequence::new(design, ALPHA, claims.len()),
        verdicts: vec![None; claims.len()],
        claims,
    };
    let mut wanted = BTreeSet::new();
    let missing = loop {
        let needed = looking.needed();
        wanted.extend(needed.iter().cloned());
        let has = |trial: &&Name| !run.trials.contains_key(*trial);
        let missing: BTreeSet<Name> = needed.iter().filter(has).cloned().collect();
        if needed.is_empty() || !missing.is_empty() || !looking.look() {
            break missing;
        }
    };
    let planned = run.plan.trials().map(|trial| trial.id.clone());
    let unwanted = planned.filter(|trial| !wanted.contains(trial));
    let taken = looking.taken(missing, unwanted.collect());
    let mut verdicts = looking.verdicts();
    verdicts.extend(untested(frames, &beside));
    verdicts.sort_by(|a, b| a.claim.cmp(&b.claim));
    (verdicts, taken)
}

/// Claims of which nothing is planned.
fn untested(frames: &Frames, claims: &[(&Name, &Claim, Points)]) -> Vec<ClaimVerdict> {
    let metrics = Metrics::first(frames, 0);
    let lookup = Lookup::first(&metrics, &[], frames, 0);
    let claims = claims.iter();
    claims
        .map(|(name, claim, _)| open(name, claim, &lookup).verdict(None))
        .collect()
}

impl<'a> Looking<'a> {
    /// The trials that the next look needs: those of open claims, and one of each point for the report. A claim that
    /// can't be seen here, whatever is measured, needs none.
    fn needed(&self) -> BTreeSet<Name> {
        let taken = self.sequence.taken;
        let units = match taken {
            0 => self.sequence.design.looks().first().map(|look| look.units),
            _ => self.sequence.next(),
        };
        let Some(units) = units else {
            return BTreeSet::new();
        };
        let standings = self.sequence.standings.iter();
        let open: BTreeSet<_> = (self.claims.iter().zip(standings))
            .filter(|(_, standing)| **standing == Standing::Open)
            .filter(|((_, claim, _), _)| taken > 0 || can_be_seen(claim, &self.frames.run))
            .flat_map(|((_, _, points), _)| points)
            .collect();
        let trials = self.frames.run.plan.trials();
        trials
            .filter(|trial| trial.repetition <= units)
            .filter(|trial| trial.repetition == 1 || open.contains(&point(trial)))
            .map(|trial| trial.id.clone())
            .collect()
    }

    /// Takes the next look; false if there is none.
    fn look(&mut self) -> bool {
        let Some(look) = self
            .sequence
            .design
            .looks()
            .get(self.sequence.taken)
            .copied()
        else {
            return false;
        };
        let metrics = Metrics::first(self.frames, look.units);
        let values = metrics.values();
        let lookup = Lookup::first(&metrics, &values, self.frames, look.units);
        let opened: Vec<Option<Opened<'a>>> = (self.claims.iter())
            .zip(&self.sequence.standings)
            .map(|((name, claim, _), standing)| {
                (*standing == Standing::Open).then(|| open(name, claim, &lookup))
            })
            .collect();
        let family = opened.iter().flatten().filter_map(Opened::p).count();
        let given_up = |standing: &&Standing| matches!(standing, Standing::GivenUp { .. });
        let given_up = self.sequence.standings.iter().filter(given_up).count();
        let last = self.sequence.last(family + given_up);
        let seen = opened.iter().map(|claim| match claim {
            None => Seen::Undecidable,
            Some(claim) => claim.seen(last),
        });
        let seen: Vec<Seen> = seen.collect();
        let Ok(corrected) = self.sequence.take(&seen) else {
            return false;
        };
        for (i, (opened, corrected)) in opened.into_iter().zip(corrected).enumerate() {
            let standing = self.sequence.standings.get(i).copied();
            if let (Some(opened), Some(standing)) = (opened, standing) {
                let verdict = self.verdict(opened, corrected, standing, look);
                self.verdicts[i] = Some(verdict);
            }
        }
        true
    }

    /// The verdict of an open claim at a look, and what follows of it.
    fn verdict(
        &self,
        opened: Opened<'_>,
        corrected: Option<Corrected>,
        standing: Standing,
        look: Look,
    ) -> ClaimVerdict {
        let level = opened.p().zip(corrected);
        let mut verdict = opened.verdict(level);
        // A look's part of the level is all that a claim could have had at it.
        verdict.adjusted_p = verdict.adjusted_p.map(|p| (p / look.share).min(1.0));
        let (taken, looks) = (self.sequence.taken, self.sequence.design.looks().len());
        let (units, unit) = (self.sequence.design.most_units(), self.unit);
        let more = match standing {
            Standing::Decided { look, .. } => format!("; decided at look {look} of {looks}"),
            Standing::GivenUp { .. } if taken == looks => "; the last look was taken".to_owned(),
            Standing::GivenUp { look } => format!(
                "; given up at look {look} of {looks}: {units} {unit} would hardly decide it"
            ),
            Standing::Open => format!("; open after look {taken} of {looks}"),
            Standing::OutOfRegime { .. } => String::new(),
        };
        verdict.reason += &more;
        verdict.look = Some(taken);
        verdict
    }

    fn taken(&self, missing: BTreeSet<Name>, unwanted: BTreeSet<Name>) -> LooksTaken {
        let of = |wanted: &dyn Fn(&Standing) -> bool| -> Vec<Name> {
            let claims = self.claims.iter().zip(&self.sequence.standings);
            let claims = claims.filter(|(_, standing)| wanted(standing));
            claims.map(|((name, ..), _)| (*name).clone()).collect()
        };
        LooksTaken {
            design: self.sequence.design.looks().to_vec(),
            alpha: self.sequence.alpha,
            taken: self.sequence.taken,
            unit: self.unit,
            open: of(&|standing| *standing == Standing::Open),
            given_up: of(&|standing| matches!(standing, Standing::GivenUp { .. })),
            missing,
            unwanted,
        }
    }

    fn verdicts(self) -> Vec<ClaimVerdict> {
        let first = self.sequence.design.looks().first().copied();
        let looks = self.sequence.design.looks().len();
        let units = first.map_or(0, |look| look.units);
        let why = format!(
            "look 1 of {looks}, after {units} {}, is not reached: nothing is judged before",
            self.unit
        );
        let claims = self.claims.iter().zip(self.verdicts);
        claims
            .map(|((name, claim, _), found)| {
                found.unwrap_or_else(|| not_reached(name, claim, &why))
            })
            .collect()
    }
}

/// A claim before the first look: nothing of it is shown, since whoever saw it would look.
fn not_reached(name: &Name, claim: &Claim, why: &str) -> ClaimVerdict {
    let side = |of: &vexp_api::spec::MetricRef, times| Side {
        of: Some(of.clone()),
        times,
        value: None,
        interval: None,
    };
    let tests = claim.tests.iter().map(|test| Test {
        left: side(&test.left, 1.0),
        relation: test.relation,
        right: match &test.right {
            Operand::Metric { of, times } => side(of, *times),
            Operand::Number(number) => number_side(*number),
        },
        margin: test.margin,
        compared: None,
        outcome: TestOutcome::Open {
            reason: why.to_owned(),
        },
    });
    ClaimVerdict {
        claim: name.clone(),
        statement: claim.statement.clone(),
        place: claim.place.clone(),
        note: claim.note.clone(),
        verdict: Verdict::Inconclusive,
        reason: why.to_owned(),
        causes: Vec::new(),
        margins: Vec::new(),
        tested: 0,
        p: None,
        adjusted_p: None,
        look: None,
        tests: tests.collect(),
    }
}
