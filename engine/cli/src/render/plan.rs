//! A plan for people.

use std::fmt::Write as _;
use std::time::Duration;

use vexp_api::plan::{Deviation, Plan};

use super::table::table;
use super::wrapped;

/// A length of time as people say it: `45 s`, `7 min`, `3 h 20 min`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The whole plan.
pub(crate) fn text(plan: &Plan) -> String {
    let mut text = String::new();
    let trials = plan.trials().count();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{} on `{}`, effort `{}`: {trials} trials in {} blocks, seed {}",
        plan.study,
        plan.testbed,
        plan.effort,
        plan.blocks.len(),
        plan.seed
    );
    let estimate = &plan.estimate;
    let _ = writeln!(
        text,
        "about {} to run, {} more to build images from nothing, {} MiB of disk (estimates)\n",
        span(estimate.run.duration()),
        span(estimate.build.duration()),
        estimate.disk.mib()
    );
    let rows = plan.blocks.iter().flat_map(|block| {
        block.trials.iter().map(|trial| {
            vec![
                trial.id.to_string(),
                block.machine.image.to_string(),
                match &trial.load {
                    Some(load) => format!("{} under {}", trial.traffic.tool, load.tool),
                    None => trial.traffic.tool.to_string(),
                },
                trial
                    .monitors
                    .iter()
                    .map(|m| m.tool.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
                trial.window.to_string(),
            ]
        })
    });
    text.push_str(&table(
        &["trial", "host image", "traffic", "monitors", "window"],
        rows,
    ));
    text.push('\n');
    text.push_str(&deviations(&plan.deviations));
    if !plan.excluded.is_empty() {
        text.push_str("\nNot run:\n");
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for point in &plan.excluded {
            let platform = point.platform.as_ref();
            let on = platform.map_or_else(String::new, |p| format!(" on {p}"));
            entry(&mut reasons, point.reason.as_str()).push(format!("{}{on}", point.experiment));
        }
        for (reason, points) in reasons {
            text.push('\n');
            text.push_str(&wrapped(&points.join(", "), "  ", "      "));
            text.push_str(&wrapped(&format!("why: {reason}"), "    ", "    "));
        }
    }
    text
}

/// Deviations, each reason once, or a sentence that there are none.
pub(crate) fn deviations(deviations: &[Deviation]) -> String {
    if deviations.is_empty() {
        return "No deviations: the testbed is what the study asks for.\n".to_owned();
    }
    let mut text = "Deviations from what the study asks:\n".to_owned();
    for (reason, lines) in by_reason(deviations) {
        text.push('\n');
        for (change, subjects) in lines {
            text.push_str(&wrapped(
                &format!("{change}: {}", together(&subjects)),
                "  ",
                "      ",
            ));
        }
        text.push_str(&wrapped(&format!("why: {reason}"), "    ", "    "));
    }
    text
}

/// Reasons, and for each what is changed and for whom, in the order of their first deviations.
type ByReason<'a> = Vec<(&'a str, Vec<(String, Vec<&'a str>)>)>;

fn by_reason(deviations: &[Deviation]) -> ByReason<'_> {
    let mut reasons: ByReason<'_> = Vec::new();
    for deviation in deviations {
        let change = format!(
            "{} {} → {}",
            deviation.property, deviation.asked, deviation.used
        );
        let lines = entry(&mut reasons, deviation.reason.as_str());
        entry(lines, change).push(&deviation.subject);
    }
    reasons
}

/// The value of a key, made if it is new; keys stay in the order in which they came.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let i = list.iter().position(|(k, _)| *k == key);
    let i = i.unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[i].1
}

/// `platform a`, `platform b` as `platform a, b`.
fn together(subjects: &[&str]) -> String {
    let mut text = String::new();
    let mut before = "";
    for subject in subjects {
        let (kind, name) = subject.split_once(' ').unwrap_or((subject, ""));
        let same = !text.is_empty() && kind == before && !name.is_empty();
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(if same { name } else { subject });
        before = kind;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_people_say_them() {
        let said = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(119), "119 s");
        assert_eq!(said(150), "3 min");
        assert_eq!(said(7_260), "2 h 01 min");
    }

    #[test]
    fn a_reason_is_given_once_and_the_same_change_once() {
        let deviation = |subject: &str, property: &str, reason: &str| Deviation {
            subject: subject.to_owned(),
            property: property.to_owned(),
            asked: "1".to_owned(),
            used: "2".to_owned(),
            reason: reason.to_owned(),
        };
        let text = deviations(&[
            deviation("hardware a", "link rate", "slow"),
            deviation("hardware a", "memory", "small"),
            deviation("hardware b", "link rate", "slow"),
            deviation("platform b", "link rate", "slow"),
        ]);
        let expected = "Deviations from what the study asks:\n\n  \
            link rate 1 → 2: hardware a, b, platform b\n    why: slow\n\n  \
            memory 1 → 2: hardware a\n    why: small\n";
        assert_eq!(text, expected);
        assert!(deviations(&[]).starts_with("No deviations"));
    }
}
