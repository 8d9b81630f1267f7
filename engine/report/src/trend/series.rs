//! Runs → the series of each metric of each point, with their change points.

use std::collections::BTreeSet;

use vexp_api::metric::{self, Better, Metric};

use super::{Change, Environment, Series, TrendError, Value};
use crate::metrics::Point;
use crate::stats::changes::{Settings, change_points};
use crate::stats::mean;
use crate::summary::{Facts, MetricSummary, PointSummary, Summary};

pub(super) fn all(
    runs: &[Summary],
    settings: &Settings,
    wanted: &dyn Fn(&Point, &str) -> bool,
) -> Result<Vec<Series>, TrendError> {
    let points: BTreeSet<&Point> = runs.iter().flat_map(|run| run.points.keys()).collect();
    let mut found = Vec::new();
    for metric in metric::METRICS {
        for point in &points {
            if wanted(point, metric.name)
                && let Some(series) = one(runs, point, metric, settings)?
            {
                found.push(series);
            }
        }
    }
    Ok(found)
}

/// `None` if no run has it.
fn one(
    runs: &[Summary],
    point: &Point,
    metric: &'static Metric,
    settings: &Settings,
) -> Result<Option<Series>, TrendError> {
    let mut series = Series {
        point: point.clone(),
        metric: metric.name,
        unit: metric.unit,
        values: Vec::new(),
        environments: Vec::new(),
        changes: Vec::new(),
    };
    let mut before: Option<&Facts> = None;
    for (i, run) in runs.iter().enumerate() {
        let Some(found) = run.points.get(point) else {
            continue;
        };
        let Some(value) = found.metrics.get(metric.name).and_then(estimate) else {
            continue;
        };
        let environment = environment(&mut series, run, found, before)?;
        before = Some(&found.facts);
        series.values.push(Value {
            run: i,
            value,
            environment,
        });
    }
    for environment in 0..series.environments.len() {
        let changes = changes(runs, &series, environment, metric.better, settings);
        series.changes.extend(changes);
    }
    series.changes.sort_by_key(|change| change.at);
    Ok((!series.values.is_empty()).then_some(series))
}

/// The ratio of the means above and below the line.
fn estimate(of: &MetricSummary) -> Option<f64> {
    let estimates = of.measured.iter().map(|one| one.estimate);
    let (above, below): (Vec<f64>, Vec<f64>) = estimates.map(|e| (e.above, e.below)).unzip();
    let value = mean(&above)? / mean(&below)?;
    value.is_finite().then_some(value)
}

/// Which of the series' environments a point was measured in.
fn environment(
    series: &mut Series,
    run: &Summary,
    point: &PointSummary,
    before: Option<&Facts>,
) -> Result<usize, TrendError> {
    let digest = point.environment().map_err(|source| TrendError {
        run: run.run.clone(),
        source,
    })?;
    let known = series.environments.iter();
    if let Some(known) = known.clone().position(|known| known.digest == digest) {
        return Ok(known);
    }
    series.environments.push(Environment {
        digest,
        first: series.values.len(),
        differences: before.map_or_else(Vec::new, |before| differences(before, &point.facts)),
    });
    Ok(series.environments.len() - 1)
}

fn differences(before: &Facts, now: &Facts) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value = |facts: &Facts, name: &String| facts.get(name).map_or("-".to_owned(), Clone::clone);
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name));
    changed
        .map(|name| format!("{name}: {} → {}", value(before, name), value(now, name)))
        .collect()
}

/// The change points among the values of one environment.
fn changes(
    runs: &[Summary],
    series: &Series,
    environment: usize,
    better: Better,
    settings: &Settings,
) -> Vec<Change> {
    let own: Vec<(usize, &Value)> = series
        .values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.environment == environment)
        .collect();
    let values: Vec<f64> = own.iter().map(|(_, value)| value.value).collect();
    let found = change_points(&values, settings).into_iter();
    found
        .filter_map(|point| {
            let (at, value) = own.get(point.index)?;
            let more = point.after > point.before;
            Some(Change {
                at: *at,
                run: runs.get(value.run)?.run.clone(),
                before: point.before,
                after: point.after,
                p: point.p,
                worse: more == (better == Better::Lower),
            })
        })
        .collect()
}
