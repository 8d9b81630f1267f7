//! One assertion: what it is about, where that must lie, and where it was found.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::metric::{self, Metric};
use vexp_api::spec::{Assertion, MetricRef, Operand, Relation};

use super::reason::describe;
use super::{Compared, Side, Test, TestOutcome};
use crate::frame::Frames;
use crate::metrics::{Basis, Inference, MetricValue, Metrics};
use crate::stats::Interval;
use crate::stats::contrast::{Decision, Region};

/// Finds what an assertion is about.
pub(super) struct Lookup<'a> {
    values: BTreeMap<MetricRef, &'a MetricValue>,
    metrics: &'a Metrics<'a>,
    frames: &'a Frames,
}

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
    decision: Decision,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(
        metrics: &'a Metrics<'a>,
        values: &'a [MetricValue],
        frames: &'a Frames,
    ) -> Self {
        let values = values
            .iter()
            .filter_map(|value| Some((reference(value)?, value)))
            .collect();
        Self {
            values,
            metrics,
            frames,
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
            decision: inference.contrast.decide(region),
        })
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
        let mut lost = self.frames.unusable.iter();
        let lost = lost.find(|trial| here(&trial.experiment, &trial.platform, trial.vms));
        let measured = self.frames.trials.iter().any(|frame| {
            let trial = &frame.trial;
            here(&trial.experiment, &trial.platform, trial.vms)
        });
        match (measured, lost) {
            (false, Some(trial)) => format!("{point}: trial {} is {}", trial.trial, trial.kind),
            (false, None) => format!("{point} is not in this run"),
            (true, _) => format!("{point} can't be computed from what its trials recorded"),
        }
    }
}

impl Judged {
    /// What its interval says; `None` if it could not be tested.
    pub(super) fn decision(&self) -> Option<Decision> {
        self.found.as_ref().ok().map(|found| found.decision)
    }

    /// Decides it at the level of its claim, of which so many assertions were tested.
    pub(super) fn at(self, alpha: f64, tested: usize) -> Test {
        let (compared, outcome) = match self.found {
            Err(reason) => (None, TestOutcome::Untested { reason }),
            Ok(found) => {
                // All must hold, so that each may be tested at the claim's level; any may fail.
                let share = match found.decision.inside {
                    true => alpha,
                    false => alpha / tested as f64,
                };
                let left = self.left.of.as_ref();
                let outcome = found.outcome(share, left);
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

impl Found {
    fn outcome(&self, alpha: f64, left: Option<&MetricRef>) -> TestOutcome {
        if self.inference.basis == Basis::None {
            let what = left.map_or_else(String::new, describe);
            let reason = format!("{what} has too few samples for an interval");
            return TestOutcome::Open { reason };
        }
        match (self.decision.p <= alpha, self.decision.inside) {
            (true, true) => TestOutcome::Holds,
            (true, false) => TestOutcome::Fails,
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
        let level = 1.0 - alpha;
        let is_of_units = matches!(self.inference.basis, Basis::Boots | Basis::Repetitions);
        let open = is_of_units && self.decision.p > alpha;
        Compared {
            what: if value.is_some() { "value" } else { "ratio" },
            value: contrast.ratio(),
            claimed,
            low: self.region.low,
            high: self.region.high,
            interval: clipped(contrast.usual()),
            adjusted: clipped(contrast.interval(level)),
            level,
            p: self.decision.p,
            basis: self.inference.basis,
            units: self.inference.units,
            inside: self.decision.inside,
            enough: match open {
                true => contrast.units_for(self.region, alpha, super::MOST_UNITS),
                false => None,
            },
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

fn number_side(number: f64) -> Side {
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

    #[test]
    fn an_interval_holds_nothing_that_can_not_be() {
        let contrast = Contrast::of_units(&[0.6, 0.99, 0.99], None).unwrap();
        let region = region(Relation::AtLeast, 1.0, 0.05);
        let found = Found {
            inference: Inference {
                contrast,
                basis: Basis::Repetitions,
                boots: 1,
                units: 3,
            },
            region,
            decision: contrast.decide(region),
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
