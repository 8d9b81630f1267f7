//! The changes of a history on a terminal.

use comfy_table::{Cell, Color};
use vexp_report::compare::words::{point, significant};
use vexp_report::trend::table::TableTrend;
use vexp_report::trend::{Change, Series, Trend};

use super::table::table;

/// Changes, newest first, and how many there are.
pub(crate) fn text(trend: &Trend) -> String {
    let mut changes: Vec<(&Series, &Change, usize)> = trend
        .series
        .iter()
        .flat_map(|series| series.changes.iter().map(move |change| (series, change)))
        .filter_map(|(series, change)| Some((series, change, series.values.get(change.at)?.run)))
        .collect();
    changes.sort_by_key(|(_, _, run)| std::cmp::Reverse(*run));
    let mut text = String::new();
    if !changes.is_empty() {
        let header = ["since run", "point", "metric", "change", "before", "after"];
        text = table(
            &header,
            changes
                .iter()
                .map(|(series, change, _)| row(series, change)),
        );
        text.push('\n');
    }
    let new = |series: &&Series| series.environments.len() > 1;
    let environments = trend.series.iter().filter(new).count();
    if environments > 0 {
        let words = "have values of several environments, which are series of their own";
        text.push_str(&format!(
            "{environments} of {} {words}\n",
            trend.series.len()
        ));
    }
    for caveat in trend.caveats() {
        text.push_str(&caveat);
        text.push('\n');
    }
    let worse = changes.iter().filter(|(_, change, _)| change.worse).count();
    text.push_str(&format!(
        "{} runs, {} series: {} changes, {worse} of them for the worse\n",
        trend.runs.len(),
        trend.series.len(),
        changes.len()
    ));
    text
}

/// The changes of a table, newest first, and how many there are.
pub(crate) fn table_text(trend: &TableTrend) -> String {
    let mut text = String::new();
    if !trend.changes.is_empty() {
        let header = ["since", "environment", "change", "before", "after"];
        let rows = trend.changes.iter().rev().map(|change| {
            vec![
                Cell::new(&change.time),
                Cell::new(&change.environment),
                Cell::new(change.words()),
                Cell::new(significant(change.before)),
                Cell::new(significant(change.after)),
            ]
        });
        text = table(&header, rows);
        text.push('\n');
    }
    text.push_str(&format!(
        "{}: {} values: {} changes\n",
        trend.file,
        trend.rows.len(),
        trend.changes.len()
    ));
    text
}

fn row(series: &Series, change: &Change) -> Vec<Cell> {
    let (word, colour) = match change.worse {
        true => ("worse", Color::DarkRed),
        false => ("better", Color::DarkGreen),
    };
    vec![
        Cell::new(&change.run),
        Cell::new(point(&series.point)),
        Cell::new(series.metric),
        Cell::new(format!("{word} {}", change.words())).fg(colour),
        Cell::new(significant(change.before)),
        Cell::new(format!("{} {}", significant(change.after), series.unit)),
    ]
}
