//! Run directory → what comparisons of runs stand on: each metric in each repetition, and the
//! environment that it was measured in.

mod facts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::metric;

pub use facts::{Facts, FactsError};

use crate::frame::{Frames, Unusable};
use crate::metrics::{Key, Measured, Metrics, Point};
use crate::stats::Contrast;

/// A folder among many whose run can't be used; the others are read all the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct LeftOut {
    /// The run's folder.
    pub folder: String,
    /// Why it can't be used: the error and its causes in one line.
    pub reason: String,
}

/// A run without its samples.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run's id.
    pub run: Name,
    /// Its folder.
    pub dir: PathBuf,
    /// When it was started, RFC 3339 in UTC.
    pub started: String,
    /// Whether it has ended.
    pub ended: bool,
    /// The vexp that ran it.
    pub vexp: String,
    /// Whether its time was virtual: then its seeds are all in which it can differ from another.
    pub virtual_time: bool,
    /// The points of its plan that were measured.
    pub points: BTreeMap<Point, PointSummary>,
    /// Planned trials that gave nothing, and why.
    pub unusable: Vec<Unusable>,
}

/// A point of a run.
#[derive(Clone, Debug)]
pub struct PointSummary {
    /// The environment.
    pub facts: Facts,
    /// Metrics of the whole point (not of single virtual machines).
    pub metrics: BTreeMap<&'static str, MetricSummary>,
}

/// A metric of a point.
#[derive(Clone, Debug)]
pub struct MetricSummary {
    /// In each repetition.
    pub measured: Vec<Measured>,
    /// The estimate with its variance inside the trials; `None` where that was not asked for or
    /// can't be told.
    pub inside: Option<Contrast>,
}

impl Summary {
    /// Of a run. `inside` asks for variances inside the trials, which take time.
    pub fn of(frames: &Frames, inside: bool) -> Result<Self, FactsError> {
        let metrics = Metrics::new(frames);
        let mut facts = facts::of(&frames.run)?;
        let mut points = BTreeMap::new();
        for point in metrics.points() {
            let names = metric::METRICS.iter().map(|metric| metric.name);
            let found = names.filter_map(|metric| {
                let key = Key { metric, node: None };
                let measured = metrics.measured(point, &key);
                let alone = inside.then(|| metrics.alone(point, &key)).flatten();
                let inside = alone.map(|found| found.contrast);
                (!measured.is_empty()).then_some((metric, MetricSummary { measured, inside }))
            });
            let summary = PointSummary {
                metrics: found.collect(),
                facts: facts.remove(point).unwrap_or_default(),
            };
            points.insert(point.clone(), summary);
        }
        let record = &frames.run.record;
        Ok(Self {
            run: record.id.clone(),
            dir: frames.run.dir.clone(),
            started: record.started.clone(),
            ended: record.ended.is_some(),
            vexp: record.vexp.clone(),
            virtual_time: frames.run.is_virtual(),
            points,
            unusable: frames.unusable.clone(),
        })
    }
}

impl PointSummary {
    /// The same for points that were measured in the same environment, and for no others.
    pub fn environment(&self) -> Result<Digest, serde_json::Error> {
        Digest::of_value(&self.facts)
    }
}
