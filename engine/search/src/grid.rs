//! Loads as whole positions on a logarithmic scale, so that widening and halving an interval are exact.

/// How far below a declared width its whole number of positions may lie, and how close it may come. A width is
/// always rounded down, so that the bounds in the end are never further apart than declared.
const QUALITY: std::ops::RangeInclusive<f64> = 0.99..=0.999_999;

/// Position 0 is the least load, [`Grid::top`] the greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    least: f64,
    most: f64,
    top: i64,
}

impl Grid {
    /// The coarsest grid on which each of the relative widths is nearly a whole number of positions.
    pub(crate) fn new(least: f64, most: f64, widths: impl Iterator<Item = f64>) -> Self {
        let span = most.ln() - least.ln();
        let widths: Vec<f64> = widths.map(|width| -(-width).ln_1p()).collect();
        let mut top: i64 = 1;
        loop {
            let unit = span / top as f64;
            let mut next = (top + 1) as f64;
            let mut fits = true;
            for width in &widths {
                let units = width / unit;
                let whole = units.floor();
                if !QUALITY.contains(&(whole / units)) {
                    fits = false;
                    let wanted = (whole + 1.0) / QUALITY.end();
                    next = next.max((wanted / units) * top as f64);
                }
            }
            if fits {
                return Self { least, most, top };
            }
            top = next.ceil() as i64;
        }
    }

    pub(crate) const fn top(&self) -> i64 {
        self.top
    }

    /// The load at a position, which is clamped to the grid.
    pub(crate) fn load(&self, position: i64) -> f64 {
        if position <= 0 {
            return self.least;
        }
        self.descend(|middle, _| middle.cmp(&position)).1
    }

    /// The last position whose load is no greater.
    pub(crate) fn position(&self, load: f64) -> i64 {
        if load <= self.least {
            return 0;
        }
        if load >= self.most {
            return self.top;
        }
        self.descend(|_, middle| middle.total_cmp(&load)).0
    }

    /// Halves the grid until `side` says that the middle is met, or two neighbours are left: the lower of those,
    /// except that the greatest position is met at once. Each middle is computed from the ends of its interval, so
    /// that a position's load doesn't depend on what was asked before.
    fn descend(&self, side: impl Fn(i64, f64) -> std::cmp::Ordering) -> (i64, f64) {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let (mut low, mut high) = ((0, self.least), (self.top, self.most));
        if side(high.0, high.1) != Greater {
            return high;
        }
        while high.0 - low.0 >= 2 {
            let middle = (low.0 + high.0) / 2;
            let share = (middle - low.0) as f64 / (high.0 - low.0) as f64;
            let load = low.1 * ((high.1.ln() - low.1.ln()) * share).exp();
            match side(middle, load) {
                Less => low = (middle, load),
                Greater => high = (middle, load),
                Equal => return (middle, load),
            }
        }
        low
    }

    /// A relative width in positions, rounded down.
    pub(crate) fn width(&self, relative: f64) -> i64 {
        let upper = self.least / (1.0 - relative);
        let width = self.position(upper);
        if self.load(width) > upper {
            width - 1
        } else {
            width
        }
    }

    /// A product of a width, at most the whole grid.
    pub(crate) fn widened(&self, width: i64, factor: u32) -> i64 {
        width.saturating_mul(i64::from(factor)).min(self.top)
    }

    /// Where to measure for a wish, given the bounds known: at least a width from each bound, and at the end of the grid
    /// itself rather than within a width of it. `None`: nothing between the bounds is worth a trial.
    pub(crate) fn within(
        &self,
        wish: i64,
        width: i64,
        lower: Option<i64>,
        upper: Option<i64>,
    ) -> Option<i64> {
        let wish = wish.clamp(0, self.top);
        let (low, high) = (lower.unwrap_or(0), upper.unwrap_or(self.top));
        if lower.is_some_and(|lower| wish <= lower) || upper.is_some_and(|upper| wish >= upper) {
            return None;
        }
        if width >= high - low {
            return match (lower, upper) {
                (None, _) => Some(low),
                (Some(_), None) => Some(high),
                (Some(_), Some(_)) => None,
            };
        }
        let (mut near, mut far) = (low + width, high - width);
        if near > far {
            near = middle(low, high, width);
            far = near;
        }
        Some(if wish < near {
            if lower.is_some() { near } else { low }
        } else if wish > far {
            if upper.is_some() { far } else { high }
        } else {
            wish
        })
    }
}

/// Where to split an interval that is wider than `goal`. One part is the goal times a power of two, which later halvings
/// divide evenly; of the two powers that come into question, the one with the more even parts is taken, the lower part
/// being the smaller.
pub(crate) fn middle(lower: i64, upper: i64, goal: i64) -> i64 {
    let whole = upper - lower;
    if whole == 2 * goal {
        return lower + goal;
    }
    if whole < 2 * goal {
        return if goal % 2 == 0 {
            middle(lower, upper, goal / 2)
        } else {
            lower + whole / 2
        };
    }
    let mut part = goal;
    while whole - 2 * part > 2 * part {
        part *= 2;
    }
    let evenness = |part: i64| i128::from(part) * i128::from(whole - part);
    if evenness(part) > evenness(2 * part) {
        lower + part
    } else {
        lower + whole - 2 * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::new(9_001.0, 1e9, [0.005, 0.02].into_iter())
    }

    #[test]
    fn positions_and_loads_agree_both_ways() {
        let grid = grid();
        assert_eq!(grid.load(0), 9_001.0);
        assert_eq!(grid.load(grid.top()), 1e9);
        for position in (0..grid.top()).step_by(97) {
            let load = grid.load(position);
            assert_eq!(grid.position(load), position);
            let above = load * (1.0 + 1e-12);
            assert_eq!(grid.position(above), position);
        }
    }

    #[test]
    fn a_width_is_rounded_down_by_less_than_a_hundredth() {
        let grid = grid();
        for width in [0.005, 0.02] {
            let positions = grid.width(width);
            let upper = grid.load(positions);
            let real = (upper - 9_001.0) / upper;
            assert!(real <= width && real > 0.98 * width, "{real}");
        }
    }

    #[test]
    fn an_interval_is_split_at_a_power_of_two() {
        assert_eq!(middle(0, 20, 10), 10);
        assert_eq!(middle(100, 132, 4), 116);
        assert_eq!(middle(0, 30, 10), 10);
        assert_eq!(middle(0, 70, 10), 30);
        // Between one and two goals: by half the goal, evenly where that can't be halved.
        assert_eq!(middle(0, 15, 10), 5);
        assert_eq!(middle(0, 5, 3), 2);
    }

    #[test]
    fn a_wish_keeps_its_distance_from_bounds_and_meets_the_ends() {
        let grid = grid();
        let top = grid.top();
        assert_eq!(
            grid.within(1_005, 10, Some(1_000), Some(2_000)),
            Some(1_010)
        );
        assert_eq!(
            grid.within(1_995, 10, Some(1_000), Some(2_000)),
            Some(1_990)
        );
        assert_eq!(grid.within(1_000, 10, Some(1_000), Some(2_000)), None);
        assert_eq!(grid.within(1_005, 10, Some(1_000), Some(1_010)), None);
        assert_eq!(grid.within(-5, 10, None, Some(1_000)), Some(0));
        assert_eq!(grid.within(top + 5, 10, Some(1_000), None), Some(top));
        assert_eq!(grid.within(top - 5, 10, Some(1_000), None), Some(top));
    }
}
