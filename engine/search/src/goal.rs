use std::fmt;

use crate::error::SearchError;

/// One goal of a search. The defaults are those that FD.io CSIT uses for its non-drop rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Greatest share of packets that a good trial loses, from 0 up to but not including 1.
    pub loss_ratio: f64,
    /// Share of `duration_sum` that bad trials may fill at a load that is still good, from 0 up to but not including 1.
    pub exceed_ratio: f64,
    /// Greatest (upper − lower) / upper of the bounds in the end, between 0 and 1.
    pub width: f64,
    /// Seconds of the first, shortest trials.
    pub initial_trial: f64,
    /// Seconds of a trial that counts in full.
    pub final_trial: f64,
    /// Seconds of trials that decide on a load.
    pub duration_sum: f64,
    /// Easier goals that are reached on the way, each with twice the width of the next.
    pub preceding: u32,
    /// Factor by which a step outwards grows, at least 2.
    pub expansion: u32,
}

impl Default for Goal {
    fn default() -> Self {
        Self {
            loss_ratio: 0.0,
            exceed_ratio: 0.5,
            width: 0.005,
            initial_trial: 1.0,
            final_trial: 1.0,
            duration_sum: 21.0,
            preceding: 2,
            expansion: 2,
        }
    }
}

/// Least relative width: the grid of loads would grow beyond what a float's digits can tell apart.
const LEAST_WIDTH: f64 = 1e-6;
/// More easier goals than this only add trials.
const MOST_PRECEDING: u32 = 32;

impl Goal {
    /// RFC 2544's throughput as a goal: no loss in a single trial of 60 s (draft-ietf-bmwg-mlrsearch).
    #[must_use]
    pub fn rfc2544() -> Self {
        Self {
            exceed_ratio: 0.0,
            final_trial: 60.0,
            duration_sum: 60.0,
            ..Self::default()
        }
    }

    /// Refuses what the search could not end with; `place` counts from 1.
    pub(crate) fn check(&self, place: usize) -> Result<(), SearchError> {
        let share = "it must be at least 0 and less than 1";
        let positive = "it must be a positive number of seconds";
        let rules: [(&'static str, f64, bool, &'static str); 9] = [
            (
                "loss_ratio",
                self.loss_ratio,
                (0.0..1.0).contains(&self.loss_ratio),
                share,
            ),
            (
                "exceed_ratio",
                self.exceed_ratio,
                (0.0..1.0).contains(&self.exceed_ratio),
                share,
            ),
            (
                "width",
                self.width,
                (LEAST_WIDTH..1.0).contains(&self.width),
                "it must be at least 0.000001 and less than 1",
            ),
            (
                "initial_trial",
                self.initial_trial,
                seconds(self.initial_trial),
                positive,
            ),
            (
                "final_trial",
                self.final_trial,
                seconds(self.final_trial) && self.final_trial >= self.initial_trial,
                "it must be at least initial_trial",
            ),
            (
                "duration_sum",
                self.duration_sum,
                seconds(self.duration_sum) && self.duration_sum >= self.final_trial,
                "it must be at least final_trial",
            ),
            (
                "expansion",
                f64::from(self.expansion),
                self.expansion >= 2,
                "it must be at least 2",
            ),
            (
                "preceding",
                f64::from(self.preceding),
                self.preceding > 0 || self.initial_trial >= self.duration_sum,
                "without an easier goal initial_trial must be duration_sum",
            ),
            (
                "preceding",
                f64::from(self.preceding),
                self.preceding <= MOST_PRECEDING,
                "it must be at most 32",
            ),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((field, value, _, expected)) => Err(SearchError::Goal {
                goal: place,
                field,
                value,
                expected,
            }),
            None => Ok(()),
        }
    }

    /// Whether a lower bound for this goal is a throughput by RFC 2544, and if not, why not.
    #[must_use]
    pub fn compliance(&self) -> Compliance {
        let mut reasons = Vec::new();
        if self.final_trial < 60.0 {
            reasons.push(format!("trials of {} s", self.final_trial));
        }
        if self.loss_ratio > 0.0 {
            reasons.push(format!(
                "a loss of {} % is allowed",
                percent(self.loss_ratio)
            ));
        }
        if self.exceed_ratio > 0.0 {
            reasons.push(format!(
                "up to {} % of the time may exceed the loss ratio",
                percent(self.exceed_ratio)
            ));
        }
        Compliance { reasons }
    }
}

pub(crate) fn seconds(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// A share in percent, without the digits that only binary fractions have.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// Whether a result is a throughput as RFC 2544 defines it (sections 24 and 26.1: trials of at least 60 s, no loss).
///
/// Shown as the line that belongs beside the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compliance {
    /// Why it isn't. Empty: it is.
    pub reasons: Vec<String>,
}

impl Compliance {
    /// Whether nothing speaks against it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl fmt::Display for Compliance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holds() {
            return out.write_str("RFC 2544: yes");
        }
        write!(out, "RFC 2544: no, {}", self.reasons.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compliance_names_each_reason() {
        assert_eq!(Goal::rfc2544().compliance().to_string(), "RFC 2544: yes");
        let partial = Goal {
            loss_ratio: 0.005,
            ..Goal::default()
        };
        assert_eq!(
            partial.compliance().to_string(),
            "RFC 2544: no, trials of 1 s, a loss of 0.5 % is allowed, up to 50 % of the time may exceed the loss ratio"
        );
        let long = Goal {
            exceed_ratio: 0.25,
            ..Goal::rfc2544()
        };
        assert_eq!(
            long.compliance().to_string(),
            "RFC 2544: no, up to 25 % of the time may exceed the loss ratio"
        );
    }

    #[test]
    fn a_goal_outside_its_range_is_refused_by_name() {
        let goal = Goal::default();
        let cases: [(Goal, &str); 9] = [
            (
                Goal {
                    loss_ratio: 1.0,
                    ..goal
                },
                "loss_ratio",
            ),
            (
                Goal {
                    loss_ratio: f64::NAN,
                    ..goal
                },
                "loss_ratio",
            ),
            (
                Goal {
                    exceed_ratio: -0.1,
                    ..goal
                },
                "exceed_ratio",
            ),
            (Goal { width: 0.0, ..goal }, "width"),
            (
                Goal {
                    initial_trial: 0.0,
                    ..goal
                },
                "initial_trial",
            ),
            (
                Goal {
                    final_trial: 0.5,
                    ..goal
                },
                "final_trial",
            ),
            (
                Goal {
                    duration_sum: f64::INFINITY,
                    ..goal
                },
                "duration_sum",
            ),
            (
                Goal {
                    preceding: 0,
                    ..goal
                },
                "preceding",
            ),
            (
                Goal {
                    expansion: 1,
                    ..goal
                },
                "expansion",
            ),
        ];
        for (goal, expected) in cases {
            match goal.check(3) {
                Err(SearchError::Goal { goal: 3, field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        assert_eq!(goal.check(1), Ok(()));
        assert_eq!(Goal::rfc2544().check(1), Ok(()));
    }
}
