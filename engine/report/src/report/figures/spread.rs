//! How round-trip times are spread: a mean that no probe had tells nothing of them.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::record::Part;
use vexp_api::sample::Unit;

use super::{Figure, standalone};
use crate::report::data::Datum;
use crate::report::format;
use crate::report::index::{Index, slug};
use crate::report::lines::{Dot, Line, Lines};

/// Shares of the samples, in percent, whose quantiles are drawn.
const SHARES: [f64; 13] = [
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 80.0, 85.0, 90.0, 95.0, 98.0, 99.0, 100.0,
];
/// Samples of a point from which on its quantiles say something.
const LEAST: usize = 20;

/// Round-trip times of an experiment in order, by the platform's place in it and the VM count.
fn samples(index: &Index<'_>, experiment: &Name) -> BTreeMap<(usize, u32), Vec<f64>> {
    let mut samples: BTreeMap<(usize, u32), Vec<f64>> = BTreeMap::new();
    let run = &index.frames.run;
    let Some(declared) = run.study.experiments.get(experiment) else {
        return samples;
    };
    let mut frames: Vec<_> = index.frames.trials.iter().collect();
    frames.retain(|frame| frame.trial.experiment == *experiment);
    for frame in frames {
        let trial = &frame.trial;
        let Some(place) = declared.platforms.iter().position(|p| *p == trial.platform) else {
            continue;
        };
        let rows = frame.rows.iter();
        let rows = rows.filter(|row| row.part == Part::Traffic && row.sample.metric == *"rtt");
        let values = samples.entry((place, trial.vms)).or_default();
        values.extend(rows.map(|row| row.sample.value));
    }
    for values in samples.values_mut() {
        values.sort_by(f64::total_cmp);
    }
    samples.retain(|_, values| values.len() >= LEAST);
    samples
}

/// The distribution of an experiment's round-trip times, a line for each point; all its probes count the
/// same.
pub(super) fn spread(index: &Index<'_>, experiment: &Name) -> Option<Figure> {
    let declared = index.frames.run.study.experiments.get(experiment)?;
    let id = format!("spread-{}", slug(experiment.as_str()));
    let (mut lines, mut data) = (Vec::new(), Vec::new());
    for ((place, vms), values) in samples(index, experiment) {
        let platform = declared.platforms.get(place)?;
        let title = match vms {
            0 => index.platform(platform),
            _ => format!("{}, {}", index.platform(platform), format::vms(vms)),
        };
        let point = (experiment, platform, vms);
        let mut dots = Vec::new();
        for share in SHARES {
            let value = crate::stats::quantile(&values, share / 100.0)?;
            let words = format!(
                "{title}: {share} % of {} round trips took at most {}{}",
                values.len(),
                format::number(value, Unit::Ms),
                format::unit_after(Unit::Ms)
            );
            dots.push(Dot {
                x: value,
                y: share,
                interval: None,
                words,
                link: index.link(point),
            });
            data.push(Datum {
                part: format!("{share} % at most"),
                value: Some(value),
                link: index.link(point),
                ..Datum::new(&id, &title, point, "latency", Unit::Ms)
            });
        }
        lines.push(Line { title, dots });
    }
    if lines.is_empty() {
        return None;
    }
    let title = "Distribution of round-trip times".to_owned();
    let chart = Lines {
        id: id.clone(),
        title: index.titled(format!("{title}, % of all at most")),
        description: format!("{}: {title}, by quantiles", declared.title),
        across: "round-trip time, ms, logarithmic".to_owned(),
        ticks: Vec::new(),
        logarithmic: true,
        lines,
        reference: None,
    };
    Some(Figure {
        id,
        place: None,
        title,
        svg: chart.svg(""),
        file: standalone(&chart.svg("../report.html")),
        measured: true,
        data,
        notes: Vec::new(),
    })
}
