//! The tidy table and the formats it can be written in.

use polars::prelude::{
    Column, CsvWriter, DataFrame, JsonFormat, JsonWriter, NamedFrom as _, ParquetWriter,
    PolarsError, SerWriter as _, Series,
};
use vexp_api::sample::Sample;

use crate::frame::Frames;

/// A format for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// RFC 4180 with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// A table could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the table of samples")]
pub struct TableError(#[from] PolarsError);

/// All samples of a run, which are the same where the measurements are: it is not named. Columns: trial, experiment, platform, vms, repetition, node, role,
/// tool, metric, unit, t, value, and dt.
///
/// `t` is the start of the interval that the value covers in seconds since the window's start
/// (slightly negative where an interval sticks out of it), `dt` its length, 0 for a point. Rows
/// are sorted by trial, tool, node, metric and t.
pub fn frames_to(frames: &Frames, format: Format) -> Result<Vec<u8>, TableError> {
    write(dataframe(frames)?, format)
}

/// As [`frames_to`], as a Polars table.
pub fn dataframe(frames: &Frames) -> Result<DataFrame, TableError> {
    let rows: Vec<_> = frames
        .trials
        .iter()
        .flat_map(|trial| trial.rows.iter().map(move |row| (&trial.trial, row)))
        .collect();
    macro_rules! column {
        ($name:literal, |$trial:pat_param, $row:pat_param| $value:expr) => {
            series(
                $name,
                rows.iter().map(|($trial, $row)| $value).collect::<Vec<_>>(),
            )
        };
    }
    table(vec![
        column!("trial", |trial, _| trial.id.as_str()),
        column!("experiment", |trial, _| trial.experiment.as_str()),
        column!("platform", |trial, _| trial.platform.as_str()),
        column!("vms", |trial, _| trial.vms),
        column!("repetition", |trial, _| trial.repetition),
        column!("node", |_, row| row.sample.node.as_str()),
        column!("role", |_, row| row.sample.role.as_str()),
        column!("tool", |_, row| row.tool.as_str()),
        column!("metric", |_, row| row.sample.metric.as_str()),
        column!("unit", |_, row| row.sample.unit.as_str()),
        column!("t", |_, row| row.sample.t),
        column!("value", |_, row| row.sample.value),
        column!("dt", |_, row| row.sample.dt),
    ])
}

/// Samples of single files, as `vexp parse` gives them: (file, samples). Columns: file, node,
/// role, metric, unit, t, value, dt; `t` counts from the trial's epoch, since there is no window. Times that
/// are unknown (NaN) are null.
pub fn samples_to(files: &[(String, Vec<Sample>)], format: Format) -> Result<Vec<u8>, TableError> {
    let rows: Vec<_> = files
        .iter()
        .flat_map(|(file, samples)| samples.iter().map(move |sample| (file.as_str(), sample)))
        .collect();
    macro_rules! column {
        ($name:literal, |$file:pat_param, $sample:pat_param| $value:expr) => {
            series(
                $name,
                rows.iter()
                    .map(|($file, $sample)| $value)
                    .collect::<Vec<_>>(),
            )
        };
    }
    let table = table(vec![
        column!("file", |file, _| *file),
        column!("node", |_, sample| sample.node.as_str()),
        column!("role", |_, sample| sample.role.as_str()),
        column!("metric", |_, sample| sample.metric.as_str()),
        column!("unit", |_, sample| sample.unit.as_str()),
        column!("t", |_, sample| known(sample.t)),
        column!("value", |_, sample| sample.value),
        column!("dt", |_, sample| known(sample.dt)),
    ])?;
    write(table, format)
}

fn known(seconds: f64) -> Option<f64> {
    seconds.is_finite().then_some(seconds)
}

pub(crate) fn series<T: AsRef<[U]>, U>(name: &str, values: T) -> Column
where
    Series: polars::prelude::NamedFrom<T, [U]>,
{
    Series::new(name.into(), values).into()
}

pub(crate) fn table(columns: Vec<Column>) -> Result<DataFrame, TableError> {
    Ok(DataFrame::new_infer_height(columns)?)
}

pub(crate) fn write(mut table: DataFrame, format: Format) -> Result<Vec<u8>, TableError> {
    let mut bytes = Vec::new();
    match format {
        Format::Parquet => {
            ParquetWriter::new(&mut bytes).finish(&mut table)?;
        }
        Format::Csv => CsvWriter::new(&mut bytes).finish(&mut table)?,
        Format::Jsonl => JsonWriter::new(&mut bytes)
            .with_json_format(JsonFormat::JsonLines)
            .finish(&mut table)?,
    }
    Ok(bytes)
}
