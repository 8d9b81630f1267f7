//! One goal's choice of the load to try next.

use crate::grid::{Grid, middle};
use crate::ledger::{Bounds, Ledger};
use crate::target::Target;

/// A load that a goal would like to have tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wish {
    pub(crate) position: i64,
    /// Seconds.
    pub(crate) trial: f64,
    /// The step that all goals take note of, if this wish is granted.
    pub(crate) width: i64,
}

impl Wish {
    /// Whether this wish is granted before an earlier goal's. Lower loads come first, since they are the safer
    /// ones; then longer trials, then larger steps.
    pub(crate) fn precedes(&self, earlier: &Self) -> bool {
        let order = self
            .position
            .cmp(&earlier.position)
            .then(earlier.trial.total_cmp(&self.trial))
            .then(earlier.width.cmp(&self.width));
        order.is_lt()
    }
}

/// When a granted wish makes the next step larger: the search moved outwards and met no bound yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grow {
    Never,
    IfLower,
    IfUpper,
}

/// The pursuit of a goal through its targets.
#[derive(Clone, Debug)]
pub(crate) struct Pursuit {
    /// Targets of the ledger, the goal's own last.
    chain: std::ops::Range<usize>,
    /// Where the current target's search began: bounds of the target before, or loads of the first trials.
    low: Option<i64>,
    high: Option<i64>,
    /// The next step outwards, in positions.
    step: i64,
    grow: Grow,
}

/// What a pursuit looks at. `shared` is the step of the wish that was granted last.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) ledger: &'a Ledger,
    pub(crate) shared: i64,
}

impl Pursuit {
    pub(crate) fn new(chain: std::ops::Range<usize>, low: i64, high: i64, view: View<'_>) -> Self {
        let mut pursuit = Self {
            chain,
            low: Some(low),
            high: Some(high),
            step: 0,
            grow: Grow::Never,
        };
        pursuit.begin(view);
        pursuit
    }

    fn target<'a>(&self, view: View<'a>) -> &'a Target {
        view.ledger.target(self.chain.start)
    }

    fn begin(&mut self, view: View<'_>) {
        let between = self.low.zip(self.high).map_or(0, |(low, high)| high - low);
        self.limit(between, view);
    }

    fn limit(&mut self, width: i64, view: View<'_>) {
        let target = self.target(view);
        self.step = view.grid.widened(width.max(target.width), target.expansion);
    }

    /// The next wish; `None` once the goal is reached. A target that is reached gives way to the next one.
    pub(crate) fn wish(&mut self, view: View<'_>) -> Option<Wish> {
        loop {
            let bounds = view.ledger.bounds(self.chain.start);
            if let Some((position, width)) = self.choose(bounds, view) {
                let trial = self.target(view).trial;
                return Some(Wish {
                    position,
                    trial,
                    width,
                });
            }
            if self.chain.len() <= 1 {
                return None;
            }
            self.chain.start += 1;
            (self.low, self.high) = (bounds.lower, bounds.upper);
            self.begin(view);
        }
    }

    /// The rules in their order: split what the target before left, confirm its lower end, then its upper end,
    /// move outwards for a bound that is missing, halve what lies between the bounds.
    fn choose(&mut self, bounds: Bounds, view: View<'_>) -> Option<(i64, i64)> {
        let width = self.target(view).width;
        let confirmed = [self.split(width), self.low, self.high]
            .into_iter()
            .flatten()
            .find(|position| worth(bounds, *position, width));
        if let Some(position) = confirmed {
            self.grow = Grow::Never;
            self.limit(width, view);
            return Some((position, width));
        }
        match (bounds.lower, bounds.upper) {
            (None, Some(upper)) if upper > 0 => {
                self.outwards(-1, upper, Grow::IfUpper, bounds, view)
            }
            (Some(lower), None) if lower < view.grid.top() => {
                self.outwards(1, lower, Grow::IfLower, bounds, view)
            }
            (Some(lower), Some(upper)) if upper - lower > width => {
                Some(self.inwards(lower, upper, bounds, view))
            }
            _ => None,
        }
    }

    fn split(&self, width: i64) -> Option<i64> {
        let (low, high) = self.low.zip(self.high)?;
        let between = high - low;
        (between > width && between <= 2 * width).then(|| middle(low, high, width))
    }

    fn outwards(
        &mut self,
        sign: i64,
        from: i64,
        grow: Grow,
        bounds: Bounds,
        view: View<'_>,
    ) -> Option<(i64, i64)> {
        let target = self.target(view);
        let step = self.step.max(view.shared);
        let wish = from.saturating_add(sign * step);
        let position = view
            .grid
            .within(wish, target.width, bounds.lower, bounds.upper)?;
        if !worth(bounds, position, target.width) {
            return None;
        }
        self.grow = grow;
        Some((position, step))
    }

    /// Between two bounds, the middle; or a step from one bound, where that comes nearer to where the search
    /// for this target began, since a bound far off may have come from another goal.
    fn inwards(&mut self, lower: i64, upper: i64, bounds: Bounds, view: View<'_>) -> (i64, i64) {
        let half = middle(lower, upper, self.target(view).width);
        if let Some(high) = self.high
            && half < high
            && let Some((position, step)) = self.near(-1, upper, bounds, view)
            && position > half
            && position < high
        {
            self.grow = Grow::IfUpper;
            return (position, step);
        }
        if let Some(low) = self.low
            && half > low
            && let Some((position, step)) = self.near(1, lower, bounds, view)
            && position < half
            && position > low
        {
            self.grow = Grow::IfLower;
            return (position, step);
        }
        self.grow = Grow::Never;
        let width = (half - lower).min(upper - half);
        self.limit(width, view);
        (half, width)
    }

    fn near(&self, sign: i64, from: i64, bounds: Bounds, view: View<'_>) -> Option<(i64, i64)> {
        let step = self.step.max(view.shared);
        let width = self.target(view).width;
        let wish = from.saturating_add(sign * step);
        let position = view.grid.within(wish, width, bounds.lower, bounds.upper)?;
        Some((position, step))
    }

    /// Takes note that the last wish was granted and measured. Returns the step to share, where it grew.
    pub(crate) fn granted(&mut self, position: i64, view: View<'_>) -> Option<i64> {
        let bounds = view.ledger.bounds(self.chain.start);
        let grows = match self.grow {
            Grow::Never => false,
            Grow::IfLower => bounds.lower == Some(position),
            Grow::IfUpper => bounds.upper == Some(position),
        };
        grows.then(|| {
            self.step = view.grid.widened(self.step, self.target(view).expansion);
            self.step
        })
    }
}

/// Whether a trial there could still give the target a bound, or a better one.
fn worth(bounds: Bounds, position: i64, width: i64) -> bool {
    let above = bounds.lower.is_none_or(|lower| position > lower);
    let below = bounds.upper.is_none_or(|upper| position < upper);
    let wide = bounds
        .lower
        .zip(bounds.upper)
        .is_none_or(|(lower, upper)| upper - lower > width);
    above && below && wide
}
