//! The claims table that ends a run.

use std::fmt::Write as _;

use vexp_report::{ClaimVerdict, Verdict};

use super::table::table;

/// Claims with their verdicts, and how many there are of each.
pub(crate) fn text(claims: &[ClaimVerdict], colour: bool) -> String {
    let mut text = table(
        &["claim", "verdict", "statement", "what decided"],
        claims.iter().map(|c| {
            vec![
                c.claim.to_string(),
                painted(c.verdict, colour),
                c.statement.clone(),
                c.reason.clone(),
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

fn painted(verdict: Verdict, colour: bool) -> String {
    let code = match verdict {
        Verdict::Reproduced => "32",
        Verdict::NotReproduced => "31",
        Verdict::Inconclusive => "33",
        Verdict::NotTested => "2",
    };
    if colour {
        format!("\x1b[{code}m{verdict}\x1b[0m")
    } else {
        verdict.to_string()
    }
}
