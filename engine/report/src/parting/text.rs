//! Where two runs part, on one screen.

use super::{First, Kind, Parting, Place};

/// All that is known, ending in one sentence.
pub fn text(parting: &Parting) -> String {
    let Parting {
        expected,
        found,
        given,
        same,
        differ,
        other_traces,
        first,
        sentence,
    } = parting;
    let mut lines = Vec::new();
    let all = same + differ.len();
    lines.push(format!(
        "{found} against {expected}: {same} of {all} trials have the same results, to the last bit"
    ));
    if !other_traces.is_empty() {
        lines.push(format!(
            "of these, {} took another way there: their traces differ",
            other_traces.len()
        ));
    }
    lines.push(String::new());
    match given.is_empty() {
        true => lines.push("given: the same study, images, seed and vexp".to_owned()),
        false => {
            lines.push("given, and not the same:".to_owned());
            lines.extend(given.iter().map(|given| format!("  {}", given.text())));
        }
    }
    if let Some(first) = first {
        lines.push(String::new());
        lines.push(format!("first trial that is not the same: {}", first.trial));
        lines.extend(first.state.iter().map(|state| format!("  {state}")));
        lines.extend(table(first));
        for run in &first.untraced {
            lines.push(format!(
                "  no trace of it in {run}: a vexp before traces made it, or it has ended early. What links carried and \
                 vexp ran can't be compared"
            ));
        }
    }
    lines.push(String::new());
    lines.push(sentence.clone());
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn table(first: &First) -> Vec<String> {
    if first.places.is_empty() {
        return Vec::new();
    }
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{s:.3}"));
    let mut lines = vec![format!(
        "  {:>12}  {:>13}  first difference of each kind, in virtual time",
        "of trial, s", "power-on, s"
    )];
    lines.extend(first.places.iter().map(|place| {
        let start = match &place.when {
            Some(when) => when.clone(),
            None => time(place.since_start_s),
        };
        let power_on = time(place.since_power_on_s);
        format!(
            "  {start:>12}  {power_on:>13}  {}: {}",
            place.kind.word(),
            place.what
        )
    }));
    lines
}

/// Where they part, in one sentence; first of all by what they were given.
pub(super) fn sentence(parting: &Parting) -> String {
    let Some(first) = &parting.first else {
        return "They do not part: results are the same to the last bit.".to_owned();
    };
    let trial = &first.trial;
    let earliest = first.places.first().map(|place| at(trial.as_str(), place));
    let explaining: Vec<String> = (parting.given.iter())
        .filter(|given| given.explains)
        .map(|given| given.what.clone())
        .collect();
    if !explaining.is_empty() {
        let then = earliest.map_or_else(String::new, |at| format!(" They part {at}."));
        return format!(
            "They were given other things ({}), from which other results follow.{then}",
            explaining.join(", ")
        );
    }
    let kinds: Vec<Kind> = first.places.iter().map(|place| place.kind).collect();
    match (earliest, kinds.as_slice(), &first.state) {
        (Some(_), [Kind::Sample], _) if first.untraced.is_empty() => format!(
            "What machines did in {trial} is the same; its samples are not: they were read by another vexp, or the \
             files beside the trace were changed."
        ),
        (Some(at), ..) => format!("They part {at}."),
        (None, _, Some(state)) => format!("They part in {trial}: {state}."),
        (None, _, None) => format!("They part in {trial}, and nothing that was kept says where."),
    }
}

fn at(trial: &str, place: &Place) -> String {
    let power_on = place.since_power_on_s;
    let when = match (&place.when, place.since_start_s, power_on) {
        (Some(when), ..) if when != "not dated" => format!("{when} {trial},"),
        (Some(_), ..) | (None, None, None) => format!("in {trial}"),
        (None, Some(start), Some(power_on)) => {
            format!("at {start:.3} s of {trial} ({power_on:.3} s after power-on)")
        }
        (None, Some(start), None) => format!("at {start:.3} s of {trial}"),
        (None, None, Some(power_on)) => format!("{power_on:.3} s after power-on, near {trial}"),
    };
    format!("{when} {}", place.sentence)
}
