//! The claims table that ends a run.

use comfy_table::{Cell, Color};
use vexp_report::judge::range::{AtRate, OverRange};
use vexp_report::{ClaimVerdict, Verdict};

use super::table::table;
use super::wrapped;

/// Claims with their verdicts. Those that were not tested are many where little was run: they are
/// named only, and the report has their reasons.
pub(crate) fn text(claims: &[ClaimVerdict]) -> String {
    let (not_tested, mut tested): (Vec<_>, Vec<_>) =
        (claims.iter()).partition(|c| c.verdict == Verdict::NotTested);
    tested.sort_by_key(|c| c.verdict);
    let mut text = String::new();
    if !tested.is_empty() {
        text = table(
            &["claim", "verdict", "statement", "what decided"],
            tested.iter().map(|c| {
                vec![
                    Cell::new(&c.claim),
                    painted(c.verdict),
                    Cell::new(&c.statement),
                    Cell::new(&c.reason),
                ]
            }),
        );
    }
    if !not_tested.is_empty() {
        let names: Vec<&str> = not_tested.iter().map(|c| c.claim.as_str()).collect();
        let names = format!("not tested (the report says why): {}", names.join(", "));
        text.push_str(&wrapped(&names, " ", "     "));
    }
    text
}

/// Claims over a range of link rates.
pub(crate) fn over_range(runs: &[AtRate], claims: &[OverRange]) -> String {
    let heads: Vec<String> = runs.iter().map(|run| format!("× {}", run.factor)).collect();
    let mut columns = vec!["claim"];
    columns.extend(heads.iter().map(String::as_str));
    columns.push("over the range");
    let rows = claims.iter().map(|claim| {
        let mut cells = vec![Cell::new(&claim.claim)];
        let verdicts = claim.verdicts.iter();
        cells.extend(verdicts.map(|found| found.map_or_else(|| Cell::new("-"), painted)));
        cells.push(Cell::new(&claim.words));
        cells
    });
    let mut text = table(&columns, rows);
    for run in runs {
        text.push_str(&format!("× {}: {}\n", run.factor, run.run));
    }
    text
}

/// How many claims there are of each verdict.
pub(crate) fn counts(claims: &[ClaimVerdict]) -> String {
    let counts: Vec<String> = Verdict::ALL
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

fn painted(verdict: Verdict) -> Cell {
    let cell = Cell::new(verdict);
    match verdict {
        Verdict::Reproduced => cell.fg(Color::DarkGreen),
        Verdict::NotReproduced => cell.fg(Color::DarkRed),
        Verdict::Inconclusive => cell.fg(Color::DarkYellow),
        Verdict::OutOfRegime => cell.fg(Color::DarkCyan),
        Verdict::NotTested => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tested_is_shown_best_first_and_everything_is_counted() {
        let claim = |name: &str, verdict| ClaimVerdict {
            claim: name.parse().unwrap(),
            statement: "It is so.".to_owned(),
            place: "Section I".to_owned(),
            note: None,
            verdict,
            reason: "why".to_owned(),
            causes: Vec::new(),
            margins: Vec::new(),
            tested: 1,
            p: None,
            adjusted_p: None,
            look: None,
            tests: Vec::new(),
        };
        let claims = [
            claim("a", Verdict::NotTested),
            claim("b", Verdict::Inconclusive),
            claim("c", Verdict::NotTested),
            claim("d", Verdict::Reproduced),
            claim("e", Verdict::OutOfRegime),
        ];
        let text = text(&claims);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(
            lines[0].starts_with(" d ")
                && lines[1].starts_with(" b ")
                && lines[2].starts_with(" e "),
            "{text}"
        );
        assert_eq!(lines[3], " not tested (the report says why): a, c");
        let expected = "5 claims: 1 reproduced, 1 inconclusive, 1 out of regime, 2 not tested\n";
        assert_eq!(counts(&claims), expected);
        assert_eq!(counts(&[]), "no claims\n");
    }
}
