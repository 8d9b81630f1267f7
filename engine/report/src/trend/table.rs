//! A table of (time, value, environment), as CSV or Parquet → where the value changed: for histories that
//! vexp did not measure.
//!
//! As in the trend of runs, values of one environment are a series of their own. A table says nothing of
//! what is better, so that a change is only up or down.

use std::io::Cursor;
use std::path::Path;

use polars::prelude::{
    CsvReadOptions, DataFrame, DataType, ParquetReader, PolarsError, SerReader as _,
};
use serde::Serialize;

use crate::stats::changes::{Settings, change_points};

/// The version of the format of such a trend as JSON.
pub const FORMAT: u32 = 1;

/// Columns, of which the last may be missing.
const COLUMNS: [&str; 3] = ["time", "value", "environment"];

/// A value of a table.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Row {
    /// As the table has it: a number, or a text whose order is that of time, as that of RFC 3339 is.
    pub time: String,
    /// The value, which is finite.
    pub value: f64,
    /// Where it was measured; empty without such a column.
    pub environment: String,
}

/// The changes of a table.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TableTrend {
    /// [`FORMAT`].
    pub format: u32,
    /// The file, as it was given.
    pub file: String,
    /// How change points were found.
    pub settings: Settings,
    /// Values, oldest first.
    pub rows: Vec<Row>,
    /// Where the value changed, oldest first.
    pub changes: Vec<TableChange>,
}

/// A change of a table's value.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TableChange {
    /// The first of the rows after it, from 0.
    pub at: usize,
    /// The time of that.
    pub time: String,
    /// The environment in which it changed.
    pub environment: String,
    /// Mean before it, from the change before.
    pub before: f64,
    /// Mean after it, to the change after.
    pub after: f64,
    /// The test's p.
    pub p: f64,
}

impl TableChange {
    /// `+3.1 %`; `from 0` where there is no ratio.
    pub fn words(&self) -> String {
        let relative = self.after / self.before - 1.0;
        if relative.is_finite() {
            format!("{:+.1} %", 100.0 * relative)
        } else {
            "from 0".to_owned()
        }
    }
}

/// A table can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {message}", .row.map(|row| format!(", row {row}")).unwrap_or_default())]
pub struct BadTable {
    /// Which.
    file: String,
    /// Row, from 1, without the header.
    row: Option<usize>,
    message: String,
}

/// Whether a path is that of a table, by how its name ends.
pub fn is_table(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    end.is_some_and(|end| {
        ["csv", "parquet"]
            .iter()
            .any(|known| end.eq_ignore_ascii_case(known))
    })
}

/// The changes of a table whose file has these bytes.
///
/// # Errors
/// It is no CSV or Parquet, lacks a column, has no rows, or a time or value is missing or no number.
pub fn of_table(path: &Path, bytes: &[u8], settings: Settings) -> Result<TableTrend, BadTable> {
    let file = path.display().to_string();
    let bad = |row: Option<usize>, message: String| BadTable {
        file: file.clone(),
        row,
        message,
    };
    let parquet = bytes.starts_with(b"PAR1");
    let table = read(bytes, parquet).map_err(|error| bad(None, error.to_string()))?;
    let texts = |column: &str| texts(&table, column).map_err(|message| bad(None, message));
    let (times, values) = (texts(COLUMNS[0])?, texts(COLUMNS[1])?);
    let environments = match table.column(COLUMNS[2]) {
        Ok(_) => Some(texts(COLUMNS[2])?),
        Err(_) => None,
    };
    let mut rows = Vec::with_capacity(times.len());
    for (index, (time, value)) in times.into_iter().zip(values).enumerate() {
        let missing = |what: &str| bad(Some(index + 1), format!("there is no {what}"));
        let text = value.ok_or_else(|| missing("value"))?;
        let value: Option<f64> = text.trim().parse().ok();
        let value = value.filter(|value| value.is_finite());
        let environment = match &environments {
            Some(all) => all.get(index).cloned().flatten().unwrap_or_default(),
            None => String::new(),
        };
        rows.push(Row {
            time: time
                .filter(|time| !time.is_empty())
                .ok_or_else(|| missing("time"))?,
            value: value.ok_or_else(|| {
                bad(
                    Some(index + 1),
                    format!("`{}` is no finite number", text.escape_debug()),
                )
            })?,
            environment,
        });
    }
    if rows.is_empty() {
        return Err(bad(None, "the table has no rows".to_owned()));
    }
    sort(&mut rows);
    Ok(TableTrend {
        format: FORMAT,
        file,
        settings,
        changes: changes(&rows, &settings),
        rows,
    })
}

fn read(bytes: &[u8], parquet: bool) -> Result<DataFrame, PolarsError> {
    // Some damaged files Polars does not refuse: it panics.
    let read = std::panic::catch_unwind(|| parsed(bytes, parquet));
    read.unwrap_or_else(|_| Err(PolarsError::ComputeError("it is damaged".into())))
}

fn parsed(bytes: &[u8], parquet: bool) -> Result<DataFrame, PolarsError> {
    if parquet {
        return ParquetReader::new(Cursor::new(bytes.to_vec())).finish();
    }
    // Editors write a mark before the first column's name.
    let bytes = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .to_vec();
    // All columns as text: what looks like a number in the first rows may be none in a later one.
    CsvReadOptions::default()
        .with_has_header(true)
        .with_infer_schema_length(Some(0))
        .into_reader_with_file_handle(Cursor::new(bytes))
        .finish()
}

/// A column's values as text; `None` for what is missing.
fn texts(table: &DataFrame, column: &str) -> Result<Vec<Option<String>>, String> {
    let found = table.column(column).map_err(|_| {
        let names = table.get_column_names();
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        format!(
            "there is no column `{column}`: it has {}; expected {} and, if there are several, {}",
            names.join(", "),
            COLUMNS[..2].join(", "),
            COLUMNS[2]
        )
    })?;
    let text = found
        .cast(&DataType::String)
        .map_err(|error| error.to_string())?;
    let text = text.str().map_err(|error| error.to_string())?;
    Ok(text.iter().map(|value| value.map(str::to_owned)).collect())
}

/// Oldest first: by number where all times are numbers, else by text. Rows of one time stay as they are.
fn sort(rows: &mut Vec<Row>) {
    let numbers: Option<Vec<f64>> = rows
        .iter()
        .map(|row| {
            row.time
                .trim()
                .parse()
                .ok()
                .filter(|time: &f64| time.is_finite())
        })
        .collect();
    match numbers {
        Some(numbers) => {
            let mut both: Vec<(f64, Row)> = numbers.into_iter().zip(rows.drain(..)).collect();
            both.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            rows.extend(both.into_iter().map(|(_, row)| row));
        }
        None => rows.sort_by(|a, b| a.time.cmp(&b.time)),
    }
}

fn changes(rows: &[Row], settings: &Settings) -> Vec<TableChange> {
    let mut series: std::collections::BTreeMap<&str, Vec<usize>> =
        std::collections::BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        series.entry(&row.environment).or_default().push(index);
    }
    let mut found = Vec::new();
    for (environment, indices) in series {
        let own: Vec<(usize, &Row)> = indices
            .iter()
            .filter_map(|index| Some((*index, rows.get(*index)?)))
            .collect();
        let values: Vec<f64> = own.iter().map(|(_, row)| row.value).collect();
        let points = change_points(&values, settings).into_iter();
        found.extend(points.filter_map(|point| {
            let (at, row) = own.get(point.index)?;
            Some(TableChange {
                at: *at,
                time: row.time.clone(),
                environment: environment.to_owned(),
                before: point.before,
                after: point.after,
                p: point.p,
            })
        }));
    }
    found.sort_by_key(|change| change.at);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::changes::Method;

    const SETTINGS: Settings = Settings {
        method: Method::Corrected,
        window: 50,
        alpha: 0.01,
        magnitude: 0.02,
        persistence: 3,
    };

    fn of(text: &str) -> Result<TableTrend, BadTable> {
        of_table(Path::new("history.csv"), text.as_bytes(), SETTINGS)
    }

    /// Forty values of two environments, of which one falls by a tenth at its eleventh.
    fn text() -> String {
        let mut text = "time,value,environment\n".to_owned();
        for day in (1..=20_u32).rev() {
            let wiggle = f64::from(day * 7 % 5) / 100.0;
            let slower = if day > 10 { 90.0 } else { 100.0 };
            text.push_str(&format!("{day},{},\"old, Xen\"\n", slower + wiggle));
            text.push_str(&format!("{day},{},new\n", 50.0 + wiggle));
        }
        text
    }

    #[test]
    fn a_table_has_its_change_in_its_environment() {
        let found = of(&text()).unwrap();
        assert_eq!((found.rows.len(), found.changes.len()), (40, 1));
        let change = &found.changes[0];
        assert_eq!(
            (change.time.as_str(), change.environment.as_str()),
            ("11", "old, Xen")
        );
        assert_eq!(found.rows[change.at].time, "11");
        assert_eq!(change.words(), "-10.0 %");
        // By number, not by text: 2 comes before 10.
        assert_eq!(found.rows[2].time, "2");
        let marked = format!("\u{feff}{}", text()).replace('\n', "\r\n");
        assert_eq!(of(&marked).unwrap().changes, found.changes);
        let without = text()
            .replace(",environment", "")
            .replace(",\"old, Xen\"", "");
        let without: String = without
            .lines()
            .filter(|l| !l.ends_with(",new"))
            .map(|l| format!("{l}\n"))
            .collect();
        assert_eq!(of(&without).unwrap().changes[0].at, 10);
    }

    #[test]
    fn parquet_is_read_the_same() {
        use polars::prelude::{Column, NamedFrom as _, ParquetWriter, Series};
        let csv = of(&text()).unwrap();
        let times: Vec<i64> = csv
            .rows
            .iter()
            .map(|row| row.time.parse().unwrap())
            .collect();
        let values: Vec<f64> = csv.rows.iter().map(|row| row.value).collect();
        let environments: Vec<&str> = csv
            .rows
            .iter()
            .map(|row| row.environment.as_str())
            .collect();
        let columns: Vec<Column> = vec![
            Series::new("time".into(), times).into(),
            Series::new("value".into(), values).into(),
            Series::new("environment".into(), environments).into(),
        ];
        let mut table = DataFrame::new_infer_height(columns).unwrap();
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut table).unwrap();
        let found = of_table(Path::new("history.csv"), &bytes, SETTINGS).unwrap();
        assert_eq!(found, csv);
    }

    #[test]
    fn what_is_missing_or_no_number_is_an_error_with_its_row() {
        for (text, says) in [
            ("", "history.csv: "),
            ("time,value\n", "no rows"),
            (
                "when,value\n1,2\n",
                "there is no column `time`: it has when, value",
            ),
            (
                "time,value\n1,2\n2,fast\n",
                "row 2: `fast` is no finite number",
            ),
            ("time,value\n1,2\n2,\n", "row 2: "),
            ("time,value\n1,NaN\n", "row 1: `NaN`"),
            ("time,value\n,3\n", "row 1: there is no time"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn changed_tables_are_read_or_refused() {
        let check = |bytes: &[u8]| {
            if let Ok(found) = of_table(Path::new("history.csv"), bytes, SETTINGS) {
                assert!(found.rows.iter().all(|row| row.value.is_finite()));
            }
        };
        vexp_testkit::hostile::on_changes(50, text().as_bytes(), check);
        let mut parquet = Vec::new();
        let mut table = read(text().as_bytes(), false).unwrap();
        polars::prelude::ParquetWriter::new(&mut parquet)
            .finish(&mut table)
            .unwrap();
        vexp_testkit::hostile::on_changes(200, &parquet, check);
    }
}
