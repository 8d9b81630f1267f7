use crate::goal::Goal;
use crate::grid::Grid;

/// A goal or one of the easier goals before it, in the grid's units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) loss_ratio: f64,
    pub(crate) exceed_ratio: f64,
    /// Positions.
    pub(crate) width: i64,
    /// Seconds.
    pub(crate) trial: f64,
    /// Seconds.
    pub(crate) duration_sum: f64,
    pub(crate) expansion: u32,
}

impl Target {
    /// A goal's targets, the easiest first, the goal last. From each to the next the width halves, and the sum of
    /// durations grows by the same factor.
    pub(crate) fn chain(goal: &Goal, grid: &Grid) -> Vec<Self> {
        let last = Self {
            loss_ratio: goal.loss_ratio,
            exceed_ratio: goal.exceed_ratio,
            width: grid.width(goal.width),
            trial: goal.final_trial,
            duration_sum: goal.duration_sum,
            expansion: goal.expansion,
        };
        let mut chain = vec![last];
        let factor =
            (goal.initial_trial / goal.duration_sum).powf(1.0 / f64::from(goal.preceding.max(1)));
        let mut width = last.width;
        for place in 1..=goal.preceding {
            let duration_sum = if place == goal.preceding {
                goal.initial_trial
            } else {
                goal.duration_sum * factor.powf(f64::from(place))
            };
            width = grid.widened(width, 2);
            chain.push(Self {
                width,
                trial: goal.final_trial.min(duration_sum),
                duration_sum,
                ..last
            });
        }
        chain.reverse();
        chain
    }
}
