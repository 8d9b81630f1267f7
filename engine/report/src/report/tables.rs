//! The tables that a study declares, with what was measured beside what is printed.

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::metric;
use vexp_api::sample::Unit;
use vexp_api::spec::{self, MetricRef};

use super::data::{CellDatum, Datum};
use super::format;
use super::index::{Index, point, slug};

/// A table of a report.
pub(super) struct Table {
    /// What templates see.
    pub(super) view: View,
    /// Its cells.
    pub(super) data: Vec<CellDatum>,
}

#[derive(Debug, Serialize)]
pub(super) struct View {
    /// Its id on the page and its name in the report's folder: `tables/table-ii.csv`.
    pub(super) id: String,
    place: String,
    title: String,
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Whether any cell is relative to classical Linux.
    ratios: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    title: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    column: String,
    printed: Option<String>,
    /// Whether something is measured for it.
    asked: bool,
    /// Which metric, where nothing is printed that says so.
    of: Option<String>,
    value: Option<String>,
    interval: Option<String>,
    absence: Option<String>,
    ratio: Option<String>,
    printed_ratio: Option<String>,
    link: Option<String>,
}

/// Every table of the study.
pub(super) fn tables(index: &Index<'_>) -> Vec<Table> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let tables = index.frames.run.study.tables.iter();
    tables
        .map(|table| {
            let id = slug(&table.place);
            let times = seen.entry(id.clone()).or_default();
            *times += 1;
            match *times {
                1 => fill(table, id, index),
                n => fill(table, format!("{id}-{n}"), index),
            }
        })
        .collect()
}

fn fill(table: &spec::Table, id: String, index: &Index<'_>) -> Table {
    let mut data = Vec::new();
    let rows: Vec<Row> = table
        .rows
        .iter()
        .map(|row| Row {
            title: row.title.clone(),
            cells: row
                .cells
                .iter()
                .zip(&table.columns)
                .map(|(cell, column)| {
                    let datum = datum(table, (&id, &row.title, column), cell, index);
                    let shown = show(cell, &datum, index);
                    data.push(datum);
                    shown
                })
                .collect(),
        })
        .collect();
    let ratios = data
        .iter()
        .any(|cell| cell.ratio.or(cell.printed_ratio).is_some());
    Table {
        view: View {
            id,
            place: table.place.clone(),
            title: table.title.clone(),
            columns: table.columns.clone(),
            rows,
            ratios,
        },
        data,
    }
}

fn datum(
    table: &spec::Table,
    (id, row, column): (&str, &str, &str),
    cell: &spec::Cell,
    index: &Index<'_>,
) -> CellDatum {
    let mut found = CellDatum {
        table: id.to_owned(),
        row: row.to_owned(),
        column: column.to_owned(),
        printed: cell.printed.clone(),
        of: None,
        ratio: None,
        printed_ratio: None,
    };
    let Some(of) = &cell.of else {
        return found;
    };
    let unit = metric::find(of.metric.as_str()).map_or(Unit::One, |metric| metric.unit);
    let mut measured = Datum::new(id, row, point(of), of.metric.as_str(), unit);
    measured.set(index.find(of));
    measured.link = index.link(point(of));
    if let Some(linux) = classical(table, of, index).filter(|_| relative(unit)) {
        let ours = index.find(of).zip(index.find(linux));
        let ours = ours.map(|(of, linux)| (of.value, linux.value));
        let printed = index.printed(of).zip(index.printed(linux));
        let printed = printed.map(|(of, linux)| (of.value, linux.value));
        found.ratio = ours.and_then(ratio);
        found.printed_ratio = printed.and_then(ratio);
    }
    found.of = Some(measured);
    found
}

/// The table's cell on classical Linux that one is relative to: that of the same experiment, else
/// that of the same metric.
fn classical<'a>(
    table: &'a spec::Table,
    of: &MetricRef,
    index: &Index<'_>,
) -> Option<&'a MetricRef> {
    let run = &index.frames.run;
    let all = || {
        let cells = table.rows.iter().flat_map(|row| &row.cells);
        let references = cells.filter_map(|cell| cell.of.as_ref());
        references.filter(|other| other.metric == of.metric && run.is_classical(&other.platform))
    };
    if run.is_classical(&of.platform) {
        return None;
    }
    all()
        .find(|other| other.experiment == of.experiment)
        .or_else(|| all().next())
}

/// Whether a ratio says something. Of nearly no loss, none does.
fn relative(unit: Unit) -> bool {
    !matches!(unit, Unit::Percent | Unit::One | Unit::Count)
}

fn ratio((value, linux): (f64, f64)) -> Option<f64> {
    (linux != 0.0).then(|| value / linux)
}

fn show(cell: &spec::Cell, datum: &CellDatum, index: &Index<'_>) -> Cell {
    let found = cell.of.as_ref().and_then(|of| index.find(of));
    let unit = |of: &Datum| format::unit_after(of.unit);
    let value = found.map(|v| format::number(v.value, v.unit));
    let number = |ratio: Option<f64>| ratio.map(|ratio| format::number(ratio, Unit::One));
    let absence = cell.of.as_ref().filter(|_| found.is_none());
    Cell {
        column: datum.column.clone(),
        printed: cell.printed.clone(),
        asked: cell.of.is_some(),
        of: cell
            .of
            .as_ref()
            .filter(|_| cell.printed.is_none())
            .map(crate::judge::describe),
        value: value.map(|value| value + &datum.of.as_ref().map(unit).unwrap_or_default()),
        interval: found.and_then(|v| Some(format::interval(v.interval?, v.unit))),
        absence: absence.map(|of| index.absence(point(of))),
        ratio: number(datum.ratio),
        printed_ratio: number(datum.printed_ratio),
        link: datum.of.as_ref().and_then(|of| of.link.clone()),
    }
}
