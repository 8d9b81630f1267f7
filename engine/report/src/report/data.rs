//! The numbers of figures and tables, as CSV and Parquet.

use vexp_api::sample::Unit;

use super::index::Point;
use crate::metrics::MetricValue;
use crate::table::{self, Format, TableError, series};

/// A number of a figure.
#[derive(Clone, Debug)]
pub(super) struct Datum {
    pub(super) figure: String,
    pub(super) series: String,
    pub(super) experiment: String,
    pub(super) platform: String,
    pub(super) vms: u32,
    /// `total`, `host`, a virtual machine, or `reference` for the line.
    pub(super) part: String,
    pub(super) metric: String,
    pub(super) unit: Unit,
    pub(super) value: Option<f64>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
    pub(super) basis: &'static str,
    pub(super) repetitions: u32,
    /// What the paper prints.
    pub(super) printed: Option<f64>,
    /// The same on our axis.
    pub(super) printed_here: Option<f64>,
    /// The section on its trials.
    pub(super) link: Option<String>,
}

impl Datum {
    pub(super) fn new(
        figure: &str,
        series: &str,
        (experiment, platform, vms): Point<'_>,
        metric: &str,
        unit: Unit,
    ) -> Self {
        Self {
            figure: figure.to_owned(),
            series: series.to_owned(),
            experiment: experiment.to_string(),
            platform: platform.to_string(),
            vms,
            part: String::new(),
            metric: metric.to_owned(),
            unit,
            value: None,
            low: None,
            high: None,
            basis: "none",
            repetitions: 0,
            printed: None,
            printed_here: None,
            link: None,
        }
    }

    /// Takes what was measured.
    pub(super) fn set(&mut self, value: Option<&MetricValue>) {
        let Some(value) = value else {
            return;
        };
        self.value = Some(value.value);
        self.low = value.interval.map(|interval| interval.low);
        self.high = value.interval.map(|interval| interval.high);
        self.basis = value.basis.as_str();
        self.repetitions = u32::try_from(value.repetitions).unwrap_or(u32::MAX);
        self.metric = value.metric.to_owned();
    }
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct CellDatum {
    pub(super) table: String,
    pub(super) row: String,
    pub(super) column: String,
    /// As printed; nothing where the publication has none.
    pub(super) printed: Option<String>,
    /// What is measured for it, if anything is.
    pub(super) of: Option<Datum>,
    /// Relative to classical Linux.
    pub(super) ratio: Option<f64>,
    /// The same in the paper.
    pub(super) printed_ratio: Option<f64>,
}

macro_rules! columns {
    ($rows:expr, $row:ident, $($name:literal: $value:expr),+ $(,)?) => {
        vec![$(series($name, $rows.iter().map(|$row| $value).collect::<Vec<_>>())),+]
    };
}

/// The numbers of a figure. Columns: figure, series, experiment, platform, vms, part, metric, unit,
/// value, low, high, basis, repetitions, printed (in the paper's scale), `printed_here` (in ours).
pub(super) fn figure(rows: &[Datum], format: Format) -> Result<Vec<u8>, TableError> {
    let columns = columns!(rows, row,
        "figure": row.figure.as_str(),
        "series": row.series.as_str(),
        "experiment": row.experiment.as_str(),
        "platform": row.platform.as_str(),
        "vms": row.vms,
        "part": row.part.as_str(),
        "metric": row.metric.as_str(),
        "unit": row.unit.as_str(),
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "basis": row.basis,
        "repetitions": row.repetitions,
        "printed": row.printed,
        "printed_here": row.printed_here,
    );
    table::write(table::table(columns)?, format)
}

/// The cells of a table. Columns: table, row, column, printed (as printed), experiment, platform,
/// vms, metric, unit, value, low, high, basis, repetitions, ratio and `printed_ratio` to classical Linux.
pub(super) fn table(rows: &[CellDatum], format: Format) -> Result<Vec<u8>, TableError> {
    let of = |row: &CellDatum, get: fn(&Datum) -> String| row.of.as_ref().map(get);
    let number = |row: &CellDatum, get: fn(&Datum) -> Option<f64>| row.of.as_ref().and_then(get);
    let columns = columns!(rows, row,
        "table": row.table.as_str(),
        "row": row.row.as_str(),
        "column": row.column.as_str(),
        "printed": row.printed.as_deref(),
        "experiment": of(row, |of| of.experiment.clone()),
        "platform": of(row, |of| of.platform.clone()),
        "vms": row.of.as_ref().map(|of| of.vms),
        "metric": of(row, |of| of.metric.clone()),
        "unit": of(row, |of| of.unit.to_string()),
        "value": number(row, |of| of.value),
        "low": number(row, |of| of.low),
        "high": number(row, |of| of.high),
        "basis": of(row, |of| of.basis.to_owned()),
        "repetitions": row.of.as_ref().map(|of| of.repetitions),
        "ratio": row.ratio,
        "printed_ratio": row.printed_ratio,
    );
    table::write(table::table(columns)?, format)
}
