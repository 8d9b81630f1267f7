//! A comparison for a pull request.

use std::fmt::Write as _;

use super::words::{point, significant};
use super::{Comparison, Row, Verdict};
use vexp_api::ids::Name;

/// Markdown as GitHub and GitLab show it: what changed first, what did not change folded away.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("### {}\n\n", comparison.counts());
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "base: {}  ", runs(&comparison.base));
    let _ = writeln!(text, "new: {}\n", runs(&comparison.new));
    if !comparison.differences.is_empty() {
        text.push_str("**The environments differ; a change may be theirs:**\n\n");
        text.push_str("| what | base | new | points |\n|---|---|---|---|\n");
        for one in &comparison.differences {
            let (base, new) = (cell(&one.base.join(", ")), cell(&one.new.join(", ")));
            let property = cell(&one.property);
            let _ = writeln!(text, "| {property} | {base} | {new} | {} |", one.points);
        }
        text.push('\n');
    }
    for verdict in [Verdict::Worse, Verdict::Better] {
        table(&mut text, comparison.of(verdict));
    }
    for verdict in [Verdict::Inconclusive, Verdict::Equal] {
        let n = comparison.of(verdict).count();
        if n > 0 {
            let name = verdict.as_str();
            let _ = writeln!(text, "<details><summary>{n} {name}</summary>\n");
            table(&mut text, comparison.of(verdict));
            text.push_str("</details>\n\n");
        }
    }
    for missing in &comparison.missing {
        let _ = writeln!(text, "- {}", cell(&missing.words()));
    }
    if !comparison.missing.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{}", comparison.legend());
    text
}

fn runs(runs: &[Name]) -> String {
    let quoted: Vec<String> = runs.iter().map(|run| format!("`{run}`")).collect();
    quoted.join(", ")
}

fn table<'a>(text: &mut String, rows: impl Iterator<Item = &'a Row>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push_str("| verdict | point | metric | base | new | new / base | over |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Worse => "**worse**",
            other => other.as_str(),
        };
        let _ = writeln!(
            text,
            "| {verdict} | `{}` | `{}` | {} | {} {} | {} | {} |",
            point(&row.point),
            row.metric,
            significant(row.base),
            significant(row.new),
            cell(row.unit.as_str()),
            row.ratio_words(),
            row.level_words(),
        );
    }
    text.push('\n');
}

/// Text in a cell of a table, in which nothing means anything.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            c if c.is_control() => shown.push(' '),
            c if c.is_ascii_punctuation() && "\\`*_{}[]()#+!|~@".contains(c) => {
                shown.push('\\');
                shown.push(c);
            }
            c => shown.push(c),
        }
    }
    shown
}
