//! Where the environments of compared points differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Row;
use crate::metrics::Point;
use crate::summary::{Facts, Summary};

/// A property that is not the same everywhere.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// Which: a path of the run's records.
    pub property: String,
    /// What it is in the base: several where its runs differ.
    pub base: Vec<String>,
    /// What it is in the new runs.
    pub new: Vec<String>,
    /// In how many of the compared points.
    pub points: usize,
    /// The first of them.
    pub first: Point,
}

/// A property with its values in the base and in the new runs.
type Values = (String, Vec<String>, Vec<String>);

/// What stands for a property that a run does not have.
const NONE: &str = "-";

/// All differences at the points of the rows, sorted by property.
pub fn differences(base: &[Summary], new: &[Summary], rows: &[Row]) -> Vec<Difference> {
    let points: BTreeSet<&Point> = rows.iter().map(|row| &row.point).collect();
    let mut found: BTreeMap<Values, (usize, Point)> = BTreeMap::new();
    for point in points {
        let (base, new) = (facts(base, point), facts(new, point));
        let names: BTreeSet<&String> = base.iter().chain(&new).flat_map(|f| f.keys()).collect();
        for name in names {
            let (base, new) = (values(&base, name), values(&new, name));
            if base.union(&new).count() > 1 {
                let key = (
                    name.clone(),
                    base.into_iter().collect(),
                    new.into_iter().collect(),
                );
                let entry = found.entry(key).or_insert_with(|| (0, point.clone()));
                entry.0 += 1;
            }
        }
    }
    let found = found.into_iter();
    found
        .map(|((property, base, new), (points, first))| Difference {
            property,
            base,
            new,
            points,
            first,
        })
        .collect()
}

fn facts<'a>(runs: &'a [Summary], point: &Point) -> Vec<&'a Facts> {
    let points = runs.iter().filter_map(|run| run.points.get(point));
    points.map(|point| &point.facts).collect()
}

fn values(side: &[&Facts], name: &String) -> BTreeSet<String> {
    let value = |facts: &&Facts| facts.get(name).cloned();
    let values = side.iter().map(value);
    values
        .map(|value| value.unwrap_or_else(|| NONE.to_owned()))
        .collect()
}
