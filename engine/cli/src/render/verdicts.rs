//! The claims table that ends a run.

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell, Color};
use vexp_report::{ClaimVerdict, Verdict};

use super::table::table;

/// Claims with their verdicts, and how many there are of each.
pub(crate) fn text(claims: &[ClaimVerdict]) -> String {
    let mut text = table(
        &["claim", "verdict", "statement", "what decided"],
        claims.iter().map(|c| {
            vec![
                Cell::new(&c.claim),
                painted(c.verdict),
                Cell::new(&c.statement),
                Cell::new(&c.reason),
            ]
        }),
    );
    let counts: Vec<String> = ALL
        .iter()
        .map(|verdict| {
            (
                claims.iter().filter(|c| c.verdict == *verdict).count(),
                verdict,
            )
        })
        .filter(|(n, _)| *n > 0)
        .map(|(n, verdict)| format!("{n} {verdict}"))
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{} claims: {}", claims.len(), counts.join(", "));
    text
}

const ALL: [Verdict; 4] = [
    Verdict::Reproduced,
    Verdict::NotReproduced,
    Verdict::Inconclusive,
    Verdict::NotTested,
];

fn painted(verdict: Verdict) -> Cell {
    let cell = Cell::new(verdict);
    match verdict {
        Verdict::Reproduced => cell.fg(Color::DarkGreen),
        Verdict::NotReproduced => cell.fg(Color::DarkRed),
        Verdict::Inconclusive => cell.fg(Color::DarkYellow),
        Verdict::NotTested => cell.add_attribute(Attribute::Dim),
    }
}
