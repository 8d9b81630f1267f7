//! Figures: those that the study declares, as its publication draws them, and the further ones of
//! each experiment.

mod more;
mod paper;
mod spread;

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::sample::Unit;

use super::chart::{Bar, Chart, Mark, Part, standalone};
use super::data::Datum;
use super::format;
use super::index::{Index, Point};
use super::lines::Lines;
use crate::metrics::MetricValue;

pub(super) use more::more;
pub(super) use paper::paper;

/// A figure of a report.
pub(super) struct Figure {
    /// Its id on the page and its name in the report's folder: `figures/figure-5.svg`.
    pub(super) id: String,
    /// Where it stands in the publication, if it does.
    pub(super) place: Option<String>,
    /// Caption.
    pub(super) title: String,
    /// For inlining: its colours are CSS variables of the page.
    pub(super) svg: String,
    /// As a file of its own.
    pub(super) file: String,
    /// Whether anything of it was measured.
    pub(super) measured: bool,
    /// What it shows.
    pub(super) data: Vec<Datum>,
    /// What to keep in mind.
    pub(super) notes: Vec<String>,
}

impl Figure {
    fn new(chart: &Chart, place: Option<String>, title: String, data: Vec<Datum>) -> Self {
        Self {
            id: chart.id.clone(),
            place,
            title,
            svg: chart.svg(""),
            file: standalone(&chart.svg("../report.html")),
            measured: chart
                .groups
                .iter()
                .any(|group| group.bars.iter().any(|bar| bar.value.is_some())),
            data,
            notes: Vec::new(),
        }
    }

    /// A figure that the study declares, of lines.
    fn of_lines(chart: &Lines, declared: &vexp_api::spec::Figure, data: Vec<Datum>) -> Self {
        Self {
            id: chart.id.clone(),
            place: Some(declared.place.clone()),
            title: declared.title.clone(),
            svg: chart.svg(""),
            file: standalone(&chart.svg("../report.html")),
            measured: chart.lines.iter().any(|line| !line.dots.is_empty()),
            data,
            notes: Vec::new(),
        }
    }
}

/// A bar and its numbers.
struct Drawn<'a> {
    index: &'a Index<'a>,
    figure: &'a str,
    metric: &'a str,
    parts: Option<&'a str>,
}

impl Drawn<'_> {
    fn unit(&self) -> Unit {
        metric::find(self.metric).map_or(Unit::One, |metric| metric.unit)
    }

    /// The bar of a series at a point, and its rows.
    fn bar(&self, (slot, title): (usize, &str), point: Point<'_>) -> (Bar, Vec<Datum>) {
        let found = self.index.whole(self.metric, point);
        let parts = self.parts(point);
        let printed = self.printed(point);
        let row = |part: &str, value: Option<&MetricValue>| {
            let mut row = Datum::new(self.figure, title, point, self.metric, self.unit());
            row.part = part.to_owned();
            row.link = self.index.link(point);
            row.set(value);
            row
        };
        let mut total = row("total", found);
        total.printed = printed.as_ref().map(|(printed, _)| *printed);
        total.printed_here = printed.as_ref().map(|(_, mark)| mark.at);
        let mut rows = vec![total];
        rows.extend(parts.iter().map(|(name, part, value)| Datum {
            value: Some(part.value),
            ..row(name, *value)
        }));
        let bar = Bar {
            series: slot,
            value: found.map(|found| found.value),
            interval: found.and_then(|found| found.interval),
            words: self.words(title, point, found, &parts, printed.as_ref()),
            printed: printed.map(|(_, mark)| mark),
            link: self.index.link(point),
            parts: parts.into_iter().map(|(_, part, _)| part).collect(),
        };
        (bar, rows)
    }

    /// What the paper prints for a point, and where that is on our axis.
    fn printed(&self, (experiment, platform, vms): Point<'_>) -> Option<(f64, Mark)> {
        let of = vexp_api::spec::MetricRef {
            metric: Name::new(self.metric).ok()?,
            experiment: experiment.clone(),
            platform: platform.clone(),
            vms,
            node: None,
        };
        let value = self.index.printed(&of)?.value;
        let scale = self.index.scale(self.metric, experiment, platform)?;
        let mark = Mark {
            at: value * scale,
            printed: format::as_printed(value),
        };
        Some((value, mark))
    }

    /// What a bar is stacked of: nothing unless every part of it is known.
    fn parts(&self, point: Point<'_>) -> Vec<(String, Part, Option<&MetricValue>)> {
        let Some(metric) = self.parts else {
            return Vec::new();
        };
        let (_, _, vms) = point;
        let part = |name: &str, value: &_| {
            let value: &MetricValue = value;
            let host = name == "host";
            (name.to_owned(), value.value, host)
        };
        let mut found = Vec::new();
        // The processor time of a point is its host's and its guests'.
        if metric == "cpu_guest" {
            let Some(host) = self.index.whole("cpu_host", point) else {
                return Vec::new();
            };
            found.push((part("host", host), Some(host)));
        }
        let each = self.index.each(metric, point);
        let guests = if each.len() == vms as usize {
            each
        } else {
            Vec::new()
        };
        match (guests.is_empty(), self.index.whole(metric, point)) {
            (false, _) => {
                let guests = guests.into_iter();
                found.extend(guests.map(|(node, value)| (part(node.as_str(), value), Some(value))));
            }
            // Where the guests are only known together, they are one part.
            (true, Some(mean)) if metric == "cpu_guest" => {
                let sum = ("guests".to_owned(), mean.value * f64::from(vms), false);
                found.push((sum, None));
            }
            (true, _) => return Vec::new(),
        }
        let found = found.into_iter();
        found
            .map(|((name, value, host), of)| (name, Part { value, host }, of))
            .collect()
    }

    fn words(
        &self,
        title: &str,
        point: Point<'_>,
        found: Option<&MetricValue>,
        parts: &[(String, Part, Option<&MetricValue>)],
        printed: Option<&(f64, Mark)>,
    ) -> String {
        let unit = self.unit();
        let mut words = format!("{title}, {}: ", format::vms(point.2));
        match found {
            Some(found) => {
                words += &format::with_interval(found);
                words += &format::unit_after(unit);
            }
            None => words += &self.index.absence(point),
        }
        if parts.len() > 1 {
            let parts: Vec<String> = parts
                .iter()
                .map(|(name, part, _)| format!("{name} {}", format::number(part.value, unit)))
                .collect();
            words += &format!("; {}", parts.join(", "));
        }
        if let Some((value, _)) = printed {
            let whose = self.index.whose();
            words += &format!("; the {whose} prints {}", format::as_printed(*value));
            words += &format::unit_after(unit);
        }
        words
    }
}
