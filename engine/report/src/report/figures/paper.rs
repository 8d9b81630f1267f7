//! The figures that a study declares.

use std::collections::BTreeMap;

use vexp_api::metric;
use vexp_api::sample::Unit;
use vexp_api::spec::{self, MetricRef};

use super::{Drawn, Figure};
use crate::report::chart::{Chart, Group, Mark, Reference};
use crate::report::data::Datum;
use crate::report::format;
use crate::report::index::{Index, point, slug};
use crate::report::lines::{Dot, Line, Lines};

/// Every figure of the study, drawn.
pub(in crate::report) fn paper(index: &Index<'_>) -> Vec<Figure> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let figures = index.frames.run.study.figures.iter();
    figures
        .map(|figure| {
            let id = slug(&figure.place);
            let times = seen.entry(id.clone()).or_default();
            *times += 1;
            match *times {
                1 => draw(figure, id, index),
                n => draw(figure, format!("{id}-{n}"), index),
            }
        })
        .collect()
}

fn draw(figure: &spec::Figure, id: String, index: &Index<'_>) -> Figure {
    if let Some(x) = &figure.x {
        return sweep(figure, x.as_str(), &id, index);
    }
    let drawn = Drawn {
        index,
        figure: &id,
        metric: figure.metric.as_str(),
        parts: figure.parts.as_ref().map(|parts| parts.as_str()),
    };
    let unit = drawn.unit();
    let scale = common_scale(figure, index);
    let mut data = Vec::new();
    let mut groups = Vec::new();
    for vms in &figure.vms {
        let mut bars = Vec::new();
        for (slot, series) in figure.series.iter().enumerate() {
            let at = (&series.experiment, &series.platform, *vms);
            let (bar, rows) = drawn.bar((slot, &series.title), at);
            bars.push(bar);
            data.extend(rows);
        }
        groups.push(Group { vms: *vms, bars });
    }
    let reference = figure.reference.as_ref();
    data.extend(reference.map(|line| reference_row(line, &id, index)));
    let printed = reference.and_then(|line| printed_reference(&line.of, index));
    let drawable = reference.is_some_and(|line| {
        let of = &line.of;
        scale == index.scale(of.metric.as_str(), &of.experiment, &of.platform)
    });
    let scale = scale.filter(|scale| *scale != 1.0);
    let chart = Chart {
        id: id.clone(),
        title: index.titled(format!("{}. {}", figure.place, figure.axis)),
        description: format!(
            "{}. Bars by number of virtual machines; a bar for each of {}.",
            figure.title,
            titles(figure)
        ),
        series: figure.series.iter().map(|s| s.title.clone()).collect(),
        groups,
        reference: reference.and_then(|line| across(line, index, unit)),
        printed_reference: printed
            .as_ref()
            .filter(|_| drawable)
            .map(|(value, at)| Mark {
                at: *at,
                printed: format::as_printed(*value),
            }),
        paper_scale: scale,
        most: None,
        whose: index.whose(),
    };
    let mut drawn = Figure::new(
        &chart,
        Some(figure.place.clone()),
        figure.title.clone(),
        data,
    );
    drawn
        .notes
        .extend(scale.map(|scale| scale_note(scale, unit, index.whose())));
    if let Some((value, _)) = printed.filter(|_| !drawable) {
        drawn.notes.push(format!(
            "The {} prints {}{} for the line, of another machine than the bars’: it is not drawn.",
            index.whose(),
            format::as_printed(value),
            format::unit_after(unit),
        ));
    }
    drawn
}

/// Lines over a metric: a line for each title, through the points of all series that have it.
fn sweep(figure: &spec::Figure, x: &str, id: &str, index: &Index<'_>) -> Figure {
    let drawn = Drawn {
        index,
        figure: id,
        metric: figure.metric.as_str(),
        parts: None,
    };
    let mut data = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    for series in &figure.series {
        let slot = lines.iter().position(|line| line.title == series.title);
        let slot = slot.unwrap_or_else(|| {
            lines.push(Line {
                title: series.title.clone(),
                dots: Vec::new(),
            });
            lines.len() - 1
        });
        for vms in &figure.vms {
            let at = (&series.experiment, &series.platform, *vms);
            let (bar, rows) = drawn.bar((slot, &series.title), at);
            data.extend(rows);
            let across = index.whole(x, at);
            if let (Some(across), Some(y), Some(line)) = (across, bar.value, lines.get_mut(slot)) {
                line.dots.push(Dot {
                    x: across.value,
                    y,
                    interval: bar.interval,
                    words: format!(
                        "{} at {}{}",
                        bar.words,
                        format::number(across.value, across.unit),
                        format::unit_after(across.unit)
                    ),
                    link: bar.link,
                });
            }
        }
    }
    for line in &mut lines {
        line.dots.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let unit = drawn.unit();
    let chart = Lines {
        id: id.to_owned(),
        title: index.titled(format!("{}. {}", figure.place, figure.axis)),
        description: format!("{}. Lines over {x}: {}.", figure.title, titles(figure)),
        across: axis(x),
        ticks: Vec::new(),
        logarithmic: false,
        lines,
        reference: (figure.reference.as_ref()).and_then(|line| across(line, index, unit)),
    };
    Figure::of_lines(&chart, figure, data)
}

/// What the horizontal axis says: a metric and its unit.
fn axis(x: &str) -> String {
    let unit = metric::find(x).map_or(Unit::One, |metric| metric.unit);
    let words = x.replace('_', " ");
    match unit {
        Unit::One => words,
        unit => format!("{words}, {unit}"),
    }
}

/// The line all across that a study asks for, if it was measured.
fn across(line: &spec::Reference, index: &Index<'_>, unit: Unit) -> Option<Reference> {
    let found = index.find(&line.of)?;
    Some(Reference {
        label: format!("{} {}", line.title, format::number(found.value, unit)),
        value: found.value,
        link: index.link(point(&line.of)),
    })
}

fn titles(figure: &spec::Figure) -> String {
    let mut titles: Vec<&str> = Vec::new();
    for series in &figure.series {
        if !titles.contains(&series.title.as_str()) {
            titles.push(&series.title);
        }
    }
    titles.join(", ")
}

/// What the paper prints for the line, and where that is on our axis.
fn printed_reference(of: &MetricRef, index: &Index<'_>) -> Option<(f64, f64)> {
    let value = index.printed(of)?.value;
    let scale = index.scale(of.metric.as_str(), &of.experiment, &of.platform)?;
    Some((value, value * scale))
}

fn reference_row(line: &spec::Reference, figure: &str, index: &Index<'_>) -> Datum {
    let of = &line.of;
    let unit = metric::find(of.metric.as_str()).map_or(Unit::One, |metric| metric.unit);
    let mut row = Datum::new(figure, &line.title, point(of), of.metric.as_str(), unit);
    row.part = "reference".to_owned();
    row.link = index.link(point(of));
    row.set(index.find(of));
    let printed = printed_reference(of, index);
    row.printed = printed.map(|(value, _)| value);
    row.printed_here = printed.map(|(_, at)| at);
    row
}

/// What one of the paper's units is here, for all bars; `None` if they differ, or none is known.
fn common_scale(figure: &spec::Figure, index: &Index<'_>) -> Option<f64> {
    let series = figure.series.iter();
    let mut scales: Vec<f64> = series
        .filter_map(|s| index.scale(figure.metric.as_str(), &s.experiment, &s.platform))
        .collect();
    scales.dedup();
    match scales[..] {
        [scale] => Some(scale),
        _ => None,
    }
}

/// How the two axes lie to each other.
fn scale_note(scale: f64, unit: Unit, whose: &str) -> String {
    let factor = format::factor(scale);
    match unit {
        Unit::MbPerS | Unit::PacketsPerS => format!(
            "Links here have {factor} of the {whose}’s rate, and the axes are aligned there: equal \
             heights are equal shares of a link."
        ),
        Unit::CpuPercent => format!(
            "Machines here have {factor} of the {whose}’s processors, and the axes are aligned \
             there: equal heights are equal shares of all processors."
        ),
        _ => format!("1 on the {whose}’s axis is {factor} on ours."),
    }
}
