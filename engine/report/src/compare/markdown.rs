//! A comparison for a pull request.

use std::fmt::Write as _;

use super::words::{point, significant};
use super::{Comparison, Row, Verdict};
use vexp_api::ids::Name;

/// Most bytes of the document. GitHub takes 65,536 for a comment.
pub(super) const LIMIT: usize = 60_000;
/// Of these, what the document's end may take: the legend, and what it says of rows left out.
const END: usize = 2_000;
/// Most characters of a line that is no row: of names and reasons that others chose.
const LINE: usize = 1_000;

/// Markdown as GitHub and GitLab show it: what changed first, what did not change folded away. Its
/// least important rows are left out, and that is said, where it would be longer than [`LIMIT`].
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("### {}\n\n", cut(&cell(&comparison.counts())));
    if !comparison.base.is_empty() || !comparison.new.is_empty() {
        let _ = writeln!(text, "base: {}  ", cut(&runs(&comparison.base)));
        let _ = writeln!(text, "new: {}\n", cut(&runs(&comparison.new)));
    }
    let mut document = Document { text, left_out: 0 };
    document.list(comparison.left_out.iter().map(|run| {
        let (folder, reason) = (cell(&run.folder), cell(&run.reason));
        format!("- left out: {folder}: {reason}")
    }));
    if !comparison.differences.is_empty() {
        let title = "**The environments differ; a change may be theirs:**\n\n";
        let head = "| what | base | new | points |\n|---|---|---|---|\n";
        let differences = comparison.differences.iter().map(|one| {
            let (base, new) = (cell(&one.base.join(", ")), cell(&one.new.join(", ")));
            let (property, points) = (cell(&one.property), one.points);
            format!("| {property} | {} | {} | {points} |", cut(&base), cut(&new))
        });
        document.table(title, head, differences, "");
    }
    for verdict in [Verdict::Worse, Verdict::Better] {
        document.table("", HEAD, comparison.of(verdict).map(row), "");
    }
    document
        .list((comparison.missing.iter()).map(|missing| format!("- {}", cell(&missing.words()))));
    for verdict in [Verdict::Inconclusive, Verdict::Equal] {
        let (n, name) = (comparison.of(verdict).count(), verdict.as_str());
        let title = format!("<details><summary>{n} {name}</summary>\n\n");
        let rows = comparison.of(verdict).map(row);
        document.table(&title, HEAD, rows, "</details>\n\n");
    }
    let Document { mut text, left_out } = document;
    if left_out > 0 {
        // Writing to a String cannot fail, here and above.
        let _ = writeln!(
            text,
            "{left_out} more lines are left out, for comments have a limit: `--format json` has all.\n"
        );
    }
    if comparison.refused.is_none() {
        let _ = writeln!(text, "{}", comparison.legend());
    }
    text
}

/// A text that grows up to a limit.
struct Document {
    text: String,
    /// Lines for which there was no room.
    left_out: usize,
}

impl Document {
    /// Adds a line, if there is room for it and `after` it.
    fn line(&mut self, line: &str, after: usize) -> bool {
        let room = self.left_out == 0 && self.text.len() + line.len() + after + END < LIMIT;
        if room {
            let _ = writeln!(self.text, "{line}");
        } else {
            self.left_out += 1;
        }
        room
    }

    fn list(&mut self, lines: impl Iterator<Item = String>) {
        let mut any = false;
        for line in lines {
            any |= self.line(&cut(&line), 0);
        }
        if any {
            self.text.push('\n');
        }
    }

    /// A table between `title` and `end`; nothing without rows.
    fn table(&mut self, title: &str, head: &str, rows: impl Iterator<Item = String>, end: &str) {
        let around = title.len() + head.len() + end.len() + 1;
        let mut open = false;
        for row in rows {
            if open {
                self.line(&row, end.len() + 1);
            } else {
                open = self.line(&format!("{title}{head}{row}"), around);
            }
        }
        if open {
            let _ = write!(self.text, "\n{end}");
        }
    }
}

/// A text of at most [`LINE`] characters.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn runs(runs: &[Name]) -> String {
    let quoted: Vec<String> = runs.iter().map(|run| format!("`{run}`")).collect();
    quoted.join(", ")
}

const HEAD: &str = "| verdict | point | metric | base | new | new / base | over |\n\
                    |---|---|---|---|---|---|---|\n";

fn row(row: &Row) -> String {
    let verdict = match row.verdict {
        Verdict::Worse => "**worse**",
        other => other.as_str(),
    };
    format!(
        "| {verdict} | `{}` | `{}` | {} | {} {} | {} | {} |",
        point(&row.point),
        row.metric,
        significant(row.base),
        significant(row.new),
        cell(row.unit.as_str()),
        row.ratio_words(),
        row.level_words(),
    )
}

/// Text in a cell of a table, in which nothing means anything.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            c if vexp_api::shown::misleads(c) => shown.push(' '),
            c if c.is_ascii_punctuation() && "\\`*_{}[]()#+!|~@".contains(c) => {
                shown.push('\\');
                shown.push(c);
            }
            c => shown.push(c),
        }
    }
    shown
}
