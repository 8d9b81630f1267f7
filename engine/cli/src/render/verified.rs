//! What `vexp verify` found.

use vexp_api::shown;
use vexp_report::report::answer::{Answer, Cell};

use super::table::table;
use super::wrapped;
use crate::commands::bundle::claims::ClaimRow;
use crate::commands::bundle::parts::Part;
use crate::commands::bundle::rerun::Rerun;
use crate::commands::bundle::verify::Verified;

/// Most names of files that are printed of a part.
const MOST: usize = 5;
/// The part with pages that vexp answers for in no way.
const AUTHORS: &str = "author's own page";

/// The table of parts, the files that differ, and the answer in a sentence; then the claims of the
/// run that was made again.
pub(crate) fn text(verified: &Verified) -> String {
    let rows = verified.parts.iter().map(|part| {
        vec![
            part.part.to_string(),
            part.files.to_string(),
            part.how.to_string(),
            result(part),
        ]
    });
    let mut text = table(&["part", "files", "looked at by", "result"], rows);
    for part in &verified.parts {
        for different in part.different.iter().take(MOST) {
            text.push_str(&wrapped(different, "  ", "    "));
        }
        if part.different.len() > MOST {
            let more = part.different.len() - MOST;
            text.push_str(&format!("  and {more} more of {}\n", part.part));
        }
    }
    text.push('\n');
    text.push_str(&changed(&verified.claims));
    text.push_str(&answer(verified));
    if let Some(rerun) = &verified.rerun {
        text.push('\n');
        text.push_str(&measured_again(rerun));
    }
    text
}

fn result(part: &Part) -> String {
    match part.different.len() {
        0 => "identical".to_owned(),
        n if n == part.files => "differs".to_owned(),
        n => format!("{n} of {} differ", part.files),
    }
}

fn word(verdict: Option<&String>) -> String {
    verdict.map_or_else(|| "missing".to_owned(), |verdict| verdict.replace('-', " "))
}

/// Claims whose verdict does not follow from the bundle's raw data.
fn changed(claims: &[ClaimRow]) -> String {
    let other = claims.iter().filter(|row| row.bundle != row.again);
    let text: String = other
        .map(|row| {
            let (bundle, again) = (word(row.bundle.as_ref()), word(row.again.as_ref()));
            format!(
                "claim {}: {bundle} in the bundle, {again} by its data\n",
                row.claim
            )
        })
        .collect();
    if text.is_empty() {
        let noun = if claims.len() == 1 { "claim" } else { "claims" };
        return format!("{} {noun}: the same verdicts\n", claims.len());
    }
    text
}

fn answer(verified: &Verified) -> String {
    if verified.identical {
        let all = "identical: everything in the bundle follows from its raw data\n";
        let author = verified.parts.iter().any(|part| part.part == AUTHORS);
        let words = format!(
            "run/report/author-report.html is {AUTHORS}: vexp has made it again by the bundle's templates, which \
             may say anything; vexp's own page is run/report/report.html"
        );
        let words = if author {
            wrapped(&words, "", "  ")
        } else {
            String::new()
        };
        return format!("{all}{words}");
    }
    let versions = if verified.made_by == verified.vexp {
        String::new()
    } else {
        let (made_by, here) = (&verified.made_by, &verified.vexp);
        format!("; it was made by vexp {made_by}, and this is {here}")
    };
    let text = format!(
        "not identical: something in the bundle does not follow from its raw data{versions}"
    );
    wrapped(&text, "", "  ")
}

/// Both runs side by side, and why a claim is not the same.
fn measured_again(rerun: &Rerun) -> String {
    let page = &rerun.answer;
    let cell = |cell: &Cell| match &cell.measured {
        Some(measured) => format!("{}: {measured}", cell.verdict),
        None => cell.verdict.clone(),
    };
    let rows = page.rows.iter().map(|row| {
        vec![
            row.claim.to_string(),
            row.paper.clone(),
            cell(&row.authors),
            cell(&row.here),
            row.answer.as_str().to_owned(),
        ]
    });
    let head = ["claim", "paper", "authors' run", "here", "answer"];
    let mut text = table(&head, rows);
    text.push('\n');
    for row in &page.rows {
        let because = match row.answer {
            Answer::CannotTell => ", because",
            Answer::Same | Answer::Differs => "",
        };
        let words = format!(
            "{} ({}): {}{because}: {}",
            row.claim,
            row.statement,
            row.answer.as_str(),
            row.why
        );
        // Whoever wrote the study must not write lines of this table.
        let words = shown::line(&words);
        text.push_str(&wrapped(&words, "", "  "));
    }
    let trials = rerun.measured + rerun.not_measured;
    text.push_str(&format!(
        "\n{} same, {} differ, {} can't be told here\n{} of {trials} trials measured\n",
        page.same, page.differ, page.cannot_tell, rerun.measured
    ));
    if !rerun.other_images.is_empty() {
        let names: Vec<&str> = rerun
            .other_images
            .iter()
            .map(|name| name.as_str())
            .collect();
        let names = format!("images that are not the bundle's: {}", names.join(", "));
        text.push_str(&wrapped(&names, "", "  "));
    }
    text.push_str(&format!("run: {}\n", rerun.run.display()));
    if let Some(pages) = &rerun.pages {
        let page = pages.join("answer.html");
        text.push_str(&format!("page: {}\n", page.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_changed_are_named() {
        let row = |bundle: Option<&str>, again: &str| ClaimRow {
            claim: "c".to_owned(),
            bundle: bundle.map(str::to_owned),
            again: Some(again.to_owned()),
            rerun: None,
        };
        assert_eq!(
            changed(&[row(Some("x"), "x")]),
            "1 claim: the same verdicts\n"
        );
        assert_eq!(
            changed(&[row(Some("reproduced"), "not-reproduced"), row(None, "x")]),
            "claim c: reproduced in the bundle, not reproduced by its data\n\
             claim c: missing in the bundle, x by its data\n"
        );
    }
}
