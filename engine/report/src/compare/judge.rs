//! Sides → verdicts.

use std::collections::BTreeSet;

use vexp_api::metric::{self, Better, Metric};

use super::units::{Level, Side, Sides, sides};
use super::{ALPHA, Options, Row, Verdict};
use crate::metrics::{ENOUGH_REPETITIONS, Point};
use crate::stats::contrast::Decision;
use crate::stats::holm::{Corrected, holm};
use crate::stats::{Interval, Region};
use crate::summary::Summary;

/// A comparison before the correction.
struct Open {
    point: Point,
    metric: &'static Metric,
    sides: Sides,
    /// Every repetition of both sides has the same value.
    same: bool,
    /// Time was virtual in all runs, so that seeds are all that can differ between them.
    seeds: bool,
}

impl Open {
    fn region(margin: f64) -> Region {
        Region {
            low: Some(1.0 - margin),
            high: Some(1.0 + margin),
            closed: true,
        }
    }

    /// What can be decided at all; else why not.
    fn decision(&self, margin: f64) -> Result<Decision, &'static str> {
        let Sides {
            contrast,
            level,
            units,
            ..
        } = &self.sides;
        match level {
            Level::Runs => {}
            Level::Boots | Level::Repetitions if self.seeds => {}
            _ if self.seeds => return Err("fewer than three seeds: how they differ is not known"),
            _ => return Err("fewer than three runs: how they differ is not known"),
        }
        let nothing = contrast.right == 0.0 && contrast.left != 0.0;
        if nothing && units.1 < ENOUGH_REPETITIONS {
            return Err("the base is 0, and fewer than three new ones are no change yet");
        }
        Ok(contrast.decide(Self::region(margin)))
    }
}

/// All that both have, in order of point and metric.
pub(super) fn rows(base: &[Summary], new: &[Summary], options: &Options<'_>) -> Vec<Row> {
    let opened = open(base, new, options);
    let decisions: Vec<_> = opened
        .iter()
        .map(|one| one.decision(options.margin))
        .collect();
    // The family: what could be decided and is not known without a test.
    let family = |(one, decision): (&Open, &Result<Decision, _>)| {
        decision.as_ref().ok().filter(|_| !one.same).map(|d| d.p)
    };
    let p: Vec<f64> = opened.iter().zip(&decisions).filter_map(family).collect();
    let mut corrected = holm(&p, ALPHA).into_iter();
    let zipped = opened.into_iter().zip(decisions);
    zipped
        .map(|(one, decision)| {
            let corrected = match family((&one, &decision)) {
                Some(_) => corrected.next(),
                None => None,
            };
            row(one, decision, corrected, options.margin)
        })
        .collect()
}

fn open(base: &[Summary], new: &[Summary], options: &Options<'_>) -> Vec<Open> {
    let seeds = base.iter().chain(new).all(|run| run.virtual_time);
    let points: BTreeSet<&Point> = base.iter().flat_map(|run| run.points.keys()).collect();
    let mut found = Vec::new();
    for point in points {
        for metric in metric::METRICS {
            if !(options.wanted)(point, metric.name) {
                continue;
            }
            let base = Side::of(base, point, metric.name);
            let new = Side::of(new, point, metric.name);
            let Some((base, new)) = base.zip(new) else {
                continue;
            };
            if let Some(sides) = sides(&base, &new) {
                found.push(Open {
                    point: point.clone(),
                    metric,
                    sides,
                    same: base.is_the_same_as(&new),
                    seeds,
                });
            }
        }
    }
    found
}

fn row(
    one: Open,
    decision: Result<Decision, &'static str>,
    corrected: Option<Corrected>,
    margin: f64,
) -> Row {
    let Open {
        point,
        metric,
        sides,
        same,
        ..
    } = one;
    let contrast = sides.contrast;
    let interval = contrast.usual();
    let adjusted = corrected.and_then(|c| contrast.interval(1.0 - c.alpha));
    let (verdict, reason) = match decision {
        _ if same => (Verdict::Equal, "every value is the same".to_owned()),
        Err(reason) => (Verdict::Inconclusive, reason.to_owned()),
        Ok(decision) => decided(
            decision,
            corrected.is_some_and(|c| c.decided),
            contrast.left > contrast.right,
            metric.better,
            adjusted,
            margin,
        ),
    };
    Row {
        point,
        metric: metric.name,
        unit: metric.unit,
        better: match metric.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        },
        base: contrast.right,
        new: contrast.left,
        ratio: contrast.ratio(),
        interval,
        adjusted,
        p: decision.ok().filter(|_| corrected.is_some()).map(|d| d.p),
        adjusted_p: corrected.map(|c| c.p),
        level: sides.level,
        units: sides.units,
        verdict,
        reason,
    }
}

fn decided(
    decision: Decision,
    sure: bool,
    more: bool,
    better: Better,
    interval: Option<Interval>,
    margin: f64,
) -> (Verdict, String) {
    let margin = 100.0 * margin;
    if !sure {
        let reason = match interval {
            Some(Interval { low, high }) => format!(
                "the interval, {low:.3} to {high:.3}, is partly inside and partly outside of ±{margin} %"
            ),
            None => "the base may be 0".to_owned(),
        };
        return (Verdict::Inconclusive, reason);
    }
    if decision.inside {
        return (Verdict::Equal, format!("wholly inside of ±{margin} %"));
    }
    let side = if more { "above" } else { "below" };
    let verdict = match (more, better) {
        (true, Better::Higher) | (false, Better::Lower) => Verdict::Better,
        _ => Verdict::Worse,
    };
    (verdict, format!("wholly {side} ±{margin} %"))
}
