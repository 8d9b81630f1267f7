//! Figures as templates see them.

use serde::Serialize;

use crate::report::data::Datum;
use crate::report::figures::Figure;
use crate::report::format;

#[derive(Debug, Serialize)]
pub(super) struct FigureView {
    id: String,
    place: Option<String>,
    title: String,
    svg: String,
    measured: bool,
    notes: Vec<String>,
    /// Whether any value is printed in the publication.
    printed: bool,
    rows: Vec<FigureRow>,
}

/// A number of a figure.
#[derive(Debug, Serialize)]
struct FigureRow {
    series: String,
    vms: String,
    part: String,
    value: Option<String>,
    interval: Option<String>,
    printed: Option<String>,
    unit: &'static str,
    link: Option<String>,
}

pub(super) fn figure(figure: &Figure) -> FigureView {
    FigureView {
        id: figure.id.clone(),
        place: figure.place.clone(),
        title: figure.title.clone(),
        svg: figure.svg.clone(),
        measured: figure.measured,
        notes: figure.notes.clone(),
        printed: figure.data.iter().any(|row| row.printed.is_some()),
        // What was not measured and is not printed is not worth a line.
        rows: figure
            .data
            .iter()
            .filter(|row| row.value.is_some() || row.printed.is_some())
            .map(row)
            .collect(),
    }
}

fn row(row: &Datum) -> FigureRow {
    let number = |value: f64| format::number(value, row.unit);
    let interval = row.low.zip(row.high);
    FigureRow {
        series: row.series.clone(),
        vms: format::vms(row.vms),
        part: row.part.clone(),
        value: row.value.map(number),
        interval: interval.map(|(low, high)| format!("[{}, {}]", number(low), number(high))),
        printed: row.printed.map(format::as_printed),
        unit: row.unit.as_str(),
        link: row.link.clone(),
    }
}
