//! Change points of a series, as Hunter finds them.
//!
//! M. Fleming et al., *Hunter: Using Change Point Detection to Hunt for Performance Regressions*,
//! ICPE 2023: E-divisive in windows that overlap, where Student's t-test takes the place of random
//! permutations, so that the same series gives the same points; at first at a weaker level; then the
//! weakest points are taken away until all that are left hold at the level that is asked for.
//!
//! What differs here from Apache Otava, which Hunter has become, and what [`Method::Otava`] leaves as
//! it is there:
//!
//! - the t-test gets the variance of samples (by n - 1), not that of populations;
//! - p is multiplied by the number of places that were looked at (Bonferroni), since the place with
//!   the largest difference was chosen: without that, most long series without a change have one;
//! - values of a change that does not last are set aside;
//! - when a point is taken away, both of its neighbours are tested anew.

use super::describe::{covariance, mean};
use super::divisive::{Stretch, candidate};
use super::student::two_sided;

/// Whose procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The one of this module.
    Corrected,
    /// Apache Otava's, to the letter: tests are at a level that they don't have.
    Otava,
}

/// How change points are found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Settings {
    /// Whose procedure.
    pub method: Method,
    /// Values of a window, at least 2.
    pub window: usize,
    /// Level of the test: with [`Method::Corrected`] the probability of any point in a series of
    /// independent normal values without a change is at most that.
    pub alpha: f64,
    /// The least relative change.
    pub magnitude: f64,
    /// How many values a change must last; [`Method::Otava`] does not ask.
    pub persistence: usize,
}

/// A change point.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct ChangePoint {
    /// The first value after the change.
    pub index: usize,
    /// Mean from the point before, or from the beginning.
    pub before: f64,
    /// Mean up to the next point, or to the end.
    pub after: f64,
    /// The test's p; of [`Method::Corrected`], with its correction.
    pub p: f64,
}

impl ChangePoint {
    /// The relative change, by that side by which it is larger; 0 by a side that is 0.
    pub fn magnitude(&self) -> f64 {
        let by = |from: f64, to: f64| {
            if from == 0.0 {
                0.0
            } else {
                (to / from - 1.0).abs()
            }
        };
        by(self.before, self.after).max(by(self.after, self.before))
    }
}

/// The change points of a series, in order.
pub fn change_points(series: &[f64], settings: &Settings) -> Vec<ChangePoint> {
    let weak = match settings.alpha {
        alpha if alpha < 0.05 => 10.0 * alpha,
        alpha if alpha < 0.5 => 2.0 * alpha,
        alpha => alpha,
    };
    let find = |series: &[f64]| {
        let search = Search { series, settings };
        search.merge(search.split(weak))
    };
    match settings.method {
        Method::Otava => find(series),
        Method::Corrected => lasting(series, settings.persistence, find),
    }
}

/// The points of changes that last. Values between two points that don't are set aside, the fewest
/// first, and what is left is searched again.
fn lasting(
    series: &[f64],
    persistence: usize,
    find: impl Fn(&[f64]) -> Vec<ChangePoint>,
) -> Vec<ChangePoint> {
    let mut kept: Vec<usize> = (0..series.len()).collect();
    loop {
        let values: Vec<f64> = kept.iter().map(|i| series[*i]).collect();
        let mut points = find(&values);
        let parts = points.windows(2).map(|pair| (pair[0].index, pair[1].index));
        let shortest = parts.min_by_key(|(from, to)| to - from);
        if let Some((from, to)) = shortest.filter(|(from, to)| to - from < persistence) {
            kept.drain(from..to);
            continue;
        }
        // At an end they may yet come to last.
        points.retain(|point| point.index.min(kept.len() - point.index) >= persistence);
        for point in &mut points {
            point.index = kept[point.index];
        }
        return points;
    }
}

struct Search<'a> {
    series: &'a [f64],
    settings: &'a Settings,
}

impl Search<'_> {
    /// Points of all windows, in order.
    fn split(&self, alpha: f64) -> Vec<usize> {
        let (mut found, mut start): (Vec<usize>, usize) = (Vec::new(), 0);
        while start < self.series.len() {
            let end = (start + self.settings.window).min(self.series.len());
            let new = self.divide((start, end), alpha);
            start =
                (start + (self.settings.window / 2).max(1)).max(new.last().copied().unwrap_or(0));
            found.extend(new);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Divides a window where that is best, again and again, while it is significant.
    fn divide(&self, (start, end): Stretch, alpha: f64) -> Vec<usize> {
        let mut points: Vec<usize> = Vec::new();
        loop {
            let borders = [&[start], &points[..], &[end]].concat();
            let mut best: Option<(f64, ChangePoint)> = None;
            for pair in borders.windows(2) {
                let stretch = (pair[0], pair[1]);
                let Some(found) = candidate(self.series, stretch) else {
                    continue;
                };
                if best.is_none_or(|(q, _)| found.q > q) {
                    let point = self.test(pair[0], found.index, pair[1]);
                    best = Some((found.q, point));
                }
            }
            match best {
                Some((_, point)) if point.p <= alpha => {
                    points.push(point.index);
                    points.sort_unstable();
                }
                _ => return points,
            }
        }
    }

    /// Takes the weakest point away until none is too weak or too small.
    fn merge(&self, indexes: Vec<usize>) -> Vec<ChangePoint> {
        let mut points: Vec<ChangePoint> = Vec::new();
        for i in 0..indexes.len() {
            points.push(self.point(&indexes, i));
        }
        loop {
            // The first of several, in both cases.
            let mut weakest = 0;
            for (i, point) in points.iter().enumerate() {
                if point.p > points[weakest].p {
                    weakest = i;
                }
            }
            let Some(point) = points.get(weakest) else {
                return points;
            };
            if point.p < self.settings.alpha {
                weakest = 0;
                for (i, point) in points.iter().enumerate() {
                    if point.magnitude() < points[weakest].magnitude() {
                        weakest = i;
                    }
                }
                if points[weakest].magnitude() > self.settings.magnitude {
                    return points;
                }
            }
            points.remove(weakest);
            self.again(&mut points, weakest);
        }
    }

    /// Tests the neighbours of a point that was taken away from there.
    fn again(&self, points: &mut [ChangePoint], removed: usize) {
        let indexes: Vec<usize> = points.iter().map(|point| point.index).collect();
        let neighbours = match self.settings.method {
            Method::Corrected => [removed.checked_sub(1), Some(removed)],
            Method::Otava => [Some(removed), Some(removed + 1)],
        };
        for i in neighbours.into_iter().flatten() {
            if let Some(point) = points.get_mut(i) {
                *point = self.point(&indexes, i);
            }
        }
    }

    /// A point among others, tested against its neighbours.
    fn point(&self, indexes: &[usize], i: usize) -> ChangePoint {
        let before = if i == 0 { 0 } else { indexes[i - 1] };
        let after = indexes.get(i + 1).copied();
        self.test(before, indexes[i], after.unwrap_or(self.series.len()))
    }

    fn test(&self, start: usize, index: usize, end: usize) -> ChangePoint {
        let (left, right) = (&self.series[start..index], &self.series[index..end]);
        let p = match self.settings.method {
            Method::Otava => student(left, right, false),
            Method::Corrected => {
                let places = self.series.len().saturating_sub(1);
                (student(left, right, true) * places as f64).min(1.0)
            }
        };
        ChangePoint {
            index,
            before: mean(left).unwrap_or(f64::NAN),
            after: mean(right).unwrap_or(f64::NAN),
            p,
        }
    }
}

/// p of Student's t-test of two groups, two-sided, with one variance for both; 1 where there is no
/// freedom. Without `sample` the groups' variances are those of populations, though the test is that
/// of samples.
fn student(left: &[f64], right: &[f64], sample: bool) -> f64 {
    let (n, m) = (left.len() as f64, right.len() as f64);
    let freedom = n + m - 2.0;
    let (Some(before), Some(after)) = (mean(left), mean(right)) else {
        return 1.0;
    };
    if freedom <= 0.0 {
        return 1.0;
    }
    let squares = |values: &[f64]| {
        let n = values.len() as f64;
        let variance = covariance(values, values).unwrap_or(0.0);
        let wrong = if sample { 1.0 } else { (n - 1.0) / n };
        variance * wrong * (n - 1.0)
    };
    let variance = (squares(left) + squares(right)) / freedom;
    let t = (before - after) / (variance * (1.0 / n + 1.0 / m)).sqrt();
    if t.is_nan() {
        1.0
    } else {
        two_sided(t, freedom)
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
