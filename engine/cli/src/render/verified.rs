//! What `vexp verify` found.

use super::table::table;
use super::wrapped;
use crate::commands::bundle::verify::{Part, Verified};

/// Most names of files that are printed of a part.
const MOST: usize = 5;

/// The table of parts, the files that differ, and the answer in a sentence.
pub(crate) fn text(verified: &Verified) -> String {
    let rows = verified.parts.iter().map(|part| {
        vec![
            part.part.to_owned(),
            part.files.to_string(),
            part.how.to_owned(),
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
    text.push_str(&claims(verified));
    text.push_str(&answer(verified));
    text
}

fn result(part: &Part) -> String {
    match part.different.len() {
        0 => "identical".to_owned(),
        n if n == part.files => "differs".to_owned(),
        n => format!("{n} of {} differ", part.files),
    }
}

fn claims(verified: &Verified) -> String {
    let other = verified
        .claims
        .iter()
        .filter(|claim| claim.bundle != claim.here);
    let mut text: String = other
        .map(|claim| {
            let word = |verdict: &Option<String>| verdict.clone().unwrap_or("missing".to_owned());
            let (bundle, here) = (word(&claim.bundle), word(&claim.here));
            format!(
                "claim {}: {bundle} in the bundle, {here} from its data\n",
                claim.claim
            )
        })
        .collect();
    if text.is_empty() {
        text = format!("{} claims: the same verdicts\n", verified.claims.len());
    }
    text
}

fn answer(verified: &Verified) -> String {
    if verified.identical {
        return "identical: everything in the bundle follows from its raw data\n".to_owned();
    }
    let versions = if verified.made_by == verified.vexp {
        String::new()
    } else {
        let (made_by, here) = (&verified.made_by, verified.vexp);
        format!(" (it was made by vexp {made_by}, and this is {here})")
    };
    format!("not identical: something in the bundle does not follow from its raw data{versions}\n")
}
