//! Finds what a report says of a point: its metrics, its trials, what the paper prints for it.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::plan::Machine;
use vexp_api::sample::Unit;
use vexp_api::spec::{MetricRef, Published};

use crate::frame::Frames;
use crate::metrics::MetricValue;

/// A point of the matrix: experiment, platform, VM count.
pub(super) type Point<'a> = (&'a Name, &'a Name, u32);

/// Metrics by what they are of.
pub(super) struct Index<'a> {
    pub(super) frames: &'a Frames,
    pub(super) metrics: &'a [MetricValue],
    by_point: BTreeMap<String, Vec<&'a MetricValue>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(frames: &'a Frames, metrics: &'a [MetricValue]) -> Self {
        let mut by_point: BTreeMap<_, Vec<&MetricValue>> = BTreeMap::new();
        for value in metrics {
            let of = &value.point;
            let key = key(value.metric, (&of.experiment, &of.platform, of.vms));
            by_point.entry(key).or_default().push(value);
        }
        Self {
            frames,
            metrics,
            by_point,
        }
    }

    /// How the testbed's time is labelled, where it is not the real one.
    pub(super) fn time(&self) -> Option<&'a str> {
        let plan = &self.frames.run.plan;
        let mut all = plan.deviations.iter();
        let found = all.find(|deviation| deviation.property == "time");
        found.map(|deviation| deviation.used.as_str())
    }

    /// A picture's title with that label: it may be shown alone.
    pub(super) fn titled(&self, title: String) -> String {
        match self.time() {
            Some(time) => format!("{title} ({time})"),
            None => title,
        }
    }

    fn all(&self, metric: &str, point: Point<'_>) -> &[&'a MetricValue] {
        let found = self.by_point.get(&key(metric, point));
        found.map_or(&[], Vec::as_slice)
    }

    /// The metric of a whole point.
    pub(super) fn whole(&self, metric: &str, point: Point<'_>) -> Option<&'a MetricValue> {
        let all = self.all(metric, point);
        all.iter().find(|value| value.node.is_none()).copied()
    }

    /// The metric of each virtual machine of a point, `vm2` before `vm10`.
    pub(super) fn each(&self, metric: &str, point: Point<'_>) -> Vec<(&'a Name, &'a MetricValue)> {
        let all = self.all(metric, point).iter();
        let mut found: Vec<_> = all
            .filter_map(|value| Some((value.node.as_ref()?, *value)))
            .collect();
        found.sort_by_key(|(node, _)| (node.as_str().len(), *node));
        found
    }

    /// The metric that a study refers to.
    pub(super) fn find(&self, of: &MetricRef) -> Option<&'a MetricValue> {
        let all = self.all(of.metric.as_str(), point(of)).iter();
        let mut found = all.filter(|value| value.node == of.node);
        found.next().copied()
    }

    /// Whose values, claims and figures the study has: those of a paper, or its own.
    pub(super) fn whose(&self) -> &'static str {
        match self.frames.run.study.paper {
            Some(_) => "paper",
            None => "study",
        }
    }

    /// What the paper prints for it.
    pub(super) fn printed(&self, of: &MetricRef) -> Option<&'a Published> {
        let mut published = self.frames.run.study.published.iter();
        published.find(|value| value.of == *of)
    }

    /// The id of the section on a point's trials, if any were planned.
    pub(super) fn link(&self, point: Point<'_>) -> Option<String> {
        let (experiment, platform, vms) = point;
        let planned = self.frames.run.plan.trials().any(|trial| {
            (&trial.experiment, &trial.platform, trial.vms) == (experiment, platform, vms)
        });
        planned.then(|| point_id(point))
    }

    /// Why there is no value.
    pub(super) fn absence(&self, point: Point<'_>) -> String {
        let (experiment, platform, vms) = point;
        let here = |e: &Name, p: &Name, n| (e, p, n) == (experiment, platform, vms);
        let measured = self.frames.trials.iter().any(|frame| {
            let trial = &frame.trial;
            here(&trial.experiment, &trial.platform, trial.vms)
        });
        let mut lost = self.frames.unusable.iter();
        let lost = lost.find(|trial| here(&trial.experiment, &trial.platform, trial.vms));
        match (measured, lost) {
            (true, _) => "its tools give no such value".to_owned(),
            (false, Some(trial)) => format!("{}: {}", trial.kind, trial.reason),
            (false, None) => "not in this run".to_owned(),
        }
    }

    /// A platform as in tables.
    pub(super) fn platform(&self, name: &Name) -> String {
        let platforms = &self.frames.run.study.platforms;
        platforms
            .get(name)
            .map_or_else(|| name.to_string(), |platform| platform.title.clone())
    }

    /// The machine that a platform has in an experiment.
    pub(super) fn machine(&self, experiment: &Name, platform: &Name) -> Option<&'a Machine> {
        let mut blocks = self.frames.run.plan.blocks.iter();
        blocks
            .find(|block| {
                let mut trials = block.trials.iter();
                trials.any(|t| (&t.experiment, &t.platform) == (experiment, platform))
            })
            .map(|block| &block.machine)
    }

    /// What one of the paper's units is here: a rate is a share of the link, processor time a share
    /// of all processors, and both were replaced. `None` where the point is not in this run.
    pub(super) fn scale(&self, metric: &str, experiment: &Name, platform: &Name) -> Option<f64> {
        let machine = self.machine(experiment, platform)?;
        let asked = self.frames.run.study.hardware.get(&machine.hardware)?;
        let used_link = machine.nics.first()?.rate.bits_per_second() as f64;
        let link = used_link / asked.nics.first()?.rate.bits_per_second() as f64;
        let processors = f64::from(machine.cpus) / f64::from(asked.cpus);
        Some(match metric::find(metric)?.unit {
            Unit::MbPerS | Unit::PacketsPerS => link,
            Unit::CpuPercent => processors,
            Unit::CpuPercentPerMbPerS => processors / link,
            Unit::Ms | Unit::Percent | Unit::Bytes | Unit::Count | Unit::One => 1.0,
        })
    }
}

/// Names hold no slash.
fn key(metric: &str, (experiment, platform, vms): Point<'_>) -> String {
    format!("{metric}/{experiment}/{platform}/{vms}")
}

/// The point of a reference.
pub(super) fn point(of: &MetricRef) -> Point<'_> {
    (&of.experiment, &of.platform, of.vms)
}

/// The id of the section on a point's trials.
pub(super) fn point_id((experiment, platform, vms): Point<'_>) -> String {
    format!("point-{experiment}.{platform}.v{vms}")
}

/// A name for files and ids from words of the study: `Figure 5` gives `figure-5`.
pub(super) fn slug(words: &str) -> String {
    let lower = words.to_lowercase();
    let parts = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => "unnamed".to_owned(),
        false => parts.join("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_names() {
        assert_eq!(slug("Figure 5"), "figure-5");
        assert_eq!(slug("../Table <II>"), "table-ii");
        assert_eq!(slug("…"), "unnamed");
    }
}
