//! One assertion: what it is about, where that must lie, and where it was found.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::metric::{self, Metric};
use vexp_api::plan::Trial;
use vexp_api::spec::{Assertion, MetricRef, Operand, Relation};

use super::reason::{claimed, describe};
use super::{Compared, Side, Test, TestOutcome};
use crate::frame::{Frames, Unusable};
use crate::metrics::{Basis, ENOUGH_REPETITIONS, Inference, MetricValue, Metrics};
use crate::stats::contrast::{Decision, Region};
use crate::stats::directed::{Units, least_units};
use crate::stats::{Interval, LEVEL};

/// Finds what an assertion is about.
pub(super) struct Lookup<'a> {
    values: BTreeMap<MetricRef, &'a MetricValue>,
    metrics: &'a Metrics<'a>,
    frames: &'a Frames,
    /// Repetitions beyond it are not looked at.
    most: u32,
}

/// Whether an assertion could yet be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// It may hold.
    MayHold,
    /// It may fail.
    MayFail,
    /// More units would hardly decide it, or it was not measured at all.
    Hopeless,
    /// Too little is known.
    Unknown,
}

/// The largest share of a point's trials that may be lost. What is lost is not lost at random: a verdict
/// on the rest would be one on what was easy to measure.
const MOST_LOST: f64 = 0.2;

/// An assertion before the level is known at which it is decided.
pub(super) struct Judged {
    left: Side,
    right: Side,
    relation: Relation,
    margin: f64,
    found: Result<Found, String>,
}

struct Found {
    inference: Inference,
    region: Region,
    /// What can decide it, or why nothing can.
    evidence: Result<Evidence, String>,
}

/// Units and what they say.
struct Evidence {
    units: Units,
    basis: Basis,
    decision: Decision,
}

impl<'a> Lookup<'a> {
    /// Looks at repetitions up to this one, of which metrics and values are.
    pub(super) fn first(
        metrics: &'a Metrics<'a>,
        values: &'a [MetricValue],
        frames: &'a Frames,
        most: u32,
    ) -> Self {
        let values = values
            .iter()
            .filter_map(|value| Some((reference(value)?, value)))
            .collect();
        Self {
            values,
            metrics,
            frames,
            most,
        }
    }

    pub(super) fn judge(&self, test: &Assertion) -> Judged {
        let (left, left_missing) = self.side(&test.left, 1.0);
        let (right, right_missing) = match &test.right {
            Operand::Metric { of, times } => self.side(of, *times),
            Operand::Number(number) => (number_side(*number), None),
        };
        let found = match left_missing.or(right_missing) {
            Some(reason) => Err(reason),
            None => self.compare(test),
        };
        Judged {
            left,
            right,
            relation: test.relation,
            margin: test.margin,
            found,
        }
    }

    fn compare(&self, test: &Assertion) -> Result<Found, String> {
        let (right, claimed) = match &test.right {
            Operand::Metric { of, times } => (Some(of), *times),
            Operand::Number(number) => (None, *number),
        };
        let inference = self.metrics.compare(&test.left, right).ok_or_else(|| {
            let right = right.map_or_else(String::new, |of| format!(" and {}", describe(of)));
            let left = describe(&test.left);
            format!("there is no repetition in which {left}{right} were both measured")
        })?;
        let region = region(test.relation, claimed, test.margin);
        Ok(Found {
            inference,
            region,
            evidence: self.evidence(&test.left, right, region),
        })
    }

    /// Units decide: boots of the machine, or in virtual time repetitions, whose seeds are all that can
    /// differ.
    fn evidence(
        &self,
        left: &MetricRef,
        right: Option<&MetricRef>,
        region: Region,
    ) -> Result<Evidence, String> {
        for of in [Some(left), right].into_iter().flatten() {
            self.lost(of)?;
        }
        let virtual_time = self.frames.run.is_virtual();
        let unit = if virtual_time { "seeds" } else { "boots" };
        let (units, basis) = self.metrics.units(left, right).ok_or_else(|| {
            format!(
                "there are fewer than {ENOUGH_REPETITIONS} {unit} that differ: how they do is not known"
            )
        })?;
        if basis != Basis::Boots && !virtual_time {
            return Err(format!(
                "there are fewer than {ENOUGH_REPETITIONS} boots: how they differ is not known"
            ));
        }
        let decision = units.decide(region);
        Ok(Evidence {
            units,
            basis,
            decision,
        })
    }

    /// Whether too many of a point's trials were lost.
    fn lost(&self, of: &MetricRef) -> Result<(), String> {
        let here = |experiment: &Name, platform: &Name, vms| {
            (experiment, platform, vms) == (&of.experiment, &of.platform, of.vms)
        };
        let lost = self.unusable().filter(|trial| {
            trial.kind != "not run" && here(&trial.experiment, &trial.platform, trial.vms)
        });
        let measured = self
            .measured()
            .filter(|trial| here(&trial.experiment, &trial.platform, trial.vms));
        let (lost, measured) = (lost.count(), measured.count());
        let all = lost + measured;
        match lost as f64 > MOST_LOST * all as f64 {
            false => Ok(()),
            true => Err(format!(
                "{}: {lost} of {all} trials were lost, and what is left is what was easy to measure",
                describe(of)
            )),
        }
    }

    fn unusable(&self) -> impl Iterator<Item = &'a Unusable> {
        let most = self.most;
        let all = self.frames.unusable.iter();
        all.filter(move |trial| trial.repetition <= most)
    }

    fn measured(&self) -> impl Iterator<Item = &'a Trial> {
        let most = self.most;
        let all = self.frames.trials.iter().map(|frame| &frame.trial);
        all.filter(move |trial| trial.repetition <= most)
    }

    /// The run.
    pub(super) fn frames(&self) -> &'a Frames {
        self.frames
    }

    /// A metric's estimate.
    pub(super) fn value(&self, of: &MetricRef) -> Option<f64> {
        self.values.get(of).map(|found| found.value)
    }

    /// The side, and why it was not measured if it was not.
    fn side(&self, of: &MetricRef, times: f64) -> (Side, Option<String>) {
        let found = self.values.get(of);
        let side = Side {
            of: Some(of.clone()),
            times,
            value: found.map(|found| found.value * times),
            interval: found.and_then(|found| Some(scale(found.interval?, times))),
        };
        let missing = found.is_none().then(|| self.absence(of));
        (side, missing)
    }

    /// Why there is no such metric in this run.
    fn absence(&self, of: &MetricRef) -> String {
        let here = |experiment: &Name, platform: &Name, vms| {
            (experiment, platform, vms) == (&of.experiment, &of.platform, of.vms)
        };
        let point = describe(of);
        let mut lost = self.unusable();
        let lost = lost.find(|trial| here(&trial.experiment, &trial.platform, trial.vms));
        let measured = self
            .measured()
            .any(|trial| here(&trial.experiment, &trial.platform, trial.vms));
        match (measured, lost) {
            (false, Some(trial)) => format!("{point}: trial {} is {}", trial.trial, trial.kind),
            (false, None) => format!("{point} is not in this run"),
            (true, _) => format!("{point} can't be computed from what its trials recorded"),
        }
    }
}

impl Judged {
    /// What its units say; `None` if there are none that could decide it.
    pub(super) fn decision(&self) -> Option<Decision> {
        let evidence = self.found.as_ref().ok()?.evidence.as_ref().ok()?;
        Some(evidence.decision)
    }

    /// Whether so many units could decide it at a level, if its estimate lay a standard error further on
    /// its side than it does.
    pub(super) fn prospect(&self, (units, level): (u32, f64)) -> Prospect {
        let Ok(found) = &self.found else {
            return Prospect::Hopeless;
        };
        let Ok(evidence) = &found.evidence else {
            return Prospect::Unknown;
        };
        let reach = evidence.units.reach(found.region, units, level);
        match (reach, evidence.decision.inside) {
            (false, _) => Prospect::Hopeless,
            (true, true) => Prospect::MayHold,
            (true, false) => Prospect::MayFail,
        }
    }

    /// Whether it was measured.
    pub(super) fn is_measured(&self) -> bool {
        self.found.is_ok()
    }

    /// The same with another margin.
    pub(super) fn with_margin(&self, margin: f64) -> Option<Decision> {
        let evidence = self.found.as_ref().ok()?.evidence.as_ref().ok()?;
        let region = region(self.relation, self.right.times, margin);
        Some(evidence.units.decide(region))
    }

    /// What it asserts, in words.
    pub(super) fn words(&self) -> String {
        let left = self.left.of.as_ref().map_or_else(String::new, describe);
        let right = match &self.right.of {
            Some(of) => format!(" times {}", describe(of)),
            None => String::new(),
        };
        let claimed = claimed(self.relation, self.right.times, self.margin);
        format!("{left}{right}, which must be {claimed}")
    }

    pub(super) fn margin(&self) -> f64 {
        self.margin
    }

    /// Decides it at the level of its claim, of which so many assertions have units that could.
    pub(super) fn at(self, alpha: f64, decidable: usize) -> Test {
        let (compared, outcome) = match self.found {
            Err(reason) => (None, TestOutcome::Untested { reason }),
            Ok(found) => {
                let left = self.left.of.as_ref();
                let share = share(found.decision(), alpha, decidable);
                let outcome = found.outcome(share);
                let value = match self.right.of {
                    None => left.and_then(|of| metric::find(of.metric.as_str())),
                    Some(_) => None,
                };
                let compared = found.compared(share, value, self.right.times);
                (Some(compared), outcome)
            }
        };
        Test {
            left: self.left,
            relation: self.relation,
            right: self.right,
            margin: self.margin,
            compared,
            outcome,
        }
    }
}

/// An assertion's level: all must hold, so that each may be tested at the claim's; any may fail.
pub(super) fn share(decision: Option<Decision>, alpha: f64, decidable: usize) -> f64 {
    match decision {
        Some(decision) if !decision.inside => alpha / decidable.max(1) as f64,
        _ => alpha,
    }
}

impl Found {
    fn decision(&self) -> Option<Decision> {
        self.evidence.as_ref().ok().map(|found| found.decision)
    }

    fn outcome(&self, alpha: f64) -> TestOutcome {
        let evidence = match &self.evidence {
            Err(reason) => {
                let reason = reason.clone();
                return TestOutcome::Open { reason };
            }
            Ok(evidence) => evidence,
        };
        let least = least_units(alpha) as usize;
        match (evidence.decision.p <= alpha, evidence.decision.inside) {
            (true, true) => TestOutcome::Holds,
            (true, false) => TestOutcome::Fails,
            (false, _) if evidence.units.len() < least => TestOutcome::Open {
                reason: format!(
                    "{} {} can't decide it at this level: {least} at least could",
                    evidence.units.len(),
                    evidence.basis.as_str()
                ),
            },
            (false, _) => TestOutcome::Open {
                reason: "the interval holds values on both sides of the margin".to_owned(),
            },
        }
    }

    /// What was compared with a number: a value of this metric, or else a ratio of two values.
    fn compared(&self, alpha: f64, value: Option<&Metric>, claimed: f64) -> Compared {
        let possible = value.map_or((0.0, f64::INFINITY), Metric::possible);
        let clipped = |interval: Option<Interval>| Some(interval?.clipped(possible));
        let contrast = &self.inference.contrast;
        let compared = Compared {
            what: if value.is_some() { "value" } else { "ratio" },
            value: contrast.ratio(),
            claimed,
            low: self.region.low,
            high: self.region.high,
            interval: clipped(contrast.usual()),
            adjusted: None,
            level: 1.0 - 2.0 * alpha,
            p: None,
            basis: self.inference.basis,
            units: self.inference.units,
            inside: None,
            enough: None,
        };
        let Ok(evidence) = &self.evidence else {
            return compared;
        };
        let (units, decision) = (&evidence.units, evidence.decision);
        Compared {
            value: units.ratio(),
            interval: clipped(units.interval((1.0 - LEVEL) / 2.0)),
            adjusted: clipped(units.interval(alpha)),
            p: Some(decision.p),
            basis: evidence.basis,
            units: units.len(),
            inside: Some(decision.inside),
            enough: match decision.p > alpha {
                true => units.units_for(self.region, alpha, super::MOST_UNITS),
                false => None,
            },
            ..compared
        }
    }
}

/// Where a value, or the ratio to the right side, must lie.
pub(super) fn region(relation: Relation, claimed: f64, margin: f64) -> Region {
    let room = margin * claimed.abs();
    let (below, above) = (Some(claimed - room), Some(claimed + room));
    let (low, high, closed) = match relation {
        Relation::About => (below, above, true),
        Relation::AtLeast => (below, None, true),
        Relation::AtMost => (None, above, true),
        Relation::GreaterThan => (above, None, false),
        Relation::LessThan => (None, below, false),
    };
    Region { low, high, closed }
}

pub(super) fn number_side(number: f64) -> Side {
    Side {
        of: None,
        times: number,
        value: Some(number),
        interval: Some(Interval {
            low: number,
            high: number,
        }),
    }
}

fn reference(value: &MetricValue) -> Option<MetricRef> {
    Some(MetricRef {
        metric: Name::new(value.metric).ok()?,
        experiment: value.point.experiment.clone(),
        platform: value.point.platform.clone(),
        vms: value.point.vms,
        node: value.node.clone(),
    })
}

fn scale(interval: Interval, times: f64) -> Interval {
    let (a, b) = (interval.low * times, interval.high * times);
    Interval {
        low: a.min(b),
        high: a.max(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Contrast;
    use crate::stats::directed::{Scale, Side as Units3};

    #[test]
    fn an_interval_holds_nothing_that_can_not_be() {
        let values = [0.6, 0.99, 0.99];
        let contrast = Contrast::of_units(&values, None).unwrap();
        let region = region(Relation::AtLeast, 1.0, 0.05);
        let side = Units3 {
            values: values.to_vec(),
            step: 0.0,
        };
        let units = Units::new(&side, None, Scale::Linear).unwrap();
        let found = Found {
            inference: Inference {
                contrast,
                basis: Basis::Repetitions,
                boots: 1,
                units: 3,
            },
            region,
            evidence: Ok(Evidence {
                basis: Basis::Boots,
                decision: units.decide(region),
                units,
            }),
        };
        let most = |metric: Option<&str>| {
            let compared = found.compared(0.01, metric.and_then(metric::find), 1.0);
            compared.adjusted.unwrap().high
        };
        assert!(most(Some("efficiency")) > 1.0);
        assert_eq!(most(Some("jain_throughput")), 1.0);
        assert!(most(None) > 1.0);
    }
}
