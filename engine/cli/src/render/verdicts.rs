//! The claims table that ends a run.

use comfy_table::{Attribute, Cell, Color};
use vexp_report::{ClaimVerdict, Verdict};

use super::table::table;

/// Claims with their verdicts, those that were tested first.
pub(crate) fn text(claims: &[ClaimVerdict]) -> String {
    let mut claims: Vec<&ClaimVerdict> = claims.iter().collect();
    claims.sort_by_key(|c| c.verdict);
    table(
        &["claim", "verdict", "statement", "what decided"],
        claims.iter().map(|c| {
            vec![
                Cell::new(&c.claim),
                painted(c.verdict),
                Cell::new(&c.statement),
                Cell::new(&c.reason),
            ]
        }),
    )
}

/// How many claims there are of each verdict.
pub(crate) fn counts(claims: &[ClaimVerdict]) -> String {
    let counts: Vec<String> = ALL
        .iter()
        .map(|verdict| {
            let of = claims.iter().filter(|c| c.verdict == *verdict);
            (of.count(), verdict)
        })
        .filter(|(n, _)| *n > 0)
        .map(|(n, verdict)| format!("{n} {verdict}"))
        .collect();
    match claims {
        [] => "no claims\n".to_owned(),
        claims => format!("{} claims: {}\n", claims.len(), counts.join(", ")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tested_comes_first_and_everything_is_counted() {
        let claim = |name: &str, verdict| ClaimVerdict {
            claim: name.parse().unwrap(),
            statement: "It is so.".to_owned(),
            place: "Section I".to_owned(),
            note: None,
            verdict,
            reason: "why".to_owned(),
            tested: 1,
            tests: Vec::new(),
        };
        let claims = [
            claim("a", Verdict::NotTested),
            claim("b", Verdict::Inconclusive),
            claim("c", Verdict::NotTested),
            claim("d", Verdict::Reproduced),
        ];
        let text = text(&claims);
        let names: Vec<&str> = (text.lines().skip(1))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(names, ["d", "b", "a", "c"]);
        let expected = "4 claims: 1 reproduced, 1 inconclusive, 2 not tested\n";
        assert_eq!(counts(&claims), expected);
        assert_eq!(counts(&[]), "no claims\n");
    }
}
