//! A comparison of runs on a terminal.

use comfy_table::{Cell, Color};
use vexp_api::ids::Name;
use vexp_report::compare::words::{point, significant};
use vexp_report::compare::{Comparison, Level, Row, Verdict};

use super::table::table;
use super::wrapped;

/// Metrics that nothing could be said of, in a table that is not asked for all.
const OPEN: usize = 10;
/// Columns below which a table leaves out the estimates, and those below which also what they stand
/// on.
const NARROW: [usize; 2] = [120, 90];

/// All of it: what differs, what changed, what is missing, and how many of each.
pub(crate) fn text(comparison: &Comparison, all: bool) -> String {
    let mut text = String::new();
    text.push_str(&wrapped(&runs("base", &comparison.base), "", "  "));
    text.push_str(&wrapped(&runs("new", &comparison.new), "", "  "));
    text.push('\n');
    if !comparison.differences.is_empty() {
        text.push_str(&differences(comparison));
        text.push('\n');
    }
    let (shown, hidden) = shown(comparison, all);
    if !shown.is_empty() {
        text.push_str(&rows(&shown));
        text.push('\n');
    }
    let (lost, gained): (Vec<_>, Vec<_>) = comparison.missing.iter().partition(|m| m.in_base);
    let gained_shown = if all { gained.len() } else { 0 };
    for missing in lost.iter().chain(&gained[..gained_shown]) {
        text.push_str(&wrapped(&missing.words(), "", "  "));
    }
    if gained_shown < gained.len() {
        let words = format!(
            "{} points have more in new than in base (--all)\n",
            gained.len()
        );
        text.push_str(&words);
    }
    let untold =
        |row: &&Row| row.level != Level::Runs && row.p.is_none() && row.verdict != Verdict::Equal;
    let untold = comparison.rows.iter().filter(untold).count();
    if untold > 0 {
        let words = format!(
            "{untold} stand on fewer than three runs, which say nothing about how runs differ: give three or more \
             of either side (--base, --new, or a folder of runs)"
        );
        text.push_str(&wrapped(&words, "", "  "));
    }
    let hidden = match hidden {
        0 => String::new(),
        n => format!("; {n} not shown (--all)"),
    };
    if !comparison.rows.is_empty() {
        text.push_str(&wrapped(&comparison.legend(), "", "  "));
    }
    text.push_str(&format!("{}{hidden}\n", comparison.counts()));
    text
}

/// What differs between the environments.
pub(crate) fn differences(comparison: &Comparison) -> String {
    let rows = comparison.differences.iter().map(|one| {
        vec![
            one.property.clone(),
            short(&one.base),
            short(&one.new),
            one.points.to_string(),
        ]
    });
    table(&["what differs", "base", "new", "points"], rows)
}

/// Digests are told apart by their first digits.
fn short(values: &[String]) -> String {
    let cut = |value: &String| match value.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 => format!("sha256:{}…", &hex[..12]),
        _ => value.escape_debug().to_string(),
    };
    values.iter().map(cut).collect::<Vec<_>>().join(", ")
}

fn runs(side: &str, runs: &[Name]) -> String {
    let names: Vec<&str> = runs.iter().map(Name::as_str).collect();
    match runs.len() {
        1 => format!("{side}: {}", names.join(", ")),
        n => format!("{side}: {n} runs: {}", names.join(", ")),
    }
}

/// What is shown, worst first, and how many are not.
fn shown(comparison: &Comparison, all: bool) -> (Vec<&Row>, usize) {
    let mut shown: Vec<&Row> = Vec::new();
    for verdict in Verdict::ALL {
        let mut rows: Vec<&Row> = comparison.of(verdict).collect();
        let most = match verdict {
            _ if all => rows.len(),
            Verdict::Worse | Verdict::Better => rows.len(),
            Verdict::Inconclusive => OPEN,
            Verdict::Equal => 0,
        };
        if rows.len() > most {
            // The least probable ones first, else the largest changes.
            rows.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
            rows.truncate(most);
        }
        shown.extend(rows);
    }
    let hidden = comparison.rows.len() - shown.len();
    (shown, hidden)
}

fn rank(row: &Row) -> f64 {
    match row.p {
        Some(p) => p,
        None => 2.0 - row.ratio.map_or(0.0, |ratio| (ratio.ln()).abs().min(1.0)),
    }
}

fn rows(rows: &[&Row]) -> String {
    let header = [
        "verdict",
        "point",
        "metric",
        "new / base",
        "over",
        "base",
        "new",
    ];
    let columns = match super::width() {
        width if width < NARROW[1] => 4,
        width if width < NARROW[0] => 5,
        _ => header.len(),
    };
    let cells = |row: &&Row| {
        let mut cells = vec![
            painted(row.verdict),
            Cell::new(point(&row.point)),
            Cell::new(row.metric),
            Cell::new(row.ratio_words()),
            Cell::new(row.level_words()),
            Cell::new(significant(row.base)),
            Cell::new(format!("{} {}", significant(row.new), row.unit)),
        ];
        cells.truncate(columns);
        cells
    };
    table(&header[..columns], rows.iter().map(cells))
}

fn painted(verdict: Verdict) -> Cell {
    let cell = Cell::new(verdict.as_str());
    match verdict {
        Verdict::Worse => cell.fg(Color::DarkRed),
        Verdict::Better => cell.fg(Color::DarkGreen),
        Verdict::Inconclusive => cell.fg(Color::DarkYellow),
        Verdict::Equal => cell,
    }
}
