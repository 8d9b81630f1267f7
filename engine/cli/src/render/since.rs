//! What an edit means for a run, for people.

use std::fmt::Write as _;

use serde_json::Value;
use vexp_api::ids::Name;
use vexp_api::plan::{Estimate, Plan};
use vexp_engine::plan::since::{Change, Since};

use super::plan::{building, span};
use super::table::table;
use super::wrapped;

/// Most names that are printed of a list.
const MOST: usize = 4;
/// Most characters of a value.
const VALUE: usize = 60;

/// One line.
pub(crate) fn short(run: &Name, since: &Since) -> String {
    let (valid, rest) = (since.valid.len(), since.rest().len());
    format!(
        "since {run}: {valid} of {} trials are still valid, {rest} are to be measured",
        valid + rest
    )
}

/// All of it, with the estimate of what is to be measured.
pub(crate) fn text(
    run: &Name,
    since: &Since,
    (rest, to_build, plan): (&Estimate, Option<usize>, &Plan),
) -> String {
    let mut text = format!("{}\n", short(run, since));
    if since.rest().is_empty() {
        text.push_str(
            "nothing is to be measured: `vexp run --since` takes all over and judges them anew\n",
        );
    } else {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "about {} to run, {}, {} MiB of disk (estimates)",
            span(rest.run.duration()),
            building(plan, to_build),
            rest.disk.mib()
        );
    }
    if !since.stale.is_empty() {
        let rows = reasons(since).into_iter().map(|(change, trials)| {
            vec![
                what(change),
                format!("{} → {}", shown(&change.before), shown(&change.now)),
                place(change),
                list(&trials),
            ]
        });
        text.push('\n');
        text.push_str(&table(
            &["changed", "from → to", "where", "makes stale"],
            rows,
        ));
    }
    for (heading, trials) in [
        ("new", since.new.iter().collect::<Vec<_>>()),
        ("gone", since.gone.iter().collect()),
    ] {
        if !trials.is_empty() {
            text.push('\n');
            text.push_str(&wrapped(&format!("{heading}: {}", list(&trials)), "", "  "));
        }
    }
    if !since.missing.is_empty() {
        text.push_str("\nthe same, but to be measured:\n");
        for missing in since.missing.iter().take(MOST) {
            text.push_str(&wrapped(
                &format!("{}: {}", missing.trial, missing.why),
                "  ",
                "    ",
            ));
        }
        if since.missing.len() > MOST {
            let _ = writeln!(
                text,
                "  and {} more (--format json has all)",
                since.missing.len() - MOST
            );
        }
    }
    text
}

/// Each change once, with the trials that it makes stale.
fn reasons(since: &Since) -> Vec<(&Change, Vec<&Name>)> {
    let mut reasons: Vec<(&Change, Vec<&Name>)> = Vec::new();
    for stale in &since.stale {
        for change in &stale.changes {
            match reasons.iter_mut().find(|(known, _)| *known == change) {
                Some((_, trials)) => trials.push(&stale.trial),
                None => reasons.push((change, vec![&stale.trial])),
            }
        }
    }
    reasons
}

/// The study's field, or what it is of a trial.
fn what(change: &Change) -> String {
    let fields: Vec<&str> = change
        .study
        .iter()
        .map(|edited| edited.field.as_str())
        .collect();
    match fields.is_empty() {
        true => change.field.clone(),
        false => fields.join(", "),
    }
}

fn place(change: &Change) -> String {
    let places = change
        .study
        .iter()
        .filter_map(|edited| edited.place.as_ref());
    let places: Vec<String> = places
        .map(|place| format!("{}:{}", place.file, place.line))
        .collect();
    places.join(", ")
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn list(names: &[&Name]) -> String {
    let first: Vec<&str> = names.iter().take(MOST).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(MOST);
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
